/* What quern-worker was told: command line, then environment, then configuration file. */
#pragma once

#include "common/config/settings.h"
#include "common/wire/link.h"

struct worker_options {
    bool help, version;
    char endpoint[LINK_ENDPOINT_MAX];
    uint8_t instance[LINK_INSTANCE_LEN];
    struct str pool;  /* empty: none */
    struct str kinds; /* separated by commas; empty: all */
    uint64_t slots, prefetch, memory_max, recycle_jobs, recycle_age_ms;
    struct settings *settings; /* owns what the texts point to, if they came from it */
    struct arena *arena;       /* likewise */
};

/* 0, or -1 with USAGE or BAD_CONFIG. To be released in both cases. */
int worker_options_read(struct worker_options *o, int argc, char *const *argv, char *const *envp,
                        struct err *e);
void worker_options_release(struct worker_options *o);
const char *worker_options_help(void);
