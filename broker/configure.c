#include "broker/configure.h"

#include "common/base/buf.h"
#include "common/log/log.h"

#define LINGER_MS   2000
#define LOADS_MAX   1024
#define RECORD_ROOM (64U << 10) /* of envelopes beside a payload or a result */

static uint32_t u32(uint64_t v) {
    return v < UINT32_MAX ? (uint32_t)v : UINT32_MAX;
}

/* ---- plain sections ------------------------------------------------------------------------- */
#define MAY_SPAWN_MAX 64 /* names in one list of the settings */

struct core_config configure_core(const struct settings *s, uint64_t seed) {
    struct core_config k = core_config_default();
    k.heartbeat_ms = s->broker.heartbeat_ms;
    k.missed_max = u32(s->broker.heartbeats_missed);
    k.workers_max = u32(s->broker.workers_max);
    k.sessions_max = u32(s->broker.clients_max);
    k.jobs_max = u32(s->broker.jobs_max);
    k.queues_max = u32(s->broker.queues_max);
    k.kinds_max = u32(s->broker.kinds_max);
    k.tenants_max = u32(s->broker.tenants_max);
    k.windows_max = u32(s->broker.unique_keys_max);
    k.interval_keys_max = u32(s->broker.interval_keys_max);
    k.watches_max = u32(s->broker.watches_max);
    k.replies_max = u32(s->broker.replies_max);
    k.sweeps_max = u32(s->broker.sweeps_max);
    k.flows_max = u32(s->broker.flows_max);
    k.dead_groups_max = u32(s->broker.dead_groups_max);
    k.flow_jobs_max = u32(s->broker.flow_jobs_max);
    k.schedules_max = u32(s->broker.schedules_max);
    k.items_max = u32(s->broker.batch_items_max);
    k.bytes_max = u32(s->broker.batch_bytes_max);
    k.body_max = u32(s->broker.body_max);
    k.result_max = u32(s->broker.result_max);
    k.outstanding_max = u32(s->broker.outstanding_max);
    k.reply_keep_ms = s->broker.reply_keep_ms;
    k.aging_wait_ms = s->broker.aging_wait_ms;
    k.aging_share = u32(s->broker.aging_share);
    k.cancel_grace_ms = s->broker.cancel_grace_ms;
    k.kill_grace_ms = s->broker.kill_grace_ms;
    k.done_age_ms = s->retention.done_age_ms;
    k.done_bytes = s->retention.done_bytes;
    k.dead_age_ms = s->retention.dead_age_ms;
    k.dead_bytes = s->retention.dead_bytes;
    k.window_jobs = u32(s->window.queue_jobs);
    k.window_bytes = s->window.bytes;
    k.priority = u32(s->defaults.priority);
    k.attempts_max = u32(s->defaults.max_attempts);
    k.backoff_ms = s->defaults.backoff_ms;
    k.backoff_max_ms = s->defaults.backoff_max_ms;
    k.timeout_ms = s->defaults.timeout_ms;
    k.ttl_ms = s->defaults.ttl_ms;
    k.stream_max = u32(s->streams.stream_max);
    k.seed = seed;
    return k;
}

struct journal_options configure_journal(const struct settings *s, const char *dir) {
    return (struct journal_options){.dir = dir,
                                    .segment_bytes = s->journal.segment_size,
                                    .fill_bytes_max = s->journal.batch_bytes,
                                    .disk_min_free = s->journal.disk_min_free,
                                    .spares_reserve = u32(s->journal.spare_segments),
                                    .loads_max = LOADS_MAX};
}

static const char *endpoint(struct str s) {
    return s.len ? s.at : NULL; /* texts of settings have a NUL behind them */
}

struct peers_options configure_peers(const struct settings *s) {
    return (struct peers_options){.tcp = {[ROLE_CLIENT] = endpoint(s->broker.tcp_client),
                                          [ROLE_WORKER] = endpoint(s->broker.tcp_worker),
                                          [ROLE_GATEWAY] = endpoint(s->broker.tcp_gateway),
                                          [ROLE_OPERATOR] = endpoint(s->broker.tcp_operator)},
                                  .bytes_max = FRAME_BYTES_MAX,
                                  .linger_ms = LINGER_MS};
}

struct relay_thread_options configure_relay(const struct settings *s) {
    struct relay_config relay = relay_config_default();
    relay.stream_bytes = s->streams.stream_max;
    relay.bytes_max = s->streams.bytes_max;
    relay.streams_max = u32(s->streams.streams_max);
    relay.keep_ms = s->streams.keep_ms;
    return (struct relay_thread_options){.tcp_worker = endpoint(s->streams.tcp_worker),
                                         .tcp_reader = endpoint(s->streams.tcp_reader),
                                         .relay = relay};
}

void configure_log(const struct settings *s) {
    static const enum log_level levels[] = {[SETTINGS_LOG_ERROR] = LOG_LEVEL_error,
                                            [SETTINGS_LOG_WARN] = LOG_LEVEL_warn,
                                            [SETTINGS_LOG_INFO] = LOG_LEVEL_info,
                                            [SETTINGS_LOG_DEBUG] = LOG_LEVEL_debug};
    log_set(levels[s->log.level],
            s->log.format == SETTINGS_LOG_TEXT ? LOG_FORMAT_text : LOG_FORMAT_json);
}

int configure_check(const struct core_config *config, uint32_t journal_body_max, struct err *e) {
    uint32_t largest =
        config->body_max > config->result_max ? config->body_max : config->result_max;
    if ((uint64_t)largest + RECORD_ROOM <= journal_body_max)
        return 0;
    return err_set(e, ERR_BAD_CONFIG,
                   "journal.segment_size: a record has at most %u bytes in segments of that size, "
                   "but broker.body_max or broker.result_max needs %llu",
                   journal_body_max, (unsigned long long)largest + RECORD_ROOM);
}

/* ---- named sections ------------------------------------------------------------------------- */
static struct limit_config limit_of(uint64_t concurrency, struct settings_rate rate, uint64_t burst,
                                    uint64_t weight) {
    uint64_t a_second = rate.per_ms ? rate.count * 1000 / rate.per_ms : 0;
    if (rate.count && !burst)
        burst = a_second ? a_second : 1;
    return (struct limit_config){.concurrency = u32(concurrency),
                                 .rate_count = u32(rate.count),
                                 .rate_per_ms = rate.per_ms,
                                 .burst = u32(burst),
                                 .weight = u32(weight)};
}

static void set_queue(struct core *c, struct str name, const struct settings_queue *q) {
    struct limit_config limit = limit_of(q->concurrency, q->rate, q->burst, 1);
    limit.tenant_concurrency = u32(q->tenant_concurrency);
    core_set_queue(c, name, &limit, q->paused);
}

static void set_tenant(struct core *c, struct str name, const struct settings_tenant *t) {
    struct limit_config limit = limit_of(t->concurrency, t->rate, t->burst, t->weight);
    core_set_tenant(c, name, &limit);
}

/* Only what somebody wrote: the rest stays as it was declared. */
static void set_kind(struct core *c, const struct settings *s, size_t at) {
    static const enum durability durabilities[] = {[SETTINGS_DURABILITY_SYNC] = DURABLE_SYNC,
                                                   [SETTINGS_DURABILITY_ASYNC] = DURABLE_ASYNC,
                                                   [SETTINGS_DURABILITY_NONE] = DURABLE_NONE};
    const struct settings_kind *k = &s->kinds.at[at];
    struct msg_kind_info m = {0};
    MSG_SET(&m, kind_info, kind, k->name);
#define STATE(key, field, value)                                                                   \
    if (settings_origin(s, SETTING_kinds_##key, at).from != SETTINGS_FROM_DEFAULT)                 \
        MSG_SET(&m, kind_info, field, value);
    STATE(queue, queue, k->queue)
    STATE(priority, priority, k->priority)
    STATE(timeout, timeout_ms, k->timeout_ms)
    STATE(max_attempts, attempts_max, k->max_attempts)
    STATE(backoff, backoff_ms, k->backoff_ms)
    STATE(backoff_max, backoff_max_ms, k->backoff_max_ms)
    STATE(ttl, ttl_ms, k->ttl_ms)
    STATE(durability, durability, durabilities[k->durability])
    STATE(speculative, speculative, k->speculative)
    STATE(streams, streams, k->streams)
#undef STATE
    core_set_kind(c, &m);
}

/* ---- what jobs may spawn -------------------------------------------------------------------- */
static const struct {
    const char *kind, *child;
} built_in[] = {
#define MAY_SPAWN(kind, child) {#kind, #child},
#include "schemas/may_spawn.def"
#undef MAY_SPAWN
};
#define BUILT_IN (sizeof built_in / sizeof *built_in)

static bool states_may_spawn(const struct settings *s, struct str kind) {
    for (size_t i = 0; i < s->kinds.count; i++)
        if (str_eq(s->kinds.at[i].name, kind))
            return settings_origin(s, SETTING_kinds_may_spawn, i).from != SETTINGS_FROM_DEFAULT;
    return false;
}

static void set_built_in(struct core *c, const struct settings *s, struct str kind) {
    struct str names[BUILT_IN];
    struct str_list list = {names, 0};
    for (size_t n = 0; n < BUILT_IN; n++)
        if (str_eq(kind, str_of(built_in[n].kind)))
            names[list.n++] = str_of(built_in[n].child);
    if (!states_may_spawn(s, kind))
        core_set_may_spawn(c, kind, &list);
}

static void set_may_spawn(struct core *c, const struct settings *s) {
    for (size_t n = 0; n < BUILT_IN; n++)
        set_built_in(c, s, str_of(built_in[n].kind));
    for (size_t i = 0; i < s->kinds.count; i++) {
        const struct settings_kind *k = &s->kinds.at[i];
        struct str names[MAY_SPAWN_MAX];
        struct str_list list = {names, k->may_spawn.count};
        for (size_t n = 0; n < list.n; n++)
            names[n] = str_of(k->may_spawn.at[n].at);
        if (states_may_spawn(s, k->name))
            core_set_may_spawn(c, k->name, &list);
        else
            set_built_in(c, s, k->name);
    }
}

static void set_pool(struct core *c, struct str name, const struct settings_pool *p) {
    core_set_pool(c, name, u32(p->processes_min), u32(p->processes_max));
}

void configure_names(struct core *c, const struct settings *s) {
    for (size_t i = 0; i < s->kinds.count; i++)
        set_kind(c, s, i);
    set_may_spawn(c, s);
    for (size_t i = 0; i < s->queues.count; i++)
        set_queue(c, s->queues.at[i].name, &s->queues.at[i]);
    for (size_t i = 0; i < s->tenants.count; i++)
        set_tenant(c, s->tenants.at[i].name, &s->tenants.at[i]);
    for (size_t i = 0; i < s->pools.count; i++)
        set_pool(c, s->pools.at[i].name, &s->pools.at[i]);
    if (!s->pools.count)
        set_pool(c, STR("default"), &s->pools.usual);
}

/* ---- reload --------------------------------------------------------------------------------- */
struct reload {
    struct core *core;
    const struct settings *old, *new;
    size_t applied, waiting;
};

static void log_change(const struct reload *r, const struct settings_change *change) {
    AUTO_BUF name = BUF(512);
    AUTO_BUF value = BUF(16384);
    settings_change_show(change, &name);
    if (change->what == SETTINGS_CHANGED)
        settings_show(r->new, change->id, change->new_at, &value);
    enum log_id id = !change->live ? LOG_config_restart : LOG_config_changed;
    log_event(id, log_str("setting", buf_str(&name)), log_str("value", buf_str(&value)));
}

/* What is no longer listed has the values of those that never were. */
static void forget_entry(struct core *c, const struct settings *new,
                         const struct settings_change *change) {
    switch (change->section) {
    case SETTINGS_SECTION_queues:
        set_queue(c, change->name, &new->queues.usual);
        core_unlist_queue(c, change->name);
        return;
    case SETTINGS_SECTION_tenants:
        set_tenant(c, change->name, &new->tenants.usual);
        core_unlist_tenant(c, change->name);
        return;
    case SETTINGS_SECTION_kinds:
        core_unlist_kind(c, change->name);
        core_set_may_spawn(c, change->name, &(struct str_list){0});
        return;
    default:
        return;
    }
}

static void visit(void *ctx, const struct settings_change *change) {
    struct reload *r = ctx;
    log_change(r, change);
    if (!change->live)
        r->waiting++;
    else
        r->applied++;
    if (change->live && change->what == SETTINGS_REMOVED)
        forget_entry(r->core, r->new, change);
}

/* Of those that were added or removed the supervisor learns at its restart only. */
static void forget_pools(struct core *c, const struct settings *old, const struct settings *new) {
    for (size_t i = 0; i < old->pools.count; i++)
        if (!settings_find_pool(new, old->pools.at[i].name))
            core_forget_pool(c, old->pools.at[i].name);
    if (!old->pools.count && new->pools.count && !settings_find_pool(new, STR("default")))
        core_forget_pool(c, STR("default"));
}

void configure_again(struct core *c, const struct settings *old, const struct settings *new) {
    struct reload r = {.core = c, .old = old, .new = new};
    settings_diff(old, new, visit, &r);
    struct core_config config = configure_core(new, 0);
    core_reconfigure(c, &config);
    forget_pools(c, old, new);
    configure_names(c, new);
    configure_log(new);
    log_event(LOG_config_reloaded, log_u64("applied", r.applied), log_u64("waiting", r.waiting));
}
