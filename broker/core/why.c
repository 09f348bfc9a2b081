/* Why a job does not run: the scheduler's own predicates, asked one after the other. */
#include "broker/core/core_int.h"
#include "common/base/id.h"
#include "schemas/reasons.h"

#include <stdio.h>

#define PLACE_MAX 10000 /* counting stops here: a long line must not hold up the turn */

static void say(struct core *c, enum reason r, const char *text, uint64_t until_wall,
                uint64_t holder) {
    struct msg_why_info m = {0};
    MSG_SET(&m, why_info, code, 0);
    MSG_SET(&m, why_info, reason, str_of(reason_name(r)));
    MSG_SET(&m, why_info, text, str_of(text ? text : reason_text(r)));
    if (until_wall)
        MSG_SET(&m, why_info, until_ms, until_wall);
    if (holder)
        MSG_SET(&m, why_info, holder, holder);
    send_to(c, c->request.link, VERB_why_info, c->request.sequence, &m, STR(""), 0);
}

static uint64_t wall_of(const struct core *c, uint64_t mono_ms) {
    return c->wall.ms + (mono_ms > c->now.ms ? mono_ms - c->now.ms : 0);
}

static void why_scheduled(struct core *c, const struct job *j) {
    const struct extra *x = job_extra(c, j);
    uint64_t until = job_is(j, JOB_HAS_RUN_AT) ? x->run_at_ms : wall_of(c, x->due_ms);
    say(c, job_is(j, JOB_BACKOFF) ? WHY_backoff : WHY_not_before, NULL, until, 0);
}

static void say_place(struct core *c, uint64_t place, bool at_least) {
    struct msg_why_info m = {0};
    MSG_SET(&m, why_info, code, 0);
    MSG_SET(&m, why_info, reason, str_of(reason_name(WHY_its_turn)));
    MSG_SET(&m, why_info, text, str_of(reason_text(WHY_its_turn)));
    MSG_SET(&m, why_info, place, place);
    if (at_least)
        MSG_SET(&m, why_info, place_at_least, true);
    send_to(c, c->request.link, VERB_why_info, c->request.sequence, &m, STR(""), 0);
}

static void why_held(struct core *c, const struct job *j) {
    const struct flow *f = flow_at(c, j->up);
    char text[128];
    if (f->releases) {
        say(c, WHY_children_commit, NULL, 0, f->id);
        return;
    }
    snprintf(text, sizeof text, "its parent %s, and %u of %u children that it waits for go on",
             f->end ? job_state_name(f->end) : "has not ended", f->own.total - f->closed,
             f->own.total);
    say(c, WHY_children, text, 0, f->id);
}

static void why_blocked(struct core *c, uint32_t i) {
    const struct job *j = job_at(c, i);
    if (job_is(j, JOB_HELD)) {
        why_held(c, j);
        return;
    }
    const struct key *k = key_at(c, job_extra(c, j)->key);
    if (k->in_release)
        say(c, WHY_key_commit, NULL, 0, 0);
    else if (k->holder && k->holder != i)
        say(c, WHY_key_held, NULL, 0, job_at(c, k->holder)->id);
    else
        say(c, WHY_key_interval, NULL, wall_of(c, k->last_start_ms + k->interval_ms), 0);
    uint64_t place = 1;
    for (uint32_t n = 0; n < k->heap_n && n < PLACE_MAX; n++)
        place += k->heap[n].id < j->id;
    if (k->holder != i)
        say_place(c, place, k->heap_n > PLACE_MAX);
}

static void why_quota(struct core *c, const struct job *j) {
    if (job_quota_has_room(c, j))
        return;
    char text[96];
    snprintf(text, sizeof text, "its tenant runs %u jobs of its queue, at most %u",
             quota_running(c, line_at(c, j->line)->queue, j->tenant),
             job_queue(c, j)->tenant_concurrency);
    say(c, WHY_queue_tenant_concurrency, text, 0, 0);
}

static void why_paused(struct core *c, const struct queue *q) {
    char text[NAME_MAX_LEN + 64];
    snprintf(text, sizeof text, "queue " STR_FMT " is paused, by %s", STR_ARG(q->row.name),
             q->pause_is_set ? "a command at run time" : "the configuration");
    say(c, WHY_paused, text, 0, 0);
}

static void why_limits(struct core *c, const struct job *j) {
    const struct queue *q = job_queue(c, j);
    const struct tenant *t = job_tenant(c, j);
    uint64_t queue_us = limit_wait_us(&q->limit, core_now_us(c));
    uint64_t tenant_us = limit_wait_us(&t->limit, core_now_us(c));
    if (q->paused)
        why_paused(c, q);
    if (!limit_has_room(&q->limit))
        say(c, WHY_queue_concurrency, NULL, 0, 0);
    if (queue_us)
        say(c, WHY_queue_rate, NULL, c->wall.ms + queue_us / 1000 + 1, 0);
    if (!limit_has_room(&t->limit))
        say(c, WHY_tenant_concurrency, NULL, 0, 0);
    if (tenant_us)
        say(c, WHY_tenant_rate, NULL, c->wall.ms + tenant_us / 1000 + 1, 0);
    why_quota(c, j);
}

static void why_workers(struct core *c, const struct kind *k) {
    uint32_t credit = 0;
    for (uint32_t n = 0; n < k->n_workers; n++)
        credit += worker_credit(worker_at(c, k->workers[n]));
    if (!k->n_workers)
        say(c, WHY_no_worker, NULL, 0, 0);
    else if (!credit)
        say(c, WHY_no_slot, NULL, 0, 0);
}

static void why_ready(struct core *c, uint32_t i) {
    const struct job *j = job_at(c, i);
    if (job_is(j, JOB_ISOLATED))
        say(c, WHY_isolated, NULL, 0, 0);
    why_limits(c, j);
    why_workers(c, job_kind(c, j));
    uint64_t place = 1;
    for (uint32_t p = j->prev; p && place < PLACE_MAX; p = job_at(c, p)->prev)
        place++;
    say_place(c, place, place == PLACE_MAX);
}

void on_get_why(struct core *c, const void *message, struct str payload) {
    const struct msg_get_job *m = message;
    (void)payload;
    uint32_t i = job_find_seen(c, m->id);
    if (!i) {
        char text[96];
        snprintf(text, sizeof text, "job %s: not known, or past retention", id_show(m->id).at);
        struct msg_why_info none = {0};
        MSG_SET(&none, why_info, code, (uint64_t)ERR_NOT_FOUND);
        MSG_SET(&none, why_info, text, str_of(text));
        send_to(c, c->request.link, VERB_why_info, c->request.sequence, &none, STR(""), 0);
        return;
    }
    const struct job *j = job_at(c, i);
    if (c->read_only)
        say(c, WHY_read_only, NULL, 0, 0);
    if (j->up && flow_doom_of(c, j->up) && !job_state_terminal(j->state))
        say(c, WHY_flow_ends, NULL, 0, flow_at(c, flow_doomed(c, j->up))->id);
    if (job_state_terminal(j->state))
        say(c, WHY_ended, job_state_name(j->state), j->since_ms, 0);
    else if (j->state == JOB_running || j->state == JOB_cancelling)
        say(c, WHY_running, job_state_name(j->state), 0, 0);
    else if (j->state == JOB_NONE)
        say(c, WHY_pending, NULL, 0, 0);
    else if (j->state == JOB_scheduled)
        why_scheduled(c, j);
    else if (j->state == JOB_blocked)
        why_blocked(c, i);
    else
        why_ready(c, i);
}
