/* The relay's thread: the relay (broker/relay/relay.h) with its sockets.
 *
 * It owns two: XSUB, where workers say their streams, and XPUB, where gateways and operators hear
 * theirs. Both are bound beside the roles' sockets, and by TCP where the configuration says so. The
 * dispatcher tells it what the core orders and hears what streams need, each through a ring of
 * fixed size. An order stands in the ring before the DISPATCH that it belongs to leaves, and orders
 * are looked at before each message of a worker: no stream is met by a relay that does not know it.
 *
 * The relay never waits for the dispatcher: what finds the ring of answers full is said again
 * (needs by the relay's own time, wholes are kept). The dispatcher waits for room in the ring of
 * orders, which the relay empties without waiting for anybody. */
#pragma once

#include "broker/core/core.h"
#include "broker/keyring.h"
#include "broker/relay/relay.h"

#define RELAY_WORKER_SOCKET "stream-worker.sock"
#define RELAY_READER_SOCKET "stream.sock"

struct relay_thread;

struct relay_thread_options {
    void *context;                       /* of ZeroMQ */
    const char *tcp_worker, *tcp_reader; /* one more endpoint, or NULL */
    struct keyring *keyring;             /* of all that comes by TCP, or NULL; outlives it */
    struct relay_config relay;
    int linger_ms;
};

struct relay_answer {
    uint64_t job, fence;
    bool whole; /* else it needs what comes behind (epoch, seq) */
    uint64_t epoch, seq;
};

/* Binds in the current directory. */
int relay_thread_new(struct relay_thread **out, const struct relay_thread_options *options,
                     struct err *e);
/* Ends the thread after what it does just now. */
void relay_thread_destroy(struct relay_thread **t);
/* Ports of the TCP endpoints; 0: none. */
uint16_t relay_thread_worker_port(const struct relay_thread *t);
uint16_t relay_thread_reader_port(const struct relay_thread *t);

/* ---- dispatcher ------------------------------------------------------------------------------ */
void relay_thread_order(struct relay_thread *t, const struct stream_order *order);
/* The keyring has another list: readers whose keys are no longer admitted are disconnected. */
void relay_thread_renew_keys(struct relay_thread *t);
/* Readable when there may be answers. */
int relay_thread_fd(const struct relay_thread *t);
/* The next answer, or false. */
bool relay_thread_answer(struct relay_thread *t, struct relay_answer *out);
/* Of some moment within the last second. */
struct relay_stats relay_thread_stats(struct relay_thread *t);
