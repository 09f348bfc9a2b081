/* A broker that does nothing but pass messages on: what sockets alone allow. */
#include "tests/bench/bench_queue.h"

#include "common/os/clock.h"

#include <stdio.h>
#include <string.h>
#include <zmq.h>

#define CONSUMERS    2U
#define RESULT_BYTES 24U /* of one item, on its way back */
#define ITEM_BYTES   (PAYLOAD_BYTES + 32U)
#define IN_FLIGHT    32U
#define BATCH_MAX    256U
#define SINGLES_MAX  20000U
#define ID_SIZE      16U

struct place {
    char front[PATH_SIZE + 8], back[PATH_SIZE + 8];
};

static void *open_socket(void *context, int type, const char *endpoint, bool bound) {
    void *s = zmq_socket(context, type);
    int linger = 0;
    zmq_setsockopt(s, ZMQ_LINGER, &linger, sizeof linger);
    if (!s || (bound ? zmq_bind(s, endpoint) : zmq_connect(s, endpoint)) < 0)
        die("zmq: %s", zmq_strerror(zmq_errno()));
    return s;
}

/* ---- the other processes -------------------------------------------------------------------- */
struct peer {
    char id[ID_SIZE];
    size_t len;
};

/* A message and who sent it. */
static bool take(void *socket, struct peer *from, zmq_msg_t *message) {
    int n = zmq_recv(socket, from->id, ID_SIZE, ZMQ_DONTWAIT);
    if (n < 0)
        return false;
    from->len = (size_t)n;
    zmq_msg_init(message);
    return zmq_msg_recv(message, socket, ZMQ_DONTWAIT) >= 0;
}

static void give(void *socket, const struct peer *to, zmq_msg_t *message) {
    if (zmq_send(socket, to->id, to->len, ZMQ_SNDMORE) < 0 || zmq_msg_send(message, socket, 0) < 0)
        zmq_msg_close(message);
}

/* Consumers say one empty message when they come; producers are told each result. */
static void broker(const void *arg) {
    const struct place *place = arg;
    void *context = zmq_ctx_new();
    void *front = open_socket(context, ZMQ_ROUTER, place->front, true);
    void *back = open_socket(context, ZMQ_ROUTER, place->back, true);
    struct peer producer = {0}, from, consumers[CONSUMERS];
    unsigned known = 0, next = 0;
    zmq_msg_t m;
    for (;;) {
        zmq_pollitem_t items[] = {{.socket = back, .events = ZMQ_POLLIN},
                                  {.socket = front, .events = ZMQ_POLLIN}};
        zmq_poll(items, known ? 2 : 1, -1);
        while (take(back, &from, &m)) {
            if (zmq_msg_size(&m)) {
                give(front, &producer, &m);
            } else {
                zmq_msg_close(&m);
                if (known < CONSUMERS)
                    consumers[known++] = from;
            }
        }
        while (known && take(front, &producer, &m))
            give(back, &consumers[next++ % known], &m);
    }
}

static void consume(const void *arg) {
    const struct place *place = arg;
    static char result[BATCH_MAX * RESULT_BYTES];
    void *s = open_socket(zmq_ctx_new(), ZMQ_DEALER, place->back, false);
    zmq_send(s, "", 0, 0);
    for (;;) {
        zmq_msg_t m;
        zmq_msg_init(&m);
        if (zmq_msg_recv(&m, s, 0) < 0)
            return;
        size_t items = zmq_msg_size(&m) / ITEM_BYTES;
        zmq_msg_close(&m);
        zmq_send(s, result, items * RESULT_BYTES, 0);
    }
}

/* ---- the producer --------------------------------------------------------------------------- */
static void send_batch(void *s, size_t batch) {
    zmq_msg_t m;
    zmq_msg_init_size(&m, batch * ITEM_BYTES);
    memset(zmq_msg_data(&m), 'x', zmq_msg_size(&m));
    zmq_msg_send(&m, s, 0);
}

static void hear(void *s) {
    zmq_msg_t m;
    zmq_msg_init(&m);
    zmq_msg_recv(&m, s, 0);
    zmq_msg_close(&m);
}

static void sustained(void *s, const struct bench *b, size_t batch) {
    struct samples samples;
    uint64_t done = 0, end = clock_mono_ns() + b->seconds * SECOND_NS;
    for (unsigned i = 0; i < IN_FLIGHT; i++)
        send_batch(s, batch);
    samples_begin(&samples, 0);
    while (clock_mono_ns() < end) {
        hear(s);
        done += batch;
        send_batch(s, batch);
        samples_add(&samples, done);
    }
    for (unsigned i = 0; i < IN_FLIGHT; i++)
        hear(s);
    char name[64];
    snprintf(name, sizeof name, "%zu items a frame", batch);
    row_rate(name, &samples, &NO_COST, 0);
}

static void single(void *s, const struct bench *b) {
    static uint64_t ns[SINGLES_MAX];
    size_t n = 0;
    uint64_t end = clock_mono_ns() + b->seconds * SECOND_NS;
    while (n < SINGLES_MAX && clock_mono_ns() < end) {
        uint64_t began = clock_mono_ns();
        send_batch(s, 1);
        hear(s);
        ns[n++] = clock_mono_ns() - began;
    }
    row_latency("one at a time", ns, n, 0);
}

void zmq_limit(const struct bench *b) {
    struct process processes[1 + CONSUMERS];
    struct place place;
    heading("libzmq: an empty broker of two ROUTER sockets over ipc, two consumers");
    snprintf(place.front, sizeof place.front, "ipc://%s/front", b->root);
    snprintf(place.back, sizeof place.back, "ipc://%s/back", b->root);
    process_fork(&processes[0], broker, &place);
    for (unsigned i = 0; i < CONSUMERS; i++)
        process_fork(&processes[1 + i], consume, &place);
    void *context = zmq_ctx_new();
    void *s = open_socket(context, ZMQ_DEALER, place.front, false);
    sustained(s, b, 32);
    sustained(s, b, 256);
    single(s, b);
    zmq_close(s);
    zmq_ctx_term(context);
    for (unsigned i = 0; i <= CONSUMERS; i++)
        process_stop(&processes[i]);
}
