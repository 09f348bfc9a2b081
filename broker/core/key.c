/* Ordering keys: jobs of one tenant and queue with the same key run one at a time.
 *
 * A key has one holder: the job that is in a lane, runs, or waits to be tried again. The others
 * that are due wait in a heap by id; a job with a future run_at or delay is not here at all, so it
 * holds nobody up. When a holder ends, the next one is let through once that end is durable: else a
 * crash could run the ended one again behind it. A key may ask for a least time between two starts;
 * after a restart of the broker every such key counts as just started, as nobody knows better. */
#include "broker/core/core_int.h"
#include "common/base/mem.h"

struct key_name {
    uint64_t hash;
    uint32_t queue, tenant;
    struct str text;
};

static uint64_t key_hash_of(const struct core *c, uint32_t queue, uint32_t tenant,
                            struct str text) {
    return hash_mix(hash_bytes(c->config.seed, text), ((uint64_t)queue << 32) | tenant);
}

static uint64_t key_hash(const void *ctx, uint32_t i) {
    return key_at(ctx, i)->hash;
}

static uint32_t *key_link(const void *ctx, uint32_t i) {
    return &key_at(ctx, i)->hash_next;
}

static bool key_equal(const void *ctx, uint32_t i, const void *name) {
    const struct key *k = key_at(ctx, i);
    const struct key_name *n = name;
    return k->hash == n->hash && k->queue == n->queue && k->tenant == n->tenant &&
           str_eq(k->text, n->text);
}

static const struct lhash_ops key_ops = {key_hash, key_link, key_equal};

void keys_setup(struct core *c) {
    slab_init(&c->keys, sizeof(struct key));
    lhash_init(&c->key_index, &key_ops, c);
}

static uint32_t key_take(struct core *c, uint32_t queue, uint32_t tenant, struct str text) {
    struct key_name name = {key_hash_of(c, queue, tenant, text), queue, tenant, text};
    uint32_t i = lhash_find(&c->key_index, name.hash, &name);
    if (i)
        return i;
    i = slab_take(&c->keys);
    struct key *k = key_at(c, i);
    char *copy = mem_alloc(text.len);
    memcpy(copy, text.at, text.len);
    *k =
        (struct key){.hash = name.hash, .queue = queue, .tenant = tenant, .text = {copy, text.len}};
    names_hold(&c->queues, queue);
    names_hold(&c->tenants, tenant);
    if (c->replaying || c->highest_epoch) { /* there was a life before this one */
        k->started = true;
        k->last_start_ms = c->replaying ? c->now.ms : c->started.ms;
    }
    lhash_add(&c->key_index, i);
    return i;
}

/* With an interval, which none of that name has yet. */
bool key_is_new(const struct core *c, uint32_t queue, uint32_t tenant, struct str text,
                uint64_t interval_ms) {
    if (!interval_ms)
        return false;
    struct key_name name = {key_hash_of(c, queue, tenant, text), queue, tenant, text};
    uint32_t i = lhash_find(&c->key_index, name.hash, &name);
    return !i || !key_at(c, i)->interval_ms;
}

/* A key with an interval outlives its jobs by it, so their bound is not enough for it. `more` of
 * them come before this one. */
int key_room(const struct core *c, uint32_t queue, uint32_t tenant, struct str text,
             uint64_t interval_ms, uint32_t more, struct err *e) {
    if (!interval_ms || c->interval_keys + more < c->config.interval_keys_max ||
        !key_is_new(c, queue, tenant, text, interval_ms))
        return 0;
    return err_set(e, ERR_BUSY, "%u keys with an interval are held, the bound is %u",
                   c->interval_keys, c->config.interval_keys_max);
}

void key_attach(struct core *c, uint32_t i, struct str text, uint64_t interval_ms) {
    struct job *j = job_at(c, i);
    uint32_t key = key_take(c, line_at(c, j->line)->queue, j->tenant, text);
    struct key *k = key_at(c, key);
    k->refs++;
    if (interval_ms) {
        c->interval_keys += k->interval_ms == 0;
        k->interval_ms = interval_ms;
    }
    job_need_extra(c, i)->key = key;
}

static uint64_t may_start_ms(const struct key *k) {
    return k->started ? k->last_start_ms + k->interval_ms : 0;
}

static bool interval_open(const struct core *c, const struct key *k) {
    return c->now.ms >= may_start_ms(k) || MUTANT(interval_ignored);
}

void key_drop_if_idle(struct core *c, uint32_t i) {
    struct key *k = key_at(c, i);
    if (k->refs || k->in_release || k->timer)
        return;
    if (!interval_open(c, k)) { /* remember the last start for as long as it matters */
        timer_set(c, TIMER_KEY, i, may_start_ms(k));
        return;
    }
    c->interval_keys -= k->interval_ms != 0;
    names_let_go(&c->queues, k->queue);
    names_let_go(&c->tenants, k->tenant);
    lhash_remove(&c->key_index, i);
    mem_free((void *)(uintptr_t)k->text.at);
    mem_free(k->heap);
    slab_give(&c->keys, i);
}

/* ---- the heap of waiting jobs, by id -----------------------------------------------------------
 */
bool key_waits(const struct core *c, uint32_t i, const struct waiter *w) {
    if (!slab_is_used(&c->jobs, w->job))
        return false;
    const struct job *j = job_at(c, w->job);
    const struct extra *x = job_extra(c, j);
    return j->id == w->id && j->state == JOB_blocked && x && x->key == i && x->ticket == w->ticket;
}

static void heap_push(struct key *k, struct waiter w) {
    if (k->heap_n == k->heap_size) {
        k->heap_size = k->heap_size ? k->heap_size * 2 : 4;
        k->heap = mem_grow(k->heap, k->heap_size, sizeof *k->heap);
    }
    uint32_t at = k->heap_n++;
    while (at && k->heap[(at - 1) / 2].id > w.id) {
        k->heap[at] = k->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    k->heap[at] = w;
}

static void heap_pop(struct key *k) {
    struct waiter last = k->heap[--k->heap_n];
    uint32_t at = 0;
    for (;;) {
        uint32_t child = at * 2 + 1;
        if (child >= k->heap_n)
            break;
        if (child + 1 < k->heap_n && k->heap[child + 1].id < k->heap[child].id)
            child++;
        if (k->heap[child].id >= last.id)
            break;
        k->heap[at] = k->heap[child];
        at = child;
    }
    if (k->heap_n)
        k->heap[at] = last;
}

/* Jobs that left while they waited stay in the heap until they come up, or outnumber the others. */
static void heap_sweep(struct core *c, uint32_t i) {
    struct key *k = key_at(c, i);
    if (k->heap_n < 64 || k->heap_n < k->waiting * 2)
        return;
    struct waiter *old = k->heap;
    uint32_t n = k->heap_n;
    k->heap = NULL;
    k->heap_n = k->heap_size = 0;
    for (uint32_t w = 0; w < n; w++)
        if (key_waits(c, i, &old[w]))
            heap_push(k, old[w]);
    mem_free(old);
}

/* ---- in, through, out --------------------------------------------------------------------------
 */
static void make_wait(struct core *c, uint32_t i, uint32_t key) {
    struct job *j = job_at(c, i);
    struct key *k = key_at(c, key);
    job_set_state(c, i, JOB_blocked);
    j->since_ms = c->now.ms;
    uint32_t ticket = ++k->tickets;
    job_extra(c, j)->ticket = ticket;
    heap_push(k, (struct waiter){j->id, i, ticket});
    k->waiting++;
    if (!body_may_stay(c, j) && !job_is(j, JOB_IS_VOLATILE))
        body_drop(c, i);
}

/* Lets the first waiting job through, if nothing holds the key. */
static void admit(struct core *c, uint32_t i) {
    struct key *k = key_at(c, i);
    if (k->in_release)
        return;
    if (k->holder) {
        if (job_at(c, k->holder)->state != JOB_blocked)
            return;
        if (interval_open(c, k))
            job_ready(c, k->holder, false);
        else
            timer_set(c, TIMER_KEY, i, may_start_ms(k));
        return;
    }
    while (k->heap_n && !key_waits(c, i, &k->heap[0]))
        heap_pop(k);
    if (!k->heap_n) {
        key_drop_if_idle(c, i);
        return;
    }
    if (!interval_open(c, k)) {
        timer_set(c, TIMER_KEY, i, may_start_ms(k));
        return;
    }
    uint32_t job = k->heap[0].job;
    heap_pop(k);
    k->waiting--;
    job_extra(c, job_at(c, job))->ticket = 0;
    k->holder = job;
    job_ready(c, job, false);
}

/* A holder that was never dispatched gives way to a job with a smaller id that is due now. */
static bool gives_way(const struct core *c, const struct key *k, const struct job *newcomer) {
    const struct job *h = job_at(c, k->holder);
    return job_is(h, JOB_IN_LANE) && h->fence == 0 && newcomer->id < h->id;
}

void key_enter(struct core *c, uint32_t i) {
    uint32_t key = job_extra(c, job_at(c, i))->key;
    struct key *k = key_at(c, key);
    if (k->holder == i) { /* it is tried again */
        job_set_state(c, i, JOB_blocked);
        admit(c, key);
        return;
    }
    if (MUTANT(key_ignored)) {
        job_ready(c, i, false);
        return;
    }
    if (k->holder && gives_way(c, k, job_at(c, i))) {
        uint32_t old = k->holder;
        lane_remove(c, old);
        k->holder = 0;
        make_wait(c, old, key);
    }
    make_wait(c, i, key);
    admit(c, key);
}

void key_hold(struct core *c, uint32_t i) {
    struct key *k = key_at(c, job_extra(c, job_at(c, i))->key);
    if (!k->holder)
        k->holder = i;
}

bool key_grab(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    uint32_t key = job_extra(c, j)->key;
    struct key *k = key_at(c, key);
    if (k->holder == i)
        return true;
    if (k->holder && !job_is(job_at(c, k->holder), JOB_IN_LANE))
        return false;
    if (k->holder) {
        uint32_t old = k->holder;
        lane_remove(c, old);
        k->holder = 0;
        make_wait(c, old, key);
    }
    if (j->state == JOB_blocked)
        k->waiting--;
    job_extra(c, j)->ticket = 0;
    k->holder = i;
    return true;
}

static void release_after(struct core *c, uint32_t i, uint64_t after) {
    struct key *k = key_at(c, i);
    k->release_pos = after;
    k->in_release = true;
    k->release_next = 0;
    if (c->release_tail)
        key_at(c, c->release_tail)->release_next = i;
    else
        c->release_head = i;
    c->release_tail = i;
}

void key_leave(struct core *c, uint32_t i, enum job_state was, uint64_t after) {
    struct job *j = job_at(c, i);
    struct extra *x = job_extra(c, j);
    if (!x || !x->key)
        return;
    uint32_t key = x->key;
    struct key *k = key_at(c, key);
    x->key = 0;
    k->refs--;
    if (k->holder != i) {
        if (was == JOB_blocked)
            k->waiting--;
        heap_sweep(c, key);
        key_drop_if_idle(c, key);
        return;
    }
    k->holder = 0;
    if (after && !MUTANT(key_freed_early)) {
        release_after(c, key, after);
        return;
    }
    admit(c, key);
}

void keys_durable(struct core *c) {
    while (c->release_head && key_at(c, c->release_head)->release_pos < c->durable) {
        uint32_t i = c->release_head;
        struct key *k = key_at(c, i);
        c->release_head = k->release_next;
        if (!c->release_head)
            c->release_tail = 0;
        k->in_release = false;
        admit(c, i);
    }
}

void key_started(struct core *c, uint32_t i) {
    struct extra *x = job_extra(c, job_at(c, i));
    if (!x || !x->key)
        return;
    struct key *k = key_at(c, x->key);
    k->started = true;
    k->last_start_ms = c->now.ms;
}

void key_timer(struct core *c, uint32_t i) {
    admit(c, i);
}

void keys_teardown(struct core *c) {
    SLAB_EACH(i, &c->keys) {
        mem_free((void *)(uintptr_t)key_at(c, i)->text.at);
        mem_free(key_at(c, i)->heap);
    }
    lhash_done(&c->key_index);
    slab_done(&c->keys);
}
