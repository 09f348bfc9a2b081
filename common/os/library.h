/* Libraries that are loaded when they are needed and not before: who does without does not pay for
 * them in memory or in time to start. Any thread. */
#pragma once

#include "common/base/err.h"

/* Never unloaded. NULL with IO when it is not there. */
void *library_open(const char *file, struct err *e);
/* Puts the address of `name` into the pointer at `to`; -1 with IO when the library has none. */
int library_find(void *library, const char *file, const char *name, void *to, struct err *e);
