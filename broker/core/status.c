/* The whole in figures: totals, queues, workers, pools. */
#include "broker/core/core_int.h"
#include "common/base/mem.h"

#include <stdio.h>

void core_stats(const struct core *c, struct core_stats *out) {
    *out = c->stats;
    out->kept = retain_count(c);
    out->kept_dead = c->kept[KEPT_DEAD].n;
    out->workers = c->workers.used;
    out->sessions = c->sessions.used;
    out->queues = c->queues.index.n;
    out->kinds = c->kinds.rows.used;
    out->tenants = c->tenants.rows.used;
    out->pools = c->pools.rows.used;
    out->keys = c->keys.used;
    out->interval_keys = c->interval_keys;
    out->unique_keys = c->uniques.used;
    out->watches = c->watches.used;
    out->flows = c->flows.used;
    out->schedules = c->schedules.index.n;
    out->notes = c->notes.there;
    out->sweeps = c->sweeps.used;
    out->reads = c->loads.used;
    out->dead_groups = c->dead_groups.used;
    out->reply_items = c->reply_items;
    out->memory_bytes = slab_bytes(&c->jobs) + lhash_bytes(&c->by_id);
}

/* How much is held of what has a bound. */
static void fill_held(const struct core_stats *s, struct msg_status_info *m) {
    MSG_SET(m, status_info, queues, s->queues);
    MSG_SET(m, status_info, kinds, s->kinds);
    MSG_SET(m, status_info, tenants, s->tenants);
    MSG_SET(m, status_info, keys, s->keys);
    MSG_SET(m, status_info, interval_keys, s->interval_keys);
    MSG_SET(m, status_info, unique_keys, s->unique_keys);
    MSG_SET(m, status_info, watches, s->watches);
    MSG_SET(m, status_info, flows, s->flows);
    MSG_SET(m, status_info, schedules, s->schedules);
    MSG_SET(m, status_info, notes, s->notes);
    MSG_SET(m, status_info, reply_items, s->reply_items);
    MSG_SET(m, status_info, sweeps, s->sweeps);
    MSG_SET(m, status_info, reads, s->reads);
    MSG_SET(m, status_info, dead_groups, s->dead_groups);
    MSG_SET(m, status_info, body_bytes, s->body_bytes + s->volatile_bytes);
    MSG_SET(m, status_info, refused, s->refused);
}

static void fill_streams(const struct core_outside *o, struct msg_status_info *m) {
    MSG_SET(m, status_info, streams, o->streams);
    MSG_SET(m, status_info, attached, o->attached);
    MSG_SET(m, status_info, stream_bytes, o->stream_bytes);
    MSG_SET(m, status_info, stream_events, o->stream_events);
    MSG_SET(m, status_info, stream_gaps, o->stream_gaps);
    MSG_SET(m, status_info, stream_refused, o->stream_refused);
    MSG_SET(m, status_info, stream_gone, o->stream_gone);
    MSG_SET(m, status_info, stream_refills, o->stream_refills);
}

static bool is_full(const struct core *c) {
    struct err e;
    return core_may_submit(c, &e) < 0 || journal_room_for_jobs(c, &e) < 0;
}

static void fill_connections(const struct core_outside *o, struct msg_status_info *m) {
    MSG_SET(m, status_info, connections_refused, o->connections_refused);
    MSG_SET(m, status_info, connections_silent, o->connections_silent);
    MSG_SET(m, status_info, connections_max, o->connections_max);
}

void on_get_status(struct core *c, const void *message, struct str payload) {
    (void)message;
    (void)payload;
    struct core_stats s;
    core_stats(c, &s);
    const struct core_outside *o = &c->outside;
    struct msg_status_info m = {0};
    MSG_SET(&m, status_info, version, str_of(o->version ? o->version : ""));
    MSG_SET(&m, status_info, epoch, c->epoch);
    MSG_SET(&m, status_info, uptime_ms, c->now.ms - c->started.ms);
    MSG_SET(&m, status_info, read_only, c->read_only);
    MSG_SET(&m, status_info, scheduled, s.by_state[JOB_scheduled]);
    MSG_SET(&m, status_info, ready, s.by_state[JOB_ready] + s.by_state[JOB_NONE]);
    MSG_SET(&m, status_info, blocked, s.by_state[JOB_blocked]);
    MSG_SET(&m, status_info, running, s.by_state[JOB_running] + s.by_state[JOB_cancelling]);
    MSG_SET(&m, status_info, done, s.ended[JOB_done]);
    MSG_SET(&m, status_info, dead, s.ended[JOB_dead]);
    MSG_SET(&m, status_info, cancelled, s.ended[JOB_cancelled]);
    MSG_SET(&m, status_info, expired, s.ended[JOB_expired]);
    MSG_SET(&m, status_info, kept, s.kept);
    MSG_SET(&m, status_info, kept_dead, s.kept_dead);
    MSG_SET(&m, status_info, workers, s.workers);
    MSG_SET(&m, status_info, stale_fences, s.stale_fences);
    MSG_SET(&m, status_info, malformed, s.malformed);
    MSG_SET(&m, status_info, journal_bytes, o->journal_bytes);
    MSG_SET(&m, status_info, journal_live_bytes, o->journal_live_bytes);
    MSG_SET(&m, status_info, commits, o->commits);
    MSG_SET(&m, status_info, rss_bytes, o->rss_bytes);
    MSG_SET(&m, status_info, cpu_ms, o->cpu_ms);
    MSG_SET(&m, status_info, submitted, s.submitted);
    MSG_SET(&m, status_info, sessions, s.sessions);
    MSG_SET(&m, status_info, full, is_full(c));
    fill_held(&s, &m);
    MSG_SET(&m, status_info, unread_bytes, o->unread_bytes);
    MSG_SET(&m, status_info, waiting, o->waiting);
    MSG_SET(&m, status_info, peers_closed, o->peers_closed);
    fill_streams(o, &m);
    fill_connections(o, &m);
    if (o->ops && *o->ops)
        MSG_SET(&m, status_info, ops, str_of(o->ops));
    if (o->trouble.len)
        MSG_SET(&m, status_info, text, o->trouble);
    send_to(c, c->request.link, VERB_status_info, c->request.sequence, &m, STR(""), 0);
}

static bool wanted(const struct msg_get_status *m, struct str name) {
    return !m->name.len || str_eq(m->name, name);
}

/* What is found of a queue in other tables: one walk of each for all queues. */
struct queue_view {
    uint32_t tenants, full;
    uint32_t busiest; /* a quota; 0 if nothing runs */
};

void oldest_by_queue(const struct core *c, uint64_t *oldest_ms) {
    SLAB_EACH(i, &c->lanes) {
        const struct lane *a = lane_at(c, i);
        uint64_t *oldest = &oldest_ms[line_at(c, a->line)->queue];
        uint64_t since = job_at(c, a->head)->since_ms;
        if (c->now.ms > since && c->now.ms - since > *oldest)
            *oldest = c->now.ms - since;
    }
}

static void look_at_quotas(const struct core *c, struct queue_view *views) {
    SLAB_EACH(i, &c->quotas) {
        const struct quota *q = quota_at(c, i);
        struct queue_view *v = &views[q->queue];
        uint32_t most = queue_at(c, q->queue)->tenant_concurrency;
        if (!q->running)
            continue;
        v->tenants++;
        v->full += most && q->running >= most;
        if (!v->busiest || q->running > quota_at(c, v->busiest)->running)
            v->busiest = i;
    }
}

static void fill_quota(const struct core *c, uint32_t queue, const struct queue_view *v,
                       struct msg_queue_info *m) {
    MSG_SET(m, queue_info, tenant_concurrency, queue_at(c, queue)->tenant_concurrency);
    MSG_SET(m, queue_info, tenants_running, v->tenants);
    MSG_SET(m, queue_info, tenants_full, v->full);
    if (!v->busiest)
        return;
    const struct quota *q = quota_at(c, v->busiest);
    MSG_SET(m, queue_info, tenant, tenant_at(c, q->tenant)->row.name);
    MSG_SET(m, queue_info, tenant_running, q->running);
}

void on_list_queues(struct core *c, const void *message, struct str payload) {
    (void)payload;
    struct queue_view *views = mem_zalloc(slab_end(&c->queues.rows) * sizeof *views);
    uint64_t *oldest_ms = mem_zalloc(slab_end(&c->queues.rows) * sizeof *oldest_ms);
    oldest_by_queue(c, oldest_ms);
    look_at_quotas(c, views);
    SLAB_EACH(i, &c->queues.rows) {
        if (i == c->nameless || !wanted(message, queue_at(c, i)->row.name))
            continue;
        const struct queue *q = queue_at(c, i);
        struct msg_queue_info m = {0};
        MSG_SET(&m, queue_info, name, q->row.name);
        MSG_SET(&m, queue_info, ready, q->by_state[JOB_ready] + q->by_state[JOB_NONE]);
        MSG_SET(&m, queue_info, scheduled, q->by_state[JOB_scheduled]);
        MSG_SET(&m, queue_info, blocked, q->by_state[JOB_blocked]);
        MSG_SET(&m, queue_info, running, q->by_state[JOB_running] + q->by_state[JOB_cancelling]);
        MSG_SET(&m, queue_info, oldest_ms, oldest_ms[i]);
        MSG_SET(&m, queue_info, paused, q->paused);
        MSG_SET(&m, queue_info, concurrency, q->limit.now.concurrency);
        MSG_SET(&m, queue_info, rate_count, q->limit.now.rate_count);
        MSG_SET(&m, queue_info, rate_per_ms, q->limit.now.rate_per_ms);
        MSG_SET(&m, queue_info, at_run_time, q->limit.is_set || q->pause_is_set);
        MSG_SET(&m, queue_info, dead, q->kept_dead);
        MSG_SET(&m, queue_info, entered, q->entered);
        MSG_SET(&m, queue_info, ended, q->ended);
        fill_quota(c, i, &views[i], &m);
        send_to(c, c->request.link, VERB_queue_info, c->request.sequence, &m, STR(""), 0);
    }
    mem_free(views);
    mem_free(oldest_ms);
    send_end(c, VERB_queue_info);
}

static const char *const worker_states[] = {
    [WORKER_ACTIVE] = "active",
    [WORKER_DRAINING] = "draining",
    [WORKER_STUCK] = "stuck",
};

#define KINDS_SHOWN 64

static void worker_row(struct core *c, const struct worker *w) {
    const struct session *s = session_at(c, w->session);
    struct str kinds[KINDS_SHOWN];
    uint32_t n = 0;
    for (; n < w->n_kinds && n < KINDS_SHOWN; n++)
        kinds[n] = kind_at(c, w->kinds[n])->row.name;
    struct msg_worker_info m = {0};
    MSG_SET(&m, worker_info, instance, str_make(s->instance, sizeof s->instance));
    MSG_SET(&m, worker_info, name, s->name);
    if (w->pool)
        MSG_SET(&m, worker_info, pool, pool_at(c, w->pool)->row.name);
    MSG_SET(&m, worker_info, host, s->host);
    MSG_SET(&m, worker_info, pid, s->pid);
    MSG_SET(&m, worker_info, slots, w->slots);
    MSG_SET(&m, worker_info, held, w->held);
    MSG_SET(&m, worker_info, done, w->done);
    MSG_SET(&m, worker_info, state, str_of(worker_states[w->state]));
    MSG_SET(&m, worker_info, silent_ms, c->awake_ms - w->heard_ms);
    MSG_SET(&m, worker_info, rss_bytes, w->rss_bytes);
    MSG_SET(&m, worker_info, kinds, ((struct str_list){kinds, n}));
    send_to(c, c->request.link, VERB_worker_info, c->request.sequence, &m, STR(""), 0);
}

void on_list_workers(struct core *c, const void *message, struct str payload) {
    (void)payload;
    SLAB_EACH(i, &c->workers) {
        const struct worker *w = worker_at(c, i);
        if (wanted(message, w->pool ? pool_at(c, w->pool)->row.name : STR("")))
            worker_row(c, w);
    }
    send_end(c, VERB_worker_info);
}

/* One walk over the workers for all pools. */
static void count_workers(struct core *c) {
    SLAB_EACH(i, &c->pools.rows) {
        struct pool *p = pool_at(c, i);
        p->alive = p->slots = p->held = 0;
    }
    SLAB_EACH(i, &c->workers) {
        const struct worker *w = worker_at(c, i);
        if (!w->pool)
            continue;
        struct pool *p = pool_at(c, w->pool);
        p->alive++;
        p->slots += w->slots;
        p->held += w->held;
    }
}

/* What its supervisor says; else what only we know: that we refuse workers. */
static struct str pool_trouble(const struct core *c, const struct pool *p, char room[128]) {
    if (p->text[0] || p->alive >= p->wanted || c->workers.used < c->config.workers_max)
        return str_of(p->text);
    snprintf(room, 128,
             "%u workers are connected, the bound (broker.workers_max): no more may come",
             c->config.workers_max);
    return str_of(room);
}

static void pool_row(struct core *c, const struct pool *p) {
    struct msg_pool_info m = {0};
    char room[128];
    if (!p->configured && !p->alive) /* it is not in the file any more, or its workers have gone */
        return;
    MSG_SET(&m, pool_info, name, p->row.name);
    MSG_SET(&m, pool_info, processes, p->wanted);
    MSG_SET(&m, pool_info, processes_min, p->min);
    MSG_SET(&m, pool_info, processes_max, p->max);
    MSG_SET(&m, pool_info, alive, p->alive);
    MSG_SET(&m, pool_info, slots, p->slots);
    MSG_SET(&m, pool_info, held, p->held);
    MSG_SET(&m, pool_info, restarts, p->restarts);
    MSG_SET(&m, pool_info, at_run_time, p->is_set);
    struct str text = pool_trouble(c, p, room);
    if (text.len)
        MSG_SET(&m, pool_info, text, text);
    send_to(c, c->request.link, VERB_pool_info, c->request.sequence, &m, STR(""), 0);
}

void on_list_pools(struct core *c, const void *message, struct str payload) {
    (void)payload;
    count_workers(c);
    SLAB_EACH(i, &c->pools.rows)
    if (wanted(message, pool_at(c, i)->row.name))
        pool_row(c, pool_at(c, i));
    send_end(c, VERB_pool_info);
}

/* A listing may be empty; its frame must still come. */
void send_end(struct core *c, enum verb verb) {
    send_to(c, c->request.link, verb, c->request.sequence, NULL, STR(""), 0);
}

void core_set_outside(struct core *c, const struct core_outside *o) {
    c->outside = *o;
}
