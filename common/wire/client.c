#include "common/wire/client.h"

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/wire/client_int.h"

#include <stdio.h>
#include <unistd.h>

#define ARENA_BYTES  (8U << 20) /* lists of one item */
#define MESSAGES_MAX 256        /* served in one client_poll, so that it returns to its caller */

/* ---- coming and going ----------------------------------------------------------------------- */
static void fill_hello(void *ctx, struct msg_hello *m) {
    const struct client *c = ctx;
    if (c->config.notes)
        MSG_SET(m, hello, notes, note_table_version(c->config.notes));
}

static void fill_heartbeat(void *ctx, struct msg_heartbeat *m) {
    const struct client *c = ctx;
    if (c->config.notes)
        MSG_SET(m, heartbeat, notes, note_table_version(c->config.notes));
}

int client_new(struct client **out, const struct client_config *config, struct err *e) {
    ASSERT(config->role != ROLE_WORKER);
    struct client *c = MEM_NEW(struct client);
    c->config = *config;
    snprintf(c->endpoint, sizeof c->endpoint, "%s", config->endpoint);
    c->config.endpoint = c->endpoint;
    c->out = FRAME_OUT;
    c->earliest = c->watch_again = MONO_NEVER;
    c->arena = arena_new(ARENA_BYTES);
    watches_setup(c);
    struct link_config link = {.role = config->role,
                               .endpoint = c->endpoint,
                               .key = config->key,
                               .name = config->name,
                               .clock = config->clock,
                               .ctx = c,
                               .fill_hello = fill_hello,
                               .fill_heartbeat = fill_heartbeat};
    memcpy(link.instance, config->instance, sizeof link.instance);
    if (link_new(&c->link, &link, e) < 0) {
        client_destroy(&c);
        return -1;
    }
    *out = c;
    return 0;
}

void client_destroy(struct client **cp) {
    struct client *c = *cp;
    if (!c)
        return;
    *cp = NULL;
    if (c->link)
        link_bye(c->link, NULL);
    requests_drop(c);
    watches_done(c);
    link_destroy(&c->link);
    frame_destroy(&c->out);
    arena_destroy(&c->arena);
    mem_free(c);
}

bool client_is_up(const struct client *c) {
    return link_is_up(c->link);
}

const struct err *client_refused(const struct client *c) {
    return c->refused.code ? &c->refused : NULL;
}

const struct msg_welcome *client_terms(const struct client *c) {
    return link_terms(c->link);
}

uint32_t client_outstanding(const struct client *c) {
    return c->n_pending;
}

int client_fd(const struct client *c) {
    return link_fd(c->link);
}

struct mono client_next(const struct client *c) {
    struct mono next = link_next(c->link);
    next = mono_min(next, c->watch_again);
    return mono_min(next, c->earliest);
}

struct link *client_link(struct client *c) {
    return c->link;
}

int client_say_unreachable(const struct client *c, struct err *e) {
    const char *path = c->endpoint + strlen("ipc://");
    bool local = str_starts(str_of(c->endpoint), STR("ipc://"));
    const struct err *why = link_not_now(c->link);
    if (why)
        return err_set(e, why->code, "the broker at %s: %s", c->endpoint, why->text);
    if (local && access(path, F_OK) < 0)
        return err_set(e, ERR_UNREACHABLE_BROKER, "no broker: there is no socket %s", path);
    if (link_handshake(c->link))
        return err_set(e, ERR_UNREACHABLE_BROKER, "the broker at %s: %s", c->endpoint,
                       link_handshake(c->link));
    return err_set(e, ERR_UNREACHABLE_BROKER, "no broker answers at %s", c->endpoint);
}

/* ---- serving -------------------------------------------------------------------------------- */
static void on_error(struct client *c, struct frame_in *in) {
    struct msg_error m;
    struct frame_item item;
    struct err e;
    struct pending *p = request_find(c, in->sequence);
    if (frame_next(in, &m, c->arena, &item, &e) != 1)
        return;
    if (p)
        request_error(c, p, &m);
    else if (in->sequence)
        watch_error(c, &m);
}

static void on_notice(struct client *c, struct frame_in *in) {
    union msg_any m;
    struct frame_item item;
    struct err e;
    for (int got; (got = frame_next(in, &m, c->arena, &item, &e)) != 0;) {
        if (got > 0 && in->verb->verb == VERB_note_info) {
            if (c->config.notes) {
                c->calls++;
                note_table_take(c->config.notes, c->config.clock(), &m.note_info);
            }
        } else if (got > 0 && c->config.on_notice) {
            c->calls++;
            c->config.on_notice(c->config.ctx, in->verb->verb, &m, item.payload);
        }
        arena_reset(c->arena);
    }
}

static void on_message(struct client *c, struct frame_in *in) {
    arena_reset(c->arena);
    enum verb verb = in->verb->verb;
    struct pending *p = in->sequence ? request_find(c, in->sequence) : NULL;
    if (verb == VERB_error)
        on_error(c, in);
    else if (p)
        request_answer(c, p, in);
    else if (verb == VERB_finished)
        watch_on_finished(c, in);
    else if (verb == VERB_job_info)
        watch_on_info(c, in);
    else if (verb == VERB_flow_info)
        watch_on_flow(c, in);
    else if (!in->sequence && verb != VERB_heartbeat && verb != VERB_bye)
        on_notice(c, in);
    /* else the late answer of a request that has ended */
}

static void on_news(struct client *c, struct link_news *news) {
    if (news->what == LINK_MESSAGE) {
        on_message(c, &news->message);
        return;
    }
    c->calls++;
    if (news->what == LINK_UP) {
        if (c->config.notes && news->new_epoch)
            note_table_forget(c->config.notes);
        if (c->tap.up)
            c->tap.up(c->tap.ctx);
        requests_again(c, news->new_epoch);
        watches_again(c);
    } else if (news->what == LINK_REFUSED) {
        c->refused = news->err;
        requests_end_all(c, &news->err);
    }
    if (c->config.on_link)
        c->config.on_link(c->config.ctx, news);
}

uint32_t client_poll(struct client *c, struct mono until) {
    c->calls = 0;
    for (uint32_t n = 0; n < MESSAGES_MAX || !c->calls; n++) {
        struct link_news news;
        requests_flush(c);
        watches_flush(c);
        requests_expire(c);
        struct mono wait = c->calls ? MONO_PAST : mono_min(until, c->watch_again);
        link_poll(c->link, mono_min(wait, c->earliest), &news);
        if (news.what != LINK_NOTHING)
            on_news(c, &news);
        else if (c->calls || mono_reached(c->config.clock(), until))
            break;
    }
    return c->calls;
}

int client_connect(struct client *c, struct mono deadline, struct err *e) {
    while (!client_is_up(c)) {
        if (c->refused.code) {
            if (e)
                *e = c->refused;
            return -1;
        }
        if (mono_reached(c->config.clock(), deadline))
            return client_say_unreachable(c, e);
        client_poll(c, deadline);
    }
    return 0;
}

/* ---- asking --------------------------------------------------------------------------------- */
int client_request(struct client *c, enum verb verb, const struct client_item *items, size_t n,
                   client_reply_fn *fn, void *ctx, struct mono deadline, struct err *e) {
    size_t most = client_terms(c)->items_max;
    uint32_t verb_most = verb_def(verb)->items_max;
    if (verb_most < most)
        most = verb_most;
    if (n > most)
        return err_set(e, ERR_TOO_LARGE, "%s: %zu items, at most %zu", verb_def(verb)->name, n,
                       most);
    int taken = request_make(c, verb, items, n, n, fn, ctx, deadline, e);
    return taken < 0 ? -1 : 0;
}

int client_notify(struct client *c, enum verb verb, const struct client_item *items, size_t n,
                  struct err *e) {
    frame_begin(&c->out, verb, 0);
    for (size_t i = 0; i < n; i++) {
        if (codec_check(msg_def(c->out.verb->message), items[i].message, e) < 0)
            return -1;
        ASSERT(!items[i].n_children);
        if (frame_add_payload(&c->out, items[i].message, items[i].payload, STR("")) < 0)
            return err_set(e, ERR_TOO_LARGE, "%s: %zu items do not fit one message",
                           c->out.verb->name, n);
    }
    return link_send(c->link, &c->out, e);
}

struct call {
    client_reply_fn *fn;
    void *ctx;
    bool ended;
    struct err err;
};

static void call_reply(void *ctx, const struct client_reply *r) {
    struct call *call = ctx;
    if (r->end) {
        call->ended = true;
        call->err = *r->err;
    } else if (call->fn) {
        call->fn(call->ctx, r);
    }
}

/* There is room for one more request, or the deadline has passed. */
static int make_blocking(struct client *c, enum verb verb, const struct client_item *items,
                         size_t n, size_t least, client_reply_fn *fn, void *ctx,
                         struct mono deadline, struct err *e) {
    for (;;) {
        struct err why = {0};
        int taken = request_make(c, verb, items, n, least, fn, ctx, deadline, &why);
        if (taken > 0)
            return taken;
        bool late = mono_reached(c->config.clock(), deadline);
        if (why.code == ERR_BUSY && late && !client_is_up(c))
            return client_say_unreachable(c, e);
        if (why.code != ERR_BUSY || late) {
            if (e)
                *e = why;
            return -1;
        }
        client_poll(c, deadline);
    }
}

int client_call(struct client *c, enum verb verb, const struct client_item *items, size_t n,
                client_reply_fn *fn, void *ctx, struct mono deadline, struct err *e) {
    struct call call = {.fn = fn, .ctx = ctx};
    if (make_blocking(c, verb, items, n, n, call_reply, &call, deadline, e) < 0)
        return -1;
    while (!call.ended)
        client_poll(c, MONO_NEVER);
    if (call.err.code && e)
        *e = call.err;
    return call.err.code ? -1 : 0;
}

struct change {
    struct err err;
    uint64_t count;
};

static void change_reply(void *ctx, const struct client_reply *r) {
    struct change *change = ctx;
    if (r->verb != VERB_outcome || r->index)
        return;
    const struct msg_outcome *m = r->message;
    change->count = m->count;
    if (!m->code)
        return;
    enum err_code code = err_code_known(m->code) ? (enum err_code)m->code : ERR_CONFLICT;
    err_set(&change->err, code, STR_FMT, STR_ARG(m->text));
}

int client_change(struct client *c, enum verb verb, const void *message, uint64_t *count,
                  struct mono deadline, struct err *e) {
    struct change change = {0};
    struct client_item item = {.message = message};
    if (client_call(c, verb, &item, 1, change_reply, &change, deadline, e) < 0)
        return -1;
    if (count)
        *count = change.count;
    if (change.err.code && e)
        *e = change.err;
    return change.err.code ? -1 : 0;
}

/* ---- submitting ----------------------------------------------------------------------------- */
struct submitting {
    struct client_submitted *out;
    uint32_t n;
    uint32_t *open; /* messages under way, of all of one client_submit */
};

static void submit_reply(void *ctx, const struct client_reply *r) {
    struct submitting *s = ctx;
    if (r->end) {
        for (uint32_t i = 0; i < s->n; i++)
            if (s->out[i].err.code == ERR_UNKNOWN_OUTCOME && r->err->code)
                s->out[i].err = *r->err;
        --*s->open;
        return;
    }
    const struct msg_submitted *m = r->message;
    struct client_submitted *out = &s->out[r->index];
    *out = (struct client_submitted){.id = m->id, .duplicate = m->duplicate};
    if (!m->code)
        return;
    enum err_code code = err_code_known(m->code) ? (enum err_code)m->code : ERR_CONFLICT;
    err_set(&out->err, code, STR_FMT, STR_ARG(m->text));
    out->err.retry_after_ms = m->retry_after_ms;
}

int client_submit(struct client *c, const struct client_item *jobs, size_t n,
                  struct client_submitted *out, struct mono deadline, struct err *e) {
    uint32_t open = 0;
    /* At most a message a job; the callbacks need theirs to stay where they are. */
    AUTO_ARENA arena = arena_new(SIZE_MAX);
    for (size_t at = 0; at < n;) {
        struct submitting *s = arena_alloc(arena, sizeof *s);
        size_t most = n - at < client_terms(c)->items_max ? n - at : client_terms(c)->items_max;
        *s = (struct submitting){.out = out + at, .open = &open};
        for (size_t i = 0; i < most; i++) {
            out[at + i] = (struct client_submitted){0};
            err_set(&out[at + i].err, ERR_UNKNOWN_OUTCOME, "not answered");
        }
        struct err why = {0};
        int taken =
            make_blocking(c, VERB_submit, jobs + at, most, 1, submit_reply, s, deadline, &why);
        if (taken < 0) {
            /* This one is bad; those before and behind it are not its business. */
            out[at].err = why;
            taken = 1;
        } else {
            s->n = (uint32_t)taken;
            open++;
        }
        at += (size_t)taken;
    }
    while (open)
        client_poll(c, MONO_NEVER);
    for (size_t i = 0; i < n; i++) {
        if (!out[i].err.code)
            continue;
        if (e)
            *e = out[i].err;
        return -1;
    }
    return 0;
}

/* ---- waiting for an end --------------------------------------------------------------------- */
void client_finished_done(struct client_finished *f) {
    buf_destroy(&f->result);
}

int client_wait(struct client *c, uint64_t id, struct mono deadline, struct client_finished *out,
                struct err *e) {
    if (client_watch(c, id, e) < 0)
        return -1;
    c->wait_id = id;
    c->wait_out = out;
    while (c->wait_id && !c->refused.code && !mono_reached(c->config.clock(), deadline))
        client_poll(c, deadline);
    bool ended = !c->wait_id;
    c->wait_id = 0;
    c->wait_out = NULL;
    if (ended && out->state)
        return 0;
    if (!ended)
        client_unwatch(c, id);
    if (e)
        *e = ended ? out->err : c->refused;
    if (!ended && !c->refused.code) {
        if (client_is_up(c))
            return err_set(e, ERR_WAIT_TIMEOUT, "the job has not ended within the time given");
        return client_say_unreachable(c, e);
    }
    return -1;
}
