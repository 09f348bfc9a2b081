/* The data directory: DIR/journal, DIR/run with the sockets and the pid file.
 *
 * Socket paths have at most 107 bytes, whatever DIR is: the broker works inside DIR/run and names
 * its sockets by file name alone. Others reach the folder through a descriptor of it, by
 * /proc/self/fd/N/ROLE.sock. */
#pragma once

#include "common/base/err.h"

#include <limits.h>

struct data_dir {
    char path[PATH_MAX];    /* absolute */
    char journal[PATH_MAX]; /* DIR/journal */
};

/* Makes DIR (0700) if it is missing, and finds out its absolute path. */
int data_dir_open(struct data_dir *d, const char *path, struct err *e);
/* After the journal's lock was taken: makes DIR/run, refuses it if others may enter (P-2), and goes
 * there for good. */
int data_dir_enter(struct data_dir *d, struct err *e);
int data_dir_write_pid(struct err *e);
/* The end: removes pid file and sockets. */
void data_dir_leave(void);
