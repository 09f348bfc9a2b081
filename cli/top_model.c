#include "cli/top_model.h"

#include "cli/out.h"
#include "common/base/mem.h"

#include <string.h>

const char *const top_part_names[TOP_PARTS] = {"broker",  "queues", "pools",    "workers",
                                               "running", "dead",   "schedules"};
const char *const top_sort_names[TOP_SORTS] = {"trouble", "ready", "oldest", "rate", "name"};

/* ---- taking --------------------------------------------------------------------------------- */
void top_take(struct top_model *m, enum top_part part, json_t *rows) {
    json_decref(m->rows[part]);
    m->rows[part] = rows;
}

static json_t *broker_of(const struct top_model *m) {
    return json_array_get(m->rows[TOP_BROKER], 0);
}

static json_t *counters_of(const json_t *queues) {
    json_t *all = json_object();
    for (size_t i = 0; i < json_array_size(queues); i++) {
        const json_t *row = json_array_get(queues, i);
        json_t *two = json_array();
        json_array_append(two, json_object_get(row, "entered"));
        json_array_append(two, json_object_get(row, "ended"));
        json_object_set_new(all, out_text(row, "name"), two);
    }
    return all;
}

static void forget(struct top_model *m, size_t n) {
    for (size_t i = 0; i < n; i++) {
        json_decref(m->samples[i].broker);
        json_decref(m->samples[i].queues);
    }
    m->n_samples -= n;
    memmove(m->samples, m->samples + n, m->n_samples * sizeof *m->samples);
}

void top_taken(struct top_model *m, struct mono at) {
    m->at = at;
    const struct top_sample *last = m->n_samples ? &m->samples[m->n_samples - 1] : NULL;
    /* Another life of the broker counts from 0. */
    if (last && out_field(last->broker, "epoch") != out_field(broker_of(m), "epoch"))
        forget(m, m->n_samples);
    else if (last && at.ms - last->at.ms < TOP_APART_MS)
        return;
    if (!broker_of(m))
        return;
    if (m->n_samples == TOP_SAMPLES)
        forget(m, 1);
    m->samples[m->n_samples++] = (struct top_sample){
        .at = at, .broker = json_incref(broker_of(m)), .queues = counters_of(m->rows[TOP_QUEUES])};
}

void top_done(struct top_model *m) {
    for (size_t i = 0; i < TOP_PARTS; i++)
        top_take(m, (enum top_part)i, NULL);
    forget(m, m->n_samples);
}

/* ---- rates ---------------------------------------------------------------------------------- */
/* What rates are held against; NULL: there is only now. */
static const struct top_sample *base_of(const struct top_model *m) {
    const struct top_sample *base = NULL;
    for (size_t i = 0; i < m->n_samples; i++) {
        const struct top_sample *s = &m->samples[i];
        if (s->at.ms < m->at.ms && (!base || m->at.ms - s->at.ms >= TOP_RATE_MS))
            base = s;
    }
    return base;
}

/* Nothing where a counter has begun anew. */
static void put_rate(json_t *row, const char *key, uint64_t now, uint64_t then, uint64_t ms) {
    if (now >= then && ms)
        json_object_set_new(row, key, json_real((double)(now - then) * 1000.0 / (double)ms));
}

static uint64_t ended_of(const json_t *s) {
    return out_field(s, "done") + out_field(s, "dead") + out_field(s, "cancelled") +
           out_field(s, "expired");
}

static json_t *broker_rates(const json_t *now, const json_t *then, uint64_t ms) {
    static const char *const keys[] = {"submitted",           "dead",           "commits",
                                       "stream_events",       "stream_refused", "stream_refills",
                                       "connections_refused", "malformed"};
    json_t *rates = json_object();
    put_rate(rates, "ended", ended_of(now), ended_of(then), ms);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (json_object_get(now, keys[i]))
            put_rate(rates, keys[i], out_field(now, keys[i]), out_field(then, keys[i]), ms);
    /* Of one processor: milliseconds in a second are thousandths. */
    if (json_object_get(now, "cpu_ms"))
        put_rate(rates, "cpu", out_field(now, "cpu_ms"), out_field(then, "cpu_ms"), ms * 1000);
    return rates;
}

static void put_broker(json_t *view, const struct top_model *m) {
    json_t *broker = json_copy(broker_of(m));
    if (!broker)
        return;
    const char *state = out_flag(broker, "read_only") ? "read_only"
                        : out_flag(broker, "full")    ? "full"
                                                      : "serving";
    json_object_set_new(broker, "state", json_string(state));
    const struct top_sample *base = base_of(m);
    if (base)
        json_object_set_new(broker, "rates",
                            broker_rates(broker, base->broker, m->at.ms - base->at.ms));
    json_object_set_new(view, "broker", broker);
}

static void put_queue_rates(json_t *queue, const struct top_sample *base, uint64_t ms) {
    if (!base || !json_object_get(queue, "entered"))
        return;
    /* One that was not there then has begun since. */
    const json_t *then = json_object_get(base->queues, out_text(queue, "name"));
    put_rate(queue, "in_rate", out_field(queue, "entered"),
             (uint64_t)json_integer_value(json_array_get(then, 0)), ms);
    put_rate(queue, "out_rate", out_field(queue, "ended"),
             (uint64_t)json_integer_value(json_array_get(then, 1)), ms);
}

/* ---- what belongs together ------------------------------------------------------------------ */
/* What the processes of a pool use is known of each of them. */
static void put_pool_memory(json_t *pool, const json_t *workers) {
    uint64_t rss = 0;
    for (size_t i = 0; i < json_array_size(workers); i++) {
        const json_t *worker = json_array_get(workers, i);
        if (strcmp(out_text(worker, "pool"), out_text(pool, "name")) == 0)
            rss += out_field(worker, "rss_bytes");
    }
    json_object_set_new(pool, "rss_bytes", json_integer((json_int_t)rss));
}

/* How long ago that was, or how long it is until then. */
static void put_between(json_t *row, const char *key, const char *of, bool ahead, struct wall now) {
    uint64_t at = out_field(row, of), from = ahead ? now.ms : at, to = ahead ? at : now.ms;
    if (at)
        json_object_set_new(row, key, json_integer(to > from ? (json_int_t)(to - from) : 0));
}

/* Copies: the model's own rows are as they were answered. */
static json_t *copy_rows(const struct top_model *m, enum top_part part, struct wall now) {
    if (!m->rows[part])
        return json_null();
    json_t *copy = json_array();
    const struct top_sample *base = base_of(m);
    for (size_t i = 0; i < json_array_size(m->rows[part]); i++) {
        json_t *row = json_copy(json_array_get(m->rows[part], i));
        if (part == TOP_QUEUES)
            put_queue_rates(row, base, base ? m->at.ms - base->at.ms : 0);
        if (part == TOP_POOLS)
            put_pool_memory(row, m->rows[TOP_WORKERS]);
        if (part == TOP_RUNNING)
            put_between(row, "age_ms", "started_ms", false, now);
        if (part == TOP_DEAD)
            put_between(row, "last_age_ms", "last_ms", false, now);
        if (part == TOP_SCHEDULES)
            put_between(row, "next_in_ms", "next_ms", true, now);
        json_array_append_new(copy, row);
    }
    return copy;
}

/* ---- sorting -------------------------------------------------------------------------------- */
struct ranked {
    json_t *row;
    double by[3]; /* more stands first */
    const char *name;
};

static double number(const json_t *row, const char *key) {
    return json_number_value(json_object_get(row, key));
}

/* What is asked for first, then what decides among equals. */
static struct ranked rank(json_t *row, enum top_part part, enum top_sort sort) {
    struct ranked r = {.row = row, .name = out_text(row, "name")};
    double level = top_level_of(row), ready = number(row, "ready"),
           oldest = number(row, "oldest_ms");
    double rate = number(row, "in_rate") + number(row, "out_rate");
    if (part == TOP_RUNNING)
        r = (struct ranked){row, {number(row, "age_ms"), 0, 0}, out_text(row, "id")};
    else if (part == TOP_WORKERS)
        r = (struct ranked){row, {level, number(row, "held"), 0}, out_text(row, "instance")};
    else if (part == TOP_DEAD)
        r = (struct ranked){row, {number(row, "last_ms"), 0, 0}, out_text(row, "group")};
    else if (part == TOP_SCHEDULES && sort != TOP_BY_NAME) /* one that is never due stands last */
        r.by[0] = number(row, "next_ms") > 0 ? -number(row, "next_ms") : -1e18;
    else if (part == TOP_POOLS && sort != TOP_BY_NAME)
        r.by[0] = level;
    else if (part == TOP_QUEUES && sort == TOP_BY_TROUBLE)
        memcpy(r.by, (double[]){level, oldest, ready + number(row, "running")}, sizeof r.by);
    else if (part == TOP_QUEUES && sort == TOP_BY_READY)
        memcpy(r.by, (double[]){ready, oldest, 0}, sizeof r.by);
    else if (part == TOP_QUEUES && sort == TOP_BY_OLDEST)
        memcpy(r.by, (double[]){oldest, ready, 0}, sizeof r.by);
    else if (part == TOP_QUEUES && sort == TOP_BY_RATE)
        memcpy(r.by, (double[]){rate, ready, 0}, sizeof r.by);
    return r;
}

static int compare(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    for (size_t i = 0; i < 3; i++)
        if (x->by[i] < y->by[i] || x->by[i] > y->by[i])
            return x->by[i] > y->by[i] ? -1 : 1;
    return strcmp(x->name, y->name);
}

static void sort_rows(json_t *view, enum top_part part, enum top_sort sort) {
    json_t *rows = json_object_get(view, top_part_names[part]);
    size_t n = json_array_size(rows);
    if (n < 2)
        return;
    struct ranked *all = mem_alloc(n * sizeof *all);
    for (size_t i = 0; i < n; i++)
        all[i] = rank(json_array_get(rows, i), part, sort);
    qsort(all, n, sizeof *all, compare);
    json_t *sorted = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append(sorted, all[i].row);
    json_object_set_new(view, top_part_names[part], sorted);
    mem_free(all);
}

/* ---- the view ------------------------------------------------------------------------------- */
json_t *top_view(const struct top_model *m, enum top_sort sort, struct wall now) {
    json_t *view = json_object();
    json_object_set_new(view, "at_ms", json_integer((json_int_t)now.ms));
    put_broker(view, m);
    for (enum top_part part = TOP_QUEUES; part < TOP_PARTS; part++)
        json_object_set_new(view, top_part_names[part], copy_rows(m, part, now));
    sort_rows(view, TOP_QUEUES, TOP_BY_OLDEST); /* troubles are told in the order of the rows */
    sort_rows(view, TOP_DEAD, TOP_BY_TROUBLE);
    top_judge(view, now);
    for (enum top_part part = TOP_QUEUES; part < TOP_PARTS; part++)
        sort_rows(view, part, sort);
    return view;
}
