/* quern cancel, retry, pause, resume, purge, limit, scale, drain: what changes something. */
#include "cli/change.h"
#include "cli/out.h"
#include "cli/run_dead.h"
#include "common/base/id.h"

#include <inttypes.h>

/* ---- jobs ----------------------------------------------------------------------------------- */
/* A flow is more than what was named. */
static void print_flows(const json_t *told) {
    for (size_t i = 0; i < json_array_size(told); i++) {
        const json_t *item = json_array_get(told, i);
        if (out_flag(item, "flow"))
            printf("job %s: its flow is cancelled, jobs that had not ended: %" PRIu64 "\n",
                   out_text(item, "id"), out_field(item, "count"));
    }
}

int run_cancel(struct cli *c, const struct args_cancel *args) {
    struct err e = {0};
    json_t *told = NULL;
    size_t n = args->ids.n;
    if (n > FRAME_ITEMS_MAX) {
        err_set(&e, ERR_USAGE, "cancel: %zu jobs, at most %d", n, FRAME_ITEMS_MAX);
        return cli_fail(c, &e);
    }
    struct msg_cancel_job *m = arena_alloc(c->arena, n * sizeof *m);
    struct client_item *items = arena_alloc(c->arena, n * sizeof *items);
    for (size_t i = 0; i < n; i++) {
        m[i] = (struct msg_cancel_job){0};
        MSG_SET(&m[i], cancel_job, id, args->ids.at[i]);
        if (args->reason.len)
            MSG_SET(&m[i], cancel_job, text, args->reason);
        items[i] = (struct client_item){.message = &m[i]};
    }
    if (cli_connect(c, &e) == 0)
        cli_change(c, VERB_cancel_job, items, n, &told, &e);
    if (!c->json)
        print_flows(told);
    return change_finish(c, told, true, &e, NULL);
}

static int retry_message(const struct args_retry *args, struct msg_retry_job *m, struct err *e) {
    if (args->dead + (args->id != 0) + (args->group != 0) != 1)
        return err_set(e, ERR_USAGE, "retry: give an ID, --group or --dead");
    if (args->queue.len && !args->dead)
        return err_set(e, ERR_USAGE, "retry: --queue stands with --dead");
    if (args->id)
        MSG_SET(m, retry_job, id, args->id);
    if (args->group)
        MSG_SET(m, retry_job, group, args->group);
    if (args->dead)
        MSG_SET(m, retry_job, dead, true);
    if (args->queue.len)
        MSG_SET(m, retry_job, queue, args->queue);
    if (args->dry_run)
        MSG_SET(m, retry_job, dry_run, true);
    return 0;
}

/* Nothing has changed: how many it would be, and some of them. `told` is taken over. */
static int tell_dry_run(struct cli *c, const struct args_retry *args, json_t *told) {
    json_auto_t *owned = told;
    json_auto_t *sample = json_array();
    struct err e = {0};
    uint64_t count = change_count(owned);
    if (!args->id && count && dead_sample(c, args->group, args->queue, sample, &e) < 0)
        return cli_fail(c, &e);
    if (c->json) {
        json_t *answer = json_array_get(owned, 0);
        if (!args->id)
            json_object_set(answer, "sample", sample);
        cli_json(c, answer);
        return 0;
    }
    printf("jobs that would run again: %" PRIu64 "\n", count);
    if (args->id || !count)
        return 0;
    if (args->group || args->queue.len)
        dead_print_jobs(c, sample);
    else
        dead_print_groups(c, sample);
    return 0;
}

int run_retry(struct cli *c, const struct args_retry *args) {
    struct err e = {0};
    json_t *told = NULL;
    struct msg_retry_job m = {0};
    if (retry_message(args, &m, &e) < 0)
        return cli_fail(c, &e);
    change_one(c, VERB_retry_job, &m, &told, &e);
    if (args->dry_run && !e.code)
        return tell_dry_run(c, args, told);
    char said[64];
    snprintf(said, sizeof said, "jobs that run again: %" PRIu64, change_count(told));
    return change_finish(c, told, false, &e, args->id ? NULL : said);
}

/* ---- queues --------------------------------------------------------------------------------- */
static int change_queue(struct cli *c, enum verb verb, struct str queue, bool reset) {
    struct err e = {0};
    json_t *told = NULL;
    struct msg_queue_ref m = {0};
    MSG_SET(&m, queue_ref, queue, queue);
    if (reset)
        MSG_SET(&m, queue_ref, reset, true);
    change_one(c, verb, &m, &told, &e);
    return change_finish(c, told, false, &e, NULL);
}

int run_pause(struct cli *c, const struct args_pause *args) {
    return change_queue(c, VERB_pause_queue, args->queue, args->reset);
}

int run_resume(struct cli *c, const struct args_resume *args) {
    return change_queue(c, VERB_resume_queue, args->queue, args->reset);
}

int run_purge(struct cli *c, const struct args_purge *args) {
    struct err e = {0};
    json_t *told = NULL;
    struct msg_queue_ref m = {0};
    MSG_SET(&m, queue_ref, queue, args->queue);
    if (args->tenant.len)
        MSG_SET(&m, queue_ref, tenant, args->tenant);
    change_one(c, VERB_purge_queue, &m, &told, &e);
    char said[64];
    snprintf(said, sizeof said, "jobs cancelled: %" PRIu64, change_count(told));
    return change_finish(c, told, false, &e, said);
}

/* ---- limits --------------------------------------------------------------------------------- */
static uint64_t second_of(struct cli_rate rate) {
    uint64_t n = rate.per_ms ? rate.count * 1000 / rate.per_ms : 0;
    return n ? n : 1;
}

static int limit_message(const struct args_limit *a, struct msg_set_limit *m, struct err *e) {
    bool tenant = a->scope == 1, any = (a->has >> ARGPOS_limit_concurrency) != 0;
    if (!any)
        return err_set(e, ERR_USAGE,
                       "limit: nothing to set; give --concurrency, --rate or --reset");
    if (a->reset && a->has >> ARGPOS_limit_concurrency !=
                        1ULL << (ARGPOS_limit_reset - ARGPOS_limit_concurrency))
        return err_set(e, ERR_USAGE, "limit: --reset stands alone");
    if (ARG_HAS(a, limit, weight) && !tenant)
        return err_set(e, ERR_USAGE, "limit: --weight is for tenants");
    if (ARG_HAS(a, limit, burst) && !a->rate.count)
        return err_set(e, ERR_USAGE, "limit: --burst needs --rate");
    MSG_SET(m, set_limit, scope, a->scope + 1);
    MSG_SET(m, set_limit, name, a->name);
    if (ARG_HAS(a, limit, concurrency))
        MSG_SET(m, set_limit, concurrency, a->concurrency);
    if (ARG_HAS(a, limit, rate)) {
        MSG_SET(m, set_limit, rate_count, a->rate.count);
        MSG_SET(m, set_limit, burst, a->burst ? a->burst : second_of(a->rate));
        if (a->rate.per_ms)
            MSG_SET(m, set_limit, rate_per_ms, a->rate.per_ms);
    }
    if (ARG_HAS(a, limit, weight))
        MSG_SET(m, set_limit, weight, a->weight);
    if (a->reset)
        MSG_SET(m, set_limit, reset, true);
    return 0;
}

int run_limit(struct cli *c, const struct args_limit *args) {
    struct err e = {0};
    json_t *told = NULL;
    struct msg_set_limit m = {0};
    if (limit_message(args, &m, &e) < 0)
        return cli_fail(c, &e);
    change_one(c, VERB_set_limit, &m, &told, &e);
    return change_finish(c, told, false, &e, NULL);
}

/* ---- workers -------------------------------------------------------------------------------- */
static int scale_message(struct str word, bool reset, struct msg_scale_pool *m, struct err *e) {
    const char *is = memchr(word.at, '=', word.len);
    struct str pool = is ? str_make(word.at, (size_t)(is - word.at)) : word;
    uint64_t n = 0;
    if (!str_is_name(pool, NAME_MAX_LEN))
        return err_set(e, ERR_USAGE, "scale: '" STR_FMT "' is no name of a pool", STR_ARG(pool));
    if (reset && is)
        return err_set(e, ERR_USAGE, "scale: '" STR_FMT "': with --reset only its name",
                       STR_ARG(word));
    if (!reset && (!is || !str_to_u64(str_make(is + 1, word.len - pool.len - 1), 1024, &n)))
        return err_set(e, ERR_USAGE, "scale: '" STR_FMT "': must be POOL=N, N at most 1024",
                       STR_ARG(word));
    *m = (struct msg_scale_pool){0};
    MSG_SET(m, scale_pool, pool, pool);
    if (reset)
        MSG_SET(m, scale_pool, reset, true);
    else
        MSG_SET(m, scale_pool, processes, n);
    return 0;
}

int run_scale(struct cli *c, const struct args_scale *args) {
    struct err e = {0};
    json_t *told = NULL;
    size_t n = args->pools.n;
    const struct verb_def *verb = verb_def(VERB_scale_pool);
    if (n > verb->items_max) {
        err_set(&e, ERR_USAGE, "scale: %zu pools, at most %u", n, verb->items_max);
        return cli_fail(c, &e);
    }
    struct msg_scale_pool *m = arena_alloc(c->arena, n * sizeof *m);
    struct client_item *items = arena_alloc(c->arena, n * sizeof *items);
    for (size_t i = 0; i < n; i++) {
        if (scale_message(args->pools.at[i], args->reset, &m[i], &e) < 0)
            return cli_fail(c, &e);
        items[i] = (struct client_item){.message = &m[i]};
    }
    if (cli_connect(c, &e) == 0)
        cli_change(c, VERB_scale_pool, items, n, &told, &e);
    return change_finish(c, told, true, &e, NULL);
}

int run_drain(struct cli *c, const struct args_drain *args) {
    struct err e = {0};
    json_t *told = NULL;
    struct msg_drain m = {0};
    MSG_SET(&m, drain, name, args->name);
    change_one(c, VERB_drain, &m, &told, &e);
    char said[96];
    snprintf(said, sizeof said, "workers that finish and leave: %" PRIu64, change_count(told));
    return change_finish(c, told, false, &e, said);
}
