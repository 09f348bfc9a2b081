/* Flows: what is counted of a job's children, when a then may run, and how a flow ends early.
 *
 * A flow has counters, never lists. A child's end, or a whole flow's, is counted in the flow above
 * it, and so on up to the root; each of these counts is one record, in one row (core.h, `group`)
 * with the record of the end that caused it, so that after a crash either all of them have happened
 * or none. A flow is there from the first child on, until nothing that is in memory names it: its
 * job, its children, the flows below, who watches it. */
#include "broker/core/core_int.h"
#include "common/base/id.h"

#include <stdio.h>

/* What one end may write beside its result: its own state, a unique window, a count each level. */
#define GROUP_BYTES (16U << 10)

/* ---- rows of records ----------------------------------------------------------------------- */
bool group_fits(const struct core *c, size_t more_bytes) {
    return GROUP_BYTES + more_bytes <= c->config.group_max;
}

void group_open(struct core *c, size_t more_bytes) {
    if (c->groups++ == 0 && !MUTANT(flow_torn)) {
        size_t bytes = GROUP_BYTES + more_bytes;
        c->fx.group(c->fx.ctx, bytes < c->config.group_max ? (uint32_t)bytes : c->config.group_max);
    }
}

void group_close(struct core *c) {
    ASSERT(c->groups > 0);
    if (--c->groups == 0 && !MUTANT(flow_torn))
        c->fx.group(c->fx.ctx, 0);
}

/* ---- the table ------------------------------------------------------------------------------ */
static uint64_t flow_hash(const void *ctx, uint32_t i) {
    return hash_mix(0, flow_at(ctx, i)->id);
}

static uint32_t *flow_link(const void *ctx, uint32_t i) {
    return &flow_at(ctx, i)->hash_next;
}

static bool flow_equal(const void *ctx, uint32_t i, const void *key) {
    return flow_at(ctx, i)->id == *(const uint64_t *)key;
}

static const struct lhash_ops flow_ops = {flow_hash, flow_link, flow_equal};

void flows_setup(struct core *c) {
    slab_init(&c->flows, sizeof(struct flow));
    lhash_init(&c->flow_index, &flow_ops, c);
}

void flows_teardown(struct core *c) {
    lhash_done(&c->flow_index);
    slab_done(&c->flows);
}

uint32_t flow_find(const struct core *c, uint64_t id) {
    return lhash_find(&c->flow_index, hash_mix(0, id), &id);
}

static uint32_t flow_new(struct core *c, uint64_t id) {
    uint32_t n = slab_take(&c->flows);
    ASSERT(n < FLOWS_END);
    flow_at(c, n)->id = id;
    flow_at(c, n)->depth = 1;
    lhash_add(&c->flow_index, n);
    return n;
}

static void set_up(struct core *c, uint32_t n, uint32_t up) {
    struct flow *f = flow_at(c, n);
    f->up = up;
    if (!up)
        return;
    flow_at(c, up)->refs++;
    f->depth = (uint8_t)(flow_at(c, up)->depth + 1);
}

void flow_let_go(struct core *c, uint32_t n) {
    while (n) {
        struct flow *f = flow_at(c, n);
        ASSERT(f->refs > 0);
        if (--f->refs)
            return;
        ASSERT(!f->watchers && !f->releases);
        timer_clear(c, TIMER_FLOW, n);
        if (f->pos)
            c->fx.release(c->fx.ctx, f->pos, f->bytes);
        uint32_t up = f->up;
        lhash_remove(&c->flow_index, n);
        slab_give(&c->flows, n);
        n = up;
    }
}

uint32_t job_flow(const struct core *c, const struct job *j) {
    return job_is(j, JOB_HAS_FLOW) ? flow_find(c, j->id) : 0;
}

uint32_t job_need_flow(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    uint32_t n = job_flow(c, j);
    if (n)
        return n;
    n = flow_new(c, j->id);
    struct flow *f = flow_at(c, n);
    f->job = i;
    f->refs = 1;
    f->fail_fast = job_is(j, JOB_FAIL_FAST);
    f->is_then = job_is(j, JOB_IS_THEN);
    if (job_state_terminal(j->state))
        f->end = (uint8_t)j->state;
    f->settled = f->end != 0;
    set_up(c, n, j->up);
    job_mark(j, JOB_HAS_FLOW);
    return n;
}

/* Out of the flow that it is a child in; for a job that is forgotten, or runs apart. */
void flow_leave(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    uint32_t up = j->up, own = job_flow(c, j);
    j->up = 0;
    if (!up)
        return;
    if (own && flow_at(c, own)->up) {
        flow_at(c, own)->up = 0;
        flow_at(c, own)->depth = 1;
        flow_let_go(c, up);
    }
    flow_let_go(c, up);
}

static bool is_written(const struct flow *f) {
    return f->pos || f->own.total || f->below.total;
}

/* Its slot goes. */
void flow_forget_job(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    uint32_t own = job_flow(c, j), up = j->up;
    if (own) {
        if (flow_at(c, own)->settled)
            flow_tell(c, own); /* while the job can tell when its end is durable */
        flow_at(c, own)->job = 0;
        job_unmark(j, JOB_HAS_FLOW);
        flow_let_go(c, own);
    }
    j->up = 0;
    if (up)
        flow_let_go(c, up);
}

/* It was made for who watched it: without children its job needs none. */
void flow_unneeded(struct core *c, uint32_t n) {
    struct flow *f = flow_at(c, n);
    if (f->watchers || !f->job || f->refs != 1 || is_written(f))
        return;
    job_unmark(job_at(c, f->job), JOB_HAS_FLOW);
    f->job = 0;
    flow_let_go(c, n);
}

/* ---- counts --------------------------------------------------------------------------------- */
static unsigned end_of(enum job_state state) {
    return (unsigned)state - JOB_done;
}

static uint32_t ended(const struct flow_count *n) {
    return n->ended[0] + n->ended[1] + n->ended[2] + n->ended[3];
}

void flow_count_add(struct flow_count *to, const struct flow_count *n, int sign) {
    to->total += sign > 0 ? n->total : 0U - n->total;
    for (int k = 0; k < 4; k++)
        to->ended[k] += sign > 0 ? n->ended[k] : 0U - n->ended[k];
}

static void add_above(struct core *c, uint32_t n, const struct flow_count *what, int sign) {
    for (; n; n = flow_at(c, n)->up) {
        flow_count_add(&flow_at(c, n)->all, what, sign);
        flow_news(c, n);
    }
}

uint32_t flow_root(const struct core *c, uint32_t n) {
    while (flow_at(c, n)->up)
        n = flow_at(c, n)->up;
    return n;
}

uint32_t flow_doomed(const struct core *c, uint32_t n) {
    for (; n && !MUTANT(flow_doom_ignored); n = flow_at(c, n)->up)
        if (flow_at(c, n)->doom)
            return n;
    return 0;
}

enum err_code flow_doom_of(const struct core *c, uint32_t n) {
    n = flow_doomed(c, n);
    return n ? flow_at(c, n)->doom : ERR_OK;
}

#define COUNT(m, field, value)                                                                     \
    do {                                                                                           \
        if (value)                                                                                 \
            MSG_SET(m, rec_flow, field, value);                                                    \
    } while (0)

void flow_record(struct core *c, uint32_t n) {
    struct flow *f = flow_at(c, n);
    struct msg_rec_flow m = {0};
    MSG_SET(&m, rec_flow, id, f->id);
    MSG_SET(&m, rec_flow, version, ++f->version);
    COUNT(&m, parent, f->up ? flow_at(c, f->up)->id : 0);
    COUNT(&m, fence, f->fence);
    COUNT(&m, spawned, f->spawned);
    COUNT(&m, fail_fast, f->fail_fast);
    COUNT(&m, then, f->then_open);
    COUNT(&m, is_then, f->is_then);
    COUNT(&m, end, f->end);
    COUNT(&m, doom, (uint64_t)f->doom);
    COUNT(&m, settled, f->settled);
    COUNT(&m, own, f->own.total);
    COUNT(&m, done, f->own.ended[0]);
    COUNT(&m, dead, f->own.ended[1]);
    COUNT(&m, cancelled, f->own.ended[2]);
    COUNT(&m, expired, f->own.ended[3]);
    COUNT(&m, closed, f->closed);
    COUNT(&m, broken, f->broken);
    COUNT(&m, below, f->below.total);
    COUNT(&m, below_done, f->below.ended[0]);
    COUNT(&m, below_dead, f->below.ended[1]);
    COUNT(&m, below_cancelled, f->below.ended[2]);
    COUNT(&m, below_expired, f->below.ended[3]);
    struct record r = {.type = REC_FLOW, .other = &m};
    if (f->pos)
        c->fx.release(c->fx.ctx, f->pos, f->bytes);
    f->pos = c->fx.append(c->fx.ctx, &r, &f->bytes);
}
#undef COUNT

void flow_replay(struct core *c, uint32_t n, const struct msg_rec_flow *m) {
    struct flow *f = flow_at(c, n);
    f->fence = m->fence;
    f->spawned = (uint32_t)m->spawned;
    f->fail_fast = m->fail_fast;
    f->then_open = m->then;
    f->is_then = m->is_then;
    f->end = (uint8_t)m->end;
    f->doom = m->doom && err_code_known(m->doom) ? (enum err_code)m->doom : ERR_OK;
    f->settled = m->settled;
    f->own = (struct flow_count){
        (uint32_t)m->own,
        {(uint32_t)m->done, (uint32_t)m->dead, (uint32_t)m->cancelled, (uint32_t)m->expired}};
    f->closed = (uint32_t)m->closed;
    f->broken = (uint32_t)m->broken;
    f->below = (struct flow_count){(uint32_t)m->below,
                                   {(uint32_t)m->below_done, (uint32_t)m->below_dead,
                                    (uint32_t)m->below_cancelled, (uint32_t)m->below_expired}};
    uint32_t up = m->parent ? flow_need(c, m->parent) : 0;
    if (up == f->up)
        return;
    if (f->up) /* that was before its job ran apart */
        flow_at(c, f->up)->refs--;
    set_up(c, n, up);
}

uint32_t flow_need(struct core *c, uint64_t id) {
    uint32_t n = flow_find(c, id);
    return n ? n : flow_new(c, id);
}

/* ---- children come -------------------------------------------------------------------------- */
void flow_add_child(struct core *c, uint32_t parent, uint32_t i) {
    uint32_t n = job_need_flow(c, parent);
    struct flow *f = flow_at(c, n);
    struct job *j = job_at(c, i);
    static const struct flow_count one = {.total = 1};
    j->up = n & (FLOWS_END - 1);
    f->refs++;
    f->settled = false;
    if (job_is(j, JOB_IS_THEN)) {
        job_mark(j, JOB_HELD);
        f->then = i;
        f->then_open = true;
        f->below.total++;
    } else {
        f->own.total++;
    }
    add_above(c, n, &one, 1);
    if (flow_doom_of(c, n))
        flows_look(c, i, i + 1); /* it came behind the slots that were looked at */
}

/* ---- doom ----------------------------------------------------------------------------------- */
/* Everything below it is cancelled, piece by piece: see flows_step. */
static void doom(struct core *c, uint32_t n, enum err_code why) {
    struct flow *f = flow_at(c, n);
    if (f->doom || f->settled)
        return;
    f->doom = why;
    if (f->all.total > ended(&f->all))
        flows_look(c, 1, UINT32_MAX);
}

/* What comes one by one into a flow that ends must not make us look at all the others each time. */
void flows_look(struct core *c, uint32_t at, uint32_t end) {
    if (!c->doom_at) {
        c->doom_at = at;
        c->doom_end = end;
        return;
    }
    if (at >= c->doom_at && end <= c->doom_end)
        return; /* the look that goes on comes there yet */
    if (!c->doom_again || at < c->doom_again)
        c->doom_again = at;
    if (end > c->doom_again_end)
        c->doom_again_end = end;
}

/* ---- the end of a flow ---------------------------------------------------------------------- */
static uint64_t child_settled(struct core *c, uint32_t n, bool is_then, bool broken);

static void release_later(struct core *c, uint32_t n, uint64_t pos) {
    struct flow *f = flow_at(c, n);
    f->refs++;
    f->releases = true;
    f->release_pos = pos;
    f->release_next = 0;
    if (c->release_flows)
        flow_at(c, c->release_flows_tail)->release_next = n;
    else
        c->release_flows = n;
    c->release_flows_tail = n;
}

/* All that a then waits for has ended. */
bool flow_is_ready(const struct flow *f) {
    return f->end && (f->closed == f->own.total || MUTANT(flow_then_early));
}

/* Something was counted in it: writes that down, and whatever follows from it. Returns the position
 * of the last record. */
/* NOLINTNEXTLINE(misc-no-recursion): a flow is at most 16 deep */
static uint64_t flow_step(struct core *c, uint32_t n) {
    struct flow *f = flow_at(c, n);
    bool settles = !f->settled && flow_is_ready(f) && !f->then_open;
    if (settles)
        f->settled = true;
    flow_news(c, n);
    if (!is_written(f))
        return 0;
    flow_record(c, n);
    uint64_t pos = f->pos;
    if (flow_is_ready(f) && f->then && !f->releases)
        MUTANT(flow_then_uncommitted) ? flow_release(c, n) : release_later(c, n, pos);
    if (!settles || !f->up)
        return pos;
    struct flow *up = flow_at(c, f->up);
    flow_count_add(&up->below, &f->own, 1);
    flow_count_add(&up->below, &f->below, 1);
    bool broken = f->doom && f->end == JOB_done;
    return child_settled(c, f->up, f->is_then, broken);
}

/* One of its children, with all below that, has ended. */
/* NOLINTNEXTLINE(misc-no-recursion): a flow is at most 16 deep */
static uint64_t child_settled(struct core *c, uint32_t n, bool is_then, bool broken) {
    struct flow *f = flow_at(c, n);
    if (is_then) {
        f->then_open = false;
    } else if (!MUTANT(flow_child_lost) || rng_below(&c->rng, 16)) {
        f->closed++;
        f->broken += broken;
    }
    if (broken && f->fail_fast)
        doom(c, n, ERR_FLOW_FAILED);
    return flow_step(c, n);
}

static void count_end(struct core *c, uint32_t n, uint32_t i, enum job_state state) {
    struct flow *f = flow_at(c, n);
    struct flow_count one = {0};
    one.ended[end_of(state)] = 1;
    if (job_is(job_at(c, i), JOB_IS_THEN)) {
        f->below.ended[end_of(state)]++;
        if (f->then == i)
            f->then = 0;
    } else {
        f->own.ended[end_of(state)]++;
    }
    add_above(c, n, &one, 1);
    if (state != JOB_done && f->fail_fast)
        doom(c, n, ERR_FLOW_FAILED);
}

uint64_t flow_job_ended(struct core *c, uint32_t i, enum job_state state) {
    struct job *j = job_at(c, i);
    uint32_t up = j->up, own = job_flow(c, j);
    bool is_then = job_is(j, JOB_IS_THEN);
    uint64_t pos = 0;
    job_unmark(j, JOB_HELD);
    if (up)
        count_end(c, up, i, state);
    if (own) {
        struct flow *f = flow_at(c, own);
        f->end = (uint8_t)state;
        if (state == JOB_cancelled)
            doom(c, own, ERR_CANCELLED);
        else if (state != JOB_done && f->fail_fast)
            doom(c, own, ERR_FLOW_FAILED);
        bool was = is_written(f);
        pos = flow_step(c, own);
        if (was) /* what follows for the flow above has followed, if it has settled */
            return !up || f->settled ? pos : flow_step(c, up);
    }
    return up ? child_settled(c, up, is_then, false) : pos;
}

/* ---- a then may go -------------------------------------------------------------------------- */
void flow_release(struct core *c, uint32_t n) {
    struct flow *f = flow_at(c, n);
    uint32_t i = f->then;
    f->then = 0;
    f->releases = false;
    if (!i)
        return; /* it was cancelled meanwhile */
    struct job *j = job_at(c, i);
    struct extra *x = job_extra(c, j);
    job_unmark(j, JOB_HELD);
    if (x && x->ttl_end_ms)
        x->ttl_end_ms = c->now.ms + (x->ttl_end_ms - j->since_ms);
    job_due(c, i);
}

void flows_durable(struct core *c) {
    while (c->release_flows) {
        uint32_t n = c->release_flows;
        struct flow *f = flow_at(c, n);
        if (f->release_pos >= c->durable)
            return;
        c->release_flows = f->release_next;
        flow_release(c, n);
        flow_let_go(c, n);
    }
}

void flow_tell_child(const struct core *c, uint32_t i, struct msg_dispatch *m) {
    const struct job *j = job_at(c, i);
    const struct flow *f = flow_at(c, j->up);
    MSG_SET(m, dispatch, parent, f->id);
    if (!job_is(j, JOB_IS_THEN))
        return;
    MSG_SET(m, dispatch, parent_state, f->end);
    MSG_SET(m, dispatch, siblings, f->own.total);
    MSG_SET(m, dispatch, siblings_done, f->own.ended[0]);
    MSG_SET(m, dispatch, siblings_dead, f->own.ended[1]);
    MSG_SET(m, dispatch, siblings_cancelled, f->own.ended[2]);
    MSG_SET(m, dispatch, siblings_expired, f->own.ended[3]);
    MSG_SET(m, dispatch, siblings_broken, f->broken);
}

/* ---- a job runs again ----------------------------------------------------------------------- */
int flow_may_revive(const struct core *c, uint32_t i, struct err *e) {
    const struct job *j = job_at(c, i);
    uint32_t own = job_flow(c, j);
    if (!own || flow_at(c, own)->settled)
        return 0;
    return err_set(e, ERR_NOT_FINISHED, "job %s: jobs below it have not ended yet",
                   id_show(j->id).at);
}

/* It counts again as not ended, if its parent still waits for others. */
static void rejoin(struct core *c, uint32_t i, struct flow *own) {
    struct job *j = job_at(c, i);
    uint32_t n = j->up;
    struct flow *f = flow_at(c, n);
    struct flow_count one = {0};
    one.ended[end_of((enum job_state)j->state)] = 1;
    flow_count_add(&f->own, &one, -1);
    add_above(c, n, &one, -1);
    f->closed--;
    if (own) {
        flow_count_add(&f->below, &own->own, -1);
        flow_count_add(&f->below, &own->below, -1);
        f->broken -= own->doom && own->end == JOB_done;
    }
    flow_record(c, n);
}

void flow_revive(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    uint32_t own = job_flow(c, j);
    struct flow *f = own ? flow_at(c, own) : NULL;
    if (j->up) {
        struct flow *up = flow_at(c, j->up);
        bool open = !up->settled && !flow_is_ready(up) && !flow_doom_of(c, j->up);
        if (open && !job_is(j, JOB_IS_THEN)) {
            rejoin(c, i, f);
        } else {
            flow_leave(c, i);
            job_mark(j, JOB_APART);
        }
    }
    if (!f)
        return;
    f->end = 0;
    f->doom = ERR_OK;
    f->settled = false;
    if (is_written(f))
        flow_record(c, own);
}

/* ---- cancelled as a whole ------------------------------------------------------------------- */
uint64_t flow_cancel(struct core *c, uint32_t n) {
    if (!n || flow_at(c, n)->settled)
        return 0;
    doom(c, n, ERR_CANCELLED);
    if (is_written(flow_at(c, n)))
        flow_record(c, n);
    return flow_at(c, n)->pos;
}

uint32_t flow_open_jobs(const struct core *c, uint32_t n) {
    return n ? flow_at(c, n)->all.total - ended(&flow_at(c, n)->all) : 0;
}

static void stop(struct core *c, uint32_t i, enum err_code why) {
    uint64_t top = flow_at(c, flow_root(c, job_at(c, i)->up))->id;
    char text[96];
    snprintf(text, sizeof text, "flow %s: %s", id_show(top).at,
             why == ERR_CANCELLED ? "cancelled" : "a job of it failed");
    job_cancel_because(c, i, why, str_of(text));
}

bool flow_stops(struct core *c, uint32_t i) {
    enum err_code why = flow_doom_of(c, job_at(c, i)->up);
    if (!why)
        return false;
    stop(c, i, why);
    return true;
}

#define STEP_SLOTS 4096 /* looked at in one turn */

/* Nobody lists a flow's jobs: slots are walked for those that must not go on. */
void flows_step(struct core *c) {
    bool tight = c->room == CORE_TIGHT;
    if (!c->doom_at || c->read_only || c->room == CORE_FULL || (tight && c->sweeps.used))
        return;
    uint32_t end = slab_end(&c->jobs), most = tight ? CORE_PURGE_STEP : STEP_SLOTS;
    if (end > c->doom_end)
        end = c->doom_end;
    for (uint32_t n = 0; n < most && c->doom_at < end; n++) {
        uint32_t i = c->doom_at++;
        if (!slab_is_used(&c->jobs, i))
            continue;
        const struct job *j = job_at(c, i);
        bool goes_on = !job_state_terminal(j->state) && j->state != JOB_cancelling;
        if (j->up && goes_on)
            flow_stops(c, i);
    }
    if (c->doom_at >= end) {
        c->doom_at = c->doom_again;
        c->doom_end = c->doom_again_end;
        c->doom_again = c->doom_again_end = 0;
    }
    c->more |= c->doom_at != 0;
}
