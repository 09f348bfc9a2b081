/* What is known: jobs, queues, workers, pools, the whole. Nothing here changes anything. */
#include "broker/core/core_int.h"
#include "common/base/id.h"
#include "common/base/mem.h"

#include <stdio.h>
#include <stdlib.h>

#define READS_MAX    4096 /* some messages of WATCH_JOB full of jobs that have ended */
#define LIST_DEFAULT 50
/* Ids tried for lists in one turn; and for each request at least, so that every list goes on. */
#define LIST_LOOKUPS     16384
#define LIST_LOOKUPS_MIN 256

/* ---- one job
 * ------------------------------------------------------------------------------------- */
static void fill_flow(const struct core *c, const struct job *j, struct msg_job_info *m) {
    uint32_t own = job_flow(c, j);
    if (j->up) {
        MSG_SET(m, job_info, parent, flow_at(c, j->up)->id);
        MSG_SET(m, job_info, root, flow_at(c, flow_root(c, j->up))->id);
    }
    if (job_is(j, JOB_IS_THEN))
        MSG_SET(m, job_info, then, true);
    if (job_is(j, JOB_FAIL_FAST))
        MSG_SET(m, job_info, fail_fast, true);
    if (!own || !flow_at(c, own)->all.total)
        return;
    const struct flow *f = flow_at(c, own);
    MSG_SET(m, job_info, spawned, f->own.total);
    MSG_SET(m, job_info, below, f->all.total);
    MSG_SET(m, job_info, below_done, f->all.ended[0]);
    MSG_SET(m, job_info, below_dead, f->all.ended[1]);
    MSG_SET(m, job_info, below_cancelled, f->all.ended[2]);
    MSG_SET(m, job_info, below_expired, f->all.ended[3]);
    if (f->settled)
        MSG_SET(m, job_info, settled, true);
    if (f->doom)
        MSG_SET(m, job_info, flow_error, (uint64_t)f->doom);
}

static void fill_slot(const struct core *c, const struct job *j, struct msg_job_info *m) {
    const struct line *l = line_at(c, j->line);
    MSG_SET(m, job_info, id, j->id);
    MSG_SET(m, job_info, state, j->state ? j->state : (uint64_t)JOB_ready);
    MSG_SET(m, job_info, kind, kind_at(c, l->kind)->row.name);
    if (l->queue != c->nameless)
        MSG_SET(m, job_info, queue, queue_at(c, l->queue)->row.name);
    MSG_SET(m, job_info, tenant, job_tenant(c, j)->row.name);
    MSG_SET(m, job_info, priority, j->priority);
    MSG_SET(m, job_info, attempts, j->attempts);
    if (j->fence)
        MSG_SET(m, job_info, fence, j->fence);
    if (job_state_terminal(j->state))
        MSG_SET(m, job_info, ended_ms, j->since_ms);
    if (dead_print(c, j))
        MSG_SET(m, job_info, group, dead_print(c, j));
    fill_flow(c, j, m);
}

static void fill_extra(const struct core *c, const struct job *j, const struct extra *x,
                       struct msg_job_info *m) {
    if (x->started_ms)
        MSG_SET(m, job_info, started_ms, x->started_ms);
    if (x->crashes)
        MSG_SET(m, job_info, crashes, x->crashes);
    if (x->progress || x->progress_total) {
        MSG_SET(m, job_info, progress, x->progress);
        MSG_SET(m, job_info, progress_total, x->progress_total);
    }
    if (x->failure) {
        MSG_SET(m, job_info, error, (uint64_t)x->failure->code);
        MSG_SET(m, job_info, text, str_make(x->failure->text, x->failure->len));
    }
    if (x->history)
        MSG_SET(m, job_info, history, str_make(x->history->text, x->history->len));
    if (j->state != JOB_scheduled)
        return;
    if (job_is(j, JOB_HAS_RUN_AT))
        MSG_SET(m, job_info, due_ms, x->run_at_ms);
    else
        MSG_SET(m, job_info, due_ms,
                c->wall.ms + (x->due_ms > c->now.ms ? x->due_ms - c->now.ms : 0));
}

/* With the defaults of the configuration where neither submission nor kind said a number: they are
 * what would count. */
static void fill_spec(const struct core *c, const struct msg_rec_spec *s, struct msg_job_info *m) {
    uint64_t timeout_ms = s->timeout_ms ? s->timeout_ms : c->config.timeout_ms;
    MSG_SET(m, job_info, queue, s->queue);
    MSG_SET(m, job_info, created_ms, s->created_ms);
    MSG_SET(m, job_info, attempts_max, s->attempts_max ? s->attempts_max : c->config.attempts_max);
    if (s->key.len)
        MSG_SET(m, job_info, key, s->key);
    if (s->unique.len)
        MSG_SET(m, job_info, unique, s->unique);
    if (s->ttl_ms)
        MSG_SET(m, job_info, ttl_ms, s->ttl_ms);
    if (timeout_ms)
        MSG_SET(m, job_info, timeout_ms, timeout_ms);
    MSG_SET(m, job_info, durability, s->durability);
    if (s->schedule.len)
        MSG_SET(m, job_info, schedule, s->schedule);
    if (s->due_ms)
        MSG_SET(m, job_info, schedule_due_ms, s->due_ms);
}

static void fill_end(const struct msg_rec_state *s, struct msg_job_info *m) {
    if (s->started_ms)
        MSG_SET(m, job_info, started_ms, s->started_ms);
    if (s->crashes)
        MSG_SET(m, job_info, crashes, s->crashes);
    if (s->error && s->state != JOB_done) {
        MSG_SET(m, job_info, error, s->error);
        MSG_SET(m, job_info, text, s->text);
    }
    if (s->history.len)
        MSG_SET(m, job_info, history, s->history);
}

static void not_found(struct core *c, uint64_t link, uint64_t sequence, uint64_t id,
                      const char *why) {
    char text[128];
    snprintf(text, sizeof text, "job %s: %s", id_show(id).at, why);
    struct msg_job_info m = {0};
    MSG_SET(&m, job_info, code, (uint64_t)ERR_NOT_FOUND);
    MSG_SET(&m, job_info, id, id);
    MSG_SET(&m, job_info, text, str_of(text));
    send_to(c, link, VERB_job_info, sequence, &m, STR(""), 0);
}

/* Where it runs: name, host, pid. */
static void fill_worker(const struct core *c, const struct extra *x, char where[400],
                        struct msg_job_info *m) {
    if (!x->worker)
        return;
    const struct session *s = session_at(c, worker_at(c, x->worker)->session);
    snprintf(where, 400, STR_FMT " " STR_FMT " %u", STR_ARG(s->name), STR_ARG(s->host), s->pid);
    MSG_SET(m, job_info, worker, str_make(where, strnlen(where, 255)));
}

static void send_info(struct core *c, const struct load *l, const struct body *b,
                      const struct record *end) {
    uint32_t i = job_find(c, l->job);
    if (!i) {
        not_found(c, l->link, l->sequence, l->job, "not known, or past retention");
        return;
    }
    const struct job *j = job_at(c, i);
    const struct extra *x = job_extra(c, j);
    struct msg_job_info m = {0};
    MSG_SET(&m, job_info, code, 0);
    fill_slot(c, j, &m);
    char where[400];
    if (x) {
        fill_extra(c, j, x, &m);
        fill_worker(c, x, where, &m);
    }
    fill_spec(c, &b->spec, &m);
    struct trace trace = spec_trace(c, l->job, &b->spec);
    struct trace_text trace_text = trace_show(&trace);
    MSG_SET(&m, job_info, trace, str_make(trace_text.at, TRACE_LEN));
    struct str payload = l->payload ? b->payload : STR(""), result = STR("");
    if (end && end->state) {
        fill_end(end->state, &m);
        result = l->payload ? end->result : STR("");
    }
    if (payload.len)
        MSG_SET(&m, job_info, size, payload.len);
    if (result.len)
        MSG_SET(&m, job_info, result_size, result.len);
    struct letter out = {.link = l->link,
                         .verb = VERB_job_info,
                         .sequence = l->sequence,
                         .message = &m,
                         .payload = payload,
                         .payload2 = result,
                         .after = j->state_pos < c->durable ? 0 : j->state_pos};
    c->fx.send(c->fx.ctx, &out);
}

static void tell_finished(struct core *c, const struct load *l, const struct record *r,
                          uint64_t after) {
    const struct msg_rec_state *s = r->state;
    struct msg_finished m = {0};
    MSG_SET(&m, finished, id, l->job);
    MSG_SET(&m, finished, state, s->state);
    MSG_SET(&m, finished, attempts, s->attempts);
    if (r->result.len)
        MSG_SET(&m, finished, size, r->result.len);
    if (s->error && s->state != JOB_done) {
        MSG_SET(&m, finished, error, s->error);
        MSG_SET(&m, finished, text, s->text);
    }
    if (s->stream_epoch) {
        MSG_SET(&m, finished, epoch, s->stream_epoch);
        MSG_SET(&m, finished, seq, s->stream_seq);
    }
    uint32_t i = job_find(c, l->job), own = i ? job_flow(c, job_at(c, i)) : 0;
    if (own && flow_at(c, own)->all.total)
        MSG_SET(&m, finished, flow, true);
    send_to(c, l->link, VERB_finished, 0, &m, r->result, after);
}

void info_loaded(struct core *c, const struct load *l, const struct record *r) {
    struct load next = *l;
    uint32_t i = job_find(c, l->job);
    if (!r || !i) {
        not_found(c, l->link, l->sequence, l->job,
                  r ? "past retention" : "its record cannot be read");
        body_free(&next.body);
        return;
    }
    const struct job *j = job_at(c, i);
    if (l->what == LOAD_FINISHED) {
        tell_finished(c, l, r, j->state_pos);
        return;
    }
    if (l->what == LOAD_INFO_STATE) {
        send_info(c, l, l->body, r);
        body_free(&next.body);
        return;
    }
    next.body = body_new(r->spec, r->payload);
    if (job_state_terminal(j->state) && j->state_pos != j->body_pos) {
        next.what = LOAD_INFO_STATE;
        load_start(c, &next, j->state_pos, j->state_bytes);
        return;
    }
    send_info(c, l, next.body, job_state_terminal(j->state) ? r : NULL);
    body_free(&next.body);
}

/* Records are as large as their payloads: those that only answer questions have a bound. */
static int read_room(const struct core *c, struct err *e) {
    if (c->loads.used < READS_MAX)
        return 0;
    return err_set(e, ERR_BUSY, "%u records are being read, at most %u for questions; try again",
                   c->loads.used, READS_MAX);
}

static void refuse(struct core *c, const struct err *e) {
    c->stats.refused++;
    reply_error(c, c->request.link, c->request.sequence, e);
}

void on_get_job(struct core *c, const void *message, struct str payload) {
    const struct msg_get_job *m = message;
    (void)payload;
    uint32_t i = job_find_seen(c, m->id);
    struct load l = {.what = LOAD_INFO_BODY,
                     .job = m->id,
                     .link = c->request.link,
                     .sequence = c->request.sequence,
                     .payload = m->payload};
    if (!i) {
        not_found(c, l.link, l.sequence, m->id, "not known, or past retention");
        return;
    }
    const struct job *j = job_at(c, i);
    const struct body *b = job_body(c, j);
    struct err e;
    if (b)
        send_info(c, &l, b, NULL);
    else if (read_room(c, &e) < 0)
        refuse(c, &e);
    else
        load_start(c, &l, j->body_pos, j->body_bytes);
}

int watch_job(struct core *c, uint32_t i, struct err *e) {
    const struct job *j = job_at(c, i);
    if (!job_state_terminal(j->state)) {
        if (watch_add(c, i, c->request.session_index))
            return 0;
        return err_set(e, ERR_BUSY, "%u watches are held, the bound is %u", c->watches.used,
                       c->config.watches_max);
    }
    if (read_room(c, e) < 0)
        return -1;
    struct load l = {.what = LOAD_FINISHED, .job = j->id, .link = c->request.link};
    bool whole = j->state_pos == j->body_pos;
    load_start(c, &l, j->state_pos, whole ? j->body_bytes : j->state_bytes);
    return 0;
}

void on_watch_job(struct core *c, const void *message, struct str payload) {
    const struct msg_get_job *m = message;
    (void)payload;
    uint32_t i = job_find_seen(c, m->id);
    if (!i) {
        not_found(c, c->request.link, c->request.sequence, m->id, "not known, or past retention");
        return;
    }
    struct err e;
    if (watch_job(c, i, &e) < 0)
        refuse(c, &e);
}

/* ---- lists
 * --------------------------------------------------------------------------------------- */
struct filter {
    const struct msg_list_jobs *m;
    uint32_t queue, tenant, kind, parent;
    bool nothing;
};

static struct filter filter_of(struct core *c, const struct msg_list_jobs *m) {
    struct filter f = {.m = m};
    f.queue = m->queue.len ? names_find(&c->queues, m->queue) : 0;
    f.tenant = m->tenant.len ? names_find(&c->tenants, m->tenant) : 0;
    f.kind = m->kind.len ? names_find(&c->kinds, m->kind) : 0;
    f.parent = m->parent ? flow_find(c, m->parent) : 0;
    f.nothing = (m->queue.len && !f.queue) || (m->tenant.len && !f.tenant) ||
                (m->kind.len && !f.kind) || (m->parent && !f.parent);
    return f;
}

static bool passes(const struct core *c, const struct filter *f, const struct job *j) {
    const struct line *l = line_at(c, j->line);
    uint64_t state = j->state ? j->state : (uint64_t)JOB_ready;
    return (!f->m->state || f->m->state == state) && (!f->queue || l->queue == f->queue) &&
           (!f->kind || l->kind == f->kind) && (!f->parent || j->up == f->parent) &&
           (!f->tenant || j->tenant == f->tenant) && rights_see(c, j);
}

static void list_row(struct core *c, uint32_t i) {
    const struct job *j = job_at(c, i);
    struct msg_job_info m = {0};
    MSG_SET(&m, job_info, code, 0);
    fill_slot(c, j, &m);
    const struct extra *x = job_extra(c, j);
    char where[400];
    if (x) {
        fill_extra(c, j, x, &m);
        fill_worker(c, x, where, &m);
    }
    send_to(c, c->request.link, VERB_job_info, c->request.sequence, &m, STR(""), 0);
}

/* Ids were given in a row, so walking them down is walking the jobs from the newest to the oldest.
 */
static uint64_t walk(struct core *c, const struct filter *f, uint64_t limit) {
    uint64_t before = f->m->before ? f->m->before : UINT64_MAX, found = 0;
    uint32_t left = c->list_lookups + LIST_LOOKUPS_MIN < LIST_LOOKUPS
                        ? LIST_LOOKUPS - c->list_lookups
                        : LIST_LOOKUPS_MIN;
    for (uint32_t e = c->n_epochs; e-- > 0;) {
        struct epoch_range r = c->epochs[e];
        uint64_t top = id_make(r.epoch, r.epoch == c->epoch ? c->counter : r.counter);
        if (top >= before)
            top = before - 1;
        for (uint64_t id = top; id >= id_make(r.epoch, 1) && id_epoch(id) == r.epoch; id--) {
            if (id <= f->m->parent)
                return 0; /* a child is younger */
            if (!left--)
                return id + 1;
            c->list_lookups++;
            uint32_t i = job_find(c, id);
            if (!i || !passes(c, f, job_at(c, i)))
                continue;
            list_row(c, i);
            if (++found == limit)
                return id;
        }
    }
    return 0;
}

/* ---- those that run
 * ------------------------------------------------------------------------------ */
struct running {
    uint64_t id;
    uint32_t job;
};

static int newest_first(const void *a, const void *b) {
    uint64_t x = ((const struct running *)a)->id, y = ((const struct running *)b)->id;
    return x > y ? -1 : x < y;
}

static uint64_t n_running(const struct core *c) {
    return c->stats.by_state[JOB_running] + c->stats.by_state[JOB_cancelling];
}

/* They are in the hands of workers, however many ids were given since: those hands are looked at,
 * where there are not more of them than ids would be. */
static bool finds_running(const struct core *c, const struct filter *f) {
    return (f->m->state == JOB_running || f->m->state == JOB_cancelling) &&
           n_running(c) + c->list_lookups <= LIST_LOOKUPS;
}

static size_t add_running(const struct core *c, const struct filter *f, const struct list *of,
                          struct running *rows, size_t n) {
    for (uint32_t i = of->head; i; i = job_extra(c, job_at(c, i))->run_next) {
        const struct job *j = job_at(c, i);
        if ((!f->m->before || j->id < f->m->before) && passes(c, f, j))
            rows[n++] = (struct running){j->id, i};
    }
    return n;
}

static uint64_t walk_running(struct core *c, const struct filter *f, uint64_t limit) {
    struct running *rows = mem_alloc((n_running(c) + 1) * sizeof *rows);
    size_t n = add_running(c, f, &c->orphans, rows, 0), k = 0;
    SLAB_EACH(i, &c->workers)
    n = add_running(c, f, &worker_at(c, i)->run, rows, n);
    c->list_lookups += (uint32_t)n_running(c);
    qsort(rows, n, sizeof *rows, newest_first);
    for (; k < n && k < limit; k++)
        list_row(c, rows[k].job);
    uint64_t next = k < n ? rows[k - 1].id : 0;
    mem_free(rows);
    return next;
}

void on_list_jobs(struct core *c, const void *message, struct str payload) {
    const struct msg_list_jobs *m = message;
    (void)payload;
    struct filter f = filter_of(c, m);
    uint64_t limit = m->limit ? m->limit : LIST_DEFAULT, next = 0;
    if (!f.nothing)
        next = finds_running(c, &f) ? walk_running(c, &f, limit) : walk(c, &f, limit);
    struct msg_job_info end = {0};
    MSG_SET(&end, job_info, code, 0);
    if (next)
        MSG_SET(&end, job_info, next, next);
    send_to(c, c->request.link, VERB_job_info, c->request.sequence, &end, STR(""), 0);
}
