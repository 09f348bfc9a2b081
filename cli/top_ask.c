#include "cli/top_ask.h"

#include "cli/out.h"
#include "common/base/check.h"
#include "common/base/id.h"
#include "common/os/clock.h"
#include "schemas/states.h"

#define PAGE 256 /* jobs that run, of one page */

static const struct {
    enum verb verb;
    bool operators; /* only they may ask */
} questions[TOP_PARTS] = {
    [TOP_BROKER] = {VERB_get_status, false},        [TOP_QUEUES] = {VERB_list_queues, false},
    [TOP_POOLS] = {VERB_list_pools, true},          [TOP_WORKERS] = {VERB_list_workers, true},
    [TOP_RUNNING] = {VERB_list_jobs, false},        [TOP_DEAD] = {VERB_list_dead, false},
    [TOP_SCHEDULES] = {VERB_list_schedules, false},
};

/* ---- answers -------------------------------------------------------------------------------- */
static void fail(struct top_asks *a, const struct err *e) {
    if (!a->failed)
        a->err = *e;
    a->failed = true;
}

static void on_reply(void *ctx, const struct client_reply *r) {
    struct top_asking *p = ctx;
    struct err e = {0};
    if (r->end) {
        p->all->under_way--;
        if (r->err->code)
            fail(p->all, r->err);
        return;
    }
    json_t *row = r->message
                      ? json_bridge_of_message(msg_def(verb_def(r->verb)->message), r->message, &e)
                      : NULL;
    if (row)
        json_array_append_new(p->rows, row);
    else if (e.code)
        fail(p->all, &e);
}

/* ---- a round -------------------------------------------------------------------------------- */
void top_asks_init(struct top_asks *a, struct cli *c) {
    *a = (struct top_asks){.c = c, .found = json_array()};
    for (enum top_part part = 0; part < TOP_PARTS; part++)
        a->parts[part] = (struct top_asking){.all = a, .part = part};
}

static int ask(struct top_asks *a, enum top_part part, struct err *e) {
    struct top_asking *p = &a->parts[part];
    union msg_any m = {0};
    if (questions[part].operators && a->c->role != ROLE_OPERATOR)
        return 0;
    struct msg_list_jobs jobs = {0};
    MSG_SET(&jobs, list_jobs, state, (uint64_t)JOB_running);
    MSG_SET(&jobs, list_jobs, limit, PAGE);
    if (a->before)
        MSG_SET(&jobs, list_jobs, before, a->before);
    if (part == TOP_RUNNING)
        m.list_jobs = jobs;
    json_decref(p->rows);
    p->rows = json_array();
    if (client_request(a->c->client, questions[part].verb, &CLIENT_ITEM(&m, STR("")), 1, on_reply,
                       p, cli_deadline(TOP_ANSWER_MS), e) < 0)
        return -1;
    a->under_way++;
    return 0;
}

int top_asks_begin(struct top_asks *a, struct err *e) {
    ASSERT(top_asks_over(a));
    a->failed = false;
    for (enum top_part part = 0; part < TOP_PARTS; part++)
        if (ask(a, part, e) < 0)
            return -1;
    return 0;
}

bool top_asks_over(const struct top_asks *a) {
    return !a->under_way;
}

/* ---- after it ------------------------------------------------------------------------------- */
/* An item without an id ends the page: where the next one begins, or that there is none. */
static void take_page(struct top_asks *a, const json_t *rows) {
    a->before = 0;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        json_t *row = json_array_get(rows, i);
        if (out_text(row, "id")[0])
            json_array_append(a->found, row);
        else
            id_parse(str_of(out_text(row, "next")), &a->before);
    }
}

/* What was found before the last page is found is shown until all is. */
static void take_running(struct top_asks *a, struct top_model *m, json_t *rows) {
    take_page(a, rows);
    bool whole = !a->before;
    if (whole || !m->rows[TOP_RUNNING] ||
        json_array_size(a->found) > json_array_size(m->rows[TOP_RUNNING]))
        top_take(m, TOP_RUNNING, json_copy(a->found));
    if (whole)
        json_array_clear(a->found);
}

/* The end of the list stands in it. */
static json_t *without_end(json_t *rows) {
    for (size_t i = json_array_size(rows); i-- > 0;)
        if (!out_text(json_array_get(rows, i), "id")[0])
            json_array_remove(rows, i);
    return json_incref(rows);
}

int top_asks_take(struct top_asks *a, struct top_model *m, struct err *e) {
    if (a->failed) {
        *e = a->err;
        return -1;
    }
    for (enum top_part part = 0; part < TOP_PARTS; part++) {
        json_t *rows = a->parts[part].rows;
        if (part == TOP_RUNNING)
            take_running(a, m, rows);
        else
            top_take(m, part, part == TOP_DEAD ? without_end(rows) : json_incref(rows));
    }
    top_taken(m, clock_mono());
    return 0;
}

void top_asks_done(struct top_asks *a) {
    for (enum top_part part = 0; part < TOP_PARTS; part++)
        json_decref(a->parts[part].rows);
    json_decref(a->found);
}
