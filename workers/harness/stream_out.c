#include "workers/harness/stream_out.h"

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/os/clock.h"
#include "common/wire/socket.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#define US 1000ULL /* in nanoseconds */
#define MS 1000000ULL

struct stream_socket {
    pthread_mutex_t lock; /* of `socket` and `frame` */
    void *socket;         /* NULL: what is said is dropped */
    struct buf frame;
    int fd;            /* eventfd */
    atomic_bool wants; /* the host looks at the streams within STREAM_GATHER_US */
};

struct stream_out {
    struct stream_socket *socket;
    pthread_mutex_t lock; /* of what follows */
    struct stream_log log;
    bool mute;
    bool position_told; /* since the last event */
    uint64_t said_ns;   /* the last message */
};

/* ---- the socket ----------------------------------------------------------------------------- */
struct stream_socket *stream_socket_new(void) {
    struct stream_socket *s = MEM_NEW(struct stream_socket);
    s->frame = BUF(STREAM_FRAME_MAX);
    s->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    ASSERT(s->fd >= 0);
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

void stream_socket_destroy(struct stream_socket **sp) {
    struct stream_socket *s = *sp;
    if (!s)
        return;
    *sp = NULL;
    stream_socket_close(s);
    pthread_mutex_destroy(&s->lock);
    buf_destroy(&s->frame);
    close(s->fd);
    mem_free(s);
}

static void *connect_pub(void *context, const char *endpoint, const struct key_file *key,
                         struct err *e) {
    void *socket = zmq_socket(context, ZMQ_PUB);
    if (!socket) {
        err_set(e, ERR_IO, "a socket: %s", zmq_strerror(errno));
        return NULL;
    }
    socket_set(socket, ZMQ_SNDHWM, STREAM_QUEUE_MAX);
    socket_set(socket, ZMQ_LINGER, 0);
    socket_set(socket, ZMQ_RECONNECT_IVL, 100);
    socket_set(socket, ZMQ_RECONNECT_IVL_MAX, 1000);
    socket_set(socket, ZMQ_IPV6, 1);
    if (key)
        socket_be_curve_client(socket, key);
    if (zmq_connect(socket, endpoint) == 0)
        return socket;
    err_set(e, ERR_IO, "%s: %s", endpoint, zmq_strerror(errno));
    zmq_close(socket);
    return NULL;
}

static void replace(struct stream_socket *s, void *socket) {
    pthread_mutex_lock(&s->lock);
    void *old = s->socket;
    s->socket = socket;
    pthread_mutex_unlock(&s->lock);
    if (old)
        zmq_close(old);
}

int stream_socket_open(struct stream_socket *s, void *context, const char *endpoint,
                       const struct key_file *key, struct err *e) {
    void *socket = connect_pub(context, endpoint, key, e);
    replace(s, socket);
    return socket ? 0 : -1;
}

void stream_socket_close(struct stream_socket *s) {
    replace(s, NULL);
}

int stream_socket_fd(const struct stream_socket *s) {
    return s->fd;
}

void stream_socket_heard(struct stream_socket *s) {
    uint64_t n;
    if (read(s->fd, &n, sizeof n) < 0)
        ASSERT(errno == EAGAIN || errno == EINTR);
}

bool stream_socket_wants(const struct stream_socket *s) {
    return atomic_load(&s->wants);
}

bool stream_socket_begin(struct stream_socket *s) {
    return atomic_exchange(&s->wants, false);
}

static void wake_host(struct stream_socket *s) {
    uint64_t one = 1;
    if (!atomic_exchange(&s->wants, true) && write(s->fd, &one, sizeof one) < 0)
        ASSERT(errno == EAGAIN); /* it is readable already */
}

static void send_frame(struct stream_socket *s, const struct msg_stream *head, struct str events) {
    pthread_mutex_lock(&s->lock);
    if (s->socket) {
        buf_clear(&s->frame);
        stream_put_frame(&s->frame, STR(""), head, events);
        ASSERT(!s->frame.failed);
        /* Whatever becomes of it, the broker asks for what it misses. */
        zmq_send(s->socket, s->frame.at, s->frame.len, ZMQ_DONTWAIT);
    }
    pthread_mutex_unlock(&s->lock);
}

/* ---- one stream ----------------------------------------------------------------------------- */
struct stream_out *stream_out_new(struct stream_socket *s, const struct stream_config *config) {
    struct stream_out *o = MEM_NEW(struct stream_out);
    o->socket = s;
    o->mute = config->mute;
    stream_log_init(&o->log, config->job, config->fence, config->token, config->bytes_max);
    pthread_mutex_init(&o->lock, NULL);
    return o;
}

void stream_out_destroy(struct stream_out **op) {
    struct stream_out *o = *op;
    if (!o)
        return;
    *op = NULL;
    stream_log_done(&o->log);
    pthread_mutex_destroy(&o->lock);
    mem_free(o);
}

/* Under the stream's lock, as the two below. */
static void say_all(struct stream_out *o, uint64_t now_ns) {
    struct msg_stream head;
    struct str events;
    while (!o->mute && stream_log_next(&o->log, &head, &events)) {
        send_frame(o->socket, &head, events);
        o->position_told = head.count == 0;
        o->said_ns = now_ns;
    }
}

static bool is_due(const struct stream_out *o, uint64_t now_ns) {
    return now_ns - o->said_ns >= STREAM_GATHER_US * US ||
           stream_log_unsaid(&o->log) >= STREAM_GATHER_BYTES;
}

static void say_or_gather(struct stream_out *o) {
    uint64_t now_ns = clock_mono_ns();
    if (o->mute || (!stream_log_unsaid(&o->log) && !o->log.owes_position))
        return;
    if (is_due(o, now_ns))
        say_all(o, now_ns);
    else
        wake_host(o->socket);
}

int stream_out_text(struct stream_out *o, uint32_t channel, struct str text, struct err *e) {
    pthread_mutex_lock(&o->lock);
    int rc = stream_log_text(&o->log, channel, text, e);
    say_or_gather(o);
    pthread_mutex_unlock(&o->lock);
    return rc;
}

int stream_out_data(struct stream_out *o, uint32_t channel, struct str map, struct err *e) {
    pthread_mutex_lock(&o->lock);
    int rc = stream_log_data(&o->log, channel, map, e);
    say_or_gather(o);
    pthread_mutex_unlock(&o->lock);
    return rc;
}

int stream_out_reset(struct stream_out *o, struct err *e) {
    pthread_mutex_lock(&o->lock);
    int rc = stream_log_reset(&o->log, e);
    say_or_gather(o);
    pthread_mutex_unlock(&o->lock);
    return rc;
}

int stream_out_end(struct stream_out *o, struct stream_position *last, struct err *e) {
    pthread_mutex_lock(&o->lock);
    stream_log_end(&o->log);
    say_all(o, clock_mono_ns());
    *last = stream_log_position(&o->log);
    bool over = o->log.over;
    pthread_mutex_unlock(&o->lock);
    return over ? err_set(e, ERR_TOO_LARGE, "stream: over its bound of %zu bytes",
                          o->log.events.bytes_max)
                : 0;
}

void stream_out_again(struct stream_out *o, uint64_t token, struct stream_position have) {
    pthread_mutex_lock(&o->lock);
    stream_log_rewind(&o->log, token, have);
    say_all(o, clock_mono_ns());
    pthread_mutex_unlock(&o->lock);
}

void stream_out_mute(struct stream_out *o) {
    pthread_mutex_lock(&o->lock);
    o->mute = true;
    pthread_mutex_unlock(&o->lock);
}

void stream_out_turn(struct stream_out *o, uint64_t now_ns, uint64_t beat_ms) {
    pthread_mutex_lock(&o->lock);
    uint64_t quiet_ns = now_ns > o->said_ns ? now_ns - o->said_ns : 0;
    if (stream_log_unsaid(&o->log) || o->log.owes_position) {
        if (!o->mute && quiet_ns >= STREAM_GATHER_US * US)
            say_all(o, now_ns);
        else if (!o->mute)
            atomic_store(&o->socket->wants, true); /* again soon */
    } else if (stream_log_position(&o->log).epoch &&
               quiet_ns >= (o->position_told ? beat_ms : STREAM_QUIET_MS) * MS) {
        o->log.owes_position = true;
        say_all(o, now_ns);
    }
    pthread_mutex_unlock(&o->lock);
}
