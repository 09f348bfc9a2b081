/* What a worker was told: by its command line or its code, then the environment, then the
 * configuration file. */
#pragma once

#include "common/config/settings.h"
#include "common/log/log.h"
#include "common/wire/link.h"

struct worker_options {
    bool help, version;
    char endpoint[LINK_ENDPOINT_MAX];
    struct key_file key;
    bool has_key;
    uint8_t instance[LINK_INSTANCE_LEN];
    struct str pool;  /* empty: none */
    struct str kinds; /* separated by commas; empty: all */
    uint64_t slots, prefetch, memory_max, recycle_jobs, recycle_age_ms;
    enum log_level log_level;
    enum log_format log_format;
    struct settings *settings; /* owns what the texts point to, if they came from it */
    struct arena *arena;       /* likewise */
};

/* The words of what was told, stronger ones in place of weaker ones; NULL: nothing was. */
struct worker_given {
    struct key_places key;
    const char *data, *broker, *config, *pool, *kinds, *slots, *prefetch, *memory_max, *instance;
};

struct worker_given worker_given_by(char *const *envp);
/* 0, or -1 with USAGE or BAD_CONFIG. To be released in both cases. `g` must stay as it is as long
 * as the options are used. */
int worker_options_resolve(struct worker_options *o, const struct worker_given *g,
                           char *const *envp, struct err *e);
/* The same from a command line and an environment. */
int worker_options_read(struct worker_options *o, int argc, char *const *argv, char *const *envp,
                        struct err *e);
void worker_options_release(struct worker_options *o);
const char *worker_options_help(void);
