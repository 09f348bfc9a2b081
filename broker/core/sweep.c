/* Requests that touch many jobs: purge a queue, run dead letters again. Done piece by piece, so
 * that no turn is long; answered when all of it is durable. */
#include "broker/core/core_int.h"
#include "common/base/id.h"

#define STEP_SLOTS   4096 /* looked at in one turn, by all sweeps together */
#define STEP_LOADING 64   /* records being read for one sweep */

/* Each of them reads records and walks all jobs. */
static int sweep_room(const struct core *c, struct err *e) {
    if (c->sweeps.used < c->config.sweeps_max)
        return 0;
    return err_set(e, ERR_BUSY, "%u requests over many jobs are worked on, the bound is %u",
                   c->sweeps.used, c->config.sweeps_max);
}

static uint32_t sweep_new(struct core *c, enum sweep_what what) {
    uint32_t i = slab_take(&c->sweeps);
    struct sweep *s = slab_at(&c->sweeps, i);
    s->what = what;
    memcpy(s->instance, c->request.session->instance, sizeof s->instance);
    s->sequence = c->request.sequence;
    s->id_max = id_make(c->epoch, c->counter);
    s->at = 1;
    s->next = c->sweep_head;
    c->sweep_head = i;
    return i;
}

/* 0: of any. */
static void sweep_of(struct core *c, struct sweep *s, uint32_t queue, uint32_t tenant) {
    s->queue = queue;
    s->tenant = tenant;
    if (queue)
        names_hold(&c->queues, queue);
    if (tenant)
        names_hold(&c->tenants, tenant);
}

static void sweep_end(struct core *c, uint32_t i) {
    struct sweep *s = slab_at(&c->sweeps, i);
    if (s->queue)
        names_let_go(&c->queues, s->queue);
    if (s->tenant)
        names_let_go(&c->tenants, s->tenant);
    uint32_t *at = &c->sweep_head;
    while (*at != i)
        at = &((struct sweep *)slab_at(&c->sweeps, *at))->next;
    *at = s->next;
    uint32_t session = session_by_instance(c, str_make(s->instance, sizeof s->instance));
    if (session) {
        /* Of many, an error is told when it was the end of all of them. */
        bool failed = s->e.code && s->count == 0;
        struct reply_item item = {.code = failed ? (uint32_t)s->e.code : 0,
                                  .count = (uint32_t)s->count};
        answer_session(c, session, s->sequence,
                       s->what == SWEEP_PURGE ? VERB_purge_queue : VERB_retry_job, &item,
                       failed ? &s->e : NULL, s->after);
    }
    slab_give(&c->sweeps, i);
}

/* Its first records may be durable, and its last ones never will be. */
static void give_up(struct sweep *s) {
    s->walked = true;
    s->count = s->after = 0;
    err_set(&s->e, ERR_UNKNOWN_OUTCOME, "the journal cannot be written: a part of it may be done");
}

/* ---- running an ended job again
 * ------------------------------------------------------------------ */
static int revive(struct core *c, uint32_t i, const struct record *r, struct err *e) {
    struct job *j = job_at(c, i);
    const struct msg_rec_spec *spec = r->spec;
    if (flow_may_revive(c, i, e) < 0 || jobs_room(c, e) < 0 || journal_room_for_jobs(c, e) < 0)
        return -1;
    bool unnamed = line_at(c, j->line)->queue == c->nameless;
    uint32_t queue = unnamed ? queue_take(c, spec->queue) : line_at(c, j->line)->queue;
    if (!queue)
        return err_set(e, ERR_BUSY, "there are %u queues, the bound", c->config.queues_max);
    uint32_t n =
        MSG_HAS(spec, rec_spec, unique) ? unique_find(c, queue, j->tenant, spec->unique) : 0;
    if (n && unique_at(c, n)->id != j->id) /* its own window may go on */
        return err_set(e, ERR_CONFLICT, "job %s: its unique key is taken by another job",
                       id_show(j->id).at);
    if (MSG_HAS(spec, rec_spec, unique) && !spec->window_ms && !n && unique_room(c, e) < 0)
        return -1;
    if (MSG_HAS(spec, rec_spec, key) &&
        key_room(c, queue, j->tenant, spec->key, spec->interval_ms, 0, e) < 0)
        return -1;
    retain_remove(c, i);
    flow_revive(c, i);
    if (unnamed)
        job_rejoin(c, i, queue);
    j->attempts = 0;
    job_unmark(j, JOB_ISOLATED);
    j->fence = fence_next(c, 1);
    struct extra *x = job_need_extra(c, i);
    x->tries = 1; /* its time to live was for the first start */
    if (MSG_HAS(spec, rec_spec, key))
        key_attach(c, i, spec->key, spec->interval_ms);
    if (MSG_HAS(spec, rec_spec, unique) && !spec->window_ms)
        unique_take(c, i, spec->unique, 0, 0);
    stream_set_grace(c, i, spec->grace_ms);
    if (body_may_stay(c, j))
        body_put(c, i, spec, r->payload);
    job_place(c, i);
    return 0;
}

/* That it runs and that its flows wait for it become durable together. */
static void run_again(struct core *c, struct sweep *s, uint32_t i, const struct record *r,
                      struct err *e) {
    const struct msg_rec_spec *m = r->spec;
    group_open(c, r->payload.len + m->key.len + m->unique.len + m->trace.len);
    if (revive(c, i, r, e) == 0) {
        /* Whole: the record of its end made a replay forget its key and its other needs. */
        job_at(c, i)->version++;
        job_record_whole(c, i, r);
        s->after = job_at(c, i)->body_pos;
        s->count++;
    }
    group_close(c);
}

void sweep_loaded(struct core *c, const struct load *l, const struct record *r) {
    struct sweep *s = slab_at(&c->sweeps, l->sweep);
    uint32_t i = job_find(c, l->job);
    s->loading--;
    struct err e = {0};
    if (!r)
        err_set(&e, ERR_CORRUPT, "job %s: its record cannot be read", id_show(l->job).at);
    else if (c->read_only)
        give_up(s);
    else if (!i || !job_is(job_at(c, i), JOB_IS_KEPT))
        err_set(&e, ERR_CONFLICT, "job %s changed meanwhile", id_show(l->job).at);
    else
        run_again(c, s, i, r, &e);
    if (e.code && !s->e.code)
        s->e = e;
}

static void revive_start(struct core *c, uint32_t sweep, uint32_t i) {
    const struct job *j = job_at(c, i);
    struct load l = {.what = LOAD_RETRY, .job = j->id, .sweep = sweep};
    ((struct sweep *)slab_at(&c->sweeps, sweep))->loading++;
    load_start(c, &l, j->body_pos, j->body_bytes);
}

/* ---- steps
 * --------------------------------------------------------------------------------------- */
static bool matches(const struct core *c, const struct sweep *s, const struct job *j) {
    if (j->id > s->id_max || !j->line)
        return false;
    if (s->queue && line_at(c, j->line)->queue != s->queue)
        return false;
    if (s->tenant && j->tenant != s->tenant)
        return false;
    if (s->what == SWEEP_RETRY && s->group)
        return dead_print(c, j) == s->group;
    if (s->what == SWEEP_RETRY)
        return j->state == JOB_dead && job_is(j, JOB_IS_KEPT);
    return j->state == JOB_NONE || j->state == JOB_ready || j->state == JOB_scheduled ||
           j->state == JOB_blocked;
}

static void visit(struct core *c, uint32_t sweep, uint32_t i) {
    struct sweep *s = slab_at(&c->sweeps, sweep);
    if (s->what == SWEEP_RETRY) {
        revive_start(c, sweep, i);
        return;
    }
    uint64_t pos = job_cancel(c, i, STR("purged"));
    if (pos > s->after)
        s->after = pos;
    s->count++;
}

static void step(struct core *c, uint32_t sweep, uint32_t slots) {
    struct sweep *s = slab_at(&c->sweeps, sweep);
    if (c->read_only)
        give_up(s);
    for (uint32_t n = 0; !s->walked && n < slots && s->loading < STEP_LOADING; n++) {
        if (s->at >= slab_end(&c->jobs)) {
            s->walked = true;
            break;
        }
        uint32_t i = s->at++;
        if (slab_is_used(&c->jobs, i) && matches(c, s, job_at(c, i)))
            visit(c, sweep, i);
    }
    if (s->walked && !s->loading)
        sweep_end(c, sweep);
    else if (!s->walked && s->loading < STEP_LOADING)
        c->more = true; /* what is being read wakes us by itself */
}

void sweeps_step(struct core *c) {
    uint32_t all = c->room == CORE_TIGHT ? CORE_PURGE_STEP : STEP_SLOTS;
    uint32_t slots = c->sweeps.used ? all / c->sweeps.used : 0;
    for (uint32_t i = c->sweep_head, next; i; i = next) {
        next = ((struct sweep *)slab_at(&c->sweeps, i))->next;
        step(c, i, slots ? slots : 1);
    }
}

/* ---- requests
 * ------------------------------------------------------------------------------------ */
void on_purge_queue(struct core *c, const void *message, struct str payload) {
    const struct msg_queue_ref *m = message;
    (void)payload;
    uint32_t queue = names_find(&c->queues, m->queue);
    uint32_t tenant = m->tenant.len ? names_find(&c->tenants, m->tenant) : 0;
    struct err e = {0};
    if (!queue || (m->tenant.len && !tenant))
        err_set(&e, ERR_UNKNOWN_QUEUE, "queue '" STR_FMT "'%s: not known", STR_ARG(m->queue),
                queue ? " with that tenant" : "");
    if (e.code || sweep_room(c, &e) < 0) {
        c->stats.refused++;
        answer(c, &(struct reply_item){.code = (uint32_t)e.code}, &e, 0);
        return;
    }
    struct sweep *s = slab_at(&c->sweeps, sweep_new(c, SWEEP_PURGE));
    sweep_of(c, s, queue, tenant);
}

static int may_retry(const struct core *c, uint64_t id, uint32_t *i, struct err *e) {
    *i = job_find_seen(c, id);
    if (!*i)
        return err_set(e, ERR_NOT_FOUND, "job %s: not known, or past retention", id_show(id).at);
    if (!job_is(job_at(c, *i), JOB_IS_KEPT))
        return err_set(e, ERR_NOT_FINISHED, "job %s is %s", id_show(id).at,
                       job_state_name(job_at(c, *i)->state));
    return 0;
}

static int retry_one(struct core *c, uint64_t id, struct err *e) {
    uint32_t i;
    if (may_retry(c, id, &i, e) < 0 || sweep_room(c, e) < 0)
        return -1;
    uint32_t sweep = sweep_new(c, SWEEP_RETRY);
    struct sweep *s = slab_at(&c->sweeps, sweep);
    s->walked = true;
    s->id_max = 0; /* one job: its error is the answer */
    revive_start(c, sweep, i);
    return 0;
}

/* What the request names: a job, a group, a queue's dead letters or all. */
static int retry_check(struct core *c, const struct msg_retry_job *m, uint32_t *queue,
                       struct err *e) {
    if (rights_bound(c) && !m->id)
        return err_set(e, ERR_BAD_ROLE,
                       "retry_job: a key for one tenant retries jobs by their ids only");
    int named = (m->id != 0) + (m->group != 0) + m->dead;
    if (named == 0)
        return err_set(e, ERR_MISSING_FIELD,
                       "retry_job: names neither a job nor a group nor all dead ones");
    if (named > 1 && (m->group || m->dry_run))
        return err_set(e, ERR_BAD_VALUE, "retry_job: id, group and dead: one of them at a time");
    if (m->group && m->queue.len)
        return err_set(e, ERR_BAD_VALUE, "retry_job: queue stands with dead only");
    if (m->group && !dead_count(c, m->group))
        return err_set(e, ERR_NOT_FOUND, "group %s: no dead letter is in it", id_show(m->group).at);
    *queue = m->queue.len ? names_find(&c->queues, m->queue) : 0;
    if (!m->id && m->queue.len && !*queue)
        return err_set(e, ERR_UNKNOWN_QUEUE, "queue '" STR_FMT "': not known", STR_ARG(m->queue));
    return 0;
}

/* How many it would be, as it is now: nothing is read, so what a job's own record forbids (its
 * unique key is taken) is not seen. */
static int retry_count(struct core *c, const struct msg_retry_job *m, uint32_t queue,
                       uint64_t *count, struct err *e) {
    uint32_t i;
    if (m->id) {
        *count = 1;
        return may_retry(c, m->id, &i, e) < 0 ? -1 : flow_may_revive(c, i, e);
    }
    *count = m->group ? dead_count(c, m->group)
             : queue  ? queue_at(c, queue)->kept_dead
                      : c->kept[KEPT_DEAD].n;
    return 0;
}

static int retry_many(struct core *c, const struct msg_retry_job *m, uint32_t queue,
                      struct err *e) {
    if (sweep_room(c, e) < 0)
        return -1;
    struct sweep *s = slab_at(&c->sweeps, sweep_new(c, SWEEP_RETRY));
    sweep_of(c, s, queue, 0);
    s->group = m->group;
    return 0;
}

void on_retry_job(struct core *c, const void *message, struct str payload) {
    const struct msg_retry_job *m = message;
    (void)payload;
    struct err e = {0};
    uint32_t queue = 0;
    uint64_t count = 0;
    if (retry_check(c, m, &queue, &e) == 0) {
        if (m->dry_run)
            retry_count(c, m, queue, &count, &e);
        else if (m->id)
            retry_one(c, m->id, &e);
        else
            retry_many(c, m, queue, &e);
    }
    if (!e.code && !m->dry_run)
        return; /* answered when it is done */
    if (e.code)
        c->stats.refused++;
    struct reply_item item = {.code = (uint32_t)e.code, .id = m->id, .count = (uint32_t)count};
    if (e.code)
        item.count = 0;
    answer(c, &item, e.code ? &e : NULL, 0);
}
