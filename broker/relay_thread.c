#include "broker/relay_thread.h"

#include "broker/inflow.h"
#include "broker/peers.h"
#include "broker/readers.h"
#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/base/ring.h"
#include "common/os/clock.h"
#include "common/os/wake.h"
#include "common/wire/socket.h"
#include "common/wire/spin.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <zmq.h>

#define ORDERS      4096U
#define ANSWERS     4096U
#define FRAMES_TURN 256U  /* taken before the relay's turn */
#define QUEUE_MAX   16384 /* messages that wait for one subscriber; further ones are lost to him */
#define READ_MAX    4096  /* messages of one worker that wait for the relay */
#define STATS_MS    1000
#define WAIT_MAX_MS 1000
#define LOOK_NS     200000U /* from an order to the first word of its stream */

struct relay_thread {
    struct relay *relay;
    void *in, *out; /* XSUB, XPUB */
    uint16_t worker_port, reader_port;
    struct keyring *keyring;
    struct readers readers;
    struct ring orders, answers;
    struct spin spin;
    struct bell bell; /* wakes the thread */
    struct flag flag; /* raised for the dispatcher */
    atomic_bool stop;
    pthread_t thread;
    bool running;
    struct buf frame;
    struct relay_answer *wholes; /* that found the ring full */
    size_t n_wholes, wholes_size;
    struct mono stats_at;
    /* Figures, for people: a struct cannot be handed over by an atomic, and both sides are rare. */
    pthread_mutex_t stats_lock;
    struct relay_stats stats;
};

/* ---- what the relay does --------------------------------------------------------------------- */
static void publish(void *ctx, relay_peer to, const struct msg_stream *head, struct str events) {
    struct relay_thread *t = ctx;
    char topic[STREAM_TOPIC_LEN + 1];
    snprintf(topic, sizeof topic, "%016llx/", (unsigned long long)to);
    buf_clear(&t->frame);
    stream_put_frame(&t->frame, str_make(topic, STREAM_TOPIC_LEN), head, events);
    struct str all = buf_str(&t->frame);
    /* Lost to a subscriber whose queue is full: the numbers tell him. */
    while (zmq_send(t->out, all.at, all.len, ZMQ_DONTWAIT) < 0 && zmq_errno() == EINTR)
        continue;
}

static bool tell(struct relay_thread *t, const struct relay_answer *answer) {
    bool room = ring_push(&t->answers, answer);
    flag_raise(&t->flag);
    return room;
}

static void need(void *ctx, uint64_t job, uint64_t fence, struct stream_position have) {
    tell(ctx,
         &(struct relay_answer){.job = job, .fence = fence, .epoch = have.epoch, .seq = have.seq});
}

static void whole(void *ctx, uint64_t job, uint64_t fence) {
    struct relay_thread *t = ctx;
    struct relay_answer answer = {.job = job, .fence = fence, .whole = true};
    if (t->n_wholes == 0 && tell(t, &answer))
        return;
    if (t->n_wholes == t->wholes_size) {
        t->wholes_size = t->wholes_size ? 2 * t->wholes_size : 64;
        t->wholes = mem_grow(t->wholes, t->wholes_size, sizeof *t->wholes);
    }
    t->wholes[t->n_wholes++] = answer;
}

static void tell_wholes(struct relay_thread *t) {
    size_t told = 0;
    while (told < t->n_wholes && tell(t, &t->wholes[told]))
        told++;
    t->n_wholes -= told;
    if (told && t->n_wholes)
        memmove(t->wholes, t->wholes + told, t->n_wholes * sizeof *t->wholes);
}

/* ---- what it hears --------------------------------------------------------------------------- */
static void obey(struct relay_thread *t, struct mono now, const struct stream_order *o) {
    struct stream_position at = {o->epoch, o->seq};
    switch (o->what) {
    case STREAM_OPEN:
        relay_open(t->relay, now, o->job, o->fence, o->token, o->heard);
        break;
    case STREAM_ATTACH:
        relay_attach(t->relay, now, o->job, o->to, at, o->ended);
        break;
    case STREAM_ATTACH_AGAIN:
        relay_attach_again(t->relay, now, o->job, o->to, at);
        break;
    case STREAM_DETACH:
        relay_detach(t->relay, o->job, o->to);
        break;
    case STREAM_CLOSE:
        relay_close(t->relay, now, o->job, o->fence, at);
        break;
    case STREAM_END:
        relay_end(t->relay, now, o->job);
        break;
    }
}

static bool take_orders(struct relay_thread *t, struct mono now) {
    struct stream_order order;
    bool some = false;
    while (ring_pop(&t->orders, &order)) {
        obey(t, now, &order);
        some = true;
    }
    return some;
}

static bool receive(const struct relay_thread *t, void *socket, zmq_msg_t *m) {
    zmq_msg_init(m);
    while (zmq_msg_recv(m, socket, ZMQ_DONTWAIT) < 0) {
        if (zmq_errno() == EINTR)
            continue;
        zmq_msg_close(m);
        return false;
    }
    if (t->keyring)
        inflow_taken(zmq_msg_get(m, ZMQ_SRCFD));
    return true;
}

static bool admitted(struct relay_thread *t, zmq_msg_t *m, const char *domain) {
    return !t->keyring || keyring_admits(t->keyring, zmq_msg_gets(m, "User-Id"), domain);
}

/* A message has one frame; of others only the last is looked at, which then is not well-formed or
 * is what it should have been. */
static bool take_frames(struct relay_thread *t, struct mono now) {
    zmq_msg_t m;
    unsigned n = 0;
    while (n < FRAMES_TURN && receive(t, t->in, &m)) {
        n++;
        take_orders(t, now);
        if (!admitted(t, &m, KEYRING_STREAM_WORKER))
            shutdown(zmq_msg_get(&m, ZMQ_SRCFD), SHUT_RDWR); /* its key was taken out meanwhile */
        else if (!zmq_msg_more(&m))
            relay_frame(t->relay, now, str_make(zmq_msg_data(&m), zmq_msg_size(&m)));
        zmq_msg_close(&m);
    }
    return n > 0;
}

/* Whoever subscribed to less than a whole topic would hear what others are told. */
static void subscription(struct relay_thread *t, zmq_msg_t *m) {
    const char *at = zmq_msg_data(m);
    size_t len = zmq_msg_size(m);
    if (len != 1 + STREAM_TOPIC_LEN)
        return;
    if (at[0] == 0) {
        zmq_setsockopt(t->out, ZMQ_UNSUBSCRIBE, at + 1, len - 1);
        return;
    }
    const char *user_id = zmq_msg_gets(m, "User-Id");
    if (!keyring_admits(t->keyring, user_id, KEYRING_STREAM_READER)) {
        shutdown(zmq_msg_get(m, ZMQ_SRCFD), SHUT_RDWR);
        return;
    }
    zmq_setsockopt(t->out, ZMQ_SUBSCRIBE, at + 1, len - 1);
    if (t->keyring && user_id)
        readers_note(&t->readers, zmq_msg_get(m, ZMQ_SRCFD), user_id);
}

static void take_subscriptions(struct relay_thread *t) {
    zmq_msg_t m;
    if (t->keyring)
        readers_judge(&t->readers, t->keyring);
    for (unsigned n = 0; n < FRAMES_TURN && receive(t, t->out, &m); n++) {
        subscription(t, &m);
        zmq_msg_close(&m);
    }
}

/* ---- the thread ------------------------------------------------------------------------------ */
static void note_stats(struct relay_thread *t, struct mono now) {
    if (!mono_reached(now, t->stats_at))
        return;
    t->stats_at = mono_add(now, STATS_MS);
    struct relay_stats stats = relay_stats(t->relay);
    pthread_mutex_lock(&t->stats_lock);
    t->stats = stats;
    pthread_mutex_unlock(&t->stats_lock);
}

static void wait_for_work(struct relay_thread *t) {
    zmq_pollitem_t items[] = {{.fd = t->bell.fd, .events = ZMQ_POLLIN},
                              {.socket = t->in, .events = ZMQ_POLLIN},
                              {.socket = t->out, .events = ZMQ_POLLIN}};
    uint64_t ms = mono_until(clock_mono(), relay_next(t->relay));
    if (t->n_wholes)
        ms = 1;
    bell_sleep(&t->bell);
    if (ring_empty(&t->orders) && !atomic_load(&t->stop))
        spin_poll(&t->spin, items, 3, ms > WAIT_MAX_MS ? WAIT_MAX_MS : (long)ms);
    bell_awake(&t->bell);
}

static void *run(void *ctx) {
    struct relay_thread *t = ctx;
    while (!atomic_load(&t->stop)) {
        struct mono now = clock_mono();
        take_subscriptions(t);
        bool some = take_orders(t, now);
        some |= take_frames(t, now);
        relay_turn(t->relay, now);
        tell_wholes(t);
        note_stats(t, now);
        if (some)
            spin_heard(&t->spin);
        else
            wait_for_work(t);
    }
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */
static int failed(struct err *e, const char *what, const char *name) {
    return err_set(e, ERR_IO, "%s %s: %s", what, name, zmq_strerror(zmq_errno()));
}

static uint16_t port_of(void *socket) {
    char endpoint[256];
    size_t size = sizeof endpoint;
    int rc = zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, endpoint, &size);
    ASSERT(rc == 0);
    const char *colon = strrchr(endpoint, ':');
    return colon ? (uint16_t)strtoul(colon + 1, NULL, 10) : 0;
}

static int bind_one(const struct relay_thread_options *o, void *socket, const char *name,
                    const char *tcp, const char *domain, uint16_t *port, struct err *e) {
    char endpoint[64];
    socket_set(socket, ZMQ_LINGER, 0);
    socket_set(socket, ZMQ_BACKLOG, 1024);
    socket_set(socket, ZMQ_HANDSHAKE_IVL, PEERS_HANDSHAKE_MS);
    snprintf(endpoint, sizeof endpoint, "ipc://%s", name);
    if (zmq_bind(socket, endpoint) < 0)
        return failed(e, "cannot listen on", endpoint);
    if (!tcp)
        return 0;
    socket_set(socket, ZMQ_IPV6, strchr(tcp, '[') != NULL);
    keyring_secure(o->keyring, socket, domain);
    if (zmq_bind(socket, tcp) < 0)
        return failed(e, "cannot listen on", tcp);
    *port = port_of(socket);
    return 0;
}

static int open_sockets(struct relay_thread *t, const struct relay_thread_options *o,
                        struct err *e) {
    t->in = zmq_socket(o->context, ZMQ_XSUB);
    t->out = zmq_socket(o->context, ZMQ_XPUB);
    if (!t->in || !t->out)
        return failed(e, "cannot make the sockets of", "streams");
    socket_set_frame_max(t->in, STREAM_RUN_BYTES + STREAM_FRAME_MAX + KEY_FRAME_MORE);
    /* Subscriptions, and the greeting of the sockets, which it counts for too. */
    socket_set_frame_max(t->out, 1024);
    socket_set(t->in, ZMQ_RCVHWM, READ_MAX);
    socket_set(t->out, ZMQ_SNDHWM, QUEUE_MAX);
    socket_set(t->out, ZMQ_XPUB_MANUAL, 1);
    if (bind_one(o, t->in, RELAY_WORKER_SOCKET, o->tcp_worker, KEYRING_STREAM_WORKER,
                 &t->worker_port, e) < 0 ||
        bind_one(o, t->out, RELAY_READER_SOCKET, o->tcp_reader, KEYRING_STREAM_READER,
                 &t->reader_port, e) < 0)
        return -1;
    int rc = zmq_send(t->in, "\x01", 1, 0); /* everything */
    ASSERT(rc == 1);
    return 0;
}

int relay_thread_new(struct relay_thread **out, const struct relay_thread_options *o,
                     struct err *e) {
    struct relay_thread *t = MEM_NEW(struct relay_thread);
    *out = t;
    t->bell.fd = t->flag.fd = -1;
    t->spin.look_ns = LOOK_NS;
    t->keyring = o->keyring;
    t->frame = BUF(STREAM_TOPIC_LEN + STREAM_RUN_BYTES + STREAM_FRAME_MAX);
    pthread_mutex_init(&t->stats_lock, NULL);
    ring_init(&t->orders, ORDERS, sizeof(struct stream_order));
    ring_init(&t->answers, ANSWERS, sizeof(struct relay_answer));
    struct relay_effects effects = {.ctx = t, .publish = publish, .need = need, .whole = whole};
    t->relay = relay_new(&o->relay, &effects);
    if (bell_open(&t->bell) < 0 || flag_open(&t->flag) < 0)
        return err_errno(e, "the relay of streams");
    if (open_sockets(t, o, e) < 0)
        return -1;
    int status = pthread_create(&t->thread, NULL, run, t);
    if (status != 0)
        return err_set(e, ERR_NO_MEMORY, "cannot start a thread: %d", status);
    t->running = true;
    return 0;
}

void relay_thread_destroy(struct relay_thread **tp) {
    struct relay_thread *t = *tp;
    if (!t)
        return;
    *tp = NULL;
    if (t->running) {
        atomic_store(&t->stop, true);
        bell_ring(&t->bell);
        pthread_join(t->thread, NULL);
    }
    if (t->in)
        zmq_close(t->in);
    if (t->out)
        zmq_close(t->out);
    relay_destroy(&t->relay);
    ring_clear(&t->orders);
    ring_clear(&t->answers);
    bell_close(&t->bell);
    flag_close(&t->flag);
    buf_destroy(&t->frame);
    mem_free(t->wholes);
    readers_done(&t->readers);
    pthread_mutex_destroy(&t->stats_lock);
    mem_free(t);
}

uint16_t relay_thread_worker_port(const struct relay_thread *t) {
    return t->worker_port;
}

uint16_t relay_thread_reader_port(const struct relay_thread *t) {
    return t->reader_port;
}

/* ---- dispatcher ------------------------------------------------------------------------------ */
void relay_thread_order(struct relay_thread *t, const struct stream_order *order) {
    while (!ring_push(&t->orders, order)) {
        bell_ring(&t->bell);
        sched_yield();
    }
    bell_ring(&t->bell);
}

void relay_thread_renew_keys(struct relay_thread *t) {
    if (t->keyring)
        bell_ring(&t->bell);
}

int relay_thread_fd(const struct relay_thread *t) {
    return t->flag.fd;
}

bool relay_thread_answer(struct relay_thread *t, struct relay_answer *out) {
    if (ring_pop(&t->answers, out))
        return true;
    flag_lower(&t->flag);
    return ring_pop(&t->answers, out);
}

struct relay_stats relay_thread_stats(struct relay_thread *t) {
    pthread_mutex_lock(&t->stats_lock);
    struct relay_stats stats = t->stats;
    pthread_mutex_unlock(&t->stats_lock);
    return stats;
}
