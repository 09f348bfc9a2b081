#include "common/os/files.h"

#include "common/base/check.h"

#include <fcntl.h>
#include <sys/resource.h>

/* The kernel gives the lowest free number: the limit must be above the n-th of those. */
static rlim_t limit_for(uint64_t n) {
    rlim_t fd = 0;
    for (uint64_t found = 0; found < n; fd++)
        found += fcntl((int)fd, F_GETFD) < 0;
    return fd;
}

int files_need(uint64_t n, struct err *e) {
    struct rlimit l;
    int rc = getrlimit(RLIMIT_NOFILE, &l);
    ASSERT(rc == 0);
    rlim_t needed = limit_for(n), was = l.rlim_cur;
    if (needed <= was)
        return 0;
    l.rlim_cur = needed;
    if (needed <= l.rlim_max && setrlimit(RLIMIT_NOFILE, &l) == 0)
        return 0;
    return err_set(e, ERR_IO,
                   "the limit of open files is %llu, at least %llu are needed (ulimit -n)",
                   (unsigned long long)was, (unsigned long long)needed);
}
