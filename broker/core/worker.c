/* Workers: who is there, what they hold, and what becomes of it when they go.
 *
 * A worker is gone when it says so, when its supervisor says so, or when it was silent for a lease.
 * Silence counts in awake time only: what we slept through ourselves is not held against anybody.
 */
#include "broker/core/core_int.h"
#include "common/base/id.h"
#include "common/base/mem.h"

struct worker *request_worker(struct core *c) {
    uint32_t w = c->request.session->worker;
    return w ? worker_at(c, w) : NULL;
}

/* ---- kinds
 * --------------------------------------------------------------------------------------- */
static void kind_add_worker(struct core *c, uint32_t kind, uint32_t w) {
    struct kind *k = kind_at(c, kind);
    if (k->n_workers == k->size_workers) {
        k->size_workers = k->size_workers ? k->size_workers * 2 : 4;
        k->workers = mem_grow(k->workers, k->size_workers, sizeof *k->workers);
    }
    k->workers[k->n_workers++] = w;
    names_hold(&c->kinds, kind);
}

static void kind_remove_worker(struct core *c, uint32_t kind, uint32_t w) {
    struct kind *k = kind_at(c, kind);
    for (uint32_t n = 0; n < k->n_workers; n++) {
        if (k->workers[n] == w) {
            k->workers[n] = k->workers[--k->n_workers];
            names_let_go(&c->kinds, kind);
            break;
        }
    }
    if (k->reserved == w) {
        worker_at(c, w)->reserve = 0;
        k->reserved = 0;
    }
}

static void forget_kinds(struct core *c, uint32_t wi) {
    struct worker *w = worker_at(c, wi);
    for (uint32_t n = 0; n < w->n_kinds; n++)
        kind_remove_worker(c, w->kinds[n], wi);
    MEM_FREE(w->kinds);
    w->n_kinds = 0;
}

/* It works on without that kind or pool: such jobs cannot be submitted either. */
static void tell_too_many(struct core *c, const char *what, uint32_t max, struct str name) {
    struct err e;
    err_set(&e, ERR_BUSY, "hello: no place for %s '" STR_FMT "', there are %u, the bound", what,
            STR_ARG(name), max);
    c->stats.refused++;
    reply_error(c, c->request.link, 0, &e);
}

static void join_pool(struct core *c, struct worker *w, struct str name) {
    uint32_t pool = name.len ? pool_take(c, name) : w->pool;
    if (name.len && !pool)
        tell_too_many(c, "pool", c->pools.max, name);
    if (pool == w->pool)
        return;
    if (pool)
        names_hold(&c->pools, pool);
    if (w->pool)
        names_let_go(&c->pools, w->pool);
    w->pool = pool;
}

/* The kinds that it had are let go last: it may say the same ones again. */
static void learn_kinds(struct core *c, uint32_t wi, struct str_list names) {
    struct worker *w = worker_at(c, wi);
    uint32_t *old = w->kinds, n_old = w->n_kinds;
    w->kinds = mem_alloc(names.n * sizeof *w->kinds);
    w->n_kinds = 0;
    for (size_t n = 0; n < names.n; n++) {
        uint32_t k = kind_take(c, names.at[n]);
        if (!k) {
            tell_too_many(c, "kind", c->kinds.max, names.at[n]);
            continue;
        }
        kind_hello(c, k);
        bool twice = false;
        for (uint32_t m = 0; m < w->n_kinds; m++)
            twice |= w->kinds[m] == k;
        if (twice)
            continue;
        w->kinds[w->n_kinds++] = k;
        kind_add_worker(c, k, wi);
    }
    for (uint32_t n = 0; n < n_old; n++)
        kind_remove_worker(c, old[n], wi);
    mem_free(old);
}

/* ---- taking back
 * --------------------------------------------------------------------------------- */
void worker_recall(struct core *c, uint32_t wi, uint32_t queue) {
    struct worker *w = worker_at(c, wi);
    for (uint32_t i = w->run.head; i; i = job_extra(c, job_at(c, i))->run_next) {
        struct job *j = job_at(c, i);
        if (job_is(j, JOB_STARTED) || (queue && line_at(c, j->line)->queue != queue))
            continue;
        job_mark(j, JOB_RECALLED);
        struct msg_attempt_ref m = {0};
        MSG_SET(&m, attempt_ref, job, j->id);
        MSG_SET(&m, attempt_ref, fence, j->fence);
        send_to(c, session_at(c, w->session)->link, VERB_recall, 0, &m, STR(""), 0);
    }
}

void worker_drain(struct core *c, uint32_t wi) {
    struct worker *w = worker_at(c, wi);
    if (w->state == WORKER_ACTIVE)
        w->state = WORKER_DRAINING;
    worker_recall(c, wi, 0);
    struct msg_bye m = {0};
    MSG_SET(&m, bye, text, STR("drained"));
    send_to(c, session_at(c, w->session)->link, VERB_drain_worker, 0, &m, STR(""), 0);
}

/* ---- hello
 * --------------------------------------------------------------------------------------- */
static void tell_lost(struct core *c, uint64_t link, uint64_t job, uint64_t fence) {
    struct msg_attempt_ref m = {0};
    MSG_SET(&m, attempt_ref, job, job);
    MSG_SET(&m, attempt_ref, fence, fence);
    send_to(c, link, VERB_lost, 0, &m, STR(""), 0);
    c->stats.stale_fences++;
}

static bool runs_kind(const struct worker *w, uint32_t kind) {
    for (uint32_t n = 0; n < w->n_kinds; n++)
        if (w->kinds[n] == kind)
            return true;
    return false;
}

/* The dispatch record was lost with the last life, the attempt was not. No broker has given it to a
 * worker that does not run its kind, whatever that one says. */
static bool adopt_unrecorded(struct core *c, uint32_t i, uint32_t w, uint64_t fence) {
    struct job *j = job_at(c, i);
    bool waits = j->state == JOB_ready || j->state == JOB_scheduled || j->state == JOB_blocked;
    if (!waits || fence <= j->fence || id_epoch(fence) >= (c->epoch & ID_EPOCH_MAX))
        return false;
    if (!runs_kind(worker_at(c, w), line_at(c, j->line)->kind))
        return false;
    struct extra *x = job_extra(c, j);
    if (x && x->key && !key_grab(c, i))
        return false; /* another job of its key runs by now */
    job_leave_line(c, i);
    job_unmark(j, JOB_BACKOFF | JOB_HAS_RUN_AT);
    attempt_begin(c, i, w, fence);
    if (job_streams(c, job_at(c, i)))
        stream_open(c, i, true);
    job_record(c, i, STR(""));
    if (job_body(c, j))
        attempt_learn(c, i);
    else
        body_fetch(c, i);
    return true;
}

static void claim(struct core *c, uint32_t wi, uint64_t id, uint64_t fence) {
    const struct worker *w = worker_at(c, wi);
    uint64_t link = session_at(c, w->session)->link;
    uint32_t i = job_find(c, id);
    struct job *j = i ? job_at(c, i) : NULL;
    bool runs = j && (j->state == JOB_running || j->state == JOB_cancelling);
    if (runs && j->fence == fence && !job_is(j, JOB_TO_SEND)) {
        struct extra *x = job_extra(c, j);
        if (!x->worker && rights_limit_kinds(c) && !runs_kind(w, line_at(c, j->line)->kind)) {
            tell_lost(c, link, id, fence);
            return;
        }
        if (!x->worker)
            attempt_adopt(c, i, wi);
        x->seen = c->hello_mark;
        if (j->state == JOB_cancelling)
            attempt_stop(c, i, ERR_CANCELLED, j->state_pos);
        return;
    }
    if (j && !runs && adopt_unrecorded(c, i, wi, fence)) {
        job_extra(c, j)->seen = c->hello_mark;
        return;
    }
    /* A result of this fence that is recorded already will be acknowledged when it is offered. */
    if (!(j && j->fence == fence && !runs))
        tell_lost(c, link, id, fence);
}

static void claim_all(struct core *c, uint32_t w, struct uint_list pairs) {
    for (size_t n = 0; n + 1 < pairs.n; n += 2)
        claim(c, w, pairs.at[n], pairs.at[n + 1]);
}

/* What we gave it and it does not know was lost on the way. */
static void requeue_unseen(struct core *c, uint32_t wi) {
    struct worker *w = worker_at(c, wi);
    for (uint32_t i = w->run.head, next; i; i = next) {
        struct job *j = job_at(c, i);
        struct extra *x = job_extra(c, j);
        next = x->run_next;
        if (x->seen == c->hello_mark || job_is(j, JOB_TO_SEND))
            continue;
        if (j->state == JOB_cancelling) {
            attempt_detach(c, i);
            job_end(c, i, JOB_cancelled, STR(""));
        } else {
            attempt_requeue(c, i);
        }
    }
}

static uint32_t worker_new(struct core *c, uint32_t session) {
    uint32_t wi = slab_take(&c->workers);
    worker_at(c, wi)->session = session;
    session_at(c, session)->worker = wi;
    return wi;
}

void worker_hello(struct core *c, uint32_t session, const struct msg_hello *m) {
    struct session *s = session_at(c, session);
    bool fresh = !s->worker;
    uint32_t wi = fresh ? worker_new(c, session) : s->worker;
    struct worker *w = worker_at(c, wi);
    w->slots = m->slots ? (uint32_t)m->slots : 1;
    w->prefetch = (uint32_t)m->prefetch;
    w->heard_ms = c->awake_ms;
    w->mismatch_ms = 0;
    join_pool(c, w, m->pool);
    learn_kinds(c, wi, m->kinds);
    c->hello_mark++;
    claim_all(c, wi, m->running);
    claim_all(c, wi, m->unacked);
    requeue_unseen(c, wi);
    if (fresh)
        core_tell(c, EVENT_worker_joined, s->name);
    if (w->state == WORKER_DRAINING)
        worker_drain(c, wi);
    if (w->pool)
        pool_trim(c, w->pool);
}

/* ---- going
 * --------------------------------------------------------------------------------------- */
static uint32_t count_started(const struct core *c, const struct worker *w) {
    uint32_t n = 0;
    for (uint32_t i = w->run.head; i; i = job_extra(c, job_at(c, i))->run_next)
        n += job_is(job_at(c, i), JOB_STARTED);
    return n;
}

/* We say how it ended: what its worker may still report of it was not recorded, and is refused. */
static void fail_lost(struct core *c, uint32_t i, enum err_code code, struct str text) {
    if (!MUTANT(fence_kept_on_requeue))
        job_at(c, i)->fence = fence_next(c, 1);
    attempt_failed(c, i, code, text);
}

/* It ran when its process went. Alone it may be the cause; among others all are suspects and are
 * tried again one by one, at no cost. */
static void suspect(struct core *c, uint32_t i, enum loss how, bool alone, struct str text) {
    struct job *j = job_at(c, i);
    struct extra *x = job_extra(c, j);
    if (how == LOSS_CRASH && !alone) {
        job_mark(j, JOB_ISOLATED);
        history_add(c, i, ERR_WORKER_LOST, text);
        attempt_requeue(c, i);
        return;
    }
    x->crashes++;
    if (x->crashes >= c->config.crashes_max && !MUTANT(poison_forever)) {
        fail_lost(c, i, ERR_CRASHED, text);
        return;
    }
    if (x->crashes >= 2)
        job_mark(j, JOB_ISOLATED);
    if (how == LOSS_CRASH) {
        fail_lost(c, i, ERR_WORKER_LOST, text);
        return;
    }
    history_add(c, i, ERR_WORKER_LOST, text);
    attempt_requeue(c, i);
}

static void take_back(struct core *c, uint32_t i, enum loss how, bool alone, struct str text) {
    struct job *j = job_at(c, i);
    if (j->state == JOB_cancelling) {
        attempt_detach(c, i);
        job_end(c, i, JOB_cancelled, STR(""));
    } else if (!attempt_learned(c, i) ||
               (!job_is(j, JOB_TIMED_OUT) &&
                (!job_is(j, JOB_STARTED) || how == LOSS_LEFT || how == LOSS_KILLED))) {
        attempt_requeue(c, i);
    } else if (job_is(j, JOB_TIMED_OUT)) {
        fail_lost(c, i, ERR_TIMEOUT, text);
    } else {
        suspect(c, i, how, alone, text);
    }
}

void worker_lost(struct core *c, uint32_t wi, enum loss how, struct str text) {
    struct worker *w = worker_at(c, wi);
    forget_kinds(c, wi);
    w->state = WORKER_STUCK; /* nothing new for it while its jobs are taken back */
    core_tell(c, EVENT_worker_lost, text);
    bool alone = count_started(c, w) == 1;
    while (w->run.head)
        take_back(c, w->run.head, how, alone, text);
    ASSERT(w->held == 0 && w->started == 0);
    session_at(c, w->session)->worker = 0;
    if (w->pool)
        names_let_go(&c->pools, w->pool);
    slab_give(&c->workers, wi);
}

/* ---- checks, once a turn
 * ------------------------------------------------------------------------- */
static void ask_kill(struct core *c, struct worker *w) {
    w->kill_asked = true;
    w->asked_ms = c->now.ms;
    struct msg_kill_worker m = {0};
    MSG_SET(
        &m, kill_worker, instance,
        str_make(session_at(c, w->session)->instance, sizeof session_at(c, w->session)->instance));
    MSG_SET(&m, kill_worker, text, STR("it did not obey a cancel or a timeout"));
    tell_supervisors(c, VERB_kill_worker, &m);
}

/* The disobedient attempts are all that is left, or the others had their time. */
static void check_stuck(struct core *c, uint32_t wi) {
    struct worker *w = worker_at(c, wi);
    bool others = false;
    for (uint32_t i = w->run.head; i; i = job_extra(c, job_at(c, i))->run_next)
        others |= !job_extra(c, job_at(c, i))->asked_ms;
    bool asked_any = false;
    for (uint32_t i = w->run.head; i; i = job_extra(c, job_at(c, i))->run_next)
        asked_any |= job_extra(c, job_at(c, i))->asked_ms != 0;
    if (!asked_any && !w->kill_asked) { /* it obeyed after all */
        w->state = WORKER_ACTIVE;
        return;
    }
    uint64_t patience = others ? c->config.kill_grace_ms : 0;
    if (!w->kill_asked && c->now.ms - w->stuck_ms >= patience)
        ask_kill(c, w);
    else if (w->kill_asked && c->now.ms - w->asked_ms >= c->config.kill_grace_ms)
        worker_lost(c, wi, LOSS_KILLED, STR("the worker did not obey and nobody ended it"));
}

void workers_check(struct core *c) {
    uint64_t lease = c->config.heartbeat_ms * c->config.missed_max;
    SLAB_EACH(wi, &c->workers) {
        struct worker *w = worker_at(c, wi);
        if (c->awake_ms - w->heard_ms > lease && !MUTANT(leases_never_end))
            worker_lost(c, wi, LOSS_SILENT, STR("the worker was silent for a lease"));
        else if (w->state == WORKER_STUCK && !c->read_only)
            check_stuck(c, wi);
    }
}

/* Jobs that ran before our restart and that no worker has claimed within a lease. */
void orphans_check(struct core *c) {
    if (!c->orphans.head || c->awake_ms < c->orphans_end_ms)
        return;
    while (c->orphans.head) {
        uint32_t i = c->orphans.head;
        if (job_at(c, i)->state == JOB_cancelling) {
            attempt_detach(c, i);
            job_end(c, i, JOB_cancelled, STR(""));
        } else {
            attempt_requeue(c, i);
        }
    }
}

/* ---- what workers say
 * ---------------------------------------------------------------------------- */
void on_heartbeat(struct core *c, const void *message, struct str payload) {
    const struct msg_heartbeat *m = message;
    (void)payload;
    struct worker *w = request_worker(c);
    struct err e = {0};
    if (m->epoch != c->epoch) {
        err_set(&e, ERR_NO_HELLO, "the broker's epoch is %llu", (unsigned long long)c->epoch);
    } else if (w) {
        w->heard_ms = c->awake_ms;
        w->rss_bytes = m->rss_bytes;
        /* A message may be on its way; a difference that stays while none passes is a lost one. */
        if (m->held == w->held)
            w->mismatch_ms = 0;
        else if (!w->mismatch_ms)
            w->mismatch_ms = c->awake_ms;
        else if (c->awake_ms - w->mismatch_ms >= 2 * c->config.heartbeat_ms)
            err_set(&e, ERR_NO_HELLO, "worker holds %llu jobs, %u were given",
                    (unsigned long long)m->held, w->held);
    } else if (c->request.role == ROLE_WORKER) {
        err_set(&e, ERR_NO_HELLO, "this worker was given up after it had been silent");
    } else if (c->request.session->quiet) {
        err_set(&e, ERR_NO_HELLO, "what this peer was attached to was given up: it was silent");
    }
    if (e.code) {
        reply_error(c, c->request.link, 0, &e);
        return;
    }
    struct msg_heartbeat reply = {0};
    MSG_SET(&reply, heartbeat, epoch, c->epoch);
    if (c->read_only)
        MSG_SET(&reply, heartbeat, read_only, true);
    send_to(c, c->request.link, VERB_heartbeat, 0, &reply, STR(""), 0);
    if (MSG_HAS(m, heartbeat, notes))
        notes_tell(c, c->request.session_index, m->notes);
    if (w)
        worker_nag(c, c->request.session->worker);
}

/* Says again what may have been lost on the way. */
void worker_nag(struct core *c, uint32_t wi) {
    struct worker *w = worker_at(c, wi);
    bool recall = false;
    for (uint32_t i = w->run.head; i; i = job_extra(c, job_at(c, i))->run_next) {
        struct job *j = job_at(c, i);
        if (job_extra(c, j)->asked_ms)
            attempt_stop(c, i, job_is(j, JOB_TIMED_OUT) ? ERR_TIMEOUT : ERR_CANCELLED,
                         j->state == JOB_cancelling ? j->state_pos : 0);
        recall |= job_is(j, JOB_RECALLED);
    }
    if (w->state == WORKER_DRAINING)
        worker_drain(c, wi);
    else if (recall)
        worker_recall(c, wi, 0);
}

void on_bye(struct core *c, const void *message, struct str payload) {
    const struct msg_bye *m = message;
    (void)payload;
    uint32_t s = c->request.session_index;
    if (session_at(c, s)->worker)
        worker_lost(c, session_at(c, s)->worker, LOSS_LEFT, m->text);
    c->request.session = NULL;
    session_end(c, s);
}

void on_worker_died(struct core *c, const void *message, struct str payload) {
    const struct msg_worker_died *m = message;
    (void)payload;
    struct reply_item item = {0};
    uint32_t s = session_by_instance(c, m->instance);
    if (s && session_at(c, s)->worker) {
        const struct worker *w = worker_at(c, session_at(c, s)->worker);
        enum loss how = w->kill_asked ? LOSS_KILLED : m->crashed ? LOSS_CRASH : LOSS_LEFT;
        item.count = w->held;
        worker_lost(c, session_at(c, s)->worker, how,
                    m->text.len ? m->text : STR("the worker process ended"));
    }
    answer(c, &item, NULL, 0);
}
