/* quern-worker: runs the jobs that the broker gives it. */
#include "common/log/log.h"
#include "workers/diagnostic/diagnostic.h"
#include "workers/harness/host.h"
#include "workers/options.h"

#include <stdio.h>
#include <unistd.h>

#define SLOT   false
#define INLINE true
static const struct worker_kind kinds[] = {
#define KIND(name_, run_, where, speculative_, streams_, timeout, attempts, backoff, schema_)      \
    {.name = #name_,                                                                               \
     .run = (run_),                                                                                \
     .is_inline = (where),                                                                         \
     .speculative = (speculative_),                                                                \
     .streams = (streams_),                                                                        \
     .timeout_ms = (timeout),                                                                      \
     .attempts_max = (attempts),                                                                   \
     .backoff_ms = (backoff),                                                                      \
     .schema = (schema_)},
#include "workers/kinds.def"
#undef KIND
};
#define KINDS (sizeof kinds / sizeof *kinds)

/* The kinds named in "a,b", or all. */
static int choose_kinds(struct str names, const struct worker_kind **chosen, size_t *n,
                        struct err *e) {
    bool wanted[KINDS] = {false};
    for (size_t at = 0; at < names.len;) {
        size_t end = at, k = 0;
        while (end < names.len && names.at[end] != ',')
            end++;
        struct str name = str_trim(str_make(names.at + at, end - at));
        while (k < KINDS && !str_eq(name, str_of(kinds[k].name)))
            k++;
        if (k == KINDS)
            return err_set(e, ERR_USAGE, "kinds: this worker has no kind \"" STR_FMT "\"",
                           STR_ARG(name));
        wanted[k] = true;
        at = end + 1;
    }
    *n = 0;
    for (size_t k = 0; k < KINDS; k++)
        if (wanted[k] || !names.len)
            chosen[(*n)++] = &kinds[k];
    return 0;
}

static int run(const struct worker_options *o, bool *clean, struct err *e) {
    const struct worker_kind *chosen[KINDS];
    struct host_config config = {.endpoint = o->endpoint,
                                 .pool = o->pool,
                                 .kinds = {.at = chosen},
                                 .slots = (uint32_t)o->slots,
                                 .prefetch = (uint32_t)o->prefetch,
                                 .memory_max = o->memory_max,
                                 .recycle_jobs = o->recycle_jobs,
                                 .recycle_age_ms = o->recycle_age_ms};
    memcpy(config.instance, o->instance, sizeof config.instance);
    log_set((enum log_level)o->settings->log.level, (enum log_format)o->settings->log.format);
    if (choose_kinds(o->kinds, chosen, &config.kinds.n, e) < 0)
        return WORKER_EXIT_USAGE;
    log_event(LOG_worker_starting, log_text("broker", o->endpoint), log_str("pool", o->pool),
              log_u64("slots", o->slots), log_u64("prefetch", o->prefetch));
    return (int)host_run(&config, clean, e);
}

int main(int argc, char **argv) {
    struct worker_options o;
    struct err e = {0};
    bool clean = true;
    int status = WORKER_EXIT_USAGE;
    log_open("quern-worker", STDERR_FILENO);
    host_block_signals();
    if (worker_options_read(&o, argc, argv, environ, &e) < 0) {
        fprintf(stderr, "quern-worker: %s; --help says more\n", e.text);
    } else if (o.help) {
        fputs(worker_options_help(), stdout);
        status = 0;
    } else if (o.version) {
        puts("quern-worker " QUERN_VERSION);
        status = 0;
    } else {
        status = run(&o, &clean, &e);
        if (e.code)
            log_event(LOG_program_failed, LOG_WHY(&e));
        log_event(LOG_worker_ended, log_i64("status", status));
    }
    if (!clean)
        _exit(status); /* jobs still run that did not obey */
    worker_options_release(&o);
    return status;
}
