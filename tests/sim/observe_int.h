/* What the observers share: a row a job, and what they remember of dispatches. Only observe*.c. */
#pragma once

#include "tests/sim/sim.h"

#define ROWS_MAX 4096
#define LEASE_MS 600
#define CRASHES  3
#define STREAKS  64
#define REPORTS  8

struct row {
    uint64_t id;
    struct plan plan;
    char key[16], unique[16], queue[16], tenant[16];
    uint64_t window_ms, interval_ms, epoch, body_pos, made_at, steps;
    uint64_t orphan_fence, state_pos, fence, ended_pos, ended_at, before_pos;
    uint64_t state, ended_state, before_state, attempts_max;
    uint64_t durability;
    struct report {
        uint64_t fence, pos;
    } reports[REPORTS]; /* results that are recorded, the newest first */
    uint64_t parent, due_ms;
    char schedule[8];
    uint64_t group, before_group; /* of its end as dead */
    bool is_then, fail_fast, retry_asked;
    bool delayed, speculative, streams, acked, told, revived, orphan, dispatched;
};

struct done_row {
    uint64_t pos;
    uint32_t row;
};

struct last_start {
    char queue[16], tenant[16], key[16];
    uint64_t at;
};

struct streak {
    uint32_t queue, kind, tenant;
    int priority;
    uint32_t n;
};

struct observer {
    struct row rows[ROWS_MAX];
    uint32_t n;
    struct done_row dones[ROWS_MAX];
    uint32_t dones_n;
    struct last_start starts[64];
    uint32_t starts_n;
    struct streak streaks[STREAKS];
    uint32_t streaks_n;
    uint64_t fence_max, slow_tat_us;
    uint64_t steps, froze_at, slept_ms;
    int64_t wall_step;
    const struct msg_result *result; /* being worked on */
    uint64_t whole_job, whole_fence; /* the relay says so just now */
    uint64_t starved;
    uint32_t starved_dispatches;
    uint32_t dead_told; /* in the listing that is being sent */
};

/* observe_dispatch.c: a job was given to a worker; was it its turn, and within all bounds? */
void see_dispatch(struct sim *s, struct row *r, const struct msg_rec_state *m);
/* observe_dead.c */
void see_dead_info(struct sim *s, const struct msg_dead_info *m);
/* flow.c */
void see_flow_dispatch(struct sim *s, const struct row *r);
void see_child(struct sim *s, const struct row *r);
/* schedule.c */
void see_run(struct sim *s, const struct row *r);
bool in_key_order(const struct row *r);
