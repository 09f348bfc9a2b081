/* Loaded in front of the C library of a program under test: a disk that fails or keeps one waiting,
 * for as long as there is a file that says so. $QUERN_TEST_SYNC names it: beside it, PATH.fail
 * makes every fdatasync of a segment fail, PATH.hold makes it wait until that file is gone, and
 * PATH.fail_spares makes those of spares fail. Two kinds, for the journal makes spares whenever it
 * finds time: what fails would else be chance. */
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool told(const char *what) {
    char path[512];
    const char *base = getenv("QUERN_TEST_SYNC");
    if (!base)
        return false;
    snprintf(path, sizeof path, "%s.%s", base, what);
    return access(path, F_OK) == 0;
}

static bool is_spare(int fd) {
    char number[64], target[4096];
    snprintf(number, sizeof number, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(number, target, sizeof target - 1);
    target[n > 0 ? n : 0] = '\0';
    const char *name = strrchr(target, '/');
    return name && strcmp(name, "/spare.tmp") == 0;
}

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): the other one is reserved */
int fdatasync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    bool spare = is_spare(fd);
    while (!spare && told("hold"))
        poll(NULL, 0, 2);
    if (told(spare ? "fail_spares" : "fail")) {
        errno = EIO;
        return -1;
    }
    return real(fd);
}
