/* Jobs whose end somebody waits for: asked for again on every connection, told once. */
#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/wire/client_int.h"

#include <inttypes.h>

static struct watch *watch_at(const struct client *c, uint32_t i) {
    return slab_at(&c->watches, i);
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

void watches_setup(struct client *c) {
    slab_init(&c->watches, sizeof(struct watch));
    lhash_init(&c->watch_index, &watch_ops, c);
}

void watches_done(struct client *c) {
    lhash_done(&c->watch_index);
    slab_done(&c->watches);
}

static uint32_t find(const struct client *c, uint64_t id) {
    return lhash_find(&c->watch_index, hash_mix(id, 0), &id);
}

static bool is_untold(const struct client *c, uint32_t i) {
    return watch_at(c, i)->untold;
}

static void tell_later(struct client *c, uint32_t i) {
    if (is_untold(c, i))
        return;
    watch_at(c, i)->untold = true;
    watch_at(c, i)->untold_next = c->untold;
    c->untold = i;
}

/* One that is still to be told stays in its list, without an id, until that is walked. */
static void forget(struct client *c, uint32_t i) {
    lhash_remove(&c->watch_index, i);
    if (is_untold(c, i))
        watch_at(c, i)->id = 0;
    else
        slab_give(&c->watches, i);
}

void watch_note(struct client *c, uint64_t id, bool ask) {
    uint32_t i = find(c, id);
    if (!i) {
        i = slab_take(&c->watches);
        watch_at(c, i)->id = id;
        lhash_add(&c->watch_index, i);
    }
    if (ask)
        tell_later(c, i);
}

int client_watch(struct client *c, uint64_t id, struct err *e) {
    if (c->watches.used >= CLIENT_WATCHES_MAX)
        return err_set(e, ERR_BUSY, "%u jobs are watched, the bound", CLIENT_WATCHES_MAX);
    watch_note(c, id, true);
    return 0;
}

void client_unwatch(struct client *c, uint64_t id) {
    uint32_t i = find(c, id);
    if (i)
        forget(c, i);
}

void watches_again(struct client *c) {
    for (uint32_t i = 1; i < slab_end(&c->watches); i++)
        if (slab_is_used(&c->watches, i) && watch_at(c, i)->id)
            tell_later(c, i);
}

/* Takes what is untold into a message, as much as it holds. */
static void take_untold(struct client *c) {
    const struct msg_welcome *terms = client_terms(c);
    frame_begin(&c->out, VERB_watch_job, link_sequence(c->link));
    if (terms->items_max < c->out.items_max)
        c->out.items_max = (uint32_t)terms->items_max;
    while (c->untold) {
        uint32_t i = c->untold;
        struct watch *w = watch_at(c, i);
        struct msg_get_job m = {0};
        MSG_SET(&m, get_job, id, w->id);
        if (w->id && frame_add(&c->out, &m) < 0)
            return;
        c->untold = w->untold_next;
        w->untold = false;
        if (!w->id)
            slab_give(&c->watches, i);
    }
}

void watches_flush(struct client *c) {
    while (c->untold && client_is_up(c)) {
        take_untold(c);
        if (c->out.items && link_send(c->link, &c->out, NULL) < 0) {
            watches_again(c); /* the queue is full: all of them, another time */
            return;
        }
    }
}

bool watch_ended(struct client *c, const struct client_finished *f) {
    uint32_t i = find(c, f->id);
    if (!i)
        return false;
    forget(c, i);
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
    enum err_code code = err_code_known(m->error) ? (enum err_code)m->error : ERR_JOB_REJECTED;
    err_set(e, code, STR_FMT, STR_ARG(m->text));
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
        enum err_code code = err_code_known(m.code) ? (enum err_code)m.code : ERR_NOT_FOUND;
        err_set(&f.err, code, STR_FMT, STR_ARG(m.text));
        watch_ended(c, &f);
    }
}
