/* Birth, turns, and what the journal tells: see core.h for the rules. */
#include "broker/core/core_int.h"
#include "common/base/id.h"
#include "common/base/mem.h"

struct core_config core_config_default(void) {
    return (struct core_config){
        .heartbeat_ms = 1000,
        .missed_max = 3,
        .workers_max = 1024,
        .sessions_max = 10000,
        .tenants_max = 100000,
        .queues_max = 4096,
        .kinds_max = 1024,
        .jobs_max = 20000000,
        .windows_max = 1000000,
        .interval_keys_max = 250000,
        .watches_max = 1000000,
        .replies_max = 1U << 20,
        .sweeps_max = 1024,
        .flows_max = 4000000,
        .dead_groups_max = 1000,
        .flow_jobs_max = 10000000,
        .flow_depth_max = 16,
        .group_max = 60U << 20,
        .schedules_max = 10000,
        .schedules_bytes = 64ULL << 20,
        .notes_max = NOTES_MAX,
        .items_max = 1024,
        .bytes_max = 4U << 20,
        .body_max = 1U << 20,
        .result_max = 64U << 10,
        .outstanding_max = 128,
        .reply_keep_ms = 600000,
        .aging_wait_ms = 60000,
        .aging_share = 32,
        .cancel_grace_ms = 2000,
        .kill_grace_ms = 10000,
        .crashes_max = 3,
        .done_age_ms = 24ULL * 3600 * 1000,
        .done_bytes = 256ULL << 20,
        .dead_age_ms = 14ULL * 24 * 3600 * 1000,
        .dead_bytes = 64ULL << 20,
        .done_jobs = 500000,
        .dead_jobs = 100000,
        .window_jobs = 4096,
        .window_bytes = 32ULL << 20,
        .volatile_bytes = 256ULL << 20,
        .priority = 5,
        .attempts_max = 5,
        .backoff_ms = 1000,
        .backoff_max_ms = 600000,
        .timeout_ms = 0,
        .seed = 1,
    };
}

struct core *core_new(const struct core_config *config, const struct effects *effects) {
    struct core *c = MEM_NEW(struct core);
    c->config = *config;
    c->fx = *effects;
    c->rng = rng_seed(config->seed);
    c->replaying = true;
    names_setup(c);
    lines_setup(c);
    jobs_setup(c);
    lanes_setup(c);
    quotas_setup(c);
    keys_setup(c);
    uniques_setup(c);
    sessions_setup(c);
    streams_setup(c);
    flows_setup(c);
    dead_setup(c);
    notes_setup(c);
    slab_init(&c->loads, sizeof(struct load));
    slab_init(&c->sweeps, sizeof(struct sweep));
    return c;
}

void core_destroy(struct core **cp) {
    struct core *c = *cp;
    if (!c)
        return;
    SLAB_EACH(i, &c->loads)
    body_free(&((struct load *)slab_at(&c->loads, i))->body);
    sessions_teardown(c);
    streams_teardown(c);
    flows_teardown(c);
    dead_teardown(c);
    notes_teardown(c);
    keys_teardown(c);
    uniques_teardown(c);
    lanes_teardown(c);
    quotas_teardown(c);
    jobs_teardown(c);
    lines_teardown(c);
    names_teardown(c);
    timers_done(c);
    slab_done(&c->loads);
    slab_done(&c->sweeps);
    mem_free(c->epochs);
    mem_free(c);
    *cp = NULL;
}

/* ---- what the settings say
 * ----------------------------------------------------------------------- */
/* What is listed has its place: the bounds are for what peers bring. */
static uint32_t take_listed(struct core *c, struct names *n, struct str name,
                            uint32_t (*take)(struct core *c, struct str name)) {
    uint32_t max = n->max;
    n->max = UINT32_MAX;
    uint32_t i = take(c, name);
    n->max = max;
    return i;
}

void core_set_kind(struct core *c, const struct msg_kind_info *kind) {
    kind_state(c, take_listed(c, &c->kinds, kind->kind, kind_take), kind);
}

void core_set_may_spawn(struct core *c, struct str kind, const struct str_list *names) {
    uint32_t i = names_find(&c->kinds, kind);
    if (!i && names->n)
        i = take_listed(c, &c->kinds, kind, kind_take);
    if (i)
        kind_set_may_spawn(kind_at(c, i), names);
}

void core_unlist_queue(struct core *c, struct str name) {
    uint32_t i = names_find(&c->queues, name);
    if (i)
        queue_at(c, i)->configured = false;
}

void core_unlist_tenant(struct core *c, struct str name) {
    uint32_t i = names_find(&c->tenants, name);
    if (i)
        tenant_at(c, i)->configured = false;
}

void core_set_queue(struct core *c, struct str name, const struct limit_config *limit,
                    bool paused) {
    uint32_t i = take_listed(c, &c->queues, name, queue_take);
    struct queue *q = queue_at(c, i);
    q->configured = true;
    struct limit_config before = q->limit.now;
    limit_configure(&q->limit, limit);
    limit_forgive(c, &q->limit, &before);
    timer_clear(c, TIMER_QUEUE, i);
    q->tenant_concurrency = limit->tenant_concurrency;
    quotas_unpark(c, i);
    q->file_paused = paused;
    bool newly = paused && !q->paused && !q->pause_is_set;
    if (!q->pause_is_set)
        q->paused = paused;
    queue_changed(c, i);
    if (newly)
        queue_recall(c, i);
}

void core_set_tenant(struct core *c, struct str name, const struct limit_config *limit) {
    uint32_t i = take_listed(c, &c->tenants, name, tenant_take);
    tenant_at(c, i)->configured = true;
    struct limit_config before = tenant_at(c, i)->limit.now;
    limit_configure(&tenant_at(c, i)->limit, limit);
    limit_forgive(c, &tenant_at(c, i)->limit, &before);
    tenant_unpark(c, i);
}

void core_set_pool(struct core *c, struct str name, uint32_t min, uint32_t max) {
    uint32_t i = take_listed(c, &c->pools, name, pool_take);
    struct pool *p = pool_at(c, i);
    bool was = p->configured;
    uint32_t wanted = p->wanted;
    p->configured = true;
    p->min = min;
    p->max = max;
    if (!p->is_set)
        p->wanted = min;
    else if (p->wanted > max)
        p->wanted = max;
    if (c->open && (!was || p->wanted != wanted))
        pool_plan(c, i);
}

void core_forget_pool(struct core *c, struct str name) {
    uint32_t i = names_find(&c->pools, name);
    if (i)
        pool_at(c, i)->configured = false;
}

void core_reconfigure(struct core *c, const struct core_config *config) {
    struct core_config *k = &c->config;
    k->workers_max = config->workers_max;
    k->sessions_max = config->sessions_max;
    k->jobs_max = config->jobs_max;
    k->windows_max = config->windows_max;
    k->interval_keys_max = config->interval_keys_max;
    k->watches_max = config->watches_max;
    k->replies_max = config->replies_max;
    k->sweeps_max = config->sweeps_max;
    k->flows_max = config->flows_max;
    k->dead_groups_max = config->dead_groups_max;
    k->flow_jobs_max = config->flow_jobs_max;
    k->flow_depth_max = config->flow_depth_max;
    k->schedules_max = config->schedules_max;
    k->queues_max = config->queues_max;
    k->kinds_max = config->kinds_max;
    k->tenants_max = config->tenants_max;
    if (!c->replaying)
        names_bound(c);
    k->reply_keep_ms = config->reply_keep_ms;
    k->aging_wait_ms = config->aging_wait_ms;
    k->aging_share = config->aging_share;
    c->aged_look_ms = 0;
    k->cancel_grace_ms = config->cancel_grace_ms;
    k->kill_grace_ms = config->kill_grace_ms;
    k->crashes_max = config->crashes_max;
    k->done_age_ms = config->done_age_ms;
    k->done_bytes = config->done_bytes;
    k->done_jobs = config->done_jobs;
    k->dead_age_ms = config->dead_age_ms;
    k->dead_bytes = config->dead_bytes;
    k->dead_jobs = config->dead_jobs;
    k->window_jobs = config->window_jobs;
    k->window_bytes = config->window_bytes;
    k->volatile_bytes = config->volatile_bytes;
    k->priority = config->priority;
    k->attempts_max = config->attempts_max;
    k->backoff_ms = config->backoff_ms;
    k->backoff_max_ms = config->backoff_max_ms;
    k->timeout_ms = config->timeout_ms;
    k->ttl_ms = config->ttl_ms;
}

/* ---- start
 * --------------------------------------------------------------------------------------- */
void epoch_record(struct core *c) {
    struct msg_rec_epoch m = {0};
    MSG_SET(&m, rec_epoch, epoch, c->epoch);
    MSG_SET(&m, rec_epoch, at_ms, c->wall.ms);
    struct record r = {.type = REC_EPOCH, .other = &m};
    if (c->epoch_pos)
        c->fx.release(c->fx.ctx, c->epoch_pos, c->epoch_bytes);
    c->epoch_pos = c->fx.append(c->fx.ctx, &r, &c->epoch_bytes);
}

int core_may_start(const struct core *c, struct err *e) {
    if (c->highest_epoch < ID_EPOCH_MAX)
        return 0;
    return err_set(e, ERR_CONFLICT,
                   "epoch: the broker was started %llu times with this data folder, at most that "
                   "many, since each start takes a part of the ids; begin with a new data folder "
                   "(docs/operations.md, 7)",
                   (unsigned long long)c->highest_epoch);
}

void core_start(struct core *c, struct mono now, struct wall wall) {
    ASSERT(!c->starting && !c->open);
    c->now = now;
    c->wall = wall;
    c->started = now;
    c->epoch = c->highest_epoch + (MUTANT(epoch_not_raised) && c->highest_epoch ? 0 : 1);
    ASSERT(c->epoch <= ID_EPOCH_MAX); /* core_may_start was asked */
    c->starting = true;
    notes_start(c);
    c->orphans_end_ms = c->awake_ms + c->config.heartbeat_ms * c->config.missed_max;
    if (MUTANT(orphans_at_once))
        c->orphans_end_ms = 0;
    names_bound(c);
    epoch_record(c);
    c->epochs = mem_grow(c->epochs, c->n_epochs + 1, sizeof *c->epochs);
    c->epochs[c->n_epochs++] = (struct epoch_range){c->epoch, 0};
    replay_finish(c);
    if (c->highest_epoch)
        limits_after_restart(c);
}

uint64_t core_epoch(const struct core *c) {
    return c->epoch;
}

bool core_open(const struct core *c) {
    return c->open;
}

/* ---- turns
 * --------------------------------------------------------------------------------------- */
void core_begin(struct core *c, struct mono now, struct wall wall) {
    ASSERT(now.ms >= c->now.ms);
    uint64_t passed = now.ms - c->now.ms;
    /* A turn that comes over a heartbeat late means that we slept, not that all others died. */
    bool stalled = c->now.ms && passed > c->config.heartbeat_ms;
    if (!stalled || MUTANT(stall_counts))
        c->awake_ms += passed;
    c->now = now;
    c->wall = wall;
    c->more = false;
    c->list_lookups = 0;
    c->schedule_work = 0;
    names_turn(c);
    notes_expire(c);
}

void core_end(struct core *c, bool drained) {
    if (!c->open)
        return;
    if (c->room < CORE_TIGHT)
        timers_fire(c);
    if (drained && c->now.ms >= c->check_ms && c->room < CORE_TIGHT) {
        c->check_ms = c->now.ms + c->config.heartbeat_ms / 4;
        workers_check(c);
        orphans_check(c);
        sessions_check(c);
    }
    if (c->read_only || c->room < CORE_FULL)
        sweeps_step(c);
    flows_step(c);
    retain_trim(c);
    dispatch(c);
}

struct mono core_next(const struct core *c) {
    if (c->more)
        return c->now;
    uint64_t next = c->now.ms + c->config.heartbeat_ms / 2;
    if (c->notes.ends.n && c->notes.ends.at[1].when < next)
        next = c->notes.ends.at[1].when;
    if (!c->open || c->room >= CORE_TIGHT) /* nothing is fired */
        return (struct mono){next > c->now.ms ? next : c->now.ms};
    if (c->mono_timers.n && c->mono_timers.at[1].when < next)
        next = c->mono_timers.at[1].when;
    /* A wall clock may step: look often enough, and never trust it for long. */
    if (c->wall_timers.n) {
        uint64_t when = c->wall_timers.at[1].when;
        uint64_t rest = when > c->wall.ms ? when - c->wall.ms : 0;
        if (next > c->now.ms && rest < next - c->now.ms)
            next = c->now.ms + rest;
    }
    return (struct mono){next > c->now.ms ? next : c->now.ms};
}

/* ---- the journal
 * --------------------------------------------------------------------------------- */
void core_durable(struct core *c, uint64_t position) {
    if (position <= c->durable)
        return;
    c->durable = position;
    if (!c->open && c->starting && c->epoch_pos < position) {
        c->open = true;
        c->starting = false;
    }
    submits_durable(c);
    flows_durable(c);
    streams_durable(c);
    keys_durable(c);
}

void core_set_room(struct core *c, enum core_room room) {
    c->room = room;
}

/* Attempts of submissions that will never be durable are stopped; everything else waits as it is
 * for the next life, which begins with what the journal holds. */
void core_write_failed(struct core *c, const struct err *e) {
    if (c->read_only)
        return;
    c->read_only = true;
    core_tell(c, EVENT_read_only, str_of(e->text));
    SLAB_EACH(w, &c->workers) {
        for (uint32_t i = worker_at(c, w)->run.head; i; i = job_extra(c, job_at(c, i))->run_next)
            if (job_at(c, i)->body_pos >= c->durable)
                attempt_stop(c, i, ERR_READ_ONLY, 0);
    }
}
