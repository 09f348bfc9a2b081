/* quern-worker: runs the jobs that the broker gives it. */
#include "common/log/log.h"
#include "workers/diagnostic/diagnostic.h"
#include "workers/run.h"

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
        status = (int)worker_run(&o, "quern-worker", kinds, KINDS, &clean, &e);
        if (e.code)
            log_event(LOG_program_failed, LOG_WHY(&e));
        log_event(LOG_worker_ended, log_i64("status", status));
    }
    if (!clean)
        _exit(status); /* jobs still run that did not obey */
    worker_options_release(&o);
    return status;
}
