/* Children that an attempt spawns, as they stand in a message: their envelopes end to end, and
 * their payloads. QJP/1, section "Flows" of docs/protocol.md.
 *
 * Zeroed is empty. What is in it was checked against the bounds of the protocol, and fits into one
 * message; whether the broker takes it is known only when it says so. One thread at a time. */
#pragma once

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/wire/frame.h"
#include "schemas/messages.h"

#define CHILDREN_MAX       1000U      /* of one result */
#define CHILDREN_BYTES_MAX (3U << 20) /* of one result, as children_weight counts */

struct children {
    uint32_t n;
    bool has_then;
    size_t weight;
    struct buf envelopes, payloads;
};

/* Adds one, or nothing: -1 with BAD_VALUE or TOO_LARGE, where the text names field and bound.
 * `m->size` is set here. */
int children_add(struct children *k, const struct msg_submit *m, struct str payload, struct err *e);
void children_destroy(struct children *k);
/* As parts of a message; borrows. */
struct frame_children children_parts(const struct children *k);
/* Bytes of memory. */
size_t children_memory(const struct children *k);
