/* A disk in memory that can lose power, fail and run full: a file layer for tests of whatever
 * writes files.
 *
 * Written sectors (512 bytes), sizes and names are kept twice: as the system shows them and as they
 * would be found after a power cut. `sync` and `sync_dir` bring the second up to the first. A power
 * cut keeps a random subset of what was not synced: sectors each for itself, names as a prefix of
 * the changes or any subset of them. A failed sync keeps some sectors, forgets that the others are
 * dirty and goes on showing them, as Linux does, until the file is opened FILE_DIRECT.
 *
 * Each call of the layer counts. A plan makes something happen at the n-th call of some kinds; from
 * a power cut on every call fails until crash_disk_power_up. Everything random comes from one seed.
 * Calls may come from any thread. */
#pragma once

#include "broker/journal/file_layer.h"

#include <stdbool.h>
#include <stdint.h>

struct crash_disk;

enum crash_call {
    CALL_DIR_OPEN = 1 << 0,
    CALL_LOCK = 1 << 1,
    CALL_LIST = 1 << 2,
    CALL_SPACE = 1 << 3,
    CALL_RENAME = 1 << 4,
    CALL_UNLINK = 1 << 5,
    CALL_SYNC_DIR = 1 << 6,
    CALL_OPEN = 1 << 7,
    CALL_READ = 1 << 8,
    CALL_WRITE = 1 << 9,
    CALL_SYNC = 1 << 10,
    CALL_RESERVE = 1 << 11,
    CALL_ANY = (1 << 12) - 1,
    CALL_CHANGE = CALL_RENAME | CALL_UNLINK | CALL_SYNC_DIR | CALL_WRITE | CALL_SYNC | CALL_RESERVE
};

enum crash_fault {
    FAULT_NONE,
    FAULT_POWER, /* the power goes during this call */
    FAULT_EIO,   /* this call fails; a write has left some sectors, a sync has brought some down */
    FAULT_ENOSPC /* this call fails */
};

struct crash_plan {
    enum crash_fault fault;
    unsigned calls; /* kinds that count, of enum crash_call */
    uint64_t at;    /* the n-th of them from now on, from 1 */
    bool stays;     /* and all after it */
};

struct crash_disk *crash_disk_new(uint64_t seed);
void crash_disk_destroy(struct crash_disk **d);
const struct file_layer *crash_disk_layer(struct crash_disk *d);

void crash_disk_plan(struct crash_disk *d, struct crash_plan plan);
/* How many calls of the plan's kinds were made since it was set; whether it came to pass. */
uint64_t crash_disk_counted(struct crash_disk *d);
bool crash_disk_struck(struct crash_disk *d);
/* Writes take and reads give only a part, now and then. */
void crash_disk_short_calls(struct crash_disk *d, bool on);
/* Bytes that all files together may take; 0: no bound. */
void crash_disk_capacity(struct crash_disk *d, uint64_t bytes);

/* Ends of the process that had the directory open; whoever used it has to be gone. With a power cut
 * what was not synced is lost in part; either way locks are free and plans are over. */
void crash_disk_power_up(struct crash_disk *d);
void crash_disk_killed(struct crash_disk *d);

/* Damage, for which no call is counted. All act on both what is shown and what is kept. */
bool crash_disk_exists(struct crash_disk *d, const char *name);
uint64_t crash_disk_size(struct crash_disk *d, const char *name);
void crash_disk_flip(struct crash_disk *d, const char *name, uint64_t at, uint8_t mask);
void crash_disk_copy_out(struct crash_disk *d, const char *name, uint64_t at, void *to, size_t n);
void crash_disk_put(struct crash_disk *d, const char *name, const void *bytes, size_t n,
                    uint64_t at);
void crash_disk_resize(struct crash_disk *d, const char *name, uint64_t bytes);
void crash_disk_remove(struct crash_disk *d, const char *name);
void crash_disk_rename(struct crash_disk *d, const char *from, const char *to);
