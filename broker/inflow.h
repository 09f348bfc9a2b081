/* How much of a message that has not ended yet a connection may send.
 *
 * libzmq hands messages over whole, and bounds them one by one: each frame in bytes, and how many
 * messages wait. Nothing of it bounds the frames of one message, which it keeps until the last one
 * has come: a peer that never sends a last one could take all memory. So this stands between libzmq
 * and the kernel, as the gate does (gate.h): it is the process's recv(2), and counts the frames
 * that pass, by ZMTP's own framing. A connection that goes beyond the bound is ended there: libzmq
 * hears ECONNRESET, and frees what it had of the message.
 *
 * What always holds: of a connection that came through the gate libzmq holds at most the bound of
 * bytes, and INFLOW_FRAMES frames, of a message that has not ended. Peers must speak ZMTP 2 or
 * later: others frame in another way, and are ended.
 *
 * State is kept by descriptor, and is its I/O thread's, which both accepts and reads. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INFLOW_FRAMES 64U /* three are a message; more are refused with a reason */

/* Of one message, in bytes. Before the first connection. */
void inflow_set_bound(uint64_t bytes);
/* A connection was accepted; what its descriptor was before is forgotten. */
void inflow_begin(int fd);
/* No ZMTP is spoken there, and nothing counted: by the thread that has accepted it, before it reads
 * the first byte. */
void inflow_leave(int fd);

/* ---- the counting itself, which has no socket ----------------------------------------------- */
struct inflow {
    uint64_t skip;   /* bytes of the greeting, or of a frame, that are still to come */
    uint64_t bytes;  /* of the message that has not ended */
    uint32_t frames; /* of it */
    uint8_t have;    /* bytes of `head` */
    uint8_t state;   /* enum inflow_state */
    unsigned char head[11];
};

enum inflow_state {
    INFLOW_NONE, /* not looked at */
    INFLOW_GREETING,
    INFLOW_FRAME /* or its head */
};

/* False: it must end. */
bool inflow_pass(struct inflow *f, const void *bytes, size_t n, uint64_t bound);
