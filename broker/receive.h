/* From a message of a peer to the core: what may be said, by whom, and how large.
 *
 * Whatever comes in is either handed to the core or answered by an ERROR that names what is wrong,
 * with the message's sequence where that could be read. Nothing that a peer sends ends here in
 * anything else. A question of a peer that has not read its answers waits (waiting.h) until it has.
 * One thread. */
#pragma once

#include "broker/core/core.h"
#include "broker/outbox.h"
#include "broker/peers.h"
#include "broker/waiting.h"
#include "common/base/arena.h"

#define LENIENT_LINKS 8192U /* of each role; the newest connections count */

struct receiver {
    struct core *core;
    struct peers *peers;
    struct outbox *outbox;
    uint32_t items_max, bytes_max;
    bool full; /* no space is left: only what puts no record is taken in */
    struct arena *arena;
    struct waiting waiting;
    /* Links that said HELLO with a higher minor version than ours (P-21): their number by its last
     * bits, made when the first comes. */
    uint64_t *lenient[PEERS_ROLES + 1];
    uint64_t fields_skipped;
    uint64_t words;   /* messages that were more than a sign of life */
    uint64_t submits; /* SUBMITs among them */
};

void receiver_init(struct receiver *r, struct core *core, struct peers *peers,
                   struct outbox *outbox, const struct core_config *config);
void receiver_done(struct receiver *r);
/* Gives one message to the core; returns how many items it had. */
uint32_t receive_message(struct receiver *r, struct parcel *in);
/* The same for one that has waited. */
uint32_t receive_waiting(struct receiver *r, struct parcel *in);
