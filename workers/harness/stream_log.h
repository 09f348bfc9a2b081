/* What one attempt has written of its stream, and how much of it was said: the pure part.
 *
 * No clock, socket or lock. Events are numbered and kept as they stand in frames; a cursor says
 * what is unsaid, and goes back when something did not arrive (go-back-N).
 *
 * Vocabulary: event, position, epoch as in stream_frame.h; and
 *   said      handed to the socket, which may have dropped it
 *   carry     the beginning of a character whose rest has not come yet
 *
 * What always holds
 *   - `events` has every event of the current epoch, 1 to `seq`, and nothing of an earlier one;
 *   - what stream_log_next gives is in order without gaps, but where the cursor was set back or
 *     another epoch has begun;
 *   - text of a channel is valid UTF-8 in every event, wherever the writer's pieces were cut;
 *   - a call that fails has written nothing; over the bound nothing is written until a reset. */
#pragma once

#include "common/wire/stream_frame.h"

#define STREAM_CHANNELS    (STREAM_CHANNEL_MAX + 1)
#define STREAM_MARK_EVENTS 256 /* between two places that a rewind finds at once */

struct stream_carry {
    char at[3];
    uint8_t len;
};

struct stream_log {
    uint64_t job, fence, token;
    struct buf events;
    uint64_t seq;       /* the last event */
    uint32_t resets;    /* the epoch is the fence plus these */
    bool over;          /* the bound was met */
    uint64_t said;      /* the last event said */
    size_t said_bytes;  /* where the next one begins */
    bool owes_position; /* a position message is to be said, unless events are */
    size_t *marks;      /* where events 1, 1 + STREAM_MARK_EVENTS, ... begin */
    size_t marks_n, marks_size;
    struct stream_carry carry[STREAM_CHANNELS];
};

void stream_log_init(struct stream_log *l, uint64_t job, uint64_t fence, uint64_t token,
                     size_t bytes_max);
void stream_log_done(struct stream_log *l);

/* ---- writing -------------------------------------------------------------------------------- */
/* Text in any pieces: split where it is over STREAM_EVENT_MAX, and what is cut within a character
 * waits for its rest. BAD_VALUE if it is not UTF-8, TOO_LARGE over the bound. */
int stream_log_text(struct stream_log *l, uint32_t channel, struct str text, struct err *e);
/* One msgpack map; TOO_LARGE over STREAM_EVENT_MAX or the bound. */
int stream_log_data(struct stream_log *l, uint32_t channel, struct str map, struct err *e);
/* What was written is void, another epoch begins; nothing if nothing was written. TOO_LARGE after
 * STREAM_RESETS_MAX. */
int stream_log_reset(struct stream_log *l, struct err *e);
/* Nothing more will be written: a character that was cut for good ends as U+FFFD. */
void stream_log_end(struct stream_log *l);
/* The last event; epoch 0 if nothing was ever written. */
struct stream_position stream_log_position(const struct stream_log *l);

/* ---- saying --------------------------------------------------------------------------------- */
size_t stream_log_unsaid(const struct stream_log *l); /* bytes */
/* The next message, which is said with that; `events` borrows until the next call that writes.
 * False: there is nothing to say. */
bool stream_log_next(struct stream_log *l, struct msg_stream *head, struct str *events);
/* The reader has all up to `have` of that epoch; of another one, nothing. It is said again from
 * there, with `token`. What is unsaid anyhow stays so. */
void stream_log_rewind(struct stream_log *l, uint64_t token, struct stream_position have);
