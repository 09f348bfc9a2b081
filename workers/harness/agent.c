#include "workers/harness/agent_int.h"

#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/base/mem.h"

#include <inttypes.h>

#define SAY_AGAIN_MAX 1024 /* results said again in one tick */

/* ---- what is held --------------------------------------------------------------------------- */
static uint64_t attempt_hash(const void *ctx, uint32_t i) {
    return hash_mix(at(ctx, i)->job, 0);
}

static uint32_t *attempt_link(const void *ctx, uint32_t i) {
    return &at(ctx, i)->hash_next;
}

static bool attempt_equal(const void *ctx, uint32_t i, const void *key) {
    return at(ctx, i)->job == *(const uint64_t *)key;
}

static const struct lhash_ops attempt_ops = {attempt_hash, attempt_link, attempt_equal};

static struct attempt *find(const struct agent *a, uint64_t job) {
    uint32_t i = lhash_find(&a->index, hash_mix(job, 0), &job);
    return i ? at(a, i) : NULL;
}

struct attempt *agent_find(const struct agent *a, uint64_t job, uint64_t fence) {
    struct attempt *t = find(a, job);
    return t && t->fence == fence ? t : NULL;
}

static struct attempt *find_exact(const struct agent *a, const struct msg_attempt_ref *m) {
    return agent_find(a, m->job, m->fence);
}

static void row_add(struct agent *a, struct attempt *t, enum attempt_state state) {
    struct row *r = &a->rows[state];
    t->state = state;
    t->next = 0;
    t->prev = r->tail;
    if (r->tail)
        at(a, r->tail)->next = t->index;
    else
        r->head = t->index;
    r->tail = t->index;
    r->n++;
}

static void row_remove(struct agent *a, struct attempt *t) {
    struct row *r = &a->rows[t->state];
    if (t->prev)
        at(a, t->prev)->next = t->next;
    else
        r->head = t->next;
    if (t->next)
        at(a, t->next)->prev = t->prev;
    else
        r->tail = t->prev;
    r->n--;
}

static void row_move(struct agent *a, struct attempt *t, enum attempt_state state) {
    row_remove(a, t);
    row_add(a, t, state);
}

static uint32_t held(const struct agent *a) {
    return a->rows[ATTEMPT_WAITING].n + a->rows[ATTEMPT_RUNNING].n + a->rows[ATTEMPT_ENDED].n;
}

static uint32_t busy(const struct agent *a) {
    return a->rows[ATTEMPT_RUNNING].n - a->inline_running + a->rows[ATTEMPT_GONE].n;
}

static struct str keep(char **to, struct str s) {
    struct str kept = {*to, s.len};
    if (s.len)
        memcpy(*to, s.at, s.len);
    *to += s.len;
    return kept;
}

static struct attempt *attempt_new(struct agent *a, const struct msg_dispatch *m,
                                   struct str payload) {
    uint32_t i = slab_take(&a->attempts);
    struct attempt *t = at(a, i);
    t->index = i;
    t->job = m->job;
    t->fence = m->fence;
    t->alone = m->alone;
    t->streams = MSG_HAS(m, dispatch, token);
    t->token = m->token;
    t->number = (uint32_t)m->attempt;
    t->number_max = (uint32_t)m->attempts_max;
    t->timeout_ms = m->timeout_ms;
    t->parent = m->parent;
    t->siblings = (struct siblings){.parent_state = (enum job_state)m->parent_state,
                                    .total = (uint32_t)m->siblings,
                                    .done = (uint32_t)m->siblings_done,
                                    .dead = (uint32_t)m->siblings_dead,
                                    .cancelled = (uint32_t)m->siblings_cancelled,
                                    .expired = (uint32_t)m->siblings_expired,
                                    .broken = (uint32_t)m->siblings_broken};
    char *p = t->memory = mem_alloc(m->kind.len + m->tenant.len + m->trace.len + payload.len + 1);
    t->payload = keep(&p, payload);
    t->kind = keep(&p, m->kind);
    t->tenant = keep(&p, m->tenant);
    t->trace = keep(&p, m->trace);
    lhash_add(&a->index, i);
    row_add(a, t, ATTEMPT_WAITING);
    return t;
}

static void forget(struct agent *a, struct attempt *t) {
    row_remove(a, t);
    if (t->state != ATTEMPT_GONE)
        lhash_remove(&a->index, t->index);
    if (t->stream)
        a->fx.release(a->fx.ctx, t);
    mem_free(t->memory);
    mem_free(t->ending.memory);
    children_destroy(&t->ending.children);
    children_destroy(&t->spawning.child);
    agent_note_over(t);
    a->unacked_bytes -= t->unacked_bytes;
    slab_give(&a->attempts, t->index);
}

/* ---- what is said --------------------------------------------------------------------------- */
static void say_ref(struct agent *a, enum verb verb, uint64_t job, uint64_t fence) {
    struct msg_attempt_ref m = {0};
    MSG_SET(&m, attempt_ref, job, job);
    MSG_SET(&m, attempt_ref, fence, fence);
    if (a->connected)
        a->fx.say(a->fx.ctx, verb, &m, STR(""), NULL);
}

static void say_result(struct agent *a, struct mono now, struct attempt *t) {
    const struct ending *end = &t->ending;
    struct msg_result m = {0};
    MSG_SET(&m, result, job, t->job);
    MSG_SET(&m, result, fence, t->fence);
    MSG_SET(&m, result, outcome, (uint64_t)end->outcome);
    if (end->result.len)
        MSG_SET(&m, result, size, end->result.len);
    if (end->error)
        MSG_SET(&m, result, error, (uint64_t)end->error);
    if (end->text.len)
        MSG_SET(&m, result, text, end->text);
    if (end->retry_after_ms)
        MSG_SET(&m, result, retry_after_ms, end->retry_after_ms);
    if (t->streams && end->last.epoch) {
        MSG_SET(&m, result, epoch, end->last.epoch);
        MSG_SET(&m, result, seq, end->last.seq);
    }
    if (end->children.n)
        MSG_SET(&m, result, children, end->children.n);
    t->said = now;
    if (a->connected)
        a->fx.say(a->fx.ctx, VERB_result, &m, end->result, &end->children);
}

static void hello(struct agent *a) {
    if (!a->connected)
        return; /* the link says one by itself when it can */
    a->greeting = true;
    a->fx.hello(a->fx.ctx);
}

/* ---- slots ---------------------------------------------------------------------------------- */
static void start(struct agent *a, struct mono now, struct attempt *t) {
    t->started = now;
    row_move(a, t, ATTEMPT_RUNNING);
    if (t->is_inline)
        a->inline_running++;
    a->fx.start(a->fx.ctx, t);
}

static bool may_start(const struct agent *a) {
    return busy(a) < a->config.slots && a->unacked_bytes < AGENT_UNACKED_BYTES;
}

/* The oldest that wait take the free slots. What had to wait is said to have started. */
static void fill_slots(struct agent *a, struct mono now, uint32_t just_came) {
    if (a->filling || a->draining)
        return;
    a->filling = true;
    while (a->rows[ATTEMPT_WAITING].head && may_start(a)) {
        struct attempt *t = at(a, a->rows[ATTEMPT_WAITING].head);
        if (a->config.prefetch || t->index != just_came)
            say_ref(a, VERB_started, t->job, t->fence);
        start(a, now, t);
    }
    a->filling = false;
}

/* Its slot goes on until it obeys; what it reports is dropped. */
static void make_gone(struct agent *a, struct attempt *t) {
    ASSERT(t->state == ATTEMPT_RUNNING && !t->is_inline);
    lhash_remove(&a->index, t->index);
    row_move(a, t, ATTEMPT_GONE);
    t->stop = ERR_STALE_FENCE;
    a->fx.stop(a->fx.ctx, t);
}

static void drop(struct agent *a, struct attempt *t) {
    if (t->state == ATTEMPT_RUNNING)
        make_gone(a, t);
    else
        forget(a, t);
}

static void keep_ending(struct attempt *t, const struct ending *end) {
    t->ending = *end;
    bool mine = end->memory || !end->result.len; /* else the result is (in) the payload */
    if (mine) {
        MEM_FREE(t->memory);
        t->payload = t->kind = t->tenant = t->trace = STR("");
    }
    if (!end->text.len)
        return;
    /* Words are rare: they get a block of their own, with the result if that has one too. */
    size_t result_len = mine ? end->result.len : 0;
    char *p = mem_alloc(end->text.len + result_len);
    char *block = p;
    t->ending.text = keep(&p, end->text);
    if (mine)
        t->ending.result = keep(&p, end->result);
    mem_free(end->memory);
    t->ending.memory = block;
}

static void count_ending(struct agent *a, struct attempt *t) {
    t->unacked_bytes = t->ending.result.len + children_memory(&t->ending.children);
    a->unacked_bytes += t->unacked_bytes;
}

void agent_ended(struct agent *a, struct mono now, struct attempt *t, const struct ending *end) {
    a->done++;
    agent_spawn_over(t);
    agent_note_over(t);
    if (t->state == ATTEMPT_GONE) {
        struct children unwanted = end->children;
        children_destroy(&unwanted);
        mem_free(end->memory);
        forget(a, t);
        fill_slots(a, now, 0);
        return;
    }
    ASSERT(t->state == ATTEMPT_RUNNING || t->state == ATTEMPT_WAITING);
    if (t->state == ATTEMPT_RUNNING && t->is_inline)
        a->inline_running--;
    keep_ending(t, end);
    count_ending(a, t);
    row_move(a, t, ATTEMPT_ENDED);
    if (a->own_drain)
        hello(a); /* one slot less, before the broker learns that it is free */
    say_result(a, now, t);
    fill_slots(a, now, 0);
}

void agent_progress(struct agent *a, const struct attempt *t, uint64_t done, uint64_t total) {
    if (t->state != ATTEMPT_RUNNING || !a->connected)
        return;
    struct msg_progress m = {0};
    MSG_SET(&m, progress, job, t->job);
    MSG_SET(&m, progress, fence, t->fence);
    MSG_SET(&m, progress, done, done);
    if (total)
        MSG_SET(&m, progress, total, total);
    a->fx.say(a->fx.ctx, VERB_progress, &m, STR(""), NULL);
}

/* ---- what the broker says ------------------------------------------------------------------- */
static bool is_full(const struct agent *a) {
    return a->rows[ATTEMPT_WAITING].n + a->rows[ATTEMPT_RUNNING].n >=
               a->config.slots + a->config.prefetch ||
           a->rows[ATTEMPT_ENDED].n >= AGENT_UNACKED_MAX;
}

/* A worker that drains gives back what still comes. When it leaves on its own account its last
 * HELLO could not offer less than one slot, and what is given back would come again at once: then
 * it waits for our BYE, which is near. */
static bool gives_back(const struct agent *a) {
    return a->draining && !(a->own_drain && a->rows[ATTEMPT_RUNNING].n == 0);
}

void agent_dispatch(struct agent *a, struct mono now, const struct msg_dispatch *m,
                    struct str payload) {
    if (!a->connected || a->greeting)
        return;
    struct attempt *t = find(a, m->job);
    if (t && t->fence >= m->fence)
        return; /* a repetition */
    if (t)
        drop(a, t);
    if (is_full(a)) { /* we and the broker are out of step: it takes this back at our HELLO */
        hello(a);
        return;
    }
    if (gives_back(a)) {
        say_ref(a, VERB_returned, m->job, m->fence);
        return;
    }
    struct err e = {0};
    t = attempt_new(a, m, payload);
    enum agent_route route = a->draining ? AGENT_SLOT : a->fx.admit(a->fx.ctx, t, &e);
    if (route == AGENT_REJECT) {
        agent_ended(
            a, now, t,
            &(struct ending){.outcome = OUTCOME_REJECTED, .error = e.code, .text = str_of(e.text)});
        return;
    }
    t->is_inline = route == AGENT_INLINE;
    if (t->is_inline && a->unacked_bytes < AGENT_UNACKED_BYTES)
        start(a, now, t);
    else
        fill_slots(a, now, t->index);
}

void agent_result_ack(struct agent *a, struct mono now, const struct msg_attempt_ref *m) {
    struct attempt *t = find_exact(a, m);
    if (!t || t->state != ATTEMPT_ENDED)
        return;
    forget(a, t);
    if (a->rows[ATTEMPT_WAITING].n)
        fill_slots(a, now, 0);
}

void agent_cancel(struct agent *a, struct mono now, const struct msg_attempt_ref *m) {
    struct attempt *t = find_exact(a, m);
    if (!t || t->state == ATTEMPT_ENDED)
        return;
    enum err_code why = m->code == ERR_TIMEOUT ? ERR_TIMEOUT : ERR_CANCELLED;
    if (t->state == ATTEMPT_WAITING) {
        t->stop = why;
        agent_ended(a, now, t, &(struct ending){.outcome = OUTCOME_CANCELLED, .error = why});
    } else if (t->stop != ERR_CANCELLED && t->stop != why) {
        t->stop = why;
        a->fx.stop(a->fx.ctx, t);
    }
}

void agent_lost(struct agent *a, struct mono now, const struct msg_attempt_ref *m) {
    struct attempt *t = find_exact(a, m);
    if (t)
        drop(a, t);
    fill_slots(a, now, 0);
}

void agent_stream_need(struct agent *a, const struct msg_stream_need *m) {
    const struct msg_attempt_ref ref = {.job = m->job, .fence = m->fence};
    struct attempt *t = find_exact(a, &ref);
    if (!t)
        return; /* given up, or acknowledged: nobody waits for it */
    t->streams = true;
    t->token = m->token;
    if (t->stream)
        a->fx.again(a->fx.ctx, t, (struct stream_position){m->epoch, m->seq});
}

void agent_recall(struct agent *a, struct mono now, const struct msg_attempt_ref *m) {
    struct attempt *t = find_exact(a, m);
    (void)now;
    if (t && t->state == ATTEMPT_ENDED)
        return; /* its result is on the way, or will be said again */
    if (t && t->state == ATTEMPT_RUNNING) {
        say_ref(a, VERB_started, m->job, m->fence);
        return;
    }
    if (t)
        forget(a, t);
    say_ref(a, VERB_returned, m->job, m->fence);
}

/* ---- the link ------------------------------------------------------------------------------- */
void agent_welcome(struct agent *a, struct mono now, const struct msg_welcome *terms) {
    a->connected = true;
    a->greeting = false;
    a->lease_ms = terms->heartbeat_ms * terms->missed_max;
    for (uint32_t i = a->rows[ATTEMPT_ENDED].head; i; i = at(a, i)->next)
        say_result(a, now, at(a, i));
    agent_spawns_say(a, now, true);
}

void agent_down(struct agent *a) {
    a->connected = false;
    a->greeting = true;
    agent_notes_late(a, (struct mono){0}, true);
}

static size_t put_pairs(const struct agent *a, enum attempt_state state, uint64_t *to, size_t n) {
    for (uint32_t i = a->rows[state].head; i; i = at(a, i)->next) {
        to[n++] = at(a, i)->job;
        to[n++] = at(a, i)->fence;
    }
    return n;
}

void agent_fill_hello(struct agent *a, struct msg_hello *m) {
    a->running_pairs = mem_grow(a->running_pairs, 2 * (size_t)held(a) + 2, sizeof(uint64_t));
    a->unacked_pairs = mem_grow(a->unacked_pairs, 2 * (size_t)held(a) + 2, sizeof(uint64_t));
    size_t running = put_pairs(a, ATTEMPT_RUNNING, a->running_pairs, 0);
    running = put_pairs(a, ATTEMPT_WAITING, a->running_pairs, running);
    size_t unacked = put_pairs(a, ATTEMPT_ENDED, a->unacked_pairs, 0);
    uint64_t slots = a->config.slots, prefetch = a->config.prefetch;
    if (a->draining) {
        slots = a->rows[ATTEMPT_RUNNING].n ? a->rows[ATTEMPT_RUNNING].n : 1;
        prefetch = 0;
    }
    MSG_SET(m, hello, slots, slots);
    MSG_SET(m, hello, prefetch, prefetch);
    MSG_SET(m, hello, running, ((struct uint_list){a->running_pairs, running}));
    MSG_SET(m, hello, unacked, ((struct uint_list){a->unacked_pairs, unacked}));
}

void agent_fill_heartbeat(const struct agent *a, struct msg_heartbeat *m) {
    MSG_SET(m, heartbeat, busy, busy(a));
    MSG_SET(m, heartbeat, held, held(a));
}

/* ---- time ----------------------------------------------------------------------------------- */
void agent_tick(struct agent *a, struct mono now) {
    for (uint32_t i = a->rows[ATTEMPT_RUNNING].head; i; i = at(a, i)->next) {
        struct attempt *t = at(a, i);
        if (!t->stop && t->timeout_ms && mono_reached(now, mono_add(t->started, t->timeout_ms))) {
            t->stop = ERR_TIMEOUT;
            a->fx.stop(a->fx.ctx, t);
        }
    }
    agent_spawns_say(a, now, false);
    agent_notes_late(a, now, false);
    struct row *ended = &a->rows[ATTEMPT_ENDED];
    for (uint32_t n = 0; n < SAY_AGAIN_MAX && ended->head && a->connected; n++) {
        struct attempt *t = at(a, ended->head);
        if (!mono_reached(now, mono_add(t->said, a->lease_ms)))
            return;
        row_move(a, t, ATTEMPT_ENDED);
        say_result(a, now, t);
    }
}

struct mono agent_next(const struct agent *a, struct mono now) {
    if (!a->rows[ATTEMPT_RUNNING].n && !a->rows[ATTEMPT_ENDED].n)
        return MONO_NEVER;
    return mono_add(now, AGENT_TICK_MS);
}

/* ---- leaving -------------------------------------------------------------------------------- */
void agent_drain(struct agent *a, bool own) {
    if (a->draining)
        return;
    a->draining = true;
    a->own_drain = own;
    while (a->rows[ATTEMPT_WAITING].head) {
        struct attempt *t = at(a, a->rows[ATTEMPT_WAITING].head);
        say_ref(a, VERB_returned, t->job, t->fence);
        forget(a, t);
    }
    if (own)
        hello(a);
}

void agent_stop_all(struct agent *a) {
    for (uint32_t i = a->rows[ATTEMPT_RUNNING].head; i; i = at(a, i)->next) {
        at(a, i)->stop = ERR_CANCELLED;
        a->fx.stop(a->fx.ctx, at(a, i));
    }
}

/* ---- looking in ----------------------------------------------------------------------------- */
bool agent_is_draining(const struct agent *a) {
    return a->draining;
}

bool agent_is_drained(const struct agent *a) {
    return a->draining && !a->rows[ATTEMPT_RUNNING].n && !a->rows[ATTEMPT_ENDED].n;
}

uint32_t agent_running(const struct agent *a) {
    return a->rows[ATTEMPT_RUNNING].n;
}

uint32_t agent_unacked(const struct agent *a) {
    return a->rows[ATTEMPT_ENDED].n;
}

uint64_t agent_done(const struct agent *a) {
    return a->done;
}

void agent_each_running(const struct agent *a, void (*visit)(void *ctx, struct attempt *t),
                        void *ctx) {
    for (uint32_t i = a->rows[ATTEMPT_RUNNING].head; i; i = at(a, i)->next)
        visit(ctx, at(a, i));
}

struct agent *agent_new(const struct agent_config *config, const struct agent_effects *effects) {
    ASSERT(config->slots >= 1 && config->slots <= AGENT_SLOTS_MAX);
    ASSERT(config->prefetch <= AGENT_PREFETCH_MAX);
    struct agent *a = MEM_NEW(struct agent);
    a->config = *config;
    a->fx = *effects;
    a->lease_ms = 3000;
    a->greeting = true;
    slab_init(&a->attempts, sizeof(struct attempt));
    lhash_init(&a->index, &attempt_ops, a);
    return a;
}

void agent_destroy(struct agent **ap) {
    struct agent *a = *ap;
    if (!a)
        return;
    *ap = NULL;
    for (uint32_t state = 0; state < 4; state++)
        while (a->rows[state].head)
            forget(a, at(a, a->rows[state].head));
    lhash_done(&a->index);
    slab_done(&a->attempts);
    mem_free(a->running_pairs);
    mem_free(a->unacked_pairs);
    mem_free(a);
}
