/* What is wrong: of each row of a view, and as sentences, the worst first. */
#include "cli/out.h"
#include "cli/top_model.h"

#include <inttypes.h>
#include <string.h>

const char *const top_level_names[] = {"", "note", "warn", "bad"};

enum top_level top_level_of(const json_t *row) {
    const char *name = out_text(row, "level");
    for (enum top_level level = TOP_NOTE; level <= TOP_BAD; level++)
        if (strcmp(name, top_level_names[level]) == 0)
            return level;
    return TOP_FINE;
}

/* ---- telling -------------------------------------------------------------------------------- */
struct troubles {
    json_t *by_level[TOP_BAD + 1];
    size_t n;
};

/* `row`: gets the level, and `state`, a word or two of it; may be NULL. */
static void mark(json_t *row, enum top_level level, const char *state) {
    if (level)
        json_object_set_new(row, "level", json_string(top_level_names[level]));
    if (state && *state)
        json_object_set_new(row, "trouble", json_string(state));
}

static void tell(struct troubles *t, enum top_level level, const char *what, const char *name,
                 const struct buf *text) {
    t->n++;
    if (json_array_size(t->by_level[level]) >= TOP_TROUBLES)
        return;
    json_t *line =
        json_pack("{s:s, s:s, s:s, s:o}", "level", top_level_names[level], "what", what, "name",
                  name, "text", json_stringn(text->at ? text->at : "", text->len));
    if (line)
        json_array_append_new(t->by_level[level], line);
}

static double rate_of(const json_t *broker, const char *key) {
    return json_number_value(json_object_get(json_object_get(broker, "rates"), key));
}

/* ---- the broker ----------------------------------------------------------------------------- */
static void judge_broker(struct troubles *t, json_t *broker) {
    AUTO_BUF text = BUF(8192);
    const char *why = out_text(broker, "text");
    bool refuses = strcmp(out_text(broker, "state"), "serving") != 0;
    if (out_flag(broker, "read_only"))
        buf_put_str(&text, STR("read-only: nothing new is accepted"));
    else if (out_flag(broker, "full"))
        buf_put_str(&text, STR("full: new jobs are refused"));
    if (*why)
        buf_printf(&text, "%s%s", text.len ? ": " : "", why);
    if (text.len)
        tell(t, refuses ? TOP_BAD : TOP_WARN, "broker", "", &text);
}

/* Counters of what should not happen, while they rise. */
static void judge_rates(struct troubles *t, const json_t *broker) {
    static const struct {
        const char *key, *text;
    } rising[] = {
        {"connections_refused", "connections are turned away"},
        {"stream_refused", "messages of streams are dropped"},
        {"stream_refills", "parts of streams were lost and are asked for again"},
        {"malformed", "messages of peers cannot be read"},
    };
    for (size_t i = 0; i < sizeof rising / sizeof rising[0]; i++) {
        if (rate_of(broker, rising[i].key) <= 0)
            continue;
        AUTO_BUF text = BUF(256);
        buf_put_str(&text, str_of(rising[i].text));
        tell(t, TOP_WARN, "broker", "", &text);
    }
}

/* ---- queues --------------------------------------------------------------------------------- */
static bool at_limit(const json_t *q) {
    uint64_t most = out_field(q, "concurrency");
    return (most && out_field(q, "running") >= most) || out_field(q, "rate_count");
}

static void put_waiting(struct buf *text, const json_t *q) {
    buf_printf(text, "%" PRIu64 " ready, the oldest since ", out_field(q, "ready"));
    out_duration(text, out_field(q, "oldest_ms"));
}

static void judge_queue(struct troubles *t, json_t *q) {
    AUTO_BUF text = BUF(512);
    bool paused = out_flag(q, "paused");
    uint64_t ready = out_field(q, "ready"), oldest = ready ? out_field(q, "oldest_ms") : 0;
    enum top_level level = out_field(q, "dead") ? TOP_NOTE : TOP_FINE;
    const char *state = "";
    if (paused) {
        state = "paused";
        level = ready ? TOP_BAD : TOP_WARN;
        buf_put_str(&text, ready ? STR("paused; ") : STR("paused"));
    } else if (oldest >= TOP_WAIT_MS) {
        /* Behind a limit jobs wait because somebody wants it so. */
        state = at_limit(q) ? "at its limit" : out_field(q, "running") ? "behind" : "stands still";
        level = oldest >= TOP_STUCK_MS && !at_limit(q) ? TOP_BAD : TOP_WARN;
        buf_printf(&text, "%s; ", state);
    }
    if (text.len && ready)
        put_waiting(&text, q);
    mark(q, level, state);
    if (text.len)
        tell(t, level, "queue", out_text(q, "name"), &text);
}

/* ---- pools, workers ------------------------------------------------------------------------- */
static void judge_pool(struct troubles *t, json_t *p) {
    uint64_t alive = out_field(p, "alive"), wanted = out_field(p, "processes");
    const char *why = out_text(p, "text");
    if (alive >= wanted && !*why)
        return;
    AUTO_BUF text = BUF(2048);
    if (alive < wanted)
        buf_printf(&text, "%" PRIu64 " of %" PRIu64 " processes are there", alive, wanted);
    if (*why)
        buf_printf(&text, "%s%s", text.len ? ": " : "", why);
    /* While one is being started there is nothing to say about it. */
    enum top_level level = *why || !alive ? TOP_BAD : TOP_WARN;
    mark(p, level, NULL);
    tell(t, level, "pool", out_text(p, "name"), &text);
}

static void judge_worker(struct troubles *t, json_t *w) {
    const char *state = out_text(w, "state");
    if (strcmp(state, "active") == 0)
        return;
    bool stuck = strcmp(state, "stuck") == 0;
    mark(w, stuck ? TOP_BAD : TOP_NOTE, NULL);
    if (!stuck)
        return;
    AUTO_BUF text = BUF(512);
    buf_printf(&text, "stuck: a job does not obey its cancel or timeout (pid %" PRIu64 " on %s)",
               out_field(w, "pid"), out_text(w, "host"));
    tell(t, TOP_BAD, "worker", out_text(w, "name"), &text);
}

/* ---- jobs that died, schedules -------------------------------------------------------------- */
static void judge_dead(struct troubles *t, json_t *group, struct wall now) {
    uint64_t last = out_field(group, "last_ms");
    bool recent = last && now.ms < last + TOP_RECENT_MS;
    mark(group, recent ? TOP_BAD : TOP_NOTE, NULL);
    if (!recent)
        return;
    AUTO_BUF text = BUF(8192);
    buf_printf(&text, "%" PRIu64 " dead, the last ", out_field(group, "count"));
    out_duration(&text, now.ms > last ? now.ms - last : 0);
    buf_printf(&text, " ago: %s", out_text(group, "error"));
    if (out_text(group, "text")[0])
        buf_printf(&text, ": %s", out_text(group, "text"));
    tell(t, TOP_BAD, "kind", out_text(group, "kind"), &text);
}

static void judge_schedule(struct troubles *t, json_t *s) {
    const char *why = out_text(s, "text");
    if (!*why) {
        mark(s, out_flag(s, "paused") ? TOP_NOTE : TOP_FINE, out_flag(s, "paused") ? "paused" : "");
        return;
    }
    AUTO_BUF text = BUF(8192);
    buf_printf(&text, "its last run was refused: %s", why);
    mark(s, TOP_WARN, "refused");
    tell(t, TOP_WARN, "schedule", out_text(s, "name"), &text);
}

/* ---- all of it ------------------------------------------------------------------------------ */
static void judge_rows(struct troubles *t, json_t *view, enum top_part part, struct wall now) {
    json_t *rows = json_object_get(view, top_part_names[part]);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        json_t *row = json_array_get(rows, i);
        if (part == TOP_POOLS)
            judge_pool(t, row);
        else if (part == TOP_WORKERS)
            judge_worker(t, row);
        else if (part == TOP_QUEUES)
            judge_queue(t, row);
        else if (part == TOP_DEAD)
            judge_dead(t, row, now);
        else if (part == TOP_SCHEDULES)
            judge_schedule(t, row);
    }
}

void top_judge(json_t *view, struct wall now) {
    static const enum top_part order[] = {TOP_POOLS, TOP_WORKERS, TOP_QUEUES, TOP_DEAD,
                                          TOP_SCHEDULES};
    struct troubles t = {.n = 0};
    for (enum top_level level = TOP_NOTE; level <= TOP_BAD; level++)
        t.by_level[level] = json_array();
    judge_broker(&t, json_object_get(view, "broker"));
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++)
        judge_rows(&t, view, order[i], now);
    judge_rates(&t, json_object_get(view, "broker"));
    json_t *told = json_array();
    for (enum top_level level = TOP_BAD; level >= TOP_NOTE; level--) {
        size_t room = TOP_TROUBLES - json_array_size(told);
        for (size_t i = 0; i < json_array_size(t.by_level[level]) && i < room; i++)
            json_array_append(told, json_array_get(t.by_level[level], i));
        json_decref(t.by_level[level]);
    }
    json_object_set_new(view, "trouble", told);
    json_object_set_new(view, "troubles", json_integer((json_int_t)t.n));
}
