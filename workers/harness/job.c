#include "workers/harness/job.h"

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/os/clock.h"
#include "common/wire/msgpack.h"
#include "workers/harness/job_int.h"

#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define ENVELOPE_MAX 8192 /* of a RESULT with its words */

static const struct msgpack_limits body_limits = {.depth_max = MSGPACK_DEPTH_MAX,
                                                  .values_max = 262144};

/* ---- what it was given ---------------------------------------------------------------------- */
uint64_t job_id(const struct job *job) {
    return job->attempt->job;
}

uint64_t job_fence(const struct job *job) {
    return job->attempt->fence;
}

struct str job_kind(const struct job *job) {
    return job->attempt->kind;
}

const void *job_kind_data(const struct job *job) {
    return job->attempt->kind_data;
}

struct str job_tenant(const struct job *job) {
    return job->attempt->tenant;
}

struct str job_trace(const struct job *job) {
    return job->attempt->trace;
}

uint32_t job_attempt(const struct job *job) {
    return job->attempt->number;
}

uint32_t job_attempts_max(const struct job *job) {
    return job->attempt->number_max;
}

struct str job_payload(const struct job *job) {
    struct str payload = job->attempt->payload;
    return payload.len ? payload : STR("\x80"); /* none at all is the empty map */
}

struct arena *job_arena(struct job *job) {
    return job->arena;
}

struct buf *job_result(struct job *job) {
    return &job->result;
}

void job_result_is_payload(struct job *job) {
    job->result_is_payload = true;
}

struct mono job_deadline(const struct job *job) {
    return job->deadline;
}

int job_stop_fd(const struct job *job) {
    return job->stop_fd;
}

/* ---- stopping ------------------------------------------------------------------------------- */
void job_ask_stop(struct job *job, enum err_code why) {
    atomic_store(&job->stop, (int)why);
    uint64_t one = 1;
    ssize_t n = write(job->stop_fd, &one, sizeof one);
    (void)n; /* full: it is readable already */
    pthread_mutex_lock(&job->asking.lock);
    pthread_cond_signal(&job->asking.news);
    pthread_mutex_unlock(&job->asking.lock);
}

void job_forget_stop(struct job *job) {
    if (!atomic_load(&job->stop))
        return;
    atomic_store(&job->stop, ERR_OK);
    uint64_t old;
    ssize_t n = read(job->stop_fd, &old, sizeof old);
    (void)n;
}

int job_check(struct job *job, struct err *e) {
    enum err_code why = (enum err_code)atomic_load(&job->stop);
    if (why)
        return err_set(e, why, "%s", err_code_text(why));
    if (mono_reached(clock_mono(), job->deadline))
        return err_set(e, ERR_TIMEOUT, "%s", err_code_text(ERR_TIMEOUT));
    return 0;
}

int job_wait_fd(struct job *job, int fd, uint64_t ms, bool *ready, struct err *e) {
    struct mono until = mono_add(clock_mono(), ms);
    *ready = false;
    for (;;) {
        if (job_check(job, e) < 0)
            return -1;
        struct mono now = clock_mono();
        if (mono_reached(now, until))
            return 0;
        uint64_t wait = mono_until(now, until.ms < job->deadline.ms ? until : job->deadline);
        struct pollfd fds[2] = {{.fd = job->stop_fd, .events = POLLIN},
                                {.fd = fd, .events = POLLIN}};
        if (poll(fds, 2, wait > INT_MAX ? INT_MAX : (int)wait) > 0 && fds[1].revents) {
            *ready = true;
            return 0;
        }
    }
}

int job_wait(struct job *job, uint64_t ms, struct err *e) {
    bool ready;
    return job_wait_fd(job, -1, ms, &ready, e);
}

/* ---- telling -------------------------------------------------------------------------------- */
void job_progress(struct job *job, uint64_t done, uint64_t total) {
    atomic_store(&job->progress_done, done);
    atomic_store(&job->progress_total, total);
    atomic_store(&job->has_progress, true);
}

/* ---- streaming ------------------------------------------------------------------------------ */
static int stream_check(struct job *job, struct err *e) {
    if (!job->attempt->stream)
        return err_set(e, ERR_INTERNAL,
                       "kind " STR_FMT " writes a stream and is declared without `streams`",
                       STR_ARG(job->attempt->kind));
    return job_check(job, e);
}

int job_delta(struct job *job, uint32_t channel, struct str text, struct err *e) {
    return stream_check(job, e) < 0 ? -1 : stream_out_text(job->attempt->stream, channel, text, e);
}

int job_event(struct job *job, uint32_t channel, struct str map, struct err *e) {
    return stream_check(job, e) < 0 ? -1 : stream_out_data(job->attempt->stream, channel, map, e);
}

int job_stream_reset(struct job *job, struct err *e) {
    return stream_check(job, e) < 0 ? -1 : stream_out_reset(job->attempt->stream, e);
}

/* ---- parameters ----------------------------------------------------------------------------- */
/* The value behind a key: 1, or 0 if there is none. The payload was checked. */
static int map_find(struct str map, const char *name, struct cursor *value) {
    struct cursor c = cursor_of(map);
    uint32_t pairs = 0;
    msgpack_get_map(&c, &pairs);
    for (; pairs; pairs--) {
        struct cursor key = c;
        struct str text;
        bool is_it = msgpack_get_bytes(&key, &text) == MSGPACK_OK && str_eq(text, str_of(name));
        msgpack_skip(&c);
        if (is_it) {
            *value = c;
            return 1;
        }
        msgpack_skip(&c);
    }
    return 0;
}

static int param_find(const struct job *job, const char *name, struct cursor *value) {
    return map_find(job_payload(job), name, value);
}

int job_param_uint(const struct job *job, const char *name, uint64_t fallback, uint64_t max,
                   uint64_t *out, struct err *e) {
    struct cursor c;
    *out = fallback;
    if (!param_find(job, name, &c))
        return 0;
    if (msgpack_get_uint(&c, out))
        return err_set(e, ERR_BAD_VALUE, "payload.%s: must be a whole number from 0 up", name);
    if (*out > max)
        return err_set(e, ERR_BAD_VALUE, "payload.%s: %" PRIu64 ", at most %" PRIu64, name, *out,
                       max);
    return 0;
}

int job_param_text(const struct job *job, const char *name, struct str fallback, size_t max,
                   struct str *out, struct err *e) {
    struct cursor c;
    *out = fallback;
    if (!param_find(job, name, &c))
        return 0;
    if (msgpack_get_bytes(&c, out))
        return err_set(e, ERR_BAD_VALUE, "payload.%s: must be text", name);
    if (out->len > max)
        return err_set(e, ERR_BAD_VALUE, "payload.%s: %zu bytes, at most %zu", name, out->len, max);
    return 0;
}

int job_param_flag(const struct job *job, const char *name, bool *out, struct err *e) {
    struct cursor c;
    *out = false;
    if (param_find(job, name, &c) && msgpack_get_bool(&c, out))
        return err_set(e, ERR_BAD_VALUE, "payload.%s: must be true or false", name);
    return 0;
}

int job_map_text(struct str map, const char *what, const char *name, size_t max, struct str *out,
                 struct err *e) {
    struct cursor c;
    *out = STR("");
    if (!map.len || !map_find(map, name, &c))
        return 0;
    if (msgpack_get_bytes(&c, out))
        return err_set(e, ERR_BAD_VALUE, "%s.%s: must be text", what, name);
    if (out->len > max)
        return err_set(e, ERR_BAD_VALUE, "%s.%s: %zu bytes, at most %zu", what, name, out->len,
                       max);
    return 0;
}

int job_map_map(struct str map, const char *what, const char *name, struct str *out,
                struct err *e) {
    struct cursor c;
    *out = STR("");
    if (!map.len || !map_find(map, name, &c))
        return 0;
    if (msgpack_peek(&c) != MSGPACK_MAP)
        return err_set(e, ERR_BAD_VALUE, "%s.%s: must be a map", what, name);
    struct cursor begin = c;
    msgpack_skip(&c);
    *out = str_make((const char *)begin.at, (size_t)(c.at - begin.at));
    return 0;
}

int job_param_map(const struct job *job, const char *name, struct str *out, struct err *e) {
    return job_map_map(job_payload(job), "payload", name, out, e);
}

static int body_check(struct str body, const char *what, struct err *e) {
    struct cursor c = cursor_of(body);
    if (!body.len)
        return 0;
    enum msgpack_type type = msgpack_peek(&c);
    if (type != MSGPACK_MAP)
        return err_set(e, ERR_MALFORMED, "%s: must be one map, is %s", what,
                       msgpack_type_name(type));
    return msgpack_check(body, &body_limits, e) < 0 ? err_add(e, "%s", what) : 0;
}

int job_payload_check(struct str payload, struct err *e) {
    return body_check(payload, "payload", e);
}

/* ---- bounds --------------------------------------------------------------------------------- */
static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

struct job_limits job_limits_of(const struct msg_welcome *terms) {
    uint64_t together = terms->bytes_max > 2 * ENVELOPE_MAX ? terms->bytes_max - ENVELOPE_MAX
                                                            : terms->bytes_max / 2;
    return (struct job_limits){
        .result_max = least(least(together, terms->result_max), BODY_MAX_LEN),
        .together_max = together,
        .children_max = (uint32_t)least(CHILDREN_MAX, terms->items_max - 1),
        .body_max = least(terms->body_max, BODY_MAX_LEN),
    };
}

/* ---- running -------------------------------------------------------------------------------- */
void job_setup(struct job *job) {
    *job = (struct job){.arena = arena_new(JOB_ARENA_MAX), .deadline = MONO_NEVER};
    job->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    ASSERT(job->stop_fd >= 0);
    pthread_mutex_init(&job->asking.lock, NULL);
    pthread_cond_init(&job->asking.news, NULL);
}

void job_teardown(struct job *job) {
    arena_destroy(&job->arena);
    buf_destroy(&job->result);
    pthread_cond_destroy(&job->asking.news);
    pthread_mutex_destroy(&job->asking.lock);
    close(job->stop_fd);
}

static void prepare(struct job *job, struct attempt *a, struct mono now,
                    const struct job_limits *limits) {
    job->attempt = a;
    job->limits = *limits;
    job->spawned = 0;
    job->has_then = false;
    err_clear(&job->err);
    job->result = BUF(limits->result_max);
    job->result_is_payload = false;
    job->deadline = a->timeout_ms ? mono_add(now, a->timeout_ms) : MONO_NEVER;
    atomic_store(&job->has_progress, false);
}

/* What its error means to the broker. Our own timeout is a failure: only one that the broker asked
 * for is an obeyed order. */
static enum result_outcome outcome_of(const struct err *e) {
    if (e->code == ERR_CANCELLED || e->code == ERR_STALE_FENCE)
        return OUTCOME_CANCELLED;
    switch (e->class) {
    case ERR_CLASS_HOLD:
        return OUTCOME_HOLD;
    case ERR_CLASS_TEMP:
        return OUTCOME_FAILED;
    default:
        return OUTCOME_REJECTED;
    }
}

static int check_result(const struct job *job, struct str result, struct err *e) {
    if (job->result.failed || result.len > job->limits.result_max)
        return err_set(e, ERR_RESULT_TOO_LARGE, "result: over its bound of %" PRIu64 " bytes",
                       job->limits.result_max);
    if (!job->result_is_payload && body_check(result, "result", e) < 0)
        return err_set(e, ERR_INTERNAL, "the kind's code wrote a result that is not one map");
    return 0;
}

/* A job that was stopped may leave what it has so far. */
static void take_result(struct job *job, struct ending *end) {
    struct err *e = &job->err;
    struct str result = job->result_is_payload ? job->attempt->payload : buf_str(&job->result);
    bool stopped = end->outcome == OUTCOME_CANCELLED;
    if (end->outcome == OUTCOME_DONE || stopped) {
        struct err why = {0};
        if (check_result(job, result, &why) == 0) {
            end->result = result;
            if (!job->result_is_payload) {
                end->memory = job->result.at;
                job->result = BUF(0);
            }
        } else if (!stopped) {
            *e = why;
            end->outcome = OUTCOME_REJECTED;
        }
    }
    buf_destroy(&job->result);
}

/* Before the result is: nobody may think a stream whole that is not. */
static void end_stream(struct job *job, struct ending *end) {
    struct err why = {0};
    if (!job->attempt->stream)
        return;
    if (stream_out_end(job->attempt->stream, &end->last, &why) < 0 &&
        end->outcome == OUTCOME_DONE) {
        job->err = why;
        end->outcome = OUTCOME_REJECTED;
    }
}

/* They come with the result of a job that is done, and with it they must fit into one message. */
static void take_children(struct job *job, struct ending *end) {
    struct children *k = &job->children;
    size_t bytes = k->envelopes.len + k->payloads.len + end->result.len;
    if (end->outcome == OUTCOME_DONE && k->n && bytes > job->limits.together_max) {
        err_set(&job->err, ERR_RESULT_TOO_LARGE,
                "children and result: %zu bytes, at most %" PRIu64 " in one message", bytes,
                job->limits.together_max);
        mem_free(end->memory);
        *end = (struct ending){.outcome = OUTCOME_REJECTED, .last = end->last};
    }
    if (end->outcome == OUTCOME_DONE)
        end->children = *k;
    else
        children_destroy(k);
    *k = (struct children){0};
}

void job_execute(struct job *job, struct attempt *a, job_run_fn *run, struct mono now,
                 const struct job_limits *limits, struct ending *end) {
    prepare(job, a, now, limits);
    *end = (struct ending){.outcome = OUTCOME_DONE};
    if (run(job, &job->err) < 0) {
        if (!job->err.code)
            err_set(&job->err, ERR_INTERNAL, "the kind's code failed without saying why");
        end->outcome = outcome_of(&job->err);
    }
    end_stream(job, end);
    take_result(job, end);
    take_children(job, end);
    arena_reset(job->arena);
    if (end->outcome == OUTCOME_DONE)
        return;
    end->error = job->err.code;
    end->text = str_of(job->err.text);
    end->retry_after_ms = end->outcome == OUTCOME_HOLD ? job->err.retry_after_ms : 0;
}
