/* What is true of the flows that go on, from durable records alone, and what must hold of it. */
#include "tests/bench/bench_flows.h"

#include "common/base/hash.h"
#include "common/base/id.h"

#include <string.h>

/* ---- nodes by id ---------------------------------------------------------------------------- */
static uint64_t node_hash(const void *ctx, uint32_t i) {
    return hash_mix(0, node_at(ctx, i)->id);
}

static uint32_t *node_link(const void *ctx, uint32_t i) {
    return &node_at(ctx, i)->hash_next;
}

static bool node_equal(const void *ctx, uint32_t i, const void *key) {
    return node_at(ctx, i)->id == *(const uint64_t *)key;
}

static const struct lhash_ops node_ops = {node_hash, node_link, node_equal};

uint32_t node_find(const struct world *w, uint64_t id) {
    return lhash_find(&w->by_id, hash_mix(0, id), &id);
}

void truth_open(struct world *w) {
    slab_init(&w->nodes, sizeof(struct node));
    lhash_init(&w->by_id, &node_ops, w);
}

void truth_close(struct world *w) {
    if (w->nodes.used)
        flows_broken(w, "%u jobs were never told of as ended", w->nodes.used);
    lhash_done(&w->by_id);
    slab_done(&w->nodes);
}

/* ---- counts --------------------------------------------------------------------------------- */
static void count_node(const struct node *n, struct counts *c) {
    c->total++;
    if (n->state)
        c->ended[n->state - JOB_done]++;
}

/* NOLINTNEXTLINE(misc-no-recursion): a flow is at most 16 deep */
static void count_below(const struct world *w, uint32_t i, struct counts *c) {
    for (uint32_t k = node_at(w, i)->child; k; k = node_at(w, k)->sibling) {
        count_node(node_at(w, k), c);
        count_below(w, k, c);
    }
}

static bool is_settled(const struct node *n) {
    return n->state && (!n->child || n->settled);
}

struct family {
    struct counts own;
    uint32_t settled, broken;
    uint32_t thens, thens_run, then_settled;
    bool failed; /* one of the children, or the job itself */
};

static struct family family_of(const struct world *w, uint32_t i) {
    struct family f = {0};
    const struct node *n = node_at(w, i);
    f.failed = n->state && n->state != JOB_done;
    for (uint32_t k = n->child; k; k = node_at(w, k)->sibling) {
        const struct node *x = node_at(w, k);
        f.failed |= x->state && x->state != JOB_done;
        if (x->is_then) {
            f.thens++;
            f.thens_run += x->state == JOB_done || x->state == JOB_dead;
            f.then_settled += is_settled(x);
            continue;
        }
        count_node(x, &f.own);
        f.settled += is_settled(x);
        f.broken += is_settled(x) && x->state == JOB_done && x->doomed;
    }
    return f;
}

static void same(const struct world *w, uint64_t id, const char *what, const struct counts *is,
                 const struct counts *truth) {
    if (memcmp(is, truth, sizeof *is) == 0)
        return;
    flows_broken(
        w,
        "job %s: %s are said to be %u (done %u, dead %u, cancelled %u, expired %u), and are "
        "%u (%u, %u, %u, %u)",
        id_show(id).at, what, is->total, is->ended[0], is->ended[1], is->ended[2], is->ended[3],
        truth->total, truth->ended[0], truth->ended[1], truth->ended[2], truth->ended[3]);
}

/* ---- what may be dispatched ----------------------------------------------------------------- */
static void check_then(const struct world *w, const struct node *n, const struct msg_dispatch *m) {
    const struct node *parent = node_at(w, n->parent);
    struct family f = family_of(w, n->parent);
    struct counts told = {(uint32_t)m->siblings,
                          {(uint32_t)m->siblings_done, (uint32_t)m->siblings_dead,
                           (uint32_t)m->siblings_cancelled, (uint32_t)m->siblings_expired}};
    if (!parent->state || f.settled != f.own.total)
        flows_broken(w, "then %s was started: its parent is %s, %u of %u siblings have settled",
                     id_show(n->id).at, parent->state ? job_state_name(parent->state) : "not ended",
                     f.settled, f.own.total);
    if (m->parent_state != parent->state || m->siblings_broken != f.broken)
        flows_broken(w,
                     "then %s is told of a parent that is %s and %u broken siblings; it is %s, "
                     "and %u are",
                     id_show(n->id).at, job_state_name(m->parent_state),
                     (unsigned)m->siblings_broken, job_state_name(parent->state), f.broken);
    same(w, n->id, "its siblings", &told, &f.own);
}

static void check_above(const struct world *w, const struct node *n) {
    for (uint32_t a = n->parent; a; a = node_at(w, a)->parent) {
        const struct node *above = node_at(w, a);
        bool failed = above->fail_fast && family_of(w, a).failed;
        if (above->doomed || failed || above->state == JOB_cancelled)
            flows_broken(w, "job %s was started, and the flow of job %s above it has %s",
                         id_show(n->id).at, id_show(above->id).at,
                         failed ? "failed" : "been cancelled");
    }
}

void truth_dispatch(struct world *w, const struct msg_dispatch *m) {
    uint32_t i = node_find(w, m->job);
    if (!i)
        flows_broken(w, "job %s was started, and is not durable, or its flow has settled",
                     id_show(m->job).at);
    const struct node *n = node_at(w, i);
    struct tree *t = &w->trees[n->tree];
    if (n->state)
        flows_broken(w, "job %s was started, and is %s already", id_show(m->job).at,
                     job_state_name(n->state));
    uint64_t parent = n->parent ? node_at(w, n->parent)->id : 0;
    if (m->parent != parent)
        flows_broken(w, "job %s is given as a child of another one", id_show(m->job).at);
    if (n->is_then)
        check_then(w, n, m);
    check_above(w, n);
    if (++t->jobs_given == t->cancel_at)
        numbers_add(&w->cancel, m->fence % 2 ? m->job : node_at(w, t->root)->id);
}

/* ---- what records say ----------------------------------------------------------------------- */
static void expect_brood(struct node *n, uint64_t fence) {
    struct brood b;
    brood_make(&b, &n->plan, fence);
    n->named += b.n - b.then;
    n->then_named |= b.then;
}

static void see_job(struct world *w, const struct seen *s) {
    struct tree *t = &w->trees[s->plan.tree];
    if (node_find(w, s->id) || t->number != s->plan.number)
        return; /* it was moved by cleaning */
    uint32_t parent = s->parent ? node_find(w, s->parent) : 0;
    if (s->parent && !parent)
        flows_broken(w, "job %s is durable, and its parent is not", id_show(s->id).at);
    if (!s->parent && t->root)
        flows_broken(w, "flow %u is there twice", (unsigned)t->number);
    uint32_t i = slab_take(&w->nodes);
    struct node *n = node_at(w, i);
    *n = (struct node){.id = s->id,
                       .tree = s->plan.tree,
                       .parent = parent,
                       .is_then = s->is_then,
                       .fail_fast = s->fail_fast,
                       .plan = s->plan};
    lhash_add(&w->by_id, i);
    if (parent) {
        n->sibling = node_at(w, parent)->child;
        node_at(w, parent)->child = i;
        return;
    }
    t->root = i;
    if (t->watched)
        numbers_add(&w->watch, n->id);
    if (n->plan.how == HOW_SUBMIT)
        expect_brood(n, 0);
}

/* Whether somebody has asked for its end, or a flow that ends early. */
static bool may_be_cancelled(const struct world *w, const struct node *n) {
    if (n->cancel_asked)
        return true;
    for (uint32_t a = n->parent; a; a = node_at(w, a)->parent) {
        const struct node *above = node_at(w, a);
        if (above->cancel_asked || (above->fail_fast && family_of(w, a).failed) || above->doomed)
            return true;
    }
    return false;
}

static void check_end(const struct world *w, const struct node *n, const struct seen *s) {
    bool reported = n->outcome_fence == s->fence;
    bool right = s->state == JOB_done ? reported && n->outcome == OUTCOME_DONE
                 : s->state == JOB_dead
                     ? reported && (n->outcome == OUTCOME_FAILED || n->outcome == OUTCOME_REJECTED)
                     : s->state == JOB_cancelled && may_be_cancelled(w, n);
    if (!right)
        flows_broken(w, "job %s ended as %s, which nobody has reported or asked for",
                     id_show(n->id).at, job_state_name(s->state));
}

static void see_state(struct world *w, const struct seen *s) {
    uint32_t i = node_find(w, s->id);
    if (s->moved && (!i || node_at(w, i)->state == s->state))
        return;
    if (!i)
        flows_broken(w, "job %s changes, and its flow has settled", id_show(s->id).at);
    struct node *n = node_at(w, i);
    if (n->state)
        flows_broken(w, "job %s changes to %s, and has ended as %s", id_show(s->id).at,
                     job_state_name(s->state), job_state_name(n->state));
    if (!job_state_terminal((enum job_state)s->state))
        return;
    check_end(w, n, s);
    n->state = (uint8_t)s->state;
    w->jobs_ended++;
    w->ended[s->state - JOB_done]++;
    w->thens_run += n->is_then && (s->state == JOB_done || s->state == JOB_dead);
    w->last_end = w->now;
    if (s->state == JOB_done && n->plan.how == HOW_RESULT)
        expect_brood(n, s->fence);
    if (i == w->trees[n->tree].root)
        tree_may_be_over(w, n->tree);
}

/* Every record of a flow has the counts of that moment: what stands before it has happened. */
static void see_flow(struct world *w, const struct seen *s) {
    uint32_t i = node_find(w, s->id);
    if (!i)
        return; /* it was moved by cleaning */
    struct node *n = node_at(w, i);
    struct family f = family_of(w, i);
    n->doomed = s->doomed;
    n->settled = s->settled;
    same(w, n->id, "its children", &s->own, &f.own);
    if (!s->settled)
        return;
    if (!n->state || f.settled != f.own.total || f.then_settled != f.thens)
        flows_broken(w, "the flow of job %s is told to have settled, and has not",
                     id_show(n->id).at);
    struct counts all = s->own, truth = {0};
    all.total += s->below.total;
    for (int k = 0; k < 4; k++)
        all.ended[k] += s->below.ended[k];
    count_below(w, i, &truth);
    same(w, n->id, "all below it", &all, &truth);
    if (i == w->trees[n->tree].root)
        tree_may_be_over(w, n->tree);
}

void truth_record(struct world *w, const struct seen *s) {
    if (s->type == REC_JOB)
        see_job(w, s);
    else if (s->type == REC_STATE)
        see_state(w, s);
    else if (s->type == REC_FLOW)
        see_flow(w, s);
}

/* ---- the end of a flow ---------------------------------------------------------------------- */
void truth_told(struct world *w, const struct letter_kept *l) {
    uint32_t i = node_find(w, l->job);
    if (!i)
        return;
    struct tree *t = &w->trees[node_at(w, i)->tree];
    struct counts truth = {0};
    bool over = is_settled(node_at(w, i));
    if (l->code && !over)
        flows_broken(w, "WATCH_FLOW of job %s, which has not settled, is refused with error %u",
                     id_show(l->job).at, (unsigned)l->code);
    if (!l->code && !l->settled)
        return;
    if (!over)
        flows_broken(w, "job %s: its watcher is told that it has settled, and it has not",
                     id_show(l->job).at);
    count_below(w, i, &truth);
    if (!l->code)
        same(w, l->job, "by what its watcher is told, all below it", &l->counts, &truth);
    w->told += !t->told && !l->code;
    t->told = true;
    tree_may_be_over(w, node_at(w, i)->tree);
}

void tree_may_be_over(struct world *w, uint32_t tree) {
    struct tree *t = &w->trees[tree];
    if (t->queued)
        return;
    t->queued = true;
    t->next = w->maybe_over;
    w->maybe_over = tree;
}

static void check_node(const struct world *w, uint32_t i) {
    const struct node *n = node_at(w, i);
    struct family f = family_of(w, i);
    const char *id = id_show(n->id).at;
    if (!is_settled(n))
        flows_broken(w, "job %s has not settled, and its flow has", id);
    if (f.own.total < n->named || f.own.total > n->named + n->maybe)
        flows_broken(w,
                     "job %s has named %u children, and %u that nobody acknowledged; %u are there",
                     id, n->named, n->maybe, f.own.total);
    if (n->then_named && !f.thens)
        flows_broken(w, "job %s has named a then, and none is there", id);
    if (f.thens > 1 && !n->doomed && f.thens_run > 1)
        flows_broken(w, "%u thens of job %s have run", f.thens_run, id);
    if (f.thens && !n->then_named && !n->maybe)
        flows_broken(w, "job %s has named no then, and one is there", id);
}

/* NOLINTNEXTLINE(misc-no-recursion): a flow is at most 16 deep */
static void check_tree(const struct world *w, uint32_t i) {
    check_node(w, i);
    for (uint32_t k = node_at(w, i)->child; k; k = node_at(w, k)->sibling)
        check_tree(w, k);
}

/* NOLINTNEXTLINE(misc-no-recursion): a flow is at most 16 deep */
static void free_tree(struct world *w, uint32_t i) {
    for (uint32_t k = node_at(w, i)->child, next; k; k = next) {
        next = node_at(w, k)->sibling;
        free_tree(w, k);
    }
    lhash_remove(&w->by_id, i);
    slab_give(&w->nodes, i);
}

void truth_turn(struct world *w) {
    while (w->maybe_over) {
        struct tree *t = &w->trees[w->maybe_over];
        w->maybe_over = t->next;
        t->queued = false;
        if (!t->root || !is_settled(node_at(w, t->root)) || t->held || (t->watched && !t->told))
            continue;
        check_tree(w, t->root);
        free_tree(w, t->root);
        *t = (struct tree){0};
        w->trees_ended++;
    }
}

void truth_restart(struct world *w) {
    w->watch.n = w->cancel.n = 0;
    for (uint32_t k = 1; k <= FLOW_TREES; k++) {
        struct tree *t = &w->trees[k];
        t->submit_again = t->number && !t->root;
        if (t->root && t->watched && !t->told)
            numbers_add(&w->watch, node_at(w, t->root)->id);
    }
}
