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
#include "schemas/states.h"

#include <stdbool.h>
#include <stdint.h>

#define JOB_ARENA_MAX (256U << 20) /* bytes of one job's arena */

struct job;
typedef int job_run_fn(struct job *job, struct err *e);

uint64_t job_id(const struct job *job);
uint64_t job_fence(const struct job *job);
struct str job_kind(const struct job *job);
const void *job_kind_data(const struct job *job); /* of the kind's row */
struct str job_tenant(const struct job *job);
/* The W3C traceparent with which the job's code calls others, such as an HTTP service: the trace is
 * the job's, the parent this attempt. Children have it by themselves. */
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
/* job_log(job, LOG_id, field, ...): a log event with the job, its tenant and its trace. */
#define job_log(job, id, ...)                                                                      \
    log_event(id, LOG_JOB(job_id(job), job_tenant(job), job_trace(job)), ##__VA_ARGS__)

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

/* ---- flows: other jobs as its children ------------------------------------------------------- */
/* A job to be spawned. Of what is zero or empty, but for the kind, the kind's own settings hold;
 * `priority` and `backoff_ms`, of which zero is a value, need their `has_`. */
struct job_child {
    struct str kind;    /* one that the configuration lists in `may_spawn` of this job's kind */
    struct str payload; /* one msgpack map, or nothing */
    struct str queue;
    bool has_priority;
    uint64_t priority; /* at most 6, or this job's own */
    struct str key;
    uint64_t interval_ms;
    struct str unique; /* where its key is taken, that job stays and there is no child */
    uint64_t window_ms;
    uint64_t delay_ms, run_at_ms; /* not for a then */
    uint64_t ttl_ms, timeout_ms, attempts_max;
    bool has_backoff;
    uint64_t backoff_ms, backoff_max_ms;
    bool then;        /* waits until this job has ended and all that it spawned has settled */
    bool fail_fast;   /* when it or a job below it fails, the rest below it is cancelled */
    struct str trace; /* a traceparent; empty: that of job_trace */
};

/* A child that comes with the result: both are taken, in one step, or neither; if the job is not
 * done there is none. At most 1,000, of 3 MiB together with their heads. -1 with BAD_VALUE or
 * TOO_LARGE, and it is not added. What only the broker can judge (may_spawn, priority, how deep,
 * how many) is judged with the result: the job is dead where it may not have them. */
int job_spawn(struct job *job, const struct job_child *child, struct err *e);
/* A child that is there, on disk, when this returns; it may run before this job has ended, and
 * stays when this attempt fails: a further one spawns again, which `unique` can keep from being
 * done twice. Waits for the disk; many children are cheaper with the result. Not for kinds that run
 * INLINE.
 *
 * -1 when the job must stop (as job_check; then the child may be there or not), or when the broker
 * refuses it: then there is none. Where there is only no room for it now (BUSY, DISK_FULL), passing
 * the error on means that the job is held for a second and runs again, at no cost. */
int job_spawn_now(struct job *job, const struct job_child *child, struct err *e);

uint64_t job_parent(const struct job *job); /* the job whose child it is; 0: none */
/* How those that it waited for ended. */
struct job_siblings {
    enum job_state parent_state;
    uint32_t total; /* the other children of its parent: as many as the following four */
    uint32_t done, dead, cancelled, expired;
    uint32_t broken; /* of the done ones, whose own flow was cancelled */
};
/* False: it is no then. */
bool job_siblings(const struct job *job, struct job_siblings *out);

/* ---- notes: what all workers of a broker know of each other -----------------------------------
 */
/* A note is a name and a value that is there for a while, such as that a provider is to be left
 * alone. Every worker has a copy of all of them, which is at most a heartbeat old; a broker that is
 * started anew knows none. So a note may spare work, or a provider; nothing may depend on it. */
struct job_note {
    struct str value;
    uint64_t left_ms; /* until it ends */
    uint64_t version; /* of the change that set it */
};
/* From this process's copy. False: there is no such note. The value is in the job's arena. */
bool job_note_get(struct job *job, struct str name, struct job_note *out);

struct job_note_change {
    struct str name;  /* letters, digits and . _ : -, at most 64 */
    struct str value; /* text of at most 256 bytes; empty: the note is removed */
    uint64_t for_ms;  /* it is there for so long, at most a day; 0: it is removed */
    bool longer;      /* only if none is there that lasts as long */
    bool conditional; /* only if it has the version that follows: 0 if it must not be there */
    uint64_t if_version;
};
/* Sets or removes a note and waits for the broker's answer, a lease (by default 3 s) at most.
 * *changed: it was done; else what is there did not allow it. Of several jobs that set the same
 * note under `conditional` with 0, one has it changed.
 *
 * -1 when the job must stop, with BAD_VALUE, with BUSY where there are too many notes, or with
 * UNREACHABLE_BROKER where no answer came: then it may be set or not. A job that can go on without
 * it should. Not for kinds that run INLINE. */
int job_note_set(struct job *job, const struct job_note_change *change, bool *changed,
                 struct err *e);

/* ---- parameters: fields of the payload ------------------------------------------------------ */
/* -1 with BAD_VALUE where the field is of another type or over `max` (of the value, or of bytes).
 */
int job_param_uint(const struct job *job, const char *name, uint64_t fallback, uint64_t max,
                   uint64_t *out, struct err *e);
int job_param_text(const struct job *job, const char *name, struct str fallback, size_t max,
                   struct str *out, struct err *e);
int job_param_flag(const struct job *job, const char *name, bool *out, struct err *e);
/* One map, as it stands in the payload; empty where there is none. */
int job_param_map(const struct job *job, const char *name, struct str *out, struct err *e);
/* The same of a map that is not the payload, but `what` of it. */
int job_map_text(struct str map, const char *what, const char *name, size_t max, struct str *out,
                 struct err *e);
int job_map_map(struct str map, const char *what, const char *name, struct str *out, struct err *e);
