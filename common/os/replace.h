/* Replaces a small file as a whole or not at all.
 *
 * Whoever reads it sees what it held before or what it holds now; for a moment there may be no
 * file. On a full disk the blocks of the file itself are written again, so what is not longer than
 * before has room however full the disk is. When that cannot be done either, the file is as it was,
 * and nothing is left beside it. It need not survive a crash of the host. Any thread. */
#pragma once

#include "common/base/err.h"

#define REPLACE_BYTES_MAX (4U << 20) /* of a file that is to stay what it was */

/* Mode 0600. -1 with DISK_FULL or IO. */
int file_replace(const char *path, struct str bytes, struct err *e);
