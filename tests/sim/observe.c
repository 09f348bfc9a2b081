/* What must hold, seen from outside: from the records that are written, the letters that leave, and
 * what the clients were told. One row a job; a crash takes back what was not durable. */
#include "tests/sim/observe_int.h"

#include "common/base/id.h"
#include "common/base/mem.h"

#include <stdio.h>

void observe_start(struct sim *s) {
    s->eye = MEM_NEW(struct observer);
}

void observe_done(struct sim *s) {
    MEM_FREE(s->eye);
}

static struct row *find(struct observer *o, uint64_t id) {
    for (uint32_t k = o->n; k-- > 0;)
        if (o->rows[k].id == id)
            return &o->rows[k];
    return NULL;
}

static void copy_text(char to[16], struct str s) {
    snprintf(to, 16, STR_FMT, STR_ARG(s));
}

/* ---- a job appears
 * ------------------------------------------------------------------------------- */
static void check_new(struct sim *s, const struct row *r) {
    struct observer *o = s->eye;
    for (uint32_t k = 0; k < o->n; k++) {
        const struct row *old = &o->rows[k];
        bool same_offer = !r->schedule[0] && old->plan.client == r->plan.client &&
                          old->plan.sequence == r->plan.sequence &&
                          old->plan.item == r->plan.item && old->plan.fence == r->plan.fence;
        if (same_offer && old->epoch == r->epoch)
            sim_fail(s, "one offer became two jobs");
        bool same_unique = r->unique[0] && strcmp(old->unique, r->unique) == 0 &&
                           strcmp(old->queue, r->queue) == 0 && strcmp(old->tenant, r->tenant) == 0;
        if (!same_unique)
            continue;
        if (!old->window_ms && !old->ended_state)
            sim_fail(s, "a unique key of a living job was given to another");
        if (old->window_ms && old->steps == o->steps && s->now < old->made_at + old->window_ms)
            sim_fail(s, "a unique key was given to another within its window");
    }
}

/* Only because somebody asked for it. */
static void come_back(struct sim *s, struct row *r) {
    bool asked = s->retried_all || r->retry_asked;
    for (uint32_t i = 0; i < SIM_CLIENTS; i++)
        for (uint32_t n = 0; n < s->clients[i].n; n++)
            asked |= s->clients[i].offers[n].id == r->id && s->clients[i].offers[n].revived;
    if (!asked)
        sim_fail(s, "job %s came back after its end", id_show(r->id).at);
    r->revived = true;
    r->before_state = r->ended_state;
    r->before_pos = r->ended_pos;
    r->before_group = r->group;
    r->ended_state = 0;
}

static void see_job(struct sim *s, const struct record *r, uint64_t pos) {
    struct observer *o = s->eye;
    const struct msg_rec_spec *p = r->spec;
    struct row *old = find(o, r->state->id);
    struct plan plan;
    memcpy(&plan, r->payload.at, sizeof plan);
    if (old) {
        if (memcmp(&old->plan, &plan, sizeof plan) != 0 || r->state->version == 1)
            if (old->body_pos == 0 || memcmp(&old->plan, &plan, sizeof plan) != 0)
                sim_fail(s, "an id was given twice: %s", id_show(r->state->id).at);
        if (!old->ended_state || job_state_terminal((enum job_state)r->state->state))
            return; /* cleaning has copied it */
        come_back(s, old);
        old->state = r->state->state;
        old->fence = r->state->fence;
        old->state_pos = pos;
        return;
    }
    if (o->n == ROWS_MAX)
        sim_fail(s, "the observer has no room for another job");
    struct row row = {.id = r->state->id,
                      .plan = plan,
                      .window_ms = p->window_ms,
                      .interval_ms = p->interval_ms,
                      .epoch = s->broker.core->epoch,
                      .body_pos = pos,
                      .state_pos = pos,
                      .made_at = s->now,
                      .steps = o->steps,
                      .durability = p->durability,
                      .attempts_max = p->attempts_max ? p->attempts_max : 4};
    row.delayed = r->state->state == JOB_scheduled || p->run_at_ms || p->then;
    row.state = JOB_ready;
    row.parent = p->parent;
    row.due_ms = p->due_ms;
    snprintf(row.schedule, sizeof row.schedule, STR_FMT, STR_ARG(p->schedule));
    row.is_then = p->then;
    row.fail_fast = p->fail_fast;
    copy_text(row.key, p->key);
    copy_text(row.unique, p->unique);
    copy_text(row.queue, p->queue);
    copy_text(row.tenant, p->tenant);
    row.streams = str_eq(p->kind, STR("talk"));
    row.speculative = (str_eq(p->kind, STR("quick")) || row.streams) && !row.key[0] &&
                      !row.unique[0] && !row.parent && !row.plan.comes_with && !row.schedule[0];
    check_new(s, &row);
    see_child(s, &row);
    see_run(s, &row);
    o->rows[o->n++] = row;
}

/* ---- a job changes
 * ------------------------------------------------------------------------------- */
static void see_end(struct sim *s, struct row *r, const struct msg_rec_state *m, uint64_t pos) {
    struct observer *o = s->eye;
    if (r->ended_state && r->state == r->ended_state && !r->revived)
        sim_fail(s, "job %s ended twice", id_show(r->id).at);
    if (r->state == JOB_cancelling && m->state != JOB_cancelled)
        sim_fail(s, "a cancelled job ended as %s", job_state_name(m->state));
    if (m->state == JOB_done && o->result && o->result->job == r->id &&
        (o->result->fence != m->fence || (r->state == JOB_running && r->fence != m->fence)))
        sim_fail(s, "a report with a stale fence ended a job");
    r->ended_state = m->state;
    r->ended_pos = pos;
    r->group = m->group;
    r->ended_at = s->now;
    if (m->state == JOB_done && in_key_order(r) && o->dones_n < ROWS_MAX)
        o->dones[o->dones_n++] = (struct done_row){pos, (uint32_t)(r - o->rows)};
}

static void note_report(struct row *r, uint64_t fence, uint64_t pos) {
    memmove(r->reports + 1, r->reports, (REPORTS - 1) * sizeof r->reports[0]);
    r->reports[0] = (struct report){fence, pos};
}

static bool is_reported(const struct row *r, uint64_t fence) {
    for (int k = 0; k < REPORTS; k++)
        if (r->reports[k].pos && r->reports[k].fence == fence)
            return true;
    return false;
}

/* What the attempt reported is taken when its stream is whole, or when it was waited for. */
static void see_stream_end(struct sim *s, struct row *r, const struct msg_rec_state *m,
                           uint64_t pos) {
    const struct observer *o = s->eye;
    const struct model_row *relay = model_find(s, r->id);
    if (o->result && o->result->job == m->id && o->result->fence == r->fence &&
        MSG_HAS(o->result, result, epoch))
        sim_fail(s, "a result of job %s was taken before its stream had arrived",
                 id_show(r->id).at);
    bool whole = o->whole_job == r->id;
    bool closed = relay && relay->closed_fence == r->fence;
    bool late = closed && s->now - relay->closed_at >= s->broker.core->config.kill_grace_ms;
    if (m->state == JOB_done && closed && !whole && !late)
        sim_fail(s, "job %s is done, and nobody said that its stream has arrived",
                 id_show(r->id).at);
    if (whole || late) {
        note_report(r, whole ? o->whole_fence : relay->closed_fence, pos);
    }
}

static void see_state(struct sim *s, const struct record *rec, uint64_t pos) {
    struct observer *o = s->eye;
    const struct msg_rec_state *m = rec->state;
    struct row *r = find(o, m->id);
    if (!r)
        sim_fail(s, "a state of a job that was never accepted");
    if (job_state_terminal((enum job_state)r->state) && m->state == r->state &&
        m->fence == r->fence)
        return; /* cleaning has copied it; the first stays until the copy is durable */
    if (m->attempts > r->attempts_max)
        sim_fail(s, "a job was tried %u times, at most %u", (unsigned)m->attempts,
                 (unsigned)r->attempts_max);
    if (m->crashes > CRASHES)
        sim_fail(s, "a job ended %u processes, at most %d", (unsigned)m->crashes, CRASHES);
    if (m->state == JOB_running)
        see_dispatch(s, r, m);
    if (job_state_terminal((enum job_state)m->state))
        see_end(s, r, m, pos);
    else if (r->ended_state)
        come_back(s, r);
    if (r->streams && m->state != JOB_running && m->state != JOB_cancelling)
        see_stream_end(s, r, m, pos);
    if (o->result && o->result->job == m->id && m->state != JOB_running) {
        note_report(r, o->result->fence, pos);
    }
    r->state = m->state;
    r->fence = m->fence;
    r->state_pos = pos;
}

void observe_append(struct sim *s, const struct record *r, uint64_t pos) {
    if (r->type == REC_JOB)
        see_job(s, r, pos);
    else if (r->type == REC_STATE)
        see_state(s, r, pos);
}

void observe_result(struct sim *s, const struct msg_result *m) {
    s->eye->result = m;
}

void observe_whole(struct sim *s, uint64_t job, uint64_t fence) {
    s->eye->whole_job = job;
    s->eye->whole_fence = fence;
}

void observe_attach(struct sim *s, uint64_t job) {
    const struct row *r = find(s->eye, job);
    if (r && r->durability == DURABLE_SYNC && r->body_pos >= disk_durable_pos(&s->disk))
        sim_fail(s, "job %s was attached to before its submission was durable", id_show(job).at);
}

/* ---- what leaves
 * --------------------------------------------------------------------------------- */
static void see_ack(struct sim *s, const struct letter *l) {
    const struct msg_attempt_ref *m = l->message;
    const struct row *r = find(s->eye, m->job);
    if (!r)
        return; /* volatile */
    bool ended = job_state_terminal((enum job_state)r->state) && r->fence == m->fence;
    if (!is_reported(r, m->fence) && !ended)
        sim_fail(s, "a result of job %s was acknowledged that was not recorded",
                 id_show(m->job).at);
    if (!l->after && r->state_pos >= disk_durable_pos(&s->disk))
        sim_fail(s, "a result was acknowledged before it was durable");
}

static void see_submitted(struct sim *s, const struct letter *l) {
    const struct msg_submitted *m = l->message;
    const struct row *r = m->id ? find(s->eye, m->id) : NULL;
    if (r && !l->after && r->durability == DURABLE_SYNC &&
        r->body_pos >= disk_durable_pos(&s->disk))
        sim_fail(s, "a submission was acknowledged before it was durable");
}

static void see_finished(struct sim *s, const struct letter *l) {
    const struct msg_finished *m = l->message;
    const struct row *r = find(s->eye, m->id);
    if (r && !l->after && r->state_pos >= disk_durable_pos(&s->disk))
        sim_fail(s, "an end was told before it was durable");
}

void observe_letter(struct sim *s, const struct letter *l) {
    if (!l->message)
        return;
    switch (l->verb) {
    case VERB_dispatch:
        model_dispatch(s, l->message);
        return;
    case VERB_result_ack:
        see_ack(s, l);
        return;
    case VERB_submitted:
        see_submitted(s, l);
        return;
    case VERB_finished:
        see_finished(s, l);
        return;
    case VERB_dead_info:
        see_dead_info(s, l->message);
        return;
    case VERB_kill_worker:
        supervisor_kill(s,
                        (const uint8_t *)((const struct msg_kill_worker *)l->message)->instance.at);
        return;
    default:
        return;
    }
}

/* ---- what clients were told
 * ---------------------------------------------------------------------- */
void observe_acked(struct sim *s, struct offer_row *o) {
    struct row *r = find(s->eye, o->id);
    if (!r)
        return;
    r->acked = true;
    if (o->duplicate && r->ended_state && !r->window_ms && !r->revived &&
        r->ended_at + 1 < o->first_sent && !MSG_HAS(&o->m, submit, window_ms))
        sim_fail(s, "a unique key was held after its job had ended");
}

void observe_finished(struct sim *s, struct offer_row *o, uint64_t state) {
    struct row *r = find(s->eye, o->id);
    if (!r)
        return;
    if (o->revived)
        r->revived = true;
    if (!r->revived && r->ended_state && r->ended_state != state)
        sim_fail(s, "a client was told %s of a job that is %s", job_state_name(state),
                 job_state_name(r->ended_state));
    if (o->cancel_ok && !r->revived && state != JOB_cancelled)
        sim_fail(s, "a job that was cancelled is %s", job_state_name(state));
    if (o->finished && !r->revived && o->state != state)
        sim_fail(s, "a client was told two different ends");
    o->finished = true;
    o->state = state;
    r->told = true;
}

/* ---- leases
 * -------------------------------------------------------------------------------------- */
void observe_freeze(struct sim *s, bool begins) {
    struct observer *o = s->eye;
    if (begins)
        o->froze_at = s->now;
    else
        o->slept_ms = s->now - o->froze_at;
}

void observe_lost_worker(struct sim *s, struct str text) {
    struct observer *o = s->eye;
    if (!str_eq(text, STR("the worker was silent for a lease")))
        return;
    /* Somebody must really have been silent: without our own sleep, for a lease. */
    uint64_t slept = o->froze_at && s->now - o->froze_at < o->slept_ms + LEASE_MS ? o->slept_ms : 0;
    const struct core *c = s->broker.core;
    SLAB_EACH(i, &c->workers) {
        if (worker_at(c, i)->state != WORKER_STUCK || worker_at(c, i)->n_kinds)
            continue;
        const uint8_t *instance = session_at(c, worker_at(c, i)->session)->instance;
        for (uint32_t k = 0; k < SIM_WORKERS; k++)
            if (memcmp(s->workers[k].instance, instance, 16) == 0 && s->workers[k].delivered_at &&
                s->now - s->workers[k].delivered_at + 1 < LEASE_MS - 200 + slept)
                sim_fail(s, "a worker that was heard %llu ms ago was given up as silent",
                         (unsigned long long)(s->now - s->workers[k].delivered_at));
    }
}

/* ---- restart
 * ------------------------------------------------------------------------------------- */
/* What was not durable at the crash has not happened. */
static void roll_back(struct sim *s, struct row *r, uint64_t end) {
    if (r->state_pos >= end && !r->ended_state && r->before_state) { /* it did not come back */
        r->ended_state = r->before_state;
        r->ended_pos = r->before_pos;
        r->group = r->before_group;
    }
    for (int k = 0; k < REPORTS; k++)
        if (r->reports[k].pos >= end)
            r->reports[k] = (struct report){0, 0};
    if (r->state_pos >= end)
        r->state_pos = r->body_pos;
    if (r->ended_state && r->ended_pos >= end) {
        if (r->told && !r->revived)
            sim_fail(s, "an end that a client was told of was lost");
        r->ended_state = r->before_state;
        r->ended_pos = r->before_pos;
        r->group = r->before_group;
        r->before_state = 0;
    }
}

static void learn_again(const struct core *c, struct row *r) {
    uint32_t i = job_find(c, r->id);
    if (!i)
        return;
    const struct job *j = job_at(c, i);
    r->state = j->state;
    r->fence = j->fence;
    r->orphan = j->state == JOB_running;
    r->orphan_fence = j->fence;
    if (!job_state_terminal(j->state) && r->ended_state) {
        r->before_state = r->ended_state;
        r->before_pos = r->ended_pos;
        r->before_group = r->group;
        r->ended_state = 0;
    }
}

void observe_restart(struct sim *s) {
    struct observer *o = s->eye;
    const struct core *c = s->broker.core;
    uint64_t end = s->disk.cut_pos;
    uint32_t kept = 0;
    for (uint32_t k = 0; k < o->n; k++) {
        struct row *r = &o->rows[k];
        if (r->epoch < c->epoch && r->body_pos >= end) {
            if (r->acked && r->durability == DURABLE_SYNC)
                sim_fail(s, "job %s was acknowledged and lost", id_show(r->id).at);
            continue;
        }
        roll_back(s, r, end);
        if (!job_find(c, r->id) && !r->ended_state)
            sim_fail(s, "job %s, which has not ended, is not there after a restart",
                     id_show(r->id).at);
        learn_again(c, r);
        r->told = r->told && r->ended_state;
        for (uint32_t n = 0; n < o->dones_n; n++)
            if (o->dones[n].row == k)
                o->dones[n].row = kept;
        o->rows[kept++] = *r;
    }
    o->n = kept;
    uint32_t dones = 0;
    for (uint32_t n = 0; n < o->dones_n; n++)
        if (o->dones[n].pos < end)
            o->dones[dones++] = o->dones[n];
    o->dones_n = dones;
    o->slow_tat_us = 0;
    o->streaks_n = 0;
    o->froze_at = 0;
    o->starved_dispatches = 0;
}

void observe_turn(struct sim *s) {
    struct observer *o = s->eye;
    o->result = NULL;
    observe_schedules(s);
    model_turn(s);
    const struct core *c = s->broker.core;
    SLAB_EACH(i, &c->workers) {
        if (c->awake_ms - worker_at(c, i)->heard_ms > 2 * LEASE_MS)
            sim_fail(s, "a worker that was silent for two leases is still waited for");
    }
    if (o->wall_step != s->wall_step) {
        o->wall_step = s->wall_step;
        o->steps++;
    }
}

/* ---- the end
 * ------------------------------------------------------------------------------------- */
void observe_stuck(struct sim *s) {
    const struct core *c = s->broker.core;
    SLAB_EACH(i, &c->jobs)
    if (!job_state_terminal(job_at(c, i)->state))
        sim_fail(s, "job %s is still %s: nothing moves any more", id_show(job_at(c, i)->id).at,
                 job_state_name(job_at(c, i)->state));
    sim_fail(s, "a client still waits for an answer");
}

static void check_key_order(struct sim *s) {
    const struct observer *o = s->eye;
    for (uint32_t n = 0; n < o->dones_n; n++) {
        const struct row *a = &o->rows[o->dones[n].row];
        for (uint32_t m = n + 1; m < o->dones_n; m++) {
            const struct row *b = &o->rows[o->dones[m].row];
            if (strcmp(a->key, b->key) == 0 && strcmp(a->queue, b->queue) == 0 &&
                strcmp(a->tenant, b->tenant) == 0 && a->id > b->id && !a->revived && !b->revived)
                sim_fail(s, "key %s: job %s ended after job %s", a->key, id_show(b->id).at,
                         id_show(a->id).at);
        }
    }
}

void observe_end(struct sim *s) {
    const struct core *c = s->broker.core;
    check_key_order(s);
    observe_flows_end(s);
    for (uint32_t i = 0; i < SIM_CLIENTS; i++) {
        for (uint32_t n = 0; n < s->clients[i].n; n++) {
            const struct offer_row *f = &s->clients[i].offers[n];
            const struct row *r = f->fate == FATE_acked ? find(s->eye, f->id) : NULL;
            if (f->fate != FATE_acked || f->m.durability != DURABLE_SYNC)
                continue;
            if (!r || !r->ended_state)
                sim_fail(s, "job %s was accepted and has not ended", id_show(f->id).at);
            uint32_t at = job_find(c, f->id);
            if (at && job_at(c, at)->state != r->ended_state)
                sim_fail(s, "job %s is %s, its record says %s", id_show(f->id).at,
                         job_state_name(job_at(c, at)->state), job_state_name(r->ended_state));
        }
    }
}
