/* The relay as the core sees it: what it is ordered, and "whole" some time after CLOSE, or never.
 * It goes with the broker. Orders are held against each other, against records and against letters.
 */
#include "tests/sim/observe_int.h"

#include "common/base/id.h"
#include "common/base/mem.h"

void model_done(struct sim *s) {
    MEM_FREE(s->relay.rows);
    s->relay.n = s->relay.size = 0;
}

uint64_t model_token(const struct sim *s, uint64_t fence) {
    return (fence ^ s->broker.life << 48) * 0x9E3779B97F4A7C15ULL;
}

struct model_row *model_find(const struct sim *s, uint64_t job) {
    for (uint32_t k = s->relay.n; k-- > 0;)
        if (s->relay.rows[k].job == job)
            return &s->relay.rows[k];
    return NULL;
}

static struct model_row *need(struct sim *s, uint64_t job) {
    struct relay_model *r = &s->relay;
    struct model_row *row = model_find(s, job);
    if (row)
        return row;
    if (r->n == r->size) {
        r->size = r->size ? r->size * 2 : 64;
        r->rows = mem_grow(r->rows, r->size, sizeof *r->rows);
    }
    r->rows[r->n] = (struct model_row){.job = job};
    return &r->rows[r->n++];
}

/* ---- who listens
 * --------------------------------------------------------------------------------- */
static bool has_ended(const struct sim *s, uint64_t job) {
    uint32_t i = job_find(s->broker.core, job);
    return !i || job_state_terminal(job_at(s->broker.core, i)->state);
}

static void see_attach(struct sim *s, struct model_row *row, const struct stream_order *o) {
    observe_attach(s, o->job);
    if (o->ended != has_ended(s, o->job))
        sim_fail(s, "the relay is told wrongly whether job %s has ended", id_show(o->job).at);
    if (o->ended)
        return;
    if (row->attached && row->to != o->to)
        sim_fail(s, "job %s is attached to by one who may not", id_show(o->job).at);
    row->attached = true;
    row->to = o->to;
}

static void see_detach(struct sim *s, struct model_row *row, const struct stream_order *o) {
    if (!row->attached && !has_ended(s, o->job))
        sim_fail(s, "one who is not attached to job %s is detached", id_show(o->job).at);
    row->attached = false;
}

/* ---- attempts
 * ------------------------------------------------------------------------------------ */
static void see_open(struct sim *s, struct model_row *row, const struct stream_order *o) {
    if (row->fence && o->fence <= row->fence + 255)
        sim_fail(s, "an epoch of job %s is given twice: fence %llx after %llx", id_show(o->job).at,
                 (unsigned long long)o->fence, (unsigned long long)row->fence);
    if (o->token != model_token(s, o->fence))
        sim_fail(s, "an attempt was opened with another token");
    if (o->heard != (id_epoch(o->fence) < s->broker.core->epoch))
        sim_fail(s, "an attempt of %s life was opened as one of another",
                 o->heard ? "this" : "an earlier");
    row->fence = o->fence;
}

static void see_close(struct sim *s, struct model_row *row, const struct stream_order *o) {
    if (row->fence != o->fence)
        sim_fail(s, "an attempt of job %s ended that was not opened", id_show(o->job).at);
    if (row->closed_fence != o->fence) {
        row->closed_fence = o->fence;
        row->closed_at = s->now;
    }
    uint64_t who = s->broker.life << 32 | (uint64_t)(row - s->relay.rows);
    if (rng_below(&s->rng, 5)) /* else some of it is lost, and the worker offers its result again */
        sim_at(s, s->now + rng_below(&s->rng, rng_below(&s->rng, 4) ? 20 : 1500), SIM_RELAY, who,
               NULL);
}

void model_order(struct sim *s, const struct stream_order *o) {
    static const char *const names[] = {"open", "attach", "attach again", "detach", "close", "end"};
    struct model_row *row = need(s, o->job);
    sim_say(s, "  relay: %s job %s fence %llx", names[o->what], id_show(o->job).at,
            (unsigned long long)o->fence);
    switch (o->what) {
    case STREAM_OPEN:
        see_open(s, row, o);
        return;
    case STREAM_ATTACH:
        see_attach(s, row, o);
        return;
    case STREAM_ATTACH_AGAIN: /* of a job that nobody has any more */
        return;
    case STREAM_DETACH:
        see_detach(s, row, o);
        return;
    case STREAM_CLOSE:
        see_close(s, row, o);
        return;
    case STREAM_END:
        row->attached = false;
        return;
    }
}

void model_dispatch(struct sim *s, const struct msg_dispatch *m) {
    const struct model_row *row = model_find(s, m->job);
    if (!str_eq(m->kind, STR("talk"))) {
        if (MSG_HAS(m, dispatch, token))
            sim_fail(s, "a token for an attempt that does not stream");
        return;
    }
    if (!row || row->fence != m->fence || m->token != model_token(s, m->fence))
        sim_fail(s, "an attempt of job %s was given out before it was opened", id_show(m->job).at);
}

/* ---- its answers
 * --------------------------------------------------------------------------------- */
void model_says(struct sim *s, uint64_t who) {
    struct broker_sim *b = &s->broker;
    if (!b->core || who >> 32 != b->life)
        return;
    if (b->frozen) {
        sim_at(s, s->now + 5, SIM_RELAY, who, NULL);
        return;
    }
    struct model_row row = s->relay.rows[who & UINT32_MAX];
    core_begin(b->core, (struct mono){s->now + 1}, sim_wall(s));
    if (rng_below(&s->rng, 4) == 0)
        core_stream_need(b->core, row.job, row.closed_fence, row.closed_fence, 1);
    observe_whole(s, row.job, row.closed_fence);
    core_stream_whole(b->core, row.job, row.closed_fence);
    observe_whole(s, 0, 0);
    broker_said(s);
}

/* ---- after a turn
 * -------------------------------------------------------------------------------- */
static uint32_t count_attached(struct sim *s) {
    const struct core *c = s->broker.core;
    uint32_t n = 0;
    SLAB_EACH(wi, &c->watches) {
        const struct watch *w = slab_at(&c->watches, wi);
        if (!w->streams)
            continue;
        if (c->awake_ms - session_at(c, w->session)->heard_ms > 2 * LEASE_MS)
            sim_fail(s, "one who was silent for two leases is still attached");
        const struct job *j = job_at(c, w->job);
        if (w->waits || !job_streams(c, j))
            continue;
        const struct model_row *row = model_find(s, j->id);
        if (!row || !row->attached)
            sim_fail(s, "one who is attached to job %s gets nothing", id_show(j->id).at);
        n++;
    }
    return n;
}

void model_turn(struct sim *s) {
    uint32_t n = 0;
    for (uint32_t k = 0; k < s->relay.n; k++)
        n += s->relay.rows[k].attached;
    uint32_t attached = count_attached(s);
    if (n != attached)
        sim_fail(s, "%u are attached, the relay has %u", attached, n);
}
