/* The broker's sockets: one ROUTER for each role, and nothing of the protocol.
 *
 * A *link* is one connection of a peer: the role of the endpoint and the routing id that ZeroMQ
 * gave it, in one number. A peer that connects again has another link. ZeroMQ does not tell when a
 * connection ends; a message to a link that is gone is dropped and counted.
 *
 * What always holds: nothing here waits for a peer. A message to a peer whose queue is full
 * (PEERS_QUEUE_MAX messages that it did not read) is dropped and counted as well: the protocol asks
 * again. One that has more bytes unread than it may (conns.h) is closed, and finds out by that.
 * Closing waits for what was sent to leave, up to `linger_ms`.
 *
 * One thread, but for the I/O thread inside ZeroMQ. */
#pragma once

#include "broker/conns.h"
#include "broker/keyring.h"
#include "common/base/err.h"
#include "common/base/str.h"
#include "common/wire/frame.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zmq.h>

#define PEERS_ROLES     4
#define PEERS_QUEUE_MAX 4096 /* messages that wait for one peer to read them */
#define PEERS_READ_MAX  256  /* messages of one peer that wait for the broker */
/* In which a connection must have become one of ZeroMQ, which takes a millisecond; else its place
 * is free again. */
#define PEERS_HANDSHAKE_MS 10000

struct peers;

struct peers_options {
    const char *tcp[PEERS_ROLES + 1]; /* by enum role: one more endpoint, or NULL */
    size_t bytes_max;                 /* of one frame; who sends a longer one is disconnected */
    int linger_ms;
    struct keyring *keyring; /* of all that comes by TCP, or NULL; outlives the peers */
};

/* Binds ROLE.sock in the current directory, whatever was left there by a process that was killed.
 */
int peers_open(struct peers **out, const struct peers_options *options, struct err *e);
void peers_close(struct peers **p);

static inline enum role peers_role(uint64_t link) {
    return (enum role)(link >> 32);
}

/* Of ZeroMQ: for the sockets of streams, which must be closed before. */
void *peers_context(const struct peers *p);
/* What waits for each connection. */
struct conns *peers_conns(struct peers *p);
/* NULL: it is gone, or nothing was taken from it yet. */
struct conn *peers_conn(struct peers *p, uint64_t link);
/* What the peer's key allows; NULL: it needs none. */
const struct keyring_key *peers_key(const struct conn *c);
/* The keyring has another list: ends the connections of keys that are not in it as they were. */
void peers_renew_keys(struct peers *p);
/* For zmq_poll. */
void *peers_socket(const struct peers *p, enum role role);
/* The path of the role's socket, in the current directory. */
const char *peers_file(enum role role);
/* Where the role can be reached by TCP, with the port that was given to `*`; "" if nowhere. */
const char *peers_tcp(const struct peers *p, enum role role);

/* ---- in ------------------------------------------------------------------------------------- */
#define PEERS_PARTS 3

struct parcel {
    uint64_t
        link; /* 0: the peer gave itself a routing id, which would not tell connections apart */
    enum role role;
    zmq_msg_t routing;
    zmq_msg_t parts[PEERS_PARTS];
    unsigned count; /* of parts that came; those beyond PEERS_PARTS are not kept */
};

/* The next message of that role, or false. Must be given back with parcel_done. */
bool peers_take(struct peers *p, enum role role, struct parcel *in);
struct str parcel_part(struct parcel *in, unsigned n);
size_t parcel_bytes(struct parcel *in);
/* The descriptor of the connection it came by, which may be gone by now; -1: not known. */
int parcel_fd(const struct parcel *in);
void parcel_done(struct parcel *in);

/* ---- out ------------------------------------------------------------------------------------ */
/* Head, body and, if there are any, payloads; returns how many parts that is. Until they have left
 * they are unread by `to`, which may be NULL. */
unsigned peers_parts(struct conn *to, const struct frame_out *frame, zmq_msg_t parts[PEERS_PARTS]);
/* Sends and takes over the `n` parts, which are gone in any case. */
bool peers_send(struct peers *p, uint64_t link, zmq_msg_t *parts, unsigned n);
/* The same to whoever sent a parcel, also if its link is 0. */
bool peers_send_back(struct peers *p, struct parcel *in, zmq_msg_t *parts, unsigned n);

/* Closes a connection whose peer does not read, and says so. */
void peers_give_up(struct peers *p, struct conn *c, const char *why);

struct peers_stats {
    uint64_t received, sent, dropped;
    uint64_t closed; /* connections, because their peers did not read */
};
struct peers_stats peers_stats(const struct peers *p);
