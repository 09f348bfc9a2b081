/* What attempts take, by kind, and how they end: for monitoring. Nothing is decided by it.
 *
 * The first CORE_KINDS_SHOWN kinds that run have times of their own for as long as the broker
 * lives; a kind that is forgotten and comes back finds its own again. */
#include "broker/core/core_int.h"
#include "common/base/mem.h"

static const char other[] = "other";

static void set_name(char *to, struct str name) {
    size_t len = name.len < CORE_NAME_MAX ? name.len : CORE_NAME_MAX;
    memcpy(to, name.at, len);
    to[len] = '\0';
}

/* ---- attempts -------------------------------------------------------------------------------- */
static uint8_t find_times(struct core *c, struct str kind) {
    uint32_t n = 0;
    if (str_eq(kind, str_of(other))) /* one row of that name, not two */
        return CORE_KINDS_SHOWN + 1;
    while (n < c->n_times && !str_eq(str_of(c->times[n].kind), kind))
        n++;
    if (n < CORE_KINDS_SHOWN && n == c->n_times)
        set_name(c->times[c->n_times++].kind, kind);
    return (uint8_t)(n + 1);
}

static struct core_kind_times *times_of(struct core *c, const struct job *j) {
    struct kind *k = job_kind(c, j);
    if (!k->times)
        k->times = find_times(c, k->row.name);
    return &c->times[k->times - 1];
}

static uint64_t us_since(const struct core *c, uint64_t ms) {
    return c->now.ms > ms ? (c->now.ms - ms) * 1000 : 0;
}

void measure_begin(struct core *c, uint32_t i) {
    const struct job *j = job_at(c, i);
    histogram_add(&times_of(c, j)->wait, us_since(c, j->since_ms));
    job_extra(c, j)->began_ms = c->now.ms;
}

void measure_end(struct core *c, uint32_t i, enum attempt_end how) {
    const struct job *j = job_at(c, i);
    struct extra *x = job_extra(c, j);
    c->attempts[how]++;
    if (how != ATTEMPT_REQUEUED && x->began_ms)
        histogram_add(&times_of(c, j)->run, us_since(c, x->began_ms));
    x->began_ms = 0;
}

/* ---- looking in ------------------------------------------------------------------------------ */
static void add_queue(struct core_queue_figures *to, const struct queue *q, uint64_t oldest_ms) {
    for (unsigned s = 0; s < JOB_STATES; s++)
        to->by_state[s] += q->by_state[s];
    to->kept_dead += q->kept_dead;
    if (oldest_ms > to->oldest_ms)
        to->oldest_ms = oldest_ms;
}

static void add_row(struct core_figures *out, const struct queue *q, uint64_t oldest_ms) {
    struct core_queue_figures *rest = &out->queues[CORE_QUEUES_SHOWN];
    if (out->n_queues == CORE_QUEUES_SHOWN || str_eq(q->row.name, str_of(other))) {
        set_name(rest->queue, str_of(other));
        add_queue(rest, q, oldest_ms);
        return;
    }
    set_name(out->queues[out->n_queues].queue, q->row.name);
    add_queue(&out->queues[out->n_queues++], q, oldest_ms);
}

static void look_at_queues(const struct core *c, struct core_figures *out) {
    uint64_t *oldest_ms = mem_zalloc(slab_end(&c->queues.rows) * sizeof *oldest_ms);
    oldest_by_queue(c, oldest_ms);
    SLAB_EACH(i, &c->queues.rows)
    if (i != c->nameless)
        add_row(out, queue_at(c, i), oldest_ms[i]);
    if (*out->queues[CORE_QUEUES_SHOWN].queue)
        out->queues[out->n_queues++] = out->queues[CORE_QUEUES_SHOWN];
    mem_free(oldest_ms);
}

static void look_at_workers(const struct core *c, struct core_figures *out) {
    SLAB_EACH(i, &c->workers) {
        const struct worker *w = worker_at(c, i);
        out->workers_active += w->state == WORKER_ACTIVE;
        out->workers_draining += w->state == WORKER_DRAINING;
        out->workers_stuck += w->state == WORKER_STUCK;
        out->slots += w->slots;
        out->held += w->held;
    }
}

void core_figures(const struct core *c, struct core_figures *out) {
    *out = (struct core_figures){.schedule_runs = c->schedule_runs,
                                 .schedule_skipped = c->schedule_skipped,
                                 .schedule_missed = c->schedule_missed,
                                 .schedule_refused = c->schedule_refused,
                                 .n_kinds = c->n_times};
    memcpy(out->attempts, c->attempts, sizeof out->attempts);
    memcpy(out->kinds, c->times, c->n_times * sizeof *out->kinds);
    const struct core_kind_times *rest = &c->times[CORE_KINDS_SHOWN];
    if (histogram_count(&rest->wait)) {
        out->kinds[out->n_kinds] = *rest;
        set_name(out->kinds[out->n_kinds++].kind, str_of(other));
    }
    look_at_queues(c, out);
    look_at_workers(c, out);
}

int core_may_submit(const struct core *c, struct err *e) {
    return jobs_room(c, e);
}
