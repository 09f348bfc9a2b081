/* Loaded in front of the C library of a program under test: a disk that fails or keeps one waiting,
 * for as long as there is a file that says so. $QUERN_TEST_SYNC names it: beside it, PATH.fail
 * makes every fdatasync of a segment fail, PATH.hold makes it wait until that file is gone, and
 * PATH.fail_spares makes those of spares fail. Two kinds, for the journal makes spares whenever it
 * finds time: what fails would else be chance. PATH.full is a disk without a free block: no spare
 * is made and no pid file written. PATH.small is a disk of 23 MiB for the journal. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SMALL_BLOCKS ((23U << 20) / 512)

static bool told(const char *what) {
    char path[512];
    const char *base = getenv("QUERN_TEST_SYNC");
    if (!base)
        return false;
    snprintf(path, sizeof path, "%s.%s", base, what);
    return access(path, F_OK) == 0;
}

static bool is_called(int fd, const char *wanted) {
    char number[64], target[4096];
    snprintf(number, sizeof number, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(number, target, sizeof target - 1);
    target[n > 0 ? n : 0] = '\0';
    const char *name = strrchr(target, '/');
    return name && strcmp(name + 1, wanted) == 0;
}

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): the other one is reserved */
int fdatasync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    bool spare = is_called(fd, "spare.tmp");
    while (!spare && told("hold"))
        poll(NULL, 0, 2);
    if (told(spare ? "fail_spares" : "fail")) {
        errno = EIO;
        return -1;
    }
    return real(fd);
}

/* Of all files beside it. */
static long blocks_used(int fd) {
    char number[64], folder[4096];
    snprintf(number, sizeof number, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(number, folder, sizeof folder - 1);
    folder[n > 0 ? n : 0] = '\0';
    char *name = strrchr(folder, '/');
    if (!name)
        return 0;
    *name = '\0';
    DIR *dir = opendir(folder);
    long blocks = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        struct stat s;
        if (fstatat(dirfd(dir), entry->d_name, &s, 0) == 0 && S_ISREG(s.st_mode))
            blocks += s.st_blocks;
    }
    if (dir)
        closedir(dir);
    return blocks;
}

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): the other one is reserved */
int posix_fallocate(int fd, off_t offset, off_t bytes) {
    int (*real)(int, off_t, off_t) =
        (int (*)(int, off_t, off_t))dlsym(RTLD_NEXT, "posix_fallocate");
    if (told("full") || (told("small") && blocks_used(fd) + bytes / 512 > (long)SMALL_BLOCKS))
        return ENOSPC;
    return real(fd, offset, bytes);
}

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): the other one is reserved */
ssize_t write(int fd, const void *from, size_t n) {
    ssize_t (*real)(int, const void *, size_t) =
        (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    if (told("full") && is_called(fd, "broker.pid.new")) {
        errno = ENOSPC;
        return -1;
    }
    return real(fd, from, n);
}
