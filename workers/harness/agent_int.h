/* What the files of the agent share. */
#pragma once

#include "workers/harness/agent.h"

struct row {
    uint32_t head, tail, n;
};

struct agent {
    struct agent_config config;
    struct agent_effects fx;
    struct slab attempts;
    struct lhash index; /* by job: all but those that are gone */
    struct row rows[4]; /* by enum attempt_state */
    uint32_t inline_running;
    size_t unacked_bytes;
    uint64_t done;
    uint64_t lease_ms;
    bool connected; /* what is said arrives */
    bool greeting;  /* a HELLO is not answered yet */
    bool draining, own_drain;
    bool filling;
    uint64_t *running_pairs, *unacked_pairs; /* of the last HELLO */
};

static inline struct attempt *at(const struct agent *a, uint32_t i) {
    return slab_at(&a->attempts, i);
}

/* That attempt, unless it is gone; or NULL. */
struct attempt *agent_find(const struct agent *a, uint64_t job, uint64_t fence);

/* ---- agent_spawn.c -------------------------------------------------------------------------- */
/* Says what attempts wait for: `all`, or what stood unanswered for a lease. */
void agent_spawns_say(struct agent *a, struct mono now, bool all);
/* It waits no longer. */
void agent_spawn_over(struct attempt *t);

/* ---- agent_note.c --------------------------------------------------------------------------- */
/* It waits no longer. */
void agent_note_over(struct attempt *t);
/* Answers those that have waited for a lease; `all`: the connection is gone. */
void agent_notes_late(struct agent *a, struct mono now, bool all);
void agent_note_refused(struct agent *a, uint64_t sequence, const struct msg_error *m);
