/* What the broker knows of itself and the core does not: figures for the status, trouble for
 * people. Once a second at most. */
#include "broker/dispatcher_int.h"
#include "broker/gate.h"
#include "common/log/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define UPKEEP_PAUSE_MS     60000
#define UPKEEP_PAUSE_MAX_MS 3600000
#define REFUSED_MS          10000 /* between two lines about connections; so long it is a trouble */

/* Resident memory: the second number of statm, in pages. */
static uint64_t read_rss(void) {
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text);
    close(fd);
    struct str rest = str_make(text, n > 0 ? (size_t)n : 0);
    const char *blank = rest.len ? memchr(rest.at, ' ', rest.len) : NULL;
    if (!blank)
        return 0;
    rest = str_make(blank + 1, rest.len - (size_t)(blank + 1 - rest.at));
    const char *end = memchr(rest.at, ' ', rest.len);
    uint64_t pages;
    if (!end || !str_to_u64(str_make(rest.at, (size_t)(end - rest.at)), UINT32_MAX, &pages))
        return 0;
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t read_cpu_ms(void) {
    struct rusage used;
    if (getrusage(RUSAGE_SELF, &used) < 0)
        return 0;
    return (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000 +
           (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1000;
}

static void tell_dropped(struct dispatcher *d) {
    struct peers_stats now = peers_stats(d->peers);
    if (now.dropped != d->told.dropped)
        log_event(LOG_letters_dropped, log_u64("messages", now.dropped - d->told.dropped));
    d->told = now;
}

static void give_up_stalled(struct dispatcher *d, struct mono now) {
    struct conn *c = conns_stalled(peers_conns(d->peers), now, 1);
    while (c) {
        uint32_t next = c->index + 1;
        peers_give_up(d->peers, c, "it has stopped reading");
        c = conns_stalled(peers_conns(d->peers), now, next);
    }
}

/* At once when it is another trouble; then ever more rarely, though it is tried again all the time
 * and its numbers change. Its end is told as well, and does not make what comes back at once new.
 */
static void tell_upkeep(struct dispatcher *d, struct mono now, const struct journal_stats *s) {
    struct upkeep_told *told = &d->upkeep;
    if (!s->upkeep.code) {
        if (told->code)
            log_event(LOG_journal_upkeep_over);
        told->code = ERR_OK;
        told->pause_ms = 0;
        return;
    }
    bool other = told->code && s->upkeep.code != told->code;
    if (!other && !mono_reached(now, told->due))
        return;
    log_event(LOG_journal_upkeep, log_u64("times", s->upkeep_count - told->count),
              LOG_WHY(&s->upkeep));
    told->pause_ms = told->pause_ms ? told->pause_ms * 2 : UPKEEP_PAUSE_MS;
    if (told->pause_ms > UPKEEP_PAUSE_MAX_MS)
        told->pause_ms = UPKEEP_PAUSE_MAX_MS;
    told->due = mono_add(now, told->pause_ms);
    told->code = s->upkeep.code;
    told->count = s->upkeep_count;
}

static void tell_refused(struct dispatcher *d, const struct gate_stats *g, struct mono now) {
    if (g->refused != d->refused)
        d->refused_until = mono_add(now, REFUSED_MS);
    d->refused = g->refused;
    if (g->refused == d->told_refused || !mono_reached(now, d->refused_due))
        return;
    log_event(LOG_connections_refused, log_u64("connections", g->refused),
              log_u64("silent", g->silent), log_u64("places", g->places),
              log_u64("files_max", g->files));
    d->told_refused = g->refused;
    d->refused_due = mono_add(now, REFUSED_MS);
}

static void write_trouble(struct dispatcher *d, const struct journal_stats *s,
                          const struct gate_stats *g, struct mono now) {
    const struct err *failed = journal_error(d->journal);
    const char *text = "";
    if (failed)
        text = failed->text;
    else if (s->room == JOURNAL_RESERVE || s->room == JOURNAL_NONE)
        text = "no space is left on disk for new jobs";
    else if (s->upkeep.code)
        text = s->upkeep.text;
    else if (!mono_reached(now, d->refused_until)) {
        snprintf(d->trouble, sizeof d->trouble,
                 "connections are turned away: %u fit into the limit of %u open files", g->places,
                 g->files);
        return;
    }
    snprintf(d->trouble, sizeof d->trouble, "%s", text);
}

void figures_refresh(struct dispatcher *d, struct mono now, bool drained) {
    if (!mono_reached(now, d->figures_due))
        return;
    d->figures_due = mono_add(now, FIGURES_MS);
    if (drained)
        gate_tick();
    struct gate_stats g = gate_stats();
    struct journal_stats s;
    journal_stats(d->journal, &s);
    give_up_stalled(d, now);
    tell_dropped(d);
    tell_upkeep(d, now, &s);
    tell_refused(d, &g, now);
    write_trouble(d, &s, &g, now);
    struct relay_stats r = relay_thread_stats(d->relay);
    d->relay_told = r;
    d->outside = (struct core_outside){.journal_bytes = s.disk_bytes,
                                       .journal_live_bytes = s.live_bytes,
                                       .commits = s.commits,
                                       .rss_bytes = read_rss(),
                                       .cpu_ms = read_cpu_ms(),
                                       .unread_bytes = conns_unread(peers_conns(d->peers)),
                                       .waiting = d->receiver.waiting.requests,
                                       .peers_closed = d->told.closed,
                                       .streams = r.streams,
                                       .attached = r.attached,
                                       .stream_bytes = r.log_bytes,
                                       .stream_events = r.events,
                                       .stream_gaps = r.gaps,
                                       .stream_refused = r.malformed + r.strange,
                                       .stream_gone = r.gone,
                                       .stream_refills = r.needs,
                                       .connections_refused = g.refused,
                                       .connections_silent = g.silent,
                                       .connections_max = g.places,
                                       .version = d->version,
                                       .ops = d->ops ? ops_address(d->ops) : NULL,
                                       .trouble = str_of(d->trouble)};
    core_set_outside(d->core, &d->outside);
}

/* Why new jobs are not taken, as whoever submits one is told. */
static enum ops_state state_of(const struct dispatcher *d, enum journal_room room,
                               struct err *why) {
    const struct err *failed = journal_error(d->journal);
    if (failed) {
        *why = *failed;
        return OPS_READ_ONLY;
    }
    if (room == JOURNAL_RESERVE || room == JOURNAL_NONE) {
        err_set(why, ERR_DISK_FULL, "no space is left on disk for new jobs");
        return OPS_FULL;
    }
    return core_may_submit(d->core, why) < 0 ? OPS_FULL : OPS_SERVING;
}

void figures_tell_ops(struct dispatcher *d, struct mono now, bool starting) {
    struct ops_snapshot *s = d->ops ? ops_asked(d->ops) : NULL;
    if (!s)
        return;
    *s = (struct ops_snapshot){.state = OPS_STARTING, .version = d->version};
    struct err why = {0};
    if (starting) {
        err_set(&why, ERR_STARTING, "the journal is being read");
    } else {
        journal_stats(d->journal, &s->journal);
        s->state = state_of(d, s->journal.room, &why);
        core_stats(d->core, &s->core);
        core_figures(d->core, &s->figures);
        s->epoch = core_epoch(d->core);
        s->uptime_ms = mono_until(d->began, now);
        s->outside = d->outside;
        s->relay = d->relay_told;
        s->dropped = d->told.dropped;
        s->keys_refused = keyring_refused(d->keyring);
        snprintf(s->trouble, sizeof s->trouble, "%s", d->trouble);
    }
    snprintf(s->why, sizeof s->why, "%s", why.text);
    ops_answer(d->ops, s);
}
