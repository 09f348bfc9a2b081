/* Schedules that an operator sets, runs, pauses and removes, and what must hold of them: one run
 * for a due time, however the broker ends and the wall clock is set; none together where they skip.
 */
#include "tests/sim/observe_int.h"

#include <stdio.h>

#define OF_SCHEDULE 300 /* plan.client of their jobs */
#define OVERDUE_MS  3000

/* Which are due when never changes, but for the last, which comes and goes. */
static const struct {
    const char *name, *cron;
    uint64_t interval_ms, jitter_ms;
    enum overlap overlap;
    enum missed missed;
} schedules[SCHEDULES] = {{"s0", "3000", 0, 0, OVERLAP_SKIP, MISSED_ONCE},
                          {"s1", NULL, 4000, 900, OVERLAP_QUEUE, MISSED_NONE},
                          {"s2", "5000", 0, 500, OVERLAP_REPLACE, MISSED_ONCE},
                          {"s3", "2000", 0, 0, OVERLAP_SKIP, MISSED_NONE}};

static void send_set(struct sim *s, uint64_t link, uint64_t sequence, uint32_t k) {
    struct plan plan = {.client = OF_SCHEDULE + k, .ms = k % 2 ? 100 : 900};
    struct msg_schedule m = {0};
    MSG_SET(&m, schedule, name, str_of(schedules[k].name));
    MSG_SET(&m, schedule, children, 1);
    if (schedules[k].cron)
        MSG_SET(&m, schedule, cron, str_of(schedules[k].cron));
    else
        MSG_SET(&m, schedule, interval_ms, schedules[k].interval_ms);
    MSG_SET(&m, schedule, overlap, (uint64_t)schedules[k].overlap);
    MSG_SET(&m, schedule, missed, (uint64_t)schedules[k].missed);
    MSG_SET(&m, schedule, jitter_ms, schedules[k].jitter_ms);
    struct msg_submit job = {0};
    MSG_SET(&job, submit, kind, k == 1 ? STR("quick") : STR("plain"));
    MSG_SET(&job, submit, queue, STR("wide"));
    MSG_SET(&job, submit, size, sizeof plan);
    AUTO_FRAME_OUT f = FRAME_OUT;
    frame_begin(&f, VERB_set_schedule, sequence);
    frame_add(&f, &m);
    frame_add_child(&f, &job, str_make(&plan, sizeof plan));
    net_send(s, packet_new(link, true, ROLE_OPERATOR, &f));
}

/* `which` SCHEDULES: all of them. */
void schedule_request(struct sim *s, uint64_t link, enum verb verb, uint64_t sequence,
                      uint32_t which) {
    if (verb == VERB_set_schedule) {
        send_set(s, link, sequence, which);
        return;
    }
    AUTO_FRAME_OUT f = FRAME_OUT;
    frame_begin(&f, verb, sequence);
    for (uint32_t k = 0; k < SCHEDULES; k++) {
        struct msg_schedule_ref m = {0};
        bool comes_and_goes = verb != VERB_remove_schedule || k == SCHEDULES - 1;
        if (which != SCHEDULES && (which != k || !comes_and_goes))
            continue;
        MSG_SET(&m, schedule_ref, name, str_of(schedules[k].name));
        if (which != SCHEDULES && verb == VERB_pause_schedule)
            MSG_SET(&m, schedule_ref, resume, sequence % 4 != 0);
        frame_add(&f, &m);
    }
    if (!f.items) {
        struct msg_schedule_ref m = {0};
        MSG_SET(&m, schedule_ref, name, STR("nobody"));
        frame_add(&f, &m);
    }
    net_send(s, packet_new(link, true, ROLE_OPERATOR, &f));
}

void see_run(struct sim *s, const struct row *r) {
    const struct observer *o = s->eye;
    if (!r->schedule[0] || !r->due_ms)
        return;
    uint32_t k = (uint32_t)(r->schedule[1] - '0');
    for (uint32_t n = 0; n < o->n; n++) {
        const struct row *old = &o->rows[n];
        if (strcmp(old->schedule, r->schedule) != 0)
            continue;
        if (old->due_ms == r->due_ms && k != SCHEDULES - 1)
            sim_fail(s, "schedule %s was run twice for %llu", r->schedule,
                     (unsigned long long)r->due_ms);
        bool same_life = k != SCHEDULES - 1; /* it knows nothing of jobs before it was removed */
        if (schedules[k].overlap == OVERLAP_SKIP && !old->ended_state && same_life && !old->revived)
            sim_fail(s, "schedule %s has two runs at a time", r->schedule);
    }
}

void observe_schedules(struct sim *s) {
    const struct core *c = s->broker.core;
    if (!c->open || schedules_had_their_turn(c))
        return;
    SLAB_EACH(i, &c->schedules.rows) {
        const struct schedule *x = schedule_at(c, i);
        if (!x->paused && x->next_ms && x->next_ms + x->jitter_ms + OVERDUE_MS < c->wall.ms)
            sim_fail(s, "schedule " STR_FMT " is overdue", STR_ARG(x->row.name));
    }
}
