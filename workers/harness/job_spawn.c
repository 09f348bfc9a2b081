/* Children, as a job's code sees them. */
#include "common/base/check.h"
#include "workers/harness/job_int.h"

#include <inttypes.h>

#define NO_ROOM_MS 1000 /* until the job is tried again */

/* ---- what a then is told -------------------------------------------------------------------- */
uint64_t job_parent(const struct job *job) {
    return job->attempt->parent;
}

bool job_siblings(const struct job *job, struct job_siblings *out) {
    const struct siblings *s = &job->attempt->siblings;
    *out = (struct job_siblings){.parent_state = s->parent_state,
                                 .total = s->total,
                                 .done = s->done,
                                 .dead = s->dead,
                                 .cancelled = s->cancelled,
                                 .expired = s->expired,
                                 .broken = s->broken};
    return s->parent_state != JOB_NONE;
}

/* ---- spawning ------------------------------------------------------------------------------- */
#define SET_TEXT(name)                                                                             \
    if (c->name.len)                                                                               \
    MSG_SET(m, submit, name, c->name)
#define SET_ABOVE_0(name)                                                                          \
    if (c->name)                                                                                   \
    MSG_SET(m, submit, name, c->name)

static void fill(const struct job *job, const struct job_child *c, struct msg_submit *m) {
    *m = (struct msg_submit){0};
    MSG_SET(m, submit, kind, c->kind);
    SET_TEXT(queue);
    SET_TEXT(key);
    SET_TEXT(unique);
    SET_ABOVE_0(interval_ms);
    SET_ABOVE_0(window_ms);
    SET_ABOVE_0(delay_ms);
    SET_ABOVE_0(run_at_ms);
    SET_ABOVE_0(ttl_ms);
    SET_ABOVE_0(timeout_ms);
    SET_ABOVE_0(attempts_max);
    SET_ABOVE_0(backoff_max_ms);
    SET_ABOVE_0(then);
    SET_ABOVE_0(fail_fast);
    if (c->has_priority)
        MSG_SET(m, submit, priority, c->priority);
    if (c->has_backoff)
        MSG_SET(m, submit, backoff_ms, c->backoff_ms);
    struct str trace = c->trace.len ? c->trace : job->attempt->trace;
    if (trace.len)
        MSG_SET(m, submit, trace, trace);
}

static int check(const struct job *job, const struct job_child *c, struct err *e) {
    if (c->payload.len > job->limits.body_max)
        return err_set(e, ERR_TOO_LARGE, "payload of a child: %zu bytes, at most %" PRIu64,
                       c->payload.len, job->limits.body_max);
    struct trace trace;
    if (c->trace.len && trace_parse("submit.trace", c->trace, &trace, e) < 0)
        return -1;
    if (c->then && (job->has_then || job->children.has_then))
        return err_set(e, ERR_BAD_VALUE, "submit.then: there is one already, a job has one");
    return 0;
}

int job_spawn(struct job *job, const struct job_child *child, struct err *e) {
    struct msg_submit m;
    if (job->children.n >= job->limits.children_max)
        return err_set(e, ERR_TOO_LARGE, "children: %" PRIu32 ", at most %" PRIu32 " in one result",
                       job->children.n + 1, job->limits.children_max);
    fill(job, child, &m);
    return check(job, child, e) < 0 ? -1 : children_add(&job->children, &m, child->payload, e);
}

/* ---- now ------------------------------------------------------------------------------------ */
void job_answer(struct job *job, const struct err *answer) {
    struct job_asking *k = &job->asking;
    pthread_mutex_lock(&k->lock);
    if (k->open) {
        k->answered = true;
        k->answer = *answer;
        pthread_cond_signal(&k->news);
    }
    pthread_mutex_unlock(&k->lock);
}

static void set_open(struct job *job, bool open) {
    pthread_mutex_lock(&job->asking.lock);
    job->asking.open = open;
    job->asking.answered = false;
    pthread_mutex_unlock(&job->asking.lock);
}

void job_await(struct job *job) {
    set_open(job, true);
}

int job_awaited(struct job *job, struct err *e) {
    struct job_asking *k = &job->asking;
    struct err answer = {0};
    pthread_mutex_lock(&k->lock);
    while (!k->answered && !atomic_load(&job->stop))
        pthread_cond_wait(&k->news, &k->lock);
    bool answered = k->answered;
    if (answered)
        answer = k->answer;
    pthread_mutex_unlock(&k->lock);
    set_open(job, false);
    if (!answered)
        return job_check(job, e);
    if (answer.code)
        *e = answer;
    return answer.code ? -1 : 0;
}

static bool no_room(enum err_code code) {
    return code == ERR_BUSY || code == ERR_DISK_FULL || code == ERR_READ_ONLY;
}

int job_refused(struct err *e) {
    if (no_room(e->code)) {
        e->class = ERR_CLASS_HOLD;
        e->retry_after_ms = e->retry_after_ms ? e->retry_after_ms : NO_ROOM_MS;
    }
    return -1;
}

int job_spawn_now(struct job *job, const struct job_child *child, struct err *e) {
    struct children one = {0};
    struct msg_submit m;
    if (!job->hand_over)
        return err_set(e, ERR_INTERNAL,
                       "kind " STR_FMT " runs inline and would wait for a child: job_spawn",
                       STR_ARG(job->attempt->kind));
    fill(job, child, &m);
    MSG_SET(&m, submit, parent, job->attempt->job);
    MSG_SET(&m, submit, fence, job->attempt->fence);
    MSG_SET(&m, submit, index, job->spawned);
    if (job_check(job, e) < 0 || check(job, child, e) < 0 ||
        children_add(&one, &m, child->payload, e) < 0)
        return -1;
    job_await(job);
    job->hand_over(job, &one, job->spawned);
    if (job_awaited(job, e) < 0)
        return job_refused(e);
    job->spawned++;
    job->has_then |= child->then;
    return 0;
}
