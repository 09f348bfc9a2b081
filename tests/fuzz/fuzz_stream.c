/* Frames of the stream socket, as anybody may send them: each has its length (2 bytes) in front.
 *
 * What is read is written and read again as the same, event by event; a relay that is fed with it
 * keeps its invariants and sends only what can be read; a reader tells each position once. */
#include "broker/relay/relay.h"
#include "common/base/check.h"
#include "common/wire/stream_reader.h"

#define MEMORY_MAX (1U << 20)
#define JOB        7
#define FENCE      512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct end {
    struct stream_reader reader;
    struct stream_position told;
};

static void check_same(const struct stream_frame *f) {
    AUTO_BUF events = BUF(MEMORY_MAX);
    AUTO_BUF frame = BUF(MEMORY_MAX);
    struct str rest = f->events;
    struct stream_event e, again;
    uint64_t n = 0;
    for (; stream_next_event(&rest, &e); n++)
        ASSERT(stream_put_event(&events, &e, NULL) == 0);
    ASSERT(n == f->head.count);
    stream_put_frame(&frame, STR(""), &f->head, buf_str(&events));
    struct stream_frame back;
    ASSERT(stream_read_frame(buf_str(&frame), &back, NULL) == 0);
    ASSERT(back.head.seq == f->head.seq && back.head.epoch == f->head.epoch);
    rest = f->events;
    while (stream_next_event(&rest, &e)) {
        ASSERT(stream_next_event(&back.events, &again));
        ASSERT(e.type == again.type && e.channel == again.channel && str_eq(e.bytes, again.bytes));
    }
}

static void on_publish(void *ctx, relay_peer to, const struct msg_stream *head, struct str events) {
    struct end *end = ctx;
    AUTO_BUF frame = BUF(MEMORY_MAX);
    struct stream_frame f;
    struct stream_event e;
    (void)to;
    stream_put_frame(&frame, STR(""), head, events);
    ASSERT(stream_read_frame(buf_str(&frame), &f, NULL) == 0);
    stream_reader_take(&end->reader, (struct mono){1}, &f);
    for (enum stream_news news; (news = stream_reader_next(&end->reader, &e)) != STREAM_NOTHING;) {
        struct stream_position at = stream_reader_position(&end->reader);
        ASSERT(news == STREAM_EVENT || news == STREAM_RESET);
        ASSERT(stream_before(end->told, at));
        end->told = at;
    }
}

static void on_need(void *ctx, uint64_t job, uint64_t fence, struct stream_position have) {
    (void)ctx;
    ASSERT(job == JOB && fence == FENCE && have.epoch >= FENCE);
}

static void on_whole(void *ctx, uint64_t job, uint64_t fence) {
    (void)ctx;
    (void)job;
    (void)fence;
    UNREACHABLE(); /* no end is reported here */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct end end = {.reader = stream_reader(JOB, (struct stream_position){0, 0})};
    struct relay_effects effects = {&end, on_publish, on_need, on_whole};
    struct relay_config config = relay_config_default();
    config.stream_bytes = 4096;
    config.bytes_max = MEMORY_MAX;
    struct relay *relay = relay_new(&config, &effects);
    relay_open(relay, (struct mono){1}, JOB, FENCE, 1, false);
    relay_attach(relay, (struct mono){1}, JOB, 1, (struct stream_position){0, 0}, false);
    while (size > 2) {
        size_t len = (size_t)data[0] << 8 | data[1];
        data += 2;
        size -= 2;
        if (len > size)
            len = size;
        struct str frame = str_make(data, len);
        struct stream_frame f;
        struct err e = {0};
        if (stream_read_frame(frame, &f, &e) == 0)
            check_same(&f);
        else
            ASSERT(e.code && e.text[0]);
        relay_frame(relay, (struct mono){1}, frame);
        relay_turn(relay, (struct mono){1});
        relay_check(relay);
        data += len;
        size -= len;
    }
    relay_destroy(&relay);
    return 0;
}
