/* Cleaning: which records of the oldest segment are still needed, and their new copies. */
#include "broker/core/core_int.h"

static void clean_epoch(struct core *c, uint64_t pos, const struct record *r) {
    (void)r;
    if (pos == c->epoch_pos)
        epoch_record(c);
}

static void clean_job(struct core *c, uint64_t pos, const struct record *r) {
    uint32_t i = job_find(c, r->state->id);
    if (!i || job_at(c, i)->body_pos != pos)
        return;
    uint64_t old = retain_bytes(job_at(c, i));
    job_record_whole(c, i, r);
    retain_resized(c, i, old);
    c->stats.moved++;
}

/* Only the end of a job outlives its body's move: any other state went with the body. */
static void clean_state(struct core *c, uint64_t pos, const struct record *r) {
    uint32_t i = job_find(c, r->state->id);
    struct job *j = i ? job_at(c, i) : NULL;
    if (!j || j->state_pos != pos || MUTANT(clean_forgets_result))
        return;
    uint64_t old = retain_bytes(j);
    c->fx.release(c->fx.ctx, j->state_pos, j->state_bytes);
    j->state_pos = c->fx.append(c->fx.ctx, r, &j->state_bytes);
    retain_resized(c, i, old);
    c->stats.moved++;
}

static void clean_window(struct core *c, uint64_t pos, const struct record *r) {
    unique_clean(c, pos, r->other);
}

static void clean_queue(struct core *c, uint64_t pos, const struct record *r) {
    const struct msg_rec_queue *m = r->other;
    uint32_t i = names_find(&c->queues, m->queue);
    if (i && queue_at(c, i)->pos == pos)
        queue_record(c, i);
}

static void clean_tenant(struct core *c, uint64_t pos, const struct record *r) {
    const struct msg_rec_tenant *m = r->other;
    uint32_t i = names_find(&c->tenants, m->tenant);
    if (i && tenant_at(c, i)->pos == pos)
        tenant_record(c, i);
}

static void clean_pool(struct core *c, uint64_t pos, const struct record *r) {
    const struct msg_rec_pool *m = r->other;
    uint32_t i = names_find(&c->pools, m->pool);
    if (i && pool_at(c, i)->pos == pos)
        pool_record(c, i);
}

static void clean_kind(struct core *c, uint64_t pos, const struct record *r) {
    const struct msg_rec_kind *m = r->other;
    uint32_t i = names_find(&c->kinds, m->kind);
    if (i && kind_at(c, i)->pos == pos)
        kind_record(c, i);
}

static void clean_flow(struct core *c, uint64_t pos, const struct record *r) {
    const struct msg_rec_flow *m = r->other;
    uint32_t n = flow_find(c, m->id);
    if (n && flow_at(c, n)->pos == pos)
        flow_record(c, n);
}

static void clean_schedule(struct core *c, uint64_t pos, const struct record *r) {
    const struct msg_rec_schedule *m = r->other;
    uint32_t i = names_find(&c->schedules, m->name);
    if (i && schedule_at(c, i)->pos == pos)
        schedule_record(c, i);
}

typedef void clean_fn(struct core *c, uint64_t pos, const struct record *r);
static clean_fn *const on_record[REC_TYPES] = {
    [REC_EPOCH] = clean_epoch,       [REC_JOB] = clean_job,     [REC_STATE] = clean_state,
    [REC_WINDOW] = clean_window,     [REC_QUEUE] = clean_queue, [REC_TENANT] = clean_tenant,
    [REC_POOL] = clean_pool,         [REC_KIND] = clean_kind,   [REC_FLOW] = clean_flow,
    [REC_SCHEDULE] = clean_schedule,
};

void core_clean(struct core *c, uint64_t position, const struct record *r) {
    on_record[r->type](c, position, r);
}
