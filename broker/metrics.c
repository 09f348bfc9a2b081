#include "broker/metrics.h"

#include <inttypes.h>

/* ---- the text format ------------------------------------------------------------------------- */
static void put_head(struct buf *out, const char *name, const char *type, const char *doc) {
    buf_printf(out, "# HELP " METRICS_PREFIX "%s ", name);
    for (const char *at = doc; *at; at++) {
        if (*at == '\\' || *at == '\n')
            buf_putc(out, '\\');
        buf_putc(out, *at == '\n' ? 'n' : *at);
    }
    buf_printf(out, "\n# TYPE " METRICS_PREFIX "%s %s\n", name, type);
}

void metrics_escape(struct buf *out, struct str value) {
    for (size_t i = 0; i < value.len; i++) {
        char c = value.at[i];
        if (c == '\\' || c == '"' || c == '\n')
            buf_putc(out, '\\');
        buf_putc(out, c == '\n' ? 'n' : c);
    }
}

/* Seconds with as many places as are needed: the locale has no say in it. */
static void put_seconds(struct buf *out, uint64_t us) {
    char digits[8];
    unsigned n = 6;
    uint64_t part = us % 1000000;
    buf_printf(out, "%" PRIu64, us / 1000000);
    if (!part)
        return;
    for (unsigned k = 6; k > 0; k--, part /= 10)
        digits[k - 1] = (char)('0' + part % 10);
    while (digits[n - 1] == '0')
        n--;
    buf_printf(out, ".%.*s", (int)n, digits);
}

struct label {
    const char *name, *value;
};

static void put_labels(struct buf *out, const struct label *labels, size_t n) {
    for (size_t i = 0; i < n; i++) {
        buf_printf(out, "%s%s=\"", i ? "," : "", labels[i].name);
        metrics_escape(out, str_of(labels[i].value));
        buf_putc(out, '"');
    }
}

static void put_name(struct buf *out, const char *name, const struct label *labels, size_t n) {
    buf_printf(out, METRICS_PREFIX "%s", name);
    if (!n)
        return;
    buf_putc(out, '{');
    put_labels(out, labels, n);
    buf_putc(out, '}');
}

static void put_one(struct buf *out, const char *name, struct label label, uint64_t value) {
    put_name(out, name, &label, 1);
    buf_printf(out, " %" PRIu64 "\n", value);
}

/* Buckets hold what is in those before them too. */
static void put_histogram(struct buf *out, const char *name, const char *kind,
                          const struct histogram *h) {
    struct label label = {"kind", kind};
    uint64_t n = 0;
    for (unsigned k = 0; k < HISTOGRAM_PLACES; k++) {
        n += h->counts[k];
        buf_printf(out, METRICS_PREFIX "%s_bucket{", name);
        if (kind) {
            put_labels(out, &label, 1);
            buf_putc(out, ',');
        }
        buf_printf(out, "le=\"");
        if (k < HISTOGRAM_BOUNDS)
            put_seconds(out, histogram_bounds_us[k]);
        else
            buf_printf(out, "+Inf");
        buf_printf(out, "\"} %" PRIu64 "\n", n);
    }
    AUTO_BUF part = BUF(128);
    buf_printf(&part, "%s_sum%c", name, '\0');
    put_name(out, part.at, &label, kind != NULL);
    buf_putc(out, ' ');
    put_seconds(out, h->sum_us);
    buf_clear(&part);
    buf_printf(&part, "%s_count%c", name, '\0');
    buf_putc(out, '\n');
    put_name(out, part.at, &label, kind != NULL);
    buf_printf(out, " %" PRIu64 "\n", n);
}

/* ---- families -------------------------------------------------------------------------------- */
static void put_build_info(struct buf *out, const char *name, const struct ops_snapshot *s) {
    put_one(out, name, (struct label){"version", s->version ? s->version : ""}, 1);
}

static const char *const state_names[OPS_STATES] = {[OPS_STARTING] = "starting",
                                                    [OPS_SERVING] = "serving",
                                                    [OPS_FULL] = "full",
                                                    [OPS_READ_ONLY] = "read_only"};

static void put_state(struct buf *out, const char *name, const struct ops_snapshot *s) {
    for (enum ops_state k = OPS_SERVING; k < OPS_STATES; k++)
        put_one(out, name, (struct label){"state", state_names[k]}, s->state == k);
}

static void put_queue_jobs(struct buf *out, const char *name, const struct ops_snapshot *s) {
    static const enum job_state states[] = {JOB_scheduled, JOB_blocked, JOB_ready, JOB_running,
                                            JOB_cancelling};
    for (uint32_t i = 0; i < s->figures.n_queues; i++)
        for (size_t k = 0; k < sizeof states / sizeof *states; k++) {
            const struct core_queue_figures *q = &s->figures.queues[i];
            struct label labels[] = {{"queue", q->queue}, {"state", job_state_name(states[k])}};
            put_name(out, name, labels, 2);
            buf_printf(out, " %" PRIu64 "\n", q->by_state[states[k]]);
        }
}

static void put_queue_oldest_ready_seconds(struct buf *out, const char *name,
                                           const struct ops_snapshot *s) {
    for (uint32_t i = 0; i < s->figures.n_queues; i++) {
        struct label label = {"queue", s->figures.queues[i].queue};
        put_name(out, name, &label, 1);
        buf_putc(out, ' ');
        put_seconds(out, s->figures.queues[i].oldest_ms * 1000);
        buf_putc(out, '\n');
    }
}

static void put_queue_dead_jobs(struct buf *out, const char *name, const struct ops_snapshot *s) {
    for (uint32_t i = 0; i < s->figures.n_queues; i++)
        put_one(out, name, (struct label){"queue", s->figures.queues[i].queue},
                s->figures.queues[i].kept_dead);
}

static void put_jobs_ended_total(struct buf *out, const char *name, const struct ops_snapshot *s) {
    for (unsigned k = 0; k < JOB_STATES; k++)
        if (job_state_terminal(k))
            put_one(out, name, (struct label){"state", job_state_name(k)}, s->core.ended[k]);
}

static void put_job_wait_seconds(struct buf *out, const char *name, const struct ops_snapshot *s) {
    for (uint32_t i = 0; i < s->figures.n_kinds; i++)
        put_histogram(out, name, s->figures.kinds[i].kind, &s->figures.kinds[i].wait);
}

static void put_job_run_seconds(struct buf *out, const char *name, const struct ops_snapshot *s) {
    for (uint32_t i = 0; i < s->figures.n_kinds; i++)
        put_histogram(out, name, s->figures.kinds[i].kind, &s->figures.kinds[i].run);
}

static void put_attempts_total(struct buf *out, const char *name, const struct ops_snapshot *s) {
    static const char *const names[ATTEMPT_ENDS] = {
        [ATTEMPT_DONE] = "done",           [ATTEMPT_FAILED] = "failed",
        [ATTEMPT_REJECTED] = "rejected",   [ATTEMPT_TIMED_OUT] = "timed_out",
        [ATTEMPT_CRASHED] = "crashed",     [ATTEMPT_HELD] = "held",
        [ATTEMPT_CANCELLED] = "cancelled", [ATTEMPT_REQUEUED] = "requeued"};
    for (unsigned k = 0; k < ATTEMPT_ENDS; k++)
        put_one(out, name, (struct label){"outcome", names[k]}, s->figures.attempts[k]);
}

static void put_schedule_runs_total(struct buf *out, const char *name,
                                    const struct ops_snapshot *s) {
    const struct core_figures *f = &s->figures;
    put_one(out, name, (struct label){"outcome", "submitted"}, f->schedule_runs);
    put_one(out, name, (struct label){"outcome", "skipped"}, f->schedule_skipped);
    put_one(out, name, (struct label){"outcome", "missed"}, f->schedule_missed);
    put_one(out, name, (struct label){"outcome", "refused"}, f->schedule_refused);
}

static void put_workers(struct buf *out, const char *name, const struct ops_snapshot *s) {
    put_one(out, name, (struct label){"state", "active"}, s->figures.workers_active);
    put_one(out, name, (struct label){"state", "draining"}, s->figures.workers_draining);
    put_one(out, name, (struct label){"state", "stuck"}, s->figures.workers_stuck);
}

#define ROOMS 4
static const char *const room_names[ROOMS] = {"enough", "reserve", "none", "read_only"};

static unsigned room_of(const struct ops_snapshot *s) {
    switch (s->journal.room) {
    case JOURNAL_RESERVE:
        return 1;
    case JOURNAL_NONE:
        return 2;
    case JOURNAL_READ_ONLY:
        return 3;
    case JOURNAL_ROOM:
    case JOURNAL_BUSY: /* for a moment */
        break;
    }
    return 0;
}

static void put_journal_room(struct buf *out, const char *name, const struct ops_snapshot *s) {
    for (unsigned k = 0; k < ROOMS; k++)
        put_one(out, name, (struct label){"room", room_names[k]}, room_of(s) == k);
}

static void put_commit_seconds(struct buf *out, const char *name, const struct ops_snapshot *s) {
    put_histogram(out, name, NULL, &s->journal.commit_us);
}

/* ---- the page -------------------------------------------------------------------------------- */
#define VALUE_ONE(out, value) buf_printf(out, "%" PRIu64 "\n", (uint64_t)(value))
#define VALUE_MS(out, value)  (put_seconds(out, (value)*1000), (void)buf_putc(out, '\n'))

/* A function each, of one name and shape for both kinds of rows. */
#define METRIC(name, type, unit, value, doc, advice)                                               \
    static void put_##name(struct buf *out, const char *called, const struct ops_snapshot *s) {    \
        put_name(out, called, NULL, 0);                                                            \
        buf_putc(out, ' ');                                                                        \
        VALUE_##unit(out, value);                                                                  \
    }
#include "schemas/metrics.def"

static void (*const writers[])(struct buf *out, const char *name, const struct ops_snapshot *s) = {
#define METRIC(name, type, unit, value, doc, advice) put_##name,
#define METRIC_BY(name, type, labels, doc, advice)   put_##name,
#include "schemas/metrics.def"
};

const struct metric_row *metric_rows(void) {
    static const struct metric_row rows[] = {
#define METRIC(name, type, unit, value, doc, advice) {#name, #type, "", doc, advice},
#define METRIC_BY(name, type, labels, doc, advice)   {#name, #type, labels, doc, advice},
#include "schemas/metrics.def"
        {NULL, NULL, NULL, NULL, NULL},
    };
    return rows;
}

void metrics_write(struct buf *out, const struct ops_snapshot *s) {
    const struct metric_row *rows = metric_rows();
    for (size_t i = 0; i < sizeof writers / sizeof *writers; i++) {
        put_head(out, rows[i].name, rows[i].type, rows[i].doc);
        writers[i](out, rows[i].name, s);
    }
}

/* ---- health ---------------------------------------------------------------------------------- */
static void put_json(struct buf *out, const char *text) {
    bool utf8 = str_is_utf8(str_of(text));
    buf_putc(out, '"');
    for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
        if (*at < 0x20 || *at == '"' || *at == '\\')
            buf_printf(out, "\\u%04x", *at);
        else if (*at < 0x80 || utf8)
            buf_putc(out, (char)*at);
        else /* a name of a file, which may be in any encoding */
            buf_putc(out, '?');
    }
    buf_putc(out, '"');
}

void health_write(struct buf *out, const struct ops_snapshot *s) {
    const uint64_t *n = s->core.by_state;
    buf_printf(out, "{\"state\": \"%s\", \"version\": ", state_names[s->state]);
    put_json(out, s->version ? s->version : "");
    if (s->state != OPS_STARTING) {
        buf_printf(out, ", \"epoch\": %" PRIu64 ", \"uptime_ms\": %" PRIu64, s->epoch,
                   s->uptime_ms);
        buf_printf(out, ", \"journal_room\": \"%s\"", room_names[room_of(s)]);
        buf_printf(out,
                   ", \"jobs\": {\"ready\": %" PRIu64 ", \"scheduled\": %" PRIu64
                   ", \"blocked\": %" PRIu64 ", \"running\": %" PRIu64 ", \"dead\": %" PRIu64 "}",
                   n[JOB_ready] + n[JOB_NONE], n[JOB_scheduled], n[JOB_blocked],
                   n[JOB_running] + n[JOB_cancelling], s->core.kept_dead);
        buf_printf(out, ", \"workers\": %" PRIu32, s->core.workers);
    }
    buf_printf(out, ", \"trouble\": ");
    put_json(out, *s->why ? s->why : s->trouble);
    buf_printf(out, "}\n");
}
