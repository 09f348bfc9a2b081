#include "tests/unit/core_world.h"

#include "common/base/mem.h"

/* ---- effects -----------------------------------------------------------------------------------
 */
static void keep_text_of(char *to, size_t room, struct str text) {
    assert_true(text.len < room);
    if (text.len)
        memcpy(to, text.at, text.len);
    to[text.len] = '\0';
}

/* The other texts of specifications are literals of the tests. */
static void keep_record(struct world *w, const struct record *r, uint64_t pos) {
    assert_true(w->n_journal < 256);
    struct kept_record *k = &w->journal[w->n_journal++];
    *k = (struct kept_record){.pos = pos, .state = *r->state, .has_spec = r->spec != NULL};
    if (r->spec)
        k->spec = *r->spec;
    if (r->spec && r->spec->trace.len) {
        keep_text_of(k->trace, sizeof k->trace, r->spec->trace);
        k->spec.trace = str_of(k->trace);
    }
    assert_true(r->state->text.len < sizeof k->text);
    if (r->state->text.len)
        memcpy(k->text, r->state->text.at, r->state->text.len);
    k->state.text = str_make(k->text, r->state->text.len);
    assert_true(r->state->history.len < sizeof k->history);
    if (r->state->history.len)
        memcpy(k->history, r->state->history.at, r->state->history.len);
    k->state.history = str_make(k->history, r->state->history.len);
}

/* Every turn is durable as a whole here. */
static void on_group(void *ctx, uint32_t bytes) {
    (void)ctx, (void)bytes;
}

static uint64_t on_append(void *ctx, const struct record *r, uint32_t *bytes) {
    struct world *w = ctx;
    if (r->type == REC_QUEUE)
        w->version = ((const struct msg_rec_queue *)r->other)->version;
    *bytes = 100;
    w->records++;
    w->appended[r->type]++;
    if (r->type == REC_KIND) {
        w->kind = *(const struct msg_rec_kind *)r->other;
        w->kind.kind = w->kind.queue = w->kind.schema = (struct str){0};
    }
    w->pos += 100;
    if (w->journaled && r->state)
        keep_record(w, r, w->pos - 100);
    if (w->journaled && r->type == REC_FLOW) {
        assert_true(w->n_flows < 64);
        w->flow_pos[w->n_flows] = w->pos - 100;
        w->flows[w->n_flows++] = *(const struct msg_rec_flow *)r->other;
    }
    return w->pos - 100;
}

static void on_release(void *ctx, uint64_t pos, uint32_t bytes) {
    struct world *w = ctx;
    assert_true(w->records > 0);
    w->records--;
    (void)pos;
    (void)bytes;
}

/* A job that waits for its time has no body in memory: it is read back in the next turn. */
static void on_load(void *ctx, uint64_t pos, uint32_t bytes, uint64_t token) {
    struct world *w = ctx;
    (void)bytes;
    assert_true(w->n_loads < 8192);
    w->load_pos[w->n_loads] = pos;
    w->loads[w->n_loads++] = token;
}

static void give_kept(struct world *w, uint64_t token, uint64_t pos) {
    for (uint32_t k = 0; k < w->n_journal; k++) {
        struct kept_record *row = &w->journal[k];
        if (row->pos != pos)
            continue;
        struct record r = {.type = row->has_spec ? REC_JOB : REC_STATE,
                           .state = &row->state,
                           .spec = row->has_spec ? &row->spec : NULL};
        core_loaded(w->core, token, &r);
        return;
    }
    fail_msg("a record that is not there is read");
}

void world_give_loads(struct world *w) {
    struct msg_rec_spec spec = {0};
    MSG_SET(&spec, rec_spec, kind, STR("k"));
    MSG_SET(&spec, rec_spec, queue, STR("k"));
    MSG_SET(&spec, rec_spec, tenant, STR("default"));
    if (w->unique.len)
        MSG_SET(&spec, rec_spec, unique, w->unique);
    struct msg_rec_state state = {0};
    struct record r = {.type = REC_JOB, .state = &state, .spec = &spec};
    while (w->n_loads) {
        uint64_t token = w->loads[--w->n_loads];
        if (w->journaled)
            give_kept(w, token, w->load_pos[w->n_loads]);
        else
            core_loaded(w->core, token, &r);
    }
}

static void keep_text(struct world *w, struct str text) {
    size_t len = text.len < sizeof w->text - 1 ? text.len : sizeof w->text - 1;
    if (len)
        memcpy(w->text, text.at, len);
    w->text[len] = '\0';
}

static void keep_queue(struct world *w, const struct msg_queue_info *m) {
    w->queue = *m;
    memcpy(w->tenant, m->tenant.len ? m->tenant.at : "", m->tenant.len);
    w->tenant[m->tenant.len] = '\0';
}

static void keep_dead(struct world *w, struct seen *s, const struct msg_dead_info *m) {
    s->code = m->code;
    s->id = m->id;
    s->next = m->next;
    assert_true(w->n_dead < 64);
    memcpy(w->dead_text[w->n_dead], m->text.len ? m->text.at : "", m->text.len);
    w->dead_text[w->n_dead][m->text.len] = '\0';
    w->dead[w->n_dead] = *m;
    w->n_dead += m->id != 0;
}

static void keep_note(struct seen *s, const struct msg_note_info *m) {
    s->id = m->version;
    s->holder = m->behind;
    s->state = m->left_ms;
    memcpy(s->text, m->name.at, m->name.len < 63 ? m->name.len : 63);
    if (m->value.len)
        memcpy(s->reason, m->value.at, m->value.len < 31 ? m->value.len : 31);
}

static void keep_answer(struct world *w, struct seen *s, const struct letter *l) {
    if (l->verb == VERB_why_info) {
        const struct msg_why_info *m = l->message;
        memcpy(s->reason, m->reason.at, m->reason.len);
        s->holder = m->holder;
        memcpy(s->text, m->text.at, m->text.len < 63 ? m->text.len : 63);
    } else if (l->verb == VERB_pool_plan) {
        const struct msg_pool_plan *m = l->message;
        memcpy(s->reason, m->pool.at, m->pool.len);
        s->state = m->processes;
    } else if (l->verb == VERB_pool_info && l->message) {
        const struct msg_pool_info *m = l->message;
        memcpy(s->reason, m->name.at, m->name.len);
    } else if (l->verb == VERB_dead_info) {
        keep_dead(w, s, l->message);
    } else if (l->verb == VERB_queue_info && l->message) {
        keep_queue(w, l->message);
    } else if (l->verb == VERB_status_info) {
        w->status = *(const struct msg_status_info *)l->message;
    } else if (l->verb == VERB_error) {
        s->code = ((const struct msg_error *)l->message)->code;
        keep_text(w, ((const struct msg_error *)l->message)->text);
    } else if (l->verb == VERB_outcome) {
        s->code = ((const struct msg_outcome *)l->message)->code;
        s->count = ((const struct msg_outcome *)l->message)->count;
        s->flow = ((const struct msg_outcome *)l->message)->flow;
        keep_text(w, ((const struct msg_outcome *)l->message)->text);
        s->id = ((const struct msg_outcome *)l->message)->version;
    } else if (l->verb == VERB_note_info && l->message) {
        keep_note(s, l->message);
    } else if (l->verb == VERB_job_info && l->message) {
        w->info = *(const struct msg_job_info *)l->message;
        keep_text_of(w->trace, sizeof w->trace, w->info.trace);
        assert_true(w->info.history.len < sizeof w->history);
        memcpy(w->history, w->info.history.len ? w->info.history.at : "", w->info.history.len);
        w->history[w->info.history.len] = '\0';
        s->id = ((const struct msg_job_info *)l->message)->id;
        s->next = ((const struct msg_job_info *)l->message)->next;
        s->code = ((const struct msg_job_info *)l->message)->code;
    }
}

static void on_send(void *ctx, const struct letter *l) {
    struct world *w = ctx;
    assert_true(w->n < LETTERS);
    struct seen *s = &w->letters[w->n++];
    *s = (struct seen){.link = l->link,
                       .after = l->after,
                       .sequence = l->sequence,
                       .verb = l->verb,
                       .orders = w->n_orders};
    if (l->verb == VERB_submitted) {
        const struct msg_submitted *m = l->message;
        s->code = m->code;
        s->id = m->id;
        s->duplicate = m->duplicate;
        if (m->code)
            keep_text(w, m->text);
    } else if (l->verb == VERB_dispatch) {
        const struct msg_dispatch *m = l->message;
        s->job = m->job;
        s->fence = m->fence;
        s->token = m->token;
        w->dispatch = *m;
        keep_text_of(w->given, sizeof w->given, m->trace);
    } else if (l->verb == VERB_schedule_info && l->message) {
        w->schedule = *(const struct msg_schedule_info *)l->message;
    } else if (l->verb == VERB_spawned) {
        const struct msg_spawned *m = l->message;
        s->code = m->code;
        s->job = m->job;
        s->fence = m->fence;
        if (m->code)
            keep_text(w, m->text);
    } else if (l->verb == VERB_flow_info) {
        w->flow = *(const struct msg_flow_info *)l->message;
        s->code = w->flow.code;
        s->job = w->flow.id;
    } else if (l->verb == VERB_attached) {
        const struct msg_attached *m = l->message;
        s->code = m->code;
        s->id = m->id;
        s->state = m->state;
        if (m->code)
            keep_text(w, m->text);
    } else if (l->verb == VERB_stream_need) {
        const struct msg_stream_need *m = l->message;
        *s = (struct seen){.link = l->link,
                           .verb = l->verb,
                           .job = m->job,
                           .fence = m->fence,
                           .token = m->token,
                           .epoch = m->epoch,
                           .seq = m->seq};
    } else if (l->verb == VERB_result_ack || l->verb == VERB_lost ||
               l->verb == VERB_cancel_attempt || l->verb == VERB_recall) {
        const struct msg_attempt_ref *m = l->message;
        s->job = m->job;
        s->fence = m->fence;
    } else if (l->verb == VERB_finished) {
        const struct msg_finished *m = l->message;
        s->job = m->id;
        s->state = m->state;
        s->epoch = m->epoch;
        s->seq = m->seq;
        s->error = m->error;
        w->has_flow = m->flow;
        assert_true(l->payload.len < sizeof w->result);
        if (l->payload.len)
            memcpy(w->result, l->payload.at, l->payload.len);
        w->result[l->payload.len] = '\0';
    } else {
        keep_answer(w, s, l);
    }
}

static void on_event(void *ctx, const struct event *e) {
    struct world *w = ctx;
    struct told *t = &w->told[e->what];
    w->events[e->what]++;
    *t = (struct told){.job = e->job, .fence = e->fence};
    keep_text_of(t->tenant, sizeof t->tenant, e->tenant);
    if (e->trace)
        memcpy(t->trace, trace_show(e->trace).at, sizeof t->trace);
}

static uint64_t on_token(void *ctx, uint64_t fence) {
    (void)ctx;
    return ~fence;
}

static void on_stream(void *ctx, const struct stream_order *o) {
    struct world *w = ctx;
    assert_true(w->n_orders < 256);
    w->orders[w->n_orders++] = *o;
}

/* "N": whenever the wall clock's milliseconds are a multiple of N. */
static int on_due(void *ctx, const struct due_rule *rule, uint64_t after_ms, uint64_t *due_ms,
                  struct err *e) {
    uint64_t every = 0;
    (void)ctx;
    bool number = rule->cron.len < 10;
    for (size_t k = 0; k < rule->cron.len && number; k++) {
        number = rule->cron.at[k] >= '0' && rule->cron.at[k] <= '9';
        every = every * 10 + (uint64_t)(rule->cron.at[k] - '0');
    }
    if (!number || !every)
        return err_set(e, ERR_BAD_VALUE, "cron: not one of this test");
    *due_ms = (after_ms / every + 1) * every;
    return 0;
}

/* ---- doing ----------------------------------------------------------------------------------- */
void world_begin(struct world *w, uint64_t later_ms) {
    w->now += later_ms;
    w->wall += later_ms;
    core_begin(w->core, (struct mono){w->now}, (struct wall){w->wall});
}

void world_end(struct world *w) {
    core_end(w->core, true);
    world_give_loads(w);
    core_check(w->core);
}

/* A turn in which all that was appended so far becomes durable. */
void world_turn(struct world *w, uint64_t later_ms) {
    world_begin(w, later_ms);
    core_durable(w->core, w->pos);
    world_end(w);
}

void world_say(struct world *w, uint64_t link, enum role role, enum verb verb, const void *m) {
    assert_true(core_request(w->core, link, role, verb, ++w->sequence));
    core_item(w->core, m, STR(""), NULL);
    core_request_end(w->core);
}

void world_hello(struct world *w, uint64_t link, enum role role, uint64_t slots) {
    struct str kinds[] = {STR("k")};
    uint64_t instance[2] = {link, link};
    struct msg_hello m = {0};
    MSG_SET(&m, hello, version_min, 1);
    MSG_SET(&m, hello, version_max, 1);
    MSG_SET(&m, hello, role, (uint64_t)role);
    MSG_SET(&m, hello, instance, str_make(instance, 16));
    if (role == ROLE_WORKER) {
        MSG_SET(&m, hello, kinds, ((struct str_list){kinds, 1}));
        MSG_SET(&m, hello, slots, slots);
    }
    world_say(w, link, role, VERB_hello, &m);
}

struct seen world_last(const struct world *w, enum verb verb) {
    for (uint32_t k = w->n; k-- > 0;)
        if (w->letters[k].verb == verb)
            return w->letters[k];
    return (struct seen){0};
}

uint32_t world_count(const struct world *w, enum verb verb) {
    uint32_t n = 0;
    for (uint32_t k = 0; k < w->n; k++)
        n += w->letters[k].verb == verb;
    return n;
}

struct core_stats world_stats(const struct world *w) {
    struct core_stats s;
    core_stats(w->core, &s);
    return s;
}

uint32_t orders_count(const struct world *w, enum stream_what what) {
    uint32_t n = 0;
    for (uint32_t k = 0; k < w->n_orders; k++)
        n += w->orders[k].what == what;
    return n;
}

uint64_t world_offer(struct world *w, struct msg_submit m) {
    MSG_SET(&m, submit, kind, STR("k"));
    world_say(w, 1, ROLE_OPERATOR, VERB_submit, &m);
    return world_last(w, VERB_submitted).id;
}

void world_result(struct world *w, uint64_t link, uint64_t job, uint64_t fence, uint64_t outcome) {
    struct msg_result m = {0};
    MSG_SET(&m, result, job, job);
    MSG_SET(&m, result, fence, fence);
    MSG_SET(&m, result, outcome, outcome);
    world_say(w, link, ROLE_WORKER, VERB_result, &m);
}

void world_new(struct world *w) {
    struct effects fx = {.ctx = w,
                         .append = on_append,
                         .due = on_due,
                         .group = on_group,
                         .release = on_release,
                         .load = on_load,
                         .send = on_send,
                         .event = on_event,
                         .token = on_token,
                         .stream = on_stream};
    if (!w->config.jobs_max)
        w->config = core_config_default();
    w->config.backoff_ms = 100;
    w->core = core_new(&w->config, &fx);
    w->pos = 64;
    w->now = 1000;
    w->wall = 1700000000000;
}

void world_set_kind(struct world *w, struct msg_kind_info kind) {
    uint32_t k = 0;
    while (k < w->n_kinds && !str_eq(w->kinds[k].kind, kind.kind))
        k++;
    assert_true(k < 4);
    w->n_kinds += k == w->n_kinds;
    w->kinds[k] = kind;
    core_set_kind(w->core, &kind);
}

/* What was appended by now is there; which of a job's records is the newest the core must see. */
void world_restart(struct world *w) {
    uint64_t pos = w->pos, now = w->now, wall = w->wall;
    struct msg_rec_epoch epoch = {0};
    MSG_SET(&epoch, rec_epoch, epoch, core_epoch(w->core));
    MSG_SET(&epoch, rec_epoch, at_ms, wall);
    core_destroy(&w->core);
    world_new(w);
    w->pos = pos + 100;
    w->now = now;
    w->wall = wall;
    w->n_loads = 0;
    w->records = 1 + w->n_journal + w->n_flows;
    core_begin(w->core, (struct mono){w->now}, (struct wall){w->wall});
    for (uint32_t k = 0; k < w->n_kinds; k++)
        core_set_kind(w->core, &w->kinds[k]);
    core_replay(w->core, pos, 100, &(struct record){.type = REC_EPOCH, .other = &epoch});
    for (uint32_t k = 0; k < w->n_journal; k++) {
        struct kept_record *row = &w->journal[k];
        core_replay(w->core, row->pos, 100,
                    &(struct record){.type = row->has_spec ? REC_JOB : REC_STATE,
                                     .state = &row->state,
                                     .spec = row->has_spec ? &row->spec : NULL});
    }
    for (uint32_t k = 0; k < w->n_flows; k++)
        core_replay(w->core, w->flow_pos[k], 100,
                    &(struct record){.type = REC_FLOW, .other = &w->flows[k]});
    core_start(w->core, (struct mono){w->now}, (struct wall){w->wall});
    world_turn(w, 1);
    assert_true(core_open(w->core));
    world_begin(w, 1);
    world_hello(w, 1, ROLE_OPERATOR, 0);
    world_end(w);
}

int world_set_up(void **state) {
    struct world *w = MEM_NEW(struct world);
    world_new(w);
    struct msg_kind_info kind = {0};
    MSG_SET(&kind, kind_info, kind, STR("k"));
    core_begin(w->core, (struct mono){w->now}, (struct wall){w->wall});
    world_set_kind(w, kind);
    core_start(w->core, (struct mono){w->now}, (struct wall){w->wall});
    world_turn(w, 1);
    assert_true(core_open(w->core));
    world_begin(w, 1);
    world_hello(w, 1, ROLE_OPERATOR, 0);
    world_end(w);
    *state = w;
    return 0;
}

int world_tear_down(void **state) {
    struct world *w = *state;
    core_destroy(&w->core);
    mem_free(w);
    return 0;
}

void world_add_worker(struct world *w, uint64_t link, uint64_t slots) {
    world_begin(w, 1);
    world_hello(w, link, ROLE_WORKER, slots);
    world_end(w);
}

/* ---- turns ----------------------------------------------------------------------------------- */
void world_ask(struct world *w, uint64_t link, enum role role, enum verb verb, const void *m) {
    world_begin(w, 1);
    world_say(w, link, role, verb, m);
    world_end(w);
}

uint64_t world_submit(struct world *w, struct msg_submit m) {
    world_begin(w, 1);
    uint64_t id = world_offer(w, m);
    world_end(w);
    world_turn(w, 1);
    return id;
}

void world_submit_many(struct world *w, struct msg_submit m, uint32_t n) {
    world_begin(w, 1);
    for (uint32_t k = 0; k < n; k++)
        world_offer(w, m);
    world_end(w);
    world_turn(w, 1);
}

void world_report(struct world *w, uint64_t link, uint64_t job, uint64_t fence, uint64_t outcome) {
    world_begin(w, 1);
    world_result(w, link, job, fence, outcome);
    world_end(w);
}

void world_cancel(struct world *w, uint64_t job) {
    struct msg_cancel_job m = {0};
    MSG_SET(&m, cancel_job, id, job);
    world_ask(w, 1, ROLE_OPERATOR, VERB_cancel_job, &m);
}

void world_watch(struct world *w, uint64_t link, enum role role, uint64_t job) {
    struct msg_get_job m = {0};
    MSG_SET(&m, get_job, id, job);
    world_ask(w, link, role, VERB_watch_job, &m);
}
