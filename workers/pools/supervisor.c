#include "workers/pools/supervisor.h"

#include "common/base/mem.h"
#include "common/log/log.h"
#include "common/os/clock.h"
#include "common/os/signals.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define ARENA_MAX    (64U << 20)
#define PLAN_WAIT_MS 1000
#define LOOK_MS      1000 /* between two looks at the size and age of processes */
#define LAST_WORD_MS 500  /* for the last deaths to be heard */

/* ---- signals -------------------------------------------------------------------------------- */
static void ask_all(struct supervisor *s, enum process_asked asked) {
    for (struct process *p = s->processes; p; p = p->next) {
        p->asked = asked;
        if (asked == ASKED_KILL)
            child_kill(&p->child);
        else
            child_signal(&p->child, SIGTERM);
    }
}

/* The first time they finish what they run, for a while; the second time they are killed. */
static void stop(struct supervisor *s) {
    s->stops++;
    if (s->stops == 1) {
        log_event(LOG_pools_stopping, log_u64("processes", s->n_processes));
        s->stopped = clock_mono();
    }
    ask_all(s, s->stops == 1 ? ASKED_STOP : ASKED_KILL);
}

void supervisor_set_log(const struct settings *s) {
    log_set((enum log_level)s->log.level, (enum log_format)s->log.format);
}

static void reload(struct supervisor *s) {
    struct err_list errors = {0};
    struct settings *new;
    if (handed_load(s->options->handed, s->options->config, environ, &new, &errors) < 0) {
        if (s->options->handed->not_kept)
            log_event(LOG_config_not_kept, LOG_WHY(&errors.at[0]));
        for (size_t i = 0; i < errors.count && !s->options->handed->not_kept; i++)
            log_event(LOG_config_refused, LOG_WHY(&errors.at[i]));
        return;
    }
    if (s->settings != s->options->settings)
        settings_destroy(&s->settings);
    s->settings = new;
    pools_reload(s);
    supervisor_set_log(new);
    log_event(LOG_config_reloaded);
}

static void take_signals(struct supervisor *s) {
    struct signalfd_siginfo info;
    while (read(s->signals, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo != SIGHUP)
            stop(s);
        else if (!s->stops)
            reload(s);
    }
}

/* ---- while it stops ------------------------------------------------------------------------- */
/* MONO_NEVER: it was killed. */
static struct mono kill_time(const struct supervisor *s, const struct process *p) {
    return p->asked == ASKED_KILL ? MONO_NEVER
                                  : mono_add(s->stopped, p->pool->settings.stop_grace_ms);
}

static void kill_late(struct supervisor *s, struct mono now) {
    for (struct process *p = s->processes; p; p = p->next) {
        if (!mono_reached(now, kill_time(s, p)))
            continue;
        log_event(LOG_process_killed, log_str("pool", p->pool->name), log_text("instance", p->hex),
                  log_text("why", "it had pools.stop_grace to finish"));
        p->asked = ASKED_KILL;
        child_kill(&p->child);
    }
}

/* ---- one turn ------------------------------------------------------------------------------- */
static void take_output(struct supervisor *s) {
    for (struct process *p = s->processes; p; p = p->next)
        if (p->said)
            process_read(p);
}

static void take_ends(struct supervisor *s) {
    for (struct process *p = s->processes, *next; p; p = next) {
        struct child_end end;
        next = p->next;
        if (p->ended && process_ended(p, &end))
            pools_ended(s, p, &end);
    }
}

static void report(struct supervisor *s, struct mono now) {
    if (!mono_reached(now, s->report_at) || !client_is_up(s->client))
        return;
    report_pools(s);
    s->report_at = mono_add(now, client_terms(s->client)->heartbeat_ms);
}

static void serve_link(struct supervisor *s) {
    while (client_poll(s->client, MONO_PAST))
        continue;
    report_handshake(s);
}

static void turn(struct supervisor *s) {
    take_signals(s);
    take_output(s);
    take_ends(s);
    serve_link(s);
    struct mono now = clock_mono();
    if (s->stops) {
        kill_late(s, now);
    } else {
        pools_start_due(s, now);
        if (mono_reached(now, s->look_at)) {
            pools_look(s, now);
            orphans_drain(s);
            s->look_at = mono_add(now, LOOK_MS);
        }
    }
    report(s, now);
    serve_link(s); /* what was said may have used up the descriptor's signal */
}

/* ---- waiting -------------------------------------------------------------------------------- */
static struct mono sooner(struct mono a, struct mono b) {
    return a.ms < b.ms ? a : b;
}

static struct mono next_time(const struct supervisor *s) {
    struct mono next = client_next(s->client);
    if (client_is_up(s->client))
        next = sooner(next, s->report_at);
    for (const struct process *p = s->processes; s->stops && p; p = p->next)
        next = sooner(next, kill_time(s, p));
    if (s->stops)
        return next;
    next = sooner(next, s->look_at);
    for (size_t i = 0; i < s->n_pools; i++)
        next = sooner(next, s->pools[i].planned ? seats_next(&s->pools[i].seats) : s->plan_wait);
    return next;
}

static void wait_for_news(struct supervisor *s) {
    size_t n = 0;
    AUTO_FREE struct pollfd *fds = mem_alloc((2 + 2 * (size_t)s->n_processes) * sizeof *fds);
    fds[n++] = (struct pollfd){.fd = s->signals, .events = POLLIN};
    fds[n++] = (struct pollfd){.fd = client_fd(s->client), .events = POLLIN};
    for (const struct process *p = s->processes; p; p = p->next) {
        fds[n++] = (struct pollfd){.fd = p->child.pidfd, .events = POLLIN};
        fds[n++] = (struct pollfd){.fd = p->output, .events = POLLIN};
    }
    uint64_t ms = mono_until(clock_mono(), next_time(s));
    bool news = poll(fds, n, ms < 60000 ? (int)ms : 60000) > 0;
    const struct pollfd *at = fds + 2;
    for (struct process *p = s->processes; p; p = p->next, at += 2) {
        p->ended = news && at[0].revents;
        p->said = news && at[1].revents;
    }
}

/* ---- the whole ------------------------------------------------------------------------------ */
/* Each process needs two descriptors. */
static void raise_limit(void) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return;
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
}

static int open_all(struct supervisor *s, struct err *e) {
    raise_limit();
    s->plan_wait = mono_add(clock_mono(), PLAN_WAIT_MS);
    if (signals_open(&s->signals, e) < 0 || pools_setup(s, e) < 0 || report_open(s, e) < 0)
        return -1;
    log_event(LOG_pools_starting, log_u64("pools", s->n_pools));
    orphans_find(s);
    return 0;
}

/* What ended last should be heard: the jobs of who was killed go back at once. */
static void last_words(struct supervisor *s) {
    struct mono until = mono_add(clock_mono(), LAST_WORD_MS);
    while (client_is_up(s->client) && client_outstanding(s->client) &&
           !mono_reached(clock_mono(), until))
        client_poll(s->client, until);
}

static void close_all(struct supervisor *s) {
    if (s->settings != s->options->settings)
        settings_destroy(&s->settings);
    report_close(s);
    orphans_done(s);
    pools_done(s);
    arena_destroy(&s->arena);
    if (s->signals >= 0)
        close(s->signals);
}

int supervisor_run(const struct supervisor_options *o, struct err *e) {
    struct supervisor s = {
        .options = o, .settings = o->settings, .arena = arena_new(ARENA_MAX), .signals = -1};
    uint64_t seed;
    random_bytes(&seed, sizeof seed);
    s.rng = rng_seed(seed);
    int rc = open_all(&s, e);
    if (rc == 0) {
        while (!s.stops || s.processes) {
            turn(&s);
            if (!s.stops || s.processes)
                wait_for_news(&s);
        }
        last_words(&s);
        log_event(LOG_pools_stopped);
    }
    close_all(&s);
    return rc;
}
