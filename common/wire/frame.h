/* A whole message of QJP/1 as bytes: building it and reading it. No sockets here.
 *
 * Frame 0, the *head*: msgpack list [1, verb, sequence]. Frame 1, the *body*: a list of envelopes,
 * the *items*. Frame 2, the *payloads*, end to end: an item's field `size` says how many bytes of
 * it are that item's, `result_size` how many behind those are its result; absent is 0.
 *
 * frame_open looks at all of the message before anything of it is believed: after it, where every
 * item and every payload lies is certain, so one bad item does not spoil the others. What
 * frame_next gives borrows from the three frames. A `struct frame_out` owns its buffers. Not
 * thread-safe. */
#pragma once

#include "common/wire/codec.h"

#define FRAME_VERSION      1
#define FRAME_ITEMS_MAX    1024
#define FRAME_BYTES_MAX    (4U << 20) /* head, body and payloads together */
#define PAYLOAD_VALUES_MAX (1U << 18)

/* ---- building ------------------------------------------------------------------------------- */
struct frame_out {
    struct buf head, body, payloads;
    const struct verb_def *verb;
    uint32_t items;
    uint32_t items_max; /* the verb's own; may be lowered after frame_begin */
    size_t bytes_max;   /* FRAME_BYTES_MAX; likewise */
};

#define FRAME_OUT                                                                                  \
    ((struct frame_out){                                                                           \
        .head = BUF(64), .body = BUF(FRAME_BYTES_MAX), .payloads = BUF(FRAME_BYTES_MAX)})
#define AUTO_FRAME_OUT __attribute__((cleanup(frame_destroy))) struct frame_out

void frame_destroy(struct frame_out *f);
/* Starts a message, keeping the memory of the last one. It may be sent at any time from now on. */
void frame_begin(struct frame_out *f, enum verb verb, uint64_t sequence);
/* Adds an item. -1 if it does not fit any more: send, begin anew, add it there. The message's
 * `size` and `result_size`, where it has them, must be what the payloads have. */
int frame_add(struct frame_out *f, const void *msg);
int frame_add_payload(struct frame_out *f, const void *msg, struct str payload, struct str result);
/* One of the `children` that the item before has: those must all follow it, in the same message. */
int frame_add_child(struct frame_out *f, const struct msg_submit *msg, struct str payload);
/* Where a message is, to go back there when not all that belongs together fits. */
struct frame_mark {
    uint32_t items;
    size_t body_len, payloads_len;
};
struct frame_mark frame_mark(const struct frame_out *f);
void frame_back(struct frame_out *f, const struct frame_mark *to);
/* Children whose envelopes were encoded before, end to end as their payloads are. */
struct frame_children {
    uint32_t n;
    struct str envelopes, payloads;
};
/* Adds an item with all of its children, or nothing of it. */
int frame_add_family(struct frame_out *f, const void *msg, struct str payload,
                     const struct frame_children *children);
/* Adds items of a verb whose message is submit: all of them, or none. */
int frame_add_encoded(struct frame_out *f, const struct frame_children *items);

/* ---- reading -------------------------------------------------------------------------------- */
struct frame_in {
    const struct verb_def *verb; /* NULL while unknown */
    uint64_t sequence;           /* 0 while unknown */
    uint32_t items, taken;
    uint64_t children; /* that are still to come of the item before */
    bool lenient;      /* pass over unknown fields; to be set after frame_open */
    uint32_t skipped;  /* how many that were */
    struct cursor body, payloads;
};

/* What belongs to an item, beside its envelope. */
struct frame_item {
    uint32_t index;
    bool child;        /* the message is a submit, whatever the verb's is */
    uint32_t children; /* items behind this one that are its children; for a bad one too */
    struct str payload, result;
};

/* -1 when the message as a whole cannot be used: nothing of it must be done. `sequence` and `verb`
 * are then set as far as they could be read, for the reply. */
int frame_open(struct frame_in *in, struct str head, struct str body, struct str payloads,
               struct err *e);
/* The next item into `msg`, a struct of the verb's message (or union msg_any): 1; no more: 0; this
 * item is bad, as `e` says, and the next call goes on behind it: -1. `item` is filled for 1 and -1.
 */
int frame_next(struct frame_in *in, void *msg, struct arena *arena, struct frame_item *item,
               struct err *e);
/* Whether a payload or result is what it must be: nothing, or one msgpack map within its limits. */
int frame_check_payload(struct str payload, struct err *e);
