#include "tests/fuzz/protocol_world.h"

#include "broker/journal/journal.h"
#include "broker/records.h"
#include "common/base/check.h"

/* What outbox and receiver call; the linker hands it to us instead of to broker/peers.c. */
/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): the linker's names */
bool __wrap_peers_send(struct peers *p, uint64_t link, zmq_msg_t *parts, unsigned n);
bool __wrap_peers_send_back(struct peers *p, struct parcel *in, zmq_msg_t *parts, unsigned n);
struct conn *__wrap_peers_conn(struct peers *p, uint64_t link);

bool __wrap_peers_send(struct peers *p, uint64_t link, zmq_msg_t *parts, unsigned n) {
    watch_sent((struct world *)(void *)p, link, parts, n);
    for (unsigned i = 0; i < n; i++)
        zmq_msg_close(&parts[i]);
    return true;
}

bool __wrap_peers_send_back(struct peers *p, struct parcel *in, zmq_msg_t *parts, unsigned n) {
    ASSERT(in->link == 0);
    return __wrap_peers_send(p, 0, parts, n);
}

/* Whatever is sent here was read. */
struct conn *__wrap_peers_conn(struct peers *p, uint64_t link) {
    (void)p;
    (void)link;
    return NULL;
}
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

/* ---- effects: the broker's, watched -----------------------------------------------------------
 */
static void group(void *ctx, uint32_t bytes) {
    const struct world *w = ctx;
    w->effects.group(w->effects.ctx, bytes);
}

static uint64_t append(void *ctx, const struct record *r, uint32_t *bytes) {
    struct world *w = ctx;
    uint64_t pos = w->effects.append(w->effects.ctx, r, bytes);
    watch_record(&w->watcher, r, pos);
    return pos;
}

static void release(void *ctx, uint64_t position, uint32_t bytes) {
    struct world *w = ctx;
    w->effects.release(w->effects.ctx, position, bytes);
}

static void load(void *ctx, uint64_t position, uint32_t bytes, uint64_t token) {
    struct world *w = ctx;
    w->effects.load(w->effects.ctx, position, bytes, token);
}

static void send(void *ctx, const struct letter *l) {
    struct world *w = ctx;
    watch_letter(&w->watcher, l);
    w->effects.send(w->effects.ctx, l);
}

static void event(void *ctx, const struct event *e) {
    struct world *w = ctx;
    w->effects.event(w->effects.ctx, e);
}

static uint64_t token(void *ctx, uint64_t fence) {
    struct world *w = ctx;
    return w->effects.token(w->effects.ctx, fence);
}

static int due(void *ctx, const struct due_rule *rule, uint64_t after_ms, uint64_t *due_ms,
               struct err *e) {
    struct world *w = ctx;
    return w->effects.due(w->effects.ctx, rule, after_ms, due_ms, e);
}

/* In place of the relay's thread: what comes later to whoever is attached is lost, and all that was
 * written has always arrived by the next turn. */
static void stream(void *ctx, const struct stream_order *o) {
    struct world *w = ctx;
    if (o->what == STREAM_CLOSE)
        w->closed[w->n_closed++ % WORLD_SEEN] = (struct attempt){o->job, o->fence};
}

/* ---- a turn -----------------------------------------------------------------------------------
 */
static void hear_loads(struct world *w) {
    struct journal_load_done done;
    while (journal_loaded(w->journal, &done)) {
        struct record_room room;
        struct record record;
        struct err e = done.err;
        int rc = record_open(done.record.type, done.record.body, &room, &record, &e);
        ASSERT(done.err.code == ERR_OK && rc == 0);
        effects_loaded(&w->context, done.token);
        core_loaded(w->core, done.token, &record);
        outbox_cut(w->outbox);
    }
    effects_ask(&w->context);
}

static void hear(struct world *w) {
    uint64_t durable;
    if (!w->failed && journal_poll(w->journal, &durable)) {
        w->durable = durable;
        outbox_durable(w->outbox, durable);
        core_durable(w->core, durable);
    }
    hear_loads(w);
    for (uint32_t n = 0; n < w->n_closed && n < WORLD_SEEN; n++)
        core_stream_whole(w->core, w->closed[n].job, w->closed[n].fence);
    w->n_closed = 0;
}

static void clean_record(void *ctx, const struct journal_record *r) {
    struct world *w = ctx;
    struct record_room room;
    struct record record;
    struct err e = {0};
    int rc = record_open(r->type, r->body, &room, &record, &e);
    ASSERT(rc == 0);
    core_clean(w->core, r->pos, &record);
}

static void begin(struct world *w) {
    core_begin(w->core, (struct mono){w->now}, (struct wall){w->wall});
    hear(w);
}

void world_turn(struct world *w, uint64_t later_ms, int64_t wall_jump_ms) {
    if (!w->failed && !effects_loads_wait(&w->context) && journal_clean_want(w->journal))
        journal_clean_next(w->journal, clean_record, w);
    core_end(w->core, true);
    core_check(w->core);
    ASSERT(core_next(w->core).ms >= w->now);
    outbox_flush(w->outbox);
    w->now += later_ms;
    w->wall += later_ms + (uint64_t)wall_jump_ms;
    begin(w);
}

void world_commit(struct world *w) {
    if (!w->failed)
        journal_commit(w->journal);
}

void world_message(struct world *w, struct parcel *in) {
    watch_asked(&w->watcher, in);
    receive_message(&w->receiver, in);
    outbox_cut(w->outbox);
}

void world_room(struct world *w, enum core_room room) {
    w->receiver.full = room >= CORE_TIGHT;
    core_set_room(w->core, room);
}

void world_fail(struct world *w) {
    struct err e = {0};
    if (w->failed)
        return;
    w->failed = true;
    err_set(&e, ERR_IO, "the disk is gone");
    core_write_failed(w->core, &e);
    outbox_failed(w->outbox, &e, 0);
}

/* ---- life -------------------------------------------------------------------------------------
 */
/* Small bounds, so that they are met; but a few payloads make a segment, so that it is cleaned. */
static struct core_config small_config(void) {
    struct core_config k = core_config_default();
    k.workers_max = 3;
    k.sessions_max = 10;
    k.tenants_max = 3;
    k.queues_max = 4;
    k.kinds_max = 4;
    k.jobs_max = 64;
    k.windows_max = 6;
    k.items_max = 64;
    k.bytes_max = 128U << 10;
    k.body_max = 48U << 10;
    k.result_max = 1U << 10;
    k.outstanding_max = 16;
    k.aging_wait_ms = 1000;
    k.aging_share = 4;
    k.done_bytes = 64U << 10;
    k.done_jobs = 12;
    k.dead_jobs = 6;
    k.window_jobs = 3;
    k.window_bytes = 4U << 10;
    k.volatile_bytes = 2U << 10;
    k.attempts_max = 2;
    k.backoff_ms = 10;
    k.notes_max = 3;
    return k;
}

static int replay(void *ctx, const struct journal_record *r, struct err *e) {
    struct world *w = ctx;
    struct record_room room;
    struct record record;
    int rc = record_open(r->type, r->body, &room, &record, e);
    ASSERT(rc == 0);
    core_replay(w->core, r->pos, r->bytes, &record);
    return 0;
}

static void set_kind(struct world *w, struct str name, bool speculative, bool streams) {
    struct msg_kind_info kind = {0};
    MSG_SET(&kind, kind_info, kind, name);
    MSG_SET(&kind, kind_info, speculative, speculative);
    MSG_SET(&kind, kind_info, streams, streams);
    core_set_kind(w->core, &kind);
}

static void start(struct world *w) {
    struct err e = {0};
    int rc = journal_open_memory(&w->journal, w->memory, &e);
    ASSERT(rc == 0);
    w->failed = false;
    w->outbox = outbox_new((struct peers *)(void *)w, w->config.items_max, w->config.bytes_max);
    effects_init(&w->context, w->journal, w->outbox, NULL);
    w->effects = effects_of(&w->context);
    struct effects watched = {.ctx = w,
                              .append = append,
                              .group = group,
                              .release = release,
                              .load = load,
                              .send = send,
                              .event = event,
                              .token = token,
                              .due = due,
                              .stream = stream};
    w->core = core_new(&w->config, &watched);
    set_kind(w, STR("a"), false, false);
    set_kind(w, STR("b"), true, true);
    core_set_pool(w->core, STR("a"), 1, 3);
    receiver_init(&w->receiver, w->core, (struct peers *)(void *)w, w->outbox, &w->config);
    begin(w);
    rc = journal_replay(w->journal, replay, w, NULL, &e);
    ASSERT(rc == 0);
    core_start(w->core, (struct mono){w->now}, (struct wall){w->wall});
    while (!core_open(w->core)) {
        journal_commit_inline(w->journal);
        hear(w);
    }
    begin(w);
    core_check(w->core);
}

static void stop(struct world *w) {
    receiver_done(&w->receiver);
    core_destroy(&w->core);
    effects_done(&w->context);
    outbox_destroy(&w->outbox);
    journal_abandon(&w->journal);
}

void world_open(struct world *w) {
    *w = (struct world){.config = small_config(), .now = 1000, .wall = 1700000000000};
    w->memory = journal_memory_new();
    watch_open(&w->watcher);
    start(w);
}

static uint64_t live(const struct world *w) {
    struct core_stats s;
    uint64_t n = 0;
    core_stats(w->core, &s);
    for (unsigned state = 0; state < JOB_STATES; state++)
        n += job_state_terminal((enum job_state)state) ? 0 : s.by_state[state];
    return n;
}

void world_kill(struct world *w) {
    stop(w);
    watch_killed(&w->watcher, w->durable);
    start(w);
    ASSERT(live(w) == watch_live(&w->watcher));
}

void world_close(struct world *w) {
    stop(w);
    journal_memory_destroy(&w->memory);
    watch_close(&w->watcher);
}
