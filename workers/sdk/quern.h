/* quern.h: workers and clients of Quern, in C11 or C++.
 *
 * A *job* is of a *kind*, has a *payload*, runs in *attempts* and ends with a *result* or an error.
 * A worker is a program that runs jobs of some kinds; a client submits jobs and asks about them.
 *
 *     #include <quern.h>
 *
 *     static int greet(struct quern_job *job, void *user) {
 *         char name[64];
 *         (void)user;
 *         if (quern_job_text(job, "name", "world", name, sizeof name) < 0)
 *             return -1;
 *         return quern_job_put_text(job, "greeting", name);
 *     }
 *
 *     int main(void) {
 *         struct quern_kind kind = quern_kind_make("greet", greet);
 *         return quern_worker_run(NULL, &kind, 1);
 *     }
 *
 *     cc greet.c $(pkg-config --cflags --libs quern) -o greet
 *
 * docs/workers.md is the guide; this file is the reference.
 *
 * What always holds
 *   - A struct that you fill begins with `size`. Make it by its `..._make` function, or with
 *     `.size = sizeof(struct quern_...)`; every other member may stay zero, which means what its
 *     comment says. Later versions only add members at its end.
 *   - Other structs are the library's. What it returns by a `const` pointer is borrowed, as long as
 *     its function says; what is yours has a function that ends it, which takes NULL.
 *   - A function that can fail returns 0 or -1, or NULL or 0 where it returns a thing; why is in
 *     `struct quern_error`, or in the job. Numbers of enums may come that this header does not
 * have.
 *   - Text is UTF-8 and ends with a zero byte. Payloads and results are one map: as msgpack bytes,
 *     or as the text of a JSON object. What JSON lacks is an object of its own: bytes are
 *     {"$bin": "base64"}, a number over 2^63 - 1 is {"$uint": "digits"}.
 *   - Durations are milliseconds and end in `_ms`; QUERN_FOREVER is one.
 *   - Where memory for something small is gone the process ends; what is large and cannot be had is
 *     the error QUERN_E_NO_MEMORY.
 *   - Functions must not throw through the library.
 *   - A program that was built with one libquern.so.0 runs with every later one. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define QUERN_API                __attribute__((visibility("default")))
#define QUERN_PRINTF(text, from) __attribute__((format(printf, text, from)))
#else
#define QUERN_API
#define QUERN_PRINTF(text, from)
#endif

#define QUERN_VERSION_MAJOR  0
#define QUERN_VERSION_MINOR  1
#define QUERN_VERSION_PATCH  0
#define QUERN_VERSION_STRING "0.1.0"
/* For #if: grows with every version. */
#define QUERN_VERSION_NUMBER                                                                       \
    (QUERN_VERSION_MAJOR * 1000000 + QUERN_VERSION_MINOR * 1000 + QUERN_VERSION_PATCH)

/* The same of the library that runs, which may be a later one than this header. */
QUERN_API const char *quern_version(void);
QUERN_API int quern_version_number(void);

#define QUERN_FOREVER UINT64_MAX

/* ============================================================================================= */
/* Errors                                                                                        */
/* ============================================================================================= */

/* What may be done about it. */
enum quern_class {
    QUERN_TEMP = 1, /* it may work another time */
    QUERN_PERM = 2, /* the same will happen again */
    QUERN_HOLD = 3, /* wait as told; for a job: it costs no attempt */
    QUERN_BUG = 4   /* of Quern, or of the kind's code */
};

/* What went wrong. schemas/errors.def says more of each. */
enum quern_code {
    QUERN_OK = 0,
    /* what was sent could not be understood */
    QUERN_E_MALFORMED = 10,
    QUERN_E_TOO_LARGE = 11,
    QUERN_E_UNKNOWN_VERB = 12,
    QUERN_E_UNKNOWN_FIELD = 13,
    QUERN_E_MISSING_FIELD = 14,
    QUERN_E_BAD_VALUE = 15,
    QUERN_E_BAD_VERSION = 16,
    QUERN_E_BAD_ROLE = 17,
    QUERN_E_NO_HELLO = 18,
    QUERN_E_DUPLICATE_INSTANCE = 19,
    QUERN_E_OLD_SEQUENCE = 20,
    QUERN_E_BAD_CONFIG = 21,
    QUERN_E_USAGE = 22,
    /* what was asked for cannot be */
    QUERN_E_NOT_FOUND = 30, /* no such job, or past retention */
    QUERN_E_UNKNOWN_KIND = 31,
    QUERN_E_UNKNOWN_QUEUE = 32,
    QUERN_E_UNKNOWN_POOL = 33,
    QUERN_E_ALREADY_DONE = 34,
    QUERN_E_NOT_FINISHED = 35,
    QUERN_E_CONFLICT = 36,
    /* the queue cannot take it now */
    QUERN_E_BUSY = 50,
    QUERN_E_READ_ONLY = 51,
    QUERN_E_DISK_FULL = 52,
    QUERN_E_STARTING = 53,
    QUERN_E_STOPPING = 54,
    QUERN_E_RATE_LIMITED = 55,
    /* how an attempt or a job ended */
    QUERN_E_STALE_FENCE = 70, /* the job was given to another attempt */
    QUERN_E_CANCELLED = 71,
    QUERN_E_EXPIRED = 72,
    QUERN_E_TIMEOUT = 73, /* the attempt took longer than its timeout */
    QUERN_E_WORKER_LOST = 74,
    QUERN_E_JOB_FAILED = 75,
    QUERN_E_JOB_REJECTED = 76,
    QUERN_E_RESULT_TOO_LARGE = 77,
    QUERN_E_CRASHED = 78,
    QUERN_E_FLOW_FAILED = 79,
    /* the world around us */
    QUERN_E_UNREACHABLE_BROKER = 90,
    QUERN_E_WAIT_TIMEOUT = 91,    /* no answer within the time given */
    QUERN_E_UNKNOWN_OUTCOME = 92, /* unknown whether it was accepted */
    QUERN_E_IO = 93,
    QUERN_E_CORRUPT = 94,
    QUERN_E_LOCKED = 95,
    QUERN_E_NO_MEMORY = 96,
    QUERN_E_INTERNAL = 99
};

/* Yours to declare; it never changes its size. Where one is taken NULL will do. */
struct quern_error {
    int code;                /* enum quern_code */
    int error_class;         /* enum quern_class; 0 with QUERN_OK */
    uint64_t retry_after_ms; /* when it may be tried again; 0: not told */
    const char *name;        /* of the code: "NOT_FOUND"; static */
    char text[384];          /* what was wrong, and the bound; empty with QUERN_OK */
    char reserved[104];
};

/* "NOT_FOUND"; "UNKNOWN" for a number that the library does not have. Static. */
QUERN_API const char *quern_code_name(int code);

/* ============================================================================================= */
/* Values                                                                                        */
/* ============================================================================================= */

/* The states of a job; the last four are ends. */
enum quern_state {
    QUERN_SCHEDULED = 1, /* waits for its time */
    QUERN_READY = 2,     /* waits for its turn */
    QUERN_BLOCKED = 3,   /* waits for its key, or for other jobs of its flow */
    QUERN_RUNNING = 4,
    QUERN_CANCELLING = 5, /* runs, and its worker was told to stop */
    QUERN_DONE = 6,
    QUERN_DEAD = 7, /* attempts spent, or an error that is permanent */
    QUERN_CANCELLED = 8,
    QUERN_EXPIRED = 9 /* not started within its time to live */
};

/* "done"; "unknown" for a number that the library does not have. Static. */
QUERN_API const char *quern_state_name(int state);

/* Jobs are 64 bits, never 0; people see 13 characters. */
#define QUERN_ID_SIZE 14 /* with the zero byte */
QUERN_API void quern_id_show(uint64_t id, char text[QUERN_ID_SIZE]);
/* 0 where the text is none. */
QUERN_API uint64_t quern_id_parse(const char *text);

/* A msgpack value as JSON and back, without loss. To be ended by quern_free. */
QUERN_API char *quern_to_json(const void *msgpack, size_t size, struct quern_error *error);
QUERN_API void *quern_to_msgpack(const char *json, size_t *size, struct quern_error *error);
QUERN_API void quern_free(void *what);

/* ============================================================================================= */
/* A job to be: for quern_submit, and for children in quern_job_spawn                            */
/* ============================================================================================= */

#define QUERN_PRIORITY_LOWEST (-1)       /* the wire's 0 */
#define QUERN_NO_BACKOFF      UINT64_MAX /* tried again at once */

enum quern_durability {
    QUERN_SYNC = 0,  /* on disk before it is accepted */
    QUERN_ASYNC = 1, /* on disk within 10 ms */
    QUERN_NEVER = 2  /* gone with the broker */
};

struct quern_spec {
    size_t size;
    const char *kind;         /* what runs; the one member that must be set */
    const char *payload_json; /* either this, one JSON object, */
    const void *payload;      /* or these, one msgpack map; NULL: {} */
    size_t payload_size;
    const char *queue;    /* NULL: its kind's */
    const char *tenant;   /* NULL: "default"; others for gateways and operators only */
    int priority;         /* 1 to 9, 9 first, 7 to 9 for gateways and operators only; 0: its kind's;
                             or QUERN_PRIORITY_LOWEST */
    int durability;       /* enum quern_durability */
    const char *key;      /* jobs of one tenant and queue with it run one at a time; NULL: none */
    uint64_t interval_ms; /* between two starts of its key; 0: none */
    const char *unique;   /* while a job with it lives there is no second one; NULL: none */
    uint64_t window_ms;   /* or for so long; 0: while it lives */
    uint64_t delay_ms;    /* not before this has passed; 0: at once */
    uint64_t run_at_ms;   /* not before this wall time since 1970; 0: at once */
    uint64_t ttl_ms;      /* it expires if not started within; 0: its kind's */
    uint64_t timeout_ms;  /* of one attempt; 0: its kind's */
    uint64_t attempts_max; /* before it is dead; 0: its kind's */
    uint64_t backoff_ms;   /* after a failure, doubled each time; 0: its kind's; QUERN_NO_BACKOFF */
    uint64_t backoff_max_ms; /* 0: its kind's */
    uint64_t grace_ms;       /* cancelled when nobody has followed it for so long; 0: never */
    const char *trace;       /* W3C traceparent; NULL: none, for a child its parent's */
    bool watch;              /* quern_wait_any tells its end */
    bool fail_fast;          /* the first failure in its flow cancels the rest */
};

static inline struct quern_spec quern_spec_make(const char *kind) {
    struct quern_spec spec;
    memset(&spec, 0, sizeof spec);
    spec.size = sizeof spec;
    spec.kind = kind;
    return spec;
}

/* ============================================================================================= */
/* Workers                                                                                       */
/* ============================================================================================= */

/* A job that runs. For the thread that its function was called in, until that returns; so is all
 * that is borrowed from it. */
struct quern_job;

/* Runs one job, as straight-line, blocking code; different jobs run at the same time in threads.
 *
 * 0: done; the result is what was put (quern_job_put_..., quern_job_result...), or {}. -1: not
 * done; why is what quern_job_fail said last, or the function of the job that failed last. So
 *
 *     if (quern_job_wait(job, 1000) < 0)
 *         return -1;
 *
 * is the whole of obeying: a job that was told to stop has 2 s for that, then its process is ended.
 * Look at quern_job_check, or wait by quern_job_wait, at least every second. Heartbeats go on
 * meanwhile, whatever a job does.
 *
 * A job may run more than once, also at the same time as an attempt of itself that was given up:
 * what it does to the world must be harmless when done twice, or carry quern_job_fence. */
typedef int quern_job_fn(struct quern_job *job, void *user);

struct quern_kind {
    size_t size;
    const char *name;
    quern_job_fn *run;
    void *user;            /* handed to `run` */
    uint64_t timeout_ms;   /* of one attempt; these three: 0 is the broker's default */
    uint64_t attempts_max; /* before a job is dead */
    uint64_t backoff_ms;   /* after a failure, doubled each time */
    bool streams;          /* it may write a stream: quern_job_delta and its siblings */
    bool speculative;      /* may run before its submission is on disk: harmless if that is lost */
};

static inline struct quern_kind quern_kind_make(const char *name, quern_job_fn *run) {
    struct quern_kind kind;
    memset(&kind, 0, sizeof kind);
    kind.size = sizeof kind;
    kind.name = name;
    kind.run = run;
    return kind;
}

enum quern_log_level {
    QUERN_LOG_DEFAULT = 0, /* as the settings say: info */
    QUERN_LOG_ERROR = 1,
    QUERN_LOG_WARN = 2,
    QUERN_LOG_INFO = 3,
    QUERN_LOG_DEBUG = 4
};

/* A worker takes its place from the environment that a supervisor (quern up, quern-pools) gives it:
 * QUERN_DATA or QUERN_BROKER, QUERN_CONFIG, QUERN_WORKER_POOL, _KINDS, _SLOTS, _PREFETCH,
 * _MEMORY_MAX and _INSTANCE. What is set here is stronger, as a command line would be: leave to the
 * pool's settings what they shall decide. */
struct quern_worker_options {
    size_t size;
    const char *name; /* for people and the log; NULL: the name of the program */
    const char *data; /* the broker's data folder; NULL: $QUERN_DATA, else .quern */
    /* tcp://HOST:PORT, ipc://PATH, or a path; NULL: $QUERN_BROKER, else data. The key for tcp is
     * that of $QUERN_KEY_FILE; beyond this host there must be one. */
    const char *broker;
    const char *pool;    /* NULL: $QUERN_WORKER_POOL, else none */
    uint32_t slots;      /* jobs at a time; 0: $QUERN_WORKER_SLOTS, else the settings' */
    uint32_t prefetch;   /* jobs it takes beyond that; 0: $QUERN_WORKER_PREFETCH, else settings' */
    int log_level;       /* enum quern_log_level */
    uint64_t memory_max; /* bytes; it leaves when it has grown over; 0: the settings' */
    uint64_t recycle_jobs;   /* it leaves after so many; 0: the settings' */
    uint64_t recycle_age_ms; /* it leaves after so long; 0: the settings' */
};

static inline struct quern_worker_options quern_worker_options_make(void) {
    struct quern_worker_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    return options;
}

/* What a worker's process ends with; its supervisor knows them. */
enum quern_exit {
    QUERN_EXIT_DRAINED = 0, /* asked to leave, and left nothing behind */
    QUERN_EXIT_STOPPED = 1, /* told to stop at once; its jobs were given back */
    QUERN_EXIT_USAGE = 2,   /* wrong options or settings: the same will happen again */
    QUERN_EXIT_REFUSED = 3, /* the broker will not have it: the same will happen again */
    QUERN_EXIT_RECYCLE = 75,
    QUERN_EXIT_UNHEARD = 76,  /* asked to leave while the broker was gone */
    QUERN_EXIT_TOO_LARGE = 77 /* over its memory ceiling before it took a job */
};

/* Runs jobs of these kinds until it is asked to leave: return its answer from main.
 *
 * The first SIGTERM or SIGINT, or a word of the broker (quern drain), lets it finish what runs; a
 * second signal stops it at once. It comes back to a broker that was started anew with all that it
 * holds. `options` may be NULL. The log is written to standard error, a line each; so is why it
 * could not start. Where jobs are left that did not obey, it ends the process itself.
 *
 * Call it in the program's first thread, before others are started: they must not take its signals.
 */
QUERN_API int quern_worker_run(const struct quern_worker_options *options,
                               const struct quern_kind *kinds, size_t n_kinds);

/* ---- what a job was given ------------------------------------------------------------------- */
QUERN_API uint64_t quern_job_id(const struct quern_job *job);
/* Rises with each attempt: whoever writes to the world may refuse lower ones. */
QUERN_API uint64_t quern_job_fence(const struct quern_job *job);
QUERN_API const char *quern_job_kind(struct quern_job *job);
QUERN_API const char *quern_job_tenant(struct quern_job *job);
/* The W3C traceparent to call others with, such as an HTTP service: the trace is the job's, the
 * parent this attempt. Children have it by themselves. "": the broker gave none. */
QUERN_API const char *quern_job_trace(struct quern_job *job);
QUERN_API uint32_t quern_job_attempt(const struct quern_job *job);      /* 1 for the first */
QUERN_API uint32_t quern_job_attempts_max(const struct quern_job *job); /* 0: any number */
QUERN_API uint64_t quern_job_parent(const struct quern_job *job);       /* 0: no job's child */

/* One msgpack map. */
QUERN_API const void *quern_job_payload(const struct quern_job *job, size_t *size);
/* The same as text; NULL where there is no such JSON (a float that is no number). */
QUERN_API const char *quern_job_payload_json(struct quern_job *job);

/* Members of the payload; the fallback where there is none. -1 with BAD_VALUE (the job is dead if
 * it returns that) where one is of another type, over `max`, or does not fit. */
QUERN_API int quern_job_text(struct quern_job *job, const char *name, const char *fallback,
                             char *to, size_t to_size);
QUERN_API int quern_job_uint(struct quern_job *job, const char *name, uint64_t fallback,
                             uint64_t max, uint64_t *to);
QUERN_API int quern_job_flag(struct quern_job *job, const char *name, bool *to);
/* Text of any length, borrowed from the job; "" where there is none, NULL where it is no text.
 * `size` (may be NULL) is without the zero byte behind it. */
QUERN_API const char *quern_job_long_text(struct quern_job *job, const char *name, size_t *size);

/* ---- stopping ------------------------------------------------------------------------------- */
/* -1 when it must stop: cancelled, over its timeout, or given to somebody else. */
QUERN_API int quern_job_check(struct quern_job *job);
/* Waits; -1 as soon as quern_job_check would say so. */
QUERN_API int quern_job_wait(struct quern_job *job, uint64_t ms);
/* The same until `fd` is readable: 1; 0 when the time is over. */
QUERN_API int quern_job_wait_fd(struct quern_job *job, int fd, uint64_t ms);
/* Readable from the moment when it must stop, for libraries that poll. Not to be read. */
QUERN_API int quern_job_stop_fd(const struct quern_job *job);
/* Until its timeout; QUERN_FOREVER: it has none. */
QUERN_API uint64_t quern_job_left_ms(const struct quern_job *job);

/* ---- telling -------------------------------------------------------------------------------- */
/* How far it is, `total` 0: of an unknown number. Call it as often as you like: one a second
 * leaves. */
QUERN_API void quern_job_progress(struct quern_job *job, uint64_t done, uint64_t total);
/* A line in the log, with the job's id and tenant; at most 100 a second and level. */
QUERN_API void quern_job_log(struct quern_job *job, enum quern_log_level level, const char *format,
                             ...) QUERN_PRINTF(3, 4);

/* For kinds with `streams`: what those who follow the job hear at once, in this order. `channel`, 0
 * to 255, tells apart what is written side by side. -1 when it must stop, or where nothing was
 * written: QUERN_E_BAD_VALUE for what is no text or map, QUERN_E_TOO_LARGE over a stream's bound,
 * after which the job cannot succeed. */
/* UTF-8, cut anywhere: a character whose rest is missing waits for it. */
QUERN_API int quern_job_delta(struct quern_job *job, unsigned channel, const char *text,
                              size_t size);
/* One map of at most 64 KiB. */
QUERN_API int quern_job_event(struct quern_job *job, unsigned channel, const void *msgpack,
                              size_t size);
QUERN_API int quern_job_event_json(struct quern_job *job, unsigned channel, const char *json);
/* What was written is void and begins anew; at most 255 times. */
QUERN_API int quern_job_stream_reset(struct quern_job *job);

/* ---- the result ----------------------------------------------------------------------------- */
/* Members of the result, in the order they are first put; a later one of a name replaces it. -1
 * where it is not UTF-8 or no number. A job that was told to stop leaves what it has put so far. */
QUERN_API int quern_job_put_text(struct quern_job *job, const char *name, const char *text);
QUERN_API int quern_job_put_uint(struct quern_job *job, const char *name, uint64_t value);
QUERN_API int quern_job_put_real(struct quern_job *job, const char *name, double value);
QUERN_API int quern_job_put_flag(struct quern_job *job, const char *name, bool value);
QUERN_API int quern_job_put_json(struct quern_job *job, const char *name, const char *json);
/* The whole of it, in place of what was put. */
QUERN_API int quern_job_result_json(struct quern_job *job, const char *json);
QUERN_API int quern_job_result(struct quern_job *job, const void *msgpack, size_t size);

/* ---- failing -------------------------------------------------------------------------------- */
/* return quern_job_fail(job, QUERN_TEMP, "%s: no answer", host);
 * TEMP: tried again while attempts are left; PERM: it is dead; HOLD: as quern_job_hold with 1 s;
 * BUG: dead, as a bug of the kind's. Always -1. At most 319 bytes of it are kept. */
QUERN_API int quern_job_fail(struct quern_job *job, enum quern_class error_class,
                             const char *format, ...) QUERN_PRINTF(3, 4);
/* Something outside told us to wait: tried again after that time, which costs no attempt. */
QUERN_API int quern_job_hold(struct quern_job *job, uint64_t retry_after_ms, const char *format,
                             ...) QUERN_PRINTF(3, 4);
/* Why the last function of this job failed; borrowed until the next one. */
QUERN_API const struct quern_error *quern_job_error(struct quern_job *job);

/* ---- children ------------------------------------------------------------------------------- */
/* Kinds that may be spawned are listed in `may_spawn` of this job's kind in the configuration. Of a
 * spec `tenant`, `durability`, `watch` and `grace_ms` must be zero; `priority` at most 6 or this
 * job's own.
 *
 * A child that comes with the result: both are taken, or neither; none if the job is not done. */
QUERN_API int quern_job_spawn(struct quern_job *job, const struct quern_spec *child);
/* The one that waits until this job has ended and all that it spawned has settled. */
QUERN_API int quern_job_then(struct quern_job *job, const struct quern_spec *child);
/* A child that is there, on disk, when this returns. It stays when the attempt fails: give it
 * `unique` where it must not come twice. Where there is only no room for it now the error is a
 * HOLD: pass it on. */
QUERN_API int quern_job_spawn_now(struct quern_job *job, const struct quern_spec *child);

/* For a job that was spawned by quern_job_then: how those ended that it waited for. */
struct quern_siblings {
    int parent_state; /* enum quern_state */
    uint32_t total;   /* the other children of its parent: as many as the following four */
    uint32_t done, dead, cancelled, expired;
    uint32_t broken; /* of the done ones, whose own flow was cancelled */
};
/* NULL: it is no such job. */
QUERN_API const struct quern_siblings *quern_job_siblings(struct quern_job *job);

/* ============================================================================================= */
/* Clients                                                                                       */
/* ============================================================================================= */

/* A connection to a broker. One thread at a time; another thread has another client. It is served
 * while a function of it runs, and finds a broker that was started anew by itself. */
struct quern_client;

enum quern_role {
    QUERN_ROLE_CLIENT = 1,
    QUERN_ROLE_GATEWAY = 3, /* speaks for many tenants, follows streams */
    QUERN_ROLE_OPERATOR = 4 /* may do everything */
};

struct quern_client_options {
    size_t size;
    const char *data; /* the broker's data folder; NULL: $QUERN_DATA, else .quern */
    /* tcp://HOST:PORT, ipc://PATH, or a path; NULL: $QUERN_BROKER, else data. The key for tcp is
     * that of $QUERN_KEY_FILE; beyond this host there must be one. */
    const char *broker;
    const char *name;    /* for people; NULL: the name of the program */
    int role;            /* enum quern_role; 0: client */
    uint64_t timeout_ms; /* for the answer of whatever has no time of its own; 0: 10 s */
};

static inline struct quern_client_options quern_client_options_make(void) {
    struct quern_client_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    return options;
}

/* Waits until the broker is there, `timeout_ms` at most. `options` may be NULL. */
QUERN_API struct quern_client *quern_connect(const struct quern_client_options *options,
                                             struct quern_error *error);
/* What was submitted goes on. Ends the client's streams, too. */
QUERN_API void quern_close(struct quern_client *client);

/* The job's id; 0: it was refused. After QUERN_E_UNKNOWN_OUTCOME it may be there or not; with
 * `unique` a second time does no harm. */
QUERN_API uint64_t quern_submit(struct quern_client *client, const struct quern_spec *job,
                                struct quern_error *error);
/* Any number of them, in as few messages as will do. Fills ids[n], with 0 for those that were
 * refused; duplicates[n] (may be NULL): their `unique` key was taken, the id is the first job's;
 * errors[n] (may be NULL). 0, or -1 if any was refused. */
QUERN_API int quern_submit_many(struct quern_client *client, const struct quern_spec *const *jobs,
                                size_t n, uint64_t *ids, bool *duplicates,
                                struct quern_error *errors);

/* ALREADY_DONE where it has ended. With children, all of its flow is cancelled. */
QUERN_API int quern_cancel(struct quern_client *client, uint64_t id, struct quern_error *error);
/* Runs a job that has ended again, under its id. */
QUERN_API int quern_retry(struct quern_client *client, uint64_t id, struct quern_error *error);

/* ---- reports -------------------------------------------------------------------------------- */
/* What is known of a job. Yours, until quern_report_free; so is all that is borrowed from it. */
struct quern_report;

/* What is known of it now, with payload and result. */
QUERN_API struct quern_report *quern_get(struct quern_client *client, uint64_t id,
                                         struct quern_error *error);
/* Its end, however it ended, for which it waits; NULL with QUERN_E_WAIT_TIMEOUT when that did not
 * come in time. Not for a job whose stream is open: its stream tells that. */
QUERN_API struct quern_report *quern_wait(struct quern_client *client, uint64_t id,
                                          uint64_t timeout_ms, struct quern_error *error);
/* The next end of any job that was submitted with `watch`, each once. Of one that the broker does
 * not know any more the state is 0. */
QUERN_API struct quern_report *quern_wait_any(struct quern_client *client, uint64_t timeout_ms,
                                              struct quern_error *error);
QUERN_API void quern_report_free(struct quern_report *report);

QUERN_API uint64_t quern_report_id(const struct quern_report *report);
QUERN_API int quern_report_state(const struct quern_report *report); /* enum quern_state */
QUERN_API uint32_t quern_report_attempts(const struct quern_report *report);
/* Code QUERN_OK: it is done, or nothing went wrong yet. */
QUERN_API const struct quern_error *quern_report_error(const struct quern_report *report);
/* One msgpack map; NULL and 0: there is none (yet). */
QUERN_API const void *quern_report_result(const struct quern_report *report, size_t *size);
/* "{}" for none; NULL where there is no such JSON. */
QUERN_API const char *quern_report_result_json(struct quern_report *report);
/* How far a running job is; false: it has not said. Of quern_get only. */
QUERN_API bool quern_report_progress(const struct quern_report *report, uint64_t *done,
                                     uint64_t *total);
/* All of it as one JSON object, with the names of docs/messages.md: job_info of quern_get, finished
 * of the others. */
QUERN_API const char *quern_report_json(struct quern_report *report);

/* ---- streams -------------------------------------------------------------------------------- */
/* Follows what a job writes while it runs, from its beginning; for gateways and operators. It ends
 * with its client, or before. */
struct quern_stream;

enum quern_event_type {
    QUERN_EVENT_TEXT = 1,  /* UTF-8, whole characters */
    QUERN_EVENT_DATA = 2,  /* one msgpack map */
    QUERN_EVENT_RESET = 3, /* what came before is void: forget it */
    QUERN_EVENT_BROKEN = 4 /* the rest is not kept: there is the result */
};

struct quern_event {
    int type; /* enum quern_event_type */
    unsigned channel;
    const char *bytes; /* with a zero byte behind them */
    size_t size;
    uint64_t epoch, seq; /* its position */
};

QUERN_API struct quern_stream *quern_stream_open(struct quern_client *client, uint64_t id,
                                                 struct quern_error *error);
/* 1: an event, borrowed until the next call; 0: the job has ended and all of it was told; -1: no
 * event in time (QUERN_E_WAIT_TIMEOUT: ask again), or it cannot be followed. */
QUERN_API int quern_stream_next(struct quern_stream *stream, uint64_t timeout_ms,
                                const struct quern_event **event, struct quern_error *error);
/* How the job ended, once quern_stream_next has said 0; borrowed from the stream. */
QUERN_API struct quern_report *quern_stream_report(struct quern_stream *stream);
QUERN_API void quern_stream_close(struct quern_stream *stream);

#ifdef __cplusplus
}
#endif
