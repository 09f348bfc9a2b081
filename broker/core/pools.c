/* Pools: how many worker processes there shall be, and which of them go when there are too many.
 * The supervisor of a host starts and ends processes; which worker leaves is decided here, where it
 * is known who is idle. */
#include "broker/core/core_int.h"

#include <stdio.h>

void pool_record(struct core *c, uint32_t pool) {
    struct pool *p = pool_at(c, pool);
    struct msg_rec_pool m = {0};
    MSG_SET(&m, rec_pool, pool, p->row.name);
    MSG_SET(&m, rec_pool, version, p->version);
    MSG_SET(&m, rec_pool, scale_set, p->is_set);
    MSG_SET(&m, rec_pool, processes, p->wanted);
    struct record r = {.type = REC_POOL, .other = &m};
    if (p->pos)
        c->fx.release(c->fx.ctx, p->pos, p->bytes);
    p->pos = c->fx.append(c->fx.ctx, &r, &p->bytes);
}

static void plan_message(const struct pool *p, struct msg_pool_plan *m) {
    *m = (struct msg_pool_plan){0};
    MSG_SET(m, pool_plan, pool, p->row.name);
    MSG_SET(m, pool_plan, processes, p->wanted);
}

static uint32_t count_active(const struct core *c, uint32_t pool, uint32_t *least_held) {
    uint32_t n = 0, best = 0;
    SLAB_EACH(i, &c->workers) {
        const struct worker *w = worker_at(c, i);
        if (w->pool != pool || w->state != WORKER_ACTIVE)
            continue;
        n++;
        if (!best || w->held < worker_at(c, best)->held)
            best = i;
    }
    *least_held = best;
    return n;
}

void pool_trim(struct core *c, uint32_t pool) {
    const struct pool *p = pool_at(c, pool);
    if (!p->configured)
        return; /* not one of ours to count: its workers come and go as they like */
    uint32_t idle;
    while (count_active(c, pool, &idle) > p->wanted)
        worker_drain(c, idle);
}

static int check_scale(const struct pool *p, const struct msg_scale_pool *m, struct err *e) {
    if (!p || !p->configured)
        return err_set(e, ERR_UNKNOWN_POOL, "pool '" STR_FMT "': not in the configuration",
                       STR_ARG(m->pool));
    if (!m->reset && m->processes > p->max)
        return err_set(e, ERR_BAD_VALUE,
                       "scale_pool.processes: %llu, at most %u for pool '" STR_FMT "'",
                       (unsigned long long)m->processes, p->max, STR_ARG(m->pool));
    return 0;
}

void pool_plan(struct core *c, uint32_t pool) {
    struct msg_pool_plan plan;
    plan_message(pool_at(c, pool), &plan);
    tell_supervisors(c, VERB_pool_plan, &plan);
    pool_trim(c, pool);
}

static void scale(struct core *c, uint32_t pool, const struct msg_scale_pool *m) {
    struct pool *p = pool_at(c, pool);
    p->wanted = m->reset ? p->min : (uint32_t)m->processes;
    p->is_set = !m->reset;
    p->version++;
    pool_record(c, pool);
    pool_plan(c, pool);
    answer(c, &(struct reply_item){.count = p->wanted}, NULL, p->pos);
}

void on_scale_pool(struct core *c, const void *message, struct str payload) {
    const struct msg_scale_pool *m = message;
    (void)payload;
    uint32_t pool = names_find(&c->pools, m->pool);
    struct err e = {0};
    if (check_scale(pool ? pool_at(c, pool) : NULL, m, &e) < 0)
        answer(c, &(struct reply_item){.code = (uint32_t)e.code}, &e, 0);
    else
        scale(c, pool, m);
}

void on_pool_report(struct core *c, const void *message, struct str payload) {
    const struct msg_pool_report *m = message;
    (void)payload;
    c->request.session->supervisor = true;
    uint32_t pool = pool_take(c, m->pool);
    if (!pool) {
        struct err e;
        err_set(&e, ERR_BUSY,
                "pool_report: no place for pool '" STR_FMT "', there are %u, the bound",
                STR_ARG(m->pool), c->pools.max);
        c->stats.refused++;
        reply_error(c, c->request.link, c->request.sequence, &e);
        return;
    }
    struct pool *p = pool_at(c, pool);
    p->restarts = m->restarts;
    p->reported = m->processes;
    snprintf(p->text, sizeof p->text, STR_FMT, STR_ARG(m->text));
    if (!p->configured)
        return;
    struct msg_pool_plan plan;
    plan_message(p, &plan);
    send_to(c, c->request.link, VERB_pool_plan, 0, &plan, STR(""), 0);
}

/* A pool by name, or a worker by the hex digits of its instance. */
static bool is_named(const struct core *c, uint32_t worker, struct str name) {
    const struct worker *w = worker_at(c, worker);
    if (w->pool && str_eq(pool_at(c, w->pool)->row.name, name))
        return true;
    char hex[33];
    const uint8_t *id = session_at(c, w->session)->instance;
    for (size_t n = 0; n < 16; n++)
        snprintf(hex + 2 * n, 3, "%02x", id[n]);
    return str_eq(name, str_make(hex, 32)) ||
           (name.len >= 8 && str_starts(str_make(hex, 32), name));
}

void on_drain(struct core *c, const void *message, struct str payload) {
    const struct msg_drain *m = message;
    (void)payload;
    struct reply_item item = {0};
    SLAB_EACH(w, &c->workers) {
        if (!is_named(c, w, m->name))
            continue;
        worker_drain(c, w);
        item.count++;
    }
    struct err e;
    if (!item.count) {
        err_set(&e, ERR_UNKNOWN_POOL, "'" STR_FMT "': no pool or worker of that name is here",
                STR_ARG(m->name));
        item.code = (uint32_t)e.code;
    }
    answer(c, &item, item.code ? &e : NULL, 0);
}
