/* From what a worker was told to one that runs: which of its kinds, the log, the host. */
#pragma once

#include "workers/harness/host.h"
#include "workers/options.h"

/* Runs the kinds that `o` names, of those that the program has, until it leaves; as host_run.
 * `name`: of the program, for people. */
enum worker_exit worker_run(const struct worker_options *o, const char *name,
                            const struct worker_kind *rows, size_t n, bool *clean, struct err *e);
