/* quern schedule: jobs that are submitted again and again. */
#include "cli/change.h"
#include "cli/input.h"
#include "cli/out.h"
#include "cli/wait.h"
#include "common/base/id.h"
#include "common/base/units.h"
#include "common/os/clock.h"

/* ---- making --------------------------------------------------------------------------------- */
#define COPY(m, message, args, field, from)                                                        \
    do {                                                                                           \
        if (ARG_HAS(args, schedule_add, from))                                                     \
            MSG_SET(m, message, field, (args)->from);                                              \
    } while (0)

static int make_schedule(const struct args_schedule_add *a, struct msg_schedule *m, struct err *e) {
    bool cron = ARG_HAS(a, schedule_add, cron), every = ARG_HAS(a, schedule_add, every);
    if (cron == every)
        return err_set(e, ERR_USAGE, "schedule add: give --cron or --every%s",
                       cron ? ", not both" : ", which say when");
    if (ARG_HAS(a, schedule_add, zone) && !cron)
        return err_set(e, ERR_USAGE, "schedule add: --zone needs --cron");
    *m = (struct msg_schedule){0};
    MSG_SET(m, schedule, name, a->name);
    COPY(m, schedule, a, cron, cron);
    COPY(m, schedule, a, zone, zone);
    COPY(m, schedule, a, interval_ms, every);
    COPY(m, schedule, a, overlap, overlap);
    COPY(m, schedule, a, missed, missed);
    COPY(m, schedule, a, jitter_ms, jitter);
    COPY(m, schedule, a, paused, paused);
    return 0;
}

static void make_job(const struct args_schedule_add *a, struct msg_submit *m) {
    *m = (struct msg_submit){0};
    MSG_SET(m, submit, kind, a->kind);
    COPY(m, submit, a, queue, queue);
    COPY(m, submit, a, tenant, tenant);
    COPY(m, submit, a, priority, priority);
    COPY(m, submit, a, key, key);
    COPY(m, submit, a, unique, unique);
    COPY(m, submit, a, ttl_ms, ttl);
    COPY(m, submit, a, timeout_ms, timeout);
    COPY(m, submit, a, attempts_max, attempts);
    COPY(m, submit, a, fail_fast, fail_fast);
}

int run_schedule_add(struct cli *c, const struct args_schedule_add *args) {
    AUTO_BUF payload = BUF(INPUT_JSON_MAX);
    struct err e = {0};
    struct msg_schedule m;
    struct msg_submit job;
    json_t *told = NULL;
    bool given = ARG_HAS(args, schedule_add, payload);
    if (make_schedule(args, &m, &e) < 0 ||
        (given && input_payload(args->payload, "schedule add --payload", &payload, &e) < 0))
        return cli_fail(c, &e);
    make_job(args, &job);
    struct client_item of = CLIENT_ITEM(&job, buf_str(&payload));
    struct client_item item = {.message = &m, .children = &of, .n_children = 1};
    if (cli_connect(c, &e) == 0)
        cli_change(c, VERB_set_schedule, &item, 1, &told, &e);
    return change_finish(c, told, false, &e, NULL);
}

/* ---- changing ------------------------------------------------------------------------------- */
static int change(struct cli *c, enum verb verb, struct str name, bool resume) {
    struct err e = {0};
    json_t *told = NULL;
    struct msg_schedule_ref m = {0};
    MSG_SET(&m, schedule_ref, name, name);
    if (resume)
        MSG_SET(&m, schedule_ref, resume, true);
    change_one(c, verb, &m, &told, &e);
    return change_finish(c, told, false, &e, NULL);
}

int run_schedule_rm(struct cli *c, const struct args_schedule_rm *args) {
    return change(c, VERB_remove_schedule, args->name, false);
}

int run_schedule_pause(struct cli *c, const struct args_schedule_pause *args) {
    return change(c, VERB_pause_schedule, args->name, false);
}

int run_schedule_resume(struct cli *c, const struct args_schedule_resume *args) {
    return change(c, VERB_pause_schedule, args->name, true);
}

static int wait_for(struct cli *c, uint64_t id) {
    struct waits waits;
    waits_init(&waits, c, false);
    waits_add(&waits, id, ERR_OK);
    int status = waits_run(&waits);
    waits_done(&waits);
    return status;
}

int run_schedule_run(struct cli *c, const struct args_schedule_run *args) {
    struct err e = {0};
    json_auto_t *told = NULL;
    struct msg_schedule_ref m = {0};
    uint64_t id = 0;
    MSG_SET(&m, schedule_ref, name, args->name);
    if (change_one(c, VERB_run_schedule, &m, &told, &e) < 0)
        return cli_fail(c, &e);
    const json_t *job = json_array_get(told, 0);
    if (args->wait && id_parse(str_of(out_text(job, "id")), &id))
        return wait_for(c, id);
    if (c->json)
        cli_json(c, job);
    else
        printf("%s\n", out_text(job, "id"));
    return 0;
}

/* ---- looking -------------------------------------------------------------------------------- */
static const char *zone_of(const json_t *row) {
    return out_text(row, "zone")[0] ? out_text(row, "zone") : "UTC";
}

/* An interval has no zone: it is shown by the clock here. */
static void put_time(struct buf *out, const json_t *row, uint64_t wall_ms) {
    if (out_text(row, "cron")[0])
        out_time_in(out, wall_ms, zone_of(row));
    else
        out_time(out, wall_ms);
    out_age(out, wall_ms, clock_wall());
}

static void put_when(struct buf *out, const json_t *row, const char *key) {
    (void)key;
    if (out_text(row, "cron")[0]) {
        out_clean(out, str_of(out_text(row, "cron")));
        buf_put_str(out, STR(" "));
        out_clean(out, str_of(zone_of(row)));
    } else {
        buf_printf(out, "every %s", units_show_duration(out_field(row, "interval_ms")).at);
    }
}

static void put_next(struct buf *out, const json_t *row, const char *key) {
    if (out_flag(row, "paused"))
        buf_put_str(out, STR("paused"));
    else if (out_field(row, key))
        put_time(out, row, out_field(row, key));
    else
        buf_put_str(out, STR("never"));
}

static void put_last(struct buf *out, const json_t *row, const char *key) {
    if (out_field(row, key))
        put_time(out, row, out_field(row, key));
}

static void put_job(struct buf *out, const json_t *row, const char *key) {
    const char *state = out_text(row, "last_state");
    if (out_text(row, key)[0])
        buf_printf(out, "%s %s", out_text(row, key), state[0] ? state : "past retention");
}

static const struct table_column columns[] = {
    {"SCHEDULE", false, put_text, "name"},       {"WHEN", false, put_when, ""},
    {"KIND", false, put_text, "kind"},           {"NEXT", false, put_next, "next_ms"},
    {"LAST", false, put_last, "last_ms"},        {"LAST JOB", false, put_job, "last_id"},
    {"RUNS", true, put_number, "runs"},          {"SKIPPED", true, put_number, "skipped"},
    {"MISSED", true, put_number, "missed_runs"}, {"REFUSED", true, put_number, "refused"},
    {"TROUBLE", false, put_text, "text"},
};

int run_schedule_list(struct cli *c, const struct args_schedule_list *args) {
    struct err e = {0};
    json_auto_t *rows = NULL;
    struct msg_get_status m = {0};
    if (args->name.len)
        MSG_SET(&m, get_status, name, args->name);
    if (cli_connect(c, &e) < 0 || cli_ask(c, VERB_list_schedules, &m, c->json, &rows, &e) < 0)
        return cli_fail(c, &e);
    if (args->name.len && !json_array_size(rows)) {
        err_set(&e, ERR_NOT_FOUND, "schedule '" STR_FMT "': not known", STR_ARG(args->name));
        return cli_fail(c, &e);
    }
    if (c->json)
        cli_json(c, rows);
    else
        TABLE(columns, rows, "no schedules", c->colour);
    return 0;
}
