/* Messages of the stream sockets: QJP/1, section "Streams" of docs/protocol.md.
 *
 * One ZeroMQ frame: to subscribers a topic first (16 hex digits of the subscriber's instance and
 * "/"), then a msgpack map, the message `stream`, then `count` events end to end. An *event* is the
 * list [type, channel, bytes]; the first has number `seq`, the others follow it. With count 0 the
 * message says how far the stream is: a *position message*.
 *
 * Vocabulary
 *   position  (epoch, seq): an event, or the state of a reader who has all up to it
 *   epoch     the attempt's fence plus the number of its resets; another epoch is another text
 *   run       consecutive events of one epoch
 *
 * Reading trusts nobody. Thread-safe: nothing is kept. */
#pragma once

#include "common/base/buf.h"
#include "common/base/err.h"
#include "schemas/messages.h"

#include <stdbool.h>
#include <stdint.h>

#define STREAM_TOPIC_LEN   17
#define STREAM_EVENT_MAX   (64U << 10)  /* bytes of one event's text or data */
#define STREAM_RUN_BYTES   (128U << 10) /* bytes of a message at most, when more than one event */
#define STREAM_FRAME_MAX   (STREAM_RUN_BYTES + 1024)
#define STREAM_RESETS_MAX  255U /* of one attempt: fences of attempts that stream are 256 apart */
#define STREAM_CHANNEL_MAX 255U

enum stream_type {
    STREAM_TEXT = 0, /* a piece of text of a channel (a responder), whole characters of UTF-8 */
    STREAM_DATA = 1, /* one msgpack map: sources and the like */
};

struct stream_position {
    uint64_t epoch, seq;
};

static inline bool stream_before(struct stream_position a, struct stream_position b) {
    return a.epoch < b.epoch || (a.epoch == b.epoch && a.seq < b.seq);
}

struct stream_event {
    enum stream_type type;
    uint32_t channel;
    struct str bytes;
};

/* A message that was read; `events` borrows from the frame. */
struct stream_frame {
    struct msg_stream head;
    struct str events;
};

struct stream_topic {
    char at[STREAM_TOPIC_LEN + 1];
};
struct stream_topic stream_topic(const uint8_t instance[16]);
/* Cuts the topic off the front; false if the frame has another one. */
bool stream_take_topic(struct str *frame, const struct stream_topic *topic);

/* Appends one event as it stands in frames; -1 with TOO_LARGE or BAD_VALUE. */
int stream_put_event(struct buf *b, const struct stream_event *event, struct err *e);
/* Appends topic (may be empty), head and events. */
void stream_put_frame(struct buf *b, struct str topic, const struct msg_stream *head,
                      struct str events);
/* A frame without its topic. Head and events are checked whole: `count` well-formed events and
 * nothing behind them. -1 with MALFORMED, TOO_LARGE or what codec_get says. */
int stream_read_frame(struct str frame, struct stream_frame *out, struct err *e);
/* Takes the next event off `*events`, which were read by stream_read_frame (or put by
 * stream_put_event). False at the end. */
bool stream_next_event(struct str *events, struct stream_event *out);
/* What is left behind the first `n` events. */
struct str stream_skip_events(struct str events, uint64_t n);
