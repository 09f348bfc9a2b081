/* Workers and the broker's core, as they are, over a network that loses, doubles and delays, with
 * kills on both sides; in virtual time, from one seed a history.
 *
 * When the faults are over, every job must have ended once, as done, with the result of its own
 * payload; every worker must hold nothing; and nobody may have been refused. */
#include "common/base/mem.h"
#include "tests/unit/agent_world.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* ---- a worker ------------------------------------------------------------------------------- */
static void fx_say(void *ctx, enum verb verb, const void *message, struct str payload,
                   const struct children *children) {
    struct peer *p = ctx;
    static const struct children none = {0};
    struct frame_children parts = children_parts(children ? children : &none);
    if (p->link.state != LINK_STATE_UP)
        return;
    frame_begin(&p->w->out, verb, 0);
    assert_int_equal(frame_add_family(&p->w->out, message, payload, &parts), 0);
    post(p->w, p->socket, true, &p->w->out, 0);
    p->w->tally.taken_back += verb == VERB_returned;
}

static uint64_t fx_spawn(void *ctx, const struct children *child) {
    struct peer *p = ctx;
    struct frame_children parts = children_parts(child);
    if (p->link.state != LINK_STATE_UP)
        return 0;
    uint64_t sequence = link_core_sequence(&p->link);
    frame_begin(&p->w->out, VERB_spawn, sequence);
    assert_int_equal(frame_add_encoded(&p->w->out, &parts), 0);
    post(p->w, p->socket, true, &p->w->out, 0);
    p->w->tally.spawns++;
    return sequence;
}

static void perform(struct peer *p, const struct link_todo *todo);

static void fx_hello(void *ctx) {
    struct peer *p = ctx;
    struct link_todo todo;
    link_core_hello_again(&p->link, now_of(p->w), &todo);
    perform(p, &todo);
}

static enum agent_route fx_admit(void *ctx, struct attempt *a, struct err *e) {
    (void)ctx;
    (void)e;
    uint64_t number = job_number(a->payload);
    return number % 5 == 0 && number % 7 != 5 ? AGENT_INLINE : AGENT_SLOT;
}

/* ---- its streams ---------------------------------------------------------------------------- */
/* The agent keeps it and never looks into it. */
static struct stream_log *log_of(const struct attempt *a) {
    return (struct stream_log *)a->stream;
}

static void say_stream(struct peer *p, const struct attempt *a) {
    struct msg_stream head;
    struct str events;
    while (a->stop != ERR_STALE_FENCE && stream_log_next(log_of(a), &head, &events))
        relay_hears(p->w, &head, events);
}

static void open_stream(struct peer *p, struct attempt *a) {
    struct stream_log *l = mem_alloc(sizeof *l);
    stream_log_init(l, a->job, a->fence, a->token, 1U << 16);
    a->stream = (struct stream_out *)l;
    p->w->tally.streams++;
}

/* Event n is the text "n ". */
static void write_event(struct peer *p, const struct attempt *a) {
    char text[32];
    struct err e = {0};
    struct stream_log *l = log_of(a);
    if (rng_below(&p->w->rng, 20) == 0)
        assert_int_equal(stream_log_reset(l, &e), 0);
    int len = snprintf(text, sizeof text, "%u ", (unsigned)l->seq + 1);
    assert_int_equal(stream_log_text(l, 0, str_make(text, (size_t)len), &e), 0);
    say_stream(p, a);
}

static void fx_again(void *ctx, struct attempt *a, struct stream_position have) {
    stream_log_rewind(log_of(a), a->token, have);
    say_stream(ctx, a);
}

static void fx_release(void *ctx, struct attempt *a) {
    struct peer *p = ctx;
    p->w->tally.streams--;
    stream_log_done(log_of(a));
    mem_free(log_of(a));
    a->stream = NULL;
}

/* ---- its children --------------------------------------------------------------------------- */
enum spawns { NONE, WITH_RESULT, NOW };

/* Which jobs spawn: two children, and with the result a then for them. */
static enum spawns spawns_of(uint64_t number) {
    return number >= JOBS ? NONE : number % 7 == 3 ? WITH_RESULT : number % 7 == 5 ? NOW : NONE;
}

/* What is spawned now may be so by several attempts: its unique key keeps it to one. */
static void add_child(struct children *to, const struct attempt *a, uint32_t k) {
    char room[16], unique[32];
    uint64_t number = job_number(a->payload), n = JOBS + 4 * number + k;
    struct msg_submit m = {0};
    struct err e = {0};
    MSG_SET(&m, submit, kind, STR("k"));
    if (spawns_of(number) == NOW) {
        int len = snprintf(unique, sizeof unique, "%u", (unsigned)n);
        MSG_SET(&m, submit, unique, str_make(unique, (size_t)len));
        MSG_SET(&m, submit, window_ms, 3600000);
        MSG_SET(&m, submit, parent, a->job);
        MSG_SET(&m, submit, fence, a->fence);
        MSG_SET(&m, submit, index, k);
    } else if (k == 3) {
        MSG_SET(&m, submit, then, true);
    }
    if (children_add(to, &m, job_payload_of(n, room), &e) < 0)
        fail_msg("%s", e.text);
}

static void spawn_next(struct peer *p, struct run *r) {
    struct children child = {0};
    add_child(&child, r->attempt, r->spawned);
    r->asks = true;
    agent_spawn(p->agent, now_of(p->w), r->attempt, &child, r->spawned);
}

/* True: it has to wait for them yet. */
static bool spawns_on(struct peer *p, struct run *r) {
    if (spawns_of(job_number(r->attempt->payload)) != NOW || r->attempt->stop || r->spawned == 2)
        return false;
    if (!r->asks)
        spawn_next(p, r);
    return true;
}

static void fx_spawned(void *ctx, struct attempt *a, const struct err *e) {
    struct peer *p = ctx;
    assert_int_equal(e->code, ERR_OK);
    for (size_t i = 0; i < SLOTS; i++) {
        if (p->runs[i].attempt != a)
            continue;
        assert_true(p->runs[i].asks);
        p->runs[i].asks = false;
        p->runs[i].spawned++;
        p->w->tally.spawned++;
    }
}

/* It waited for its parent and two siblings. */
static void check_then(struct world *w, const struct attempt *a) {
    const struct siblings *s = &a->siblings;
    uint64_t number = job_number(a->payload);
    bool is_then = number >= JOBS && (number - JOBS) % 4 == 3;
    assert_int_equal(s->parent_state, is_then ? JOB_done : JOB_NONE);
    assert_int_equal(a->parent != 0, number >= JOBS);
    assert_int_equal(s->total, is_then ? 2 : 0);
    assert_int_equal(s->done, is_then ? 2 : 0);
    w->tally.thens += is_then;
}

/* ---- its jobs ------------------------------------------------------------------------------- */
static void end_run(struct peer *p, struct attempt *a) {
    struct ending end = {.outcome = OUTCOME_DONE};
    if (a->stop == ERR_TIMEOUT) {
        end = (struct ending){.outcome = OUTCOME_FAILED, .error = ERR_TIMEOUT, .text = STR("late")};
    } else if (a->stop) {
        end.outcome = OUTCOME_CANCELLED;
    } else if (job_number(a->payload) % 2) {
        end.memory = memcpy(mem_alloc(a->payload.len), a->payload.at, a->payload.len);
        end.result = str_make(end.memory, a->payload.len);
    } else {
        end.result = a->payload;
    }
    if (end.outcome == OUTCOME_DONE && spawns_of(job_number(a->payload)) == WITH_RESULT)
        for (uint32_t k = 1; k <= 3; k++)
            add_child(&end.children, a, k);
    end.last = stream_log_position(log_of(a));
    agent_ended(p->agent, now_of(p->w), a, &end);
}

static void fx_start(void *ctx, struct attempt *a) {
    struct peer *p = ctx;
    struct world *w = p->w;
    w->tally.starts++;
    assert_true(a->streams);
    check_then(w, a);
    open_stream(p, a);
    if (a->job % 3)
        write_event(p, a);
    if (a->is_inline) {
        end_run(p, a);
        return;
    }
    for (size_t i = 0; i < SLOTS; i++) {
        if (p->runs[i].attempt)
            continue;
        uint32_t long_ms = w->faults ? 6000 : 1000;
        p->runs[i] = (struct run){.attempt = a, .end_ms = w->now_ms + rng_below(&w->rng, long_ms)};
        p->runs[i].stubborn = chance(w, 100000);
        return;
    }
    fail_msg("no free slot");
}

static void fx_stop(void *ctx, struct attempt *a) {
    struct peer *p = ctx;
    p->w->tally.gone += a->stop == ERR_STALE_FENCE;
    for (size_t i = 0; i < SLOTS; i++)
        if (p->runs[i].attempt == a && !p->runs[i].stubborn)
            p->runs[i].end_ms = p->w->now_ms + rng_below(&p->w->rng, 500);
}

static void say(struct peer *p, enum verb verb, uint64_t sequence, const void *message) {
    frame_begin(&p->w->out, verb, sequence);
    assert_int_equal(frame_add(&p->w->out, message), 0);
    post(p->w, p->socket, true, &p->w->out, 0);
}

static void say_hello(struct peer *p) {
    struct msg_hello m = {0};
    struct str kind = STR("k");
    MSG_SET(&m, hello, version_min, 1);
    MSG_SET(&m, hello, version_max, 1);
    MSG_SET(&m, hello, role, ROLE_WORKER);
    MSG_SET(&m, hello, instance, str_make(p->instance, 16));
    MSG_SET(&m, hello, kinds, ((struct str_list){&kind, 1}));
    agent_fill_hello(p->agent, &m);
    say(p, VERB_hello, p->link.hello_sequence, &m);
}

static void perform(struct peer *p, const struct link_todo *todo) {
    struct world *w = p->w;
    assert_false(todo->refused);
    if (todo->close) {
        drop_link(w, p->socket);
        p->socket = 0;
    }
    if (todo->open)
        p->socket = ++w->tally.sockets;
    if (todo->hello)
        say_hello(p);
    if (todo->heartbeat) {
        struct msg_heartbeat m = {0};
        MSG_SET(&m, heartbeat, epoch, p->link.epoch);
        agent_fill_heartbeat(p->agent, &m);
        say(p, VERB_heartbeat, 0, &m);
    }
    if (todo->down)
        agent_down(p->agent);
    if (todo->up)
        agent_welcome(p->agent, now_of(w), &p->link.terms);
}

static void start_worker(struct world *w, struct peer *p) {
    *p = (struct peer){.w = w};
    for (size_t i = 0; i < 16; i++)
        p->instance[i] = (uint8_t)rng_u32(&w->rng);
    struct agent_effects fx = {.ctx = p,
                               .say = fx_say,
                               .spawn = fx_spawn,
                               .spawned = fx_spawned,
                               .hello = fx_hello,
                               .admit = fx_admit,
                               .start = fx_start,
                               .stop = fx_stop,
                               .again = fx_again,
                               .release = fx_release};
    p->agent = agent_new(&(struct agent_config){.slots = SLOTS, .prefetch = PREFETCH}, &fx);
    link_core_init(&p->link, rng_u64(&w->rng));
    struct link_todo todo;
    link_core_start(&p->link, now_of(w), &todo);
    perform(p, &todo);
}

static void end_worker(struct world *w, struct peer *p) {
    drop_link(w, p->socket);
    agent_destroy(&p->agent);
}

static void worker_hears(struct peer *p, struct frame_in *in) {
    union msg_any m;
    struct frame_item item;
    struct err e = {0};
    struct link_todo todo;
    struct mono now = now_of(p->w);
    while (frame_next(in, &m, NULL, &item, &e) == 1) {
        bool ours = link_core_message(&p->link, now, in->verb->verb, in->sequence, &m, &todo);
        perform(p, &todo);
        if (!ours)
            continue;
        if (in->verb->verb == VERB_dispatch)
            agent_dispatch(p->agent, now, &m.dispatch, item.payload);
        else if (in->verb->verb == VERB_result_ack)
            agent_result_ack(p->agent, now, &m.attempt_ref);
        else if (in->verb->verb == VERB_spawned)
            agent_spawned(p->agent, in->sequence, &m.spawned);
        else if (in->verb->verb == VERB_error)
            agent_refused(p->agent, in->sequence, &m.error);
        else if (in->verb->verb == VERB_cancel_attempt)
            agent_cancel(p->agent, now, &m.attempt_ref);
        else if (in->verb->verb == VERB_lost)
            agent_lost(p->agent, now, &m.attempt_ref);
        else if (in->verb->verb == VERB_stream_need)
            agent_stream_need(p->agent, &m.stream_need);
        else if (in->verb->verb == VERB_recall)
            agent_recall(p->agent, now, &m.attempt_ref);
        else if (in->verb->verb == VERB_drain_worker)
            agent_drain(p->agent, false);
    }
}

static void worker_step(struct world *w, struct peer *p) {
    struct link_todo todo;
    if (mono_reached(now_of(w), link_core_next(&p->link))) {
        link_core_tick(&p->link, now_of(w), true, &todo);
        perform(p, &todo);
    }
    for (size_t i = 0; i < SLOTS; i++) {
        struct attempt *a = p->runs[i].attempt;
        if (a && a->job % 3 && rng_below(&w->rng, 50) == 0)
            write_event(p, a);
        if (!a || spawns_on(p, &p->runs[i]) || w->now_ms < p->runs[i].end_ms)
            continue;
        p->runs[i].attempt = NULL;
        end_run(p, a);
    }
    agent_tick(p->agent, now_of(w));
    if (agent_is_drained(p->agent)) {
        say(p, VERB_bye, 0, &(struct msg_bye){0});
        agent_destroy(&p->agent);
        start_worker(w, p); /* its supervisor */
    }
}

/* ---- the run -------------------------------------------------------------------------------- */
static bool same_link(const struct mail *m, const struct world *w) {
    for (size_t i = 0; i < WORKERS; i++)
        if (w->peers[i].socket == m->link)
            return true;
    return false;
}

static void deliver(struct world *w, const struct mail *m, struct arena *arena) {
    struct frame_in in;
    struct err e = {0};
    assert_int_equal(frame_open(&in, str_make(m->bytes, m->head),
                                str_make(m->bytes + m->head, m->body),
                                str_make(m->bytes + m->head + m->body, m->payloads), &e),
                     0);
    if (m->to_broker) {
        broker_hears(w, &in, m->link, arena);
        return;
    }
    for (size_t i = 0; i < WORKERS; i++)
        if (w->peers[i].socket == m->link)
            worker_hears(&w->peers[i], &in);
}

static void deliver_due(struct world *w, bool to_broker, struct arena *arena) {
    for (size_t i = 0; i < w->mail_n; i++) {
        struct mail m = w->mail[i];
        if (m.to_broker != to_broker || m.at_ms > w->now_ms || !m.link ||
            (m.after && m.after >= w->durable))
            continue;
        w->mail[i].link = 0;
        if (m.to_broker || same_link(&m, w))
            deliver(w, &m, arena);
        arena_reset(arena);
    }
    size_t kept = 0;
    for (size_t i = 0; i < w->mail_n; i++) {
        if (w->mail[i].link)
            w->mail[kept++] = w->mail[i];
        else
            mem_free(w->mail[i].bytes);
    }
    w->mail_n = kept;
}

static void broker_step(struct world *w, struct arena *arena) {
    broker_begin(w);
    deliver_due(w, true, arena);
    relay_turn(w);
    core_end(w->core, true);
}

static void faults(struct world *w) {
    struct peer *p = &w->peers[rng_below(&w->rng, WORKERS)];
    if (chance(w, 500)) { /* a connection is cut: what was on it is lost */
        drop_link(w, p->socket);
        link_core_failed(&p->link, now_of(w));
        agent_down(p->agent);
        p->socket = 0;
    }
    if (chance(w, 600)) /* longer than a lease, now and then */
        p->cut_until_ms = w->now_ms + rng_below(&w->rng, 8000);
    if (chance(w, 300)) {
        end_worker(w, p);
        start_worker(w, p);
    }
    if (chance(w, 200))
        kill_broker(w);
    if (chance(w, 200))
        agent_drain(p->agent, true);
}

static void check_end(struct world *w) {
    struct core_stats stats;
    core_stats(w->core, &stats);
    core_check(w->core);
    for (size_t s = 0; s < JOB_STATES; s++)
        if (s != JOB_done)
            assert_int_equal(stats.by_state[s], 0);
    uint64_t done[NUMBERS] = {0}, ids[NUMBERS] = {0};
    for (uint64_t at = 1; at <= w->log_n; at++) {
        struct record_room room;
        struct record r;
        open_row(w, at, &room, &r);
        if (r.payload.len && !ids[job_number(r.payload)])
            ids[job_number(r.payload)] = r.state->id;
        if (!r.state || r.state->state != JOB_done)
            continue;
        uint64_t n = job_number(r.result);
        done[n]++;
        assert_int_equal(r.state->id, ids[n]); /* its own */
    }
    for (size_t n = 0; n < JOBS; n++) {
        enum spawns spawns = spawns_of(n);
        const uint64_t *below = &done[JOBS + 4 * n];
        assert_int_equal(done[n], 1);
        assert_int_equal(below[0], spawns == NOW);
        assert_int_equal(below[1], spawns != NONE);
        assert_int_equal(below[2], spawns == WITH_RESULT);
        assert_int_equal(below[3], spawns == WITH_RESULT);
    }
    for (size_t i = 0; i < WORKERS; i++) {
        struct msg_heartbeat m = {0};
        agent_fill_heartbeat(w->peers[i].agent, &m);
        assert_int_equal(m.held, 0);
        assert_int_equal(m.busy, 0);
    }
}

static bool all_done(const struct world *w) {
    struct core_stats stats;
    core_stats(w->core, &stats);
    for (size_t s = 0; s < JOB_STATES; s++)
        if (s != JOB_done && stats.by_state[s])
            return false;
    return true;
}

static struct tally run_world(uint64_t seed) {
    struct world *w = MEM_NEW(struct world);
    AUTO_ARENA arena = arena_new(1U << 20);
    w->rng = rng_seed(seed);
    w->now_ms = 1000;
    w->durable = 1;
    w->log = mem_zalloc(LOG_MAX * sizeof *w->log);
    w->mail = mem_zalloc(MAIL_MAX * sizeof *w->mail);
    w->out = FRAME_OUT;
    w->scratch = BUF(1U << 20);
    start_broker(w);
    broker_step(w, arena);
    for (size_t i = 0; i < WORKERS; i++)
        start_worker(w, &w->peers[i]);
    uint64_t quiet_ms = 0;
    for (; w->now_ms < END_MS && quiet_ms < 10000; w->now_ms += STEP_MS) {
        w->faults = w->now_ms < FAULTS_MS;
        if (w->submitted < JOBS && core_open(w->core) && w->now_ms >= w->submitted * SUBMIT_MS)
            submit(w);
        broker_step(w, arena);
        deliver_due(w, false, arena);
        for (size_t i = 0; i < WORKERS; i++)
            worker_step(w, &w->peers[i]);
        faults(w);
        quiet_ms = !w->faults && w->submitted == JOBS && all_done(w) ? quiet_ms + STEP_MS : 0;
    }
    check_end(w);
    w->tally.epochs = core_epoch(w->core);
    struct tally tally = w->tally;
    for (size_t i = 0; i < WORKERS; i++)
        agent_destroy(&w->peers[i].agent);
    assert_int_equal(w->tally.streams, 0); /* each was handed back, once */
    for (size_t i = 0; i < w->mail_n; i++)
        mem_free(w->mail[i].bytes);
    for (uint64_t i = 0; i < w->log_n; i++)
        mem_free(w->log[i].bytes);
    core_destroy(&w->core);
    frame_destroy(&w->out);
    buf_destroy(&w->scratch);
    mem_free(w->log);
    mem_free(w->mail);
    mem_free(w);
    return tally;
}

/* P-46, P-49, P-54, P-57, P-81, P-83: whatever is lost or comes twice, each job ends once. */
static void test_nothing_is_lost(void **state) {
    (void)state;
    struct tally all = {0};
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        print_message("seed %u\n", (unsigned)seed);
        struct tally t = run_world(seed);
        all.starts += t.starts;
        all.gone += t.gone;
        all.taken_back += t.taken_back;
        all.sockets += t.sockets;
        all.epochs += t.epochs;
        all.needs += t.needs;
        all.lost_frames += t.lost_frames;
        all.whole += t.whole;
        all.spawns += t.spawns;
        all.spawned += t.spawned;
        all.thens += t.thens;
    }
    print_message("%" PRIu64 " starts, %" PRIu64 " gone, %" PRIu64 " taken back, %" PRIu64
                  " connections, %" PRIu64 " lives of the broker, %" PRIu64 " frames lost, %" PRIu64
                  " needs, %" PRIu64 " streams whole, %" PRIu64 " spawns said for %" PRIu64
                  ", %" PRIu64 " thens\n",
                  all.starts, all.gone, all.taken_back, all.sockets, all.epochs, all.lost_frames,
                  all.needs, all.whole, all.spawns, all.spawned, all.thens);
    assert_true(all.spawned > SEEDS && all.spawns > all.spawned && all.thens > SEEDS);
    assert_true(all.starts > SEEDS * JOBS);
    assert_true(all.lost_frames && all.needs > SEEDS && all.whole > SEEDS);
    assert_true(all.gone && all.taken_back && all.epochs > SEEDS);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nothing_is_lost)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
