/* Streams: how many deltas a second pass from two workers to two subscribers, and how long the
 * first one takes. */
#include "common/os/clock.h"
#include "common/wire/stream_client.h"
#include "tests/bench/bench_queue_quern.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define SUBSCRIBERS 2U
#define DELTA_BYTES 64U
#define DELTAS      "50000" /* of one job: what fits its stream */
#define JOBS_ALIVE  2U      /* of each subscriber, so that no worker waits for him */
#define FIRSTS_MAX  5000U
#define FIRSTS_WARM 100U

#define SETTINGS                                                                                   \
    "log: {level: error}\n"                                                                        \
    "streams: {stream_max: 16MiB, bytes_max: 256MiB}\n"                                            \
    "kinds: {stream: {speculative: true, streams: true}}\n"

/* ---- a subscriber, in a process of his own --------------------------------------------------- */
struct seen {
    _Atomic uint64_t events, bytes, resets, broken, ended;
};

struct subscriber {
    const struct quern *quern;
    struct seen *seen;
    struct quern own;
    struct stream_client *streams;
    uint32_t alive;
};

static void on_stream(void *ctx, const struct stream_told *told) {
    struct subscriber *s = ctx;
    if (told->news == STREAM_EVENT) {
        atomic_fetch_add_explicit(&s->seen->events, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&s->seen->bytes, told->event->bytes.len, memory_order_relaxed);
    } else if (told->news == STREAM_RESET) {
        atomic_fetch_add(&s->seen->resets, 1);
    } else if (told->news == STREAM_BROKEN) {
        atomic_fetch_add(&s->seen->broken, 1);
    }
}

static void on_submitted(void *ctx, const struct client_reply *r) {
    (void)ctx;
    const struct msg_submitted *m = r->message;
    if (!r->end && m->code)
        die("a stream was refused: %.*s", (int)m->text.len, m->text.at);
}

static void submit_stream(struct subscriber *s, struct str payload, uint64_t durability) {
    struct msg_submit m = {0};
    struct client_item item = CLIENT_ITEM(&m, payload);
    struct err e = {0};
    MSG_SET(&m, submit, kind, STR("stream"));
    MSG_SET(&m, submit, attach, true);
    MSG_SET(&m, submit, durability, durability);
    if (client_request(s->own.client, VERB_submit, &item, 1, on_submitted, s, MONO_NEVER, &e) < 0)
        die("%s", e.text);
    s->alive++;
}

static void connect_subscriber(struct subscriber *s) {
    struct err e = {0};
    s->own = *s->quern;
    s->own.client = NULL;
    s->own.ended = 0;
    quern_connect(&s->own, ROLE_GATEWAY);
    struct stream_client_config config = {.ctx = s, .on_stream = on_stream};
    if (stream_client_new(&s->streams, s->own.client, &config, &e) < 0)
        die("%s", e.text);
}

/* {"pieces": ..., "bytes": ...} */
static struct str payload_of(const char *pieces, uint64_t bytes, struct buf *b) {
    uint64_t n = strtoull(pieces, NULL, 10);
    buf_clear(b);
    msgpack_put_map(b, 2);
    msgpack_put_text(b, STR("pieces"));
    msgpack_put_uint(b, n);
    msgpack_put_text(b, STR("bytes"));
    msgpack_put_uint(b, bytes);
    return buf_str(b);
}

static void subscribe(const void *arg) {
    struct subscriber s = *(const struct subscriber *)arg;
    AUTO_BUF payload = BUF(256);
    connect_subscriber(&s);
    payload_of(DELTAS, DELTA_BYTES, &payload);
    for (;;) {
        while (s.alive - (uint32_t)s.own.ended < JOBS_ALIVE)
            submit_stream(&s, buf_str(&payload), 2);
        stream_client_poll(s.streams, mono_add(clock_mono(), 1000));
        atomic_store(&s.seen->ended, s.own.ended);
    }
}

/* ---- how many -------------------------------------------------------------------------------- */
static uint64_t events_of(const struct seen *seen) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < SUBSCRIBERS; i++)
        sum += atomic_load(&seen[i].events);
    return sum;
}

static uint64_t cpu_us_of(const struct quern *q, const struct process *subscribers) {
    uint64_t sum = process_usage(q->broker.pid).cpu_us;
    for (unsigned i = 0; i < SUBSCRIBERS; i++)
        sum += process_usage(subscribers[i].pid).cpu_us;
    for (unsigned i = 0; i < WORKERS; i++)
        sum += process_usage(q->workers[i].pid).cpu_us;
    return sum;
}

static void throughput(const struct bench *b) {
    struct quern q;
    struct process processes[SUBSCRIBERS];
    struct subscriber s[SUBSCRIBERS];
    struct samples samples;
    struct seen *seen = mmap(NULL, SUBSCRIBERS * sizeof *seen, PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (seen == MAP_FAILED)
        die("no memory");
    quern_start(&q, b, SETTINGS, WORKERS, ROLE_GATEWAY);
    for (unsigned i = 0; i < SUBSCRIBERS; i++) {
        s[i] = (struct subscriber){.quern = &q, .seen = &seen[i]};
        process_fork(&processes[i], subscribe, &s[i]);
    }
    struct mono deadline = mono_add(clock_mono(), 30000);
    while (events_of(seen) == 0 && !mono_reached(clock_mono(), deadline))
        client_poll(q.client, mono_add(clock_mono(), 1));
    uint64_t broker = process_usage(q.broker.pid).cpu_us, all = cpu_us_of(&q, processes);
    uint64_t before = events_of(seen), end = clock_mono_ns() + b->seconds * SECOND_NS;
    samples_begin(&samples, before);
    while (clock_mono_ns() < end) {
        client_poll(q.client, mono_add(clock_mono(), 10));
        samples_add(&samples, events_of(seen));
    }
    double n = (double)(events_of(seen) - before);
    struct cost cost = {.broker_us = (double)(process_usage(q.broker.pid).cpu_us - broker) / n,
                        .total_us = (double)(cpu_us_of(&q, processes) - all) / n};
    row_rate("deltas of 64 bytes", &samples, &cost, 1000000);
    uint64_t resets = 0, broken = 0, ended = 0;
    for (unsigned i = 0; i < SUBSCRIBERS; i++) {
        resets += atomic_load(&seen[i].resets);
        broken += atomic_load(&seen[i].broken);
        ended += atomic_load(&seen[i].ended);
        process_stop(&processes[i]);
    }
    row_text("", "%llu streams ended, %llu resets, %llu not whole", (unsigned long long)ended,
             (unsigned long long)resets, (unsigned long long)broken);
    quern_stop(&q);
    munmap(seen, SUBSCRIBERS * sizeof *seen);
}

/* ---- how soon -------------------------------------------------------------------------------- */
static void first_delta(const struct bench *b, const char *name, uint64_t durability,
                        double target_us) {
    static uint64_t ns[FIRSTS_MAX];
    struct quern q;
    struct seen seen = {0};
    struct subscriber s = {.quern = &q, .seen = &seen};
    AUTO_BUF payload = BUF(256);
    size_t n = 0;
    quern_start(&q, b, SETTINGS, 1, ROLE_GATEWAY);
    connect_subscriber(&s);
    payload_of("1", DELTA_BYTES, &payload);
    uint64_t end = clock_mono_ns() + b->seconds * SECOND_NS;
    for (size_t i = 0; n < FIRSTS_MAX && clock_mono_ns() < end; i++) {
        uint64_t events = atomic_load(&seen.events), began = clock_mono_ns();
        submit_stream(&s, buf_str(&payload), durability);
        while (atomic_load(&seen.events) == events)
            stream_client_poll(s.streams, MONO_NEVER);
        uint64_t took = clock_mono_ns() - began;
        if (i >= FIRSTS_WARM)
            ns[n++] = took;
        while (s.own.ended < s.alive)
            stream_client_poll(s.streams, MONO_NEVER);
    }
    row_latency(name, ns, n, target_us);
    stream_client_destroy(&s.streams);
    quern_disconnect(&s.own);
    quern_stop(&q);
}

void quern_streams(const struct bench *b) {
    heading("Streams: two workers of one slot, two subscribers in processes of their own");
    throughput(b);
    heading("Streams: from the submission of a job until its first delta is heard");
    first_delta(b, "in memory", 2, 300);
    first_delta(b, "durable, speculative", 0, 300);
}
