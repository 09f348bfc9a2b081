/* From the journal back to the state: records in any order of versions, then one pass that puts
 * every job where it belongs, through the same doors as live traffic.
 *
 * While records come in, a job's slot holds its newest state raw; counters, lists and timers are
 * made at the end. Waits are kept as times on the clocks of the core, so a clock that was stepped
 * while we were away cannot stretch them. */
#include "broker/core/core_int.h"
#include "common/base/id.h"
#include "common/base/mem.h"

#include <stdlib.h>

static void note_epoch(struct core *c, uint64_t id) {
    uint64_t epoch = id_epoch(id), counter = id_counter(id);
    uint32_t n = c->n_epochs;
    while (n > 0 && c->epochs[n - 1].epoch > epoch)
        n--;
    if (n > 0 && c->epochs[n - 1].epoch == epoch) {
        if (counter > c->epochs[n - 1].counter)
            c->epochs[n - 1].counter = counter;
        return;
    }
    c->epochs = mem_grow(c->epochs, c->n_epochs + 1, sizeof *c->epochs);
    memmove(c->epochs + n + 1, c->epochs + n, (c->n_epochs - n) * sizeof *c->epochs);
    c->epochs[n] = (struct epoch_range){epoch, counter};
    c->n_epochs++;
}

/* ---- jobs
 * ---------------------------------------------------------------------------------------- */
/* Ended: nothing beside its slot is needed any more. */
static void strip(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    struct extra *x = job_extra(c, j);
    if (!x)
        return;
    key_leave(c, i, JOB_NONE, 0);
    unique_let_go(c, i);
    stream_free(c, i);
    job_clear_extra(c, i);
}

/* What it died of stays until it has its place among the dead letters. */
static void learn_end(struct core *c, uint32_t i, const struct msg_rec_state *m) {
    struct job *j = job_at(c, i);
    j->since_ms = m->ended_ms;
    strip(c, i);
    if (j->state != JOB_dead || MUTANT(dead_error_forgotten))
        return;
    enum err_code code = err_code_known(m->error) ? (enum err_code)m->error : ERR_INTERNAL;
    job_fail_text(c, i, code, m->text);
    job_extra(c, j)->group = m->group;
}

/* Of an older record: it may have run again since. */
static void forget_failure(struct core *c, uint32_t i) {
    struct extra *x = job_extra(c, job_at(c, i));
    if (!x)
        return;
    MEM_FREE(x->failure);
    MEM_FREE(x->history);
    x->group = 0;
}

static void apply_wait(struct core *c, uint32_t i, const struct msg_rec_state *m) {
    struct job *j = job_at(c, i);
    job_unmark(j, JOB_HAS_RUN_AT);
    if (j->extra)
        job_extra(c, j)->due_ms = job_extra(c, j)->run_at_ms = 0;
    if (m->state != JOB_scheduled)
        return;
    struct extra *x = job_need_extra(c, i);
    if (!MSG_HAS(m, rec_state, wait_ms)) {
        x->run_at_ms = m->due_ms;
        job_mark(j, JOB_HAS_RUN_AT);
        return;
    }
    uint64_t rest = wall_rest(c->wall, (struct wall){m->due_ms}, m->wait_ms);
    if (MUTANT(wait_stretched_by_clock))
        rest = m->due_ms > c->wall.ms ? m->due_ms - c->wall.ms : 0;
    x->due_ms = c->now.ms + rest;
}

static void apply_state(struct core *c, uint32_t i, const struct msg_rec_state *m) {
    struct job *j = job_at(c, i);
    j->version = (uint32_t)m->version;
    j->state = m->state & 0xFF;
    j->fence = m->fence;
    j->attempts = (m->attempts < JOB_ATTEMPT_MAX ? m->attempts : JOB_ATTEMPT_MAX) & JOB_ATTEMPT_MAX;
    retain_saw(c, m->ended_ms);
    retain_saw(c, m->started_ms);
    job_unmark(j, JOB_ISOLATED | JOB_APART);
    if (m->apart)
        job_mark(j, JOB_APART);
    if (m->isolated)
        job_mark(j, JOB_ISOLATED);
    if (job_state_terminal(j->state)) {
        learn_end(c, i, m);
        return;
    }
    forget_failure(c, i);
    apply_wait(c, i, m);
    stream_set_position(c, i, m->stream_epoch, m->stream_seq);
    if (m->tries || m->crashes || m->error) {
        struct extra *x = job_need_extra(c, i);
        x->tries = (uint32_t)m->tries;
        x->crashes = (uint16_t)m->crashes;
        x->started_ms = m->started_ms;
        if (m->error && err_code_known(m->error))
            job_fail_text(c, i, (enum err_code)m->error, m->text);
    }
    if (m->history.len)
        history_set(c, i, m->history);
}

static void release_state(struct core *c, const struct job *j) {
    if (j->state_pos && j->state_pos != j->body_pos)
        c->fx.release(c->fx.ctx, j->state_pos, j->state_bytes);
}

static void replay_state(struct core *c, uint64_t pos, uint32_t bytes, const struct record *r) {
    uint32_t i = job_find(c, r->state->id);
    if (!i) { /* its body comes later: cleaning moved it behind */
        i = job_new(c, r->state->id);
        note_epoch(c, r->state->id);
    }
    struct job *j = job_at(c, i);
    if (r->state->version < j->version) {
        c->fx.release(c->fx.ctx, pos, bytes);
        return;
    }
    release_state(c, j);
    j->state_pos = pos;
    j->state_bytes = bytes;
    apply_state(c, i, r->state);
}

static void learn_spec(struct core *c, uint32_t i, const struct msg_rec_spec *s) {
    struct job *j = job_at(c, i);
    if (j->line)
        return; /* an older copy of its record has told the same */
    uint32_t queue = queue_take(c, s->queue), kind = kind_take(c, s->kind);
    uint32_t tenant = tenant_take(c, s->tenant);
    ASSERT(queue && kind && tenant); /* there is no bound before the start */
    job_belongs(c, i, queue, kind, tenant);
    j->priority = s->priority & 0xF;
    flow_learn_parent(c, i, s);
    retain_saw(c, s->created_ms);
    if (s->durability == DURABLE_ASYNC)
        job_mark(j, JOB_IS_ASYNC);
    struct trace unused;
    if (s->trace.len && trace_read(s->trace, &unused))
        job_mark(j, JOB_HAS_TRACE);
}

/* Only for a job that has not ended as far as the log has told. */
static void learn_needs(struct core *c, uint32_t i, const struct msg_rec_spec *s) {
    struct job *j = job_at(c, i);
    struct wall created = {s->created_ms};
    if (s->ttl_ms) /* of a then it begins with its turn */
        job_need_extra(c, i)->ttl_end_ms =
            c->now.ms +
            (s->then ? s->ttl_ms : wall_rest(c->wall, wall_add(created, s->ttl_ms), s->ttl_ms));
    if (s->grace_ms)
        stream_set_grace(c, i, s->grace_ms);
    if (s->key.len && !(j->extra && job_extra(c, j)->key))
        key_attach(c, i, s->key, s->interval_ms);
    if (!s->unique.len || (j->extra && job_extra(c, j)->unique))
        return;
    uint64_t rest =
        s->window_ms ? wall_rest(c->wall, wall_add(created, s->window_ms), s->window_ms) : 0;
    if (!s->window_ms || rest)
        unique_take(c, i, s->unique, s->window_ms, rest);
}

static void replay_job(struct core *c, uint64_t pos, uint32_t bytes, const struct record *r) {
    uint32_t i = job_find(c, r->state->id);
    if (!i) {
        i = job_new(c, r->state->id);
        note_epoch(c, r->state->id);
    }
    struct job *j = job_at(c, i);
    learn_spec(c, i, r->spec);
    bool newer = r->state->version > j->version || !j->state_pos;
    bool same = !newer && r->state->version == j->version;
    bool keeps_state = !newer && !(same && !job_state_terminal(j->state));
    if (!keeps_state)
        release_state(c, j);
    if (j->body_pos) {
        if (keeps_state && j->state_pos == j->body_pos)
            j->state_pos = pos; /* an older copy was the newest state: cannot be, but do no harm */
        c->fx.release(c->fx.ctx, j->body_pos, j->body_bytes);
    }
    j->body_pos = pos;
    j->body_bytes = bytes;
    if (!keeps_state) {
        j->state_pos = pos;
        j->state_bytes = 0;
        apply_state(c, i, r->state);
    }
    if (!job_state_terminal(j->state))
        learn_needs(c, i, r->spec);
}

/* ---- the rest
 * ------------------------------------------------------------------------------------ */
static void replay_epoch(struct core *c, uint64_t pos, uint32_t bytes, const struct record *r) {
    const struct msg_rec_epoch *m = r->other;
    retain_saw(c, m->at_ms);
    if (m->epoch < c->highest_epoch) {
        c->fx.release(c->fx.ctx, pos, bytes);
        return;
    }
    if (c->epoch_pos)
        c->fx.release(c->fx.ctx, c->epoch_pos, c->epoch_bytes);
    c->highest_epoch = m->epoch;
    c->epoch_pos = pos;
    c->epoch_bytes = bytes;
}

/* True: the record is the newest of its owner. */
static bool newest(struct core *c, uint64_t pos, uint32_t bytes, uint32_t version,
                   uint32_t *own_version, uint64_t *own_pos, uint32_t *own_bytes) {
    if (*own_pos && version < *own_version) {
        c->fx.release(c->fx.ctx, pos, bytes);
        return false;
    }
    if (*own_pos)
        c->fx.release(c->fx.ctx, *own_pos, *own_bytes);
    *own_version = version;
    *own_pos = pos;
    *own_bytes = bytes;
    return true;
}

static void replay_queue(struct core *c, uint64_t pos, uint32_t bytes, const struct record *r) {
    const struct msg_rec_queue *m = r->other;
    uint32_t queue = queue_take(c, m->queue);
    struct queue *q = queue ? queue_at(c, queue) : NULL;
    if (!q || !newest(c, pos, bytes, (uint32_t)m->version, &q->version, &q->pos, &q->bytes))
        return;
    q->pause_is_set = m->pause_set;
    q->paused = m->pause_set ? m->paused : q->file_paused;
    struct limit_config k = {.concurrency = (uint32_t)m->concurrency,
                             .rate_count = (uint32_t)m->rate_count,
                             .rate_per_ms = m->rate_per_ms,
                             .burst = (uint32_t)m->burst};
    limit_set(c, &q->limit, m->limit_set ? &k : NULL);
}

static void replay_tenant(struct core *c, uint64_t pos, uint32_t bytes, const struct record *r) {
    const struct msg_rec_tenant *m = r->other;
    uint32_t tenant = tenant_take(c, m->tenant);
    struct tenant *t = tenant ? tenant_at(c, tenant) : NULL;
    if (!t || !newest(c, pos, bytes, (uint32_t)m->version, &t->version, &t->pos, &t->bytes))
        return;
    struct limit_config k = {.concurrency = (uint32_t)m->concurrency,
                             .rate_count = (uint32_t)m->rate_count,
                             .rate_per_ms = m->rate_per_ms,
                             .burst = (uint32_t)m->burst,
                             .weight = (uint32_t)m->weight};
    limit_set(c, &t->limit, m->limit_set ? &k : NULL);
}

static void replay_pool(struct core *c, uint64_t pos, uint32_t bytes, const struct record *r) {
    const struct msg_rec_pool *m = r->other;
    uint32_t pool = pool_take(c, m->pool);
    struct pool *p = pool ? pool_at(c, pool) : NULL;
    if (!p || !newest(c, pos, bytes, (uint32_t)m->version, &p->version, &p->pos, &p->bytes))
        return;
    p->is_set = m->scale_set;
    if (m->scale_set)
        p->wanted = (uint32_t)m->processes;
}

static void replay_kind(struct core *c, uint64_t pos, uint32_t bytes, const struct record *r) {
    const struct msg_rec_kind *m = r->other;
    uint32_t kind = kind_take(c, m->kind);
    struct kind *k = kind ? kind_at(c, kind) : NULL;
    if (k && newest(c, pos, bytes, (uint32_t)m->version, &k->version, &k->pos, &k->bytes))
        kind_replay(c, kind, m);
}

static void replay_flow(struct core *c, uint64_t pos, uint32_t bytes, const struct record *r) {
    const struct msg_rec_flow *m = r->other;
    uint32_t n = flow_need(c, m->id);
    struct flow *f = flow_at(c, n);
    if (newest(c, pos, bytes, (uint32_t)m->version, &f->version, &f->pos, &f->bytes))
        flow_replay(c, n, m);
}

static void replay_schedule(struct core *c, uint64_t pos, uint32_t bytes, const struct record *r) {
    const struct msg_rec_schedule *m = r->other;
    struct schedule *s = schedule_at(c, schedule_take(c, m->name));
    if (newest(c, pos, bytes, (uint32_t)m->version, &s->version, &s->pos, &s->bytes))
        schedule_replay(c, s, r);
}

static void replay_window(struct core *c, uint64_t pos, uint32_t bytes, const struct record *r) {
    unique_replay(c, pos, bytes, r->other);
}

typedef void replay_fn(struct core *c, uint64_t pos, uint32_t bytes, const struct record *r);
static replay_fn *const on_record[REC_TYPES] = {
    [REC_EPOCH] = replay_epoch,       [REC_JOB] = replay_job,     [REC_STATE] = replay_state,
    [REC_WINDOW] = replay_window,     [REC_QUEUE] = replay_queue, [REC_TENANT] = replay_tenant,
    [REC_POOL] = replay_pool,         [REC_KIND] = replay_kind,   [REC_FLOW] = replay_flow,
    [REC_SCHEDULE] = replay_schedule,
};

void core_replay(struct core *c, uint64_t position, uint32_t bytes, const struct record *r) {
    ASSERT(c->replaying);
    on_record[r->type](c, position, bytes, r);
}

/* ---- the end of the replay
 * ----------------------------------------------------------------------- */
struct by_id {
    uint64_t id;
    uint32_t i;
};

static int compare(const void *a, const void *b) {
    uint64_t x = ((const struct by_id *)a)->id, y = ((const struct by_id *)b)->id;
    return (x > y) - (x < y);
}

static void sort(struct by_id *rows, uint32_t n) {
    for (uint32_t k = 1; k < n; k++) {
        if (rows[k - 1].id > rows[k].id) { /* cleaning has moved some */
            qsort(rows, n, sizeof *rows, compare);
            return;
        }
    }
}

/* A state without a body: the job is past retention, its other records are gone already. */
static void drop_bodiless(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    strip(c, i);
    release_state(c, j);
    job_free(c, i);
}

static uint32_t collect(struct core *c, struct by_id *rows, bool ended) {
    uint32_t n = 0;
    SLAB_EACH(i, &c->jobs) {
        struct job *j = job_at(c, i);
        if (!j->body_pos) {
            drop_bodiless(c, i);
            continue;
        }
        if (job_state_terminal(j->state) == ended)
            rows[n++] = (struct by_id){ended ? j->since_ms : j->id, i};
    }
    sort(rows, n);
    return n;
}

static void count_states(struct core *c) {
    memset(c->stats.by_state, 0, sizeof c->stats.by_state);
    SLAB_EACH(i, &c->jobs) {
        struct job *j = job_at(c, i);
        c->stats.by_state[j->state]++;
        job_queue(c, j)->by_state[j->state]++;
    }
}

/* It ran when we went down: it runs on for a lease, its key and limits with it. */
static void resume_running(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    struct extra *x = job_need_extra(c, i);
    if (x->key)
        key_hold(c, i);
    limit_take(&job_queue(c, j)->limit, core_now_us(c));
    limit_take(&job_tenant(c, j)->limit, core_now_us(c));
    quota_take(c, j);
    attempt_attach(c, i, 0);
    body_fetch(c, i);
}

/* Back through the front door. */
static void resume_waiting(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    c->stats.by_state[j->state]--;
    job_queue(c, j)->by_state[j->state]--;
    bool tried = j->state == JOB_scheduled && j->fence;
    j->state = JOB_NONE;
    c->stats.by_state[JOB_NONE]++;
    job_queue(c, j)->by_state[JOB_NONE]++;
    if (tried) {
        job_mark(j, JOB_BACKOFF);
        if (job_extra(c, j)->key)
            key_hold(c, i); /* a head that is tried again keeps its key */
    }
    job_place(c, i);
    job_drop_extra(c, i);
}

void replay_finish(struct core *c) {
    struct by_id *rows = mem_alloc((c->jobs.used + 1) * sizeof *rows);
    uint32_t n = collect(c, rows, true);
    flows_replayed(c);
    count_states(c);
    for (uint32_t k = 0; k < n; k++)
        retain_add(c, rows[k].i);
    n = collect(c, rows, false);
    for (uint32_t k = 0; k < n; k++)
        if (job_at(c, rows[k].i)->state == JOB_running ||
            job_at(c, rows[k].i)->state == JOB_cancelling)
            resume_running(c, rows[k].i);
    c->replaying = false;
    for (uint32_t k = 0; k < n; k++)
        if (job_at(c, rows[k].i)->state != JOB_running &&
            job_at(c, rows[k].i)->state != JOB_cancelling)
            resume_waiting(c, rows[k].i);
    flows_resume(c);
    schedules_resume(c);
    mem_free(rows);
}
