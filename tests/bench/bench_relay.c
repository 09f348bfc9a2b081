/* The relay alone: frames of 64-byte events in, of 2 streams, to 2 subscribers each; what goes out
 * is put into frames as for a socket, none is sent. One thread. */
#include "broker/relay/relay.h"
#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/os/clock.h"
#include "common/wire/stream_reader.h"

#include <stdio.h>

#define STREAMS     2U
#define SUBSCRIBERS 2U
#define EVENT_BYTES 64U
#define BURST       8U           /* frames between two turns */
#define STREAM_LEN  (100U << 10) /* events of an attempt */

struct bench {
    struct relay *relay;
    struct buf frame, out;
    struct buf events; /* of one frame */
    uint64_t out_frames, out_events, fence;
};

static void on_publish(void *ctx, relay_peer to, const struct msg_stream *head, struct str events) {
    struct bench *b = ctx;
    (void)to;
    buf_clear(&b->out);
    stream_put_frame(&b->out, STR("0123456789abcdef/"), head, events);
    b->out_frames++;
    b->out_events += head->count;
}

static void on_need(void *ctx, uint64_t job, uint64_t fence, struct stream_position have) {
    (void)ctx;
    (void)job;
    (void)fence;
    (void)have;
    UNREACHABLE(); /* nothing is lost here */
}

static void on_whole(void *ctx, uint64_t job, uint64_t fence) {
    (void)ctx;
    (void)job;
    (void)fence;
}

static void say(struct bench *b, uint64_t job, uint64_t seq, uint32_t count) {
    struct msg_stream head = {0};
    MSG_SET(&head, stream, job, job);
    MSG_SET(&head, stream, epoch, b->fence);
    MSG_SET(&head, stream, seq, seq);
    MSG_SET(&head, stream, count, count);
    MSG_SET(&head, stream, token, b->fence * 31);
    buf_clear(&b->frame);
    stream_put_frame(&b->frame, STR(""), &head, buf_str(&b->events));
    relay_frame(b->relay, (struct mono){1}, buf_str(&b->frame));
}

static void one_attempt(struct bench *b, uint32_t count) {
    b->fence += 256;
    for (uint64_t job = 1; job <= STREAMS; job++)
        relay_open(b->relay, (struct mono){1}, job, b->fence, b->fence * 31, false);
    uint32_t n = 0;
    for (uint64_t seq = 1; seq <= STREAM_LEN; seq += count) {
        for (uint64_t job = 1; job <= STREAMS; job++)
            say(b, job, seq, count);
        if (++n % BURST == 0)
            relay_turn(b->relay, (struct mono){1});
    }
    relay_turn(b->relay, (struct mono){1});
}

/* `count` events a frame. */
static void run(uint32_t count) {
    struct bench b = {.frame = BUF(1U << 20), .out = BUF(1U << 20), .events = BUF(1U << 20)};
    struct relay_effects effects = {&b, on_publish, on_need, on_whole};
    struct relay_config config = relay_config_default();
    config.stream_bytes = 16U << 20;
    b.relay = relay_new(&config, &effects);
    static char text[EVENT_BYTES];
    memset(text, 'x', sizeof text);
    struct stream_event e = {STREAM_TEXT, 0, str_make(text, sizeof text)};
    for (uint32_t k = 0; k < count; k++)
        stream_put_event(&b.events, &e, NULL);
    for (uint64_t job = 1; job <= STREAMS; job++)
        for (relay_peer to = 1; to <= SUBSCRIBERS; to++)
            relay_attach(b.relay, (struct mono){1}, job, to, (struct stream_position){0, 0}, false);
    uint64_t start = clock_mono_ns();
    while (clock_mono_ns() - start < 1000000000ULL)
        one_attempt(&b, count);
    double s = (double)(clock_mono_ns() - start) / 1e9;
    struct relay_stats t = relay_stats(b.relay);
    ASSERT(b.out_events == t.events * SUBSCRIBERS && t.gaps == 0);
    printf("%4u events a frame: %6.0f k frames/s, %6.2f M events/s in, %6.2f M out, "
           "%.0f events a message out\n",
           count, (double)t.frames / s / 1e3, (double)t.events / s / 1e6,
           (double)b.out_events / s / 1e6, (double)b.out_events / (double)b.out_frames);
    relay_destroy(&b.relay);
    buf_destroy(&b.frame);
    buf_destroy(&b.out);
    buf_destroy(&b.events);
}

int main(int argc, char **argv) {
    if (argc > 1 && str_eq(str_of(argv[1]), STR("--about"))) {
        puts("the relay of streams alone: 64-byte events, 2 streams, 2 subscribers of each");
        return 0;
    }
    const uint32_t counts[] = {1, 4, 16, 64, 256, 1024};
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++)
        run(counts[k]);
    return 0;
}
