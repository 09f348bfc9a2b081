/* What has ended is kept for a while, by age, bytes and number, oldest out first; dead letters have
 * limits of their own. Of a kept job only its slot is in memory.
 *
 * Ages are counted on the monotone clock: a wall clock that is set forward by days must not empty
 * the retention. What ended in an earlier life has the age that its journal tells of: that life's
 * last record is the latest moment that counts, for the time until our start is what the wall clock
 * says, and it may have been stepped meanwhile. Nor is a step within such a life told from a time
 * in which nothing was written; so a silence, whatever made it, ages nothing by more than a day. */
#include "broker/core/core_int.h"

#define TRIM_MAX 4096 /* in one turn: a new bound or a stepped clock may make all of it too old */

#define SILENCE_MAX_MS (24ULL * 3600 * 1000)

#define START_S (1U << 31) /* ended_s of what ends as we start: there is room before and behind */

static uint32_t steady_s(const struct core *c) {
    return START_S + (uint32_t)((c->now.ms - c->started.ms) / 1000);
}

void retain_saw(struct core *c, uint64_t wall_ms) {
    if (wall_ms <= c->seen_wall_ms)
        return;
    if (c->seen_wall_ms && wall_ms - c->seen_wall_ms > SILENCE_MAX_MS)
        c->silences[c->n_silences++ % SILENCES] = (struct silence){c->seen_wall_ms, wall_ms};
    c->seen_wall_ms = wall_ms;
}

/* What of a silence between two times does not count. */
static uint64_t too_long_ms(const struct silence *s, uint64_t from_ms, uint64_t to_ms) {
    uint64_t from = s->from_ms > from_ms ? s->from_ms : from_ms;
    uint64_t to = s->to_ms < to_ms ? s->to_ms : to_ms;
    return to > from + SILENCE_MAX_MS ? to - from - SILENCE_MAX_MS : 0;
}

static uint32_t age_at_start_s(const struct core *c, const struct job *j) {
    uint64_t last_ms = c->seen_wall_ms < c->wall.ms ? c->seen_wall_ms : c->wall.ms;
    if (last_ms <= j->since_ms)
        return 0;
    uint64_t age_ms = last_ms - j->since_ms;
    for (uint32_t n = 0; n < c->n_silences && n < SILENCES; n++)
        age_ms -= too_long_ms(&c->silences[n], j->since_ms, last_ms);
    return age_ms / 1000 < START_S ? (uint32_t)(age_ms / 1000) : START_S;
}

static enum kept_list kept_list(const struct job *j) {
    if (job_is(j, JOB_UNWANTED))
        return KEPT_UNWANTED;
    return j->state == JOB_dead ? KEPT_DEAD : KEPT_DONE;
}

/* The room is wanted back by which other jobs end; nobody asks for the result of what has none. */
void retain_unwanted(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    if (c->room != CORE_ROOM && (j->state == JOB_cancelled || j->state == JOB_expired))
        job_mark(j, JOB_UNWANTED);
}

uint64_t retain_bytes(const struct job *j) {
    return (uint64_t)j->body_bytes + j->state_bytes;
}

void retain_add(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    enum kept_list which = kept_list(j);
    ASSERT(!job_is(j, JOB_IS_KEPT));
    uint32_t letter = which == KEPT_DEAD ? dead_join(c, i) : 0;
    job_clear_extra(c, i);
    job_mark(j, JOB_IS_KEPT);
    j->extra = letter;
    j->ended_s = steady_s(c) - (c->replaying ? age_at_start_s(c, j) : 0);
    list_push(c, &c->kept[which], i);
    c->kept_bytes[which] += retain_bytes(j);
    if (which == KEPT_DEAD)
        job_queue(c, j)->kept_dead++;
}

void retain_remove(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    enum kept_list which = kept_list(j);
    ASSERT(job_is(j, JOB_IS_KEPT));
    if (which == KEPT_DEAD)
        dead_leave(c, j->extra);
    j->extra = 0;
    job_unmark(j, JOB_IS_KEPT);
    list_remove(c, &c->kept[which], i);
    c->kept_bytes[which] -= retain_bytes(j);
    if (which == KEPT_DEAD)
        job_queue(c, j)->kept_dead--;
    job_unmark(j, JOB_UNWANTED);
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

static bool too_much(const struct core *c, enum kept_list which) {
    const struct core_config *k = &c->config;
    if (which == KEPT_UNWANTED)
        return true;
    const struct list *l = &c->kept[which];
    uint64_t age_ms = which == KEPT_DEAD ? k->dead_age_ms : k->done_age_ms;
    uint64_t age_s = steady_s(c) - job_at(c, l->head)->ended_s;
    return l->n > (which == KEPT_DEAD ? k->dead_jobs : k->done_jobs) ||
           c->kept_bytes[which] > (which == KEPT_DEAD ? k->dead_bytes : k->done_bytes) ||
           age_s > age_ms / 1000;
}

void retain_trim(struct core *c) {
    uint32_t n = 0;
    for (enum kept_list which = KEPT_DONE; which < KEPT_LISTS; which++) {
        for (; c->kept[which].head && too_much(c, which) && n < TRIM_MAX; n++)
            forget(c, c->kept[which].head);
    }
    c->more |= n == TRIM_MAX;
}
