/* quern_worker_run: from kinds and options to a worker that runs. */
#include "common/base/mem.h"
#include "workers/run.h"
#include "workers/sdk/sdk_int.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define KIND_LEAST    (offsetof(struct quern_kind, speculative) + sizeof(bool))
#define OPTIONS_LEAST (offsetof(struct quern_worker_options, recycle_age_ms) + sizeof(uint64_t))

/* ---- kinds ---------------------------------------------------------------------------------- */
struct kinds {
    struct quern_kind *given; /* copies, which the rows point to */
    struct worker_kind *rows;
    size_t n;
};

static int take_kind(struct kinds *k, size_t i, const void *from, struct err *e) {
    struct quern_kind *kind = &k->given[i];
    if (sdk_struct(kind, sizeof *kind, from, KIND_LEAST, "quern_kind", e) < 0)
        return -1;
    if (!kind->name || !str_is_name(str_of(kind->name), NAME_MAX_LEN))
        return err_set(e, ERR_USAGE, "quern_kind.name: \"%s\" is not a name",
                       kind->name ? kind->name : "");
    if (!kind->run)
        return err_set(e, ERR_USAGE, "quern_kind.run: kind %s has no function", kind->name);
    for (size_t before = 0; before < i; before++)
        if (strcmp(kind->name, k->given[before].name) == 0)
            return err_set(e, ERR_USAGE, "quern_kind.name: there are two kinds %s", kind->name);
    k->rows[i] = (struct worker_kind){.name = kind->name,
                                      .run = sdk_run,
                                      .data = kind,
                                      .speculative = kind->speculative,
                                      .streams = kind->streams,
                                      .timeout_ms = kind->timeout_ms,
                                      .attempts_max = kind->attempts_max,
                                      .backoff_ms = kind->backoff_ms};
    return 0;
}

/* The caller's array may have smaller or larger elements than ours: they say their size. */
static int take_kinds(struct kinds *k, const struct quern_kind *kinds, size_t n, struct err *e) {
    if (!kinds || !n || n > WORKER_KINDS_MAX)
        return err_set(e, ERR_USAGE, "a worker has 1 to %d kinds, not %zu", WORKER_KINDS_MAX, n);
    size_t size = kinds->size;
    k->n = n;
    k->given = mem_zalloc(n * sizeof *k->given);
    k->rows = mem_zalloc(n * sizeof *k->rows);
    for (size_t i = 0; i < n; i++)
        if (take_kind(k, i, (const char *)kinds + i * size, e) < 0)
            return -1;
    return 0;
}

/* ---- options -------------------------------------------------------------------------------- */
/* Numbers of the options as the words that a command line would have. */
struct number_words {
    char slots[24], prefetch[24], memory_max[24];
};

static const char *word(char at[24], uint64_t value, const char *otherwise) {
    if (!value)
        return otherwise;
    snprintf(at, 24, "%" PRIu64, value);
    return at;
}

static int resolve(struct worker_options *o, const struct quern_worker_options *mine,
                   struct number_words *words, struct err *e) {
    struct worker_given g = worker_given_by(environ);
    if (mine->data || mine->broker) {
        g.data = mine->data;
        g.broker = mine->broker;
    }
    if (mine->pool)
        g.pool = mine->pool;
    g.slots = word(words->slots, mine->slots, g.slots);
    g.prefetch = word(words->prefetch, mine->prefetch, g.prefetch);
    g.memory_max = word(words->memory_max, mine->memory_max, g.memory_max);
    if (worker_options_resolve(o, &g, environ, e) < 0)
        return -1;
    if (mine->recycle_jobs)
        o->recycle_jobs = mine->recycle_jobs;
    if (mine->recycle_age_ms)
        o->recycle_age_ms = mine->recycle_age_ms;
    if (mine->log_level >= QUERN_LOG_ERROR && mine->log_level <= QUERN_LOG_DEBUG)
        o->log_level = (enum log_level)(mine->log_level - 1);
    return 0;
}

/* ---- running -------------------------------------------------------------------------------- */
static enum worker_exit run(const struct quern_worker_options *mine, const struct kinds *kinds,
                            bool *clean, struct err *e) {
    struct worker_options o = {0};
    struct number_words words;
    enum worker_exit status = WORKER_EXIT_USAGE;
    if (resolve(&o, mine, &words, e) == 0)
        status = worker_run(&o, sdk_program(mine->name), kinds->rows, kinds->n, clean, e);
    if (*clean)
        worker_options_release(&o);
    return status;
}

int quern_worker_run(const struct quern_worker_options *options, const struct quern_kind *kinds,
                     size_t n_kinds) {
    struct quern_worker_options mine = quern_worker_options_make();
    struct kinds taken = {0};
    struct err e = {0};
    enum worker_exit status = WORKER_EXIT_USAGE;
    bool clean = true;
    sigset_t before;
    log_open(sdk_program(NULL), STDERR_FILENO);
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    host_block_signals();
    if ((!options ||
         sdk_struct(&mine, sizeof mine, options, OPTIONS_LEAST, "quern_worker_options", &e) == 0) &&
        take_kinds(&taken, kinds, n_kinds, &e) == 0)
        status = run(&mine, &taken, &clean, &e);
    if (e.code)
        log_event(LOG_program_failed, LOG_WHY(&e));
    log_event(LOG_worker_ended, log_i64("status", (int)status));
    if (!clean)
        _exit((int)status); /* jobs that did not obey use what is the caller's, too */
    mem_free(taken.given);
    mem_free(taken.rows);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return (int)status;
}
