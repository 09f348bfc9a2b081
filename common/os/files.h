/* Open files: whether as many as a program needs can be opened, known before it begins.
 *
 * Libraries abort the process, or turn in circles, where they are out of them. Any thread. */
#pragma once

#include "common/base/err.h"

/* Makes sure that `n` more files can be opened, by raising the limit as far as that takes. -1 with
 * IO where it may not be raised so far. */
int files_need(uint64_t n, struct err *e);
