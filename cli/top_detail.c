#include "cli/top_detail.h"

#include "cli/family.h"
#include "cli/history.h"
#include "cli/job_text.h"
#include "cli/out.h"
#include "common/base/id.h"
#include "common/os/clock.h"
#include "schemas/states.h"

#include <inttypes.h>
#include <string.h>

#define SHOWN  20   /* jobs of a queue in one state */
#define LOOKED 1024 /* at that many, to find the oldest */

/* ---- jobs ----------------------------------------------------------------------------------- */
static int job(struct cli *c, const char *id, struct buf *title, struct buf *out, struct err *e) {
    uint64_t number;
    json_auto_t *all = NULL;
    buf_printf(title, "job %s", id);
    if (!id_parse(str_of(id), &number))
        return err_set(e, ERR_NOT_FOUND, "there is no job");
    if (family_ask(c, number, false, &all, e) < 0)
        return -1;
    history_to_list(all);
    job_put(out, all);
    return 0;
}

/* ---- a queue -------------------------------------------------------------------------------- */
static int list(struct cli *c, struct str queue, enum job_state state, json_t **jobs,
                struct err *e) {
    struct msg_list_jobs m = {0};
    MSG_SET(&m, list_jobs, queue, queue);
    MSG_SET(&m, list_jobs, state, (uint64_t)state);
    MSG_SET(&m, list_jobs, limit, LOOKED);
    return cli_ask(c, VERB_list_jobs, &m, false, jobs, e);
}

/* The last one that has an id; the list ends with where to go on. */
static const json_t *oldest_of(const json_t *jobs) {
    for (size_t i = json_array_size(jobs); i-- > 0;)
        if (out_text(json_array_get(jobs, i), "id")[0])
            return json_array_get(jobs, i);
    return NULL;
}

/* `since`: the time of what it does; NULL: lists do not tell it. */
static void put_job(struct buf *out, const json_t *row, const char *since, struct wall now) {
    uint64_t at = since ? out_field(row, since) : 0;
    buf_printf(out, "  %s", out_text(row, "id"));
    if (at) {
        buf_put_str(out, STR("  for "));
        out_duration(out, now.ms > at ? now.ms - at : 0);
    }
    buf_printf(out, "  %s", out_text(row, "kind"));
    if (strcmp(out_text(row, "tenant"), "default") != 0)
        buf_printf(out, "  of %s", out_text(row, "tenant"));
    if (out_field(row, "attempts"))
        buf_printf(out, "  failed %" PRIu64 " times", out_field(row, "attempts"));
    if (out_text(row, "worker")[0])
        buf_printf(out, "  on %s", out_text(row, "worker"));
    if (out_text(row, "text")[0])
        buf_printf(out, "  %s", out_text(row, "text"));
    buf_putc(out, '\n');
}

/* The oldest first. */
static void put_jobs(struct buf *out, const char *title, const json_t *jobs, const char *since) {
    size_t n = json_array_size(jobs), shown = 0;
    struct wall now = clock_wall();
    buf_printf(out, "\n%s\n", title);
    for (size_t i = n; i-- > 0 && shown < SHOWN;) {
        const json_t *row = json_array_get(jobs, i);
        if (!out_text(row, "id")[0])
            continue;
        put_job(out, row, since, now);
        shown++;
    }
    if (!shown)
        buf_put_str(out, STR("  none\n"));
}

static int why(struct cli *c, const json_t *oldest, struct buf *out, struct err *e) {
    json_auto_t *reasons = NULL;
    struct msg_get_job m = {0};
    uint64_t id;
    if (!oldest || !id_parse(str_of(out_text(oldest, "id")), &id))
        return 0;
    MSG_SET(&m, get_job, id, id);
    if (cli_ask(c, VERB_get_why, &m, false, &reasons, e) < 0)
        return -1;
    buf_printf(out, "\nwhy %s does not run\n", out_text(oldest, "id"));
    for (size_t i = 0; i < json_array_size(reasons); i++) {
        const json_t *row = json_array_get(reasons, i);
        buf_printf(out, "  %s: %s\n", out_text(row, "reason"), out_text(row, "text"));
    }
    return 0;
}

static int queue(struct cli *c, const json_t *row, struct buf *title, struct buf *out,
                 struct err *e) {
    struct str name = str_of(out_text(row, "name"));
    json_auto_t *running = NULL, *ready = NULL;
    buf_printf(title, "queue " STR_FMT, STR_ARG(name));
    buf_printf(out,
               "%" PRIu64 " ready, %" PRIu64 " running, %" PRIu64 " scheduled, %" PRIu64
               " blocked, %" PRIu64 " dead%s\n",
               out_field(row, "ready"), out_field(row, "running"), out_field(row, "scheduled"),
               out_field(row, "blocked"), out_field(row, "dead"),
               out_flag(row, "paused") ? "; PAUSED" : "");
    if (list(c, name, JOB_running, &running, e) < 0 || list(c, name, JOB_ready, &ready, e) < 0)
        return -1;
    /* What waits is why one looks. */
    if (why(c, oldest_of(ready), out, e) < 0 && e->code != ERR_NOT_FOUND)
        return -1;
    put_jobs(out, "running, the oldest first", running, "started_ms");
    const json_t *end = json_array_get(ready, json_array_size(ready) - 1);
    put_jobs(out,
             out_text(end, "next")[0] ? "ready, of the newest ones" : "ready, the oldest first",
             ready, NULL);
    return 0;
}

/* ---- any row -------------------------------------------------------------------------------- */
/* All that is known of it, a line each. */
static void fields(const json_t *row, struct buf *out) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)row, key, value) {
        buf_printf(out, "%-20s ", key);
        if (json_is_string(value))
            buf_put_str(out, str_of(json_string_value(value)));
        else if (json_is_boolean(value))
            buf_put_str(out, json_is_true(value) ? STR("yes") : STR("no"));
        else if (json_is_array(value))
            put_list(out, row, key);
        else
            buf_printf(out, "%" PRIu64, out_field(row, key));
        buf_putc(out, '\n');
    }
}

int top_detail(struct cli *c, enum top_part part, const json_t *row, struct buf *title,
               struct buf *out, struct err *e) {
    if (part == TOP_QUEUES)
        return queue(c, row, title, out, e);
    if (part == TOP_RUNNING || part == TOP_DEAD)
        return job(c, out_text(row, "id"), title, out, e);
    if (part == TOP_WORKERS)
        buf_printf(title, "worker %s", out_text(row, "instance"));
    else
        buf_printf(title, "%s %s", part == TOP_POOLS ? "pool" : "schedule", out_text(row, "name"));
    fields(row, out);
    return 0;
}
