/* The environment that another process of this host was started with. */
#pragma once

#include "common/base/buf.h"

#define PROC_ENV_MAX (256U << 10)

/* Replaces what is in `out` by "A=1\0B=2\0". -1 if it may not be read or is larger than `out` may
 * be. */
int proc_env_read(int pid, struct buf *out);
/* The value of a variable; empty if it is not there. */
struct str proc_env_value(struct str environment, const char *name);
