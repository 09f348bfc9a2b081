/* From an offered job to its place in the line. */
#include "broker/core/core_int.h"
#include "common/base/id.h"
#include "common/base/mem.h"

#define PRIORITY_OPEN 6 /* up to here anybody; above only gateway and operator */

/* The sender wants to hear of its end. */
static bool hears(const struct msg_submit *m) {
    return m->watch || m->attach;
}

/* Who has set a schedule was. */
static bool trusted(const struct core *c, const struct offer *o) {
    return o->schedule.len || c->request.role == ROLE_GATEWAY || c->request.role == ROLE_OPERATOR;
}

/* ---- may it come in?
 * ----------------------------------------------------------------------------- */
/* A child of a worker's job may have the priority of that. */
static uint8_t priority_most(const struct core *c, const struct offer *o) {
    if (trusted(c, o))
        return PRIORITIES - 1;
    bool higher = o->parent && o->parent->by_worker && o->parent->priority > PRIORITY_OPEN;
    return higher ? o->parent->priority : PRIORITY_OPEN;
}

static int check_rights(const struct core *c, struct offer *o, struct err *e) {
    const struct msg_submit *m = o->m;
    struct str usual = rights_bound(c) ? c->rights->tenant : STR("default");
    if (MSG_HAS(m, submit, tenant) && !trusted(c, o) && !str_eq(m->tenant, usual))
        return err_set(e, ERR_BAD_ROLE, "submit.tenant: only gateway and operator may name one");
    o->tenant_name = o->parent ? o->parent->tenant : MSG_HAS(m, submit, tenant) ? m->tenant : usual;
    if (rights_check_tenant(c, o->tenant_name, e) < 0)
        return -1;
    if (m->attach && !trusted(c, o))
        return err_set(e, ERR_BAD_ROLE, "submit.attach: only gateway and operator may attach");
    const struct msg_kind_info *k = &kind_at(c, o->kind)->info;
    o->priority = (uint8_t)(MSG_HAS(m, submit, priority)      ? m->priority
                            : MSG_HAS(k, kind_info, priority) ? k->priority
                                                              : c->config.priority);
    uint8_t most = priority_most(c, o);
    if (MSG_HAS(m, submit, priority) && o->priority > most)
        return err_set(e, ERR_BAD_ROLE,
                       "submit.priority: %u, at most %u here; above is for gateway and operator",
                       o->priority, most);
    return 0;
}

static int check_volatile(const struct offer *o, struct err *e) {
    if (o->durability != DURABLE_NONE)
        return 0;
    if (MSG_HAS(o->m, submit, window_ms))
        return err_set(e, ERR_BAD_VALUE, "submit.durability: none is not for a unique window");
    if (MSG_HAS(o->m, submit, run_at_ms))
        return err_set(e, ERR_BAD_VALUE, "submit.durability: none is not for run_at");
    return 0;
}

int jobs_room(const struct core *c, struct err *e) {
    uint64_t live = c->jobs.used - retain_count(c);
    if (live < c->config.jobs_max)
        return 0;
    return err_set(e, ERR_BUSY, "%u jobs wait or run, at most %u", (unsigned)live,
                   c->config.jobs_max);
}

int journal_room_for_jobs(const struct core *c, struct err *e) {
    if (c->room == CORE_ROOM)
        return 0;
    return err_set(e, ERR_DISK_FULL, "the journal keeps what space is left for jobs it has");
}

int offer_check_room(const struct core *c, const struct offer *o, struct err *e) {
    if (jobs_room(c, e) < 0)
        return -1;
    if (hears(o->m) && c->watches.used >= c->config.watches_max)
        return err_set(e, ERR_BUSY, "%u watches are held, the bound is %u", c->watches.used,
                       c->config.watches_max);
    if (MSG_HAS(o->m, submit, unique) && unique_room(c, e) < 0)
        return -1;
    if (o->durability == DURABLE_NONE) {
        if (c->stats.volatile_bytes + o->payload.len > c->config.volatile_bytes)
            return err_set(e, ERR_BUSY, "jobs that are never journaled hold %llu bytes, the bound",
                           (unsigned long long)c->config.volatile_bytes);
        return 0;
    }
    return journal_room_for_jobs(c, e);
}

int offer_resolve(struct core *c, struct offer *o, struct err *e) {
    const struct msg_submit *m = o->m;
    o->kind = names_find(&c->kinds, m->kind);
    if (!o->kind || !kind_at(c, o->kind)->declared)
        return err_set(e, ERR_UNKNOWN_KIND, "submit.kind: no kind '" STR_FMT "' is declared",
                       STR_ARG(m->kind));
    const struct msg_kind_info *k = &kind_at(c, o->kind)->info;
    o->durability = o->parent                        ? DURABLE_SYNC
                    : MSG_HAS(m, submit, durability) ? m->durability
                                                     : k->durability;
    if (o->schedule.len && o->durability == DURABLE_NONE)
        o->durability = DURABLE_SYNC;
    if (o->payload.len > c->config.body_max)
        return err_set(e, ERR_TOO_LARGE, "payload: %zu bytes, at most %u", o->payload.len,
                       c->config.body_max);
    struct trace trace;
    if (MSG_HAS(m, submit, trace) && trace_parse("submit.trace", m->trace, &trace, e) < 0)
        return -1;
    if (check_rights(c, o, e) < 0 || check_volatile(o, e) < 0)
        return -1;
    if (MSG_HAS(m, submit, window_ms) && !MSG_HAS(m, submit, unique))
        return err_set(e, ERR_BAD_VALUE, "submit.window_ms: needs submit.unique");
    if (MSG_HAS(m, submit, interval_ms) && !MSG_HAS(m, submit, key))
        return err_set(e, ERR_BAD_VALUE, "submit.interval_ms: needs submit.key");
    o->queue_name = MSG_HAS(m, submit, queue) ? m->queue : k->queue.len ? k->queue : m->kind;
    return 0;
}

/* What is refused leaves no name behind. */
int offer_take_names(struct core *c, struct offer *o, struct err *e) {
    o->queue = queue_take(c, o->queue_name);
    if (!o->queue)
        return err_set(e, ERR_BUSY, "there are %u queues, the bound", c->config.queues_max);
    o->tenant = tenant_take(c, o->tenant_name);
    if (!o->tenant)
        return err_set(e, ERR_BUSY, "there are %u tenants, the bound", c->config.tenants_max);
    return key_room(c, o->queue, o->tenant, o->m->key, o->m->interval_ms, o->new_intervals, e);
}

/* ---- what it is
 * ---------------------------------------------------------------------------------- */
#define PICK(spec, m, k, field)                                                                    \
    do {                                                                                           \
        if (MSG_HAS(m, submit, field))                                                             \
            MSG_SET(spec, rec_spec, field, (m)->field);                                            \
        else if (MSG_HAS(k, kind_info, field))                                                     \
            MSG_SET(spec, rec_spec, field, (k)->field);                                            \
    } while (0)
#define COPY(spec, m, field)                                                                       \
    do {                                                                                           \
        if (MSG_HAS(m, submit, field))                                                             \
            MSG_SET(spec, rec_spec, field, (m)->field);                                            \
    } while (0)

/* A child has its parent's, unless it comes with one. `text` is where that is written. */
static void set_trace(const struct offer *o, struct msg_rec_spec *s, struct trace_text *text) {
    if (MSG_HAS(o->m, submit, trace)) {
        MSG_SET(s, rec_spec, trace, o->m->trace);
    } else if (o->parent && o->parent->traced) {
        *text = trace_show(&o->parent->trace);
        MSG_SET(s, rec_spec, trace, str_make(text->at, TRACE_LEN));
    }
}

static void make_spec(struct core *c, const struct offer *o, struct msg_rec_spec *s) {
    const struct msg_submit *m = o->m;
    const struct msg_kind_info *k = &kind_at(c, o->kind)->info;
    *s = (struct msg_rec_spec){0};
    MSG_SET(s, rec_spec, kind, m->kind);
    MSG_SET(s, rec_spec, queue, o->queue_name);
    MSG_SET(s, rec_spec, tenant, o->tenant_name);
    MSG_SET(s, rec_spec, priority, o->priority);
    MSG_SET(s, rec_spec, created_ms, c->wall.ms);
    if (o->durability)
        MSG_SET(s, rec_spec, durability, o->durability);
    COPY(s, m, key);
    COPY(s, m, interval_ms);
    COPY(s, m, unique);
    COPY(s, m, window_ms);
    COPY(s, m, run_at_ms);
    PICK(s, m, k, ttl_ms);
    if (!MSG_HAS(s, rec_spec, ttl_ms) && c->config.ttl_ms)
        MSG_SET(s, rec_spec, ttl_ms, c->config.ttl_ms);
    PICK(s, m, k, timeout_ms);
    PICK(s, m, k, attempts_max);
    PICK(s, m, k, backoff_ms);
    PICK(s, m, k, backoff_max_ms);
    COPY(s, m, grace_ms);
    if (o->parent)
        MSG_SET(s, rec_spec, parent, job_at(c, o->parent->slot)->id);
    if (o->schedule.len)
        MSG_SET(s, rec_spec, schedule, o->schedule);
    if (o->due_ms)
        MSG_SET(s, rec_spec, due_ms, o->due_ms);
    COPY(s, m, then);
    COPY(s, m, fail_fast);
}

/* Waits that must be known before the body is, kept in `extra`. */
static void set_waits(struct core *c, uint32_t i, const struct msg_submit *m,
                      const struct msg_rec_spec *s) {
    struct job *j = job_at(c, i);
    if (MSG_HAS(m, submit, run_at_ms) && m->run_at_ms > c->wall.ms) {
        job_need_extra(c, i)->run_at_ms = m->run_at_ms;
        job_mark(j, JOB_HAS_RUN_AT);
    } else if (MSG_HAS(m, submit, delay_ms) && m->delay_ms) {
        job_need_extra(c, i)->due_ms = c->now.ms + m->delay_ms;
    }
    if (s->ttl_ms)
        job_need_extra(c, i)->ttl_end_ms = c->now.ms + s->ttl_ms;
}

static bool may_speculate(const struct core *c, const struct offer *o) {
    const struct msg_kind_info *k = &kind_at(c, o->kind)->info;
    bool shared = queue_at(c, o->queue)->tenant_concurrency != 0;
    const struct limit_config *q = &queue_at(c, o->queue)->limit.now;
    const struct limit_config *t = &tenant_at(c, o->tenant)->limit.now;
    return k->speculative && !o->parent && !o->schedule.len && !o->m->children &&
           !MSG_HAS(o->m, submit, key) && !MSG_HAS(o->m, submit, unique) && !shared &&
           !q->concurrency && !q->rate_count && !t->concurrency && !t->rate_count;
}

static uint64_t next_id(struct core *c) {
    if (MUTANT(id_reused) && c->counter > 3 && rng_below(&c->rng, 64) == 0)
        return id_make(c->epoch, c->counter);
    ASSERT(c->counter < ID_COUNTER_MAX);
    return id_make(c->epoch, ++c->counter);
}

static uint32_t make_job(struct core *c, const struct offer *o, const struct msg_rec_spec *s) {
    uint32_t i = job_new(c, next_id(c));
    struct job *j = job_at(c, i);
    job_belongs(c, i, o->queue, o->kind, o->tenant);
    job_queue(c, j)->by_state[JOB_NONE]++;
    job_queue(c, j)->entered++;
    j->priority = o->priority & 0xFU;
    j->version = 1;
    j->since_ms = c->now.ms;
    if (o->durability == DURABLE_NONE)
        job_mark(j, JOB_IS_VOLATILE);
    if (o->durability == DURABLE_ASYNC)
        job_mark(j, JOB_IS_ASYNC);
    if (may_speculate(c, o))
        job_mark(j, JOB_SPECULATIVE);
    if (o->m->fail_fast)
        job_mark(j, JOB_FAIL_FAST);
    if (s->trace.len)
        job_mark(j, JOB_HAS_TRACE);
    if (o->m->then)
        job_mark(j, JOB_IS_THEN);
    set_waits(c, i, o->m, s);
    return i;
}

/* The record must say "scheduled" for a job that waits for its time, though it is not placed yet.
 */
static void journal_job(struct core *c, uint32_t i, const struct msg_rec_spec *s,
                        struct str payload) {
    struct job *j = job_at(c, i);
    if (job_is(j, JOB_IS_VOLATILE))
        return;
    struct extra *x = job_extra(c, j);
    struct msg_rec_state m;
    job_state_message(c, i, &m);
    if (x && x->due_ms) {
        MSG_SET(&m, rec_state, state, (uint64_t)JOB_scheduled);
        MSG_SET(&m, rec_state, due_ms, c->wall.ms + (x->due_ms - c->now.ms));
        MSG_SET(&m, rec_state, wait_ms, x->due_ms - c->now.ms);
    } else if (x && job_is(j, JOB_HAS_RUN_AT)) {
        MSG_SET(&m, rec_state, state, (uint64_t)JOB_scheduled);
        MSG_SET(&m, rec_state, due_ms, x->run_at_ms);
    }
    struct record r = {.type = REC_JOB, .state = &m, .spec = s, .payload = payload};
    j->body_pos = j->state_pos = c->fx.append(c->fx.ctx, &r, &j->body_bytes);
}

static void attach_offer(struct core *c, const struct offer *o, uint32_t i) {
    if (o->m->attach)
        stream_attach(c, i, c->request.session_index, 0, 0);
}

/* ---- in
 * ------------------------------------------------------------------------------------------ */
bool offer_duplicate(struct core *c, const struct offer *o, struct reply_item *item,
                     uint64_t *after, struct err *e) {
    uint32_t queue = names_find(&c->queues, o->queue_name);
    uint32_t tenant = names_find(&c->tenants, o->tenant_name);
    uint32_t n = queue && tenant ? unique_find(c, queue, tenant, o->m->unique) : 0;
    if (!n)
        return false;
    const struct unique *u = unique_at(c, n);
    if (!u->pos && o->durability != DURABLE_NONE) { /* it would promise what that job does not */
        err_set(e, ERR_CONFLICT, "submit.unique: held by job %s, which is never journaled",
                id_show(u->id).at);
        item->code = (uint32_t)e->code;
        return true;
    }
    uint32_t first = u->job ? u->job : job_find(c, u->id);
    if (hears(o->m) && first && watch_job(c, first, e) < 0) {
        item->code = (uint32_t)e->code;
        return true;
    }
    item->id = u->id;
    item->duplicate = true;
    *after = MUTANT(duplicate_before_commit) ? 0 : u->pos;
    c->stats.duplicates++;
    if (first)
        attach_offer(c, o, first);
    return true;
}

uint32_t offer_accept(struct core *c, const struct offer *o, struct reply_item *item,
                      uint64_t *after) {
    struct msg_rec_spec s;
    struct trace_text trace;
    make_spec(c, o, &s);
    set_trace(o, &s, &trace);
    uint32_t i = make_job(c, o, &s);
    struct job *j = job_at(c, i);
    c->stats.submitted++;
    item->id = j->id;
    journal_job(c, i, &s, o->payload);
    if (o->parent)
        flow_add_child(c, o->parent->slot, i);
    if (MSG_HAS(o->m, submit, key))
        key_attach(c, i, o->m->key, o->m->interval_ms);
    if (MSG_HAS(o->m, submit, unique))
        unique_take(c, i, o->m->unique, o->m->window_ms, o->m->window_ms);
    stream_set_grace(c, i, o->m->grace_ms);
    bool watched = !hears(o->m) || watch_add(c, i, c->request.session_index);
    ASSERT(watched); /* offer_check_room saw to it */
    attach_offer(c, o, i);
    if (job_is(j, JOB_IS_VOLATILE) || body_may_stay(c, j))
        body_put(c, i, &s, o->payload);
    struct trace own = spec_trace(c, j->id, &s);
    job_tell_traced(c, EVENT_job_accepted, i, &own, o->m->kind);
    bool at_once = job_is(j, JOB_IS_VOLATILE | JOB_IS_ASYNC | JOB_SPECULATIVE);
    *after =
        job_is(j, JOB_IS_VOLATILE | JOB_IS_ASYNC) || MUTANT(ack_before_commit) ? 0 : j->body_pos;
    if (at_once || MUTANT(dispatch_before_commit))
        job_place(c, i);
    else
        list_push(c, &c->pending, i);
    return i;
}

static struct trace offer_trace(const struct core *c, const struct offer *o, uint64_t id) {
    struct msg_rec_spec s = {.trace = o->m->trace};
    return spec_trace(c, id, &s);
}

static void accept_with_children(struct core *c, const struct offer *o, struct reply_item *item,
                                 uint64_t *after, struct err *e) {
    const struct core_children *k = &c->request.children;
    struct parent parent = {.kind = o->kind,
                            .tenant = o->tenant_name,
                            .priority = o->priority,
                            .is_volatile = o->durability == DURABLE_NONE,
                            .beside = o->payload.len};
    struct offer *offers = mem_alloc(k->n * sizeof *offers);
    names_hold(&c->queues, o->queue); /* the children's names must not take its place */
    names_hold(&c->tenants, o->tenant);
    if (children_check(c, &parent, k, offers, e) == 0) {
        group_open(c, children_bytes(k) + o->payload.len);
        parent.slot = offer_accept(c, o, item, after);
        parent.traced = true;
        parent.trace = offer_trace(c, o, item->id);
        children_accept(c, k, offers);
        uint32_t flow = job_flow(c, job_at(c, parent.slot));
        if (flow)
            flow_record(c, flow);
        group_close(c);
    }
    names_let_go(&c->queues, o->queue);
    names_let_go(&c->tenants, o->tenant);
    mem_free(offers);
}

/* Of whom nobody is the parent. */
static int check_single(const struct msg_submit *m, struct err *e) {
    if (m->then)
        return err_set(e, ERR_BAD_VALUE, "submit.then: only for a child");
    if (m->has & (MSGBIT_submit_parent | MSGBIT_submit_fence | MSGBIT_submit_index))
        return err_set(e, ERR_BAD_VALUE, "submit: parent, fence and index are for SPAWN");
    return 0;
}

void on_submit(struct core *c, const void *message, struct str payload) {
    struct offer o = {.m = message, .payload = payload};
    struct reply_item item = {0};
    struct err e = {0};
    uint64_t after = 0;
    if (check_single(o.m, &e) == 0 && offer_resolve(c, &o, &e) == 0) {
        /* A duplicate needs no room: it is answered however full we are (P-35). */
        bool duplicate = offer_is_unique(&o) && offer_duplicate(c, &o, &item, &after, &e);
        if (!duplicate && offer_check_room(c, &o, &e) == 0 && offer_take_names(c, &o, &e) == 0) {
            if (c->request.children.n)
                accept_with_children(c, &o, &item, &after, &e);
            else
                offer_accept(c, &o, &item, &after);
        }
    }
    if (e.code) {
        item.code = (uint32_t)e.code;
        c->stats.refused++;
    }
    answer(c, &item, item.code ? &e : NULL, after);
}

/* ---- its place
 * ----------------------------------------------------------------------------------- */
void job_place(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    if (job_is(j, JOB_HELD)) {
        job_set_state(c, i, JOB_blocked);
        body_drop(c, i);
        return;
    }
    struct extra *x = job_extra(c, j);
    bool by_wall = job_is(j, JOB_HAS_RUN_AT);
    if (x && ((by_wall && x->run_at_ms > c->wall.ms) || (!by_wall && x->due_ms > c->now.ms))) {
        job_set_state(c, i, JOB_scheduled);
        if (!job_is(j, JOB_IS_VOLATILE))
            body_drop(c, i);
        uint64_t ttl = x->ttl_end_ms && !x->tries ? x->ttl_end_ms : UINT64_MAX;
        if (by_wall)
            timer_set(c, TIMER_JOB_WALL, i, x->run_at_ms);
        else
            timer_set(c, TIMER_JOB_SCHEDULED, i, x->due_ms);
        if (ttl != UINT64_MAX)
            timer_set(c, TIMER_JOB_EXTRA, i, ttl);
        return;
    }
    job_due(c, i);
}

void job_due(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    struct extra *x = job_extra(c, j);
    if (j->state == JOB_scheduled && MUTANT(due_forgotten) && rng_below(&c->rng, 8) == 0)
        return;
    job_unmark(j, JOB_BACKOFF | JOB_HAS_RUN_AT);
    if (x) {
        x->due_ms = x->run_at_ms = 0;
        if (x->ttl_end_ms && !x->tries)
            timer_set(c, TIMER_JOB_EXTRA, i, x->ttl_end_ms);
    }
    if (x && x->key)
        key_enter(c, i);
    else
        job_ready(c, i, false);
}

void job_ready(struct core *c, uint32_t i, bool front) {
    struct job *j = job_at(c, i);
    job_set_state(c, i, JOB_ready);
    j->since_ms = c->now.ms;
    if (job_is(j, JOB_ISOLATED))
        list_push(c, &job_kind(c, j)->isolated, i);
    else
        lane_push(c, i, front);
}

void submits_durable(struct core *c) {
    while (c->pending.head && job_at(c, c->pending.head)->body_pos < c->durable) {
        uint32_t i = c->pending.head;
        list_remove(c, &c->pending, i);
        job_place(c, i);
    }
}
