/* The supervisor of a host's worker processes.
 *
 * It keeps as many processes of each pool as the broker plans, tells the broker what runs and what
 * has ended (section 9 of docs/protocol.md), and ends them when it ends itself. Without a broker
 * it keeps what it has. The kernel sends SIGTERM to every process when this one ends, however that
 * ends, so that a killed supervisor leaves workers that finish and go, and no others.
 *
 * One thread. */
#pragma once

#include "common/config/handed.h"
#include "common/wire/client.h"
#include "workers/pools/process.h"
#include "workers/pools/seats.h"

#include <limits.h>

#define POOL_TEXT_MAX 256

struct pool {
    struct str name;
    struct settings_pool settings; /* as at the start, but for what is live */
    char **argv;
    char **told; /* environment */
    struct seats seats;
    bool planned;      /* by the broker */
    uint64_t restarts; /* ends unasked since our start */
    uint32_t replaced; /* processes that gave their seat up and still run */
    char trouble[POOL_TEXT_MAX];
    struct mono trouble_until; /* forgotten then, if all is well */
};

struct supervisor_options {
    const char *data;       /* NULL if `broker` is given */
    const char *broker;     /* operator endpoint, or NULL */
    struct key_places key;  /* our own */
    const char *worker_key; /* the file of that which workers are given, or NULL */
    const char *workers;    /* what workers are told to connect to, or NULL: the data folder */
    const char *config;     /* or NULL */
    struct handed *handed;  /* what workers read of it */
    struct settings *settings;
};

struct supervisor {
    const struct supervisor_options *options;
    struct settings *settings; /* as last loaded */
    struct arena *arena;
    char own_worker[PATH_MAX];
    char **envp;        /* ours, without what workers are told */
    struct pool *pools; /* sorted by name */
    size_t n_pools;
    struct process *processes;
    uint32_t n_processes;
    struct client *client;
    struct drain_asked *drains; /* not answered yet */
    struct orphan *orphans;
    bool met;              /* the broker was reached once */
    const char *handshake; /* why it fails, as it was told */
    struct rng rng;
    int signals;
    unsigned stops;
    struct mono plan_wait; /* until then the broker may yet say how many to start */
    struct mono report_at, look_at;
    struct mono stopped; /* when we were told to stop */
};

void supervisor_set_log(const struct settings *s);
/* Runs until it is told to stop and all processes have ended. Takes the settings. */
int supervisor_run(const struct supervisor_options *o, struct err *e);

/* ---- pools.c -------------------------------------------------------------------------------- */
int pools_setup(struct supervisor *s, struct err *e);
void pools_start_due(struct supervisor *s, struct mono now);
/* A process has ended: tells the broker, decides on its successor, destroys it. */
void pools_ended(struct supervisor *s, struct process *p, const struct child_end *end);
struct pool *pools_find(struct supervisor *s, struct str name);
struct process *pools_process(struct supervisor *s, const void *instance);
/* Replaces processes that are too large or too old, where the worker does not see to it itself. */
void pools_look(struct supervisor *s, struct mono now);
/* Takes what is live of new settings. */
void pools_reload(struct supervisor *s);
void pools_done(struct supervisor *s);

/* ---- report.c: the conversation with the broker --------------------------------------------- */
int report_open(struct supervisor *s, struct err *e);
void report_close(struct supervisor *s);
/* What runs of each pool. */
/* Logs why the broker's handshake fails, once. */
void report_handshake(struct supervisor *s);
void report_pools(struct supervisor *s);
void report_death(struct supervisor *s, const struct process *p, bool crashed, const char *how);
/* Asks the broker to let it finish; SIGTERM if the broker does not know it. */
void report_drain(struct supervisor *s, struct process *p);

/* ---- orphans.c: what an earlier supervisor left behind -------------------------------------- */
void orphans_find(struct supervisor *s);
/* Asks the broker to let them finish; forgets those that have ended. */
void orphans_drain(struct supervisor *s);
/* False if it is none of them. */
bool orphans_kill(struct supervisor *s, const char *hex);
/* Reports workers of this host that are gone and not missed yet. */
void orphans_report_gone(struct supervisor *s);
void orphans_done(struct supervisor *s);
