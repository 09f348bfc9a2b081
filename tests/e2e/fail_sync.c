/* Loaded in front of the C library of a program under test: a disk that fails or keeps one waiting,
 * for as long as there is a file that says so. $QUERN_TEST_SYNC names it: beside it, PATH.fail
 * makes every fdatasync fail, PATH.hold makes it wait until that file is gone. */
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool told(const char *what) {
    char path[512];
    const char *base = getenv("QUERN_TEST_SYNC");
    if (!base)
        return false;
    snprintf(path, sizeof path, "%s.%s", base, what);
    return access(path, F_OK) == 0;
}

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): the other one is reserved */
int fdatasync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    while (told("hold"))
        poll(NULL, 0, 2);
    if (told("fail")) {
        errno = EIO;
        return -1;
    }
    return real(fd);
}
