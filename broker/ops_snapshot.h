/* What the dispatcher tells the thread of the pages for monitoring: figures of one moment, whole.
 */
#pragma once

#include "broker/core/core.h"
#include "broker/journal/journal.h"
#include "broker/relay/relay.h"

enum ops_state {
    OPS_STARTING,  /* the journal is being read: nothing below is known yet */
    OPS_SERVING,   /* jobs are accepted */
    OPS_FULL,      /* no new ones; what is there goes on */
    OPS_READ_ONLY, /* nothing is accepted */
    OPS_STATES
};

struct ops_snapshot {
    enum ops_state state;
    char why[ERR_TEXT_MAX];     /* it is not SERVING */
    char trouble[ERR_TEXT_MAX]; /* as the status has it */
    const char *version;        /* lives as long as the program */
    uint64_t epoch, uptime_ms, dropped, keys_refused;
    struct core_stats core;
    struct core_figures figures;
    struct core_outside outside; /* its texts mean nothing here */
    struct journal_stats journal;
    struct relay_stats relay;
};
