/* Jobs whose end somebody waits for, and flows: asked for again on every connection. An end is told
 * once. */
#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/wire/client_int.h"

#include <inttypes.h>

#define REFUSED_MS 1000U /* until watches that were refused are told again */

static enum err_code code_of(uint64_t number, enum err_code unknown) {
    return err_code_known(number) ? (enum err_code)number : unknown;
}

static struct watch *watch_at(const struct watches *w, uint32_t i) {
    return slab_at(&w->slab, i);
}

static uint64_t watch_hash(const void *ctx, uint32_t i) {
    return hash_mix(watch_at(ctx, i)->id, 0);
}

static uint32_t *watch_link(const void *ctx, uint32_t i) {
    return &watch_at(ctx, i)->hash_next;
}

static bool watch_equal(const void *ctx, uint32_t i, const void *key) {
    return watch_at(ctx, i)->id == *(const uint64_t *)key;
}

static const struct lhash_ops watch_ops = {watch_hash, watch_link, watch_equal};

static void setup(struct watches *w, enum verb verb) {
    w->verb = verb;
    slab_init(&w->slab, sizeof(struct watch));
    lhash_init(&w->index, &watch_ops, w);
}

void watches_setup(struct client *c) {
    setup(&c->jobs, VERB_watch_job);
    setup(&c->flows, VERB_watch_flow);
}

static void teardown(struct watches *w) {
    lhash_done(&w->index);
    slab_done(&w->slab);
}

void watches_done(struct client *c) {
    teardown(&c->jobs);
    teardown(&c->flows);
}

static uint32_t find(const struct watches *w, uint64_t id) {
    return lhash_find(&w->index, hash_mix(id, 0), &id);
}

static void tell_later(struct watches *w, uint32_t i) {
    struct watch *at = watch_at(w, i);
    if (at->untold)
        return;
    at->untold = true;
    at->untold_next = w->untold;
    w->untold = i;
}

/* One that is still to be told stays in its list, without an id, until that is walked. */
static void forget(struct watches *w, uint32_t i) {
    lhash_remove(&w->index, i);
    if (watch_at(w, i)->untold)
        watch_at(w, i)->id = 0;
    else
        slab_give(&w->slab, i);
}

static void note(struct watches *w, uint64_t id, bool ask) {
    uint32_t i = find(w, id);
    if (!i) {
        i = slab_take(&w->slab);
        watch_at(w, i)->id = id;
        lhash_add(&w->index, i);
    }
    if (ask)
        tell_later(w, i);
}

void watch_note(struct client *c, uint64_t id, bool ask) {
    note(&c->jobs, id, ask);
}

static int begin(struct watches *w, uint64_t id, const char *what, struct err *e) {
    if (w->slab.used >= CLIENT_WATCHES_MAX)
        return err_set(e, ERR_BUSY, "%u %s are watched, the bound", CLIENT_WATCHES_MAX, what);
    note(w, id, true);
    return 0;
}

int client_watch(struct client *c, uint64_t id, struct err *e) {
    return begin(&c->jobs, id, "jobs", e);
}

int client_watch_flow(struct client *c, uint64_t id, struct err *e) {
    return begin(&c->flows, id, "flows", e);
}

static void unwatch(struct watches *w, uint64_t id) {
    uint32_t i = find(w, id);
    if (i)
        forget(w, i);
}

void client_unwatch(struct client *c, uint64_t id) {
    unwatch(&c->jobs, id);
}

void client_unwatch_flow(struct client *c, uint64_t id) {
    unwatch(&c->flows, id);
}

static void tell_all(struct watches *w) {
    for (uint32_t i = 1; i < slab_end(&w->slab); i++)
        if (slab_is_used(&w->slab, i) && watch_at(w, i)->id)
            tell_later(w, i);
}

void watches_again(struct client *c) {
    c->watch_again = MONO_NEVER;
    tell_all(&c->jobs);
    tell_all(&c->flows);
}

/* Takes what is untold into a message, as much as it holds. */
static void take_untold(struct client *c, struct watches *w) {
    const struct msg_welcome *terms = client_terms(c);
    frame_begin(&c->out, w->verb, link_sequence(c->link));
    if (terms->items_max < c->out.items_max)
        c->out.items_max = (uint32_t)terms->items_max;
    while (w->untold) {
        uint32_t i = w->untold;
        struct watch *at = watch_at(w, i);
        struct msg_get_job m = {0};
        MSG_SET(&m, get_job, id, at->id);
        if (at->id && frame_add(&c->out, &m) < 0)
            return;
        w->untold = at->untold_next;
        at->untold = false;
        if (!at->id)
            slab_give(&w->slab, i);
    }
}

static void flush(struct client *c, struct watches *w) {
    while (w->untold && client_is_up(c)) {
        take_untold(c, w);
        if (c->out.items && link_send(c->link, &c->out, NULL) < 0) {
            tell_all(w); /* the queue is full: all of them, another time */
            return;
        }
    }
}

void watches_flush(struct client *c) {
    if (mono_reached(c->config.clock(), c->watch_again))
        watches_again(c);
    flush(c, &c->jobs);
    flush(c, &c->flows);
}

/* P-90: which of them it told of is not known any more. What the broker of now will never answer
 * (NO_HELLO) is told with the next WELCOME anyway. */
void watch_error(struct client *c, const struct msg_error *m) {
    uint64_t wait_ms = m->retry_after_ms > REFUSED_MS ? m->retry_after_ms : REFUSED_MS;
    if (code_of(m->code, ERR_CONFLICT) == ERR_BUSY)
        c->watch_again = mono_min(c->watch_again, mono_add(c->config.clock(), wait_ms));
}

bool watch_ended(struct client *c, const struct client_finished *f) {
    uint32_t i = find(&c->jobs, f->id);
    if (!i)
        return false;
    forget(&c->jobs, i);
    c->calls++;
    if (c->wait_out && c->wait_id == f->id) {
        struct buf kept = c->wait_out->result;
        buf_clear(&kept);
        buf_put_str(&kept, buf_str(&f->result));
        *c->wait_out = *f;
        c->wait_out->result = kept;
        c->wait_id = 0;
    } else if (c->config.on_finished) {
        c->config.on_finished(c->config.ctx, f);
    }
    return true;
}

static void say_how(const struct msg_finished *m, struct err *e) {
    if (!m->error)
        return;
    err_set(e, code_of(m->error, ERR_JOB_REJECTED), STR_FMT, STR_ARG(m->text));
}

void client_finished_message(const struct client_finished *f, struct msg_finished *out) {
    *out = (struct msg_finished){0};
    MSG_SET(out, finished, id, f->id);
    if (f->state)
        MSG_SET(out, finished, state, f->state);
    MSG_SET(out, finished, attempts, f->attempts);
    if (f->err.code) {
        MSG_SET(out, finished, error, (uint64_t)f->err.code);
        MSG_SET(out, finished, text, str_of(f->err.text));
    }
    if (f->flow)
        MSG_SET(out, finished, flow, true);
}

void watch_on_finished(struct client *c, struct frame_in *in) {
    struct msg_finished m;
    struct frame_item item;
    struct err e;
    for (int got; (got = frame_next(in, &m, c->arena, &item, &e)) != 0;) {
        if (got < 0)
            continue;
        struct client_finished f = {
            .id = m.id,
            .state = m.state,
            .attempts = (uint32_t)m.attempts,
            .epoch = m.epoch,
            .seq = m.seq,
            .flow = m.flow,
            /* Borrowed: nobody changes what on_finished is shown. */
            .result = {.at = (char *)(uintptr_t)item.payload.at, .len = item.payload.len}};
        say_how(&m, &f.err);
        if (!c->tap.finished || !c->tap.finished(c->tap.ctx, &f))
            watch_ended(c, &f);
    }
}

/* WATCH_JOB is answered only where there is no such job. */
void watch_on_info(struct client *c, struct frame_in *in) {
    struct msg_job_info m;
    struct frame_item item;
    struct err e;
    for (int got; (got = frame_next(in, &m, c->arena, &item, &e)) != 0;) {
        if (got < 0 || !m.code || !m.id)
            continue;
        struct client_finished f = {.id = m.id};
        err_set(&f.err, code_of(m.code, ERR_NOT_FOUND), STR_FMT, STR_ARG(m.text));
        watch_ended(c, &f);
    }
}

/* ---- flows ---------------------------------------------------------------------------------- */
/* The last word of a flow ends its watch; what comes late of one that is not watched is dropped. */
static void tell_flow(struct client *c, const struct msg_flow_info *m) {
    uint32_t i = find(&c->flows, m->id);
    struct client_flow f = {.id = m->id,
                            .state = m->state,
                            .total = (uint32_t)m->total,
                            .done = (uint32_t)m->done,
                            .dead = (uint32_t)m->dead,
                            .cancelled = (uint32_t)m->cancelled,
                            .expired = (uint32_t)m->expired,
                            .settled = m->settled};
    if (!i)
        return;
    if (m->code)
        err_set(&f.err, code_of(m->code, ERR_NOT_FOUND), STR_FMT, STR_ARG(m->text));
    if (m->error)
        f.doom = code_of(m->error, ERR_FLOW_FAILED);
    if (m->code || m->settled)
        forget(&c->flows, i);
    c->calls++;
    if (c->config.on_flow)
        c->config.on_flow(c->config.ctx, &f);
}

void watch_on_flow(struct client *c, struct frame_in *in) {
    struct msg_flow_info m;
    struct frame_item item;
    struct err e;
    for (int got; (got = frame_next(in, &m, c->arena, &item, &e)) != 0;)
        if (got > 0)
            tell_flow(c, &m);
}
