/* Whose turn it is, and which worker takes it: the end of every turn.
 *
 * The broker pushes: a worker has credit for its free slots and its prefetch, and the least loaded
 * one that runs the kind gets the job. A job that must run alone waits for a worker that holds
 * nothing; one worker a kind is emptied for it, so that a busy pool cannot starve it. */
#include "broker/core/core_int.h"

#define DISPATCH_MAX 4096 /* in one turn */

uint32_t worker_credit(const struct worker *w) {
    if (w->state != WORKER_ACTIVE || w->alone || w->reserve)
        return 0;
    uint32_t most = w->slots + w->prefetch;
    if (MUTANT(credit_off_by_one))
        most++;
    return most > w->held ? most - w->held : 0;
}

uint32_t least_loaded(const struct core *c, const struct kind *k) {
    uint32_t best = 0, most = 0;
    for (uint32_t n = 0; n < k->n_workers; n++) {
        uint32_t credit = worker_credit(worker_at(c, k->workers[n]));
        if (credit > most) {
            most = credit;
            best = k->workers[n];
        }
    }
    return best;
}

/* ---- what the worker is told
 * --------------------------------------------------------------------- */
void dispatch_send(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    struct extra *x = job_extra(c, j);
    const struct body *b = x->body;
    job_unmark(j, JOB_TO_SEND);
    attempt_learn(c, i);
    struct msg_dispatch m = {0};
    MSG_SET(&m, dispatch, job, j->id);
    MSG_SET(&m, dispatch, fence, j->fence);
    MSG_SET(&m, dispatch, kind, b->spec.kind);
    MSG_SET(&m, dispatch, tenant, b->spec.tenant);
    MSG_SET(&m, dispatch, attempt, j->attempts + 1U);
    if (b->payload.len)
        MSG_SET(&m, dispatch, size, b->payload.len);
    if (x->attempts_max)
        MSG_SET(&m, dispatch, attempts_max, x->attempts_max);
    if (x->timeout_ms)
        MSG_SET(&m, dispatch, timeout_ms, x->timeout_ms);
    struct trace_text trace = trace_show(&x->trace);
    MSG_SET(&m, dispatch, trace, str_make(trace.at, TRACE_LEN));
    if (job_is(j, JOB_ISOLATED))
        MSG_SET(&m, dispatch, alone, true);
    if (j->up)
        flow_tell_child(c, i, &m);
    if (job_streams(c, j))
        MSG_SET(&m, dispatch, token, stream_open(c, i, false));
    const struct session *s = session_at(c, worker_at(c, x->worker)->session);
    send_to(c, s->link, VERB_dispatch, 0, &m, b->payload, 0);
    job_tell(c, EVENT_attempt_started, i, s->name);
    if (job_is(j, JOB_STARTED) && x->timeout_ms)
        timer_set(c, TIMER_JOB_EXTRA, i, c->now.ms + x->timeout_ms);
    body_runs(c, i);
    if (!job_is(j, JOB_IS_VOLATILE) && c->stats.body_bytes > c->config.window_bytes)
        body_drop(c, i);
}

static void give(struct core *c, uint32_t i, uint32_t worker) {
    struct job *j = job_at(c, i);
    attempt_begin(
        c, i, worker,
        fence_next(c, job_streams(c, j) && !MUTANT(stream_fences_dense) ? STREAM_FENCES : 1));
    c->stats.dispatched++;
    job_record(c, i, STR(""));
    job_mark(j, JOB_TO_SEND);
    if (job_body(c, j))
        dispatch_send(c, i);
    else
        body_fetch(c, i);
}

/* ---- jobs that must run alone
 * -------------------------------------------------------------------- */
static uint32_t empty_worker(const struct core *c, const struct kind *k) {
    for (uint32_t n = 0; n < k->n_workers; n++) {
        const struct worker *w = worker_at(c, k->workers[n]);
        if (w->state == WORKER_ACTIVE && w->held == 0 && !w->alone)
            return k->workers[n];
    }
    return 0;
}

static void unreserve(struct core *c, struct kind *k) {
    if (k->reserved)
        worker_at(c, k->reserved)->reserve = 0;
    k->reserved = 0;
}

/* Empties the worker that holds least. */
static void reserve(struct core *c, uint32_t kind) {
    struct kind *k = kind_at(c, kind);
    uint32_t best = 0;
    for (uint32_t n = 0; n < k->n_workers; n++) {
        const struct worker *w = worker_at(c, k->workers[n]);
        if (w->state == WORKER_ACTIVE && !w->alone && !w->reserve &&
            (!best || w->held < worker_at(c, best)->held))
            best = k->workers[n];
    }
    if (!best)
        return;
    k->reserved = best;
    worker_at(c, best)->reserve = kind;
    worker_recall(c, best, 0);
}

static void dispatch_isolated(struct core *c, uint32_t kind) {
    struct kind *k = kind_at(c, kind);
    for (uint32_t i = k->isolated.head, next; i; i = next) {
        struct job *j = job_at(c, i);
        next = j->next;
        if (j->up && flow_stops(c, i))
            continue;
        if (!queue_may_start(c, job_queue(c, j)) || !tenant_may_start(c, job_tenant(c, j)) ||
            !job_quota_has_room(c, j))
            continue;
        uint32_t w = empty_worker(c, k);
        if (!w) {
            if (!k->reserved)
                reserve(c, kind);
            return;
        }
        unreserve(c, k);
        list_remove(c, &k->isolated, i);
        give(c, i, w);
    }
    if (!k->isolated.n)
        unreserve(c, k);
}

/* ---- the end of a turn
 * --------------------------------------------------------------------------- */
/* Kinds that a worker with credit runs may go on. Returns the credit of all. */
static uint32_t open_kinds(struct core *c) {
    uint32_t credit = 0;
    SLAB_EACH(i, &c->workers) {
        const struct worker *w = worker_at(c, i);
        uint32_t free = worker_credit(w);
        for (uint32_t n = 0; free && n < w->n_kinds; n++)
            kind_open(c, w->kinds[n]);
        credit += free;
    }
    return credit;
}

void dispatch(struct core *c) {
    if (!c->open || c->read_only || c->room >= CORE_TIGHT)
        return;
    c->pass++;
    SLAB_EACH(k, &c->kinds.rows)
    if (kind_at(c, k)->isolated.n || kind_at(c, k)->reserved)
        dispatch_isolated(c, k);
    uint32_t credit = open_kinds(c);
    for (uint32_t n = 0; credit; n++) {
        if (n == DISPATCH_MAX) {
            c->more = true;
            break;
        }
        uint32_t i = lane_choose(c);
        if (!i)
            break;
        if (job_at(c, i)->up && flow_stops(c, i))
            continue;
        uint32_t kind = line_at(c, job_at(c, i)->line)->kind;
        uint32_t w = least_loaded(c, kind_at(c, kind));
        if (!w) {
            kind_close(c, kind);
            lane_unserved(c);
            continue;
        }
        lane_served(c, i);
        give(c, i, w);
        credit--;
    }
}
