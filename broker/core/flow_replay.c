/* Flows after a restart: who belongs to which, what is counted above, and which then may go. */
#include "broker/core/core_int.h"

/* While records come in, a child's parent may still be unknown: its flow is made and filled later.
 */
void flow_learn_parent(struct core *c, uint32_t i, const struct msg_rec_spec *s) {
    struct job *j = job_at(c, i);
    if (s->fail_fast)
        job_mark(j, JOB_FAIL_FAST);
    if (s->then)
        job_mark(j, JOB_IS_THEN);
    if (!MSG_HAS(s, rec_spec, parent))
        return;
    uint32_t n = flow_need(c, s->parent);
    flow_at(c, n)->refs++;
    j->up = n & (FLOWS_END - 1);
}

static void find_own(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    uint32_t own = flow_find(c, j->id);
    if (!own || !flow_at(c, own)->pos)
        return;
    flow_at(c, own)->job = i;
    flow_at(c, own)->refs++;
    job_mark(j, JOB_HAS_FLOW);
}

/* What was forgotten long ago may have left an old record of a child; what runs apart is nobody's.
 * All have found their own flows: what is let go here, nobody else names. */
static void join_job(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    if (!j->up)
        return;
    struct flow *f = flow_at(c, j->up);
    bool live = !job_state_terminal(j->state);
    if (!f->pos || job_is(j, JOB_APART) || (live && f->settled)) {
        flow_leave(c, i);
        return;
    }
    bool never_ran = live && !j->fence;
    if (job_is(j, JOB_IS_THEN) && never_ran) {
        job_mark(j, JOB_HELD);
        j->since_ms = c->now.ms; /* its time to live is counted from its turn on */
        f->then = i;
    }
}

/* The records of what was forgotten may be found for a while yet, and that of a flow above longer
 * gone than that of one below. */
static void leave_forgotten(struct core *c) {
    SLAB_EACH(n, &c->flows) {
        struct flow *f = flow_at(c, n);
        if (!f->up || flow_at(c, f->up)->pos)
            continue;
        flow_at(c, f->up)->refs--;
        f->up = 0;
    }
}

/* Ends a flow that nothing names; those above may follow. */
static void drop_unnamed(struct core *c) {
    SLAB_EACH(n, &c->flows) {
        if (!flow_at(c, n)->refs) {
            flow_at(c, n)->refs = 1;
            flow_let_go(c, n);
        }
    }
}

static void count_all(struct core *c, uint32_t n) {
    struct flow *f = flow_at(c, n);
    struct flow_count here = f->own;
    flow_count_add(&here, &f->below, 1);
    flow_count_add(&f->all, &here, 1);
    f->depth = 1;
    for (uint32_t up = f->up; up; up = flow_at(c, up)->up) {
        f->depth++;
        if (!f->settled) /* else it stands in `below` of the one above already */
            flow_count_add(&flow_at(c, up)->all, &here, 1);
    }
}

/* Before the jobs are put where they belong. */
void flows_replayed(struct core *c) {
    SLAB_EACH(i, &c->jobs)
    find_own(c, i);
    SLAB_EACH(i, &c->jobs)
    join_job(c, i);
    leave_forgotten(c);
    drop_unnamed(c);
    SLAB_EACH(n, &c->flows)
    count_all(c, n);
}

/* After it: what the counts allow is done, for all of it is durable. */
void flows_resume(struct core *c) {
    SLAB_EACH(n, &c->flows) {
        struct flow *f = flow_at(c, n);
        if (f->doom && !f->settled)
            flows_look(c, 1, UINT32_MAX);
        if (f->then && flow_is_ready(f))
            flow_release(c, n);
    }
}
