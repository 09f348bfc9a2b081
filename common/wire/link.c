#include "common/wire/link.h"

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/wire/link_core.h"
#include "common/wire/socket.h"
#include "common/wire/spin.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

#define PARTS       3
#define WAIT_FDS    16
#define HOST_LEN    255
#define NAME_LEN    128
#define ARENA_BYTES (1U << 20) /* lists of one message */
#define LOOK_NS     600000U    /* a job's whole way, with two syncs of the journal */
#define WATCHED                                                                                    \
    (ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |                               \
     ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)
#define CONNECT_MS 75 /* between two tries to connect, up to twice that */

struct link {
    struct link_config config; /* its texts point to the copies below */
    char endpoint[LINK_ENDPOINT_MAX];
    char name[NAME_LEN + 1], host[HOST_LEN + 1];
    struct link_core core;
    void *context, *socket; /* socket: NULL while there is none */
    int folder;             /* of a socket whose path is too long, or -1 */
    int stream_folder;      /* likewise of the stream socket */
    struct key_file key;    /* where config.key points to, unless that is NULL */
    const char *handshake;  /* why the last one failed */
    void *watch;            /* hears of the ends of the socket's connections; with the socket */
    int watch_fd;
    unsigned watches; /* so far */
    bool cut;         /* the connection has ended */
    int epoll;        /* the one fd that stays while sockets come and go */
    struct frame_out out;
    struct arena *arena;
    zmq_msg_t parts[PARTS];
    size_t n_parts;
    struct spin spin;
    struct link_todo told; /* up, down, refused that the user has not been told of */
};

/* ---- the socket ----------------------------------------------------------------------------- */
/* A path over the kernel's bound is reached through a handle of its folder. */
static int reachable(const char *endpoint, int *handle, char out[LINK_ENDPOINT_MAX]) {
    const char *path = endpoint + strlen("ipc://");
    size_t max = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;
    snprintf(out, LINK_ENDPOINT_MAX, "%s", endpoint);
    if (!str_starts(str_of(endpoint), STR("ipc://")) || strlen(path) <= max)
        return 0;
    const char *slash = strrchr(path, '/');
    if (!slash)
        return -1;
    char folder[LINK_ENDPOINT_MAX];
    snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
    if (*handle >= 0)
        close(*handle);
    *handle = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*handle < 0)
        return -1;
    int n = snprintf(out, LINK_ENDPOINT_MAX, "ipc:///proc/self/fd/%d%s", *handle, slash);
    return n > 0 && (size_t)n - strlen("ipc://") <= max ? 0 : -1;
}

/* ZeroMQ connects anew by itself and tells nobody, but what was said on the old connection, HELLO
 * too, is lost with it. So we listen to its monitor, for that event alone. To be called before the
 * first connection. */
static int watch_socket(struct link *l, struct err *e) {
    char name[32];
    snprintf(name, sizeof name, "inproc://watch-%u", l->watches++);
    l->watch = zmq_socket(l->context, ZMQ_PAIR);
    if (!l->watch)
        return err_set(e, ERR_IO, "a socket: %s", zmq_strerror(errno));
    socket_set(l->watch, ZMQ_RCVHWM, 0); /* whoever tells the event would wait for room */
    if (zmq_socket_monitor(l->socket, name, WATCHED) < 0 || zmq_connect(l->watch, name) < 0)
        return err_set(e, ERR_IO, "the monitor of a socket: %s", zmq_strerror(errno));
    l->watch_fd = socket_fd(l->watch);
    return 0;
}

static void unwatch_socket(struct link *l) {
    zmq_socket_monitor(l->socket, NULL, 0); /* first: it would wait for a listener that is gone */
    if (l->watch)
        zmq_close(l->watch);
    l->watch = NULL;
    l->cut = false;
}

static void note_event(struct link *l, uint16_t event) {
    if (event == ZMQ_EVENT_DISCONNECTED)
        l->cut = true;
    else if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)
        l->handshake = "it refuses this key: it is not listed there, or not for that endpoint";
    else if (l->config.key)
        l->handshake = "the handshake failed: its key is another one, or it uses none";
    else
        l->handshake = "the handshake failed: it may want a key";
}

/* True when the end of the connection was not known before. An event is two frames. */
static bool notice_cut(struct link *l) {
    char frame[8];
    uint16_t event;
    bool knew = l->cut, more = false;
    int n;
    while (l->watch && (n = zmq_recv(l->watch, frame, sizeof frame, ZMQ_DONTWAIT)) >= 0) {
        if (!more && n >= (int)sizeof event) {
            memcpy(&event, frame, sizeof event);
            note_event(l, event);
        }
        more = !more;
    }
    return l->cut && !knew;
}

static void close_socket(struct link *l, int linger_ms) {
    if (!l->socket)
        return;
    if (l->watch)
        epoll_ctl(l->epoll, EPOLL_CTL_DEL, l->watch_fd, NULL);
    unwatch_socket(l);
    epoll_ctl(l->epoll, EPOLL_CTL_DEL, socket_fd(l->socket), NULL);
    socket_set(l->socket, ZMQ_LINGER, linger_ms);
    zmq_close(l->socket);
    l->socket = NULL;
}

static void listen_to(struct link *l, int fd) {
    struct epoll_event ev = {.events = EPOLLIN};
    int rc = epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &ev);
    ASSERT(rc == 0);
}

static int open_socket(struct link *l, struct err *e) {
    char where[LINK_ENDPOINT_MAX];
    close_socket(l, 0);
    if (reachable(l->endpoint, &l->folder, where) < 0)
        return err_errno(e, "%s", l->endpoint);
    l->socket = zmq_socket(l->context, ZMQ_DEALER);
    if (!l->socket)
        return err_set(e, ERR_IO, "a socket: %s", zmq_strerror(errno));
    socket_set(l->socket, ZMQ_SNDHWM, LINK_QUEUE_MAX);
    socket_set(l->socket, ZMQ_LINGER, 0);
    socket_set(l->socket, ZMQ_RECONNECT_IVL, CONNECT_MS);
    socket_set(l->socket, ZMQ_IPV6, 1);
    socket_set_frame_max(l->socket, FRAME_BYTES_MAX + KEY_FRAME_MORE);
    link_secure(l, l->socket);
    int rc = watch_socket(l, e);
    if (rc == 0 && zmq_connect(l->socket, where) < 0)
        rc = err_set(e, ERR_USAGE, "%s: %s", l->endpoint, zmq_strerror(errno));
    if (rc < 0) {
        unwatch_socket(l);
        zmq_close(l->socket);
        l->socket = NULL;
        return -1;
    }
    listen_to(l, socket_fd(l->socket));
    listen_to(l, l->watch_fd);
    return 0;
}

/* ---- saying --------------------------------------------------------------------------------- */
static int send_part(struct link *l, struct str part, int more) {
    int rc;
    do
        rc = zmq_send(l->socket, part.len ? part.at : "", part.len, ZMQ_DONTWAIT | more);
    while (rc < 0 && errno == EINTR);
    return rc;
}

/* ZeroMQ takes all parts of a message or none: only the first can be refused. */
static int send_parts(struct link *l, struct str head, struct str body, struct str payloads,
                      struct err *e) {
    if (send_part(l, head, ZMQ_SNDMORE) < 0)
        return err_set(e, ERR_BUSY, "%d messages wait for the broker, the bound", LINK_QUEUE_MAX);
    int rc = send_part(l, body, payloads.len ? ZMQ_SNDMORE : 0);
    if (rc >= 0 && payloads.len)
        rc = send_part(l, payloads, 0);
    return rc < 0 ? err_set(e, ERR_IO, "%s: %s", l->endpoint, zmq_strerror(errno)) : 0;
}

static void say(struct link *l, enum verb verb, uint64_t sequence, const void *message) {
    frame_begin(&l->out, verb, sequence);
    int rc = frame_add(&l->out, message);
    ASSERT(rc == 0);
    /* Where the queue is full the broker does not listen, and its silence will be noticed. */
    send_parts(l, buf_str(&l->out.head), buf_str(&l->out.body), STR(""), NULL);
}

static void say_hello(struct link *l) {
    struct msg_hello m = {0};
    MSG_SET(&m, hello, version_min, 1);
    MSG_SET(&m, hello, version_max, 1);
    MSG_SET(&m, hello, role, (uint64_t)l->config.role);
    MSG_SET(&m, hello, instance, str_make(l->config.instance, LINK_INSTANCE_LEN));
    MSG_SET(&m, hello, name, str_of(l->name));
    MSG_SET(&m, hello, pid, (uint64_t)getpid());
    MSG_SET(&m, hello, host, str_of(l->host));
    if (l->core.epoch)
        MSG_SET(&m, hello, epoch, l->core.epoch);
    if (l->config.fill_hello)
        l->config.fill_hello(l->config.ctx, &m);
    say(l, VERB_hello, l->core.hello_sequence, &m);
}

static void say_heartbeat(struct link *l) {
    struct msg_heartbeat m = {0};
    MSG_SET(&m, heartbeat, epoch, l->core.epoch);
    if (l->config.fill_heartbeat)
        l->config.fill_heartbeat(l->config.ctx, &m);
    say(l, VERB_heartbeat, 0, &m);
}

static void perform(struct link *l, const struct link_todo *todo) {
    if (todo->close)
        close_socket(l, 0);
    if (todo->open && open_socket(l, NULL) < 0)
        link_core_failed(&l->core, l->config.clock());
    if (todo->hello && l->socket)
        say_hello(l);
    if (todo->heartbeat && l->socket)
        say_heartbeat(l);
    if (todo->up) {
        l->handshake = NULL;
        l->told.up = true;
        l->told.new_epoch |= todo->new_epoch;
    }
    if (todo->down || todo->refused) {
        l->told.up = false;
        l->told.err = todo->err;
    }
    l->told.down |= todo->down;
    l->told.refused |= todo->refused;
}

/* ---- hearing -------------------------------------------------------------------------------- */
static void forget_parts(struct link *l) {
    while (l->n_parts)
        zmq_msg_close(&l->parts[--l->n_parts]);
}

static bool another_part(struct link *l) {
    return zmq_msg_more(&l->parts[l->n_parts - 1]) != 0;
}

/* A message of more parts than any has, to its end. */
static void skip_rest(struct link *l) {
    while (another_part(l))
        if (zmq_msg_recv(&l->parts[PARTS - 1], l->socket, ZMQ_DONTWAIT) < 0)
            return;
}

/* 1: a message is in `parts`; 0: nothing there; -1: one that is none. */
static int receive(struct link *l, struct err *e) {
    forget_parts(l);
    do {
        zmq_msg_init(&l->parts[l->n_parts]);
        if (zmq_msg_recv(&l->parts[l->n_parts], l->socket, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&l->parts[l->n_parts]);
            return 0;
        }
        l->n_parts++;
    } while (another_part(l) && l->n_parts < PARTS);
    bool whole = l->n_parts >= 2 && !another_part(l);
    skip_rest(l);
    return whole ? 1 : err_set(e, ERR_MALFORMED, "a message has two or three frames");
}

static struct str part(struct link *l, size_t n) {
    if (n >= l->n_parts)
        return STR("");
    return str_make(zmq_msg_data(&l->parts[n]), zmq_msg_size(&l->parts[n]));
}

/* Reads what has arrived. 1: it is the user's business, in news->message; 0: it was ours; -1: it
 * cannot be read. */
static int understand(struct link *l, struct link_news *news) {
    struct frame_in *in = &news->message;
    if (frame_open(in, part(l, 0), part(l, 1), part(l, 2), &news->err) < 0)
        return -1;
    in->lenient = true;
    union msg_any first = {0};
    enum verb verb = in->verb->verb;
    if (verb == VERB_welcome || verb == VERB_error || verb == VERB_heartbeat || verb == VERB_bye) {
        struct frame_in peek = *in;
        struct frame_item item;
        arena_reset(l->arena);
        if (frame_next(&peek, &first, l->arena, &item, &news->err) != 1)
            return -1;
    }
    struct link_todo todo;
    bool users = link_core_message(&l->core, l->config.clock(), verb, in->sequence, &first, &todo);
    perform(l, &todo);
    return users ? 1 : 0;
}

static bool tell(struct link *l, struct link_news *news) {
    struct link_todo *t = &l->told;
    if (t->refused || t->down) {
        news->what = t->refused ? LINK_REFUSED : LINK_DOWN;
        news->err = t->err;
        if (t->refused)
            t->refused = false;
        else
            t->down = false;
    } else if (t->up) {
        news->what = LINK_UP;
        news->new_epoch = t->new_epoch;
        t->up = t->new_epoch = false;
    } else {
        return false;
    }
    return true;
}

static void tick(struct link *l, bool drained) {
    struct link_todo todo;
    if (l->cut && drained)
        link_core_cut(&l->core, l->config.clock(), &todo);
    else
        link_core_tick(&l->core, l->config.clock(), drained, &todo);
    perform(l, &todo);
}

/* True when there is something to tell. */
static bool look(struct link *l, struct link_news *news) {
    *news = (struct link_news){.what = LINK_NOTHING};
    while (!tell(l, news)) {
        int got = l->socket ? receive(l, &news->err) : 0;
        if (got == 0 && notice_cut(l))
            continue; /* its last words may have come meanwhile */
        if (got == 0) {
            tick(l, true);
            return tell(l, news);
        }
        if (got > 0)
            got = understand(l, news);
        /* A socket that is never empty must not keep us from our heartbeats. */
        if (mono_reached(l->config.clock(), link_core_next(&l->core)))
            tick(l, false);
        if (got != 0) {
            news->what = got > 0 ? LINK_MESSAGE : LINK_UNREADABLE;
            spin_heard(&l->spin);
            return true;
        }
    }
    return true;
}

void link_wait_with(struct link *l, struct mono until, void *socket, const int *fds, bool *ready,
                    size_t n) {
    zmq_pollitem_t items[WAIT_FDS + 3];
    ASSERT(n <= WAIT_FDS);
    int used = 0;
    for (size_t i = 0; i < n; i++) {
        items[used++] = (zmq_pollitem_t){.fd = fds[i], .events = ZMQ_POLLIN};
        ready[i] = false;
    }
    if (l->socket) {
        items[used++] = (zmq_pollitem_t){.fd = l->watch_fd, .events = ZMQ_POLLIN};
        items[used++] = (zmq_pollitem_t){.socket = l->socket, .events = ZMQ_POLLIN};
    }
    if (socket)
        items[used++] = (zmq_pollitem_t){.socket = socket, .events = ZMQ_POLLIN};
    struct mono next = link_next(l);
    uint64_t wait = mono_until(l->config.clock(), next.ms < until.ms ? next : until);
    if (spin_poll(&l->spin, items, used, wait > INT_MAX ? INT_MAX : (long)wait) <= 0)
        return;
    for (size_t i = 0; i < n; i++)
        ready[i] = items[i].revents != 0;
}

void link_wait(struct link *l, struct mono until, const int *fds, bool *ready, size_t n) {
    link_wait_with(l, until, NULL, fds, ready, n);
}

void link_heard(struct link *l) {
    spin_heard(&l->spin);
}

void link_poll(struct link *l, struct mono until, struct link_news *news) {
    while (!look(l, news) && !mono_reached(l->config.clock(), until))
        link_wait(l, until, NULL, NULL, 0);
}

/* ---- coming and going ----------------------------------------------------------------------- */
static uint64_t seed_of(const struct link_config *config) {
    uint64_t seed;
    memcpy(&seed, config->instance, sizeof seed);
    return seed;
}

int link_new(struct link **out, const struct link_config *config, struct err *e) {
    ASSERT(config->clock && config->endpoint);
    struct link *l = MEM_NEW(struct link);
    l->config = *config;
    if (config->key) {
        l->key = *config->key;
        l->config.key = &l->key;
    }
    l->folder = l->stream_folder = -1;
    l->out = FRAME_OUT;
    l->spin.look_ns = LOOK_NS;
    snprintf(l->endpoint, sizeof l->endpoint, "%s", config->endpoint);
    snprintf(l->name, sizeof l->name, "%s", config->name ? config->name : "");
    if (gethostname(l->host, HOST_LEN) < 0)
        l->host[0] = 0;
    l->arena = arena_new(ARENA_BYTES);
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->context = zmq_ctx_new();
    if (l->epoll < 0 || !l->context) {
        err_errno(e, "a link");
        link_destroy(&l);
        return -1;
    }
    link_core_init(&l->core, seed_of(config));
    struct link_todo todo;
    struct err why = {0};
    link_core_start(&l->core, config->clock(), &todo);
    todo.open = false;
    if (open_socket(l, &why) < 0) {
        if (why.code == ERR_USAGE) { /* no waiting will help */
            if (e)
                *e = why;
            link_destroy(&l);
            return -1;
        }
        link_core_failed(&l->core, config->clock());
    }
    perform(l, &todo);
    *out = l;
    return 0;
}

void link_destroy(struct link **lp) {
    struct link *l = *lp;
    if (!l)
        return;
    *lp = NULL;
    forget_parts(l);
    close_socket(l, l->core.state == LINK_STATE_CLOSED ? LINK_LINGER_MS : 0);
    if (l->context)
        zmq_ctx_term(l->context);
    if (l->folder >= 0)
        close(l->folder);
    if (l->stream_folder >= 0)
        close(l->stream_folder);
    if (l->epoll >= 0)
        close(l->epoll);
    frame_destroy(&l->out);
    arena_destroy(&l->arena);
    key_file_wipe(&l->key);
    mem_free(l);
}

void link_bye(struct link *l, const char *text) {
    struct msg_bye m = {0};
    if (text)
        MSG_SET(&m, bye, text, str_of(text));
    if (l->core.state == LINK_STATE_UP && l->socket)
        say(l, VERB_bye, 0, &m);
    l->core.state = LINK_STATE_CLOSED;
}

/* ---- the rest ------------------------------------------------------------------------------- */
int link_fd(const struct link *l) {
    return l->epoll;
}

struct mono link_next(const struct link *l) {
    if (l->told.up || l->told.down || l->told.refused)
        return MONO_PAST;
    return link_core_next(&l->core);
}

uint64_t link_sequence(struct link *l) {
    return link_core_sequence(&l->core);
}

uint64_t link_sequence_next(const struct link *l) {
    return l->core.sequence + 1;
}

int link_send_parts(struct link *l, struct str head, struct str body, struct str payloads,
                    struct err *e) {
    if (!link_is_up(l))
        return err_set(e, ERR_UNREACHABLE_BROKER, "%s: the broker does not answer", l->endpoint);
    return send_parts(l, head, body, payloads, e);
}

int link_send(struct link *l, const struct frame_out *f, struct err *e) {
    return link_send_parts(l, buf_str(&f->head), buf_str(&f->body), buf_str(&f->payloads), e);
}

void link_hello_again(struct link *l) {
    struct link_todo todo;
    link_core_hello_again(&l->core, l->config.clock(), &todo);
    perform(l, &todo);
}

bool link_is_greeting(const struct link *l) {
    return l->core.state != LINK_STATE_UP || l->core.hello_open;
}

bool link_is_up(const struct link *l) {
    return l->core.state == LINK_STATE_UP && l->socket;
}

const struct err *link_not_now(const struct link *l) {
    return l->core.not_now.code ? &l->core.not_now : NULL;
}

uint64_t link_epoch(const struct link *l) {
    return l->core.epoch;
}

const struct msg_welcome *link_terms(const struct link *l) {
    return &l->core.terms;
}

const char *link_endpoint_of(const struct link *l) {
    return l->endpoint;
}

int link_stream_endpoint(struct link *l, char out[LINK_ENDPOINT_MAX], struct err *e) {
    char named[LINK_ENDPOINT_MAX];
    const struct msg_welcome *terms = &l->core.terms;
    int rc = link_beside(named, l->endpoint, terms->stream, terms->stream_port, e);
    if (rc <= 0)
        return rc;
    return reachable(named, &l->stream_folder, out) < 0 ? err_errno(e, "%s", named) : 1;
}

const char *link_handshake(const struct link *l) {
    return l->handshake;
}

void link_secure(const struct link *l, void *socket) {
    if (l->config.key)
        socket_be_curve_client(socket, l->config.key);
}

void *link_context(struct link *l) {
    return l->context;
}
