/* Files as the journal sees them: one table of calls, so that tests can put a disk underneath that
 * loses power, runs full or fails at the n-th call.
 *
 * The calls behave as the system's: -1 and errno, short reads and writes are allowed. A *layer*
 * opens *directories*, a directory opens *files*; both begin with the structs below. What one
 * promises:
 *
 * - Written bytes survive a power cut only after `sync` of the file. A sector (512 bytes) is
 * written whole or not at all; sectors reach the disk in any order.
 *
 * - Names (create, rename, unlink) survive only after `sync_dir`.
 *
 * - After a failed `sync` what was written may be lost although reading still shows it, unless it
 * is read through FILE_DIRECT.
 *
 * The helpers at the end finish short reads and writes and fill a `struct err` with the file's
 * name. Calls on different files may come from different threads at the same time. */
#pragma once

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define FILE_NAME_SIZE 32

struct file_layer;

struct file_dir {
    const struct file_layer *layer;
    char path[ERR_TEXT_MAX / 2]; /* for people; cut when it is longer */
};

struct file {
    const struct file_layer *layer;
    const struct file_dir *dir;
    char name[FILE_NAME_SIZE];
};

/* How a file is used. DIRECT passes by the system's cache: every buffer, offset and length is a
 * multiple of FILE_BLOCK, and reading shows what the disk has. Where a file system knows no direct
 * access it is only slower. */
enum file_how {
    FILE_CREATE,     /* a new, empty file, or an old one emptied; DIRECT */
    FILE_DIRECT,     /* to read and write in bulk */
    FILE_READ_AHEAD, /* to read pieces of a file that nobody writes; what is behind them is cached
                      */
    FILE_READ_EXACT  /* the same beside a writer: nothing is cached that was not asked for */
};
#define FILE_BLOCK 4096U

struct file_layer {
    /* Creates the directory, private to its owner, if it is missing. */
    int (*dir_open)(const struct file_layer *layer, const char *path, struct file_dir **out);
    void (*dir_close)(struct file_dir *dir);
    /* Held until dir_close or the end of the process. EWOULDBLOCK: `pid` has it (0: unknown). */
    int (*lock)(struct file_dir *dir, const char *name, long *pid);
    int (*list)(struct file_dir *dir, void (*each)(void *ctx, const char *name, uint64_t bytes),
                void *ctx);
    int (*space)(struct file_dir *dir, uint64_t *free_bytes);
    int (*rename)(struct file_dir *dir, const char *from, const char *to);
    int (*unlink)(struct file_dir *dir, const char *name);
    int (*sync_dir)(struct file_dir *dir);

    int (*open)(struct file_dir *dir, const char *name, enum file_how how, struct file **out);
    void (*close)(struct file *file);
    ssize_t (*read)(struct file *file, void *to, size_t n, uint64_t at);
    ssize_t (*write)(struct file *file, const void *from, size_t n, uint64_t at);
    int (*sync)(struct file *file);
    /* Sets the size and takes the blocks; what was not written reads as zeros. */
    int (*reserve)(struct file *file, uint64_t bytes);
};

/* The operating system's files. */
extern const struct file_layer file_layer_real;

int file_dir_open(const struct file_layer *layer, const char *path, struct file_dir **out,
                  struct err *e);
void file_dir_close(struct file_dir **dir);
int file_lock(struct file_dir *dir, const char *name, struct err *e);
int file_list(struct file_dir *dir, void (*each)(void *ctx, const char *name, uint64_t bytes),
              void *ctx, struct err *e);
int file_space(struct file_dir *dir, uint64_t *free_bytes, struct err *e);
int file_rename(struct file_dir *dir, const char *from, const char *to, struct err *e);
int file_unlink(struct file_dir *dir, const char *name, struct err *e);
int file_sync_dir(struct file_dir *dir, struct err *e);

int file_open(struct file_dir *dir, const char *name, enum file_how how, struct file **out,
              struct err *e);
void file_close(struct file **file);
/* All `n` bytes or an error; the end of the file is one (CORRUPT). */
int file_read(struct file *file, void *to, size_t n, uint64_t at, struct err *e);
int file_write(struct file *file, const void *from, size_t n, uint64_t at, struct err *e);
int file_sync(struct file *file, struct err *e);
int file_reserve(struct file *file, uint64_t bytes, struct err *e);
