#include "common/wire/stream_client.h"

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/wire/client_int.h"
#include "common/wire/socket.h"
#include "common/wire/stream_table.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <zmq.h>

#define MESSAGES_MAX 256U /* taken in one poll */
#define ATTACHES     64U  /* items of one message */
#define BATCHES      64U  /* messages that are not answered yet */
#define ANSWER_MS    10000

/* Jobs of one ATTACH message. */
struct batch {
    struct stream_client *s; /* NULL: free */
    uint32_t n, seen;
    uint64_t jobs[ATTACHES];
};

struct stream_client {
    struct stream_client_config config;
    struct client *client;
    struct stream_topic topic;
    struct stream_table table;
    void *sub;                        /* NULL: none is named */
    char endpoint[LINK_ENDPOINT_MAX]; /* of `sub` */
    int epoll;
    bool more; /* the socket may have messages that its fd will not tell of */
    struct batch batches[BATCHES];
    struct stream_client_stats stats;
};

static struct mono now_of(const struct stream_client *s) {
    return s->client->config.clock();
}

/* ---- the socket ----------------------------------------------------------------------------- */
static void close_sub(struct stream_client *s) {
    if (!s->sub)
        return;
    epoll_ctl(s->epoll, EPOLL_CTL_DEL, socket_fd(s->sub), NULL);
    zmq_close(s->sub);
    s->sub = NULL;
    s->endpoint[0] = 0;
}

static void open_sub(struct stream_client *s, const char *endpoint) {
    close_sub(s);
    s->sub = zmq_socket(link_context(s->client->link), ZMQ_SUB);
    if (!s->sub)
        return;
    socket_set(s->sub, ZMQ_RCVHWM, (int)s->config.queue_max);
    socket_set(s->sub, ZMQ_LINGER, 0);
    socket_set(s->sub, ZMQ_RECONNECT_IVL,
               100); /* and no longer: a broker that is back is not waited for */
    socket_set(s->sub, ZMQ_IPV6, 1);
    socket_set_frame_max(s->sub, STREAM_TOPIC_LEN + STREAM_FRAME_MAX + KEY_FRAME_MORE);
    link_secure(s->client->link, s->sub);
    zmq_setsockopt(s->sub, ZMQ_SUBSCRIBE, s->topic.at, STREAM_TOPIC_LEN);
    struct epoll_event ev = {.events = EPOLLIN};
    int rc = epoll_ctl(s->epoll, EPOLL_CTL_ADD, socket_fd(s->sub), &ev);
    ASSERT(rc == 0);
    if (zmq_connect(s->sub, endpoint) < 0) {
        close_sub(s);
        return;
    }
    snprintf(s->endpoint, sizeof s->endpoint, "%s", endpoint);
    s->stats.sockets++;
    s->more = true;
}

/* ---- telling -------------------------------------------------------------------------------- */
static void end_free(struct client_finished **end) {
    if (*end)
        client_finished_done(*end);
    MEM_FREE(*end);
}

static void forget(struct stream_client *s, uint32_t i) {
    end_free(&stream_table_at(&s->table, i)->end);
    stream_table_remove(&s->table, i);
}

/* The last word about a job, which is not followed any more. */
static void tell_end(struct stream_client *s, const struct client_finished *end) {
    struct client *c = s->client;
    if (watch_ended(c, end))
        return;
    c->calls++;
    if (c->config.on_finished)
        c->config.on_finished(c->config.ctx, end);
}

static void finish(struct stream_client *s, uint64_t job) {
    uint32_t i = stream_table_find(&s->table, job);
    if (!i || !stream_table_at(&s->table, i)->reader.over)
        return; /* somebody detached it just now */
    struct client_finished *end = stream_table_at(&s->table, i)->end;
    stream_table_at(&s->table, i)->end = NULL;
    forget(s, i);
    tell_end(s, end);
    end_free(&end);
}

/* All that its reader has; whoever hears it may detach the job, and attach it again. */
static void tell(struct stream_client *s, uint64_t job) {
    for (uint32_t i; (i = stream_table_find(&s->table, job)) != 0;) {
        struct stream_follow *f = stream_table_at(&s->table, i);
        struct stream_event event = {0};
        struct stream_told told = {.job = job, .job_ctx = f->ctx, .event = &event};
        told.news = stream_reader_next(&f->reader, &event);
        told.position = stream_reader_position(&f->reader);
        if (told.news == STREAM_NOTHING)
            return;
        s->client->calls++;
        s->config.on_stream(s->config.ctx, &told);
        if (told.news == STREAM_WHOLE || told.news == STREAM_BROKEN) {
            finish(s, job);
            return;
        }
    }
}

/* There is no more of it to be had: of one that has ended the rest is gone, else that is its end.
 */
static void refuse(struct stream_client *s, uint64_t job, const struct err *why) {
    uint32_t i = stream_table_find(&s->table, job);
    if (!i)
        return;
    if (stream_table_at(&s->table, i)->end && why->code == ERR_NOT_FOUND) {
        /* The job is forgotten already; its stream may be there, which the relay says. */
        stream_table_answered(&s->table, i, now_of(s), true);
        return;
    }
    if (stream_table_at(&s->table, i)->end) {
        stream_table_at(&s->table, i)->reader.gone = true;
        tell(s, job);
        return;
    }
    forget(s, i);
    tell_end(s, &(struct client_finished){.id = job, .err = *why});
}

/* ---- attaching ------------------------------------------------------------------------------ */
static void attach_failed(struct stream_client *s, uint64_t job, const struct err *why) {
    uint32_t i = stream_table_find(&s->table, job);
    if (i && err_code_class(why->code) == ERR_CLASS_PERM)
        refuse(s, job, why);
    else if (i)
        stream_table_answered(&s->table, i, now_of(s), true);
}

static void on_attached(void *ctx, const struct client_reply *r) {
    struct batch *b = ctx;
    struct stream_client *s = b->s;
    if (r->end) {
        while (b->seen < b->n)
            attach_failed(s, b->jobs[b->seen++], r->err);
        b->s = NULL;
        return;
    }
    const struct msg_attached *m = r->message;
    uint64_t job = b->jobs[r->index];
    uint32_t i = stream_table_find(&s->table, job);
    b->seen = r->index + 1;
    if (m->code) {
        struct err e = {0};
        enum err_code code = err_code_known(m->code) ? (enum err_code)m->code : ERR_CONFLICT;
        err_set(&e, code, STR_FMT, STR_ARG(m->text));
        attach_failed(s, job, &e);
    } else if (i) {
        stream_table_answered(&s->table, i, now_of(s), false);
    }
}

/* BATCHES if there is none. */
static uint32_t free_batch(const struct stream_client *s) {
    uint32_t i = 0;
    while (i < BATCHES && s->batches[i].s)
        i++;
    return i;
}

static struct msg_attach attach_message(const struct stream_follow *f) {
    struct stream_position at = stream_reader_position(&f->reader);
    struct msg_attach m = {0};
    MSG_SET(&m, attach, id, f->reader.job);
    if (f->tenant[0])
        MSG_SET(&m, attach, tenant, str_of(f->tenant));
    if (at.epoch) {
        MSG_SET(&m, attach, epoch, at.epoch);
        MSG_SET(&m, attach, seq, at.seq);
    }
    return m;
}

static void say_attach(struct stream_client *s, struct batch *b,
                       const struct msg_attach *messages) {
    struct client_item items[ATTACHES];
    struct err e = {0};
    for (uint32_t i = 0; i < b->n; i++)
        items[i] = (struct client_item){.message = &messages[i]};
    b->s = s;
    s->stats.attaches += b->n;
    if (client_request(s->client, VERB_attach, items, b->n, on_attached, b,
                       mono_add(now_of(s), ANSWER_MS), &e) == 0)
        return;
    b->s = NULL;
    for (uint32_t i = 0; i < b->n; i++)
        attach_failed(s, b->jobs[i], &e);
}

/* What is due, as one message; false if nothing was. */
static bool attach_some(struct stream_client *s, struct batch *b) {
    uint32_t due[ATTACHES], n_gone = 0, most = ATTACHES;
    uint64_t gone[ATTACHES];
    struct msg_attach messages[ATTACHES];
    if (client_terms(s->client)->items_max < most)
        most = (uint32_t)client_terms(s->client)->items_max;
    uint32_t n = stream_table_due(&s->table, now_of(s), due, most);
    *b = (struct batch){0};
    for (uint32_t i = 0; i < n; i++) {
        const struct stream_follow *f = stream_table_at(&s->table, due[i]);
        if (f->reader.gone) {
            gone[n_gone++] = f->reader.job;
            continue;
        }
        messages[b->n] = attach_message(f);
        b->jobs[b->n++] = f->reader.job;
    }
    if (b->n)
        say_attach(s, b, messages);
    for (uint32_t i = 0; i < n_gone; i++)
        tell(s, gone[i]);
    return n > 0;
}

/* A client that was refused for ever has its jobs end with that. */
static bool may_attach(const struct stream_client *s) {
    return client_is_up(s->client) || s->client->refused.code;
}

static void attach_due(struct stream_client *s) {
    for (uint32_t i; may_attach(s) && (i = free_batch(s)) < BATCHES;)
        if (!attach_some(s, &s->batches[i]))
            return;
}

static void say_detach(struct stream_client *s, uint64_t job) {
    struct msg_get_job m = {0};
    MSG_SET(&m, get_job, id, job);
    /* Where that cannot be said now the broker does not read, and will have to be told HELLO. */
    client_notify(s->client, VERB_detach, &(struct client_item){.message = &m}, 1, NULL);
}

/* ---- what the client tells us --------------------------------------------------------------- */
static void on_up(void *ctx) {
    struct stream_client *s = ctx;
    char endpoint[LINK_ENDPOINT_MAX];
    requests_forget(s->client, on_attached);
    for (uint32_t i = 0; i < BATCHES; i++)
        s->batches[i].s = NULL;
    if (link_stream_endpoint(s->client->link, endpoint, NULL) <= 0)
        close_sub(s);
    else if (!s->sub || strcmp(endpoint, s->endpoint) != 0)
        open_sub(s, endpoint);
    stream_table_again(&s->table, now_of(s));
}

/* Where there is no room DETACH ends the watching too, which is asked for again. */
static void on_submitted(void *ctx, uint64_t id, bool again) {
    struct stream_client *s = ctx;
    uint32_t i = stream_table_find(&s->table, id);
    if (!i)
        i = stream_table_add(&s->table, id, (struct stream_position){0});
    if (!i) {
        say_detach(s, id);
        watch_note(s->client, id, true);
    } else if (again) {
        stream_table_attach(&s->table, i, now_of(s));
    }
}

static struct client_finished *end_copy(const struct client_finished *f) {
    struct client_finished *end = MEM_NEW(struct client_finished);
    *end = *f;
    end->result = BUF(FRAME_BYTES_MAX);
    if (f->result.len)
        buf_put_str(&end->result, buf_str(&f->result));
    return end;
}

static bool on_finished(void *ctx, const struct client_finished *f) {
    struct stream_client *s = ctx;
    uint32_t i = stream_table_find(&s->table, f->id);
    if (!i)
        return false;
    struct stream_follow *follow = stream_table_at(&s->table, i);
    if (follow->end)
        return true; /* told again because we asked again */
    follow->end = end_copy(f);
    if (!s->sub)
        follow->reader.gone = true; /* nowhere to hear it */
    stream_table_finished(&s->table, i, now_of(s), (struct stream_position){f->epoch, f->seq});
    tell(s, f->id);
    return true;
}

/* ---- coming and going ----------------------------------------------------------------------- */
int stream_client_new(struct stream_client **out, struct client *c,
                      const struct stream_client_config *config, struct err *e) {
    ASSERT(config->on_stream && !c->tap.ctx);
    struct stream_client *s = MEM_NEW(struct stream_client);
    s->config = *config;
    if (!s->config.streams_max)
        s->config.streams_max = STREAM_CLIENT_STREAMS_MAX;
    if (!s->config.queue_max)
        s->config.queue_max = STREAM_CLIENT_QUEUE_MAX;
    s->client = c;
    s->topic = stream_topic(c->config.instance);
    stream_table_init(&s->table, s->config.streams_max);
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = {.events = EPOLLIN};
    if (s->epoll < 0 || epoll_ctl(s->epoll, EPOLL_CTL_ADD, client_fd(c), &ev) < 0) {
        err_errno(e, "following streams");
        stream_client_destroy(&s);
        return -1;
    }
    c->tap = (struct client_tap){
        .ctx = s, .up = on_up, .submitted = on_submitted, .finished = on_finished};
    if (client_is_up(c))
        on_up(s);
    *out = s;
    return 0;
}

void stream_client_destroy(struct stream_client **sp) {
    struct stream_client *s = *sp;
    if (!s)
        return;
    *sp = NULL;
    requests_forget(s->client, on_attached);
    s->client->tap = (struct client_tap){0};
    close_sub(s);
    SLAB_EACH(i, &s->table.follows)
    end_free(&stream_table_at(&s->table, i)->end);
    stream_table_done(&s->table);
    if (s->epoll >= 0)
        close(s->epoll);
    mem_free(s);
}

int stream_client_attach(struct stream_client *s, uint64_t job, struct str tenant,
                         struct stream_position known, void *job_ctx, struct err *e) {
    if (tenant.len > NAME_MAX_LEN)
        return err_set(e, ERR_BAD_VALUE, "tenant: %zu bytes, at most %d", tenant.len, NAME_MAX_LEN);
    uint32_t i = stream_table_find(&s->table, job);
    bool is_new = !i;
    if (is_new)
        i = stream_table_add(&s->table, job, known);
    if (!i)
        return err_set(e, ERR_BUSY, "%u streams are followed, the bound", s->config.streams_max);
    struct stream_follow *f = stream_table_at(&s->table, i);
    f->ctx = job_ctx;
    snprintf(f->tenant, sizeof f->tenant, STR_FMT, STR_ARG(tenant));
    if (is_new)
        stream_table_attach(&s->table, i, now_of(s));
    return 0;
}

void stream_client_detach(struct stream_client *s, uint64_t job) {
    uint32_t i = stream_table_find(&s->table, job);
    if (!i)
        return;
    if (client_is_up(s->client))
        say_detach(s, job);
    forget(s, i);
}

/* ---- serving -------------------------------------------------------------------------------- */
static void take_message(struct stream_client *s, zmq_msg_t *m) {
    struct str frame = str_make(zmq_msg_data(m), zmq_msg_size(m));
    struct stream_frame read;
    s->stats.messages++;
    if (zmq_msg_more(m) || !stream_take_topic(&frame, &s->topic) ||
        stream_read_frame(frame, &read, NULL) < 0) {
        s->stats.malformed++;
        return;
    }
    uint32_t i = stream_table_find(&s->table, read.head.job);
    if (!i) {
        s->stats.strange++;
        return;
    }
    stream_table_take(&s->table, i, now_of(s), &read);
    tell(s, read.head.job);
}

static void take_messages(struct stream_client *s) {
    s->more = false;
    for (uint32_t n = 0; s->sub; n++) {
        zmq_msg_t m;
        if (n == MESSAGES_MAX) {
            s->more = true;
            return;
        }
        zmq_msg_init(&m);
        int rc = zmq_msg_recv(&m, s->sub, ZMQ_DONTWAIT);
        if (rc >= 0)
            take_message(s, &m);
        bool stop = rc < 0 && zmq_errno() != EINTR;
        zmq_msg_close(&m);
        if (stop)
            return;
        link_heard(s->client->link);
    }
}

uint32_t stream_client_poll(struct stream_client *s, struct mono until) {
    for (;;) {
        client_poll(s->client, MONO_PAST);
        take_messages(s);
        /* What lies in the socket may be what is missing. */
        if (!s->more)
            attach_due(s);
        if (s->client->calls || mono_reached(now_of(s), until))
            return s->client->calls;
        stream_client_wait(s, until, NULL, NULL, 0);
    }
}

void stream_client_wait(struct stream_client *s, struct mono until, const int *fds, bool *ready,
                        size_t n) {
    struct mono next = stream_client_next(s);
    link_wait_with(s->client->link, next.ms < until.ms ? next : until, s->sub, fds, ready, n);
}

int stream_client_fd(const struct stream_client *s) {
    return s->epoll;
}

struct mono stream_client_next(const struct stream_client *s) {
    struct mono next = client_next(s->client), due = stream_table_next(&s->table);
    if (s->more)
        return MONO_PAST;
    bool room = may_attach(s) && free_batch(s) < BATCHES;
    return room && due.ms < next.ms ? due : next;
}

struct stream_client_stats stream_client_stats(const struct stream_client *s) {
    struct stream_client_stats stats = s->stats;
    stats.streams = s->table.follows.used;
    return stats;
}
