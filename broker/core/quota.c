/* How many jobs of a queue run for each tenant, and the lanes that wait for that number to fall.
 *
 * It is counted for every queue, bounded or not, so that a bound that comes with a reload finds the
 * true number. A quota is there for as long as something of it runs. */
#include "broker/core/core_int.h"

struct quota_name {
    uint32_t queue, tenant;
};

static uint64_t quota_hash(const void *ctx, uint32_t i) {
    const struct quota *q = quota_at(ctx, i);
    return hash_mix(q->queue, q->tenant);
}

static uint32_t *quota_link(const void *ctx, uint32_t i) {
    return &quota_at(ctx, i)->hash_next;
}

static bool quota_equal(const void *ctx, uint32_t i, const void *key) {
    const struct quota *q = quota_at(ctx, i);
    const struct quota_name *n = key;
    return q->queue == n->queue && q->tenant == n->tenant;
}

static const struct lhash_ops quota_ops = {quota_hash, quota_link, quota_equal};

void quotas_setup(struct core *c) {
    slab_init(&c->quotas, sizeof(struct quota));
    lhash_init(&c->quota_index, &quota_ops, c);
}

void quotas_teardown(struct core *c) {
    lhash_done(&c->quota_index);
    slab_done(&c->quotas);
}

uint32_t quota_find(const struct core *c, uint32_t queue, uint32_t tenant) {
    uint32_t last = queue_at(c, queue)->quota;
    if (last && quota_at(c, last)->tenant == tenant)
        return last;
    struct quota_name name = {queue, tenant};
    return lhash_find(&c->quota_index, hash_mix(queue, tenant), &name);
}

uint32_t quota_running(const struct core *c, uint32_t queue, uint32_t tenant) {
    uint32_t i = quota_find(c, queue, tenant);
    return i ? quota_at(c, i)->running : 0;
}

bool quota_has_room(const struct core *c, uint32_t queue, uint32_t tenant) {
    uint32_t most = queue_at(c, queue)->tenant_concurrency;
    return !most || MUTANT(quota_ignored) || quota_running(c, queue, tenant) < most;
}

bool job_quota_has_room(const struct core *c, const struct job *j) {
    return quota_has_room(c, line_at(c, j->line)->queue, j->tenant);
}

static uint32_t quota_make(struct core *c, uint32_t queue, uint32_t tenant) {
    uint32_t i = slab_take(&c->quotas);
    struct quota *q = quota_at(c, i);
    struct queue *of = queue_at(c, queue);
    *q = (struct quota){.queue = queue, .tenant = tenant, .next = of->quotas};
    if (of->quotas)
        quota_at(c, of->quotas)->prev = i;
    of->quotas = i;
    lhash_add(&c->quota_index, i);
    return i;
}

void quota_take(struct core *c, const struct job *j) {
    uint32_t queue = line_at(c, j->line)->queue;
    uint32_t i = quota_find(c, queue, j->tenant);
    if (!i)
        i = quota_make(c, queue, j->tenant);
    quota_at(c, i)->running++;
    queue_at(c, queue)->quota = i;
    job_extra(c, j)->quota = i;
}

static void drop(struct core *c, uint32_t i) {
    const struct quota *q = quota_at(c, i);
    struct queue *of = queue_at(c, q->queue);
    if (of->quota == i)
        of->quota = 0;
    if (q->prev)
        quota_at(c, q->prev)->next = q->next;
    else
        of->quotas = q->next;
    if (q->next)
        quota_at(c, q->next)->prev = q->prev;
    lhash_remove(&c->quota_index, i);
    slab_give(&c->quotas, i);
}

void quota_give(struct core *c, const struct job *j) {
    struct extra *x = job_extra(c, j);
    uint32_t i = x->quota;
    struct quota *q = quota_at(c, i);
    ASSERT(q->running > 0);
    x->quota = 0;
    q->running--;
    if (q->parked && quota_has_room(c, q->queue, q->tenant) && !MUTANT(quota_parked_forever))
        lanes_unpark(c, &q->parked);
    if (!q->running && !q->parked)
        drop(c, i);
}

void quotas_unpark(struct core *c, uint32_t queue) {
    for (uint32_t i = queue_at(c, queue)->quotas; i; i = quota_at(c, i)->next)
        lanes_unpark(c, &quota_at(c, i)->parked);
}
