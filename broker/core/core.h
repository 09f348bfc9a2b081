/* The heart of the broker: jobs, their order, their attempts, and who works on what.
 *
 * A pure state machine. It has no clock, file, socket, thread or random source of its own: inputs
 * are calls below, outputs are the calls of `struct effects`, made before an input returns. The
 * driver (the dispatcher thread, or the simulator) owns the outside.
 *
 * Vocabulary
 *   turn      core_begin, any inputs, core_end: one "now" for all of them
 *   link      the driver's number for one connection of a peer; a reconnected peer has a new one
 *   position  where a record stands in the journal; monotone; 0 means "nothing to wait for"
 *   durable   all records before a position are on disk, told by core_durable
 *   fence     names one attempt of one job; never given twice
 *
 * What always holds (stated in full and checked by core_check)
 *   - a letter whose `after` is not 0 must not leave before the record at `after` is durable: with
 * it the driver keeps "acknowledged means durable";
 *   - a job is in exactly one list, has exactly one state, and ends exactly once;
 *   - running jobs of a queue, tenant, key and worker are counted exactly, and never over a limit.
 *
 * The effects must not call back into the core. Everything borrowed in either direction is valid
 * only during the call. One thread. */
#pragma once

#include "common/base/err.h"
#include "common/base/histogram.h"
#include "common/base/time_types.h"
#include "common/base/trace.h"
#include "schemas/records.h"
#include "schemas/states.h"

#include <stdbool.h>
#include <stdint.h>

struct core;

/* One item of a message. Letters of one request that have its sequence are the items of one answer,
 * in order; a repeated request is answered by letters of its own, so the driver must not join what
 * different calls of core_request have sent. */
struct letter {
    uint64_t link;
    enum verb verb;
    uint64_t sequence;   /* of the request it answers; 0 for one that answers nothing */
    const void *message; /* struct of the verb's message */
    struct str payload, payload2;
    uint64_t after; /* the record that must be durable before it leaves; 0: at once */
    bool in_parts;  /* it tells of records of several turns; `after` is the last of them */
};

enum core_event {
    EVENT_job_ended,
    EVENT_attempt_failed,
    EVENT_worker_joined,
    EVENT_worker_lost,
    EVENT_stale_report,
    EVENT_read_only,
    EVENT_load_failed,
    EVENT_bad_record,
    EVENT_stream_incomplete,
    EVENT_schedule_refused,
    EVENT_job_accepted,
    EVENT_attempt_started,
    EVENT_attempt_held,
    EVENT_attempt_requeued,
    CORE_EVENTS,
};

struct event {
    enum core_event what;
    uint64_t job, fence;       /* 0: none */
    struct str tenant;         /* of the job; empty: not known */
    const struct trace *trace; /* of the job; NULL: not known, or none */
    struct str text;
};

/* What the relay of streams shall do, in this order. docs/protocol.md, section "Streams". */
enum stream_what {
    STREAM_OPEN,   /* an attempt that may write was given to a worker (job, fence, token, heard) */
    STREAM_ATTACH, /* `to` gets what comes behind (epoch, seq); `ended`: nothing new will come */
    STREAM_ATTACH_AGAIN, /* the same, of a job that is forgotten: only if `to` is attached already
                          */
    STREAM_DETACH,       /* `to` gets no more */
    STREAM_CLOSE, /* the attempt ended at (epoch, seq): answer core_stream_whole when that is there
                   */
    STREAM_END,   /* the job has ended */
};

struct stream_order {
    enum stream_what what;
    bool heard; /* the attempt may have written before: it is asked for that */
    bool ended;
    uint64_t job, fence, token;
    uint64_t to; /* the first 8 bytes of a session's instance, as a big-endian number */
    uint64_t epoch, seq;
};

/* When something is due: by cron and zone, else by an interval from an anchor on. */
struct due_rule {
    struct str cron, zone; /* zone empty: UTC */
    uint64_t interval_ms, anchor_ms;
};

struct effects {
    void *ctx;
    /* Appends a record; returns its position (never 0) and its size in the journal. */
    uint64_t (*append)(void *ctx, const struct record *r, uint32_t *bytes);
    /* The records from here on, at most so many bytes, become durable together or not at all; 0
     * ends the row. Rows do not nest. */
    void (*group)(void *ctx, uint32_t bytes);
    /* The record is no longer needed. */
    void (*release)(void *ctx, uint64_t position, uint32_t bytes);
    /* Reads a record back; answered by core_loaded or core_load_failed with the same token. */
    void (*load)(void *ctx, uint64_t position, uint32_t bytes, uint64_t token);
    void (*send)(void *ctx, const struct letter *l);
    void (*event)(void *ctx, const struct event *e);
    /* Whether the trace of such an event is looked at: making one costs. NULL: it always is. */
    bool (*traces)(void *ctx, enum core_event what);
    /* 64 bits that nobody can guess who knows others of them; the same for the same fence. */
    uint64_t (*token)(void *ctx, uint64_t fence);
    void (*stream)(void *ctx, const struct stream_order *o);
    /* The first wall time strictly after `after_ms` when a rule with a cron expression is due, 0 if
     * there is none any more; -1 if the rule cannot be understood. A pure function of these. */
    int (*due)(void *ctx, const struct due_rule *rule, uint64_t after_ms, uint64_t *due_ms,
               struct err *e);
};

struct limit_config {
    uint32_t concurrency; /* 0: any number */
    uint32_t rate_count;  /* starts in rate_per_ms; 0: any number */
    uint64_t rate_per_ms;
    uint32_t burst;              /* at least 1 where there is a rate */
    uint32_t weight;             /* tenants: 1 to 1000 */
    uint32_t tenant_concurrency; /* queues: of one tenant; 0: any number; the file's alone */
};

struct core_stream_socket {
    const char *file; /* beside the role's socket; NULL: there is none */
    uint16_t port;    /* 0: not by TCP */
};

struct core_config {
    uint64_t heartbeat_ms;
    uint32_t missed_max;
    uint32_t workers_max, sessions_max; /* the second: of peers that are no workers */
    uint32_t tenants_max, queues_max, kinds_max;
    uint32_t jobs_max, windows_max;
    uint32_t interval_keys_max; /* ordering keys with a least time between two starts */
    uint32_t watches_max;
    uint32_t replies_max;                   /* items of answers kept for all peers */
    uint32_t sweeps_max;                    /* requests that are worked on piece by piece */
    uint32_t flows_max;                     /* jobs with children that are held; below 16,777,216 */
    uint32_t flow_jobs_max, flow_depth_max; /* below one root */
    uint32_t dead_groups_max; /* of dead letters, told apart by their errors; at most 1000 */
    uint32_t group_max;       /* bytes that the journal can keep together */
    uint32_t schedules_max;
    uint64_t schedules_bytes; /* of their jobs' payloads and texts, all together */
    uint32_t notes_max;
    uint32_t items_max, bytes_max, body_max, result_max, outstanding_max;
    uint64_t reply_keep_ms;
    uint64_t aging_wait_ms;
    uint32_t aging_share;
    uint64_t cancel_grace_ms, kill_grace_ms;
    uint32_t crashes_max; /* of a job that ran alone, before it is dead */
    uint64_t done_age_ms, done_bytes, dead_age_ms, dead_bytes;
    uint32_t done_jobs, dead_jobs;
    uint32_t window_jobs;    /* payloads kept in memory for each line */
    uint64_t window_bytes;   /* and in all */
    uint64_t volatile_bytes; /* payloads of jobs that are never journaled */
    /* Of a job, where neither its submission nor its kind says otherwise. */
    uint32_t priority, attempts_max;
    uint64_t backoff_ms, backoff_max_ms, timeout_ms, ttl_ms; /* ttl_ms 0: it never expires */
    uint64_t seed;                                           /* of jitter and hash tables */
    uint64_t trace_seed; /* of the traces of jobs that come with none; the log's own */
    /* What WELCOME says of streams. Borrowed. */
    struct core_stream_socket stream_worker, stream_reader;
    uint32_t stream_max; /* bytes of one stream */
};

/* Sane values for everything; the driver overwrites what its settings say. */
struct core_config core_config_default(void);

struct core *core_new(const struct core_config *config, const struct effects *effects);
void core_destroy(struct core **c);

/* ---- what is known before the start, and again at every reload
 * ----------------------------------- */
/* Of a kind only what has a value is stated: the rest is as declared by peers. */
void core_set_kind(struct core *c, const struct msg_kind_info *kind);
/* The kinds that its jobs may spawn, whether it is declared or not; no peer can say that. */
void core_set_may_spawn(struct core *c, struct str kind, const struct str_list *names);
void core_set_queue(struct core *c, struct str name, const struct limit_config *limit, bool paused);
void core_set_tenant(struct core *c, struct str name, const struct limit_config *limit);
void core_set_pool(struct core *c, struct str name, uint32_t min, uint32_t max);
/* The configuration lists it no longer: it may be forgotten when nothing needs it; a kind is what
 * was declared of it. */
void core_unlist_kind(struct core *c, struct str name);
void core_unlist_queue(struct core *c, struct str name);
void core_unlist_tenant(struct core *c, struct str name);
/* No longer one of ours to scale; shown for as long as it has workers. */
void core_forget_pool(struct core *c, struct str name);
/* Takes over what may change while the core runs: bounds of how many there are, graces, retention,
 * windows and the defaults of jobs. The rest of `config` is not looked at. */
void core_reconfigure(struct core *c, const struct core_config *config);

/* ---- start
 * --------------------------------------------------------------------------------------- */
/* Every record of the journal, in any order of the versions of a job. core_begin comes first: waits
 * are counted from its time on. */
void core_replay(struct core *c, uint64_t position, uint32_t bytes, const struct record *r);
/* After the replay: whether there is an epoch left for this start. */
int core_may_start(const struct core *c, struct err *e);
/* Ends the replay, raises the epoch and appends its record. Requests are refused with STARTING
 * until that record is durable. */
void core_start(struct core *c, struct mono now, struct wall wall);
uint64_t core_epoch(const struct core *c);
bool core_open(const struct core *c);

/* ---- turns
 * --------------------------------------------------------------------------------------- */
void core_begin(struct core *c, struct mono now, struct wall wall);
/* `drained`: every socket was empty at some moment of this turn. Only then may silence count. */
void core_end(struct core *c, bool drained);
/* When the next turn is needed at the latest, with nothing new coming in. */
struct mono core_next(const struct core *c);

/* ---- the journal
 * --------------------------------------------------------------------------------- */
/* All records at positions below `position` are durable. */
void core_durable(struct core *c, uint64_t position);
enum core_room { CORE_ROOM, CORE_RESERVE, CORE_TIGHT, CORE_FULL };
/* RESERVE: new jobs are refused, what is there goes on; what ends without a result is not kept.
 * TIGHT: purges go on, in small steps (CORE_PURGE_STEP), and nothing else writes a record by
 * itself: timers, leases and dispatch wait. FULL: purges wait as well. */
#define CORE_PURGE_STEP 16U
void core_set_room(struct core *c, enum core_room room);
/* A write failed: nothing further becomes durable in this life. */
void core_write_failed(struct core *c, const struct err *e);
/* The connection of the peer who is answered by this load; 0: none is. */
uint64_t core_load_link(const struct core *c, uint64_t token);
void core_loaded(struct core *c, uint64_t token, const struct record *r);
void core_load_failed(struct core *c, uint64_t token, const struct err *e);
/* A record of the segment that is being cleaned: appends it again if it is still needed. */
void core_clean(struct core *c, uint64_t position, const struct record *r);

/* ---- messages
 * ------------------------------------------------------------------------------------ */
/* What a key allows, beside the role of its endpoint. Borrowed. */
struct core_rights {
    const uint8_t *id;     /* 32 bytes: whose it is */
    struct str name;       /* for people */
    struct str tenant;     /* the only one; empty: all */
    struct str_list kinds; /* that a worker may run and declare; none: all */
};
/* Of whoever says what comes next, until it is said anew; NULL: what his role may. */
void core_set_rights(struct core *c, const struct core_rights *rights);
/* Peers with that key are gone: it is no longer what it was. Not within a request. */
void core_end_key(struct core *c, const uint8_t *id);
/* Opens a message. False: it was answered (or dropped) already, its items are not wanted. */
bool core_request(struct core *c, uint64_t link, enum role role, enum verb verb, uint64_t sequence);
/* One of the envelopes that stand behind another one as its children: a submit, and its payload. */
struct core_child {
    struct msg_submit m;
    struct str payload;
};
struct core_children {
    const struct core_child *at;
    uint32_t n;
};
/* The children of the next item, which names their number. */
void core_children(struct core *c, const struct core_child *at, uint32_t n);
/* One item of it: the verb's message and payload, or why it could not be read. */
void core_item(struct core *c, const void *message, struct str payload, const struct err *bad);
void core_request_end(struct core *c);
/* Says BYE to every peer: the driver is about to stop. */
void core_farewell(struct core *c, struct str why);
/* The driver refused a message as a whole: counted here, answered there. */
void core_count_malformed(struct core *c);

/* ---- the relay
 * --------------------------------------------------------------------------------- */
/* The worker of that attempt shall say its stream again from behind (epoch, seq) on. */
void core_stream_need(struct core *c, uint64_t job, uint64_t fence, uint64_t epoch, uint64_t seq);
/* All that the attempt wrote has arrived: its result, which waited for that, is taken. */
void core_stream_whole(struct core *c, uint64_t job, uint64_t fence);

/* ---- looking in
 * ---------------------------------------------------------------------------------- */
struct core_stats {
    uint64_t by_state[JOB_STATES]; /* now; index 0: accepted, not yet durable */
    uint64_t ended[JOB_STATES];    /* since the start */
    uint64_t kept, kept_dead;
    uint64_t submitted, duplicates, dispatched, stale_fences, malformed, refused;
    uint64_t requeued, loads, moved;
    uint64_t looks; /* at lines, to find what is dispatched next */
    uint32_t workers, sessions;
    /* Held now, each within its bound of the configuration. */
    uint32_t queues, kinds, tenants, pools;
    uint32_t keys, interval_keys, unique_keys;
    uint32_t watches, sweeps, reads, flows, schedules, dead_groups;
    uint32_t notes;
    uint64_t note_changes, notes_refused; /* the second: where there were notes_max */
    uint64_t reply_items;
    uint64_t body_bytes, volatile_bytes;
    uint64_t memory_bytes; /* of the job table and its index */
};
void core_stats(const struct core *c, struct core_stats *out);

/* How an attempt was over. */
enum attempt_end {
    ATTEMPT_DONE,
    ATTEMPT_FAILED,    /* and may be tried again */
    ATTEMPT_REJECTED,  /* for good */
    ATTEMPT_TIMED_OUT, /* stopped because of its time */
    ATTEMPT_CRASHED,   /* with its process */
    ATTEMPT_HELD,      /* put off, which is no failure */
    ATTEMPT_CANCELLED,
    ATTEMPT_REQUEUED, /* taken back or given back before its end */
    ATTEMPT_ENDS
};

/* Figures for monitoring, by names. What is not among the first so many is added up in the last
 * row, "other": their number is bounded whatever peers think of. */
#define CORE_KINDS_SHOWN  32U
#define CORE_QUEUES_SHOWN 128U
#define CORE_NAME_MAX     64U
struct core_kind_times {
    char kind[CORE_NAME_MAX + 1];
    /* Ready to given to a worker; that to its end, but for attempts that were REQUEUED. */
    struct histogram wait, run;
};
struct core_queue_figures {
    char queue[CORE_NAME_MAX + 1];
    uint64_t by_state[JOB_STATES]; /* as in core_stats */
    uint64_t kept_dead, oldest_ms;
};
struct core_figures {
    uint64_t attempts[ATTEMPT_ENDS];
    uint64_t schedule_runs, schedule_skipped, schedule_missed, schedule_refused;
    uint64_t workers_active, workers_draining, workers_stuck, slots, held;
    uint32_t n_kinds, n_queues;
    struct core_kind_times kinds[CORE_KINDS_SHOWN + 1];
    struct core_queue_figures queues[CORE_QUEUES_SHOWN + 1];
};
/* Walks queues, lanes and workers. Counters are those of this life and never fall. */
void core_figures(const struct core *c, struct core_figures *out);
/* Why a submission would be refused whoever makes it: too many jobs; OK: it would not. */
int core_may_submit(const struct core *c, struct err *e);
/* What the driver knows and status_info shows. */
struct core_outside {
    uint64_t journal_bytes, journal_live_bytes, commits, rss_bytes, cpu_ms;
    uint64_t unread_bytes, waiting, peers_closed;
    uint64_t streams, attached, stream_bytes, stream_events, stream_gaps, stream_refused,
        stream_gone, stream_refills;
    uint64_t connections_refused, connections_silent, connections_max;
    const char *version, *ops; /* ops: where the pages for monitoring are, or empty */
    struct str trouble;
};
void core_set_outside(struct core *c, const struct core_outside *o);

/* Walks everything and ends the process if an invariant does not hold. */
void core_check(const struct core *c);
