/* The host thread of a worker process: link, heartbeats, hand-over to the slots.
 *
 * It gives each attempt to a slot (or runs it itself where the kind is inline), gathers what has
 * ended, and leaves when it was told to: by DRAIN_WORKER or a first SIGTERM or SIGINT it finishes
 * what runs; by a second signal it stops at once, but if both are of a parent that died. It leaves
 * on its own account when it has grown over `memory_max`, has done `recycle_jobs`, or is older than
 * `recycle_age_ms`.
 *
 * What decides all that is agent.h and link_core.h, which are pure; here are clock, sockets,
 * signals and threads. */
#pragma once

#include "common/base/worker_env.h"
#include "common/wire/link.h"
#include "workers/harness/kinds.h"

struct host_config {
    const char *endpoint;       /* of link_endpoint */
    const struct key_file *key; /* as link_config has it */
    const char *name;           /* for people */
    uint8_t instance[LINK_INSTANCE_LEN];
    struct str pool; /* may be empty */
    struct worker_kinds kinds;
    uint32_t slots, prefetch;
    uint64_t memory_max, recycle_jobs, recycle_age_ms; /* 0: none */
};

/* Blocks SIGTERM and SIGINT for this thread and those that it starts; to be called first. */
void host_block_signals(void);
/* Runs until it leaves. `*clean`: no job runs any more; else the process must end by _exit. */
enum worker_exit host_run(const struct host_config *config, bool *clean, struct err *e);
