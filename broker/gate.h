/* The gate: which connections the broker takes.
 *
 * Every connection is an open file, and so is what the journal needs to go on. libzmq bounds
 * neither: out of files, its listeners end the process (ipc) or turn in circles (tcp). The gate
 * stands between libzmq and the kernel: it is the process's accept4(2) and accept(2), which the
 * dynamic linker finds here before it finds them in the C library
 * (docs/decisions/0003-connections-and-open-files.md).
 *
 * Words: a *place* is a descriptor's number below the *bound*, which is the limit of open files
 * less those that are set aside for the broker's own files. A connection is *turned away* when it
 * is accepted and closed at once: libzmq hears ECONNABORTED and takes the next one. It is *silent*
 * from when it was taken until it said HELLO.
 *
 * What always holds: the kernel gives the lowest free number, so no connection has a number at or
 * beyond the bound for longer than it takes to close it, and all numbers from there on are left for
 * files. Out of files all the same (the limit was lowered from outside, or the system has no more),
 * connections are turned away with the help of one file kept in reserve.
 *
 * One gate a process. Until gate_open, and after gate_close, it changes nothing. The I/O thread of
 * ZeroMQ comes through it; everything below belongs to the dispatcher's thread. */
#pragma once

#include "common/base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* Twice as many as the settings allow peers: each may have a second connection for streams. */
#define GATE_FILES_MAX (1U << 18)

/* Raises the limit of open files as far as it goes, and sets `files` aside. Before the first socket
 * listens. */
int gate_open(uint32_t files, struct err *e);
/* All sockets listen, but for those whose connections never say HELLO: from now on the connections
 * of these are watched. To the one with that path the last places belong, so that one can look in
 * while all others are taken. */
#define GATE_OPERATORS 8U
void gate_watch(const char *operators);
/* All that is opened at the start is open: what was set aside for that is left to connections, of
 * which a few at least must fit. */
int gate_ready(struct err *e);
void gate_close(void);

/* HELLO came by the connection with that descriptor; -1, or one that is gone by now, is ignored. */
void gate_hello(int fd);
/* Once a second, and only when all messages that had come were read: silence is counted in these
 * calls, so that a time in which the broker did not listen is nobody's silence. Connections that
 * were silent for GATE_SILENT of them are closed if others were turned away since the last call. */
#define GATE_SILENT 10
void gate_tick(void);
/* Whether gate_tick has something to do; when that begins, gate_fd becomes readable. */
bool gate_awake(void);
int gate_fd(void);
void gate_seen(void);

struct gate_stats {
    uint64_t refused; /* turned away */
    uint64_t silent;  /* closed because they were */
    uint32_t places;  /* for connections, all in all */
    uint32_t files;   /* the limit */
};
struct gate_stats gate_stats(void);
