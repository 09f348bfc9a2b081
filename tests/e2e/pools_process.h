/* A quern-pools for a test's broker, and the worker processes that it starts. Fails the test if it
 * cannot do what it says; ends only what it started, however indirectly. */
#pragma once

#include "common/os/child.h"
#include "tests/e2e/broker_process.h"

#include <stddef.h>
#include <sys/types.h>

#define POOLS_WORKERS_MAX 16

struct pools {
    struct child child; /* pid 0: does not run */
};

/* From now on what a killed quern-pools leaves behind is this process's child. */
void pools_adopt_orphans(void);
/* Starts it; does not wait. Its standard error goes to the broker's log. */
void pools_start(struct pools *p, const struct broker *b);
/* The worker processes that it has just now. */
size_t pools_workers(const struct pools *p, pid_t out[POOLS_WORKERS_MAX]);
/* SIGKILL to it alone, and gone; its workers are told to leave by the kernel. */
void pools_kill(struct pools *p);
/* SIGKILL to it and all its workers. */
void pools_kill_all(struct pools *p);
/* SIGTERM; it must exit with 0. */
void pools_stop(struct pools *p);
/* Takes the ends of orphans that have ended. */
void pools_reap_orphans(const struct pools *p, const struct broker *b);
/* Ends whatever is left of it. */
void pools_remove(struct pools *p, const struct broker *b);
