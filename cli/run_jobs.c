/* quern job, why, jobs: what is known of jobs. */
#include "cli/cli.h"
#include "cli/family.h"
#include "cli/flow.h"
#include "cli/follow.h"
#include "cli/history.h"
#include "cli/job_text.h"
#include "cli/out.h"
#include "common/base/id.h"
#include "common/os/clock.h"

#include <inttypes.h>

/* ---- one job ------------------------------------------------------------------------------- */
static int stream_job(struct cli *c, uint64_t id) {
    struct err e = {0};
    struct follow f;
    int status = follow_open(&f, c, &e) < 0 ? cli_fail(c, &e) : follow_job(&f, id);
    follow_done(&f);
    return status;
}

static int check_job(const struct args_job *a, struct err *e) {
    if (a->stream && a->payload)
        return err_set(e, ERR_USAGE, "job: give --payload or --stream, not both");
    if (a->watch && (a->payload || a->stream))
        return err_set(e, ERR_USAGE, "job: --watch stands without --payload and --stream");
    return 0;
}

/* Who looks at a dead letter wants to see what it was to do. */
static int add_payload(struct cli *c, uint64_t id, json_t *job, struct err *e) {
    json_auto_t *jobs = NULL;
    struct msg_get_job m = {0};
    MSG_SET(&m, get_job, id, id);
    MSG_SET(&m, get_job, payload, true);
    if (cli_ask(c, VERB_get_job, &m, true, &jobs, e) < 0)
        return -1;
    json_object_set(job, "payload", json_object_get(json_array_get(jobs, 0), "payload"));
    return 0;
}

int run_job(struct cli *c, const struct args_job *args) {
    struct err e = {0};
    json_auto_t *job = NULL;
    if (check_job(args, &e) < 0)
        return cli_fail(c, &e);
    if (args->stream)
        return stream_job(c, args->id);
    if (cli_connect(c, &e) < 0)
        return cli_fail(c, &e);
    if (args->watch)
        return flow_watch(c, args->id);
    if (family_ask(c, args->id, args->payload, &job, &e) < 0)
        return cli_fail(c, &e);
    history_to_list(job);
    if (c->json) {
        cli_json(c, job);
        return 0;
    }
    bool is_dead = strcmp(out_text(job, "state"), "dead") == 0;
    if (is_dead && !args->payload && add_payload(c, args->id, job, &e) < 0)
        return cli_fail(c, &e);
    AUTO_BUF out = BUF(JOB_TEXT_MAX);
    job_put(&out, job);
    fwrite(out.at, 1, out.len, stdout);
    return 0;
}

/* ---- why ------------------------------------------------------------------------------------ */
static void put_reason(struct buf *out, const json_t *row, const char *key) {
    (void)key;
    bool turn = strcmp(out_text(row, "reason"), "its_turn") == 0;
    uint64_t place = out_field(row, "place"), until = out_field(row, "until_ms");
    if (turn && place == 1)
        buf_put_str(out, STR("it is the next of its line"));
    else if (turn && place)
        buf_printf(out, "it is number %" PRIu64 "%s in its line", place,
                   out_flag(row, "place_at_least") ? " or later" : "");
    else
        out_clean(out, str_of(out_text(row, "text")));
    if (out_text(row, "holder")[0])
        buf_printf(out, ": %s", out_text(row, "holder"));
    if (!until)
        return;
    buf_put_str(out, strcmp(out_text(row, "reason"), "ended") == 0 ? STR(", ") : STR("; until "));
    out_time_and_age(out, until, clock_wall());
}

int run_why(struct cli *c, const struct args_why *args) {
    static const struct table_column columns[] = {
        {"REASON", false, put_text, "reason"},
        {"WHAT HOLDS IT BACK", false, put_reason, ""},
    };
    struct err e = {0};
    json_auto_t *reasons = NULL;
    struct msg_get_job m = {0};
    MSG_SET(&m, get_job, id, args->id);
    if (cli_connect(c, &e) < 0 || cli_ask(c, VERB_get_why, &m, false, &reasons, &e) < 0)
        return cli_fail(c, &e);
    if (c->json)
        cli_json(c, reasons);
    else
        TABLE(columns, reasons, "nothing holds it back", c->colour);
    return 0;
}

/* ---- many ----------------------------------------------------------------------------------- */
static void put_when(struct buf *out, const json_t *row, const char *key) {
    (void)key;
    struct wall now = clock_wall();
    uint64_t ended = out_field(row, "ended_ms"), due = out_field(row, "due_ms");
    uint64_t started = out_field(row, "started_ms");
    const char *state = out_text(row, "state");
    if (ended) {
        buf_put_str(out, STR("ended "));
        out_duration(out, now.ms > ended ? now.ms - ended : 0);
        buf_put_str(out, STR(" ago"));
    } else if (due > now.ms) {
        buf_put_str(out, STR("due in "));
        out_duration(out, due - now.ms);
    } else if (started && (strcmp(state, "running") == 0 || strcmp(state, "cancelling") == 0)) {
        buf_put_str(out, STR("for "));
        out_duration(out, now.ms > started ? now.ms - started : 0);
    }
}

static void put_error(struct buf *out, const json_t *row, const char *key) {
    (void)key;
    if (!json_object_get(row, "error"))
        return;
    out_clean(out, str_of(out_text(row, "error")));
    buf_printf(out, "%s", out_text(row, "text")[0] ? ": " : "");
    out_clean(out, str_of(out_text(row, "text")));
}

/* One page; what comes after it is `next`, 0 at the end. */
static int page(struct cli *c, const struct args_jobs *args, uint64_t limit, json_t *all,
                uint64_t *next, struct err *e) {
    struct msg_list_jobs m = {0};
    if (args->state)
        MSG_SET(&m, list_jobs, state, args->state);
    if (args->queue.len)
        MSG_SET(&m, list_jobs, queue, args->queue);
    if (args->tenant.len)
        MSG_SET(&m, list_jobs, tenant, args->tenant);
    if (args->kind.len)
        MSG_SET(&m, list_jobs, kind, args->kind);
    if (args->parent)
        MSG_SET(&m, list_jobs, parent, args->parent);
    if (*next)
        MSG_SET(&m, list_jobs, before, *next);
    MSG_SET(&m, list_jobs, limit, limit);
    json_auto_t *items = NULL;
    if (cli_ask(c, VERB_list_jobs, &m, false, &items, e) < 0)
        return -1;
    *next = 0;
    size_t n = json_array_size(items);
    for (size_t i = 0; i < n; i++) {
        json_t *item = json_array_get(items, i);
        if (out_text(item, "id")[0])
            json_array_append(all, item);
        else
            id_parse(str_of(out_text(item, "next")), next);
    }
    return 0;
}

int run_jobs(struct cli *c, const struct args_jobs *args) {
    static const struct table_column columns[] = {
        {"ID", false, put_text, "id"},
        {"STATE", false, put_text, "state"},
        {"KIND", false, put_text, "kind"},
        {"QUEUE", false, put_text, "queue"},
        {"TENANT", false, put_text, "tenant"},
        {"PRIORITY", true, put_number, "priority"},
        {"FAILED", true, put_number, "attempts"},
        {"WHEN", false, put_when, ""},
        {"ERROR", false, put_error, ""},
    };
    const uint64_t page_max = 1024, usual = 50;
    struct err e = {0};
    json_auto_t *all = json_array();
    uint64_t next = args->before;
    uint64_t limit = args->limit ? args->limit : usual;
    if (cli_connect(c, &e) < 0)
        return cli_fail(c, &e);
    do {
        uint64_t want = limit - json_array_size(all);
        if (page(c, args, want < page_max ? want : page_max, all, &next, &e) < 0)
            return cli_fail(c, &e);
    } while (next && json_array_size(all) < limit);
    if (c->json) {
        cli_json(c, all);
        return 0;
    }
    TABLE(columns, all, "no jobs", c->colour);
    if (next)
        cli_say("there may be more: --before %s", id_show(next).at);
    return 0;
}
