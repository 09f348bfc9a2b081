/* What has ended is kept for a while, by age, bytes and number, oldest out first; dead letters have
 * limits of their own. Of a kept job only its slot is in memory. */
#include "broker/core/core_int.h"

#define TRIM_MAX 4096 /* in one turn: a new bound or a stepped clock may make all of it too old */

static int kept_list(const struct job *j) {
    return j->state == JOB_dead ? 1 : 0;
}

uint64_t retain_bytes(const struct job *j) {
    return (uint64_t)j->body_bytes + j->state_bytes;
}

void retain_add(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    int which = kept_list(j);
    ASSERT(!job_is(j, JOB_IS_KEPT));
    job_mark(j, JOB_IS_KEPT);
    list_push(c, &c->kept[which], i);
    c->kept_bytes[which] += retain_bytes(j);
    if (which)
        job_queue(c, j)->kept_dead++;
}

void retain_remove(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    int which = kept_list(j);
    ASSERT(job_is(j, JOB_IS_KEPT));
    job_unmark(j, JOB_IS_KEPT);
    list_remove(c, &c->kept[which], i);
    c->kept_bytes[which] -= retain_bytes(j);
    if (which)
        job_queue(c, j)->kept_dead--;
}

/* Cleaning gave a kept job new records. */
void retain_resized(struct core *c, uint32_t i, uint64_t old_bytes) {
    struct job *j = job_at(c, i);
    if (job_is(j, JOB_IS_KEPT))
        c->kept_bytes[kept_list(j)] += retain_bytes(j) - old_bytes;
}

static void forget(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    retain_remove(c, i);
    c->fx.release(c->fx.ctx, j->body_pos, j->body_bytes);
    if (j->state_pos != j->body_pos)
        c->fx.release(c->fx.ctx, j->state_pos, j->state_bytes);
    job_free(c, i);
}

static bool too_much(const struct core *c, int which) {
    const struct core_config *k = &c->config;
    const struct list *l = &c->kept[which];
    uint64_t age_ms = which ? k->dead_age_ms : k->done_age_ms;
    uint64_t ended = job_at(c, l->head)->since_ms;
    return l->n > (which ? k->dead_jobs : k->done_jobs) ||
           c->kept_bytes[which] > (which ? k->dead_bytes : k->done_bytes) ||
           (c->wall.ms > ended && c->wall.ms - ended > age_ms);
}

void retain_trim(struct core *c) {
    uint32_t n = 0;
    for (int which = 0; which < 2; which++) {
        for (; c->kept[which].head && too_much(c, which) && n < TRIM_MAX; n++)
            forget(c, c->kept[which].head);
    }
    c->more |= n == TRIM_MAX;
}
