#include "cli/job_text.h"

#include "cli/family.h"
#include "cli/history.h"
#include "cli/out.h"
#include "common/os/clock.h"

#include <inttypes.h>

static void line(struct buf *out, const char *name, struct str text) {
    buf_printf(out, "  %-11s ", name);
    out_clean(out, text);
    buf_putc(out, '\n');
}

static void text_line(struct buf *out, const json_t *job, const char *name) {
    if (out_text(job, name)[0])
        line(out, name, str_of(out_text(job, name)));
}

static void time_line(struct buf *out, const json_t *job, const char *name, const char *key) {
    if (!out_field(job, key))
        return;
    AUTO_BUF text = BUF(256);
    out_time_and_age(&text, out_field(job, key), clock_wall());
    line(out, name, buf_str(&text));
}

static void duration_line(struct buf *out, const json_t *job, const char *name, const char *key) {
    if (!out_field(job, key))
        return;
    AUTO_BUF text = BUF(64);
    out_duration(&text, out_field(job, key));
    line(out, name, buf_str(&text));
}

static void attempts_line(struct buf *out, const json_t *job) {
    AUTO_BUF text = BUF(256);
    buf_printf(&text, "%" PRIu64, out_field(job, "attempts"));
    if (out_field(job, "attempts_max"))
        buf_printf(&text, " of %" PRIu64 " attempts", out_field(job, "attempts_max"));
    if (out_field(job, "crashes"))
        buf_printf(&text, "; its worker process ended %" PRIu64 " times while it ran",
                   out_field(job, "crashes"));
    line(out, "failed", buf_str(&text));
}

static void progress_line(struct buf *out, const json_t *job) {
    uint64_t done = out_field(job, "progress"), total = out_field(job, "progress_total");
    if (!done && !total)
        return;
    AUTO_BUF text = BUF(128);
    buf_printf(&text, "%" PRIu64, done);
    if (total)
        buf_printf(&text, " of %" PRIu64 " (%.0f%%)", total, 100.0 * (double)done / (double)total);
    line(out, "progress", buf_str(&text));
}

static void error_line(struct buf *out, const json_t *job) {
    if (!json_object_get(job, "error"))
        return;
    AUTO_BUF text = BUF(8192);
    if (out_text(job, "error")[0])
        buf_printf(&text, "%s: %s", out_text(job, "error"), out_text(job, "text"));
    else
        buf_printf(&text, "%" PRIu64 ": %s", out_field(job, "error"), out_text(job, "text"));
    line(out, "error", buf_str(&text));
}

static void json_line(struct buf *out, const json_t *job, const char *name) {
    const json_t *value = json_object_get(job, name);
    AUTO_BUF text = BUF(JOB_TEXT_MAX);
    if (value && json_bridge_print(value, &text) == 0)
        line(out, name, buf_str(&text));
}

/* What happens with it, in one sentence. */
static void sentence(struct buf *out, const json_t *job) {
    const char *state = out_text(job, "state"), *id = out_text(job, "id");
    struct wall now = clock_wall();
    uint64_t due = out_field(job, "due_ms"), started = out_field(job, "started_ms");
    uint64_t ended = out_field(job, "ended_ms");
    buf_printf(out, "job %s: %s", id, state);
    if (strcmp(state, "scheduled") == 0 && due > now.ms) {
        buf_printf(out, ", %s in ", out_field(job, "attempts") ? "tried again" : "due");
        out_duration(out, due - now.ms);
    } else if (strcmp(state, "ready") == 0 || strcmp(state, "blocked") == 0) {
        buf_printf(out, "; quern why %s says what it waits for", id);
    } else if ((strcmp(state, "running") == 0 || strcmp(state, "cancelling") == 0) && started) {
        buf_put_str(out, STR(" for "));
        out_duration(out, now.ms > started ? now.ms - started : 0);
    } else if (strcmp(state, "done") == 0 && ended > started && started) {
        buf_put_str(out, STR(", the last attempt took "));
        out_duration(out, ended - started);
    } else if (strcmp(state, "dead") == 0) {
        buf_printf(out, "; quern retry %s runs it again", id);
    }
    buf_putc(out, '\n');
}

static void flow_lines(struct buf *out, const json_t *job) {
    uint64_t below = out_field(job, "below"), done = out_field(job, "below_done");
    const char *const keys[] = {"below_dead", "below_cancelled", "below_expired"};
    text_line(out, job, "parent");
    text_line(out, job, "root");
    if (out_flag(job, "then"))
        line(out, "then", STR("it waits for its parent and all below that but itself"));
    if (out_flag(job, "fail_fast"))
        line(out, "fail fast", STR("the first failure of its flow cancels the rest"));
    if (!below)
        return;
    AUTO_BUF text = BUF(256);
    buf_printf(&text, "%" PRIu64 " jobs below it, %" PRIu64 " done", below, done);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (out_field(job, keys[i]))
            buf_printf(&text, ", %" PRIu64 " %s", out_field(job, keys[i]),
                       strchr(keys[i], '_') + 1);
    buf_put_str(&text, out_flag(job, "settled") ? STR("; all has ended") : STR(""));
    if (out_text(job, "flow_error")[0])
        buf_printf(&text, "; %s: the rest is cancelled", out_text(job, "flow_error"));
    line(out, "flow", buf_str(&text));
}

static void schedule_line(struct buf *out, const json_t *job) {
    AUTO_BUF text = BUF(512);
    if (!out_text(job, "schedule")[0])
        return;
    buf_printf(&text, "%s, ", out_text(job, "schedule"));
    if (out_field(job, "schedule_due_ms")) {
        buf_put_str(&text, STR("due "));
        out_time(&text, out_field(job, "schedule_due_ms"));
    } else {
        buf_put_str(&text, STR("by quern schedule run"));
    }
    line(out, "schedule", buf_str(&text));
}

void job_put(struct buf *out, const json_t *job) {
    sentence(out, job);
    text_line(out, job, "kind");
    text_line(out, job, "queue");
    text_line(out, job, "tenant");
    AUTO_BUF priority = BUF(32);
    put_number(&priority, job, "priority");
    line(out, "priority", buf_str(&priority));
    attempts_line(out, job);
    error_line(out, job);
    history_print(out, job);
    text_line(out, job, "group");
    text_line(out, job, "worker");
    progress_line(out, job);
    time_line(out, job, "submitted", "created_ms");
    time_line(out, job, "due", "due_ms");
    time_line(out, job, "started", "started_ms");
    time_line(out, job, "ended", "ended_ms");
    text_line(out, job, "key");
    text_line(out, job, "unique");
    text_line(out, job, "trace");
    duration_line(out, job, "ttl", "ttl_ms");
    duration_line(out, job, "timeout", "timeout_ms");
    text_line(out, job, "durability");
    flow_lines(out, job);
    schedule_line(out, job);
    json_line(out, job, "payload");
    json_line(out, job, "result");
    family_put(out, job);
}
