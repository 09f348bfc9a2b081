/* What jobs spawn, and what must hold of flows: a then comes last, a flow that failed does not go
 * on, no child is lost or there twice. */
#include "tests/sim/observe_int.h"

#include "common/base/id.h"

#define OF_WORKER 100 /* plan.client of children that an attempt has spawned; */
#define OF_CLIENT 200 /* that came with a submission */

void flow_plan(struct rng *rng, struct plan *p, uint32_t levels) {
    if (!levels || rng_below(rng, 100) >= 20)
        return;
    p->children = 1 + rng_below(rng, BROOD_MAX);
    p->levels = levels - 1;
    p->spawns = rng_below(rng, 2);
    p->then = rng_below(rng, 2);
}

static void make_child(struct rng *rng, struct brood *b, uint32_t k, const struct plan *parent) {
    static const char *const queues[] = {"tight", "wide", "slow"};
    struct msg_submit *m = &b->m[k];
    struct plan *p = &b->plans[k];
    uint32_t dice = rng_below(rng, 100);
    p->ms = rng_below(rng, 100);
    p->times = 1;
    p->behaviour = dice < 80 ? DO_succeed : dice < 88 ? DO_fail : dice < 94 ? DO_reject : DO_deaf;
    flow_plan(rng, p, parent->levels);
    MSG_SET(m, submit, kind, rng_below(rng, 4) ? STR("plain") : STR("quick"));
    MSG_SET(m, submit, queue, str_of(queues[rng_below(rng, 3)]));
    MSG_SET(m, submit, size, sizeof *p);
    bool then = parent->then && k + 1 == parent->children;
    if (then)
        MSG_SET(m, submit, then, true);
    else if (rng_below(rng, 10) == 0)
        MSG_SET(m, submit, delay_ms, rng_below(rng, 2000));
    if (rng_below(rng, 20) == 0)
        MSG_SET(m, submit, ttl_ms, 1 + rng_below(rng, 3000));
    if (rng_below(rng, 4) == 0)
        MSG_SET(m, submit, fail_fast, true);
    if (rng_below(rng, 10) == 0)
        MSG_SET(m, submit, key, rng_below(rng, 2) ? STR("f0") : STR("f1"));
    if (rng_below(rng, 20) == 0)
        MSG_SET(m, submit, unique, rng_below(rng, 2) ? STR("c0") : STR("c1"));
}

/* The same for the same attempt: what is said again must be what was said. */
void brood_of_attempt(struct brood *b, const struct plan *parent, uint64_t job, uint64_t fence) {
    struct rng rng = rng_seed(job * 31 + fence);
    *b = (struct brood){.n = parent->children};
    for (uint32_t k = 0; k < b->n; k++) {
        make_child(&rng, b, k, parent);
        b->plans[k].client = OF_WORKER;
        b->plans[k].item = k;
        b->plans[k].sequence = job;
        b->plans[k].fence = fence;
    }
}

void brood_of_offer(struct brood *b, const struct plan *parent) {
    struct rng rng = rng_seed(parent->sequence * 64 + parent->item);
    *b = (struct brood){.n = parent->comes_with};
    for (uint32_t k = 0; k < b->n; k++) {
        struct plan with = *parent;
        with.children = parent->comes_with;
        make_child(&rng, b, k, &with);
        b->plans[k].client = OF_CLIENT + parent->client;
        b->plans[k].item = parent->item * 16 + k;
        b->plans[k].sequence = parent->sequence;
    }
}

/* ---- what must hold -------------------------------------------------------------------------- */
static const struct row *row_of(const struct observer *o, uint64_t id) {
    for (uint32_t k = o->n; k-- > 0 && id;)
        if (o->rows[k].id == id)
            return &o->rows[k];
    return NULL;
}

static bool is_durable(const struct sim *s, const struct row *r) {
    return r->ended_state && r->ended_pos < disk_durable_pos(&s->disk);
}

/* Whether `r` is below the job `top`, on a way that leads over nobody who came back or is `not`. */
static bool is_below(const struct observer *o, const struct row *r, uint64_t top, uint64_t not ) {
    while (r && r->parent != top && r->id != not &&!r->revived)
        r = row_of(o, r->parent);
    return r && r->id != not &&!r->revived;
}

static void check_then(struct sim *s, const struct row *r) {
    const struct observer *o = s->eye;
    const struct row *parent = row_of(o, r->parent);
    if (!r->is_then || !parent || r->revived)
        return;
    if (!is_durable(s, parent))
        sim_fail(s, "then %s was started, and its parent has not durably ended", id_show(r->id).at);
    for (uint32_t k = 0; k < o->n; k++) {
        const struct row *x = &o->rows[k];
        if (x->parent && is_below(o, x, r->parent, r->id) && !is_durable(s, x))
            sim_fail(s, "then was started, and job %s that it waits for has not durably ended",
                     id_show(x->id).at);
    }
}

static bool has_failed(const struct sim *s, const struct row *r) {
    return is_durable(s, r) && r->ended_state != JOB_done && !r->revived;
}

static void check_doom(struct sim *s, const struct row *r) {
    const struct observer *o = s->eye;
    for (const struct row *a = row_of(o, r->parent), *below = r; a && !below->revived;
         below = a, a = row_of(o, a->parent)) {
        if (a->revived)
            return;
        if (has_failed(s, a) && (a->fail_fast || a->ended_state == JOB_cancelled))
            sim_fail(s, "job %s was started, and job %s above it is %s", id_show(r->id).at,
                     id_show(a->id).at, job_state_name((enum job_state)a->ended_state));
        for (uint32_t k = 0; k < o->n && a->fail_fast; k++)
            if (o->rows[k].parent == a->id && &o->rows[k] != below && has_failed(s, &o->rows[k]))
                sim_fail(s, "job %s was started in a flow that ends with the first failure",
                         id_show(r->id).at);
    }
}

void see_flow_dispatch(struct sim *s, const struct row *r) {
    if (!r->parent)
        return;
    check_then(s, r);
    check_doom(s, r);
}

/* An attempt's child is there once, however often it was said, in whatever life of the broker. */
void see_child(struct sim *s, const struct row *r) {
    const struct observer *o = s->eye;
    for (uint32_t k = 0; k < o->n && r->plan.client == OF_WORKER; k++)
        if (memcmp(&o->rows[k].plan, &r->plan, sizeof r->plan) == 0)
            sim_fail(s, "child %u of job %s is there twice", r->plan.item, id_show(r->parent).at);
}

static uint32_t count(const struct observer *o, const struct plan *like, uint64_t sequence,
                      uint64_t fence) {
    uint32_t n = 0;
    for (uint32_t k = 0; k < o->n; k++) {
        const struct plan *p = &o->rows[k].plan;
        n += p->client == like->client && p->sequence == sequence && p->fence == fence &&
             p->item / 16 == like->item / 16;
    }
    return n;
}

/* Those that are no children where their key was taken. */
static uint32_t unique_ones(const struct brood *b) {
    uint32_t n = 0;
    for (uint32_t k = 0; k < b->n; k++)
        n += b->m[k].unique.len != 0;
    return n;
}

/* All that a job's last attempt named is there; a then may have been passed over. */
static void check_brood(struct sim *s, const struct row *r) {
    struct plan like = {.client = OF_WORKER};
    struct brood brood;
    brood_of_attempt(&brood, &r->plan, r->id, r->fence);
    uint32_t n = count(s->eye, &like, r->id, r->fence), passed = unique_ones(&brood);
    if (r->ended_state == JOB_done && !r->revived && n + passed + r->plan.then < r->plan.children)
        sim_fail(s, "job %s is done with %u children, %u are there", id_show(r->id).at,
                 r->plan.children, n);
    bool may_miss = r->plan.spawns || r->plan.comes_with; /* an earlier one stands */
    if (r->ended_state == JOB_done && !may_miss && !r->revived && !passed && n != r->plan.children)
        sim_fail(s, "job %s is done with %u children, %u are there", id_show(r->id).at,
                 r->plan.children, n);
    like = (struct plan){.client = OF_CLIENT + r->plan.client, .item = r->plan.item * 16};
    n = r->plan.comes_with ? count(s->eye, &like, r->plan.sequence, 0) : 0;
    brood_of_offer(&brood, &r->plan);
    passed = r->plan.comes_with ? unique_ones(&brood) : 0;
    if ((n > r->plan.comes_with || n + passed < r->plan.comes_with) && r->acked)
        sim_fail(s, "job %s came with %u children, %u are there", id_show(r->id).at,
                 r->plan.comes_with, n);
}

/* A child that has ended, or one that has not; 0: none was found. */
uint64_t some_child(struct sim *s, bool ended) {
    struct observer *o = s->eye;
    uint32_t from = o->n ? rng_below(&s->rng, o->n) : 0;
    for (uint32_t k = 0; k < o->n; k++) {
        struct row *r = &o->rows[(from + k) % o->n];
        if (!r->parent || (ended ? !is_durable(s, r) : r->ended_state != 0))
            continue;
        r->retry_asked |= ended;
        return r->id;
    }
    return 0;
}

void observe_flows_end(struct sim *s) {
    const struct core *c = s->broker.core;
    for (uint32_t k = 0; k < s->eye->n; k++)
        check_brood(s, &s->eye->rows[k]);
    SLAB_EACH(n, &c->flows)
    if (!flow_at(c, n)->settled)
        sim_fail(s, "the flow of job %s has not settled", id_show(flow_at(c, n)->id).at);
}
