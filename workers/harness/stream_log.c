#include "workers/harness/stream_log.h"

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/wire/codec.h"

#include <inttypes.h>

#define EVENT_HEAD_MAX 32             /* what an event takes beside its bytes, at most */
#define RUN_EVENTS     65535          /* of one message */
#define REPLACEMENT    "\xEF\xBF\xBD" /* U+FFFD */

static const struct msgpack_limits data_limits = {.depth_max = MSGPACK_DEPTH_MAX,
                                                  .values_max = STREAM_EVENT_MAX};

void stream_log_init(struct stream_log *l, uint64_t job, uint64_t fence, uint64_t token,
                     size_t bytes_max) {
    *l = (struct stream_log){.job = job, .fence = fence, .token = token, .events = BUF(bytes_max)};
}

void stream_log_done(struct stream_log *l) {
    buf_destroy(&l->events);
    MEM_FREE(l->marks);
}

static uint64_t epoch(const struct stream_log *l) {
    return l->fence + l->resets;
}

struct stream_position stream_log_position(const struct stream_log *l) {
    if (!l->seq && !l->resets)
        return (struct stream_position){0, 0};
    return (struct stream_position){epoch(l), l->seq};
}

/* ---- writing -------------------------------------------------------------------------------- */
static int over_bound(struct stream_log *l, struct err *e) {
    l->over = true;
    return err_set(e, ERR_TOO_LARGE, "stream: over its bound of %zu bytes", l->events.bytes_max);
}

/* The next event begins at `at`. */
static void add_mark(struct stream_log *l, size_t at) {
    if (l->seq % STREAM_MARK_EVENTS != 0)
        return;
    if (l->marks_n == l->marks_size) {
        l->marks_size = l->marks_size ? 2 * l->marks_size : 16;
        l->marks = mem_grow(l->marks, l->marks_size, sizeof *l->marks);
    }
    l->marks[l->marks_n++] = at;
}

/* Room was looked for. */
static int add_event(struct stream_log *l, enum stream_type type, uint32_t channel,
                     struct str bytes, struct err *e) {
    const struct stream_event event = {.type = type, .channel = channel, .bytes = bytes};
    size_t before = l->events.len;
    if (stream_put_event(&l->events, &event, e) < 0) { /* memory is gone */
        l->over = true;
        return err_add(e, "stream");
    }
    add_mark(l, before);
    l->seq++;
    return 0;
}

static bool has_room(const struct stream_log *l, size_t bytes, size_t events) {
    size_t left = l->events.bytes_max - l->events.len;
    return !l->over && bytes <= left && events * EVENT_HEAD_MAX <= left - bytes;
}

static int check_channel(uint32_t channel, struct err *e) {
    return channel > STREAM_CHANNEL_MAX
               ? err_set(e, ERR_BAD_VALUE, "stream: channel %" PRIu32 ", at most %u", channel,
                         STREAM_CHANNEL_MAX)
               : 0;
}

/* Bytes of the character that `lead` begins; 1 for what begins none. */
static size_t character_len(char lead) {
    unsigned char c = (unsigned char)lead;
    return c >= 0xF0 && c <= 0xF4 ? 4 : c >= 0xE0 && c <= 0xEF ? 3 : c >= 0xC2 && c <= 0xDF ? 2 : 1;
}

static bool continues(char byte) {
    return ((unsigned char)byte & 0xC0) == 0x80;
}

/* How many bytes at the end are the beginning of a character. */
static size_t cut_len(struct str text) {
    for (size_t n = 1; n <= 3 && n <= text.len; n++) {
        char c = text.at[text.len - n];
        if (!continues(c))
            return character_len(c) > n ? n : 0;
    }
    return 0;
}

/* A piece, taken apart: the character that the carry begins, whole text, another beginning. */
struct piece {
    char first[4];
    size_t first_len;
    struct str text;
    struct str cut;
    bool still_cut; /* the piece did not end the carry: `first` is the new one */
};

static struct piece take_apart(const struct stream_carry *carry, struct str text) {
    struct piece p = {.text = text};
    if (carry->len) {
        size_t whole = character_len(carry->at[0]);
        memcpy(p.first, carry->at, carry->len);
        p.first_len = carry->len;
        while (p.first_len < whole && p.text.len && continues(p.text.at[0])) {
            p.first[p.first_len++] = p.text.at[0];
            p.text = str_make(p.text.at + 1, p.text.len - 1);
        }
        p.still_cut = p.first_len < whole && !p.text.len;
    }
    size_t cut = cut_len(p.text);
    p.cut = str_make(p.text.at + p.text.len - cut, cut);
    p.text.len -= cut;
    return p;
}

static int add_text(struct stream_log *l, uint32_t channel, struct str text, struct err *e) {
    while (text.len) {
        struct str part = codec_clip(text, STREAM_EVENT_MAX);
        if (add_event(l, STREAM_TEXT, channel, part, e) < 0)
            return -1;
        text = str_make(text.at + part.len, text.len - part.len);
    }
    return 0;
}

int stream_log_text(struct stream_log *l, uint32_t channel, struct str text, struct err *e) {
    if (check_channel(channel, e) < 0)
        return -1;
    if (!text.len)
        return 0;
    struct stream_carry *carry = &l->carry[channel];
    struct piece p = take_apart(carry, text);
    struct str first = p.still_cut ? STR("") : str_make(p.first, p.first_len);
    if (!str_is_utf8(first) || !str_is_utf8(p.text))
        return err_set(e, ERR_BAD_VALUE, "stream: text of channel %" PRIu32 " is not UTF-8",
                       channel);
    /* A part is at most 3 bytes shorter than an event may be. */
    if (!has_room(l, first.len + p.text.len, p.text.len / (STREAM_EVENT_MAX - 3) + 2))
        return over_bound(l, e);
    if (add_text(l, channel, first, e) < 0 || add_text(l, channel, p.text, e) < 0)
        return -1;
    struct str kept = p.still_cut ? str_make(p.first, p.first_len) : p.cut;
    if (kept.len)
        memcpy(carry->at, kept.at, kept.len);
    carry->len = (uint8_t)kept.len;
    return 0;
}

int stream_log_data(struct stream_log *l, uint32_t channel, struct str map, struct err *e) {
    if (check_channel(channel, e) < 0)
        return -1;
    if (map.len > STREAM_EVENT_MAX)
        return err_set(e, ERR_TOO_LARGE, "stream: event of %zu bytes, at most %u", map.len,
                       STREAM_EVENT_MAX);
    struct cursor c = cursor_of(map);
    enum msgpack_type type = msgpack_peek(&c);
    if (type != MSGPACK_MAP)
        return err_set(e, ERR_BAD_VALUE, "stream: an event must be one map, is %s",
                       msgpack_type_name(type));
    if (msgpack_check(map, &data_limits, e) < 0)
        return err_add(e, "stream: event");
    if (!has_room(l, map.len, 1))
        return over_bound(l, e);
    return add_event(l, STREAM_DATA, channel, map, e);
}

static bool has_carry(const struct stream_log *l) {
    for (size_t i = 0; i < STREAM_CHANNELS; i++)
        if (l->carry[i].len)
            return true;
    return false;
}

int stream_log_reset(struct stream_log *l, struct err *e) {
    if (!l->seq && !l->over && !has_carry(l))
        return 0;
    if (l->resets == STREAM_RESETS_MAX)
        return err_set(e, ERR_TOO_LARGE, "stream: %u resets, the bound of one attempt",
                       STREAM_RESETS_MAX);
    l->resets++;
    buf_clear(&l->events);
    l->seq = l->said = 0;
    l->said_bytes = l->marks_n = 0;
    l->over = false;
    l->owes_position = true; /* readers learn at once that what they have is void */
    memset(l->carry, 0, sizeof l->carry);
    return 0;
}

void stream_log_end(struct stream_log *l) {
    for (uint32_t i = 0; i < STREAM_CHANNELS; i++) {
        if (!l->carry[i].len)
            continue;
        l->carry[i].len = 0;
        if (has_room(l, strlen(REPLACEMENT), 1))
            add_event(l, STREAM_TEXT, i, STR(REPLACEMENT), NULL);
        else
            l->over = true;
    }
}

/* ---- saying --------------------------------------------------------------------------------- */
size_t stream_log_unsaid(const struct stream_log *l) {
    return l->events.len - l->said_bytes;
}

/* As many events as one message takes; their bytes. */
static size_t measure_run(struct str events, uint64_t *count) {
    struct str rest = events;
    struct stream_event event;
    for (*count = 0; *count < RUN_EVENTS && rest.len; ++*count) {
        struct str next = rest;
        bool there = stream_next_event(&next, &event);
        ASSERT(there);
        if (*count && events.len - next.len > STREAM_RUN_BYTES)
            break;
        rest = next;
    }
    return events.len - rest.len;
}

bool stream_log_next(struct stream_log *l, struct msg_stream *head, struct str *events) {
    uint64_t count = l->seq - l->said;
    if (!count && !l->owes_position)
        return false;
    *events = str_make(l->events.at + l->said_bytes, stream_log_unsaid(l));
    if (count > RUN_EVENTS || events->len > STREAM_RUN_BYTES)
        events->len = measure_run(*events, &count);
    *head = (struct msg_stream){0};
    MSG_SET(head, stream, job, l->job);
    MSG_SET(head, stream, epoch, epoch(l));
    MSG_SET(head, stream, seq, count ? l->said + 1 : l->said);
    MSG_SET(head, stream, count, count);
    MSG_SET(head, stream, token, l->token);
    l->said += count;
    l->said_bytes += events->len;
    l->owes_position = false;
    return true;
}

void stream_log_rewind(struct stream_log *l, uint64_t token, struct stream_position have) {
    uint64_t seq = have.epoch == epoch(l) ? have.seq : 0;
    l->token = token;
    l->owes_position = l->seq || l->resets;
    if (seq >= l->said)
        return;
    uint64_t marked = seq / STREAM_MARK_EVENTS;
    size_t at = l->marks[marked];
    struct str rest = stream_skip_events(str_make(l->events.at + at, l->events.len - at),
                                         seq % STREAM_MARK_EVENTS);
    l->said = seq;
    l->said_bytes = l->events.len - rest.len;
}
