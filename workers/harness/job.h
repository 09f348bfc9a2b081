/* What the code of a job kind sees of its job: written as straight-line, blocking code.
 *
 *     int run_sleep(struct job *job, struct err *e) {
 *         uint64_t ms;
 *         if (job_param_uint(job, "ms", 1000, 3600000, &ms, e) < 0 || job_wait(job, ms, e) < 0)
 *             return -1;
 *         msgpack_put_map(job_result(job), 1);
 *         ...
 *         return 0;
 *     }
 *
 * 0: done; what was written to job_result, one msgpack map or nothing, is the result. -1: not done,
 * and the class of the error says what the broker shall do: TEMP try again, PERM and BUG do not,
 * HOLD try again after `retry_after_ms` at no cost. What job_check or job_wait gave is passed on as
 * it is.
 *
 * A job must look at job_check, or wait by job_wait, at least every second: it has 2 s to obey a
 * cancel or its timeout, then its process is ended. Heartbeats are not its business: the process
 * shows that it lives while a job computes.
 *
 * A job may run more than once, also at the same time as an attempt of itself that was given up:
 * what it does to the world must be harmless when done twice, or carry job_fence.
 *
 * All functions are for the thread that runs the job, while it runs; so is all that they return.
 * Different jobs run at the same time in one process: no variables outside functions. */
#pragma once

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/time_types.h"
#include "common/log/log.h"

#include <stdbool.h>
#include <stdint.h>

#define JOB_ARENA_MAX (256U << 20) /* bytes of one job's arena */

struct job;
typedef int job_run_fn(struct job *job, struct err *e);

uint64_t job_id(const struct job *job);
uint64_t job_fence(const struct job *job);
struct str job_kind(const struct job *job);
struct str job_tenant(const struct job *job);
struct str job_trace(const struct job *job);
uint32_t job_attempt(const struct job *job);      /* 1 for the first */
uint32_t job_attempts_max(const struct job *job); /* 0: any number */
/* One valid msgpack map. */
struct str job_payload(const struct job *job);
/* Freed when the job has ended. */
struct arena *job_arena(struct job *job);
/* Where the result is written; over its bound the job ends with RESULT_TOO_LARGE. */
struct buf *job_result(struct job *job);
/* The payload as it is. */
void job_result_is_payload(struct job *job);

/* ---- stopping ------------------------------------------------------------------------------- */
/* -1 with CANCELLED, TIMEOUT or STALE_FENCE when it must stop. */
int job_check(struct job *job, struct err *e);
/* Waits; -1 as soon as job_check would say so. */
int job_wait(struct job *job, uint64_t ms, struct err *e);
/* The same until `fd` is readable (then *ready). */
int job_wait_fd(struct job *job, int fd, uint64_t ms, bool *ready, struct err *e);
/* Readable from the moment when the job must stop: for libraries that poll. Not to be read. */
int job_stop_fd(const struct job *job);
struct mono job_deadline(const struct job *job); /* MONO_NEVER: none */

/* ---- telling -------------------------------------------------------------------------------- */
/* How far it is; at most one a second leaves. `total` 0: not known. */
void job_progress(struct job *job, uint64_t done, uint64_t total);
/* job_log(job, LOG_id, field, ...): a log event with the job and its tenant. */
#define job_log(job, id, ...)                                                                      \
    log_event(id, log_id("job", job_id(job)), log_str("tenant", job_tenant(job)), ##__VA_ARGS__)

/* ---- streaming: kinds with `streams` only ---------------------------------------------------- */
/* Text and data that readers of the job's stream get while it runs, in this order; also after the
 * job has ended, for a while. `channel` (0 to 255) tells apart what is written side by side.
 *
 * -1 when the job must stop (as job_check), with TOO_LARGE over the bound of one stream, or with
 * BAD_VALUE where it is no text or map: then nothing was written. After TOO_LARGE the job cannot
 * succeed. */
/* A piece of UTF-8 text, cut anywhere: a character whose rest is missing waits for it. */
int job_delta(struct job *job, uint32_t channel, struct str text, struct err *e);
/* One msgpack map of at most 64 KiB. */
int job_event(struct job *job, uint32_t channel, struct str map, struct err *e);
/* What was written is void, it begins anew; at most 255 times. */
int job_stream_reset(struct job *job, struct err *e);

/* ---- parameters: fields of the payload ------------------------------------------------------ */
/* -1 with BAD_VALUE where the field is of another type or over `max` (of the value, or of bytes).
 */
int job_param_uint(const struct job *job, const char *name, uint64_t fallback, uint64_t max,
                   uint64_t *out, struct err *e);
int job_param_text(const struct job *job, const char *name, struct str fallback, size_t max,
                   struct str *out, struct err *e);
int job_param_flag(const struct job *job, const char *name, bool *out, struct err *e);
