#include "common/base/mem.h"
#include "common/base/units.h"
#include "common/base/worker_env.h"
#include "common/log/log.h"
#include "common/os/clock.h"
#include "workers/pools/supervisor.h"
#include "workers/pools/words.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TROUBLE_MS 60000
#define HEX_SHOWN  12 /* digits of an instance, as in `quern workers` */

/* ---- what workers are told ------------------------------------------------------------------ */
static char *told(struct supervisor *s, const char *name, struct str value) {
    size_t size = strlen(name) + value.len + 2;
    char *text = arena_alloc(s->arena, size);
    snprintf(text, size, "%s=" STR_FMT, name, STR_ARG(value));
    return text;
}

static char *told_number(struct supervisor *s, const char *name, uint64_t value) {
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRIu64, value);
    return told(s, name, str_of(digits));
}

static char *told_kinds(struct supervisor *s, const struct settings_names *kinds) {
    AUTO_BUF list = BUF(65536);
    for (size_t i = 0; i < kinds->count; i++)
        buf_printf(&list, "%s" STR_FMT, i ? "," : "", STR_ARG(kinds->at[i]));
    return told(s, WORKER_ENV_KINDS, buf_str(&list));
}

static void tell(struct supervisor *s, struct pool *pool) {
    const struct supervisor_options *o = s->options;
    size_t n = 0;
    pool->told = arena_alloc(s->arena, 12 * sizeof *pool->told);
    if (o->worker_key)
        pool->told[n++] = told(s, KEY_ENV_FILE, str_of(o->worker_key));
    if (o->workers)
        pool->told[n++] = told(s, "QUERN_BROKER", str_of(o->workers));
    else
        pool->told[n++] = told(s, "QUERN_DATA", str_of(o->data));
    if (handed_path(o->handed))
        pool->told[n++] = told(s, "QUERN_CONFIG", str_of(handed_path(o->handed)));
    pool->told[n++] = told(s, WORKER_ENV_POOL, pool->name);
    if (pool->settings.kinds.count)
        pool->told[n++] = told_kinds(s, &pool->settings.kinds);
    pool->told[n++] = told_number(s, WORKER_ENV_SLOTS, pool->settings.slots);
    pool->told[n++] = told_number(s, WORKER_ENV_PREFETCH, pool->settings.prefetch);
    pool->told[n++] = told_number(s, WORKER_ENV_MEMORY_MAX, pool->settings.memory_max);
    pool->told[n] = NULL;
}

/* What we were told ourselves must not be taken by a worker for its own. */
static bool is_for_workers(const char *variable) {
    static const char key_file[] = KEY_ENV_FILE "=";
    static const char *const names[] = {"QUERN_DATA=", "QUERN_BROKER=", "QUERN_CONFIG=", key_file,
                                        "QUERN_WORKER_"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strncmp(variable, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

static void copy_environment(struct supervisor *s) {
    size_t n = 0, kept = 0;
    while (environ[n])
        n++;
    s->envp = arena_alloc(s->arena, (n + 1) * sizeof *s->envp);
    for (size_t i = 0; i < n; i++)
        if (!is_for_workers(environ[i]))
            s->envp[kept++] = environ[i];
    s->envp[kept] = NULL;
}

/* ---- setting up ----------------------------------------------------------------------------- */
/* Our worker lies beside this program. */
static int find_own_worker(struct supervisor *s, struct err *e) {
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0)
        return err_errno(e, "cannot read /proc/self/exe");
    self[n] = 0;
    *strrchr(self, '/') = 0;
    if (snprintf(s->own_worker, sizeof s->own_worker, "%s/quern-worker", self) >= PATH_MAX)
        return err_set(e, ERR_TOO_LARGE, "the path of quern-worker: at most %d bytes", PATH_MAX);
    return 0;
}

static int set_up(struct supervisor *s, struct pool *pool, const struct settings_pool *settings,
                  struct str name, struct err *e) {
    pool->name = name;
    pool->settings = *settings;
    tell(s, pool);
    if (settings->command.len)
        return words_split(settings->command, s->arena, &pool->argv, e) < 0
                   ? err_add(e, "pools." STR_FMT, STR_ARG(name))
                   : 0;
    pool->argv = arena_alloc(s->arena, 2 * sizeof *pool->argv);
    pool->argv[0] = s->own_worker;
    pool->argv[1] = NULL;
    return 0;
}

int pools_setup(struct supervisor *s, struct err *e) {
    const struct settings *settings = s->settings;
    size_t n = settings->pools.count;
    s->n_pools = n ? n : 1;
    s->pools = mem_zalloc(s->n_pools * sizeof *s->pools);
    copy_environment(s);
    if (find_own_worker(s, e) < 0)
        return -1;
    if (!n)
        return set_up(s, &s->pools[0], &settings->pools.usual, STR("default"), e);
    for (size_t i = 0; i < n; i++)
        if (set_up(s, &s->pools[i], &settings->pools.at[i], settings->pools.at[i].name, e) < 0)
            return -1;
    return 0;
}

void pools_done(struct supervisor *s) {
    for (size_t i = 0; i < s->n_pools; i++)
        seats_done(&s->pools[i].seats);
    MEM_FREE(s->pools);
    s->n_pools = 0;
}

/* Settings of a pool that are not live stay as they were at the start. */
void pools_reload(struct supervisor *s) {
    for (size_t i = 0; i < s->n_pools; i++) {
        struct pool *pool = &s->pools[i];
        const struct settings_pool *new = settings_find_pool(s->settings, pool->name);
        if (!new)
            new = &s->settings->pools.usual;
        pool->settings.recycle_age_ms = new->recycle_age_ms;
        pool->settings.restart_backoff_ms = new->restart_backoff_ms;
        pool->settings.restart_backoff_max_ms = new->restart_backoff_max_ms;
        pool->settings.stop_grace_ms = new->stop_grace_ms;
    }
}

struct pool *pools_find(struct supervisor *s, struct str name) {
    for (size_t low = 0, high = s->n_pools; low < high;) {
        size_t at = low + (high - low) / 2;
        int order = str_cmp(name, s->pools[at].name);
        if (order == 0)
            return &s->pools[at];
        if (order < 0)
            high = at;
        else
            low = at + 1;
    }
    return NULL;
}

struct process *pools_process(struct supervisor *s, const void *instance) {
    struct process *p = s->processes;
    while (p && memcmp(p->instance, instance, sizeof p->instance) != 0)
        p = p->next;
    return p;
}

/* ---- starting ------------------------------------------------------------------------------- */
static void in_trouble(struct supervisor *s, struct pool *pool, const char *text) {
    snprintf(pool->trouble, sizeof pool->trouble, "%s", text);
    pool->trouble_until = mono_add(clock_mono(), TROUBLE_MS);
    s->report_at = MONO_PAST;
}

static void start(struct supervisor *s, struct pool *pool, uint32_t seat, struct mono now) {
    struct err e = {0};
    struct str folder = pool->settings.directory;
    struct process_spec spec = {.argv = pool->argv,
                                .envp = s->envp,
                                .told = pool->told,
                                .directory = folder.len ? folder.at : NULL};
    struct process *p = handed_keep(s->options->handed, &e) == 0 ? process_start(&spec, &e) : NULL;
    seats_take(&pool->seats, seat, now);
    if (!p) {
        log_event(LOG_process_failed, log_str("pool", pool->name), LOG_WHY(&e));
        in_trouble(s, pool, e.text);
        seats_end(&pool->seats, seat, SEAT_END_DIED, pool->settings.restart_backoff_ms,
                  pool->settings.restart_backoff_max_ms, now, &s->rng);
        return;
    }
    p->pool = pool;
    p->seat = seat;
    p->next = s->processes;
    s->processes = p;
    s->n_processes++;
    s->report_at = MONO_PAST;
    log_event(LOG_process_started, log_str("pool", pool->name), log_text("instance", p->hex),
              log_u64("process", (uint64_t)p->child.pid));
}

void pools_start_due(struct supervisor *s, struct mono now) {
    for (size_t i = 0; i < s->n_pools; i++) {
        struct pool *pool = &s->pools[i];
        if (!pool->planned && mono_reached(now, s->plan_wait)) {
            pool->planned = true; /* nobody says how many: the least */
            seats_plan(&pool->seats, (uint32_t)pool->settings.processes_min, now);
        }
        uint32_t seat;
        while ((seat = seats_due(&pool->seats, now)) != SEAT_NONE)
            start(s, pool, seat, now);
        if (pool->trouble[0] && mono_reached(now, pool->trouble_until) &&
            seats_held(&pool->seats) >= pool->seats.plan)
            pool->trouble[0] = 0;
    }
}

/* ---- ending --------------------------------------------------------------------------------- */
static bool is_asked(const struct supervisor *s, const struct process *p) {
    return s->stops || p->asked != ASKED_NOTHING;
}

/* Whether a job that it ran may be to blame. */
static bool is_crash(const struct supervisor *s, const struct process *p,
                     const struct child_end *end) {
    if (end->signal)
        return !is_asked(s, p);
    return end->status != WORKER_EXIT_DRAINED && end->status != WORKER_EXIT_RECYCLE &&
           end->status != WORKER_EXIT_UNHEARD && end->status != WORKER_EXIT_TOO_LARGE &&
           !(end->status == WORKER_EXIT_STOPPED && is_asked(s, p));
}

static enum seat_end seat_end_of(const struct process *p, const struct child_end *end) {
    bool long_run = mono_until(p->started, clock_mono()) >= RESTART_HEALTHY_MS;
    if (p->asked == ASKED_KILL)
        return SEAT_END_AGAIN;
    if (end->signal)
        return SEAT_END_DIED;
    switch (end->status) {
    case WORKER_EXIT_RECYCLE:
        return SEAT_END_AGAIN;
    case WORKER_EXIT_DRAINED:
        return long_run ? SEAT_END_DONE : SEAT_END_DIED; /* `true` as a command ends so too */
    case WORKER_EXIT_USAGE:
    case WORKER_EXIT_REFUSED:
        return SEAT_END_HOPELESS;
    default:
        return SEAT_END_DIED;
    }
}

static void unlink_process(struct supervisor *s, struct process *p) {
    struct process **at = &s->processes;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    s->n_processes--;
}

static void unasked(struct supervisor *s, struct process *p, const struct child_end *end,
                    const char *how) {
    char text[POOL_TEXT_MAX];
    if (!end->signal && end->status == WORKER_EXIT_TOO_LARGE)
        how = "was over pools.memory_max at rest";
    struct str words = str_trim(str_make(p->words, p->words_len));
    const char *line = words.len ? memrchr(words.at, '\n', words.len) : NULL;
    if (line)
        words = str_make(line + 1, words.len - (size_t)(line + 1 - words.at));
    snprintf(text, sizeof text, "worker %.*s %s%s" STR_FMT, HEX_SHOWN, p->hex, how,
             words.len ? ": " : "", STR_ARG(words));
    p->pool->restarts++;
    in_trouble(s, p->pool, text);
}

void pools_ended(struct supervisor *s, struct process *p, const struct child_end *end) {
    struct pool *pool = p->pool;
    struct child_words how = child_end_words(end);
    bool well = is_asked(s, p) || (!end->signal && (end->status == WORKER_EXIT_DRAINED ||
                                                    end->status == WORKER_EXIT_RECYCLE));
    if (well)
        log_event(LOG_process_ended, log_str("pool", pool->name), log_text("instance", p->hex),
                  log_text("how", how.at));
    else
        log_event(LOG_process_died, log_str("pool", pool->name), log_text("instance", p->hex),
                  log_text("how", how.at),
                  log_str("words", str_trim(str_make(p->words, p->words_len))));
    report_death(s, p, is_crash(s, p, end), how.at);
    if (!well)
        unasked(s, p, end, how.at);
    if (p->seat == SEAT_NONE)
        pool->replaced--;
    if (p->seat != SEAT_NONE)
        seats_end(&pool->seats, p->seat, seat_end_of(p, end), pool->settings.restart_backoff_ms,
                  pool->settings.restart_backoff_max_ms, clock_mono(), &s->rng);
    unlink_process(s, p);
    s->report_at = MONO_PAST;
    process_destroy(&p);
}

/* ---- replacing ------------------------------------------------------------------------------ */
static void replace(struct supervisor *s, struct process *p, bool in_vain, const char *why) {
    struct pool *pool = p->pool;
    log_event(LOG_process_replaced, log_str("pool", pool->name), log_text("instance", p->hex),
              log_text("why", why));
    p->asked = ASKED_REPLACE;
    seats_leave(&pool->seats, p->seat, in_vain, pool->settings.restart_backoff_ms,
                pool->settings.restart_backoff_max_ms, clock_mono(), &s->rng);
    p->seat = SEAT_NONE;
    pool->replaced++;
    report_drain(s, p);
}

/* What does not go, though it was asked to, must not pile up until the host has no memory left:
 * each seat has at most one beside its successor. */
static bool may_replace(const struct pool *pool) {
    return pool->replaced < (pool->seats.plan ? pool->seats.plan : 1);
}

static struct units_text show_mib(uint64_t bytes) {
    return units_show_size(bytes >> 20 << 20);
}

/* Who is too large soon after the start most likely needs that much: its successor would be
 * replaced like it, so it is made to wait longer and longer, and the operator is told. */
static void too_large(struct supervisor *s, struct process *p, uint64_t rss, struct mono now) {
    struct pool *pool = p->pool;
    uint64_t age_ms = mono_until(p->started, now);
    char text[POOL_TEXT_MAX];
    int n = snprintf(text, sizeof text,
                     "worker %.*s has %s of memory %llu s after its start, over "
                     "pools." STR_FMT ".memory_max (%s)",
                     HEX_SHOWN, p->hex, show_mib(rss).at, (unsigned long long)age_ms / 1000,
                     STR_ARG(pool->name), units_show_size(pool->settings.memory_max).at);
    bool may = may_replace(pool), soon = age_ms < RESTART_HEALTHY_MS;
    if (may)
        replace(s, p, soon, text);
    else
        snprintf(text + n, sizeof text - (size_t)n, ", but %u that were replaced still run",
                 pool->replaced);
    if (may && seats_next(&pool->seats).ms > now.ms && seats_next(&pool->seats).ms < UINT64_MAX)
        snprintf(text + n, sizeof text - (size_t)n, "; the next one starts in %.1f s",
                 (double)mono_until(now, seats_next(&pool->seats)) / 1000);
    if (soon || !may)
        in_trouble(s, pool, text);
}

static void too_old(struct supervisor *s, struct process *p) {
    char text[POOL_TEXT_MAX];
    if (may_replace(p->pool)) {
        replace(s, p, false, "it is over pools.recycle_age");
        return;
    }
    snprintf(text, sizeof text,
             "worker %.*s is over pools.recycle_age, but %u that were replaced still run",
             HEX_SHOWN, p->hex, p->pool->replaced);
    in_trouble(s, p->pool, text);
}

void pools_look(struct supervisor *s, struct mono now) {
    for (struct process *p = s->processes; p; p = p->next) {
        const struct settings_pool *k = &p->pool->settings;
        if (p->asked != ASKED_NOTHING || !k->command.len)
            continue;
        uint64_t rss = k->memory_max ? process_rss(p) : 0;
        if (rss > k->memory_max)
            too_large(s, p, rss, now);
        else if (k->recycle_age_ms && mono_until(p->started, now) > k->recycle_age_ms)
            too_old(s, p);
    }
}
