#include "broker/dispatcher_int.h"

#include "broker/gate.h"
#include "broker/records.h"
#include "common/log/log.h"
#include "common/os/clock.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define TURN_MESSAGES 256U
#define TURN_ITEMS    4096U
#define TURN_BYTES    (8U << 20)
#define BURST         16U /* messages of one socket before the next one has its turn */

/* A commit on this thread. */
#define INLINE_MESSAGES 4U   /* that the turn took at most */
#define INLINE_ITEMS    16U  /* that were in them */
#define INLINE_US       500U /* that such a commit takes */

/* A commit that is put off. */
#define HOLD_NS         150000U
#define HOLD_CREDIT_MAX 16U
#define HOLD_RETRY      32U /* without credit, one chance of so many is taken */

/* ---- the journal ---------------------------------------------------------------------------- */
/* Jobs that are run again are put whole: not more of them than the journal takes. */
static void hear_loads(struct dispatcher *d) {
    struct journal_load_done done;
    while (journal_room(d->journal) != JOURNAL_BUSY && journal_loaded(d->journal, &done)) {
        struct record_room room;
        struct record record;
        struct err e = done.err;
        bool ok =
            !e.code && record_open(done.record.type, done.record.body, &room, &record, &e) == 0;
        effects_loaded(&d->effects, done.token);
        if (ok)
            core_loaded(d->core, done.token, &record);
        else
            core_load_failed(d->core, done.token, &e);
        outbox_cut(d->outbox);
    }
    effects_ask(&d->effects);
}

/* Answers leave at once; the core hears of it in its turn. */
static void hear_durable(struct dispatcher *d) {
    uint64_t durable;
    if (!journal_poll(d->journal, &durable))
        return;
    d->durable = durable;
    d->durable_news = true;
    outbox_durable(d->outbox, durable);
}

static void hear_news(struct dispatcher *d) {
    hear_durable(d);
    if (d->durable_news)
        core_durable(d->core, d->durable);
    d->durable_news = false;
}

/* The part of a batch that was durable before the next part failed may have become so since we last
 * looked: who waits for it must not be told that it was refused. */
static void hear_failure(struct dispatcher *d) {
    const struct err *e = journal_error(d->journal);
    if (!e || d->failed)
        return;
    hear_news(d);
    d->failed = true;
    core_write_failed(d->core, e);
    outbox_failed(d->outbox, e, journal_doubt_end(d->journal));
}

/* A result whose stream is whole is put: while there is no room it waits, as those of workers do.
 */
static void hear_relay(struct dispatcher *d) {
    struct relay_answer a;
    if (d->room == JOURNAL_NONE)
        return;
    while (relay_thread_answer(d->relay, &a)) {
        if (a.whole)
            core_stream_whole(d->core, a.job, a.fence);
        else
            core_stream_need(d->core, a.job, a.fence, a.epoch, a.seq);
    }
    outbox_cut(d->outbox);
}

void dispatcher_hear(struct dispatcher *d) {
    hear_news(d);
    hear_failure(d);
    hear_loads(d);
    hear_relay(d);
}

static void clean_record(void *ctx, const struct journal_record *r) {
    struct dispatcher *d = ctx;
    struct record_room room;
    struct record record;
    struct err e = {0};
    if (record_open(r->type, r->body, &room, &record, &e) < 0)
        log_event(LOG_journal_record, log_u64("position", r->pos), LOG_WHY(&e));
    else
        core_clean(d->core, r->pos, &record);
}

/* One piece a turn, about 256 KiB. */
static void clean(struct dispatcher *d) {
    if (d->failed || effects_loads_wait(&d->effects) || !journal_clean_want(d->journal))
        return;
    enum journal_clean done = journal_clean_next(d->journal, clean_record, d);
    if (done == JOURNAL_CLEAN_MORE || done == JOURNAL_CLEAN_DONE)
        d->again = true;
}

/* With little to do, writing here saves two wake-ups of other threads; with more, or on a disk that
 * keeps one waiting, the journal's own thread writes while the next turn goes on. */
static bool inline_pays(const struct dispatcher *d) {
    return d->taken <= INLINE_MESSAGES && d->items <= INLINE_ITEMS && d->inline_us <= INLINE_US;
}

static void commit(struct dispatcher *d) {
    if (!inline_pays(d)) {
        journal_commit(d->journal);
        d->inline_us -= d->inline_us / 64; /* a disk that was slow is tried again some day */
        return;
    }
    uint64_t began = clock_mono_ns();
    if (!journal_commit_inline(d->journal))
        return;
    hear_durable(d); /* other news came with it, perhaps: the next turn looks */
    d->inline_us = (d->inline_us * 7 + (clock_mono_ns() - began) / 1000) / 8;
    d->again = true;
}

/* What tells what a turn did. */
struct turn_counts {
    uint64_t submits, dispatches, ended, records;
    size_t held;
};

static struct turn_counts count(const struct dispatcher *d) {
    return (struct turn_counts){.submits = d->receiver.submits,
                                .dispatches = d->effects.dispatches,
                                .ended = d->effects.ended,
                                .records = d->effects.records,
                                .held = outbox_held(d->outbox)};
}

/* One speculative job was submitted, which has left for its worker already: only its submission's
 * acknowledgement waits. */
static bool speculative_alone(const struct dispatcher *d, const struct turn_counts *before,
                              const struct turn_counts *now) {
    return d->items == 1 && now->submits - before->submits == 1 &&
           now->dispatches - before->dispatches == 1 && before->held == 0 && now->held == 1;
}

/* Jobs went to workers: nobody waits for the records of that. */
static bool dispatched_only(const struct turn_counts *before, const struct turn_counts *now) {
    return now->dispatches > before->dispatches && now->records > before->records && now->held == 0;
}

/* What a worker was just given mostly ends soon: the commit can wait for that a moment, and one
 * sync does for both. Done while it mostly pays, else tried now and then. Only where nobody else
 * waits for the disk. */
static bool put_off(struct dispatcher *d, const struct turn_counts *before) {
    struct turn_counts now = count(d);
    if (d->hold_until_ns) {
        if (now.ended > before->ended)
            d->hold_credit += d->hold_credit < HOLD_CREDIT_MAX ? 2 : 0;
        else
            d->hold_credit -= d->hold_credit > 0;
        d->hold_until_ns = 0;
        return false;
    }
    if (!speculative_alone(d, before, &now) && !dispatched_only(before, &now))
        return false;
    if (!d->hold_credit && ++d->hold_skipped % HOLD_RETRY != 0)
        return false;
    d->hold_until_ns = clock_mono_ns() + HOLD_NS;
    return true;
}

/* ---- messages ------------------------------------------------------------------------------- */
static void set_core_room(struct dispatcher *d) {
    static const enum core_room core_rooms[] = {[JOURNAL_ROOM] = CORE_ROOM,
                                                [JOURNAL_BUSY] = CORE_ROOM,
                                                [JOURNAL_RESERVE] = CORE_RESERVE,
                                                [JOURNAL_NONE] = CORE_FULL,
                                                [JOURNAL_READ_ONLY] = CORE_ROOM};
    enum core_room room = core_rooms[d->room];
    core_set_room(d->core, room == CORE_FULL && journal_may_purge(d->journal) ? CORE_TIGHT : room);
}

static void note_room(struct dispatcher *d, enum journal_room room) {
    static const char *const names[] = {"enough", "enough", "reserve", "none", "read only"};
    if (room == JOURNAL_BUSY || room == d->room)
        return;
    d->room = room;
    d->receiver.full = room == JOURNAL_NONE;
    set_core_room(d);
    log_event(LOG_journal_room, log_text("room", names[room]));
}

/* Asked before each message: there is room for what it may put and for what will be answered. */
static bool may_take(struct dispatcher *d) {
    enum journal_room room = journal_room(d->journal);
    note_room(d, room);
    return room != JOURNAL_BUSY && !outbox_full(d->outbox);
}

struct budget {
    uint32_t messages, items;
    size_t bytes;
};

static bool budget_left(const struct budget *b) {
    return b->messages < TURN_MESSAGES && b->items < TURN_ITEMS && b->bytes < TURN_BYTES;
}

/* Those who did not read before, one question of each in turn. */
static void take_waiting(struct dispatcher *d, struct budget *b) {
    struct parcel in;
    while (budget_left(b) && may_take(d) && waiting_take(&d->receiver.waiting, &in)) {
        b->messages++;
        b->bytes += parcel_bytes(&in);
        b->items += receive_waiting(&d->receiver, &in);
        outbox_cut(d->outbox);
        parcel_done(&in);
    }
}

enum took { TOOK_ALL, TOOK_BURST, TOOK_ENOUGH };

static enum took take_from(struct dispatcher *d, enum role role, struct budget *b) {
    for (unsigned n = 0; n < BURST; n++) {
        struct parcel in;
        if (!budget_left(b) || !may_take(d))
            return TOOK_ENOUGH;
        if (!peers_take(d->peers, role, &in))
            return TOOK_ALL;
        b->messages++;
        b->bytes += parcel_bytes(&in);
        b->items += receive_message(&d->receiver, &in);
        outbox_cut(d->outbox);
        parcel_done(&in);
    }
    return TOOK_BURST;
}

/* True if each socket was empty at some moment. */
static bool take_messages(struct dispatcher *d) {
    struct budget spent = {0};
    bool empty[PEERS_ROLES] = {false};
    bool enough = false;
    uint64_t words = d->receiver.words;
    unsigned left = PEERS_ROLES;
    take_waiting(d, &spent);
    for (unsigned n = 0; left && !enough; n = (n + 1) % PEERS_ROLES) {
        if (empty[n])
            continue;
        enum role role = (enum role)(1 + ((unsigned)d->first - 1 + n) % PEERS_ROLES);
        enum took took = take_from(d, role, &spent);
        enough = took == TOOK_ENOUGH;
        empty[n] = took == TOOK_ALL;
        left -= took == TOOK_ALL;
    }
    d->first = (enum role)(1 + (unsigned)d->first % PEERS_ROLES);
    if (d->receiver.words != words)
        spin_heard(&d->spin);
    d->taken = spent.messages;
    d->items = spent.items;
    if (enough && !budget_left(&spent))
        d->again = true;
    return left == 0;
}

/* ---- a turn --------------------------------------------------------------------------------- */
static void note_late(struct dispatcher *d, struct mono now) {
    uint64_t late = d->due.ms ? mono_until(d->due, now) : 0;
    if (late > d->config.heartbeat_ms)
        log_event(LOG_broker_late, log_u64("late_ms", late));
}

static void turn(struct dispatcher *d) {
    struct mono now = clock_mono();
    note_late(d, now);
    d->again = false;
    struct turn_counts before = count(d);
    core_begin(d->core, now, clock_wall());
    set_core_room(d);
    dispatcher_hear(d);
    bool drained = take_messages(d);
    clean(d);
    figures_refresh(d, now, drained);
    figures_tell_ops(d, now, false);
    if (journal_room(d->journal) == JOURNAL_BUSY)
        core_set_room(d->core, CORE_FULL); /* until the next turn, as for messages */
    core_end(d->core, drained);
    outbox_flush(d->outbox);
    if (!put_off(d, &before))
        commit(d);
}

/* ---- signals -------------------------------------------------------------------------------- */
static void key_ended(void *ctx, const struct keyring_key *key) {
    struct dispatcher *d = ctx;
    log_event(LOG_key_ended, log_str("key", key->rights.name));
    core_end_key(d->core, key->id);
}

/* Nobody keeps what the old list said. */
static void renew_keys(struct dispatcher *d, const struct settings *fresh) {
    core_set_rights(d->core, NULL);
    keyring_replace(d->keyring, fresh, key_ended, d);
    peers_renew_keys(d->peers);
    relay_thread_renew_keys(d->relay);
}

static void reload(struct dispatcher *d) {
    struct settings *fresh = NULL;
    struct err_list errors = {0};
    if (settings_load(d->config_path, environ, &fresh, &errors) < 0) {
        for (size_t i = 0; i < errors.count; i++)
            log_event(LOG_config_refused, LOG_WHY(&errors.at[i]));
        return;
    }
    configure_again(d->core, d->settings, fresh);
    journal_set_disk_min_free(d->journal, fresh->journal.disk_min_free);
    renew_keys(d, fresh);
    settings_destroy(&d->settings);
    d->settings = fresh;
    d->again = true;
}

void dispatcher_hear_signals(struct dispatcher *d) {
    struct signalfd_siginfo info;
    while (read(d->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGHUP) {
            reload(d);
            continue;
        }
        log_event(LOG_broker_stopping,
                  log_text("signal", info.ssi_signo == SIGINT ? "INT" : "TERM"),
                  log_u64("from_pid", info.ssi_pid));
        d->stop = true;
    }
}

/* ---- waiting -------------------------------------------------------------------------------- */
static void wait_for_work(struct dispatcher *d) {
    struct conns *conns = peers_conns(d->peers);
    zmq_pollitem_t items[6 + PEERS_ROLES] = {
        {.fd = d->signals, .events = ZMQ_POLLIN},
        {.fd = journal_fd(d->journal), .events = ZMQ_POLLIN},
        {.fd = relay_thread_fd(d->relay), .events = ZMQ_POLLIN},
        {.fd = gate_fd(), .events = ZMQ_POLLIN},
        {.fd = conns->wake.fd, .events = ZMQ_POLLIN},
    };
    int n = 5;
    if (d->receiver.waiting.lines) {
        conns_want_wake(conns);
        d->again |= waiting_has_room(&d->receiver.waiting) && may_take(d);
    }
    if (may_take(d))
        for (enum role role = ROLE_CLIENT; role <= ROLE_OPERATOR; role++)
            items[n++] =
                (zmq_pollitem_t){.socket = peers_socket(d->peers, role), .events = ZMQ_POLLIN};
    else if (outbox_held(d->outbox))
        log_event(LOG_turn_held, log_u64("messages", outbox_held(d->outbox)));
    if (d->ops)
        items[n++] = (zmq_pollitem_t){.fd = ops_fd(d->ops), .events = ZMQ_POLLIN};
    if (d->room == JOURNAL_NONE)
        items[2].events = 0;
    d->due = d->again ? clock_mono() : core_next(d->core);
    uint64_t ms = mono_until(clock_mono(), d->due);
    /* Somebody must look whether what waits is read. */
    if ((gate_awake() || conns_unread(conns)) && ms > FIGURES_MS)
        ms = FIGURES_MS;
    if (d->hold_until_ns)
        spin_until(d->hold_until_ns, items, n);
    else
        spin_poll(&d->spin, items, n, ms > 60000 ? 60000 : (long)ms);
    if (items[0].revents)
        dispatcher_hear_signals(d);
    if (items[3].revents)
        gate_seen();
    if (items[4].revents)
        conns_woken(conns);
}

/* ---- the end -------------------------------------------------------------------------------- */
/* From here on a second signal ends the process, whatever it waits for. */
static void let_signals_kill(void) {
    sigset_t set;
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void stop(struct dispatcher *d) {
    struct err e = {0};
    let_signals_kill();
    if (!d->failed && journal_flush(d->journal, &e) < 0)
        log_event(LOG_journal_read_only, LOG_WHY(&e));
    hear_durable(d);
    hear_failure(d);
    core_farewell(d->core, STR("the broker stops"));
    outbox_flush(d->outbox);
}

int dispatcher_run(const struct dispatcher_options *options, struct err *e) {
    struct dispatcher d;
    if (dispatcher_start(&d, options, e) < 0) {
        dispatcher_close(&d);
        return d.stop ? 0 : -1;
    }
    while (!d.stop) {
        turn(&d);
        wait_for_work(&d);
    }
    stop(&d);
    bool failed = d.failed;
    if (failed)
        *e = *journal_error(d.journal);
    dispatcher_close(&d);
    log_event(LOG_broker_stopped);
    return failed ? -1 : 0;
}
