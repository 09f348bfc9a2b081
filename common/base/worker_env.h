/* What a supervisor and the worker processes that it starts agree upon: the environment that it
 * gives them, and the statuses that they end with.
 *
 * The environment is for workers in any language; what the command line says wins over it, and it
 * wins over the configuration file. QUERN_DATA or QUERN_BROKER say where the broker is, and
 * QUERN_KEY_FILE with which key it is reached, if with one (common/wire/keys.h). */
#pragma once

/* 32 hex digits: the instance for HELLO. The supervisor names it in WORKER_DIED. */
#define WORKER_ENV_INSTANCE   "QUERN_WORKER_INSTANCE"
#define WORKER_ENV_POOL       "QUERN_WORKER_POOL"
#define WORKER_ENV_KINDS      "QUERN_WORKER_KINDS" /* a,b,c; all that it knows if not set */
#define WORKER_ENV_SLOTS      "QUERN_WORKER_SLOTS"
#define WORKER_ENV_PREFETCH   "QUERN_WORKER_PREFETCH"
#define WORKER_ENV_MEMORY_MAX "QUERN_WORKER_MEMORY_MAX" /* bytes; 0 is no ceiling */

enum worker_exit {
    WORKER_EXIT_DRAINED = 0, /* asked to leave, and left nothing behind */
    WORKER_EXIT_STOPPED = 1, /* told to stop at once; its jobs were given back */
    WORKER_EXIT_USAGE = 2,   /* wrong usage or configuration: the same will happen again */
    WORKER_EXIT_REFUSED = 3, /* the broker will not have it: the same will happen again */
    /* Left on its own account (memory ceiling, recycle_jobs, recycle_age), nothing left behind:
     * start another one now. */
    WORKER_EXIT_RECYCLE = 75,
    /* Asked to leave while the broker was gone: results may have been left behind. */
    WORKER_EXIT_UNHEARD = 76,
    /* Over its memory ceiling before it took a job: so will the next one be, and it can wait. */
    WORKER_EXIT_TOO_LARGE = 77,
};
