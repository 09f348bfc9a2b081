#include "common/os/disk.h"

#include <sys/statvfs.h>

/* What is free but for the superuser only is nobody's. */
int disk_look(const char *folder, struct disk *out, struct err *e) {
    struct statvfs fs;
    if (statvfs(folder, &fs) < 0)
        return err_errno(e, "cannot look at the disk of %s", folder);
    uint64_t kept = fs.f_bfree - fs.f_bavail;
    *out = (struct disk){.bytes = (uint64_t)(fs.f_blocks - kept) * fs.f_frsize,
                         .free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize};
    return 0;
}
