/* Limits of queues and tenants: how many run at a time, and how many start in a while.
 *
 * The rate is a token bucket in the form of the generic cell rate algorithm (ITU-T I.371, annex A):
 * one number, the time at which the bucket would be full again. */
#include "broker/core/core_int.h"

#define TOLERANCE_MAX_US (UINT64_MAX / 4)

static uint64_t cell_us(const struct limit *l) {
    uint64_t us = l->now.rate_per_ms * 1000 / l->now.rate_count;
    return us ? us : 1;
}

static uint64_t tolerance_us(const struct limit *l) {
    uint64_t cells = l->now.burst ? l->now.burst - 1 : 0;
    return cells > TOLERANCE_MAX_US / cell_us(l) ? TOLERANCE_MAX_US : cells * cell_us(l);
}

uint64_t core_now_us(const struct core *c) {
    return c->now.ms * 1000;
}

bool limit_has_room(const struct limit *l) {
    if (MUTANT(limit_off_by_one))
        return l->now.concurrency == 0 || l->running <= l->now.concurrency;
    return l->now.concurrency == 0 || l->running < l->now.concurrency;
}

uint64_t limit_wait_us(const struct limit *l, uint64_t now_us) {
    if (l->now.rate_count == 0 || MUTANT(rate_ignored))
        return 0;
    uint64_t free_at = l->tat_us > tolerance_us(l) ? l->tat_us - tolerance_us(l) : 0;
    return free_at > now_us ? free_at - now_us : 0;
}

void limit_take(struct limit *l, uint64_t now_us) {
    l->running++;
    if (l->now.rate_count)
        l->tat_us = (l->tat_us > now_us ? l->tat_us : now_us) + cell_us(l);
}

void limit_give(struct limit *l) {
    ASSERT(l->running > 0);
    l->running--;
}

void limit_configure(struct limit *l, const struct limit_config *file) {
    l->file = *file;
    if (!l->file.weight)
        l->file.weight = 1;
    if (!l->is_set)
        l->now = l->file;
}

/* A debt at an old rate is forgotten: one start is free under the new one. */
void limit_forgive(const struct core *c, struct limit *l, const struct limit_config *before) {
    const struct limit_config *now = &l->now;
    if (now->rate_count == before->rate_count && now->rate_per_ms == before->rate_per_ms &&
        now->burst == before->burst)
        return;
    if (l->now.rate_count && l->tat_us > core_now_us(c) + tolerance_us(l))
        l->tat_us = core_now_us(c) + tolerance_us(l);
}

void limit_set(struct core *c, struct limit *l, const struct limit_config *set) {
    struct limit_config before = l->now;
    l->is_set = set != NULL;
    if (set)
        l->set = *set;
    l->now = set ? l->set : l->file;
    if (!l->now.weight)
        l->now.weight = 1;
    limit_forgive(c, l, &before);
}

void limits_after_restart(struct core *c) {
    SLAB_EACH(i, &c->queues.rows)
    if (queue_at(c, i)->limit.now.rate_count)
        queue_at(c, i)->limit.tat_us = core_now_us(c) + tolerance_us(&queue_at(c, i)->limit);
    SLAB_EACH(i, &c->tenants.rows)
    if (tenant_at(c, i)->limit.now.rate_count)
        tenant_at(c, i)->limit.tat_us = core_now_us(c) + tolerance_us(&tenant_at(c, i)->limit);
}

bool queue_may_start(const struct core *c, const struct queue *q) {
    if (q->paused && !MUTANT(pause_ignored))
        return false;
    return limit_has_room(&q->limit) && limit_wait_us(&q->limit, core_now_us(c)) == 0;
}

bool tenant_may_start(const struct core *c, const struct tenant *t) {
    return limit_has_room(&t->limit) && limit_wait_us(&t->limit, core_now_us(c)) == 0;
}
