/* The disk that a folder lies on. Any thread. */
#pragma once

#include "common/base/err.h"

struct disk {
    uint64_t bytes;      /* that users may have of it, all in all */
    uint64_t free_bytes; /* that they may have now */
};

int disk_look(const char *folder, struct disk *out, struct err *e);
