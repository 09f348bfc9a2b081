/* quern status, queues, pools, workers: what runs, in figures. */
#include "cli/cli.h"
#include "cli/out.h"

#include <inttypes.h>

#define VIEW_MAX 65536U

/* ---- columns -------------------------------------------------------------------------------- */
/* What one tenant may run of the queue, who runs most, and how many run all they may. */
static void put_quota(struct buf *out, const json_t *row) {
    buf_printf(out, "%" PRIu64 " a tenant", out_field(row, "tenant_concurrency"));
    if (!out_field(row, "tenants_running"))
        return;
    buf_printf(out, " (most: ");
    out_clean(out, str_of(out_text(row, "tenant")));
    buf_printf(out, " %" PRIu64 "; full: %" PRIu64 " of %" PRIu64 ")",
               out_field(row, "tenant_running"), out_field(row, "tenants_full"),
               out_field(row, "tenants_running"));
}

static void put_limits(struct buf *out, const json_t *row, const char *key) {
    (void)key;
    const char *comma = "";
    if (out_flag(row, "paused")) {
        buf_printf(out, "paused");
        comma = ", ";
    }
    if (out_field(row, "concurrency")) {
        buf_printf(out, "%s%" PRIu64 " at a time", comma, out_field(row, "concurrency"));
        comma = ", ";
    }
    if (out_field(row, "rate_count")) {
        buf_printf(out, "%s", comma);
        out_rate(out, row);
        comma = ", ";
    }
    if (out_field(row, "tenant_concurrency")) {
        buf_printf(out, "%s", comma);
        put_quota(out, row);
        comma = ", ";
    }
    if (out_flag(row, "at_run_time"))
        buf_printf(out, "%sset at run time", comma);
}

static void put_processes(struct buf *out, const json_t *row, const char *key) {
    (void)key;
    buf_printf(out, "%" PRIu64 " of %" PRIu64, out_field(row, "alive"),
               out_field(row, "processes"));
}

static void put_busy(struct buf *out, const json_t *row, const char *key) {
    (void)key;
    buf_printf(out, "%" PRIu64 "/%" PRIu64, out_field(row, "held"), out_field(row, "slots"));
}

static void put_bounds(struct buf *out, const json_t *row, const char *key) {
    (void)key;
    buf_printf(out, "%" PRIu64 "-%" PRIu64 "%s", out_field(row, "processes_min"),
               out_field(row, "processes_max"),
               out_flag(row, "at_run_time") ? ", set at run time" : "");
}

/* Enough of it to name the worker to `quern drain`. */
static void put_instance(struct buf *out, const json_t *row, const char *key) {
    buf_printf(out, "%.12s", out_text(row, key));
}

static void put_silence(struct buf *out, const json_t *row, const char *key) {
    out_duration(out, out_field(row, key));
}

static const struct table_column queue_columns[] = {
    {"QUEUE", false, put_text, "name"},          {"READY", true, put_number, "ready"},
    {"OLDEST", true, put_duration, "oldest_ms"}, {"SCHEDULED", true, put_number, "scheduled"},
    {"BLOCKED", true, put_number, "blocked"},    {"RUNNING", true, put_number, "running"},
    {"DEAD", true, put_number, "dead"},          {"LIMITS", false, put_limits, ""},
};

static const struct table_column pool_columns[] = {
    {"POOL", false, put_text, "name"},          {"ALIVE", true, put_processes, ""},
    {"BOUNDS", false, put_bounds, ""},          {"BUSY", true, put_busy, ""},
    {"RESTARTS", true, put_number, "restarts"}, {"TROUBLE", false, put_text, "text"},
};

static const struct table_column worker_columns[] = {
    {"WORKER", false, put_instance, "instance"},
    {"POOL", false, put_text, "pool"},
    {"STATE", false, put_text, "state"},
    {"BUSY", true, put_busy, ""},
    {"DONE", true, put_number, "done"},
    {"HEARD", true, put_silence, "silent_ms"},
    {"MEMORY", true, put_size, "rss_bytes"},
    {"HOST", false, put_text, "host"},
    {"PID", true, put_number, "pid"},
    {"KINDS", false, put_list, "kinds"},
};

/* ---- lists ---------------------------------------------------------------------------------- */
static int ask_list(struct cli *c, enum verb verb, struct str name, json_t **rows, struct err *e) {
    struct msg_get_status m = {0};
    if (name.len)
        MSG_SET(&m, get_status, name, name);
    if (cli_connect(c, e) < 0)
        return -1;
    return cli_ask(c, verb, &m, false, rows, e);
}

static int unknown(struct cli *c, enum err_code code, const char *what, struct str name) {
    struct err e;
    err_set(&e, code, "%s '" STR_FMT "': not known", what, STR_ARG(name));
    return cli_fail(c, &e);
}

int run_queues(struct cli *c, const struct args_queues *args) {
    struct err e = {0};
    json_auto_t *rows = NULL;
    if (ask_list(c, VERB_list_queues, args->name, &rows, &e) < 0)
        return cli_fail(c, &e);
    if (args->name.len && !json_array_size(rows))
        return unknown(c, ERR_UNKNOWN_QUEUE, "queue", args->name);
    if (c->json)
        cli_json(c, rows);
    else
        TABLE(queue_columns, rows, "no queues", c->colour);
    return 0;
}

int run_pools(struct cli *c, const struct args_pools *args) {
    struct err e = {0};
    json_auto_t *rows = NULL;
    if (ask_list(c, VERB_list_pools, args->name, &rows, &e) < 0)
        return cli_fail(c, &e);
    if (args->name.len && !json_array_size(rows))
        return unknown(c, ERR_UNKNOWN_POOL, "pool", args->name);
    if (c->json)
        cli_json(c, rows);
    else
        TABLE(pool_columns, rows, "no pools", c->colour);
    return 0;
}

int run_workers(struct cli *c, const struct args_workers *args) {
    struct err e = {0};
    json_auto_t *rows = NULL;
    if (ask_list(c, VERB_list_workers, args->pool, &rows, &e) < 0)
        return cli_fail(c, &e);
    if (args->pool.len && !json_array_size(rows)) {
        json_auto_t *pools = NULL;
        if (ask_list(c, VERB_list_pools, args->pool, &pools, &e) < 0)
            return cli_fail(c, &e);
        if (!json_array_size(pools))
            return unknown(c, ERR_UNKNOWN_POOL, "pool", args->pool);
    }
    if (c->json)
        cli_json(c, rows);
    else
        TABLE(worker_columns, rows, "no workers", c->colour);
    return 0;
}

/* ---- the whole ------------------------------------------------------------------------------ */
static void counts(struct buf *out, const json_t *s, const char *const *keys, size_t n,
                   const char *tail) {
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%s%" PRIu64 " %s", i ? ", " : "", out_field(s, keys[i]), keys[i]);
    buf_printf(out, "%s\n", tail);
}

static void print_streams(struct buf *out, const json_t *s) {
    buf_printf(out, "streams  %" PRIu64 " kept, ", out_field(s, "streams"));
    out_size(out, out_field(s, "stream_bytes"));
    buf_printf(out, ", %" PRIu64 " attached; %" PRIu64 " events since the start\n",
               out_field(s, "attached"), out_field(s, "stream_events"));
}

static void print_broker(const json_t *s) {
    static const char *const now[] = {"ready", "scheduled", "blocked", "running"};
    static const char *const ended[] = {"done", "dead", "cancelled", "expired"};
    static const char *const held[] = {"queues",  "kinds", "tenants",  "keys",
                                       "watches", "flows", "schedules"};
    AUTO_BUF out = BUF(VIEW_MAX);
    buf_printf(&out, "broker   %s, epoch %" PRIu64 ", up ", out_text(s, "version"),
               out_field(s, "epoch"));
    out_duration(&out, out_field(s, "uptime_ms"));
    buf_printf(&out, ", memory ");
    out_size(&out, out_field(s, "rss_bytes"));
    buf_printf(&out, "\njournal  ");
    out_size(&out, out_field(s, "journal_bytes"));
    buf_printf(&out, " on disk, ");
    out_size(&out, out_field(s, "journal_live_bytes"));
    buf_printf(&out, " of it needed%s\n",
               out_flag(s, "read_only") ? ", READ-ONLY: nothing new is accepted" : "");
    buf_printf(&out, "jobs     ");
    counts(&out, s, now, sizeof now / sizeof now[0], "");
    buf_printf(&out, "ended    ");
    counts(&out, s, ended, sizeof ended / sizeof ended[0], " since the start");
    buf_printf(&out, "kept     %" PRIu64 " ended jobs, %" PRIu64 " of them dead\n",
               out_field(s, "kept"), out_field(s, "kept_dead"));
    buf_printf(&out, "held     ");
    counts(&out, s, held, sizeof held / sizeof held[0], "");
    if (out_field(s, "streams"))
        print_streams(&out, s);
    if (out_field(s, "malformed") || out_field(s, "stale_fences"))
        buf_printf(&out, "refused  %" PRIu64 " messages, %" PRIu64 " stale reports\n",
                   out_field(s, "malformed"), out_field(s, "stale_fences"));
    if (out_field(s, "connections_refused"))
        buf_printf(&out, "turned   %" PRIu64 " connections away, %" PRIu64 " places\n",
                   out_field(s, "connections_refused"), out_field(s, "connections_max"));
    if (out_text(s, "ops")[0])
        buf_printf(&out, "ops      http://%s/metrics, /healthz, /health\n", out_text(s, "ops"));
    if (out_text(s, "text")[0]) {
        buf_printf(&out, "TROUBLE  ");
        out_clean(&out, str_of(out_text(s, "text")));
        buf_putc(&out, '\n');
    }
    fwrite(out.at, 1, out.len, stdout);
}

struct part {
    const char *key;
    enum verb verb;
    bool operators; /* only they may ask */
};

static const struct part parts[] = {
    {"broker", VERB_get_status, false},
    {"queues", VERB_list_queues, false},
    {"pools", VERB_list_pools, true},
    {"workers", VERB_list_workers, true},
};

static int ask_part(struct cli *c, const struct part *p, json_t *all, struct err *e) {
    json_t *rows = NULL;
    if (p->operators && c->role != ROLE_OPERATOR)
        return json_object_set_new(all, p->key, json_null());
    if (ask_list(c, p->verb, STR(""), &rows, e) < 0)
        return -1;
    if (p->verb == VERB_get_status) {
        json_object_set(all, p->key, json_array_get(rows, 0));
        json_decref(rows);
        return 0;
    }
    return json_object_set_new(all, p->key, rows);
}

static void print_all(const struct cli *c, const json_t *all) {
    print_broker(json_object_get(all, "broker"));
    putchar('\n');
    TABLE(queue_columns, json_object_get(all, "queues"), "no queues", c->colour);
    if (c->role != ROLE_OPERATOR)
        return;
    putchar('\n');
    TABLE(pool_columns, json_object_get(all, "pools"), "no pools", c->colour);
    putchar('\n');
    TABLE(worker_columns, json_object_get(all, "workers"), "no workers", c->colour);
}

int run_status(struct cli *c, const struct args_status *args) {
    (void)args;
    struct err e = {0};
    json_auto_t *all = json_object();
    if (cli_connect(c, &e) < 0)
        return cli_fail(c, &e);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (ask_part(c, &parts[i], all, &e) < 0)
            return cli_fail(c, &e);
    if (c->json)
        cli_json(c, all);
    else
        print_all(c, all);
    return 0;
}
