/* The invariants of the core, walked: a broken one is our bug and ends the process. For tests, the
 * simulator and the fuzzers, which call it after every turn. It walks all jobs, so the broker does
 * not: there each function asserts what it relies on. */
#include "broker/core/core_int.h"
#include "common/base/mem.h"

struct tally {
    uint64_t by_state[JOB_STATES];
    uint32_t in_lanes, pending, kept, running, isolated, blocked_holders, waiting;
    uint64_t body_bytes, volatile_bytes, kept_bytes;
};

/* 1. A job's flags, lists and state say the same. */
static void check_job(const struct core *c, uint32_t i, struct tally *t) {
    const struct job *j = job_at(c, i);
    const struct extra *x = job_extra(c, j);
    bool runs = j->state == JOB_running || j->state == JOB_cancelling;
    t->by_state[j->state]++;
    ASSERT(job_find(c, j->id) == i);
    ASSERT(j->line && j->tenant && j->priority < PRIORITIES);
    ASSERT(job_is(j, JOB_IN_LANE) == (j->state == JOB_ready && !job_is(j, JOB_ISOLATED)));
    ASSERT(job_is(j, JOB_IS_KEPT) == job_state_terminal(j->state));
    ASSERT(runs == (x && (x->worker || x->run_next || x->run_prev || c->orphans.head == i)));
    ASSERT(!job_state_terminal(j->state) || !job_is(j, JOB_IS_VOLATILE));
    ASSERT(job_is(j, JOB_IS_VOLATILE) == (j->body_pos == 0));
    ASSERT(!job_is(j, JOB_IS_VOLATILE) || (x && x->body));
    ASSERT(!runs || j->fence);
    t->in_lanes += job_is(j, JOB_IN_LANE);
    t->pending += j->state == JOB_NONE;
    t->kept += job_is(j, JOB_IS_KEPT);
    t->running += runs;
    t->isolated += j->state == JOB_ready && job_is(j, JOB_ISOLATED);
    if (job_is(j, JOB_IS_KEPT))
        t->kept_bytes += (uint64_t)j->body_bytes + j->state_bytes;
    if (!x || !x->body)
        return;
    *(job_is(j, JOB_IS_VOLATILE) ? &t->volatile_bytes : &t->body_bytes) += x->body->bytes;
}

static void check_jobs(const struct core *c, struct tally *t) {
    SLAB_EACH(i, &c->jobs)
    check_job(c, i, t);
    for (int s = 0; s < JOB_STATES; s++)
        ASSERT(t->by_state[s] == c->stats.by_state[s]);
    ASSERT(t->kept == retain_count(c));
    ASSERT(t->kept_bytes ==
           c->kept_bytes[KEPT_DONE] + c->kept_bytes[KEPT_DEAD] + c->kept_bytes[KEPT_UNWANTED]);
    ASSERT(t->pending == c->pending.n);
    ASSERT(t->body_bytes == c->stats.body_bytes);
    ASSERT(t->volatile_bytes == c->stats.volatile_bytes);
}

/* 2. What is pending is in order of position: commits release it from the head. */
static void check_pending(const struct core *c) {
    uint64_t last = 0;
    uint32_t n = 0;
    for (uint32_t i = c->pending.head; i; i = job_at(c, i)->next, n++) {
        ASSERT(job_at(c, i)->state == JOB_NONE);
        ASSERT(job_at(c, i)->body_pos > last);
        last = job_at(c, i)->body_pos;
    }
    ASSERT(n == c->pending.n);
}

/* 3. Lanes hold what they count; lanes in a ring are of active lines; parked ones are with tenants.
 */
static void check_lane(const struct core *c, uint32_t i, uint32_t *jobs) {
    const struct lane *a = lane_at(c, i);
    uint32_t n = 0, prev = 0;
    for (uint32_t k = a->head; k; k = job_at(c, k)->next, n++) {
        const struct job *j = job_at(c, k);
        ASSERT(j->prev == prev && job_is(j, JOB_IN_LANE));
        ASSERT(j->line == a->line && j->tenant == a->tenant && j->priority == a->priority);
        prev = k;
    }
    ASSERT(n == a->n && n > 0 && a->tail == prev);
    if (!a->parked)
        ASSERT(line_at(c, a->line)->mask & (1U << a->priority));
    *jobs += n;
}

static void check_lanes(const struct core *c, const struct tally *t) {
    uint32_t jobs = 0;
    SLAB_EACH(i, &c->lanes)
    check_lane(c, i, &jobs);
    ASSERT(jobs == t->in_lanes);
    SLAB_EACH(i, &c->lines) {
        const struct line *l = line_at(c, i);
        ASSERT((l->mask != 0) == (l->ring_next != 0));
        for (int p = 0; p < PRIORITIES; p++)
            ASSERT(((l->mask >> p) & 1) == (l->class[p].ring != 0));
    }
    turns_check(c);
}

/* 4. Workers hold what they count, never more than their credit, and are alone when they must be.
 */
static uint32_t check_run(const struct core *c, const struct list *l, uint32_t worker) {
    uint32_t n = 0, prev = 0;
    for (uint32_t i = l->head; i; n++) {
        const struct extra *x = job_extra(c, job_at(c, i));
        ASSERT(x->worker == worker && x->run_prev == prev);
        prev = i;
        i = x->run_next;
    }
    ASSERT(n == l->n && l->tail == prev);
    return n;
}

static void check_worker(const struct core *c, uint32_t i) {
    const struct worker *w = worker_at(c, i);
    uint32_t started = 0;
    for (uint32_t k = w->run.head; k; k = job_extra(c, job_at(c, k))->run_next) {
        const struct job *j = job_at(c, k);
        started += job_is(j, JOB_STARTED);
    }
    ASSERT(started == w->started && w->held == w->run.n);
    ASSERT(session_at(c, w->session)->worker == i);
}

static void check_workers(const struct core *c, const struct tally *t) {
    uint32_t n = check_run(c, &c->orphans, 0);
    SLAB_EACH(i, &c->workers) {
        n += check_run(c, &worker_at(c, i)->run, i);
        check_worker(c, i);
    }
    ASSERT(n == t->running);
}

/* 5. Limits and quotas count exactly what runs. */
static void check_limits(const struct core *c) {
    uint64_t queues = 0, tenants = 0;
    uint64_t runs = c->stats.by_state[JOB_running] + c->stats.by_state[JOB_cancelling];
    SLAB_EACH(i, &c->queues.rows) {
        const struct queue *q = queue_at(c, i);
        queues += q->limit.running;
        ASSERT(q->limit.running == q->by_state[JOB_running] + q->by_state[JOB_cancelling]);
    }
    SLAB_EACH(i, &c->tenants.rows)
    tenants += tenant_at(c, i)->limit.running;
    ASSERT(queues == runs && tenants == runs);
}

static void check_parked(const struct core *c, const struct quota *q) {
    uint32_t prev = 0;
    for (uint32_t i = q->parked; i; i = lane_at(c, i)->next) {
        const struct lane *a = lane_at(c, i);
        ASSERT(a->parked && a->by_quota && a->prev == prev);
        ASSERT(line_at(c, a->line)->queue == q->queue && a->tenant == q->tenant);
        prev = i;
    }
}

static void check_quotas(const struct core *c) {
    uint32_t *running = mem_alloc(slab_end(&c->quotas) * sizeof *running);
    memset(running, 0, slab_end(&c->quotas) * sizeof *running);
    SLAB_EACH(i, &c->jobs) {
        const struct job *j = job_at(c, i);
        if (j->state != JOB_running && j->state != JOB_cancelling)
            continue;
        uint32_t quota = quota_find(c, line_at(c, j->line)->queue, j->tenant);
        ASSERT(quota && quota == job_extra(c, j)->quota);
        running[quota]++;
    }
    SLAB_EACH(i, &c->quotas) {
        ASSERT(quota_at(c, i)->running == running[i] && running[i] > 0);
        check_parked(c, quota_at(c, i));
    }
    mem_free(running);
}

/* 6. A key has at most one job in lanes or running, and that is its holder. */
static void check_keys(const struct core *c) {
    SLAB_EACH(i, &c->jobs) {
        const struct job *j = job_at(c, i);
        const struct extra *x = job_extra(c, j);
        if (!x || !x->key)
            continue;
        bool through =
            j->state == JOB_ready || j->state == JOB_running || j->state == JOB_cancelling;
        ASSERT(!through || key_at(c, x->key)->holder == i);
    }
    SLAB_EACH(i, &c->keys) {
        const struct key *k = key_at(c, i);
        uint32_t live = 0;
        for (uint32_t n = 0; n < k->heap_n; n++) {
            ASSERT(n == 0 || k->heap[(n - 1) / 2].id <= k->heap[n].id);
            live += key_waits(c, i, &k->heap[n]);
        }
        ASSERT(live == k->waiting);
    }
}

/* 7. What has a bound of its own is counted exactly. */
static void check_replies(const struct core *c) {
    uint64_t listed = 0, owned = 0;
    const struct reply *older = NULL;
    for (const struct reply *r = c->oldest_reply; r; older = r, r = r->newer) {
        ASSERT(r->items && r->older == older && !r->dropped);
        listed += r->n;
    }
    ASSERT(c->newest_reply == older);
    SLAB_EACH(i, &c->sessions)
    owned += session_at(c, i)->reply_items;
    ASSERT(listed == c->reply_items && owned == c->reply_items);
}

static void check_watches(const struct core *c) {
    uint32_t of_jobs = 0, of_sessions = 0;
    SLAB_EACH(i, &c->jobs) {
        const struct extra *x = job_extra(c, job_at(c, i));
        for (uint32_t w = x ? x->watchers : 0; w; of_jobs++) {
            const struct watch *watch = slab_at(&c->watches, w);
            ASSERT(watch->job == i);
            w = watch->job_next;
        }
    }
    SLAB_EACH(i, &c->sessions) {
        for (uint32_t w = session_at(c, i)->watches; w; of_sessions++) {
            const struct watch *watch = slab_at(&c->watches, w);
            ASSERT(watch->session == i && (watch->job != 0) != (watch->flow != 0));
            of_jobs += watch->flow != 0;
            w = watch->session_next;
        }
    }
    ASSERT(of_jobs == c->watches.used && of_sessions == c->watches.used);
}

/* 8. Names are held exactly by what has their index; a line is there for its jobs. */
static uint64_t held(const struct names *n) {
    uint64_t refs = 0;
    SLAB_EACH(i, &n->rows)
    refs += ((const struct name_row *)slab_at(&n->rows, i))->refs;
    return refs;
}

static void check_names(const struct core *c) {
    uint64_t jobs = 0, runners = 0, in_pools = 0, swept_queues = 0, swept_tenants = 0;
    uint64_t keyed = (uint64_t)c->keys.used + c->uniques.used;
    SLAB_EACH(i, &c->lines) {
        ASSERT(line_at(c, i)->jobs > 0);
        jobs += line_at(c, i)->jobs;
    }
    SLAB_EACH(i, &c->workers) {
        runners += worker_at(c, i)->n_kinds;
        in_pools += worker_at(c, i)->pool != 0;
    }
    for (uint32_t i = c->sweep_head; i;) {
        const struct sweep *s = slab_at(&c->sweeps, i);
        swept_queues += s->queue != 0;
        swept_tenants += s->tenant != 0;
        i = s->next;
    }
    ASSERT(jobs == c->jobs.used);
    ASSERT(held(&c->queues) == c->lines.used + keyed + swept_queues);
    ASSERT(held(&c->tenants) == jobs + keyed + swept_tenants);
    ASSERT(held(&c->kinds) == c->lines.used + runners);
    ASSERT(held(&c->pools) == in_pools);
}

static void check_counted(const struct core *c) {
    uint32_t intervals = 0, sweeps = 0;
    SLAB_EACH(i, &c->keys)
    intervals += key_at(c, i)->interval_ms != 0;
    ASSERT(intervals == c->interval_keys);
    for (uint32_t i = c->sweep_head; i; sweeps++)
        i = ((const struct sweep *)slab_at(&c->sweeps, i))->next;
    ASSERT(sweeps == c->sweeps.used);
    check_replies(c);
    check_watches(c);
    check_names(c);
}

/* 9. Timers are heaps. */
static void check_heap(const struct timers *h) {
    for (uint32_t n = 2; n <= h->n; n++)
        ASSERT(h->at[n / 2].when <= h->at[n].when);
}

void core_check(const struct core *c) {
    struct tally t = {{0}, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    check_jobs(c, &t);
    check_pending(c);
    check_lanes(c, &t);
    check_workers(c, &t);
    check_limits(c);
    check_quotas(c);
    check_keys(c);
    streams_check(c);
    flows_check(c);
    dead_check(c);
    check_counted(c);
    notes_check(c);
    check_heap(&c->notes.ends);
    check_heap(&c->mono_timers);
    check_heap(&c->wall_timers);
}
