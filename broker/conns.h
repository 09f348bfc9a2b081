/* What waits for each connection to be read, in bytes.
 *
 * ZeroMQ bounds what a peer has not read by messages only, and a message may be 4 MiB. So each
 * message that goes to a peer is counted until ZeroMQ has written it to the socket, or has thrown
 * it away with the connection: it tells so by freeing the message's last part. What is under way
 * to a peer but no message yet (records that are read for his questions, answers being filled) is
 * *reserved* for it.
 *
 * Vocabulary
 *   unread    bytes of messages that ZeroMQ, or the outbox, holds for a connection
 *   reserved  bytes of answers under way
 *   full      no further question of this peer is worked on (waiting.h)
 *   over      it is closed, and nothing further is sent to it: more waits for it than its own
 *             bound, or more for all together than theirs, and for it the most of all
 *
 * What a worker has not read is counted, but never full or over: its credit bounds it, and what it
 * is told must not be lost.
 *
 * A peer of which something waits and that has read nothing for CONN_STALL_MS, while it is full, is
 * closed. It finds its connection cut, says HELLO on a new one and asks again (P-25, P-30).
 *
 * Who owns what: a `struct conn` stays while its socket lives or anything waits for it. ZeroMQ's
 * I/O thread frees messages and by that lowers `unread` and `all`, and writes to the wake-up; all
 * else is one thread's. */
#pragma once

#include "common/base/err.h"
#include "common/base/lhash.h"
#include "common/base/slab.h"
#include "common/base/str.h"
#include "common/base/time_types.h"
#include "common/os/wake.h"

#include <stdatomic.h>
#include <sys/types.h>
#include <zmq.h>

#define CONN_BYTES      (8U << 20)   /* two of the largest messages: one is read, one is ready */
#define CONN_BYTES_MAX  (64U << 20)  /* what nobody asks for at this moment: ends of watched jobs */
#define CONNS_BYTES     (64U << 20)  /* of all: then each has one answer at a time */
#define CONNS_BYTES_MAX (256U << 20) /* of all, likewise with what nobody asks for */
#define CONN_STALL_MS   10000U       /* longer than any peer that runs takes for one message */
#define CONN_MESSAGE    256U         /* what a message takes beside its bytes */

struct conns;

struct conn {
    uint64_t link;
    uint32_t hash_next, index;
    struct conns *table;
    int fd; /* of its socket, which is ZeroMQ's; -1: not known */
    ino_t inode;
    _Atomic uint64_t unread; /* the I/O thread's last word on a conn: it may go when it is 0 */
    _Atomic uint64_t read;   /* messages that were */
    size_t reserved;
    uint64_t read_seen; /* when we last looked */
    struct mono since;  /* it has read nothing */
    const void *key;    /* peers.h: what it may; NULL: all of its role */
    bool closed;
    bool leaves; /* closed, and what waits for it is not freed yet */
    struct conn *leaving_next;
    void *waits; /* waiting.h: its questions */
};

struct conns {
    struct slab items;
    struct lhash by_link;
    struct conn *last;        /* the last one that was found */
    _Atomic uint64_t all;     /* unread of all but workers */
    _Atomic uint64_t workers; /* unread of workers */
    size_t reserved;          /* likewise */
    struct conn *leaving;     /* a list of them */
    uint32_t sweep_at;        /* conns: those whose sockets are gone are looked for */
    atomic_bool wake_wanted;
    struct flag wake;
};

int conns_init(struct conns *t, struct err *e);
void conns_done(struct conns *t);

/* NULL: no message came from that connection yet, or it is gone. */
struct conn *conns_find(struct conns *t, uint64_t link);
/* The connection that a message came from; `fd` is that of its socket, -1 if it is not known. */
struct conn *conns_note(struct conns *t, uint64_t link, int fd);

/* All of them, one after the other; begins and ends with NULL. */
struct conn *conns_next(const struct conns *t, const struct conn *after);

/* A copy of `bytes`; `of` (all of its message) is unread by `c` until ZeroMQ frees the part. `c`
 * may be NULL: then nobody counts. */
void conn_part(struct conn *c, zmq_msg_t *part, struct str bytes, size_t of);
/* `c` may be NULL. */
void conn_reserve(struct conn *c, size_t bytes);
void conn_release(struct conn *c, size_t bytes);

bool conn_is_full(const struct conn *c);
/* Who is over and must be closed, now that something was made to be sent to `c`, which may be NULL:
 * to be called until it is nobody. */
struct conn *conns_over(struct conns *t, struct conn *c);
/* Ends the connection; ZeroMQ notices and frees what waits. */
void conn_close(struct conn *c);

/* Of all, with that of workers. */
uint64_t conns_unread(const struct conns *t);

/* Looks who reads. Returns the next connection from index `from` on that must be closed because it
 * does not, or NULL; to be called with 1, then with its index + 1. */
struct conn *conns_stalled(struct conns *t, struct mono now, uint32_t from);

/* From now on the wake-up is readable as soon as somebody has read something. To be called before
 * one looks who has room. */
void conns_want_wake(struct conns *t);
void conns_woken(struct conns *t);
