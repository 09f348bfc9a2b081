/* The types that the files of broker/core share. Nobody else includes this.
 *
 * Vocabulary
 *   line      the jobs of one queue and one kind that are ready: what a worker chooses from
 *   class     the jobs of a line with one priority
 *   lane      the jobs of a class of one tenant, first in first out
 *   turnstile an ordering key: lets one of its jobs at a time into the lanes
 *   body      what a job is (spec and payload), in memory only within the window
 *   extra     what a job needs beyond its slot: while it runs, has a key, is watched, was tried
 *   flow      what is counted of a job's children, and of all below it; only where there are some
 *
 * All of these are items of slabs, named by 32-bit indices; 0 is none. */
#pragma once

#include "broker/core/core.h"
#include "broker/core/dead_types.h"
#include "broker/core/note_types.h"
#include "broker/core/session_types.h"
#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/base/lhash.h"
#include "common/base/rng.h"
#include "common/base/slab.h"

/* Faults that the simulator's build can turn on, to see that they are seen; here there are none. */
#ifndef MUTANT
#define MUTANT(name) 0
#endif

#define PRIORITIES 10
#define SILENCES   64 /* of earlier lives that are remembered, the last ones */

enum job_flag {
    JOB_IS_VOLATILE = 1 << 0, /* durability none: never journaled */
    JOB_IS_ASYNC = 1 << 1,    /* acknowledged when queued */
    JOB_HAS_RUN_AT = 1 << 2,  /* waits by the wall clock */
    JOB_IN_LANE = 1 << 3,
    JOB_LOADING = 1 << 4,
    JOB_ISOLATED = 1 << 5,     /* must run alone */
    JOB_STARTED = 1 << 6,      /* a slot has it */
    JOB_TIMED_OUT = 1 << 7,    /* over its time, told to stop */
    JOB_RECALLED = 1 << 8,     /* asked back from a worker's prefetch */
    JOB_TO_SEND = 1 << 9,      /* dispatched, its body not yet loaded */
    JOB_BACKOFF = 1 << 10,     /* scheduled after a failed attempt */
    JOB_SPECULATIVE = 1 << 11, /* may run before its submission is durable */
    JOB_IS_KEPT = 1 << 12,     /* ended, in retention */
    JOB_WAS_DURABLE = 1 << 13, /* its submission, whatever copy of it is being written */
    JOB_UNWANTED = 1 << 14,    /* ended without a result while space was short: to be forgotten */
    JOB_HAS_FLOW = 1 << 15,
    JOB_IS_THEN = 1 << 16, /* of its parent */
    JOB_HELD = 1 << 17,    /* a then whose turn has not come */
    JOB_APART = 1 << 18,   /* runs again outside of the flow that it was in */
    JOB_FAIL_FAST = 1 << 19,
    JOB_HAS_TRACE = 1 << 20, /* of its own: it came with one */
};
#define JOB_FLAG_BITS   21
#define JOB_ATTEMPT_MAX ((1U << (32 - JOB_FLAG_BITS)) - 1)
#define FLOWS_END       (1U << 24) /* no index of a flow is as high: a slot has 24 bits for it */
#define TENANTS_END     (1U << 28) /* and none of a tenant */

enum kept_list { KEPT_DONE, KEPT_DEAD, KEPT_UNWANTED, KEPT_LISTS };

/* 88 bytes. A plain waiting job has this and its bucket in the index, nothing else. */
struct job {
    uint64_t id;
    uint64_t body_pos;   /* of its REC_JOB; 0 if volatile */
    uint64_t state_pos;  /* of the record with its newest state */
    uint64_t since_ms;   /* monotone time it became ready; wall time of its end */
    uint64_t fence;      /* of its current or last attempt */
    uint32_t next, prev; /* of the list it is in; `next` is its timer while scheduled */
    uint32_t hash_next;
    uint32_t tenant : 28, priority : 4;
    uint32_t line;
    uint32_t body_bytes, state_bytes; /* of those records; 0 if one record is both */
    uint32_t version;
    uint32_t extra; /* in retention: its dead letter */
    uint32_t flags : JOB_FLAG_BITS, attempts : 32 - JOB_FLAG_BITS;
    uint32_t state : 8, up : 24; /* up: the flow that it is a child in; 0: none */
    uint32_t ended_s;            /* see retain.c: its end on a clock that does not step */
};

struct list {
    uint32_t head, tail, n;
};

struct failure {
    enum err_code code;
    uint32_t len;
    char text[];
};

struct body {
    struct msg_rec_spec spec;
    struct str payload;
    uint32_t bytes;
    bool waits; /* it takes a place of its line's window */
    char data[];
};

struct extra {
    struct body *body;
    struct failure *failure;
    struct history *history;
    uint64_t group; /* dead: its error's fingerprint; 0: not known yet */
    uint64_t progress, progress_total;
    uint64_t started_ms;                             /* wall */
    uint64_t began_ms;                               /* monotone; 0: in an earlier life */
    uint64_t ttl_end_ms;                             /* monotone; 0: none */
    uint64_t due_ms;                                 /* monotone, while scheduled */
    uint64_t run_at_ms;                              /* wall */
    uint64_t timeout_ms, backoff_ms, backoff_max_ms; /* from the body, at dispatch */
    uint64_t asked_ms; /* monotone: when the attempt was told to stop */
    uint32_t worker, run_next, run_prev;
    uint32_t key, ticket, unique, watchers, timer, stream;
    uint32_t quota; /* while it runs */
    uint32_t tries, attempts_max;
    uint32_t seen; /* the hello that last named it */
    uint16_t crashes;
    bool traced; /* the next is its own trace, from the body */
    struct trace trace;
};

struct limit {
    struct limit_config file, set, now; /* config, run time, the one in force */
    bool is_set;
    uint32_t running;
    uint64_t tat_us; /* when the bucket will be full again (GCRA) */
};

struct name_row {
    struct str name; /* owned */
    uint32_t hash_next;
    uint32_t refs; /* what names it by its index: lines, jobs, keys, workers, ... */
};

struct queue {
    struct name_row row;
    struct limit limit;
    bool paused, pause_is_set, file_paused, configured;
    uint32_t tenant_concurrency; /* jobs that run at a time for one tenant; 0: any number */
    uint32_t line, quota;        /* those that were asked for last: the likely next ones */
    uint32_t quotas;             /* all of it, a list */
    uint32_t lines, n_lines;     /* the same of lines */
    uint32_t shut;               /* a ring of lines that wait until it may start */
    uint32_t version, timer;
    uint64_t pos;
    uint32_t bytes;
    uint64_t by_state[JOB_STATES];
    uint64_t kept_dead, entered, ended; /* those two since the start; being run again enters */
};

struct tenant {
    struct name_row row;
    struct limit limit;
    bool configured;
    uint32_t version, timer;
    uint64_t pos;
    uint32_t bytes;
    uint32_t parked; /* lanes that wait for its limit */
};

/* What runs of one queue for one tenant. */
struct quota {
    uint32_t queue, tenant, hash_next;
    uint32_t running;
    uint32_t parked;     /* lanes that wait until fewer run */
    uint32_t next, prev; /* of its queue */
};

#define SCHEDULE_LIVE 16 /* runs of one schedule that may go on at a time */

enum overlap { OVERLAP_SKIP, OVERLAP_QUEUE, OVERLAP_REPLACE };
enum missed { MISSED_ONCE, MISSED_NONE };

/* Submits a job whenever it is due. */
struct schedule {
    struct name_row row;
    char *text; /* all that `rule` and `m` borrow, and the payload */
    uint32_t text_bytes;
    struct due_rule rule;
    struct msg_submit m;
    struct str payload;
    uint64_t jitter_ms, created_ms;
    enum overlap overlap;
    enum missed missed;
    bool paused, removed;
    uint64_t settled_ms; /* nothing that is due at or before it is run */
    uint64_t due_ms;     /* the last due time that came, whether it was run or not; 0: none */
    uint64_t next_ms;    /* the due time that is waited for; 0: there is none */
    uint64_t live[SCHEDULE_LIVE]; /* jobs of its runs that may go on, the newest last */
    uint32_t n_live;
    uint64_t last_id, runs, skipped, missed_runs, refused;
    struct failure *failure; /* why the last run was refused */
    uint32_t version, timer, bytes;
    uint64_t pos;
};

/* Whose children are offered. */
struct parent {
    uint32_t slot; /* 0: it is offered together with them */
    uint32_t kind;
    struct str tenant;
    uint8_t priority;
    bool is_volatile, by_worker; /* its attempt spawns them */
    bool traced;                 /* its trace is known: */
    struct trace trace;
    size_t beside; /* bytes of its payload or result, in one row with their records */
};

/* A job that is offered, and what is found out about it. */
struct offer {
    const struct msg_submit *m;
    struct str payload;
    const struct parent *parent; /* NULL: it is nobody's child */
    struct str schedule;         /* that submits it; empty: none */
    uint64_t due_ms;             /* for this time; 0: by hand */
    struct str tenant_name, queue_name;
    uint32_t kind, queue, tenant;
    uint64_t durability;
    uint8_t priority;
    uint32_t new_intervals; /* a child: keys with an interval that come with those before it */
};

/* What one source says of a kind. */
struct kind_part {
    struct msg_kind_info info; /* texts are owned by `text`; without its name */
    char *text;
    bool given;
};

struct kind {
    struct name_row row;
    struct msg_kind_info info;   /* in force: of either part, `file` first; texts are theirs */
    struct kind_part file, said; /* by the configuration, by a peer */
    struct str *may_spawn;       /* by the configuration; the texts lie behind the list */
    uint32_t n_may_spawn;
    bool declared;
    uint32_t version;
    uint64_t pos;
    uint32_t bytes;
    uint32_t *workers;
    uint32_t n_workers, size_workers;
    struct list isolated; /* jobs that must run alone */
    uint32_t reserved;    /* the worker that is being emptied for one of them */
    bool closed;          /* no worker was free when one was wanted last */
    uint8_t times;        /* which of core.times is its own, plus one; 0: none was needed yet */
    /* Its lines that have something to dispatch, by their highest priority, in order of turns; and
     * its place among the kinds with such lines, by the turn of the first of them. */
    uint32_t ring[PRIORITIES], place[PRIORITIES];
};

struct pool {
    struct name_row row;
    uint32_t min, max, wanted;
    bool is_set, configured;
    uint32_t version;
    uint64_t pos;
    uint32_t bytes;
    uint64_t restarts, reported;
    uint64_t alive, slots, held; /* while pools are listed: of its workers */
    char text[256];
};

struct class {
    uint32_t ring; /* the lane whose turn it is */
    uint32_t last; /* the lane that was pushed to last: the likely next one */
};

struct line {
    uint32_t queue, kind, hash_next;
    uint32_t next, prev;           /* of its queue */
    uint32_t ring_next, ring_prev; /* of its kind's ring, or of its queue's if that is shut */
    uint64_t turn;
    uint32_t jobs;   /* live and kept; a line without any is given back */
    uint32_t loaded; /* bodies in memory or on their way */
    uint16_t mask;   /* priorities with a lane in the ring */
    uint8_t top;     /* the ring that it stands in */
    bool shut;       /* its queue may not start */
    struct class class[PRIORITIES];
};

struct lane {
    uint32_t line, tenant, hash_next;
    uint32_t head, tail, n;
    uint32_t ahead;      /* the first job that may have no body */
    uint32_t credit;     /* dispatches left in this turn of the ring */
    uint32_t next, prev; /* in the ring, or among the parked ones of its tenant or quota */
    uint8_t priority;
    bool parked, by_quota;
};

struct waiter {
    uint64_t id;
    uint32_t job, ticket; /* of its extra: a job that left and came again has another */
};

struct key {
    uint64_t hash;
    struct str text; /* owned */
    uint32_t queue, tenant, hash_next;
    uint32_t holder;  /* the job that may be in a lane, run or wait to be tried again */
    uint32_t refs;    /* jobs that name it, those not yet due with them */
    uint32_t waiting; /* live ones in the heap */
    uint32_t tickets;
    struct waiter *heap; /* by id; may hold jobs that have left */
    uint32_t heap_n, heap_size;
    uint32_t timer;
    uint64_t interval_ms, last_start_ms; /* monotone */
    uint64_t release_pos;                /* the end of its last job must be durable first */
    uint32_t release_next;
    bool in_release;
    bool started; /* last_start_ms means something */
};

struct unique {
    uint64_t hash, id, pos; /* pos: of the first job's record, or of its own */
    struct str text;        /* owned */
    uint32_t queue, tenant, hash_next;
    uint32_t job; /* while it has not ended */
    uint32_t timer;
    uint64_t window_ms, end_ms; /* monotone; 0: while the job is alive */
    uint64_t own_pos;           /* of its REC_WINDOW, once it outlived the job */
    uint32_t own_bytes;
};

/* A job that streams, or must be listened to. */
struct stream {
    uint32_t job;
    uint32_t attached;        /* its watches that are attached */
    uint64_t epoch, seq;      /* where the attempt that ended left it */
    struct held_result *held; /* what the attempt reported, until the relay has all it wrote */
    uint64_t held_ms;
    uint64_t grace_ms; /* cancelled when nobody was attached for so long; 0: never */
    uint64_t alone_ms; /* since when nobody is */
    uint32_t timer;
};

/* Somebody is attached to a job whose submission is not durable yet, and the relay is not told. */
struct attach {
    uint64_t pos; /* of the submission */
    uint64_t job, to;
    uint32_t watch; /* 0: the job has ended */
    uint32_t next, prev;
};

/* What was ended in which state: done, dead, cancelled, expired. */
struct flow_count {
    uint32_t total, ended[4];
};

struct flow {
    uint64_t id; /* the job whose children it counts */
    uint64_t pos;
    uint64_t fence; /* of its attempt that spawned last */
    uint32_t bytes, version;
    uint32_t spawned; /* by that */
    uint32_t job;     /* its slot; 0: past retention */
    uint32_t up;      /* the flow that the job is a child in; 0: none */
    uint32_t refs;    /* slots of children, flows below, its own slot, its watchers */
    uint32_t then;    /* the slot of a then that is held */
    uint32_t hash_next;
    uint8_t depth;
    uint8_t end; /* the state in which the job ended; 0: it has not */
    bool fail_fast, is_then, then_open, settled;
    bool releases;      /* its then may go as soon as release_pos is durable */
    enum err_code doom; /* why all below it is cancelled; 0: it is not */
    uint64_t release_pos;
    uint32_t release_next;
    struct flow_count own;   /* children but then */
    uint32_t closed, broken; /* of those: settled; done, but their own flow doomed */
    struct flow_count below; /* what was below the settled ones; and then, once it has ended */
    struct flow_count all;   /* all of it as it is now */
    uint32_t watchers, timer;
    uint64_t told_ms; /* when its watchers were told last */
};

struct watch {
    uint32_t session, job; /* job 0: */
    uint32_t flow;         /* it watches a flow */
    uint32_t job_next, session_next, session_prev;
    bool streams;   /* attached to its stream */
    uint32_t waits; /* its entry among the uncommitted attachments */
};

enum worker_state { WORKER_ACTIVE, WORKER_DRAINING, WORKER_STUCK };

struct worker {
    uint32_t session, pool;
    uint32_t *kinds;
    uint32_t n_kinds;
    uint32_t slots, prefetch;
    uint32_t held, started;
    struct list run;   /* by extra.run_next */
    uint64_t heard_ms; /* awake time */
    uint64_t done;
    uint64_t rss_bytes;
    uint64_t stuck_ms, mismatch_ms, asked_ms;
    uint32_t alone;   /* the isolated job that it runs */
    uint32_t reserve; /* the kind for which it is being emptied, plus none */
    enum worker_state state;
    bool kill_asked;
};

enum load_what { LOAD_DISPATCH, LOAD_RETRY, LOAD_INFO_BODY, LOAD_INFO_STATE, LOAD_FINISHED };

/* A read of the journal that is under way, and what it is for. */
struct load {
    enum load_what what;
    uint64_t job;
    uint64_t link, sequence; /* of who asked */
    uint32_t sweep;
    bool payload;
    struct body *body; /* read already */
};

enum sweep_what { SWEEP_PURGE, SWEEP_RETRY };

/* A request that touches many jobs, done piece by piece so that no turn is long. */
struct sweep {
    enum sweep_what what;
    uint8_t instance[16]; /* of who asked */
    uint64_t sequence;
    uint32_t queue, tenant, next;
    uint64_t group; /* SWEEP_RETRY: only what is in it; 0: of any */
    uint32_t at;    /* slab index */
    uint64_t id_max, count, after;
    uint32_t loading;
    bool walked;
    struct err e; /* of a single job */
};

enum timer_what {
    TIMER_JOB_SCHEDULED,
    TIMER_JOB_WALL,
    TIMER_JOB_EXTRA,
    TIMER_KEY,
    TIMER_UNIQUE,
    TIMER_QUEUE,
    TIMER_TENANT,
    TIMER_STREAM,
    TIMER_FLOW,
    TIMER_SCHEDULE, /* on the wall clock */
    TIMER_NOTE,
};

struct turns {
    uint32_t *at; /* a heap of kinds; at[0] is unused */
    uint32_t n, size;
};

struct name_ops {
    bool (*unused)(const struct core *c, uint32_t i);
    /* Whether it is held only by what can do without it, and makes that do so; or NULL. */
    bool (*may_give)(const struct core *c, uint32_t i, bool dead_too);
    void (*give)(struct core *c, uint32_t i);
    void (*forget)(struct core *c, uint32_t i); /* what it has beside its row */
};

struct names {
    struct slab rows;
    struct lhash index;
    const struct name_ops *ops;
    uint32_t max;
    uint32_t last;          /* what was found last: the likely next one */
    uint32_t looked;        /* at rows for one that is not used, in this turn */
    uint32_t hand;          /* the row that was looked at last for one that is not used */
    uint32_t version_floor; /* no lower version may be written: an older record would win */
};

struct request {
    bool open;
    struct session *session;
    uint32_t session_index;
    uint64_t link, sequence;
    enum role role;
    enum verb verb;
    const struct handler *handler;
    struct reply *reply;
    struct core_children children; /* of the item that is being handled */
};

/* A time of which the journal tells nothing, by the wall clock: see retain.c. */
struct silence {
    uint64_t from_ms, to_ms;
};

struct epoch_range {
    uint64_t epoch, counter;
};

struct core {
    struct core_config config;
    const struct core_rights *rights; /* of the request; NULL: all of its role */
    struct effects fx;
    struct rng rng;
    struct mono now;
    struct wall wall;
    uint64_t awake_ms; /* monotone time without our own stalls */
    struct mono started;
    uint64_t seen_wall_ms; /* the latest that the journal tells of */
    struct silence silences[SILENCES];
    uint32_t n_silences;
    uint64_t epoch, counter, fences;
    uint64_t epoch_pos, highest_epoch;
    uint32_t epoch_bytes;
    bool starting, open, read_only, replaying, more;
    enum core_room room;
    uint64_t durable;
    uint64_t retry_next_ms;

    struct slab jobs, extras, lines, lanes, quotas, keys, uniques, sessions, watches, workers,
        loads, sweeps, streams, attaches, flows, dead_letters, dead_groups;
    struct lhash by_id, line_index, lane_index, quota_index, key_index, unique_index,
        instance_index, link_index, flow_index, dead_index;
    struct names queues, tenants, kinds, pools, schedules;
    struct timers mono_timers, wall_timers;
    struct notes notes;

    struct list pending;     /* submitted, not yet durable, in order of position */
    struct list uncommitted; /* attachments that wait for a commit, in the order they came */
    struct list orphans;     /* running before the restart, worker not yet heard; by run_next */
    uint64_t orphans_end_ms;
    struct list kept[KEPT_LISTS]; /* ended; oldest first */
    uint64_t kept_bytes[KEPT_LISTS];
    struct turns turns[PRIORITIES];      /* kinds with something to dispatch and a free worker */
    uint64_t turn;                       /* the last one that was given */
    uint32_t release_head, release_tail; /* keys that wait for a commit */
    uint32_t release_flows, release_flows_tail; /* flows whose then waits for a commit */
    uint32_t doom_at, doom_end; /* slots where jobs of doomed flows are looked for; 0: none */
    uint32_t doom_again, doom_again_end; /* and those after them */
    uint64_t schedule_bytes;
    uint64_t schedule_work; /* of this turn, as bytes that it put; see schedule.c */
    uint32_t groups;        /* how deep we are in what is one for the journal */
    uint32_t sweep_head, hello_mark;
    struct reply *oldest_reply, *newest_reply; /* of those with items */
    uint64_t reply_items;                      /* of all peers */
    uint32_t interval_keys;
    uint64_t pass, aged_pass;
    uint64_t aged_look_ms; /* until then nobody is looked for who has waited long */
    uint32_t aged_hand;    /* the line that was looked at last for that */
    uint32_t aged_in_vain; /* lines looked at since somebody was found */
    uint32_t since_aged;   /* dispatches since one went to the class that waited longest */
    bool chose_aged;
    uint64_t check_ms;
    uint32_t list_lookups; /* in this turn */
    uint32_t nameless;     /* a queue without a name: of ended jobs whose queue's was given back */

    struct request request;
    struct epoch_range *epochs;
    uint32_t n_epochs;
    struct core_stats stats;
    uint64_t attempts[ATTEMPT_ENDS];
    struct core_kind_times times[CORE_KINDS_SHOWN + 1]; /* they outlive their kinds */
    uint32_t n_times;
    uint64_t schedule_runs, schedule_skipped, schedule_missed, schedule_refused;
    struct core_outside outside;
};
