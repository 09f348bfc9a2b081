/* What the dispatcher's files share. */
#pragma once

#include "broker/configure.h"
#include "broker/data_dir.h"
#include "broker/dispatcher.h"
#include "broker/effects.h"
#include "broker/ops.h"
#include "broker/receive.h"
#include "common/wire/spin.h"

/* The journal's trouble with its files, as it was logged. */
struct upkeep_told {
    enum err_code code; /* OK: none, or its end was told */
    uint64_t count;     /* of all troubles until then */
    uint64_t pause_ms;  /* until it is told again; longer each time */
    struct mono due;
};

struct dispatcher {
    const char *config_path, *version;
    int ready_fd;
    struct settings *settings;
    struct data_dir dir;
    struct core_config config;

    struct core *core;
    struct journal *journal;
    struct keyring *keyring; /* NULL: TCP without keys */
    struct peers *peers;
    struct outbox *outbox;
    struct relay_thread *relay;
    struct ops *ops; /* NULL: nowhere */
    struct effects_context effects;
    struct receiver receiver;
    int signals; /* signalfd */

    uint64_t durable;
    bool durable_news; /* the core was not told yet */
    bool failed;       /* the journal is READ_ONLY, and everybody knows */
    enum journal_room room;

    enum role first;       /* whose socket comes first in the next turn */
    uint32_t taken, items; /* messages of this turn, and what was in them */
    uint64_t inline_us;    /* what a commit on this thread takes, smoothed */
    bool again;            /* the next turn must not wait */
    bool begun;            /* pid file and sockets are there */
    bool stop;
    struct mono due;        /* when this turn should have begun at the latest */
    struct spin spin;       /* hears what is more than a sign of life */
    uint64_t hold_until_ns; /* a commit was put off until then; 0: none was */
    uint32_t hold_credit, hold_skipped;

    struct mono figures_due, began;
    struct core_outside outside;
    struct relay_stats relay_told;
    uint64_t refused, told_refused;         /* connections: seen, and told in the log */
    struct mono refused_due, refused_until; /* the next line; trouble is told */
    struct peers_stats told;                /* of dropped letters */
    struct upkeep_told upkeep;
    char trouble[ERR_TEXT_MAX];
};

/* start.c */
int dispatcher_start(struct dispatcher *d, const struct dispatcher_options *o, struct err *e);
void dispatcher_close(struct dispatcher *d);
/* figures.c. `drained`: nothing that came waits to be read. */
#define FIGURES_MS 1000
void figures_refresh(struct dispatcher *d, struct mono now, bool drained);
/* Answers the pages for monitoring, if they ask. `starting`: the core is not to be looked at yet.
 */
void figures_tell_ops(struct dispatcher *d, struct mono now, bool starting);
/* dispatcher.c: for start.c */
void dispatcher_hear(struct dispatcher *d);
void dispatcher_hear_signals(struct dispatcher *d);
