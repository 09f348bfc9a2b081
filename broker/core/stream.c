/* Jobs that write streams: who listens, what the relay is told, and results that wait until all
 * that was written has arrived. The stream itself never comes here.
 *
 * A stream's entry is there from the first dispatch, attachment or, where the job has a grace, from
 * the beginning; it goes with the job's end. */
#include "broker/core/core_int.h"
#include "common/base/id.h"
#include "common/base/mem.h"

#include <stdio.h>

/* A copy of what a worker reported, with its texts behind it. */
struct held_result {
    struct msg_result m;
    struct str result;
    struct core_children children;
    struct core_child *own; /* the memory of those */
    char data[];
};

static void held_free(struct held_result **h) {
    if (*h)
        mem_free((*h)->own);
    MEM_FREE(*h);
}

static struct stream *stream_at(const struct core *c, uint32_t i) {
    return slab_at(&c->streams, i);
}

static struct stream *job_stream(const struct core *c, uint32_t i) {
    const struct extra *x = job_extra(c, job_at(c, i));
    return x && x->stream ? stream_at(c, x->stream) : NULL;
}

uint32_t *stream_timer_place(struct core *c, uint32_t stream) {
    return &stream_at(c, stream)->timer;
}

void streams_setup(struct core *c) {
    slab_init(&c->streams, sizeof(struct stream));
    slab_init(&c->attaches, sizeof(struct attach));
}

void streams_teardown(struct core *c) {
    SLAB_EACH(i, &c->streams)
    held_free(&stream_at(c, i)->held);
    slab_done(&c->streams);
    slab_done(&c->attaches);
}

/* While the journal is read there is nobody yet, and nothing in the relay. */
static void order(struct core *c, const struct stream_order *o) {
    if (!c->replaying)
        c->fx.stream(c->fx.ctx, o);
}

static struct stream *need_stream(struct core *c, uint32_t i) {
    struct extra *x = job_need_extra(c, i);
    if (!x->stream) {
        x->stream = slab_take(&c->streams);
        stream_at(c, x->stream)->job = i;
    }
    return stream_at(c, x->stream);
}

/* ---- who listens
 * --------------------------------------------------------------------------------- */
/* Sets or clears what waits for time to pass: a result that is held, or nobody listening. */
static void set_timer(struct core *c, uint32_t i) {
    struct stream *s = job_stream(c, i);
    uint32_t at = job_extra(c, job_at(c, i))->stream;
    if (s->held)
        timer_set(c, TIMER_STREAM, at, s->held_ms + c->config.kill_grace_ms);
    else if (s->grace_ms && !s->attached)
        timer_set(c, TIMER_STREAM, at, s->alone_ms + s->grace_ms);
    else
        timer_clear(c, TIMER_STREAM, at);
}

void stream_set_grace(struct core *c, uint32_t i, uint64_t grace_ms) {
    if (!grace_ms)
        return;
    struct stream *s = need_stream(c, i);
    s->grace_ms = grace_ms;
    s->alone_ms = c->now.ms;
    set_timer(c, i);
}

static uint64_t topic_of(const struct session *s) {
    uint64_t to = 0;
    for (int n = 0; n < 8; n++)
        to = to << 8 | s->instance[n];
    return to;
}

/* A kind that does not stream has nothing to send; being attached counts all the same. */
static void order_attach(struct core *c, uint32_t i, const struct session *s, uint64_t epoch,
                         uint64_t seq) {
    const struct job *j = job_at(c, i);
    if (!job_streams(c, j))
        return;
    order(c, &(struct stream_order){.what = STREAM_ATTACH,
                                    .job = j->id,
                                    .to = topic_of(s),
                                    .epoch = epoch,
                                    .seq = seq,
                                    .ended = job_state_terminal(j->state)});
}

static bool acknowledged(const struct core *c, const struct job *j) {
    return job_is(j, JOB_IS_VOLATILE | JOB_IS_ASYNC | JOB_WAS_DURABLE) || j->body_pos < c->durable;
}

/* ---- attachments that wait for a commit
 * ---------------------------------------------------------- */
static struct attach *attach_at(const struct core *c, uint32_t at) {
    return slab_at(&c->attaches, at);
}

/* Of another who waits for the same commit; else of who came last. */
static uint32_t wait_behind(const struct core *c, const struct job *j) {
    for (uint32_t wi = job_extra(c, j)->watchers; wi;) {
        const struct watch *w = slab_at(&c->watches, wi);
        if (w->waits)
            return w->waits;
        wi = w->job_next;
    }
    return c->uncommitted.tail;
}

/* Who is the first to attach to an older job after a newer one waits for that one's commit too. */
static void wait_for_commit(struct core *c, const struct job *j, uint32_t watch) {
    struct watch *w = slab_at(&c->watches, watch);
    struct list *l = &c->uncommitted;
    uint32_t prev = wait_behind(c, j), at = slab_take(&c->attaches);
    uint32_t next = prev ? attach_at(c, prev)->next : 0;
    *attach_at(c, at) = (struct attach){.pos = j->body_pos,
                                        .job = j->id,
                                        .to = topic_of(session_at(c, w->session)),
                                        .watch = watch,
                                        .next = next,
                                        .prev = prev};
    *(prev ? &attach_at(c, prev)->next : &l->head) = at;
    *(next ? &attach_at(c, next)->prev : &l->tail) = at;
    l->n++;
    w->waits = at;
}

static void wait_ends(struct core *c, uint32_t at) {
    const struct attach *a = attach_at(c, at);
    struct list *l = &c->uncommitted;
    if (a->watch)
        ((struct watch *)slab_at(&c->watches, a->watch))->waits = 0;
    *(a->prev ? &attach_at(c, a->prev)->next : &l->head) = a->next;
    *(a->next ? &attach_at(c, a->next)->prev : &l->tail) = a->prev;
    l->n--;
    slab_give(&c->attaches, at);
}

void streams_durable(struct core *c) {
    while (c->uncommitted.head && attach_at(c, c->uncommitted.head)->pos < c->durable) {
        struct attach a = *attach_at(c, c->uncommitted.head);
        wait_ends(c, c->uncommitted.head);
        const struct watch *w = a.watch ? slab_at(&c->watches, a.watch) : NULL;
        if (w)
            order_attach(c, w->job, session_at(c, w->session), 0, 0);
        else
            order(c, &(struct stream_order){
                         .what = STREAM_ATTACH, .job = a.job, .to = a.to, .ended = true});
    }
}

/* Nothing of a job that was not acknowledged reaches anybody: until then it is only noted. One that
 * has ended meanwhile is asked for again by whoever lacks the end of its stream. */
void stream_attach(struct core *c, uint32_t i, uint32_t session, uint64_t epoch, uint64_t seq) {
    const struct job *j = job_at(c, i);
    bool known = acknowledged(c, j) || MUTANT(stream_before_commit);
    if (!job_state_terminal(j->state)) {
        uint32_t watch = watch_find(c, i, session);
        struct watch *w = slab_at(&c->watches, watch);
        if (!w->streams) {
            w->streams = true;
            need_stream(c, i)->attached++;
            set_timer(c, i);
        }
        if (known && w->waits)
            wait_ends(c, w->waits);
        else if (!known && !w->waits)
            wait_for_commit(c, j, watch);
    }
    if (known)
        order_attach(c, i, session_at(c, session), epoch, seq);
}

static void order_detach(struct core *c, uint32_t i, const struct session *s) {
    const struct job *j = job_at(c, i);
    if (job_streams(c, j))
        order(c, &(struct stream_order){.what = STREAM_DETACH, .job = j->id, .to = topic_of(s)});
}

void stream_detach(struct core *c, struct watch *w) {
    if (!w->streams)
        return;
    w->streams = false;
    struct stream *s = job_stream(c, w->job);
    ASSERT(s && s->attached > 0);
    if (w->waits)
        wait_ends(c, w->waits);
    else
        order_detach(c, w->job, session_at(c, w->session));
    if (--s->attached == 0) {
        s->alone_ms = c->now.ms;
        set_timer(c, w->job);
    }
}

/* Who waits for a commit goes on waiting, for the end of a stream that is complete by then. */
void stream_forget_attached(struct core *c, uint32_t i) {
    const struct job *j = job_at(c, i);
    struct stream *s = job_stream(c, i);
    if (!s)
        return;
    s->attached = 0;
    for (uint32_t wi = job_extra(c, j)->watchers; wi;) {
        struct watch *w = slab_at(&c->watches, wi);
        if (w->waits && job_streams(c, j))
            attach_at(c, w->waits)->watch = 0;
        else if (w->waits)
            wait_ends(c, w->waits);
        w->waits = 0;
        wi = w->job_next;
    }
}

/* ---- attempts
 * ------------------------------------------------------------------------------------ */
/* An attempt of it was given to a worker, or adopted (`heard`: it may have written). */
uint64_t stream_open(struct core *c, uint32_t i, bool heard) {
    const struct job *j = job_at(c, i);
    uint64_t token = c->fx.token(c->fx.ctx, j->fence);
    need_stream(c, i);
    order(
        c,
        &(struct stream_order){
            .what = STREAM_OPEN, .job = j->id, .fence = j->fence, .token = token, .heard = heard});
    return token;
}

void core_stream_need(struct core *c, uint64_t job, uint64_t fence, uint64_t epoch, uint64_t seq) {
    uint32_t i = job_find(c, job);
    const struct job *j = i ? job_at(c, i) : NULL;
    const struct extra *x = i ? job_extra(c, j) : NULL;
    if (!x || !x->worker || j->fence != fence)
        return; /* that attempt is over */
    struct msg_stream_need m = {0};
    MSG_SET(&m, stream_need, job, job);
    MSG_SET(&m, stream_need, fence, fence);
    MSG_SET(&m, stream_need, token, c->fx.token(c->fx.ctx, fence));
    if (epoch) {
        MSG_SET(&m, stream_need, epoch, epoch);
        MSG_SET(&m, stream_need, seq, seq);
    }
    const struct worker *w = worker_at(c, x->worker);
    send_to(c, session_at(c, w->session)->link, VERB_stream_need, 0, &m, STR(""), 0);
}

/* ---- results that wait
 * --------------------------------------------------------------------------- */
static struct held_result *hold(const struct msg_result *m, struct str result,
                                const struct core_children *children) {
    struct held_result *h = mem_alloc(sizeof *h + m->text.len + result.len);
    h->m = *m;
    char *at = h->data;
    if (m->text.len)
        memcpy(at, m->text.at, m->text.len);
    h->m.text = str_make(at, m->text.len);
    at += m->text.len;
    if (result.len)
        memcpy(at, result.at, result.len);
    h->result = str_make(at, result.len);
    h->own = children->n ? children_copy(children) : NULL;
    h->children = (struct core_children){h->own, children->n};
    return h;
}

bool stream_hold_result(struct core *c, uint32_t i, const struct msg_result *m, struct str result,
                        const struct core_children *children) {
    struct job *j = job_at(c, i);
    if (!job_streams(c, j))
        return false;
    struct stream *s = need_stream(c, i);
    s->epoch = m->epoch;
    s->seq = m->seq;
    if (MUTANT(stream_result_not_held))
        return false;
    if (!s->held) { /* else it is offered once more */
        s->held = hold(m, result, children);
        s->held_ms = c->now.ms;
        set_timer(c, i);
        attempt_reported(c, i);
    }
    order(c, &(struct stream_order){.what = STREAM_CLOSE,
                                    .job = j->id,
                                    .fence = j->fence,
                                    .epoch = m->epoch,
                                    .seq = m->seq});
    return true;
}

bool stream_holds_result(const struct core *c, uint32_t i) {
    const struct stream *s = job_stream(c, i);
    return s && s->held;
}

void stream_drop_result(struct core *c, uint32_t i) {
    struct stream *s = job_stream(c, i);
    if (!s || !s->held)
        return;
    held_free(&s->held);
    set_timer(c, i);
}

static void take_held(struct core *c, uint32_t i) {
    struct stream *s = job_stream(c, i);
    if (c->read_only)
        return; /* the worker keeps it for the broker's next life */
    struct held_result *h = s->held;
    s->held = NULL;
    set_timer(c, i);
    result_take(c, i, &h->m, h->result, &h->children);
    held_free(&h);
}

void core_stream_whole(struct core *c, uint64_t job, uint64_t fence) {
    uint32_t i = job_find(c, job);
    if (!i || job_at(c, i)->fence != fence || !job_stream(c, i) || !job_stream(c, i)->held)
        return;
    take_held(c, i);
}

/* ---- time and the end
 * ---------------------------------------------------------------------------- */
void stream_timer(struct core *c, uint32_t stream) {
    struct stream *s = stream_at(c, stream);
    uint32_t i = s->job;
    if (s->held && c->read_only) {
        s->held_ms = c->now.ms;
        set_timer(c, i);
    } else if (s->held) { /* the worker lives and its stream does not come: readers have the result
                           */
        job_tell(c, EVENT_stream_incomplete, i, STR("its result was taken"));
        take_held(c, i);
    } else {
        char text[96];
        snprintf(text, sizeof text, "nobody was attached to its stream for %llu ms",
                 (unsigned long long)s->grace_ms);
        s->grace_ms = 0;
        if (!c->read_only)
            job_cancel(c, i, str_of(text));
    }
}

void stream_set_position(struct core *c, uint32_t i, uint64_t epoch, uint64_t seq) {
    if (!epoch && !job_stream(c, i))
        return;
    struct stream *s = need_stream(c, i);
    s->epoch = epoch;
    s->seq = seq;
}

void stream_position(const struct core *c, uint32_t i, uint64_t *epoch, uint64_t *seq) {
    const struct stream *s = job_stream(c, i);
    *epoch = s ? s->epoch : 0;
    *seq = s ? s->seq : 0;
}

/* The job has ended or is forgotten; nobody watches it any more. */
void stream_free(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    struct extra *x = job_extra(c, j);
    if (!x || !x->stream)
        return;
    struct stream *s = stream_at(c, x->stream);
    ASSERT(!s->attached);
    timer_clear(c, TIMER_STREAM, x->stream);
    order(c, &(struct stream_order){.what = STREAM_END, .job = j->id});
    held_free(&s->held);
    slab_give(&c->streams, x->stream);
    x->stream = 0;
}

/* ---- messages
 * ------------------------------------------------------------------------------------ */
static void answer_attach(struct core *c, const struct msg_attach *m, enum job_state state,
                          const struct err *e) {
    struct msg_attached a = {0};
    MSG_SET(&a, attached, code, (uint64_t)e->code);
    if (m->id)
        MSG_SET(&a, attached, id, m->id);
    if (e->code)
        MSG_SET(&a, attached, text, str_of(e->text));
    else if (state)
        MSG_SET(&a, attached, state, (uint64_t)state);
    c->stats.refused += e->code != ERR_OK;
    send_to(c, c->request.link, VERB_attached, c->request.sequence, &a, STR(""), 0);
}

/* Another tenant's job is as one that is not there. */
void on_attach(struct core *c, const void *message, struct str payload) {
    const struct msg_attach *m = message;
    struct err e = {0};
    (void)payload;
    uint32_t i = job_find_seen(c, m->id);
    bool mine = i && (!MSG_HAS(m, attach, tenant) ||
                      str_eq(m->tenant, tenant_at(c, job_at(c, i)->tenant)->row.name));
    if (!mine)
        err_set(&e, ERR_NOT_FOUND, "job %s: not known, or past retention", id_show(m->id).at);
    else
        watch_job(c, i, &e);
    answer_attach(c, m, mine ? (enum job_state)job_at(c, i)->state : JOB_NONE, &e);
    if (!i) /* its stream may be kept longer than the job: one that is never journaled goes at once
             */
        order(c, &(struct stream_order){.what = STREAM_ATTACH_AGAIN,
                                        .job = m->id,
                                        .to = topic_of(c->request.session),
                                        .epoch = m->epoch,
                                        .seq = m->seq});
    if (!e.code)
        stream_attach(c, i, c->request.session_index, m->epoch, m->seq);
}

void refuse_attach(struct core *c, const struct err *bad) {
    struct msg_attach nameless = {0};
    answer_attach(c, &nameless, JOB_NONE, bad);
}

void on_detach(struct core *c, const void *message, struct str payload) {
    const struct msg_get_job *m = message;
    (void)payload;
    uint32_t i = job_find_seen(c, m->id);
    uint32_t w = i ? watch_find(c, i, c->request.session_index) : 0;
    if (w)
        watch_drop(c, w);
    else if (i &&
             job_state_terminal(
                 job_at(c, i)->state)) /* it has ended, and the relay may still be telling of it */
        order_detach(c, i, c->request.session);
}

void streams_check(const struct core *c) {
    uint32_t waits = 0, attached = 0, watches = 0;
    SLAB_EACH(at, &c->streams) {
        const struct stream *s = stream_at(c, at);
        const struct job *j = job_at(c, s->job);
        ASSERT(job_extra(c, j) && job_extra(c, j)->stream == at && !job_state_terminal(j->state));
        ASSERT(!s->held || j->state == JOB_running || j->state == JOB_cancelling);
        ASSERT((s->timer != 0) == (s->held || (s->grace_ms && !s->attached)));
        attached += s->attached;
    }
    SLAB_EACH(at, &c->watches) {
        const struct watch *w = slab_at(&c->watches, at);
        watches += w->streams;
        ASSERT(!w->waits || (w->streams && attach_at(c, w->waits)->watch == at));
    }
    for (uint32_t at = c->uncommitted.head; at; at = attach_at(c, at)->next, waits++)
        ASSERT(attach_at(c, at)->next || c->uncommitted.tail == at);
    ASSERT(waits == c->attaches.used);
    ASSERT(waits == c->uncommitted.n && attached == watches);
}
