/* Workers: they run what they are given under its fence, keep results until they are acknowledged,
 * and sometimes die, freeze or do not obey. Their supervisor reports deaths, mostly. */
#include "tests/sim/sim.h"

#include <stdio.h>

#define TICK_MS   20
#define BEAT_MS   200
#define RESEND_MS 400

void worker_setup(struct sim *s, uint32_t i) {
    struct worker_sim *w = &s->workers[i];
    uint64_t partition = w->partition_until;
    note_table_forget(s->notes.copies[i]);
    *w = (struct worker_sim){
        .link = ++s->links, .alive = true, .born_at = s->now, .partition_until = partition};
    for (size_t n = 0; n < sizeof w->instance; n++)
        w->instance[n] = (uint8_t)rng_u32(&s->rng);
    w->slots = 1 + rng_below(&s->rng, 3);
    w->prefetch = rng_below(&s->rng, 3);
}

static void say(struct sim *s, const struct worker_sim *w, enum verb verb, uint64_t sequence,
                const void *m, struct str payload) {
    peer_send(s, w->link, ROLE_WORKER, verb, sequence, m, payload);
}

static void hello(struct sim *s, struct worker_sim *w) {
    struct str kinds[] = {STR("plain"), STR("quick"), STR("talk")};
    uint64_t running[128], unacked[128];
    size_t n = 0, u = 0;
    for (uint32_t k = 0; k < w->n; k++) {
        const struct held_job *h = &w->held[k];
        uint64_t *to = h->state == HELD_done ? unacked : running;
        size_t *at = h->state == HELD_done ? &u : &n;
        to[(*at)++] = h->job;
        to[(*at)++] = h->fence;
    }
    struct msg_hello m = {0};
    MSG_SET(&m, hello, version_min, 1);
    MSG_SET(&m, hello, version_max, 1);
    MSG_SET(&m, hello, role, ROLE_WORKER);
    MSG_SET(&m, hello, instance, str_make(w->instance, 16));
    MSG_SET(&m, hello, kinds, ((struct str_list){kinds, 3}));
    MSG_SET(&m, hello, slots, w->slots);
    MSG_SET(&m, hello, prefetch, w->prefetch);
    MSG_SET(&m, hello, pool, STR("pool"));
    MSG_SET(&m, hello, running, ((struct uint_list){running, n}));
    MSG_SET(&m, hello, unacked, ((struct uint_list){unacked, u}));
    MSG_SET(&m, hello, notes, note_table_version(s->notes.copies[w - s->workers]));
    w->hello_at = s->now;
    say(s, w, VERB_hello, ++w->sequence, &m, STR(""));
}

static void ref(struct sim *s, const struct worker_sim *w, enum verb verb,
                const struct held_job *h) {
    struct msg_attempt_ref m = {0};
    MSG_SET(&m, attempt_ref, job, h->job);
    MSG_SET(&m, attempt_ref, fence, h->fence);
    say(s, w, verb, 0, &m, STR(""));
}

static void send_result(struct sim *s, struct worker_sim *w, struct held_job *h) {
    struct msg_result m = {0};
    MSG_SET(&m, result, job, h->job);
    MSG_SET(&m, result, fence, h->fence);
    MSG_SET(&m, result, outcome, h->outcome);
    char words[64];
    if (h->outcome == OUTCOME_FAILED || h->outcome == OUTCOME_REJECTED) {
        static const char *const why[] = {"no answer from host %llu", "no page 'n%llu'",
                                          "/tmp/%llu/x: not mine"};
        snprintf(words, sizeof words, why[h->job % 3], (unsigned long long)h->job);
        MSG_SET(&m, result, text, str_of(words));
    }
    if (h->streams && h->job % 4) { /* some write nothing */
        MSG_SET(&m, result, epoch, h->fence + h->job % 3);
        MSG_SET(&m, result, seq, h->job % 50);
    }
    if (h->outcome == OUTCOME_HOLD)
        MSG_SET(&m, result, retry_after_ms, 100);
    struct str result = h->outcome == OUTCOME_DONE ? STR("\x81\xa2ok\xc3") : STR("");
    if (result.len)
        MSG_SET(&m, result, size, result.len);
    h->sent_at = s->now;
    struct brood b = {.n = 0};
    if (h->outcome == OUTCOME_DONE && !h->plan.spawns)
        brood_of_attempt(&b, &h->plan, h->job, h->fence);
    if (b.n)
        MSG_SET(&m, result, children, b.n);
    AUTO_FRAME_OUT f = FRAME_OUT;
    frame_begin(&f, VERB_result, 0);
    frame_add_payload(&f, &m, result, STR(""));
    for (uint32_t k = 0; k < b.n; k++)
        frame_add_child(&f, &b.m[k], str_make(&b.plans[k], sizeof b.plans[k]));
    net_send(s, packet_new(w->link, true, ROLE_WORKER, &f));
}

/* All that were not answered, in one message. */
static void send_spawns(struct sim *s, struct worker_sim *w, struct held_job *h) {
    struct brood b;
    AUTO_FRAME_OUT f = FRAME_OUT;
    brood_of_attempt(&b, &h->plan, h->job, h->fence);
    frame_begin(&f, VERB_spawn, ++w->sequence);
    for (uint32_t k = h->spawned; k < b.n; k++) {
        MSG_SET(&b.m[k], submit, parent, h->job);
        MSG_SET(&b.m[k], submit, fence, h->fence);
        MSG_SET(&b.m[k], submit, index, k);
        frame_add_payload(&f, &b.m[k], str_make(&b.plans[k], sizeof b.plans[k]), STR(""));
    }
    h->spawn_at = s->now;
    net_send(s, packet_new(w->link, true, ROLE_WORKER, &f));
}

static bool spawns_on(struct sim *s, struct worker_sim *w, struct held_job *h) {
    if (!h->plan.spawns || h->cancelled || h->spawned >= h->plan.children)
        return false;
    if (s->now - h->spawn_at > RESEND_MS)
        send_spawns(s, w, h);
    return true;
}

/* ---- running
 * ------------------------------------------------------------------------------------- */
static void forget(struct worker_sim *w, uint32_t k) {
    w->held[k] = w->held[--w->n];
}

static struct held_job *find(struct worker_sim *w, uint64_t job, uint64_t fence) {
    for (uint32_t k = 0; k < w->n; k++)
        if (w->held[k].job == job && w->held[k].fence == fence)
            return &w->held[k];
    return NULL;
}

static uint64_t outcome_of(const struct held_job *h) {
    if (h->cancelled)
        return OUTCOME_CANCELLED;
    if (h->gave_up)
        return OUTCOME_FAILED;
    switch ((enum behaviour)h->plan.behaviour) {
    case DO_fail:
        return h->attempt <= h->plan.times ? OUTCOME_FAILED : OUTCOME_DONE;
    case DO_reject:
        return OUTCOME_REJECTED;
    case DO_hold:
        return h->attempt <= h->plan.times && h->plan.pad == 0 ? OUTCOME_HOLD : OUTCOME_DONE;
    default:
        return OUTCOME_DONE;
    }
}

static uint32_t count(const struct worker_sim *w, enum held_state state) {
    uint32_t n = 0;
    for (uint32_t k = 0; k < w->n; k++)
        n += w->held[k].state == state;
    return n;
}

static void start_some(struct sim *s, struct worker_sim *w) {
    for (uint32_t k = 0; k < w->n && count(w, HELD_running) < w->slots; k++) {
        struct held_job *h = &w->held[k];
        if (h->state != HELD_waiting)
            continue;
        h->state = HELD_running;
        h->ends_at = s->now + h->plan.ms;
        if (h->told_started)
            ref(s, w, VERB_started, h);
    }
}

/* True: its process ended with it. */
static bool end_one(struct sim *s, uint32_t i, struct held_job *h) {
    struct worker_sim *w = &s->workers[i];
    uint8_t *crash = &s->crash_left[h->job % 1024];
    if (h->plan.behaviour == DO_crash && !*crash)
        *crash = (uint8_t)(h->plan.times * h->plan.times + 1);
    if (h->plan.behaviour == DO_crash && !h->cancelled && *crash > 1) {
        --*crash;
        worker_die(s, i, rng_below(&s->rng, 4) != 0);
        return true;
    }
    h->state = HELD_done;
    h->outcome = outcome_of(h);
    if (h->plan.behaviour == DO_hold && h->outcome == OUTCOME_HOLD && rng_below(&s->rng, 2))
        h->outcome = OUTCOME_DONE;
    send_result(s, w, h);
    return false;
}

static bool end_some(struct sim *s, uint32_t i) {
    struct worker_sim *w = &s->workers[i];
    for (uint32_t k = 0; k < w->n; k++) {
        struct held_job *h = &w->held[k];
        if (h->state == HELD_running && spawns_on(s, w, h))
            continue;
        if (h->state == HELD_running && h->ends_at <= s->now && end_one(s, i, h))
            return true;
        if (w->held[k].state == HELD_done && s->now - w->held[k].sent_at > RESEND_MS)
            send_result(s, w, &w->held[k]);
    }
    return false;
}

static void beat(struct sim *s, struct worker_sim *w) {
    if (s->now - w->beat_at < BEAT_MS)
        return;
    w->beat_at = s->now;
    struct msg_heartbeat m = {0};
    MSG_SET(&m, heartbeat, epoch, w->epoch);
    MSG_SET(&m, heartbeat, held, w->n);
    MSG_SET(&m, heartbeat, notes, note_table_version(s->notes.copies[w - s->workers]));
    say(s, w, VERB_heartbeat, 0, &m, STR(""));
}

void worker_tick(struct sim *s, uint32_t i) {
    struct worker_sim *w = &s->workers[i];
    sim_at(s, s->now + TICK_MS, SIM_WORKER, i, NULL);
    if (w->frozen_until > s->now)
        return;
    if (!w->alive) {
        if (s->now - w->born_at > 200)
            worker_setup(s, i);
        return;
    }
    if (end_some(s, i))
        return;
    start_some(s, w);
    if (!w->welcome) {
        if (s->now - w->hello_at > RESEND_MS)
            hello(s, w);
        return;
    }
    beat(s, w);
    if (rng_below(&s->rng, 50) == 0)
        notes_set_some(s, w->link, ROLE_WORKER, &w->sequence);
    if (w->draining && w->n == 0) {
        struct msg_bye m = {0};
        say(s, w, VERB_bye, ++w->sequence, &m, STR(""));
        w->alive = false;
        w->born_at = s->now;
    }
}

void worker_die(struct sim *s, uint32_t i, bool tell) {
    struct worker_sim *w = &s->workers[i];
    sim_say(s, "worker %u dies%s", i, tell ? "" : ", unseen");
    w->alive = false;
    w->n = 0;
    w->born_at = s->now;
    if (!tell)
        return;
    struct msg_worker_died m = {0};
    MSG_SET(&m, worker_died, instance, str_make(w->instance, 16));
    MSG_SET(&m, worker_died, crashed, true);
    /* The supervisor speaks as the operator's connection does. */
    struct client_sim *o = &s->clients[0];
    if (o->welcome)
        peer_send(s, o->link, ROLE_OPERATOR, VERB_worker_died, ++o->sequence, &m, STR(""));
}

bool supervisor_kill(struct sim *s, const uint8_t *instance) {
    for (uint32_t i = 0; i < SIM_WORKERS; i++) {
        if (!s->workers[i].alive || memcmp(s->workers[i].instance, instance, 16) != 0)
            continue;
        worker_die(s, i, true);
        return true;
    }
    return false;
}

/* ---- what the broker says
 * ------------------------------------------------------------------------ */
static void on_dispatch(struct sim *s, struct worker_sim *w, const struct msg_dispatch *m,
                        struct str payload) {
    if (find(w, m->job, m->fence))
        return; /* the same again */
    if (w->n == sizeof w->held / sizeof w->held[0])
        sim_fail(s, "a worker was given far more than it has room for");
    struct held_job h = {.job = m->job, .fence = m->fence, .attempt = (uint32_t)m->attempt};
    if (payload.len != sizeof h.plan)
        sim_fail(s, "a payload of %zu bytes came for one of %zu", payload.len, sizeof h.plan);
    memcpy(&h.plan, payload.at, sizeof h.plan);
    h.told_started = true;
    h.streams = MSG_HAS(m, dispatch, token);
    w->held[w->n++] = h;
    start_some(s, w);
}

static void on_spawned(struct worker_sim *w, const struct msg_spawned *m) {
    struct held_job *h = find(w, m->job, m->fence);
    if (h && m->code)
        h->gave_up = true, h->spawned = h->plan.children;
    else if (h && m->index >= h->spawned)
        h->spawned = (uint32_t)m->index + 1;
}

static void on_ref(struct sim *s, struct worker_sim *w, enum verb verb,
                   const struct msg_attempt_ref *m) {
    struct held_job *h = find(w, m->job, m->fence);
    if (!h)
        return;
    switch (verb) {
    case VERB_result_ack:
        if (h->state == HELD_done)
            forget(w, (uint32_t)(h - w->held));
        return;
    case VERB_lost:
        forget(w, (uint32_t)(h - w->held));
        return;
    case VERB_cancel_attempt:
        if (h->state == HELD_done || h->plan.behaviour == DO_deaf)
            return;
        h->cancelled = true;
        h->state = HELD_running;
        h->ends_at = s->now + rng_below(&s->rng, 30);
        return;
    case VERB_recall:
        if (h->state != HELD_waiting)
            return;
        ref(s, w, VERB_returned, h);
        forget(w, (uint32_t)(h - w->held));
        return;
    default:
        return;
    }
}

static void on_error(struct worker_sim *w, const struct msg_error *m) {
    if (m->code == ERR_NO_HELLO || m->code == ERR_STARTING) {
        w->welcome = false;
        w->hello_at = 0;
    }
}

static void on_message(struct sim *s, struct worker_sim *w, enum verb verb, const union msg_any *m,
                       struct str payload) {
    switch (verb) {
    case VERB_welcome:
        if (w->epoch != m->welcome.epoch)
            note_table_forget(s->notes.copies[w - s->workers]);
        w->welcome = true;
        w->epoch = m->welcome.epoch;
        return;
    case VERB_note_info:
        notes_take(s, (uint32_t)(w - s->workers), &m->note_info);
        return;
    case VERB_dispatch:
        on_dispatch(s, w, &m->dispatch, payload);
        return;
    case VERB_spawned:
        on_spawned(w, &m->spawned);
        return;
    case VERB_error:
        on_error(w, &m->error);
        return;
    case VERB_drain_worker:
        w->draining = true;
        return;
    case VERB_heartbeat:
    case VERB_outcome:
    case VERB_stream_need: /* what it says again is not in this world */
        return;
    default:
        on_ref(s, w, verb, &m->attempt_ref);
        return;
    }
}

void worker_packet(struct sim *s, uint32_t i, struct packet *p) {
    struct worker_sim *w = &s->workers[i];
    if (w->frozen_until > s->now) { /* it lies in its socket until it wakes */
        sim_at(s, w->frozen_until + 1, SIM_PACKET, 0, p);
        return;
    }
    struct frame_in in;
    struct err e = {0};
    AUTO_ARENA arena = arena_new(1U << 20);
    if (w->alive &&
        frame_open(&in, str_make(p->bytes, p->head), str_make(p->bytes + p->head, p->body),
                   str_make(p->bytes + p->head + p->body, p->payloads), &e) == 0) {
        union msg_any m;
        struct frame_item item;
        while (frame_next(&in, &m, arena, &item, &e) == 1)
            on_message(s, w, in.verb->verb, &m, item.payload);
    }
    packet_free(p);
}
