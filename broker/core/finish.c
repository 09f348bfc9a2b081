/* How attempts and jobs end: results, cancel, and the one door out. */
#include "broker/core/core_int.h"
#include "common/base/id.h"
#include "common/base/mem.h"

#include <stdio.h>

/* ---- the one door out
 * ---------------------------------------------------------------------------- */
/* Takes a job that does not run out of whatever it waits in. */
void job_leave_line(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    if (job_is(j, JOB_IN_LANE))
        lane_remove(c, i);
    else if (j->state == JOB_NONE)
        list_remove(c, &c->pending, i);
    else if (j->state == JOB_ready)
        list_remove(c, &job_kind(c, j)->isolated, i);
    else if (j->state == JOB_scheduled)
        timer_clear(c, job_is(j, JOB_HAS_RUN_AT) ? TIMER_JOB_WALL : TIMER_JOB_SCHEDULED, i);
    if (j->extra)
        timer_clear(c, TIMER_JOB_EXTRA, i);
}

uint64_t job_end(struct core *c, uint32_t i, enum job_state state, struct str result) {
    struct job *j = job_at(c, i);
    enum job_state was = (enum job_state)j->state;
    if (was != JOB_running && was != JOB_cancelling)
        job_leave_line(c, i);
    else if (state == JOB_done || state == JOB_cancelled) /* the others were counted as failures */
        measure_end(c, i, state == JOB_done ? ATTEMPT_DONE : ATTEMPT_CANCELLED);
    job_unmark(j, JOB_BACKOFF | JOB_HAS_RUN_AT);
    bool flows = j->up || job_is(j, JOB_HAS_FLOW);
    if (job_is(j, JOB_HELD))
        was = JOB_NONE; /* blocked, but its key was never asked for */
    if (flows)
        group_open(c, result.len);
    unique_job_ended(c, i);
    job_set_state(c, i, state);
    j->since_ms = c->wall.ms;
    if (state == JOB_dead)
        dead_learn(c, i);
    uint64_t pos = job_record(c, i, result);
    if (flows) {
        uint64_t last = flow_job_ended(c, i, state);
        pos = last > pos ? last : pos;
        group_close(c);
    }
    key_leave(c, i, was, pos);
    job_tell(c, EVENT_job_ended, i, str_of(job_state_name(state)));
    watch_tell(c, i, result, pos);
    if (job_has_stream(c, j))
        stream_free(c, i);
    body_drop(c, i);
    if (job_is(j, JOB_IS_VOLATILE)) {
        job_free(c, i);
        return 0;
    }
    if (!result.len)
        retain_unwanted(c, i);
    retain_add(c, i);
    return pos;
}

/* ---- results
 * ------------------------------------------------------------------------------------- */
static void say(struct core *c, uint64_t link, enum verb verb, uint64_t job, uint64_t fence,
                uint64_t after) {
    struct msg_attempt_ref m = {0};
    MSG_SET(&m, attempt_ref, job, job);
    MSG_SET(&m, attempt_ref, fence, fence);
    send_to(c, link, verb, 0, &m, STR(""), after);
}

/* All that is wrong with them is the attempt's fault, but that there is no room for them now. */
static uint64_t refuse_children(struct core *c, uint32_t i, const struct err *e) {
    if (err_code_class(e->code) == ERR_CLASS_TEMP)
        return attempt_held(c, i, 1000, str_of(e->text));
    return attempt_failed(c, i, e->code, str_of(e->text));
}

static uint64_t done_with_children(struct core *c, uint32_t i, struct str result,
                                   const struct core_children *k) {
    struct offer *offers = mem_alloc(k->n * sizeof *offers);
    struct err e = {0};
    uint64_t pos;
    struct parent parent = parent_of(c, i);
    parent.beside = result.len;
    if (children_check(c, &parent, k, offers, &e) < 0) {
        pos = refuse_children(c, i, &e);
    } else {
        group_open(c, children_bytes(k) + result.len);
        children_accept(c, k, offers);
        job_unmark(job_at(c, i), JOB_ISOLATED);
        attempt_detach(c, i);
        pos = job_end(c, i, JOB_done, result);
        group_close(c);
    }
    mem_free(offers);
    return pos;
}

static uint64_t result_done(struct core *c, uint32_t i, const struct msg_result *m,
                            struct str result, const struct core_children *children) {
    if (result.len > c->config.result_max) {
        char text[96];
        snprintf(text, sizeof text, "result: %zu bytes, at most %u", result.len,
                 c->config.result_max);
        return attempt_failed(c, i, ERR_RESULT_TOO_LARGE, str_of(text));
    }
    (void)m;
    if (children->n)
        return done_with_children(c, i, result, children);
    job_unmark(job_at(c, i), JOB_ISOLATED);
    attempt_detach(c, i);
    return job_end(c, i, JOB_done, result);
}

/* A worker names an error of the table; anything else is taken as the general one of its outcome.
 */
static uint64_t result_failed(struct core *c, uint32_t i, const struct msg_result *m,
                              struct str result, const struct core_children *children) {
    (void)result, (void)children;
    if (job_is(job_at(c, i), JOB_TIMED_OUT))
        return attempt_failed(c, i, ERR_TIMEOUT, m->text);
    bool named = m->error && err_code_known(m->error) &&
                 err_code_class((enum err_code)m->error) == ERR_CLASS_TEMP;
    return attempt_failed(c, i, named ? (enum err_code)m->error : ERR_JOB_FAILED, m->text);
}

static uint64_t result_rejected(struct core *c, uint32_t i, const struct msg_result *m,
                                struct str result, const struct core_children *children) {
    (void)result, (void)children;
    bool named = m->error && err_code_known(m->error) &&
                 err_code_class((enum err_code)m->error) == ERR_CLASS_PERM;
    return attempt_failed(c, i, named ? (enum err_code)m->error : ERR_JOB_REJECTED, m->text);
}

static uint64_t result_hold(struct core *c, uint32_t i, const struct msg_result *m,
                            struct str result, const struct core_children *children) {
    (void)result, (void)children;
    if (job_is(job_at(c, i), JOB_TIMED_OUT))
        return attempt_failed(c, i, ERR_TIMEOUT, m->text);
    return attempt_held(c, i, m->retry_after_ms ? m->retry_after_ms : 1000, m->text);
}

/* Nobody asked it to stop, or only the timeout did. */
static uint64_t result_cancelled(struct core *c, uint32_t i, const struct msg_result *m,
                                 struct str result, const struct core_children *children) {
    (void)result, (void)children;
    if (job_is(job_at(c, i), JOB_TIMED_OUT))
        return attempt_failed(c, i, ERR_TIMEOUT, m->text);
    return attempt_requeue(c, i);
}

typedef uint64_t result_fn(struct core *c, uint32_t i, const struct msg_result *m,
                           struct str result, const struct core_children *children);
static result_fn *const on_outcome[] = {
    [OUTCOME_DONE] = result_done,           [OUTCOME_FAILED] = result_failed,
    [OUTCOME_REJECTED] = result_rejected,   [OUTCOME_HOLD] = result_hold,
    [OUTCOME_CANCELLED] = result_cancelled,
};

static uint64_t take_result(struct core *c, uint32_t i, const struct msg_result *m,
                            struct str result, const struct core_children *children) {
    const struct job *j = job_at(c, i);
    struct worker *w = worker_at(c, job_extra(c, j)->worker);
    w->done++;
    if (j->state != JOB_cancelling || MUTANT(cancel_ignored))
        return on_outcome[m->outcome](c, i, m, result, children);
    attempt_detach(c, i);
    struct str part = result.len <= c->config.result_max ? result : STR("");
    return job_end(c, i, JOB_cancelled, part);
}

void result_take(struct core *c, uint32_t i, const struct msg_result *m, struct str result,
                 const struct core_children *children) {
    const struct worker *w = worker_at(c, job_extra(c, job_at(c, i))->worker);
    uint64_t link = session_at(c, w->session)->link;
    uint64_t pos = take_result(c, i, m, result, children);
    say(c, link, VERB_result_ack, m->job, m->fence, MUTANT(result_ack_before_commit) ? 0 : pos);
}

/* Whether the report is of the attempt that runs now, on the worker that reports. */
bool attempt_is_current(const struct core *c, uint32_t i, uint64_t fence) {
    const struct job *j = job_at(c, i);
    if (j->state != JOB_running && j->state != JOB_cancelling)
        return false;
    if (MUTANT(fence_unchecked))
        return job_extra(c, j)->worker != 0;
    const struct session *s = c->request.session;
    return j->fence == fence && job_extra(c, j)->worker && job_extra(c, j)->worker == s->worker;
}

/* Adopted a moment ago: how often it is tried, and how soon, is only in its body. An end needs
 * none. */
static bool needs_body(const struct core *c, const struct job *j, const struct msg_result *m,
                       struct str result) {
    bool done = m->outcome == OUTCOME_DONE && result.len <= c->config.result_max && !m->children;
    return !done && j->state != JOB_cancelling;
}

void attempt_refuse_stale(struct core *c, uint64_t job, uint64_t fence) {
    c->stats.stale_fences++;
    job_tell_id(c, EVENT_stale_report, job, fence, STR("refused"));
    say(c, c->request.link, VERB_lost, job, fence, 0);
}

void on_result(struct core *c, const void *message, struct str payload) {
    const struct msg_result *m = message;
    if (c->read_only)
        return; /* the worker keeps it for the broker's next life */
    uint32_t i = job_find(c, m->job);
    if (!i) {
        attempt_refuse_stale(c, m->job, m->fence);
        return;
    }
    struct job *j = job_at(c, i);
    if (attempt_is_current(c, i, m->fence)) {
        if (!attempt_learned(c, i) && needs_body(c, j, m, payload))
            return; /* its record is still being read: the worker will offer this again */
        if (!MSG_HAS(m, result, epoch) ||
            !stream_hold_result(c, i, m, payload, &c->request.children))
            result_take(c, i, m, payload, &c->request.children);
        return;
    }
    bool again = j->fence == m->fence && j->state != JOB_running && j->state != JOB_cancelling;
    if (again)
        say(c, c->request.link, VERB_result_ack, m->job, m->fence, j->state_pos);
    else
        attempt_refuse_stale(c, m->job, m->fence);
}

void on_returned(struct core *c, const void *message, struct str payload) {
    const struct msg_attempt_ref *m = message;
    (void)payload;
    uint32_t i = job_find(c, m->job);
    if (!i || !attempt_is_current(c, i, m->fence)) {
        c->stats.stale_fences++;
        return;
    }
    if (job_at(c, i)->state == JOB_cancelling) {
        attempt_detach(c, i);
        job_end(c, i, JOB_cancelled, STR(""));
    } else {
        attempt_requeue(c, i);
    }
}

void on_started(struct core *c, const void *message, struct str payload) {
    const struct msg_attempt_ref *m = message;
    (void)payload;
    uint32_t i = job_find(c, m->job);
    if (i && attempt_is_current(c, i, m->fence))
        attempt_started(c, i);
    else
        attempt_refuse_stale(c, m->job, m->fence);
}

void on_progress(struct core *c, const void *message, struct str payload) {
    const struct msg_progress *m = message;
    (void)payload;
    uint32_t i = job_find(c, m->job);
    if (!i || !attempt_is_current(c, i, m->fence)) {
        c->stats.stale_fences++;
        return;
    }
    struct extra *x = job_extra(c, job_at(c, i));
    x->progress = m->done;
    x->progress_total = m->total;
}

/* ---- cancel
 * -------------------------------------------------------------------------------------- */
uint64_t job_cancel(struct core *c, uint32_t i, struct str text) {
    return job_cancel_because(c, i, ERR_CANCELLED, text.len ? text : STR("cancelled"));
}

uint64_t job_cancel_because(struct core *c, uint32_t i, enum err_code why, struct str text) {
    struct job *j = job_at(c, i);
    ASSERT(!job_state_terminal(j->state));
    if (j->state == JOB_cancelling)
        return j->state_pos;
    job_fail_text(c, i, why, text);
    if (j->state != JOB_running)
        return job_end(c, i, JOB_cancelled, STR(""));
    if (job_is(j, JOB_TO_SEND)) { /* the worker never heard of it */
        attempt_detach(c, i);
        return job_end(c, i, JOB_cancelled, STR(""));
    }
    job_set_state(c, i, JOB_cancelling);
    uint64_t pos = job_record(c, i, STR(""));
    attempt_stop(c, i, ERR_CANCELLED, pos);
    return pos;
}

void on_cancel_job(struct core *c, const void *message, struct str payload) {
    const struct msg_cancel_job *m = message;
    (void)payload;
    struct reply_item item = {.id = m->id};
    struct err e = {0};
    uint64_t after = 0;
    /* What is below it may go on when it is forgotten itself. */
    uint32_t i = job_find_seen(c, m->id);
    uint32_t flow = i || !rights_bound(c) ? flow_find(c, m->id) : 0;
    uint32_t below = flow_open_jobs(c, flow);
    uint64_t flow_after = flow_cancel(c, flow);
    if (!i && !flow_after) {
        err_set(&e, ERR_NOT_FOUND, "job %s: not known, or past retention", id_show(m->id).at);
        answer(c, &(struct reply_item){.id = m->id, .code = (uint32_t)e.code}, &e, 0);
        return;
    }
    bool has_ended = !i || job_state_terminal(job_at(c, i)->state);
    if (i)
        after = has_ended ? job_at(c, i)->state_pos : job_cancel(c, i, m->text);
    after = after > flow_after ? after : flow_after;
    if (has_ended && !flow_after)
        err_set(&e, ERR_ALREADY_DONE, "job %s is %s already", id_show(m->id).at,
                job_state_name(job_at(c, i)->state));
    else
        item.count = below + !has_ended;
    item.flow = below > 0 && !e.code;
    item.code = (uint32_t)e.code;
    answer(c, &item, e.code ? &e : NULL, after);
}
