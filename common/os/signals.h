/* The signals of a program that serves: SIGTERM and SIGINT to end, SIGHUP to read its settings
 * again, all as something to read among the other things that it waits for. */
#pragma once

#include "common/base/err.h"

/* Blocks the three for this thread and those that it starts from now on, ignores SIGPIPE, and gives
 * a descriptor for signalfd_siginfo that does not block. The caller closes it. */
int signals_open(int *fd, struct err *e);
