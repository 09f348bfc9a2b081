#include "broker/ops.h"

#include "broker/inflow.h"
#include "broker/metrics.h"
#include "broker/mhd.h"
#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/base/ring.h"
#include "common/os/clock.h"
#include "common/os/wake.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG   64
#define IDLE_S    5U /* without a byte in either direction */
#define NO_ANSWER "the broker has not answered for 2 s\n"

static const struct mhd *mhd; /* set by the first ops_new, before there is a thread */

typedef unsigned page_fn(struct buf *out, const struct ops_snapshot *s);

struct page {
    const char *path, *type;
    page_fn *write;
};

enum stage {
    STAGE_ASKED,    /* waits for the snapshot */
    STAGE_ANSWERED, /* the snapshot is for it */
    STAGE_LATE,     /* there was none in time */
    STAGE_WRITTEN   /* its page has been made: who reads it slowly keeps the snapshot from nobody */
};

struct request {
    struct MHD_Connection *connection;
    const struct page *page;
    enum stage stage;
    struct mono due;
    struct request *next;
};

struct life {
    int fd; /* -1: free */
    struct mono end;
};

struct ops {
    struct MHD_Daemon *daemon;
    int listener, epoll;
    char address[64];
    struct life lives[OPS_CONNECTIONS];
    struct request *requests;
    bool closed;       /* a connection was, in this turn */
    unsigned answered; /* requests for which the snapshot must stay as it is */
    struct ops_snapshot *snapshot;
    bool asked; /* it is the dispatcher's */

    struct ring questions, answers;
    struct bell bell; /* wakes the thread */
    struct flag flag; /* raised for the dispatcher */
    atomic_bool stop;
    pthread_t thread;
    bool running;
};

/* ---- pages ----------------------------------------------------------------------------------- */
static unsigned write_metrics(struct buf *out, const struct ops_snapshot *s) {
    if (s->state == OPS_STARTING) {
        buf_printf(out, "starting: %s\n", s->why);
        return MHD_HTTP_SERVICE_UNAVAILABLE;
    }
    metrics_write(out, s);
    return MHD_HTTP_OK;
}

static unsigned write_healthz(struct buf *out, const struct ops_snapshot *s) {
    static const char *const words[OPS_STATES] = {[OPS_STARTING] = "starting",
                                                  [OPS_SERVING] = "ok",
                                                  [OPS_FULL] = "full",
                                                  [OPS_READ_ONLY] = "read only"};
    buf_printf(out, "%s%s%s\n", words[s->state], *s->why ? ": " : "", s->why);
    return s->state == OPS_SERVING ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
}

static unsigned write_health(struct buf *out, const struct ops_snapshot *s) {
    health_write(out, s);
    return s->state == OPS_SERVING ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
}

#define TYPE_TEXT "text/plain; charset=utf-8"
static const struct page pages[] = {{"/metrics", METRICS_MEDIATYPE, write_metrics},
                                    {"/healthz", TYPE_TEXT, write_healthz},
                                    {"/health", "application/json", write_health}};

static const struct page *find_page(const char *path) {
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++)
        if (strcmp(pages[i].path, path) == 0)
            return &pages[i];
    return NULL;
}

/* ---- answers --------------------------------------------------------------------------------- */
static enum MHD_Result respond(struct MHD_Connection *c, unsigned status, const char *type,
                               struct str body) {
    struct MHD_Response *r = mhd->MHD_create_response_from_buffer(
        body.len, (void *)(uintptr_t)body.at, MHD_RESPMEM_MUST_COPY);
    if (!r)
        return MHD_NO;
    mhd->MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    mhd->MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    mhd->MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        mhd->MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result done = mhd->MHD_queue_response(c, status, r);
    mhd->MHD_destroy_response(r);
    return done;
}

static enum MHD_Result refuse(struct MHD_Connection *c, unsigned status, const char *why) {
    return respond(c, status, TYPE_TEXT, str_of(why));
}

static enum MHD_Result answer_request(struct ops *o, struct request *r) {
    if (r->stage == STAGE_LATE)
        return refuse(r->connection, MHD_HTTP_SERVICE_UNAVAILABLE, NO_ANSWER);
    AUTO_BUF body = BUF(METRICS_PAGE_MAX);
    unsigned status = r->page->write(&body, o->snapshot);
    r->stage = STAGE_WRITTEN;
    o->answered--;
    if (body.failed)
        return refuse(r->connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "too much for a page\n");
    return respond(r->connection, status, r->page->type, buf_str(&body));
}

/* ---- requests -------------------------------------------------------------------------------- */
static bool has_body(struct MHD_Connection *c) {
    const char *length =
        mhd->MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return (length && strcmp(length, "0") != 0) ||
           mhd->MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_TRANSFER_ENCODING);
}

static enum MHD_Result begin(struct ops *o, struct MHD_Connection *c, const char *path,
                             const char *method, void **at) {
    const struct page *page = find_page(path);
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return refuse(c, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    if (has_body(c))
        return refuse(c, MHD_HTTP_CONTENT_TOO_LARGE, "a request has no body here\n");
    if (!page)
        return refuse(c, MHD_HTTP_NOT_FOUND, "there is /metrics, /healthz and /health\n");
    struct request *r = MEM_NEW(struct request);
    *r = (struct request){.connection = c,
                          .page = page,
                          .due = mono_add(clock_mono(), OPS_ASK_MS),
                          .next = o->requests};
    o->requests = r;
    *at = r;
    mhd->MHD_suspend_connection(c);
    return MHD_YES;
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *c, const char *path,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **at) {
    (void)version, (void)upload, (void)upload_size;
    struct ops *o = ctx;
    if (!*at)
        return begin(o, c, path, method, at);
    struct request *r = *at;
    bool is_due = r->stage == STAGE_ANSWERED || r->stage == STAGE_LATE;
    return is_due ? answer_request(o, r) : MHD_YES;
}

static void on_completed(void *ctx, struct MHD_Connection *c, void **at,
                         enum MHD_RequestTerminationCode how) {
    (void)c, (void)how;
    struct ops *o = ctx;
    struct request *r = *at, **link = &o->requests;
    if (!r)
        return;
    while (*link != r)
        link = &(*link)->next;
    *link = r->next;
    o->answered -= r->stage == STAGE_ANSWERED;
    mem_free(r);
    *at = NULL;
}

/* Those that wait go on, with an answer or without. */
static void resume(struct ops *o, struct mono now, bool answered, bool all) {
    for (struct request *r = o->requests; r; r = r->next) {
        if (r->stage != STAGE_ASKED || (!answered && !all && !mono_reached(now, r->due)))
            continue;
        r->stage = answered ? STAGE_ANSWERED : STAGE_LATE;
        o->answered += answered;
        mhd->MHD_resume_connection(r->connection);
    }
}

/* ---- connections ----------------------------------------------------------------------------- */
static void on_connection(void *ctx, struct MHD_Connection *c, void **at,
                          enum MHD_ConnectionNotificationCode what) {
    struct ops *o = ctx;
    struct life *life = *at;
    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (life)
            life->fd = -1;
        o->closed = true;
        return;
    }
    const union MHD_ConnectionInfo *info =
        mhd->MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    inflow_leave(info->connect_fd);
    for (size_t i = 0; i < OPS_CONNECTIONS && !*at; i++)
        if (o->lives[i].fd < 0) {
            o->lives[i] = (struct life){info->connect_fd, mono_add(clock_mono(), OPS_LIFE_MS)};
            *at = &o->lives[i];
        }
}

/* Whoever sends or reads a byte now and then is not idle, but has no more time either. */
static void end_lives(struct ops *o, struct mono now) {
    for (size_t i = 0; i < OPS_CONNECTIONS; i++)
        if (o->lives[i].fd >= 0 && mono_reached(now, o->lives[i].end))
            shutdown(o->lives[i].fd, SHUT_RDWR);
}

/* ---- the thread ------------------------------------------------------------------------------ */
static void take_answer(struct ops *o, struct mono now) {
    struct ops_snapshot *s;
    if (!o->asked || !ring_pop(&o->answers, &s))
        return;
    o->asked = false;
    resume(o, now, true, false);
}

static bool some_wait(const struct ops *o) {
    for (const struct request *r = o->requests; r; r = r->next)
        if (r->stage == STAGE_ASKED)
            return true;
    return false;
}

static void ask(struct ops *o) {
    if (o->asked || o->answered || !some_wait(o))
        return;
    if (!o->snapshot)
        o->snapshot = MEM_NEW(struct ops_snapshot);
    o->asked = true;
    bool room = ring_push(&o->questions, &o->snapshot);
    ASSERT(room);
    flag_raise(&o->flag);
}

static int until(struct mono now, struct mono due, int ms) {
    uint64_t left = mono_until(now, due);
    return ms < 0 || left < (uint64_t)ms ? (int)left : ms;
}

static int wait_ms(struct ops *o, struct mono now) {
    MHD_UNSIGNED_LONG_LONG theirs;
    int ms = -1;
    if (mhd->MHD_get_timeout(o->daemon, &theirs) == MHD_YES)
        ms = theirs < 1000 ? (int)theirs : 1000;
    for (const struct request *r = o->requests; r; r = r->next)
        if (r->stage == STAGE_ASKED)
            ms = until(now, r->due, ms);
    for (size_t i = 0; i < OPS_CONNECTIONS; i++)
        if (o->lives[i].fd >= 0 && !mono_reached(now, o->lives[i].end))
            ms = until(now, o->lives[i].end, ms);
    return ms;
}

static void wait_for_work(struct ops *o) {
    struct pollfd fds[] = {{.fd = o->bell.fd, .events = POLLIN},
                           {.fd = o->epoll, .events = POLLIN}};
    int ms = wait_ms(o, clock_mono());
    bell_sleep(&o->bell);
    if (ring_empty(&o->answers) && !atomic_load(&o->stop))
        poll(fds, 2, ms);
    bell_awake(&o->bell);
}

static void *run(void *ctx) {
    struct ops *o = ctx;
    while (!atomic_load(&o->stop)) {
        struct mono now = clock_mono();
        take_answer(o, now);
        resume(o, now, false, false);
        end_lives(o, now);
        o->closed = false;
        mhd->MHD_run(o->daemon);
        ask(o);
        /* When it was full it does not listen until it is run again. */
        if (!o->closed)
            wait_for_work(o);
    }
    return NULL;
}

/* ---- where it listens ------------------------------------------------------------------------ */
union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static int read_address(struct str listen, union address *to, struct err *e) {
    char host[64];
    size_t len = listen.len;
    while (len > 0 && listen.at[len - 1] != ':')
        len--;
    uint64_t port;
    struct str name = str_make(listen.at, len ? len - 1 : 0);
    bool number = str_to_u64(str_make(listen.at + len, listen.len - len), UINT16_MAX, &port);
    if (name.len > 1 && name.at[0] == '[' && name.at[name.len - 1] == ']')
        name = str_make(name.at + 1, name.len - 2);
    if (str_eq(name, STR("localhost")))
        name = STR("127.0.0.1");
    snprintf(host, sizeof host, "%.*s", (int)(name.len < sizeof host ? name.len : 0), name.at);
    memset(to, 0, sizeof *to);
    if (number && inet_pton(AF_INET, host, &to->v4.sin_addr) == 1 &&
        ntohl(to->v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET) {
        to->v4.sin_family = AF_INET;
        to->v4.sin_port = htons((uint16_t)port);
        return 0;
    }
    if (number && inet_pton(AF_INET6, host, &to->v6.sin6_addr) == 1 &&
        IN6_IS_ADDR_LOOPBACK(&to->v6.sin6_addr)) {
        to->v6.sin6_family = AF_INET6;
        to->v6.sin6_port = htons((uint16_t)port);
        return 0;
    }
    return err_set(e, ERR_BAD_CONFIG,
                   "broker.ops_listen: '%.*s' is not an address of this host's loopback "
                   "(127.0.0.1:PORT, [::1]:PORT or localhost:PORT): the pages ask for no password",
                   (int)listen.len, listen.at);
}

static int cannot_listen(struct str listen, struct err *e) {
    err_errno(e, "cannot listen on %.*s", (int)listen.len, listen.at);
    return err_add(e, "broker.ops_listen");
}

static int open_listener(struct ops *o, struct str listen_at, struct err *e) {
    union address a;
    char host[INET6_ADDRSTRLEN];
    int yes = 1;
    if (read_address(listen_at, &a, e) < 0)
        return -1;
    socklen_t size = a.any.sa_family == AF_INET ? sizeof a.v4 : sizeof a.v6;
    o->listener = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (o->listener < 0 ||
        setsockopt(o->listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0 ||
        bind(o->listener, &a.any, size) < 0 || listen(o->listener, BACKLOG) < 0 ||
        getsockname(o->listener, &a.any, &size) < 0)
        return cannot_listen(listen_at, e);
    if (a.any.sa_family == AF_INET)
        snprintf(o->address, sizeof o->address, "%s:%u",
                 inet_ntop(AF_INET, &a.v4.sin_addr, host, sizeof host), ntohs(a.v4.sin_port));
    else
        snprintf(o->address, sizeof o->address, "[%s]:%u",
                 inet_ntop(AF_INET6, &a.v6.sin6_addr, host, sizeof host), ntohs(a.v6.sin6_port));
    return 0;
}

/* ---- life ------------------------------------------------------------------------------------ */
static int open_daemon(struct ops *o, struct err *e) {
    o->daemon = mhd->MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, o,
        MHD_OPTION_LISTEN_SOCKET, o->listener, MHD_OPTION_CONNECTION_LIMIT, OPS_CONNECTIONS,
        MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)OPS_REQUEST_BYTES, MHD_OPTION_CONNECTION_MEMORY_INCREMENT, (size_t)1024,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, o, MHD_OPTION_NOTIFY_CONNECTION, on_connection,
        o, MHD_OPTION_END);
    if (!o->daemon)
        return err_set(e, ERR_IO, "broker.ops_listen: cannot start the HTTP server");
    o->epoll = mhd->MHD_get_daemon_info(o->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    return 0;
}

int ops_new(struct ops **out, struct str listen_at, struct err *e) {
    struct ops *o = MEM_NEW(struct ops);
    *out = o;
    o->bell.fd = o->flag.fd = o->listener = -1;
    for (size_t i = 0; i < OPS_CONNECTIONS; i++)
        o->lives[i].fd = -1;
    ring_init(&o->questions, 1, sizeof(struct ops_snapshot *));
    ring_init(&o->answers, 1, sizeof(struct ops_snapshot *));
    mhd = mhd_load(e);
    if (!mhd)
        return err_add(e, "broker.ops_listen");
    if (open_listener(o, listen_at, e) < 0)
        return -1;
    if (bell_open(&o->bell) < 0 || flag_open(&o->flag) < 0)
        return err_errno(e, "the pages for monitoring");
    if (open_daemon(o, e) < 0)
        return -1;
    int status = pthread_create(&o->thread, NULL, run, o);
    if (status != 0)
        return err_set(e, ERR_NO_MEMORY, "cannot start a thread: %d", status);
    o->running = true;
    return 0;
}

void ops_destroy(struct ops **op) {
    struct ops *o = *op;
    if (!o)
        return;
    *op = NULL;
    if (o->running) {
        atomic_store(&o->stop, true);
        bell_ring(&o->bell);
        pthread_join(o->thread, NULL);
    }
    if (o->daemon) {
        resume(o, clock_mono(), false, true); /* it ends only when nobody is suspended */
        mhd->MHD_stop_daemon(o->daemon);      /* closes the listener */
    } else if (o->listener >= 0) {
        close(o->listener);
    }
    ring_clear(&o->questions);
    ring_clear(&o->answers);
    bell_close(&o->bell);
    flag_close(&o->flag);
    mem_free(o->snapshot);
    mem_free(o);
}

const char *ops_address(const struct ops *o) {
    return o->address;
}

/* ---- dispatcher ------------------------------------------------------------------------------ */
int ops_fd(const struct ops *o) {
    return o->flag.fd;
}

struct ops_snapshot *ops_asked(struct ops *o) {
    struct ops_snapshot *s;
    if (!atomic_load_explicit(&o->flag.up, memory_order_relaxed))
        return NULL;
    flag_lower(&o->flag);
    return ring_pop(&o->questions, &s) ? s : NULL;
}

void ops_answer(struct ops *o, struct ops_snapshot *s) {
    bool room = ring_push(&o->answers, &s);
    ASSERT(room);
    bell_ring(&o->bell);
}
