/* From an empty process to one that serves, and back. */
#include "broker/dispatcher_int.h"
#include "broker/gate.h"
#include "broker/inflow.h"
#include "broker/journal/file_layer.h"
#include "broker/records.h"
#include "common/base/id.h"
#include "common/log/log.h"
#include "common/os/clock.h"
#include "common/os/disk.h"
#include "common/os/signals.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define INFLOW_BYTES      (2ULL * FRAME_BYTES_MAX) /* what is too large is still told so */
#define STARTING_MS       20      /* how often peers are answered while the journal is read */
#define STARTING_MESSAGES 256     /* at a time */
#define LOOK_NS           200000U /* a worker's way with a short job */
#define STARTING_LOOK     256     /* records between two looks at the clock */
#define OTHER_FILES       8       /* open at a time, with the gate's two */
#define EPOCHS_FEW        10000   /* starts that are left when the log begins to warn */

/* ---- reading the journal -------------------------------------------------------------------- */
struct replay {
    struct dispatcher *d;
    uint64_t records;
    struct mono answer_due;
};

/* Who comes while the broker starts is told so (P-18). */
static void answer_starting(struct dispatcher *d) {
    for (enum role role = ROLE_CLIENT; role <= ROLE_OPERATOR; role++) {
        struct parcel in;
        for (unsigned n = 0; n < STARTING_MESSAGES && peers_take(d->peers, role, &in); n++) {
            receive_message(&d->receiver, &in);
            outbox_cut(d->outbox);
            parcel_done(&in);
        }
    }
    outbox_flush(d->outbox);
    figures_tell_ops(d, clock_mono(), true);
}

static int replay_record(void *ctx, const struct journal_record *r, struct err *e) {
    struct replay *p = ctx;
    struct record_room room;
    struct record record;
    if (record_open(r->type, r->body, &room, &record, e) < 0)
        return err_add(e, "journal: record at %u:%u", (unsigned)(r->pos >> 32),
                       (unsigned)(r->pos & UINT32_MAX));
    core_replay(p->d->core, r->pos, r->bytes, &record);
    if (++p->records % STARTING_LOOK == 0 && mono_reached(clock_mono(), p->answer_due)) {
        answer_starting(p->d);
        dispatcher_hear_signals(p->d);
        p->answer_due = mono_add(clock_mono(), STARTING_MS);
    }
    return p->d->stop ? err_set(e, ERR_STOPPING, "stopped while it read the journal") : 0;
}

static int read_journal(struct dispatcher *d, struct err *e) {
    struct replay replay = {.d = d, .answer_due = mono_add(clock_mono(), STARTING_MS)};
    struct journal_replayed stats;
    struct mono began = clock_mono();
    core_begin(d->core, began, clock_wall());
    if (journal_replay(d->journal, replay_record, &replay, &stats, e) < 0)
        return -1;
    if (core_may_start(d->core, e) < 0)
        return -1;
    core_start(d->core, began, clock_wall());
    log_event(LOG_broker_replayed, log_u64("records", stats.records), log_u64("bytes", stats.bytes),
              log_u64("cut_bytes", stats.cut_bytes), log_bool("clean", stats.closed),
              log_u64("ms", mono_until(began, clock_mono())));
    return 0;
}

/* Nothing is accepted before the new epoch is on disk. */
static int open_core(struct dispatcher *d, struct err *e) {
    while (!core_open(d->core)) {
        journal_commit_inline(d->journal);
        dispatcher_hear(d);
        if (journal_error(d->journal)) {
            *e = *journal_error(d->journal);
            return err_add(e, "cannot write the journal");
        }
        answer_starting(d);
    }
    return 0;
}

/* ---- parts ---------------------------------------------------------------------------------- */
static int open_journal(struct dispatcher *d, struct err *e) {
    struct journal_options options = configure_journal(d->settings, d->dir.journal);
    if (journal_open(&d->journal, &options, &file_layer_real, e) < 0)
        return e->code == ERR_LOCKED ? err_add(e, "another broker serves this data folder") : -1;
    struct journal_stats s;
    journal_stats(d->journal, &s);
    d->config.trace_seed = s.id;
    d->config.group_max = journal_together_max(d->journal);
    return configure_check(&d->config, journal_body_max(d->journal), e);
}

/* Files that connections never take: the journal's, and for a moment one to read the settings or
 * figures of the system. */
static int open_gate(struct dispatcher *d, struct err *e) {
    struct journal_stats s;
    journal_stats(d->journal, &s);
    inflow_set_bound(INFLOW_BYTES);
    return gate_open(s.files_max + OTHER_FILES, e);
}

static int open_relay(struct dispatcher *d, struct err *e) {
    struct relay_thread_options options = configure_relay(d->settings);
    options.context = peers_context(d->peers);
    options.keyring = d->keyring;
    if (relay_thread_new(&d->relay, &options, e) < 0)
        return -1;
    d->config.stream_worker =
        (struct core_stream_socket){RELAY_WORKER_SOCKET, relay_thread_worker_port(d->relay)};
    d->config.stream_reader =
        (struct core_stream_socket){RELAY_READER_SOCKET, relay_thread_reader_port(d->relay)};
    return 0;
}

/* Before the journal is read, which may take a while: whoever asks is told so. */
static int open_ops(struct dispatcher *d, struct err *e) {
    struct str at = d->settings->broker.ops_listen;
    return at.len ? ops_new(&d->ops, at, e) : 0;
}

static void open_parts(struct dispatcher *d) {
    d->outbox = outbox_new(d->peers, d->config.items_max, d->config.bytes_max);
    effects_init(&d->effects, d->journal, d->outbox, d->relay);
    struct effects effects = effects_of(&d->effects);
    d->core = core_new(&d->config, &effects);
    d->effects.core = d->core;
    d->effects.peers = d->peers;
    configure_names(d->core, d->settings);
    receiver_init(&d->receiver, d->core, d->peers, d->outbox, &d->config);
}

static int open_signals(struct dispatcher *d, struct err *e) {
    signal(SIGXFSZ, SIG_IGN); /* of ulimit -f: the write fails, which the journal can tell */
    return signals_open(&d->signals, e);
}

/* Early enough to let all jobs end and to begin with another folder. */
static void tell_epochs(const struct dispatcher *d) {
    uint64_t left = ID_EPOCH_MAX - core_epoch(d->core);
    if (left < EPOCHS_FEW)
        log_event(LOG_broker_epochs, log_u64("left", left));
}

static void tell_ready(struct dispatcher *d) {
    struct core_stats s;
    core_stats(d->core, &s);
    log_event(LOG_broker_ready, log_text("data", d->dir.path),
              log_u64("epoch", core_epoch(d->core)), log_text("version", d->version),
              log_u64("ready", s.by_state[JOB_ready]),
              log_u64("scheduled", s.by_state[JOB_scheduled]),
              log_u64("running", s.by_state[JOB_running] + s.by_state[JOB_cancelling]),
              log_text("tcp_client", peers_tcp(d->peers, ROLE_CLIENT)),
              log_text("tcp_worker", peers_tcp(d->peers, ROLE_WORKER)),
              log_text("tcp_gateway", peers_tcp(d->peers, ROLE_GATEWAY)),
              log_text("tcp_operator", peers_tcp(d->peers, ROLE_OPERATOR)),
              log_text("ops", d->ops ? ops_address(d->ops) : ""));
    if (d->ready_fd < 0)
        return;
    ssize_t n = write(d->ready_fd, "1", 1);
    (void)n; /* whoever waits for it sees the end otherwise */
    close(d->ready_fd);
    d->ready_fd = -1;
}

/* Nobody decides by it: a disk that is full keeps no broker from what it can do nevertheless. */
static void write_pid(void) {
    struct err e = {0};
    if (data_dir_write_pid(&e) < 0)
        log_event(LOG_broker_pid_file, LOG_WHY(&e));
}

/* Said here, as DISK_FULL does not say that no room that is made will help. */
static void tell_disk(const struct dispatcher *d) {
    const struct settings_journal *j = &d->settings->journal;
    uint64_t least = journal_disk_least(j->spare_segments, j->segment_size, j->disk_min_free);
    struct disk disk;
    struct err e = {0};
    if (disk_look(d->dir.path, &disk, &e) == 0 && disk.bytes < least)
        log_event(LOG_journal_disk_small, log_text("data", d->dir.path),
                  log_u64("bytes", disk.bytes), log_u64("bytes_least", least));
}

int dispatcher_start(struct dispatcher *d, const struct dispatcher_options *o, struct err *e) {
    *d = (struct dispatcher){.config_path = o->config,
                             .version = o->version,
                             .ready_fd = o->ready_fd,
                             .settings = *o->settings,
                             .signals = -1,
                             .began = clock_mono(),
                             .spin.look_ns = LOOK_NS,
                             .first = ROLE_CLIENT};
    *o->settings = NULL;
    uint64_t seed;
    random_bytes(&seed, sizeof seed);
    d->config = configure_core(d->settings, seed);
    struct peers_options peers = configure_peers(d->settings);
    if (keyring_new(&d->keyring, d->settings, e) < 0)
        return -1;
    peers.keyring = d->keyring;
    if (open_signals(d, e) < 0 || data_dir_open(&d->dir, o->data, e) < 0 ||
        open_journal(d, e) < 0 || data_dir_enter(&d->dir, e) < 0)
        return -1;
    d->begun = true;
    write_pid();
    if (open_gate(d, e) < 0 || peers_open(&d->peers, &peers, e) < 0)
        return -1;
    gate_watch(peers_file(ROLE_OPERATOR));
    log_event(LOG_broker_starting, log_text("data", d->dir.path));
    if (open_relay(d, e) < 0 || open_ops(d, e) < 0 || gate_ready(e) < 0)
        return -1;
    open_parts(d);
    if (read_journal(d, e) < 0 || open_core(d, e) < 0)
        return -1;
    tell_epochs(d);
    tell_disk(d);
    tell_ready(d);
    return 0;
}

void dispatcher_close(struct dispatcher *d) {
    ops_destroy(&d->ops); /* before all that it shows */
    relay_thread_destroy(&d->relay);
    receiver_done(&d->receiver); /* it and the outbox hold messages, which peers count */
    outbox_destroy(&d->outbox);
    peers_close(&d->peers); /* waits for the last answers to leave */
    keyring_destroy(&d->keyring);
    gate_close();
    struct err e = {0};
    if (d->journal && journal_close(&d->journal, &e) < 0)
        log_event(LOG_journal_read_only, LOG_WHY(&e));
    core_destroy(&d->core);
    effects_done(&d->effects);
    if (d->begun)
        data_dir_leave();
    if (d->signals >= 0)
        close(d->signals);
    settings_destroy(&d->settings);
}
