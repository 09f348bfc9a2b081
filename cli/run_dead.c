/* quern dead: what died of the same error, and the jobs of one such group. */
#include "cli/run_dead.h"

#include "cli/out.h"
#include "common/base/id.h"
#include "common/os/clock.h"
#include "schemas/states.h"

#include <inttypes.h>
#include <stdlib.h>

#define SAMPLE_JOBS 5

/* What comes behind this page is `next`, 0 at the end. */
static int page(struct cli *c, const struct msg_list_dead *m, json_t *all, uint64_t *next,
                struct err *e) {
    json_auto_t *items = NULL;
    if (cli_ask(c, VERB_list_dead, m, false, &items, e) < 0)
        return -1;
    *next = 0;
    for (size_t i = 0; i < json_array_size(items); i++) {
        json_t *item = json_array_get(items, i);
        if (out_text(item, "id")[0])
            json_array_append(all, item);
        else
            id_parse(str_of(out_text(item, "next")), next);
    }
    return 0;
}

int dead_jobs(struct cli *c, uint64_t group, uint64_t limit, uint64_t *before, json_t *all,
              struct err *e) {
    const uint64_t page_max = 1024;
    do {
        uint64_t want = limit - json_array_size(all);
        struct msg_list_dead m = {0};
        MSG_SET(&m, list_dead, group, group);
        MSG_SET(&m, list_dead, limit, want < page_max ? want : page_max);
        if (*before)
            MSG_SET(&m, list_dead, before, *before);
        if (page(c, &m, all, before, e) < 0)
            return -1;
    } while (*before && json_array_size(all) < limit);
    return 0;
}

int dead_groups(struct cli *c, json_t *all, struct err *e) {
    uint64_t next;
    return page(c, &(struct msg_list_dead){0}, all, &next, e);
}

/* ---- printing ------------------------------------------------------------------------------- */
static void put_age(struct buf *out, const json_t *row, const char *key) {
    uint64_t at = out_field(row, key), now = clock_wall().ms;
    out_duration(out, now > at ? now - at : 0);
    buf_put_str(out, STR(" ago"));
}

static void put_error(struct buf *out, const json_t *row, const char *key) {
    (void)key;
    if (json_is_integer(json_object_get(row, "error")))
        buf_printf(out, "%" PRIu64, out_field(row, "error"));
    else
        out_clean(out, str_of(out_text(row, "error")));
}

void dead_print_groups(const struct cli *c, const json_t *groups) {
    static const struct table_column columns[] = {
        {"GROUP", false, put_text, "group"},   {"KIND", false, put_text, "kind"},
        {"ERROR", false, put_error, ""},       {"JOBS", true, put_number, "count"},
        {"FIRST", false, put_age, "first_ms"}, {"LAST", false, put_age, "last_ms"},
        {"SAMPLE", false, put_text, "text"},
    };
    TABLE(columns, groups, "no dead letters", c->colour);
}

void dead_print_jobs(const struct cli *c, const json_t *jobs) {
    static const struct table_column columns[] = {
        {"ID", false, put_text, "id"},
        {"KIND", false, put_text, "kind"},
        {"QUEUE", false, put_text, "queue"},
        {"TENANT", false, put_text, "tenant"},
        {"FAILED", true, put_number, "attempts"},
        {"ENDED", false, put_age, "ended_ms"},
    };
    TABLE(columns, jobs, "no jobs", c->colour);
}

/* The largest first, then those that came last. */
static int compare(const void *a, const void *b) {
    const json_t *x = *(const json_t *const *)a, *y = *(const json_t *const *)b;
    uint64_t nx = out_field(x, "count"), ny = out_field(y, "count");
    if (nx != ny)
        return nx < ny ? 1 : -1;
    uint64_t tx = out_field(x, "last_ms"), ty = out_field(y, "last_ms");
    return (tx < ty) - (tx > ty);
}

static json_t *sorted(struct cli *c, const json_t *groups) {
    size_t n = json_array_size(groups);
    json_t **rows = arena_alloc(c->arena, (n + 1) * sizeof(json_t *));
    for (size_t i = 0; i < n; i++)
        rows[i] = json_array_get(groups, i);
    qsort(rows, n, sizeof(json_t *), compare);
    json_t *out = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append(out, rows[i]);
    return out;
}

/* ---- the command ---------------------------------------------------------------------------- */
static int show_groups(struct cli *c) {
    struct err e = {0};
    json_auto_t *all = json_array();
    if (dead_groups(c, all, &e) < 0)
        return cli_fail(c, &e);
    json_auto_t *groups = sorted(c, all);
    if (c->json)
        cli_json(c, groups);
    else
        dead_print_groups(c, groups);
    return 0;
}

int run_dead(struct cli *c, const struct args_dead *args) {
    const uint64_t usual = 50;
    struct err e = {0};
    if (!args->group && (args->limit || args->before)) {
        err_set(&e, ERR_USAGE, "dead: --limit and --before stand with a GROUP");
        return cli_fail(c, &e);
    }
    if (cli_connect(c, &e) < 0)
        return cli_fail(c, &e);
    if (!args->group)
        return show_groups(c);
    json_auto_t *all = json_array();
    uint64_t next = args->before;
    if (dead_jobs(c, args->group, args->limit ? args->limit : usual, &next, all, &e) < 0)
        return cli_fail(c, &e);
    if (c->json) {
        cli_json(c, all);
        return 0;
    }
    dead_print_jobs(c, all);
    if (next)
        cli_say("there may be more: --before %s", id_show(next).at);
    return 0;
}

/* ---- what a retry would run ----------------------------------------------------------------- */
static int list_of_queue(struct cli *c, struct str queue, json_t *all, struct err *e) {
    struct msg_list_jobs m = {0};
    MSG_SET(&m, list_jobs, state, (uint64_t)JOB_dead);
    MSG_SET(&m, list_jobs, queue, queue);
    MSG_SET(&m, list_jobs, limit, SAMPLE_JOBS);
    json_auto_t *items = NULL;
    if (cli_ask(c, VERB_list_jobs, &m, false, &items, e) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(items); i++)
        if (out_text(json_array_get(items, i), "id")[0])
            json_array_append(all, json_array_get(items, i));
    return 0;
}

int dead_sample(struct cli *c, uint64_t group, struct str queue, json_t *all, struct err *e) {
    uint64_t before = 0;
    if (group)
        return dead_jobs(c, group, SAMPLE_JOBS, &before, all, e);
    return queue.len ? list_of_queue(c, queue, all, e) : dead_groups(c, all, e);
}
