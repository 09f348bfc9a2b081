#include "common/base/check.h"

#include <stdio.h>
#include <stdlib.h>

void check_failed(const char *file, int line, const char *func, const char *what) {
    fprintf(stderr, "quern: bug: %s:%d: %s: %s\n", file, line, func, what);
    abort();
}
