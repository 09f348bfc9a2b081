#include "common/wire/msgpack.h"
#include "workers/diagnostic/diagnostic.h"

#include <pthread.h>

#define HELD_MAX 1024
#define WAIT_MAX 86400000

/* How often each job was held here: a hold costs no attempt, so nothing else counts it. Shared by
 * all slots, hence the lock; a job that others have pushed out begins anew. */
static struct {
    pthread_mutex_t lock;
    struct {
        uint64_t job, times;
    } at[HELD_MAX];
} held = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t count_hold(uint64_t job) {
    pthread_mutex_lock(&held.lock);
    size_t i = job % HELD_MAX;
    if (held.at[i].job != job) {
        held.at[i].job = job;
        held.at[i].times = 0;
    }
    uint64_t n = ++held.at[i].times;
    pthread_mutex_unlock(&held.lock);
    return n;
}

static int succeed(struct job *job) {
    msgpack_put_map(job_result(job), 1);
    msgpack_put_text(job_result(job), STR("attempt"));
    msgpack_put_uint(job_result(job), job_attempt(job));
    return 0;
}

int run_fail(struct job *job, struct err *e) {
    uint64_t times, wait_ms;
    struct str class, text;
    if (job_param_uint(job, "times", UINT64_MAX, UINT64_MAX, &times, e) < 0 ||
        job_param_uint(job, "retry_after_ms", 100, WAIT_MAX, &wait_ms, e) < 0 ||
        job_param_text(job, "class", STR("temp"), 8, &class, e) < 0 ||
        job_param_text(job, "text", STR("it was asked to fail"), 256, &text, e) < 0)
        return -1;
    enum err_code code = str_eq(class, STR("temp"))   ? ERR_JOB_FAILED
                         : str_eq(class, STR("perm")) ? ERR_JOB_REJECTED
                         : str_eq(class, STR("hold")) ? ERR_RATE_LIMITED
                                                      : ERR_OK;
    if (code == ERR_OK)
        return err_set(e, ERR_BAD_VALUE, "payload.class: must be temp, perm or hold");
    uint64_t tries = code == ERR_RATE_LIMITED ? count_hold(job_id(job)) : job_attempt(job);
    if (tries > times)
        return succeed(job);
    err_set(e, code, STR_FMT, STR_ARG(text));
    e->retry_after_ms = code == ERR_RATE_LIMITED ? wait_ms : 0;
    return -1;
}
