/* The core among peers, a clock and a journal that a test plays: shared by the tests of the core.
 *
 * A turn is world_begin, what is said, world_end; the invariants are checked at its end. What the
 * core sends is seen in `letters`, in order. Link 1 is an operator. */
#pragma once

#include "broker/core/core.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define LETTERS 200000

struct seen {
    uint64_t link, after, sequence;
    enum verb verb;
    uint64_t job, fence, code, id, next;
    uint64_t token, epoch, seq, error;
    uint32_t orders; /* of the relay, before it */
    bool duplicate, flow;
    uint64_t state, count, holder;
    char text[64];   /* of a reason; the name of a note, */
    char reason[32]; /* or the name of a pool, whose processes are `state`; its value: `id` is its
                        version, behind `holder`, and `state` the time that is left */
};

/* A job's record as a restart reads it. */
struct kept_record {
    uint64_t pos;
    struct msg_rec_state state;
    struct msg_rec_spec spec;
    bool has_spec;
    char text[520], history[2200], trace[65];
};

struct world {
    struct core *core;
    uint64_t now, wall, pos;
    struct seen letters[LETTERS];
    uint32_t n;
    uint64_t sequence;
    uint64_t loads[8192], load_pos[8192];
    uint32_t n_loads;
    struct str unique; /* of what is read back */
    struct core_config config;
    uint32_t records; /* appended and not released */
    uint64_t version; /* of the last record of a queue */
    struct stream_order orders[256];
    uint32_t n_orders;
    struct kept_record journal[256]; /* of jobs, where `journaled` */
    uint32_t n_journal;
    struct msg_rec_flow flows[64]; /* likewise, of flows */
    uint64_t flow_pos[64];
    uint32_t n_flows;
    bool journaled;
    struct msg_kind_info kinds[4]; /* as configured; the first is k */
    uint32_t n_kinds;
    char result[64]; /* of the last FINISHED */
    uint32_t events[CORE_EVENTS];
    struct told {
        uint64_t job, fence;
        char tenant[65], trace[TRACE_LEN + 1];
    } told[CORE_EVENTS];       /* the last event of each */
    char trace[65], given[65]; /* of the last JOB_INFO, DISPATCH */
    uint32_t appended[REC_TYPES];
    struct msg_rec_kind kind;          /* the last one that was written, without its texts */
    char text[160];                    /* of the last refusal */
    struct msg_queue_info queue;       /* the last one that was listed, without its texts */
    struct msg_status_info status;     /* the last one; its texts are not kept */
    char tenant[65];                   /* of that */
    struct msg_dispatch dispatch;      /* the last one, without its texts */
    struct msg_flow_info flow;         /* likewise */
    struct msg_job_info info;          /* likewise */
    struct msg_schedule_info schedule; /* likewise */
    bool has_flow;                     /* the last FINISHED says that jobs are below */
    char history[2200];                /* of the last JOB_INFO */
    struct msg_dead_info dead[64];     /* the last listing; texts are in `dead_text` */
    char dead_text[64][200];
    uint32_t n_dead;
};

/* A core of `config`, or of the usual one, before its start. */
void world_new(struct world *w);
void world_set_kind(struct world *w, struct msg_kind_info kind);
/* Ends the core and begins another one, which reads back what was appended (`journaled`). */
void world_restart(struct world *w);
void world_give_loads(struct world *w);
void world_begin(struct world *w, uint64_t later_ms);
void world_end(struct world *w);
void world_turn(struct world *w, uint64_t later_ms);
void world_say(struct world *w, uint64_t link, enum role role, enum verb verb, const void *m);
void world_hello(struct world *w, uint64_t link, enum role role, uint64_t slots);
struct seen world_last(const struct world *w, enum verb verb);
uint32_t world_count(const struct world *w, enum verb verb);
struct core_stats world_stats(const struct world *w);
uint32_t orders_count(const struct world *w, enum stream_what what);
uint64_t world_offer(struct world *w, struct msg_submit m);
void world_result(struct world *w, uint64_t link, uint64_t job, uint64_t fence, uint64_t outcome);
int world_set_up(void **state);
int world_tear_down(void **state);
void world_add_worker(struct world *w, uint64_t link, uint64_t slots);

/* ---- in turns of their own; what they append is not durable yet, a submission is ---- */
void world_ask(struct world *w, uint64_t link, enum role role, enum verb verb, const void *m);
uint64_t world_submit(struct world *w, struct msg_submit m);
void world_submit_many(struct world *w, struct msg_submit m, uint32_t n);
void world_report(struct world *w, uint64_t link, uint64_t job, uint64_t fence, uint64_t outcome);
/* The operator's. */
void world_cancel(struct world *w, uint64_t job);
void world_watch(struct world *w, uint64_t link, enum role role, uint64_t job);
