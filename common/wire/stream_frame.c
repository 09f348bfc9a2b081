#include "common/wire/stream_frame.h"

#include "common/base/check.h"
#include "common/wire/codec.h"
#include "common/wire/msgpack.h"

#define EVENT_HEAD_MAX  (3 + 2 * MSGPACK_HEAD_MAX) /* before the bytes, as we write it */
#define DATA_VALUES_MAX (1U << 18)
#define LIST_OF_THREE   0x93
#define SEQ_MAX         (UINT64_MAX >> 1) /* so that sums cannot wrap */
#define EVENT_WIRE_MAX  (STREAM_EVENT_MAX + 4 * MSGPACK_HEAD_MAX)
static const struct msgpack_limits data_limits = {MSGPACK_DEPTH_MAX, DATA_VALUES_MAX};

_Static_assert(EVENT_WIRE_MAX <= STREAM_RUN_BYTES, "any event fits into a message");

/* ---- topics --------------------------------------------------------------------------------- */
struct stream_topic stream_topic(const uint8_t instance[16]) {
    static const char digits[] = "0123456789abcdef";
    struct stream_topic t;
    for (size_t i = 0; i < 8; i++) {
        t.at[2 * i] = digits[instance[i] >> 4];
        t.at[2 * i + 1] = digits[instance[i] & 15];
    }
    t.at[STREAM_TOPIC_LEN - 1] = '/';
    t.at[STREAM_TOPIC_LEN] = '\0';
    return t;
}

bool stream_take_topic(struct str *frame, const struct stream_topic *topic) {
    if (!str_starts(*frame, (struct str){topic->at, STREAM_TOPIC_LEN}))
        return false;
    *frame = (struct str){frame->at + STREAM_TOPIC_LEN, frame->len - STREAM_TOPIC_LEN};
    return true;
}

/* ---- one event ------------------------------------------------------------------------------ */
static int check_bytes(uint64_t type, struct str bytes, struct err *e) {
    if (bytes.len > STREAM_EVENT_MAX)
        return err_set(e, ERR_TOO_LARGE, "stream: an event of %zu bytes, at most %u", bytes.len,
                       STREAM_EVENT_MAX);
    if (type == STREAM_TEXT)
        return str_is_utf8(bytes)
                   ? 0
                   : err_set(e, ERR_BAD_VALUE, "stream: an event's text is not UTF-8");
    struct cursor c = cursor_of(bytes);
    if (msgpack_peek(&c) != MSGPACK_MAP)
        return err_set(e, ERR_BAD_VALUE, "stream: an event's data is %s, not a map",
                       msgpack_type_name(msgpack_peek(&c)));
    return msgpack_check(bytes, &data_limits, e) < 0 ? err_add(e, "stream: an event's data") : 0;
}

int stream_put_event(struct buf *b, const struct stream_event *event, struct err *e) {
    if (event->type != STREAM_TEXT && event->type != STREAM_DATA)
        return err_set(e, ERR_BAD_VALUE, "stream: an event of type %d, at most %d",
                       (int)event->type, (int)STREAM_DATA);
    if (event->channel > STREAM_CHANNEL_MAX)
        return err_set(e, ERR_BAD_VALUE, "stream: channel %u, at most %u", event->channel,
                       STREAM_CHANNEL_MAX);
    if (check_bytes(event->type, event->bytes, e) < 0)
        return -1;
    unsigned char *start = buf_room(b, EVENT_HEAD_MAX + event->bytes.len);
    if (!start)
        return err_set(e, ERR_TOO_LARGE, "stream: no room for %zu bytes behind %zu, at most %zu",
                       event->bytes.len, b->len, b->bytes_max);
    unsigned char *p = start;
    *p++ = LIST_OF_THREE;
    *p++ = (unsigned char)event->type;
    p = msgpack_write_uint(p, event->channel);
    p = event->type == STREAM_TEXT ? msgpack_write_text_head(p, event->bytes.len)
                                   : msgpack_write_bytes_head(p, event->bytes.len);
    if (event->bytes.len)
        memcpy(p, event->bytes.at, event->bytes.len);
    buf_took(b, (size_t)(p - start) + event->bytes.len);
    return 0;
}

/* Takes an event as it comes, whatever forms its sender chose; what it means is not looked at. */
static enum msgpack_fault get_event(struct cursor *c, uint64_t *type, uint64_t *channel,
                                    struct str *bytes) {
    if (c->at < c->end && *c->at == LIST_OF_THREE) {
        c->at++;
    } else {
        uint32_t n = 0;
        enum msgpack_fault fault = msgpack_get_list(c, &n);
        if (fault || n != 3)
            return fault ? fault : MSGPACK_WRONG;
    }
    enum msgpack_fault fault = msgpack_get_uint(c, type);
    if (!fault)
        fault = msgpack_get_uint(c, channel);
    return fault ? fault : msgpack_get_bytes(c, bytes);
}

bool stream_next_event(struct str *events, struct stream_event *out) {
    if (events->len == 0)
        return false;
    struct cursor c = cursor_of(*events);
    uint64_t type = 0, channel = 0;
    enum msgpack_fault fault = get_event(&c, &type, &channel, &out->bytes);
    ASSERT(!fault && type <= STREAM_DATA && channel <= STREAM_CHANNEL_MAX);
    out->type = (enum stream_type)type;
    out->channel = (uint32_t)channel;
    *events = str_make(c.at, cursor_left(&c));
    return true;
}

struct str stream_skip_events(struct str events, uint64_t n) {
    struct cursor c = cursor_of(events);
    for (; n > 0; n--) {
        uint64_t type, channel;
        struct str bytes;
        enum msgpack_fault fault = get_event(&c, &type, &channel, &bytes);
        ASSERT(!fault);
    }
    return str_make(c.at, cursor_left(&c));
}

/* ---- one message ---------------------------------------------------------------------------- */
void stream_put_frame(struct buf *b, struct str topic, const struct msg_stream *head,
                      struct str events) {
    buf_put_str(b, topic);
    codec_put(b, MSG_stream, head);
    buf_put_str(b, events);
}

static int check_event(struct cursor *c, uint64_t number, struct err *e) {
    uint64_t type = 0, channel = 0;
    struct str bytes = STR("");
    enum msgpack_fault fault = get_event(c, &type, &channel, &bytes);
    if (fault)
        return err_set(e, ERR_MALFORMED,
                       "stream: event %llu is no list of type, channel, bytes: %s",
                       (unsigned long long)number, msgpack_fault_text(fault));
    if (type > STREAM_DATA)
        return err_set(e, ERR_BAD_VALUE, "stream: event %llu is of type %llu, at most %d",
                       (unsigned long long)number, (unsigned long long)type, (int)STREAM_DATA);
    if (channel > STREAM_CHANNEL_MAX)
        return err_set(e, ERR_BAD_VALUE, "stream: event %llu is of channel %llu, at most %u",
                       (unsigned long long)number, (unsigned long long)channel, STREAM_CHANNEL_MAX);
    return check_bytes(type, bytes, e);
}

static int check_head(const struct msg_stream *h, size_t bytes, struct err *e) {
    if (h->epoch > SEQ_MAX || h->seq > SEQ_MAX)
        return err_set(e, ERR_BAD_VALUE, "stream: epoch or seq over 2^63 - 1");
    if (h->count > 0 && h->seq == 0)
        return err_set(e, ERR_BAD_VALUE, "stream: events are numbered from 1");
    if (h->count > 0 && h->gone)
        return err_set(e, ERR_BAD_VALUE, "stream: events of a stream that is gone");
    if (h->count > 1 && bytes > STREAM_RUN_BYTES)
        return err_set(e, ERR_TOO_LARGE, "stream: %llu events of %zu bytes, at most %u",
                       (unsigned long long)h->count, bytes, STREAM_RUN_BYTES);
    return 0;
}

int stream_read_frame(struct str frame, struct stream_frame *out, struct err *e) {
    if (frame.len > STREAM_FRAME_MAX)
        return err_set(e, ERR_TOO_LARGE, "stream: a message of %zu bytes, at most %u", frame.len,
                       STREAM_FRAME_MAX);
    struct cursor c = cursor_of(frame);
    if (codec_get(&c, MSG_stream, &out->head, NULL, NULL, e) < 0)
        return -1;
    out->events = str_make(c.at, cursor_left(&c));
    if (check_head(&out->head, out->events.len, e) < 0)
        return -1;
    for (uint64_t n = 0; n < out->head.count; n++)
        if (check_event(&c, out->head.seq + n, e) < 0)
            return -1;
    if (cursor_left(&c))
        return err_set(e, ERR_MALFORMED, "stream: %zu bytes behind the last of %llu events",
                       cursor_left(&c), (unsigned long long)out->head.count);
    return 0;
}
