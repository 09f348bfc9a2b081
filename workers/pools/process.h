/* One worker process of this host: how it was started, what it said last, how it ended.
 *
 * What it writes to standard output and error goes into our log, line by line; the last of it is
 * kept for the report of its death. */
#pragma once

#include "common/base/time_types.h"
#include "common/os/child.h"

#include <stdint.h>

#define PROCESS_INSTANCE_LEN 16
#define PROCESS_LINE_MAX     4097 /* the longest of a log, and an end */
#define PROCESS_WORDS_MAX    2048

struct pool;

/* What we asked it for; a later one is stronger. */
enum process_asked { ASKED_NOTHING, ASKED_REPLACE, ASKED_STOP, ASKED_KILL };

struct process {
    struct process *next;
    struct pool *pool;
    uint32_t seat; /* SEAT_NONE when it does not count any more */
    struct child child;
    uint8_t instance[PROCESS_INSTANCE_LEN];
    char hex[2 * PROCESS_INSTANCE_LEN + 1];
    struct mono started;
    enum process_asked asked;
    bool said, ended; /* as far as poll knows: there is output; it has ended */
    int output;       /* -1 when it has closed it */
    char line[PROCESS_LINE_MAX];
    size_t line_len;
    char words[PROCESS_WORDS_MAX]; /* the last whole lines */
    size_t words_len;
};

struct process_spec {
    char *const *argv;
    char *const *envp;     /* our own, without what is told to workers */
    char *const *told;     /* "QUERN_DATA=...": what all workers of the pool are told */
    const char *directory; /* NULL: here */
};

/* A new process, or NULL. Its instance is made here and told to it. */
struct process *process_start(const struct process_spec *spec, struct err *e);
/* Reads what it has written by now. */
void process_read(struct process *p);
/* True if it had ended; then it can be destroyed. */
bool process_ended(struct process *p, struct child_end *end);
void process_destroy(struct process **p);
/* The 32 digits of an instance and a NUL. */
void process_hex(const uint8_t *instance, char *hex);
/* Bytes of its memory that are resident; 0 if that cannot be told. */
uint64_t process_rss(const struct process *p);
