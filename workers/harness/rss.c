#include "workers/harness/rss.h"

#include "common/base/str.h"

#include <fcntl.h>
#include <unistd.h>

uint64_t rss_bytes(void) {
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text);
    close(fd);
    /* "size resident shared ...", in pages */
    size_t at = 0, len = n > 0 ? (size_t)n : 0;
    while (at < len && text[at] != ' ')
        at++;
    size_t begin = at < len ? ++at : len;
    while (at < len && text[at] != ' ')
        at++;
    uint64_t pages;
    if (!str_to_u64(str_make(text + begin, at - begin), UINT64_MAX / 65536, &pages))
        return 0;
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}
