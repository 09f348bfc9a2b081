/* Idempotency keys: within a tenant and queue, a second job with the same key is the first one.
 *
 * An entry lives while its job is alive, or for a window from the submission. A window that
 * outlives its job's retention is written down in a record of its own. */
#include "broker/core/core_int.h"
#include "common/base/mem.h"

struct unique_name {
    uint64_t hash;
    uint32_t queue, tenant;
    struct str text;
};

static uint64_t unique_hash(const void *ctx, uint32_t i) {
    return unique_at(ctx, i)->hash;
}

static uint32_t *unique_link(const void *ctx, uint32_t i) {
    return &unique_at(ctx, i)->hash_next;
}

static bool unique_equal(const void *ctx, uint32_t i, const void *name) {
    const struct unique *u = unique_at(ctx, i);
    const struct unique_name *n = name;
    return u->hash == n->hash && u->queue == n->queue && u->tenant == n->tenant &&
           str_eq(u->text, n->text);
}

static const struct lhash_ops unique_ops = {unique_hash, unique_link, unique_equal};

void uniques_setup(struct core *c) {
    slab_init(&c->uniques, sizeof(struct unique));
    lhash_init(&c->unique_index, &unique_ops, c);
}

int unique_room(const struct core *c, struct err *e) {
    if (c->uniques.used < c->config.windows_max)
        return 0;
    return err_set(e, ERR_BUSY, "%u unique keys are held, the bound is %u", c->uniques.used,
                   c->config.windows_max);
}

static struct unique_name name_of(const struct core *c, uint32_t queue, uint32_t tenant,
                                  struct str text) {
    uint64_t hash =
        hash_mix(hash_bytes(c->config.seed + 1, text), ((uint64_t)queue << 32) | tenant);
    return (struct unique_name){hash, queue, tenant, text};
}

uint32_t unique_find(const struct core *c, uint32_t queue, uint32_t tenant, struct str text) {
    struct unique_name name = name_of(c, queue, tenant, text);
    return lhash_find(&c->unique_index, name.hash, &name);
}

static uint32_t unique_new(struct core *c, uint32_t queue, uint32_t tenant, struct str text) {
    uint32_t i = slab_take(&c->uniques);
    struct unique *u = unique_at(c, i);
    char *copy = mem_alloc(text.len);
    memcpy(copy, text.at, text.len);
    u->hash = name_of(c, queue, tenant, text).hash;
    u->queue = queue;
    u->tenant = tenant;
    u->text = (struct str){copy, text.len};
    names_hold(&c->queues, queue);
    names_hold(&c->tenants, tenant);
    lhash_add(&c->unique_index, i);
    return i;
}

static void unique_drop(struct core *c, uint32_t i) {
    struct unique *u = unique_at(c, i);
    if (u->job)
        job_extra(c, job_at(c, u->job))->unique = 0;
    if (u->own_pos)
        c->fx.release(c->fx.ctx, u->own_pos, u->own_bytes);
    names_let_go(&c->queues, u->queue);
    names_let_go(&c->tenants, u->tenant);
    timer_clear(c, TIMER_UNIQUE, i);
    lhash_remove(&c->unique_index, i);
    mem_free((void *)(uintptr_t)u->text.at);
    slab_give(&c->uniques, i);
}

void unique_take(struct core *c, uint32_t i, struct str text, uint64_t window_ms,
                 uint64_t rest_ms) {
    struct job *j = job_at(c, i);
    uint32_t queue = line_at(c, j->line)->queue;
    uint32_t n = unique_find(c, queue, j->tenant, text);
    /* At replay: who came later could only come because the earlier one's time had passed. */
    if (n && unique_at(c, n)->id > j->id)
        return;
    if (n && unique_at(c, n)->id < j->id) {
        unique_drop(c, n);
        n = 0;
    }
    if (!n)
        n = unique_new(c, queue, j->tenant, text);
    struct unique *u = unique_at(c, n);
    u->id = j->id;
    u->pos = j->body_pos;
    u->job = i;
    u->window_ms = window_ms;
    if (window_ms) {
        u->end_ms = c->now.ms + rest_ms;
        timer_set(c, TIMER_UNIQUE, n, u->end_ms);
    }
    job_need_extra(c, i)->unique = n;
}

static void write_window(struct core *c, uint32_t n) {
    struct unique *u = unique_at(c, n);
    uint64_t rest = u->end_ms > c->now.ms ? u->end_ms - c->now.ms : 0;
    struct msg_rec_window m = {0};
    MSG_SET(&m, rec_window, tenant, tenant_at(c, u->tenant)->row.name);
    MSG_SET(&m, rec_window, queue, queue_at(c, u->queue)->row.name);
    MSG_SET(&m, rec_window, unique, u->text);
    MSG_SET(&m, rec_window, id, u->id);
    MSG_SET(&m, rec_window, end_ms, c->wall.ms + rest);
    MSG_SET(&m, rec_window, window_ms, u->window_ms);
    struct record r = {.type = REC_WINDOW, .other = &m};
    if (u->own_pos)
        c->fx.release(c->fx.ctx, u->own_pos, u->own_bytes);
    u->own_pos = c->fx.append(c->fx.ctx, &r, &u->own_bytes);
}

/* Before the record of the job's end: a crash between the two must not lose the window. */
void unique_job_ended(struct core *c, uint32_t i) {
    struct extra *x = job_extra(c, job_at(c, i));
    if (!x || !x->unique)
        return;
    uint32_t n = x->unique;
    struct unique *u = unique_at(c, n);
    if (!u->window_ms && !MUTANT(unique_never_freed)) {
        unique_drop(c, n);
        return;
    }
    write_window(c, n);
    x->unique = 0;
    u->job = 0;
}

/* At replay, of a job that has ended: a window that goes on has a record of its own. */
void unique_let_go(struct core *c, uint32_t i) {
    struct extra *x = job_extra(c, job_at(c, i));
    if (!x->unique)
        return;
    struct unique *u = unique_at(c, x->unique);
    if (!u->own_pos) {
        unique_drop(c, x->unique);
        return;
    }
    x->unique = 0;
    u->job = 0;
}

void unique_timer(struct core *c, uint32_t n) {
    unique_drop(c, n);
}

void unique_replay(struct core *c, uint64_t pos, uint32_t bytes, const struct msg_rec_window *w) {
    uint32_t queue = queue_take(c, w->queue), tenant = tenant_take(c, w->tenant);
    uint64_t rest = wall_rest(c->wall, (struct wall){w->end_ms}, w->window_ms);
    uint32_t n = queue && tenant ? unique_find(c, queue, tenant, w->unique) : 0;
    if (!queue || !tenant || rest == 0 || (n && unique_at(c, n)->id > w->id)) {
        c->fx.release(c->fx.ctx, pos, bytes);
        return;
    }
    if (n && unique_at(c, n)->id < w->id) {
        unique_drop(c, n);
        n = 0;
    }
    if (!n)
        n = unique_new(c, queue, tenant, w->unique);
    struct unique *u = unique_at(c, n);
    if (u->own_pos)
        c->fx.release(c->fx.ctx, u->own_pos, u->own_bytes);
    u->id = w->id;
    u->pos = u->own_pos = pos;
    u->own_bytes = bytes;
    u->window_ms = w->window_ms;
    u->end_ms = c->now.ms + rest;
    timer_set(c, TIMER_UNIQUE, n, u->end_ms);
}

void unique_clean(struct core *c, uint64_t pos, const struct msg_rec_window *w) {
    uint32_t queue = names_find(&c->queues, w->queue), tenant = names_find(&c->tenants, w->tenant);
    uint32_t n = queue && tenant ? unique_find(c, queue, tenant, w->unique) : 0;
    if (n && unique_at(c, n)->own_pos == pos)
        write_window(c, n);
}

void uniques_teardown(struct core *c) {
    SLAB_EACH(i, &c->uniques)
    mem_free((void *)(uintptr_t)unique_at(c, i)->text.at);
    lhash_done(&c->unique_index);
    slab_done(&c->uniques);
}
