/* A job was given to a worker: was it its turn, and within all bounds? */
#include "tests/sim/observe_int.h"

#include "common/base/id.h"

static void check_order(struct sim *s, const struct core *c, const struct job *j) {
    const struct line *l = line_at(c, j->line);
    int highest = l->mask ? 31 - __builtin_clz((unsigned)l->mask) : -1;
    if (highest > j->priority && !job_is(j, JOB_ISOLATED) &&
        c->now.ms - j->since_ms < c->config.aging_wait_ms) {
        const struct lane *a = lane_at(c, l->class[highest].ring);
        if (lane_may_start(c, a))
            sim_fail(s, "priority %u was dispatched before %d", j->priority, highest);
    }
}

/* While a head has waited over the bound, at least every few shares one as old is dispatched. */
static void check_aging(struct sim *s, const struct core *c, const struct job *j) {
    struct observer *o = s->eye;
    if (job_is(j, JOB_ISOLATED))
        return;
    uint64_t oldest = 0, longest = c->config.aging_wait_ms;
    SLAB_EACH(i, &c->lines) {
        const struct line *l = line_at(c, i);
        for (int p = 0; p < PRIORITIES && queue_may_start(c, queue_at(c, l->queue)); p++) {
            if (!(l->mask & (1U << p)))
                continue;
            const struct lane *a = lane_at(c, l->class[p].ring);
            uint64_t waited = c->now.ms - job_at(c, a->head)->since_ms;
            if (waited <= longest || !lane_may_start(c, a))
                continue;
            longest = waited;
            oldest = job_at(c, a->head)->id;
        }
    }
    bool younger = oldest && j->since_ms > job_at(c, job_find(c, oldest))->since_ms;
    o->starved_dispatches = younger && oldest == o->starved ? o->starved_dispatches + 1 : 0;
    o->starved = oldest;
    if (o->starved_dispatches > 4 * c->config.aging_share)
        sim_fail(s, "job %s has waited longest of all and starves", id_show(oldest).at);
}

static void check_fairness(struct sim *s, const struct core *c, const struct job *j) {
    struct observer *o = s->eye;
    const struct line *l = line_at(c, j->line);
    const struct class *k = &l->class[j->priority];
    struct streak *t = NULL;
    for (uint32_t n = 0; n < o->streaks_n; n++)
        if (o->streaks[n].queue == l->queue && o->streaks[n].kind == l->kind &&
            o->streaks[n].priority == j->priority)
            t = &o->streaks[n];
    if (!t && o->streaks_n < STREAKS) {
        t = &o->streaks[o->streaks_n++];
        *t = (struct streak){.queue = l->queue, .kind = l->kind, .priority = j->priority};
    }
    if (!t)
        return;
    bool others = false;
    if (k->ring) {
        uint32_t a = k->ring;
        do {
            others |= lane_at(c, a)->tenant != j->tenant && lane_may_start(c, lane_at(c, a));
            a = lane_at(c, a)->next;
        } while (a != k->ring);
    }
    bool goes_on = others && t->tenant == j->tenant && t->n && !job_is(j, JOB_ISOLATED);
    t->tenant = j->tenant;
    t->n = goes_on ? t->n + 1 : others ? 1 : 0;
    if (t->n > 3 * tenant_at(c, j->tenant)->limit.now.weight + 4)
        sim_fail(s, "one tenant was served %u times in a row while another waited", t->n);
}

/* Counted anew, by what runs. */
static void check_quota(struct sim *s, const struct core *c, const struct job *j) {
    const struct queue *q = job_queue(c, j);
    uint32_t n = 0;
    SLAB_EACH(i, &c->jobs) {
        const struct job *other = job_at(c, i);
        n += (other->state == JOB_running || other->state == JOB_cancelling) &&
             other->tenant == j->tenant && job_queue(c, other) == q;
    }
    if (q->tenant_concurrency && n > q->tenant_concurrency)
        sim_fail(s, "queue " STR_FMT " runs %u jobs of one tenant, at most %u",
                 STR_ARG(q->row.name), n, q->tenant_concurrency);
}

/* P-45, and the limits. */
static void check_bounds(struct sim *s, const struct core *c, const struct job *j) {
    const struct queue *q = job_queue(c, j);
    const struct tenant *t = job_tenant(c, j);
    const struct worker *w = worker_at(c, job_extra(c, j)->worker);
    if (q->limit.now.concurrency && q->limit.running > q->limit.now.concurrency)
        sim_fail(s, "queue " STR_FMT " runs %u jobs, at most %u", STR_ARG(q->row.name),
                 q->limit.running, q->limit.now.concurrency);
    if (t->limit.now.concurrency && t->limit.running > t->limit.now.concurrency)
        sim_fail(s, "tenant " STR_FMT " runs %u jobs, at most %u", STR_ARG(t->row.name),
                 t->limit.running, t->limit.now.concurrency);
    if (q->paused)
        sim_fail(s, "a paused queue was dispatched from");
    if (w->held > w->slots + w->prefetch)
        sim_fail(s, "a worker holds %u jobs, its credit is %u", w->held, w->slots + w->prefetch);
    for (uint32_t i = w->run.head; i; i = job_extra(c, job_at(c, i))->run_next)
        if (job_is(job_at(c, i), JOB_ISOLATED) && w->held > 1)
            sim_fail(s, "a suspect job does not run alone");
}

/* The same bucket as the core's, kept by another hand. */
static void check_rate(struct sim *s, const struct core *c, const struct job *j) {
    struct observer *o = s->eye;
    if (!str_eq(job_queue(c, j)->row.name, STR("slow")))
        return;
    uint64_t now_us = c->now.ms * 1000, cell = 100000, tolerance = 200000;
    if (o->slow_tat_us > now_us + tolerance)
        sim_fail(s, "queue slow starts jobs faster than its rate");
    o->slow_tat_us = (o->slow_tat_us > now_us ? o->slow_tat_us : now_us) + cell;
}

static void check_interval(struct sim *s, const struct row *r) {
    struct observer *o = s->eye;
    if (!r->interval_ms)
        return;
    struct last_start *l = NULL;
    for (uint32_t n = 0; n < o->starts_n && !l; n++)
        if (strcmp(o->starts[n].queue, r->queue) == 0 && strcmp(o->starts[n].key, r->key) == 0 &&
            strcmp(o->starts[n].tenant, r->tenant) == 0)
            l = &o->starts[n];
    if (l && s->now - l->at < r->interval_ms)
        sim_fail(s, "key %s was started %llu ms after its last start, at least %llu", r->key,
                 (unsigned long long)(s->now - l->at), (unsigned long long)r->interval_ms);
    if (!l && o->starts_n == 64)
        return;
    if (!l)
        l = &o->starts[o->starts_n++];
    l->at = s->now;
    memcpy(l->key, r->key, sizeof l->key);
    memcpy(l->queue, r->queue, sizeof l->queue);
    memcpy(l->tenant, r->tenant, sizeof l->tenant);
}

/* Its worker lives, holds it, and has not said hello yet: nobody may have taken it away. */
static void check_orphan(struct sim *s, const struct row *r) {
    if (!r->orphan || s->now >= s->broker.started_at + LEASE_MS)
        return;
    for (uint32_t i = 0; i < SIM_WORKERS; i++) {
        const struct worker_sim *w = &s->workers[i];
        uint32_t session =
            session_by_instance(s->broker.core, str_make(w->instance, sizeof w->instance));
        if (!w->alive || session)
            continue;
        for (uint32_t k = 0; k < w->n; k++)
            if (w->held[k].job == r->id && w->held[k].fence == r->orphan_fence)
                sim_fail(s, "a running job was given to another within a lease of the restart");
    }
}

bool in_key_order(const struct row *r) {
    return r->key[0] && !r->delayed && !r->revived && r->durability == DURABLE_SYNC;
}

/* Once a job of a key was given out, none with a smaller id may follow: its end was durable. */
static void check_key_turn(struct sim *s, struct row *r) {
    const struct observer *o = s->eye;
    for (uint32_t k = 0; k < o->n && in_key_order(r); k++) {
        const struct row *b = &o->rows[k];
        if (b->dispatched && b->id > r->id && in_key_order(b) && strcmp(b->key, r->key) == 0 &&
            strcmp(b->queue, r->queue) == 0 && strcmp(b->tenant, r->tenant) == 0)
            sim_fail(s, "key %s: job %s was given out after job %s", r->key, id_show(r->id).at,
                     id_show(b->id).at);
    }
    r->dispatched = true;
}

void see_dispatch(struct sim *s, struct row *r, const struct msg_rec_state *m) {
    struct observer *o = s->eye;
    const struct core *c = s->broker.core;
    const struct job *j = job_at(c, job_find(c, m->id));
    if (id_epoch(m->fence) < c->epoch)
        return; /* an attempt of an earlier life that is recorded now */
    if (m->fence <= o->fence_max)
        sim_fail(s, "a fence was given twice or out of order");
    o->fence_max = m->fence + (r->streams ? 255 : 0); /* epochs of its stream */
    if (r->body_pos >= disk_durable_pos(&s->disk) && r->durability == DURABLE_SYNC &&
        !r->speculative)
        sim_fail(s, "a job was dispatched before its submission was durable");
    if (r->told && !r->revived)
        sim_fail(s, "job %s was dispatched after its client was told of its end",
                 id_show(r->id).at);
    check_bounds(s, c, j);
    check_quota(s, c, j);
    check_order(s, c, j);
    check_fairness(s, c, j);
    check_aging(s, c, j);
    check_rate(s, c, j);
    check_interval(s, r);
    check_orphan(s, r);
    check_key_turn(s, r);
    see_flow_dispatch(s, r);
    r->orphan = false;
}
