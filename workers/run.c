#include "workers/run.h"

#include "common/base/check.h"
#include "common/log/log.h"

/* Marks those named in "a,b,c". */
static int mark_named(struct str names, const struct worker_kind *rows, size_t n, bool *wanted,
                      struct err *e) {
    for (size_t at = 0; at < names.len;) {
        size_t end = at, k = 0;
        while (end < names.len && names.at[end] != ',')
            end++;
        struct str name = str_trim(str_make(names.at + at, end - at));
        while (k < n && !str_eq(name, str_of(rows[k].name)))
            k++;
        if (k == n)
            return err_set(e, ERR_USAGE, "kinds: this worker has no kind \"" STR_FMT "\"",
                           STR_ARG(name));
        wanted[k] = true;
        at = end + 1;
    }
    return 0;
}

/* The kinds that are named, or all. */
static int choose_kinds(struct str names, const struct worker_kind *rows, size_t n,
                        const struct worker_kind **chosen, size_t *n_chosen, struct err *e) {
    bool wanted[WORKER_KINDS_MAX] = {false};
    if (mark_named(names, rows, n, wanted, e) < 0)
        return -1;
    *n_chosen = 0;
    for (size_t k = 0; k < n; k++)
        if (wanted[k] || !names.len)
            chosen[(*n_chosen)++] = &rows[k];
    return 0;
}

enum worker_exit worker_run(const struct worker_options *o, const char *name,
                            const struct worker_kind *rows, size_t n, bool *clean, struct err *e) {
    const struct worker_kind *chosen[WORKER_KINDS_MAX];
    ASSERT(n <= WORKER_KINDS_MAX);
    struct host_config config = {.endpoint = o->endpoint,
                                 .key = o->has_key ? &o->key : NULL,
                                 .name = name,
                                 .pool = o->pool,
                                 .kinds = {.at = chosen},
                                 .slots = (uint32_t)o->slots,
                                 .prefetch = (uint32_t)o->prefetch,
                                 .memory_max = o->memory_max,
                                 .recycle_jobs = o->recycle_jobs,
                                 .recycle_age_ms = o->recycle_age_ms};
    memcpy(config.instance, o->instance, sizeof config.instance);
    log_set(o->log_level, o->log_format);
    if (choose_kinds(o->kinds, rows, n, chosen, &config.kinds.n, e) < 0)
        return WORKER_EXIT_USAGE;
    log_event(LOG_worker_starting, log_text("broker", o->endpoint), log_str("pool", o->pool),
              log_u64("slots", o->slots), log_u64("prefetch", o->prefetch));
    return host_run(&config, clean, e);
}
