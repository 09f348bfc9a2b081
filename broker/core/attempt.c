/* The life of one attempt: given to a worker, started, stopped, failed, taken back. */
#include "broker/core/core_int.h"
#include "common/base/id.h"

uint64_t fence_next(struct core *c, uint32_t width) {
    ASSERT(c->fences < ID_COUNTER_MAX - width);
    uint64_t fence = id_make(c->epoch & ID_EPOCH_MAX, c->fences + 1);
    c->fences += width;
    return fence;
}

/* ---- what a worker holds
 * ------------------------------------------------------------------------- */
static struct list *run_list(struct core *c, const struct extra *x) {
    return x->worker ? &worker_at(c, x->worker)->run : &c->orphans;
}

static void run_push(struct core *c, uint32_t i) {
    struct extra *x = job_extra(c, job_at(c, i));
    struct list *l = run_list(c, x);
    x->run_next = 0;
    x->run_prev = l->tail;
    if (l->tail)
        job_extra(c, job_at(c, l->tail))->run_next = i;
    else
        l->head = i;
    l->tail = i;
    l->n++;
}

static void run_remove(struct core *c, uint32_t i) {
    struct extra *x = job_extra(c, job_at(c, i));
    struct list *l = run_list(c, x);
    ASSERT(l->n > 0);
    if (x->run_prev)
        job_extra(c, job_at(c, x->run_prev))->run_next = x->run_next;
    else
        l->head = x->run_next;
    if (x->run_next)
        job_extra(c, job_at(c, x->run_next))->run_prev = x->run_prev;
    else
        l->tail = x->run_prev;
    x->run_next = x->run_prev = 0;
    l->n--;
}

void attempt_attach(struct core *c, uint32_t i, uint32_t worker) {
    struct extra *x = job_need_extra(c, i);
    x->worker = worker;
    run_push(c, i);
    if (worker) {
        struct worker *w = worker_at(c, worker);
        w->held++;
        w->mismatch_ms = 0;
        if (job_is(job_at(c, i), JOB_ISOLATED) && !MUTANT(isolation_ignored))
            w->alone = i;
        if (w->started < w->slots) {
            job_mark(job_at(c, i), JOB_STARTED);
            w->started++;
        }
    }
}

void attempt_begin(struct core *c, uint32_t i, uint32_t worker, uint64_t fence) {
    struct job *j = job_at(c, i);
    struct extra *x = job_need_extra(c, i);
    j->fence = fence;
    job_set_state(c, i, JOB_running);
    x->tries++;
    x->started_ms = c->wall.ms;
    measure_begin(c, i);
    x->asked_ms = 0;
    x->progress = x->progress_total = 0;
    if (x->stream)
        stream_set_position(c, i, 0, 0);
    timer_clear(c, TIMER_JOB_EXTRA, i);
    limit_take(&job_queue(c, j)->limit, core_now_us(c));
    limit_take(&job_tenant(c, j)->limit, core_now_us(c));
    quota_take(c, j);
    attempt_attach(c, i, worker);
    key_started(c, i);
}

/* Adopted after a restart, one worker may hold two of them. */
static uint32_t another_suspect(const struct core *c, const struct worker *w) {
    uint32_t i = w->run.head;
    while (i && !job_is(job_at(c, i), JOB_ISOLATED))
        i = job_extra(c, job_at(c, i))->run_next;
    return i;
}

/* Off its worker, without touching the limits: it goes to another list of the same kind. */
static void unhand(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    struct extra *x = job_extra(c, j);
    run_remove(c, i);
    if (x->worker) {
        struct worker *w = worker_at(c, x->worker);
        w->held--;
        w->mismatch_ms = 0;
        if (job_is(j, JOB_STARTED))
            w->started--;
        if (w->alone == i)
            w->alone = another_suspect(c, w);
    }
    x->worker = 0;
    x->asked_ms = 0;
    timer_clear(c, TIMER_JOB_EXTRA, i);
    if (x->stream)
        stream_drop_result(c, i);
    job_unmark(j, JOB_STARTED | JOB_TIMED_OUT | JOB_RECALLED | JOB_TO_SEND);
}

void attempt_detach(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    unhand(c, i);
    if (!MUTANT(limit_leaked))
        limit_give(&job_queue(c, j)->limit);
    limit_give(&job_tenant(c, j)->limit);
    quota_give(c, j);
    queue_changed(c, line_at(c, j->line)->queue);
    tenant_unpark(c, j->tenant);
}

void attempt_adopt(struct core *c, uint32_t i, uint32_t worker) {
    struct job *j = job_at(c, i);
    unhand(c, i);
    attempt_attach(c, i, worker);
    if (job_streams(c, j))
        stream_open(c, i, true);
    if (!job_is(j, JOB_STARTED)) { /* it says so: its slots decide, not our count */
        job_mark(j, JOB_STARTED);
        worker_at(c, worker)->started++;
    }
}

void attempt_started(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    struct extra *x = job_extra(c, j);
    job_unmark(j, JOB_RECALLED);
    if (job_is(j, JOB_STARTED))
        return;
    job_mark(j, JOB_STARTED);
    worker_at(c, x->worker)->started++;
    if (x->timeout_ms && !x->asked_ms)
        timer_set(c, TIMER_JOB_EXTRA, i, c->now.ms + x->timeout_ms);
}

/* What its end will need is in its body; attempts_max is at least 1 once it was learned. */
void attempt_learn(struct core *c, uint32_t i) {
    struct extra *x = job_extra(c, job_at(c, i));
    const struct msg_rec_spec *s = &x->body->spec;
    const struct core_config *k = &c->config;
    x->timeout_ms = MSG_HAS(s, rec_spec, timeout_ms) ? s->timeout_ms : k->timeout_ms;
    x->attempts_max =
        (uint32_t)(MSG_HAS(s, rec_spec, attempts_max) ? s->attempts_max : k->attempts_max);
    x->traced = true;
    x->trace = spec_trace(c, job_at(c, i)->id, s);
    x->backoff_ms = MSG_HAS(s, rec_spec, backoff_ms) ? s->backoff_ms : k->backoff_ms;
    x->backoff_max_ms =
        MSG_HAS(s, rec_spec, backoff_max_ms) ? s->backoff_max_ms : k->backoff_max_ms;
}

bool attempt_learned(const struct core *c, uint32_t i) {
    return job_extra(c, job_at(c, i))->attempts_max != 0;
}

/* ---- back in line
 * -------------------------------------------------------------------------------- */
uint64_t attempt_requeue(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    struct extra *x = job_extra(c, j);
    measure_end(c, i, ATTEMPT_REQUEUED);
    job_tell(c, EVENT_attempt_requeued, i, STR(""));
    attempt_detach(c, i);
    c->stats.requeued++;
    if (!MUTANT(fence_kept_on_requeue))
        j->fence = fence_next(c, 1); /* what the lost attempt reports is refused from here on */
    if (x->key)                      /* it still holds its key */
        job_due(c, i);
    else
        job_ready(c, i, true);
    return job_record(c, i, STR(""));
}

static uint64_t backoff_ms(struct core *c, const struct job *j, const struct extra *x) {
    uint64_t wait = x->backoff_ms;
    for (unsigned n = 1; n < j->attempts && wait < x->backoff_max_ms; n++)
        wait *= 2;
    if (x->backoff_max_ms && wait > x->backoff_max_ms)
        wait = x->backoff_max_ms;
    /* The last quarter is chance, so that what failed together does not come back together. */
    uint32_t part = wait / 4 < UINT32_MAX ? (uint32_t)(wait / 4) : UINT32_MAX;
    return part ? wait - rng_below(&c->rng, part) : wait;
}

static uint64_t try_later(struct core *c, uint32_t i, uint64_t wait_ms) {
    struct job *j = job_at(c, i);
    struct extra *x = job_extra(c, j);
    attempt_detach(c, i);
    x->due_ms = c->now.ms + wait_ms;
    job_mark(j, JOB_BACKOFF);
    if (MUTANT(key_freed_on_retry)) {
        uint32_t key = x->key;
        if (key && key_at(c, key)->holder == i)
            key_at(c, key)->holder = 0;
    }
    job_place(c, i);
    return MUTANT(retry_not_journaled) ? 0 : job_record(c, i, STR(""));
}

static enum attempt_end end_of(enum err_code code) {
    if (code == ERR_TIMEOUT)
        return ATTEMPT_TIMED_OUT;
    if (code == ERR_CRASHED)
        return ATTEMPT_CRASHED;
    return err_code_class(code) == ERR_CLASS_PERM ? ATTEMPT_REJECTED : ATTEMPT_FAILED;
}

uint64_t attempt_failed(struct core *c, uint32_t i, enum err_code code, struct str text) {
    struct job *j = job_at(c, i);
    struct extra *x = job_extra(c, j);
    if (j->attempts < JOB_ATTEMPT_MAX)
        j->attempts++;
    job_fail_text(c, i, code, text);
    history_add(c, i, code, text);
    job_tell(c, EVENT_attempt_failed, i, text);
    measure_end(c, i, end_of(code));
    ASSERT(attempt_learned(c, i));
    if (err_code_class(code) == ERR_CLASS_PERM ||
        (j->attempts >= x->attempts_max && !MUTANT(attempts_unbounded))) {
        attempt_detach(c, i);
        return job_end(c, i, JOB_dead, STR(""));
    }
    return try_later(c, i, backoff_ms(c, j, x));
}

uint64_t attempt_held(struct core *c, uint32_t i, uint64_t wait_ms, struct str text) {
    job_fail_text(c, i, ERR_RATE_LIMITED, text);
    measure_end(c, i, ATTEMPT_HELD);
    job_tell(c, EVENT_attempt_held, i, text);
    return try_later(c, i, wait_ms);
}

/* ---- stop it
 * ------------------------------------------------------------------------------------- */
void attempt_stop(struct core *c, uint32_t i, enum err_code why, uint64_t after) {
    struct job *j = job_at(c, i);
    struct extra *x = job_extra(c, j);
    if (stream_holds_result(c, i))
        return; /* it has stopped */
    if (!x->asked_ms) {
        x->asked_ms = c->now.ms;
        timer_set(c, TIMER_JOB_EXTRA, i, c->now.ms + c->config.cancel_grace_ms);
    }
    if (!x->worker)
        return; /* its worker was not heard since the restart; it will be told when it is */
    struct msg_attempt_ref m = {0};
    MSG_SET(&m, attempt_ref, job, j->id);
    MSG_SET(&m, attempt_ref, fence, j->fence);
    MSG_SET(&m, attempt_ref, code, (uint64_t)why);
    const struct worker *w = worker_at(c, x->worker);
    send_to(c, session_at(c, w->session)->link, VERB_cancel_attempt, 0, &m, STR(""), after);
}

void attempt_reported(struct core *c, uint32_t i) {
    job_extra(c, job_at(c, i))->asked_ms = 0;
    timer_clear(c, TIMER_JOB_EXTRA, i);
}

static void disobeyed(struct core *c, uint32_t i) {
    struct extra *x = job_extra(c, job_at(c, i));
    if (!x->worker)
        return;
    struct worker *w = worker_at(c, x->worker);
    if (w->state == WORKER_STUCK)
        return;
    w->state = WORKER_STUCK;
    w->stuck_ms = c->now.ms;
    worker_recall(c, x->worker, 0);
}

void attempt_timer(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    struct extra *x = job_extra(c, j);
    if (j->state != JOB_running && j->state != JOB_cancelling) {
        if (x->tries == 0 && x->ttl_end_ms) {
            job_fail_text(c, i, ERR_EXPIRED, str_of(err_code_text(ERR_EXPIRED)));
            job_end(c, i, JOB_expired, STR(""));
        }
        return;
    }
    if (x->asked_ms) {
        if (!c->read_only) /* else its report may have come and was not taken */
            disobeyed(c, i);
        return;
    }
    job_mark(j, JOB_TIMED_OUT);
    attempt_stop(c, i, ERR_TIMEOUT, 0);
}
