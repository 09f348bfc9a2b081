/* Binary heaps of things to come, one on each clock, and one of the ends of notes, which write
 * nothing and so need not wait while the disk is full. An item has at most one timer of a sort
 * and knows where it stands in the heap, so that it can be moved and taken out at once. */
#include "broker/core/core_int.h"
#include "common/base/mem.h"

#define FIRE_MAX 4096 /* in one turn: a flood of due timers must not delay heartbeats */

static uint32_t *place_of(struct core *c, enum timer_what what, uint32_t item) {
    switch (what) {
    case TIMER_JOB_SCHEDULED:
    case TIMER_JOB_WALL:
        return &job_at(c, item)->next;
    case TIMER_JOB_EXTRA:
        return &extra_at(c, job_at(c, item)->extra)->timer;
    case TIMER_KEY:
        return &key_at(c, item)->timer;
    case TIMER_UNIQUE:
        return &unique_at(c, item)->timer;
    case TIMER_QUEUE:
        return &queue_at(c, item)->timer;
    case TIMER_TENANT:
        return &tenant_at(c, item)->timer;
    case TIMER_STREAM:
        return stream_timer_place(c, item);
    case TIMER_FLOW:
        return &flow_at(c, item)->timer;
    case TIMER_SCHEDULE:
        return &schedule_at(c, item)->timer;
    case TIMER_NOTE:
        return &note_at(c, item)->timer;
    }
    UNREACHABLE();
}

static struct timers *heap_of(struct core *c, enum timer_what what) {
    if (what == TIMER_NOTE)
        return &c->notes.ends;
    bool by_wall = what == TIMER_JOB_WALL || what == TIMER_SCHEDULE;
    return by_wall ? &c->wall_timers : &c->mono_timers;
}

static void put(struct core *c, struct timers *h, uint32_t at, struct timer t) {
    h->at[at] = t;
    *place_of(c, (enum timer_what)t.what, t.item) = at;
}

static void sift_up(struct core *c, struct timers *h, uint32_t at, struct timer t) {
    while (at > 1 && h->at[at / 2].when > t.when) {
        put(c, h, at, h->at[at / 2]);
        at /= 2;
    }
    put(c, h, at, t);
}

static void sift_down(struct core *c, struct timers *h, uint32_t at, struct timer t) {
    for (;;) {
        uint32_t child = at * 2;
        if (child > h->n)
            break;
        if (child < h->n && h->at[child + 1].when < h->at[child].when)
            child++;
        if (h->at[child].when >= t.when)
            break;
        put(c, h, at, h->at[child]);
        at = child;
    }
    put(c, h, at, t);
}

static void settle(struct core *c, struct timers *h, uint32_t at, struct timer t) {
    if (at > 1 && h->at[at / 2].when > t.when)
        sift_up(c, h, at, t);
    else
        sift_down(c, h, at, t);
}

void timer_set(struct core *c, enum timer_what what, uint32_t item, uint64_t when) {
    struct timers *h = heap_of(c, what);
    struct timer t = {when, item, what};
    uint32_t at = *place_of(c, what, item);
    if (at) {
        settle(c, h, at, t);
        return;
    }
    if (h->n + 1 >= h->size) {
        h->size = h->size ? h->size * 2 : 64;
        h->at = mem_grow(h->at, h->size, sizeof *h->at);
    }
    sift_up(c, h, ++h->n, t);
}

void timer_clear(struct core *c, enum timer_what what, uint32_t item) {
    uint32_t *place = place_of(c, what, item);
    uint32_t at = *place;
    if (!at)
        return;
    struct timers *h = heap_of(c, what);
    ASSERT(at <= h->n && h->at[at].item == item);
    *place = 0;
    struct timer last = h->at[h->n--];
    if (at <= h->n)
        settle(c, h, at, last);
    if (h->n * 4 < h->size && h->size > 4096) {
        h->size /= 2;
        h->at = mem_grow(h->at, h->size, sizeof *h->at);
    }
}

static void fire(struct core *c, enum timer_what what, uint32_t item) {
    switch (what) {
    case TIMER_JOB_SCHEDULED:
    case TIMER_JOB_WALL:
        job_due(c, item);
        return;
    case TIMER_JOB_EXTRA:
        attempt_timer(c, item);
        return;
    case TIMER_KEY:
        key_timer(c, item);
        return;
    case TIMER_UNIQUE:
        unique_timer(c, item);
        return;
    case TIMER_QUEUE:
        queue_changed(c, item);
        return;
    case TIMER_TENANT:
        tenant_unpark(c, item);
        return;
    case TIMER_STREAM:
        stream_timer(c, item);
        return;
    case TIMER_FLOW:
        flow_timer(c, item);
        return;
    case TIMER_SCHEDULE:
        schedule_timer(c, item);
        return;
    case TIMER_NOTE:
        note_timer(c, item);
        return;
    }
}

static void fire_heap(struct core *c, struct timers *h, uint64_t now) {
    for (uint32_t n = 0; n < FIRE_MAX && h->n && h->at[1].when <= now; n++) {
        struct timer t = h->at[1];
        if (t.what == TIMER_SCHEDULE && schedules_had_their_turn(c))
            return;
        timer_clear(c, (enum timer_what)t.what, t.item);
        fire(c, (enum timer_what)t.what, t.item);
    }
}

void timers_fire(struct core *c) {
    fire_heap(c, &c->mono_timers, c->now.ms);
    fire_heap(c, &c->wall_timers, c->wall.ms);
}

void notes_expire(struct core *c) {
    fire_heap(c, &c->notes.ends, c->now.ms);
}

void timers_done(struct core *c) {
    MEM_FREE(c->notes.ends.at);
    MEM_FREE(c->mono_timers.at);
    MEM_FREE(c->wall_timers.at);
}
