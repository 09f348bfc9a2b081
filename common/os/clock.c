#include "common/os/clock.h"

#include "common/base/check.h"

#include <errno.h>
#include <sys/random.h>
#include <time.h>

static uint64_t read_ns(clockid_t which) {
    struct timespec t;
    int rc = clock_gettime(which, &t);
    ASSERT(rc == 0);
    return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

struct mono clock_mono(void) {
    return (struct mono){read_ns(CLOCK_MONOTONIC) / 1000000};
}

struct wall clock_wall(void) {
    return (struct wall){read_ns(CLOCK_REALTIME) / 1000000};
}

uint64_t clock_mono_ns(void) {
    return read_ns(CLOCK_MONOTONIC);
}

void random_bytes(void *to, size_t n) {
    char *p = to;
    while (n) {
        ssize_t got = getrandom(p, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        ASSERT(got > 0);
        p += got;
        n -= (size_t)got;
    }
}
