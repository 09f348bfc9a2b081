/* A job, as the code of a kind sees it. */
#include "common/base/mem.h"
#include "common/os/clock.h"
#include "common/wire/msgpack.h"
#include "workers/harness/job_int.h"
#include "workers/sdk/sdk_int.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define HOLD_MS 1000

struct quern_job {
    struct job *job;
    struct err err;  /* of its function that failed last */
    json_t *result;  /* what was put; NULL: nothing */
    bool is_msgpack; /* the result was given whole, as msgpack */
    const char *payload_json;
    struct quern_error shown;
    struct quern_siblings siblings;
};

/* ---- what it was given ---------------------------------------------------------------------- */
uint64_t quern_job_id(const struct quern_job *job) {
    return job_id(job->job);
}

uint64_t quern_job_fence(const struct quern_job *job) {
    return job_fence(job->job);
}

/* Names and traces are short: there is always room. */
static const char *short_text(struct quern_job *job, struct str text) {
    char *to = arena_alloc(job_arena(job->job), text.len + 1);
    if (text.len)
        memcpy(to, text.at, text.len);
    to[text.len] = 0;
    return to;
}

const char *quern_job_kind(struct quern_job *job) {
    return short_text(job, job_kind(job->job));
}

const char *quern_job_tenant(struct quern_job *job) {
    return short_text(job, job_tenant(job->job));
}

const char *quern_job_trace(struct quern_job *job) {
    return short_text(job, job_trace(job->job));
}

uint32_t quern_job_attempt(const struct quern_job *job) {
    return job_attempt(job->job);
}

uint32_t quern_job_attempts_max(const struct quern_job *job) {
    return job_attempts_max(job->job);
}

uint64_t quern_job_parent(const struct quern_job *job) {
    return job_parent(job->job);
}

const void *quern_job_payload(const struct quern_job *job, size_t *size) {
    struct str payload = job_payload(job->job);
    *size = payload.len;
    return payload.at;
}

static int keep(struct quern_job *job, struct str text, const char **to, struct err *e) {
    *to = arena_try_copy(job_arena(job->job), text).at;
    return *to ? 0 : err_set(e, ERR_NO_MEMORY, "a text of %zu bytes", text.len);
}

const char *quern_job_payload_json(struct quern_job *job) {
    AUTO_BUF text = BUF(SDK_JSON_MAX);
    if (job->payload_json)
        return job->payload_json;
    if (sdk_json_of_value(job_payload(job->job), &text, &job->err) == 0)
        keep(job, buf_str(&text), &job->payload_json, &job->err);
    return job->payload_json;
}

/* ---- members of the payload ----------------------------------------------------------------- */
static int member(struct quern_job *job, const char *name, const char *fallback, size_t max,
                  struct str *to) {
    if (job_param_text(job->job, name, str_of(fallback), max, to, &job->err) < 0)
        return -1;
    return str_is_utf8(*to) ? 0
                            : err_set(&job->err, ERR_BAD_VALUE, "payload.%s: must be text", name);
}

int quern_job_text(struct quern_job *job, const char *name, const char *fallback, char *to,
                   size_t to_size) {
    struct str text;
    if (!to_size || member(job, name, fallback, to_size - 1, &text) < 0)
        return -1;
    if (text.len && memchr(text.at, 0, text.len))
        return err_set(&job->err, ERR_BAD_VALUE, "payload.%s: has a zero byte", name);
    if (text.len)
        memcpy(to, text.at, text.len);
    to[text.len] = 0;
    return 0;
}

const char *quern_job_long_text(struct quern_job *job, const char *name, size_t *size) {
    struct str text;
    const char *kept;
    if (size)
        *size = 0;
    if (member(job, name, "", SIZE_MAX, &text) < 0 || keep(job, text, &kept, &job->err) < 0)
        return NULL;
    if (size)
        *size = text.len;
    return kept;
}

int quern_job_uint(struct quern_job *job, const char *name, uint64_t fallback, uint64_t max,
                   uint64_t *to) {
    return job_param_uint(job->job, name, fallback, max, to, &job->err);
}

int quern_job_flag(struct quern_job *job, const char *name, bool *to) {
    return job_param_flag(job->job, name, to, &job->err);
}

/* ---- stopping ------------------------------------------------------------------------------- */
int quern_job_check(struct quern_job *job) {
    return job_check(job->job, &job->err);
}

int quern_job_wait(struct quern_job *job, uint64_t ms) {
    return job_wait(job->job, ms, &job->err);
}

int quern_job_wait_fd(struct quern_job *job, int fd, uint64_t ms) {
    bool ready;
    return job_wait_fd(job->job, fd, ms, &ready, &job->err) < 0 ? -1 : ready;
}

int quern_job_stop_fd(const struct quern_job *job) {
    return job_stop_fd(job->job);
}

uint64_t quern_job_left_ms(const struct quern_job *job) {
    struct mono deadline = job_deadline(job->job);
    return deadline.ms == MONO_NEVER.ms ? QUERN_FOREVER : mono_until(clock_mono(), deadline);
}

/* ---- telling -------------------------------------------------------------------------------- */
void quern_job_progress(struct quern_job *job, uint64_t done, uint64_t total) {
    job_progress(job->job, done, total);
}

void quern_job_log(struct quern_job *job, enum quern_log_level level, const char *format, ...) {
    static const enum log_id ids[] = {[QUERN_LOG_DEFAULT] = LOG_job_info,
                                      [QUERN_LOG_ERROR] = LOG_job_error,
                                      [QUERN_LOG_WARN] = LOG_job_warn,
                                      [QUERN_LOG_INFO] = LOG_job_info,
                                      [QUERN_LOG_DEBUG] = LOG_job_debug};
    enum log_id id = level < sizeof ids / sizeof ids[0] ? ids[level] : LOG_job_debug;
    char text[LOG_LINE_MAX];
    va_list args;
    if (!log_wanted(id))
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    job_log(job->job, id, log_text("said", text));
}

int quern_job_delta(struct quern_job *job, unsigned channel, const char *text, size_t size) {
    return job_delta(job->job, channel, str_make(text, size), &job->err);
}

int quern_job_event(struct quern_job *job, unsigned channel, const void *msgpack, size_t size) {
    return job_event(job->job, channel, str_make(msgpack, size), &job->err);
}

int quern_job_event_json(struct quern_job *job, unsigned channel, const char *json) {
    AUTO_BUF map = BUF(STREAM_EVENT_MAX);
    if (sdk_map_of_json(json, "event", &map, &job->err) < 0)
        return -1;
    return job_event(job->job, channel, buf_str(&map), &job->err);
}

int quern_job_stream_reset(struct quern_job *job) {
    return job_stream_reset(job->job, &job->err);
}

/* ---- the result ----------------------------------------------------------------------------- */
/* Takes the value; NULL: it is none that JSON has. */
static int put(struct quern_job *job, const char *name, json_t *value) {
    if (!value)
        return err_set(&job->err, ERR_BAD_VALUE, "result.%s: is no text or no number", name);
    if (job->is_msgpack) {
        json_decref(value);
        return err_set(&job->err, ERR_INTERNAL, "result.%s: the result was given whole", name);
    }
    if (!job->result)
        job->result = json_object();
    return json_object_set_new(job->result, name, value) == 0
               ? 0
               : err_set(&job->err, ERR_BAD_VALUE, "result: a name is no text");
}

int quern_job_put_text(struct quern_job *job, const char *name, const char *text) {
    return put(job, name, json_string(text));
}

int quern_job_put_uint(struct quern_job *job, const char *name, uint64_t value) {
    char digits[24];
    if (value <= INT64_MAX)
        return put(job, name, json_integer((json_int_t)value));
    snprintf(digits, sizeof digits, "%" PRIu64, value);
    return put(job, name, json_pack("{s:s}", "$uint", digits));
}

int quern_job_put_real(struct quern_job *job, const char *name, double value) {
    return put(job, name, json_real(value));
}

int quern_job_put_flag(struct quern_job *job, const char *name, bool value) {
    return put(job, name, json_boolean(value));
}

int quern_job_put_json(struct quern_job *job, const char *name, const char *json) {
    json_t *value = json_bridge_parse(str_of(json), &job->err);
    return value ? put(job, name, value) : err_add(&job->err, "result.%s", name);
}

static void forget_result(struct quern_job *job) {
    json_decref(job->result);
    job->result = NULL;
    job->is_msgpack = false;
    buf_clear(job_result(job->job));
}

int quern_job_result_json(struct quern_job *job, const char *json) {
    json_t *value = json_bridge_parse(str_of(json), &job->err);
    if (!value)
        return err_add(&job->err, "result");
    if (!json_is_object(value)) {
        json_decref(value);
        return err_set(&job->err, ERR_BAD_VALUE, "result: must be a JSON object");
    }
    forget_result(job);
    job->result = value;
    return 0;
}

/* That it is one map is looked at when the job has ended. */
int quern_job_result(struct quern_job *job, const void *msgpack, size_t size) {
    forget_result(job);
    job->is_msgpack = true;
    return buf_put(job_result(job->job), msgpack, size) == 0
               ? 0
               : err_set(&job->err, ERR_RESULT_TOO_LARGE, "result: %zu bytes, at most %zu", size,
                         job_result(job->job)->bytes_max);
}

/* ---- failing -------------------------------------------------------------------------------- */
static int fail(struct quern_job *job, enum quern_class error_class, const char *format,
                va_list args) {
    enum err_code code = error_class == QUERN_TEMP   ? ERR_JOB_FAILED
                         : error_class == QUERN_PERM ? ERR_JOB_REJECTED
                         : error_class == QUERN_HOLD ? ERR_RATE_LIMITED
                                                     : ERR_INTERNAL;
    char text[ERR_TEXT_MAX];
    vsnprintf(text, sizeof text, format, args);
    err_set(&job->err, code, "%s", text);
    job->err.retry_after_ms = code == ERR_RATE_LIMITED ? HOLD_MS : 0;
    return -1;
}

int quern_job_fail(struct quern_job *job, enum quern_class error_class, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fail(job, error_class, format, args);
    va_end(args);
    return -1;
}

int quern_job_hold(struct quern_job *job, uint64_t retry_after_ms, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fail(job, QUERN_HOLD, format, args);
    va_end(args);
    job->err.retry_after_ms = retry_after_ms;
    return -1;
}

const struct quern_error *quern_job_error(struct quern_job *job) {
    sdk_tell(&job->shown, &job->err);
    return &job->shown;
}

/* ---- children ------------------------------------------------------------------------------- */
typedef int spawn_fn(struct job *job, const struct job_child *child, struct err *e);

static int spawn(struct quern_job *job, const struct quern_spec *given, bool then, spawn_fn *fn) {
    struct quern_spec spec;
    struct job_child child;
    if (sdk_spec(given, &spec, &job->err) < 0 ||
        sdk_child(&spec, job_arena(job->job), &child, &job->err) < 0)
        return -1;
    child.then = then;
    return fn(job->job, &child, &job->err);
}

int quern_job_spawn(struct quern_job *job, const struct quern_spec *child) {
    return spawn(job, child, false, job_spawn);
}

int quern_job_then(struct quern_job *job, const struct quern_spec *child) {
    return spawn(job, child, true, job_spawn);
}

int quern_job_spawn_now(struct quern_job *job, const struct quern_spec *child) {
    return spawn(job, child, false, job_spawn_now);
}

const struct quern_siblings *quern_job_siblings(struct quern_job *job) {
    struct job_siblings s;
    if (!job_siblings(job->job, &s))
        return NULL;
    job->siblings = (struct quern_siblings){.parent_state = (int)s.parent_state,
                                            .total = s.total,
                                            .done = s.done,
                                            .dead = s.dead,
                                            .cancelled = s.cancelled,
                                            .expired = s.expired,
                                            .broken = s.broken};
    return &job->siblings;
}

/* ---- running -------------------------------------------------------------------------------- */
/* What was put becomes the result; over its bound the buffer has failed, and the harness says so.
 */
static int write_result(struct quern_job *job, struct err *e) {
    if (!job->result || job->is_msgpack)
        return 0;
    struct buf *to = job_result(job->job);
    return json_bridge_to_value(job->result, to, e) < 0 && !to->failed ? err_add(e, "result") : 0;
}

int sdk_run(struct job *inner, struct err *e) {
    const struct quern_kind *kind = job_kind_data(inner);
    struct quern_job job = {.job = inner};
    struct err why = {0};
    int rc = kind->run(&job, kind->user);
    int written = write_result(&job, &why);
    json_decref(job.result);
    if (rc == 0 && written < 0) {
        *e = why;
        return -1;
    }
    if (rc)
        *e = job.err;
    return rc ? -1 : 0;
}
