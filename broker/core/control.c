/* What operators set at run time: journaled, and stronger than the file until reset. */
#include "broker/core/core_int.h"

static void rewrite(struct core *c, enum record_type type, const void *m, uint64_t *pos,
                    uint32_t *bytes) {
    struct record r = {.type = type, .other = m};
    if (*pos)
        c->fx.release(c->fx.ctx, *pos, *bytes);
    *pos = c->fx.append(c->fx.ctx, &r, bytes);
}

void queue_record(struct core *c, uint32_t queue) {
    struct queue *q = queue_at(c, queue);
    struct msg_rec_queue m = {0};
    MSG_SET(&m, rec_queue, queue, q->row.name);
    MSG_SET(&m, rec_queue, version, q->version);
    MSG_SET(&m, rec_queue, pause_set, q->pause_is_set);
    MSG_SET(&m, rec_queue, paused, q->paused);
    MSG_SET(&m, rec_queue, limit_set, q->limit.is_set);
    MSG_SET(&m, rec_queue, concurrency, q->limit.set.concurrency);
    MSG_SET(&m, rec_queue, rate_count, q->limit.set.rate_count);
    MSG_SET(&m, rec_queue, rate_per_ms, q->limit.set.rate_per_ms);
    MSG_SET(&m, rec_queue, burst, q->limit.set.burst);
    rewrite(c, REC_QUEUE, &m, &q->pos, &q->bytes);
}

void tenant_record(struct core *c, uint32_t tenant) {
    struct tenant *t = tenant_at(c, tenant);
    struct msg_rec_tenant m = {0};
    MSG_SET(&m, rec_tenant, tenant, t->row.name);
    MSG_SET(&m, rec_tenant, version, t->version);
    MSG_SET(&m, rec_tenant, limit_set, t->limit.is_set);
    MSG_SET(&m, rec_tenant, concurrency, t->limit.set.concurrency);
    MSG_SET(&m, rec_tenant, rate_count, t->limit.set.rate_count);
    MSG_SET(&m, rec_tenant, rate_per_ms, t->limit.set.rate_per_ms);
    MSG_SET(&m, rec_tenant, burst, t->limit.set.burst);
    MSG_SET(&m, rec_tenant, weight, t->limit.set.weight);
    rewrite(c, REC_TENANT, &m, &t->pos, &t->bytes);
}

/* ---- answers
 * ------------------------------------------------------------------------------------- */
static void done(struct core *c, uint64_t count, uint64_t after) {
    answer(c, &(struct reply_item){.count = (uint32_t)count}, NULL, after);
}

static void refuse(struct core *c, enum err_code code, const char *what, struct str name) {
    struct err e;
    err_set(&e, code, "%s '" STR_FMT "': not known", what, STR_ARG(name));
    answer(c, &(struct reply_item){.code = (uint32_t)code}, &e, 0);
}

static void too_many(struct core *c, const char *what, uint32_t max) {
    struct err e;
    err_set(&e, ERR_BUSY, "there are %u %s, the bound", max, what);
    answer(c, &(struct reply_item){.code = (uint32_t)e.code}, &e, 0);
}

/* ---- pause and limits
 * ---------------------------------------------------------------------------- */
void queue_recall(struct core *c, uint32_t queue) {
    SLAB_EACH(w, &c->workers)
    worker_recall(c, w, queue);
}

static void set_pause(struct core *c, const struct msg_queue_ref *m, bool paused) {
    uint32_t queue = names_find(&c->queues, m->queue);
    if (!queue) { /* a typing error must not pause a queue that nobody has */
        refuse(c, ERR_UNKNOWN_QUEUE, "queue", m->queue);
        return;
    }
    struct queue *q = queue_at(c, queue);
    q->paused = m->reset ? q->file_paused : paused;
    q->pause_is_set = !m->reset;
    q->version++;
    queue_record(c, queue);
    queue_changed(c, queue);
    if (q->paused)
        queue_recall(c, queue);
    done(c, 1, q->pos);
}

void on_pause_queue(struct core *c, const void *message, struct str payload) {
    (void)payload;
    set_pause(c, message, true);
}

void on_resume_queue(struct core *c, const void *message, struct str payload) {
    (void)payload;
    set_pause(c, message, false);
}

/* What is not named stays as it is in force. */
static struct limit_config changed(const struct limit *l, const struct msg_set_limit *m) {
    struct limit_config k = l->now;
    if (MSG_HAS(m, set_limit, concurrency))
        k.concurrency = (uint32_t)m->concurrency;
    if (MSG_HAS(m, set_limit, rate_count)) {
        k.rate_count = (uint32_t)m->rate_count;
        k.rate_per_ms = m->rate_per_ms ? m->rate_per_ms : 1000;
        k.burst = m->burst ? (uint32_t)m->burst : 1;
    }
    if (MSG_HAS(m, set_limit, weight))
        k.weight = (uint32_t)m->weight;
    return k;
}

static void limit_queue(struct core *c, const struct msg_set_limit *m) {
    uint32_t queue = queue_take(c, m->name);
    if (!queue) {
        too_many(c, "queues", c->config.queues_max);
        return;
    }
    struct queue *q = queue_at(c, queue);
    struct limit_config k = changed(&q->limit, m);
    limit_set(c, &q->limit, m->reset ? NULL : &k);
    q->version++;
    queue_record(c, queue);
    timer_clear(c, TIMER_QUEUE, queue);
    queue_changed(c, queue);
    done(c, 1, q->pos);
}

static void limit_tenant(struct core *c, const struct msg_set_limit *m) {
    uint32_t tenant = tenant_take(c, m->name);
    if (!tenant) {
        too_many(c, "tenants", c->config.tenants_max);
        return;
    }
    struct tenant *t = tenant_at(c, tenant);
    struct limit_config k = changed(&t->limit, m);
    limit_set(c, &t->limit, m->reset ? NULL : &k);
    t->version++;
    tenant_record(c, tenant);
    tenant_unpark(c, tenant);
    done(c, 1, t->pos);
}

void on_set_limit(struct core *c, const void *message, struct str payload) {
    const struct msg_set_limit *m = message;
    (void)payload;
    if (m->scope == 1)
        limit_queue(c, m);
    else
        limit_tenant(c, m);
}
