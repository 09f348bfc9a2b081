/* How much of a message that has not ended yet a connection may send.
 *
 * libzmq hands messages over whole, and bounds them one by one: each frame in bytes, and how many
 * messages wait. Nothing of it bounds the frames of one message, which it keeps until the last one
 * has come: a peer that never sends a last one could take all memory. So this stands between libzmq
 * and the kernel, as the gate does (gate.h): it is the process's recv(2), and counts the frames
 * that pass, by ZMTP's own framing. A connection that goes beyond the bound is ended there: libzmq
 * hears ECONNRESET, and frees what it had of the message.
 *
 * What comes by CURVE hides where a message ends. There all is counted that has come since a
 * message of that connection was taken, and bounded by what may wait to be taken: INFLOW_WAITING
 * messages.
 *
 * What always holds: of a connection that came through the gate libzmq holds at most the bound of
 * bytes, and INFLOW_FRAMES frames, of a message that has not ended (by CURVE INFLOW_WAITING times
 * as much). Peers must speak ZMTP 2 or later: others frame in another way, and are ended.
 *
 * State is kept by descriptor, and is its I/O thread's, which both accepts and reads. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INFLOW_FRAMES 64U /* three are a message; more are refused with a reason */

#define INFLOW_WAITING                                                                             \
    258U /* messages that a socket holds for one peer, and what is under way; streams' are smaller \
          */

/* Of one message, in bytes. Before the first connection. */
void inflow_set_bound(uint64_t bytes);
/* A connection was accepted; what its descriptor was before is forgotten. */
void inflow_begin(int fd);
/* A message that came by it was taken. Any thread; -1: not known by which. */
void inflow_taken(int fd);
/* No ZMTP is spoken there, and nothing counted: by the thread that has accepted it, before it reads
 * the first byte. */
void inflow_leave(int fd);

/* ---- the counting itself, which has no socket ----------------------------------------------- */
struct inflow {
    uint64_t skip;   /* bytes of the greeting, or of a frame, that are still to come */
    uint64_t bytes;  /* of the message that has not ended */
    uint32_t frames; /* of it */
    uint32_t seen;   /* by CURVE: messages that were taken when it was looked last */
    uint8_t have;    /* bytes of `head` */
    uint8_t state;   /* enum inflow_state */
    unsigned char head[11];
};

enum inflow_state {
    INFLOW_NONE, /* not looked at */
    INFLOW_GREETING,
    INFLOW_MECHANISM, /* the part of the greeting that names it */
    INFLOW_CURVE,     /* as FRAME, of what is hidden */
    INFLOW_FRAME      /* or its head */
};

/* `now` messages were taken: by CURVE the count begins anew where there are more than before. */
void inflow_note_taken(struct inflow *f, uint32_t now);
/* False: it must end. */
bool inflow_pass(struct inflow *f, const void *bytes, size_t n, uint64_t bound);
