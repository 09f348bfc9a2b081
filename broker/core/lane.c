/* Order and fairness: which ready job is next.
 *
 * By priority, the highest first; lines of the same priority take turns; within a class the lanes
 * of the tenants stand in a ring and are served by deficit round robin (M. Shreedhar, G. Varghese,
 * "Efficient fair queueing using deficit round robin", 1995), a job costing one and a tenant's
 * weight being its quantum; within a lane first in, first out. One of `aging_share` dispatches goes
 * to the class that has waited longest, if that is over aging_wait_ms, so that nothing starves.
 *
 * A lane whose tenant is at a limit is parked with its tenant until the limit gives way, one whose
 * tenant runs as many jobs of the queue as it may with that quota; what lines whose queue is at
 * a limit, or whose kind has no free worker, do meanwhile is in turns.c. */
#include "broker/core/core_int.h"

#define LOOK_AGAIN 64  /* times in aging_wait_ms it is looked whether anybody has waited so long */
#define AGED_LOOKS 512 /* lines looked at in one search for who has waited longest */

struct lane_name {
    uint32_t line, tenant;
    uint8_t priority;
};

static uint64_t lane_hash_of(uint32_t line, uint32_t tenant, uint8_t priority) {
    return hash_mix(((uint64_t)line << 8) | priority, tenant);
}

static uint64_t lane_hash(const void *ctx, uint32_t i) {
    const struct lane *a = lane_at(ctx, i);
    return lane_hash_of(a->line, a->tenant, a->priority);
}

static uint32_t *lane_link(const void *ctx, uint32_t i) {
    return &lane_at(ctx, i)->hash_next;
}

static bool lane_equal(const void *ctx, uint32_t i, const void *key) {
    const struct lane *a = lane_at(ctx, i);
    const struct lane_name *n = key;
    return a->line == n->line && a->tenant == n->tenant && a->priority == n->priority;
}

static const struct lhash_ops lane_ops = {lane_hash, lane_link, lane_equal};

void lanes_setup(struct core *c) {
    slab_init(&c->lanes, sizeof(struct lane));
    lhash_init(&c->lane_index, &lane_ops, c);
}

void lanes_teardown(struct core *c) {
    lhash_done(&c->lane_index);
    slab_done(&c->lanes);
}

uint32_t lane_of(const struct core *c, const struct job *j) {
    const struct class *k = &line_at(c, j->line)->class[j->priority];
    if (k->last && lane_at(c, k->last)->tenant == j->tenant)
        return k->last;
    struct lane_name name = {j->line, j->tenant, j->priority};
    return lhash_find(&c->lane_index, lane_hash_of(j->line, j->tenant, j->priority), &name);
}

/* ---- the ring of lanes of a class --------------------------------------------------------------
 */
static void ring_add(struct core *c, uint32_t i) {
    struct lane *a = lane_at(c, i);
    struct line *l = line_at(c, a->line);
    uint32_t *ring = &l->class[a->priority].ring;
    if (!*ring) {
        a->next = a->prev = i;
        *ring = i;
        l->mask = (uint16_t)(l->mask | (1U << a->priority));
        line_place(c, a->line);
        return;
    }
    struct lane *at = lane_at(c, *ring); /* behind everybody: before the one whose turn it is */
    a->next = *ring;
    a->prev = at->prev;
    lane_at(c, at->prev)->next = i;
    at->prev = i;
}

static void ring_remove(struct core *c, uint32_t i) {
    struct lane *a = lane_at(c, i);
    struct line *l = line_at(c, a->line);
    uint32_t *ring = &l->class[a->priority].ring;
    a->credit = 0;
    if (a->next == i) {
        *ring = 0;
        l->mask = (uint16_t)(l->mask & ~(1U << a->priority));
        line_place(c, a->line);
    } else {
        lane_at(c, a->prev)->next = a->next;
        lane_at(c, a->next)->prev = a->prev;
        if (*ring == i)
            *ring = a->next;
    }
    a->next = a->prev = 0;
}

/* ---- parked lanes ------------------------------------------------------------------------------
 */
static uint32_t *parked_of(struct core *c, const struct lane *a) {
    if (!a->by_quota)
        return &tenant_at(c, a->tenant)->parked;
    return &quota_at(c, quota_find(c, line_at(c, a->line)->queue, a->tenant))->parked;
}

bool lane_may_start(const struct core *c, const struct lane *a) {
    return tenant_may_start(c, tenant_at(c, a->tenant)) &&
           quota_has_room(c, line_at(c, a->line)->queue, a->tenant);
}

static void park(struct core *c, uint32_t i) {
    struct lane *a = lane_at(c, i);
    const struct tenant *t = tenant_at(c, a->tenant);
    ring_remove(c, i);
    a->parked = true;
    a->by_quota = tenant_may_start(c, t);
    uint32_t *parked = parked_of(c, a);
    a->next = *parked;
    if (*parked)
        lane_at(c, *parked)->prev = i;
    *parked = i;
    uint64_t wait_us = limit_wait_us(&t->limit, core_now_us(c));
    if (wait_us)
        timer_set(c, TIMER_TENANT, a->tenant, c->now.ms + (wait_us + 999) / 1000);
}

static void unpark(struct core *c, uint32_t i) {
    struct lane *a = lane_at(c, i);
    if (a->prev)
        lane_at(c, a->prev)->next = a->next;
    else
        *parked_of(c, a) = a->next;
    if (a->next)
        lane_at(c, a->next)->prev = a->prev;
    a->next = a->prev = 0;
    a->parked = a->by_quota = false;
}

void lanes_unpark(struct core *c, uint32_t *parked) {
    while (*parked) {
        uint32_t i = *parked;
        unpark(c, i);
        ring_add(c, i);
    }
}

void tenant_unpark(struct core *c, uint32_t tenant) {
    if (!MUTANT(parked_forever))
        lanes_unpark(c, &tenant_at(c, tenant)->parked);
}

/* ---- jobs in and out
 * ----------------------------------------------------------------------------- */
static uint32_t lane_need(struct core *c, const struct job *j) {
    uint32_t i = lane_of(c, j);
    if (!i) {
        i = slab_take(&c->lanes);
        struct lane *a = lane_at(c, i);
        a->line = j->line;
        a->tenant = j->tenant;
        a->priority = j->priority;
        lhash_add(&c->lane_index, i);
        ring_add(c, i);
    }
    line_at(c, j->line)->class[j->priority].last = i;
    return i;
}

void lane_push(struct core *c, uint32_t i, bool front) {
    struct job *j = job_at(c, i);
    ASSERT(!job_is(j, JOB_IN_LANE));
    uint32_t lane = lane_need(c, j);
    struct lane *a = lane_at(c, lane);
    job_mark(j, JOB_IN_LANE);
    if (front) {
        j->prev = 0;
        j->next = a->head;
        if (a->head)
            job_at(c, a->head)->prev = i;
        else
            a->tail = i;
        a->head = i;
    } else {
        struct list l = {a->head, a->tail, a->n};
        list_push(c, &l, i);
        a->head = l.head;
        a->tail = l.tail;
    }
    a->n++;
    if (job_is(j, JOB_IS_VOLATILE))
        return;
    body_waits(c, i);
    if (job_body(c, j) && !body_may_stay(c, j) && !front) {
        body_drop(c, i);
        job_drop_extra(c, i);
    }
    if (!job_body(c, j) && (front || !a->ahead))
        a->ahead = i;
    body_refill(c, lane);
}

static void take_out(struct core *c, uint32_t lane, uint32_t i) {
    struct job *j = job_at(c, i);
    ASSERT(job_is(j, JOB_IN_LANE));
    struct lane *a = lane_at(c, lane);
    if (a->ahead == i)
        a->ahead = j->next;
    struct list l = {a->head, a->tail, a->n};
    list_remove(c, &l, i);
    a->head = l.head;
    a->tail = l.tail;
    a->n = l.n;
    job_unmark(j, JOB_IN_LANE);
    if (a->n) {
        body_refill(c, lane);
        return;
    }
    if (a->parked)
        unpark(c, lane);
    else
        ring_remove(c, lane);
    struct class *k = &line_at(c, a->line)->class[a->priority];
    if (k->last == lane)
        k->last = 0;
    lhash_remove(&c->lane_index, lane);
    slab_give(&c->lanes, lane);
}

void lane_remove(struct core *c, uint32_t i) {
    take_out(c, lane_of(c, job_at(c, i)), i);
}

/* ---- the choice --------------------------------------------------------------------------------
 */
static bool line_may_start(const struct core *c, const struct line *l) {
    return !kind_at(c, l->kind)->closed && queue_may_start(c, queue_at(c, l->queue));
}

static uint64_t class_waited_ms(const struct core *c, const struct line *l, int priority) {
    const struct lane *a = lane_at(c, l->class[priority].ring);
    uint64_t since = job_at(c, a->head)->since_ms;
    return c->now.ms > since ? c->now.ms - since : 0;
}

struct choice {
    uint32_t line;
    int priority;
};

static struct choice highest(struct core *c) {
    for (int n = 0; n < PRIORITIES; n++) {
        int top = MUTANT(priority_reversed) ? n : PRIORITIES - 1 - n;
        for (uint32_t i = line_first(c, top); i; i = line_first(c, top)) {
            const struct line *l = line_at(c, i);
            if (queue_may_start(c, queue_at(c, l->queue)))
                return (struct choice){
                    i, MUTANT(priority_reversed) ? __builtin_ctz((unsigned)l->mask) : top};
            line_shut(c, i);
        }
    }
    return (struct choice){0, -1};
}

struct search {
    struct choice best;
    uint64_t longest;
    bool any; /* somebody has waited so long, though perhaps may not start */
};

static void search_line(const struct core *c, uint32_t i, struct search *s) {
    const struct line *l = line_at(c, i);
    bool asked = false, may_start = false;
    if (l->shut)
        return; /* what wakes it asks for another search */
    for (unsigned rest = l->mask; rest; rest &= rest - 1) {
        int p = __builtin_ctz(rest);
        uint64_t waited = class_waited_ms(c, l, p);
        if (waited < c->config.aging_wait_ms)
            continue;
        s->any = true;
        if (!asked)
            may_start = line_may_start(c, l);
        asked = true;
        if (!may_start || waited < s->longest)
            continue;
        s->longest = waited;
        s->best = (struct choice){i, p};
    }
}

/* A search looks at so many lines and goes on from there, so that with more of them the longest
 * waiting of a part is found, and of each part in turn. One that finds nobody is not done again in
 * this pass, for nobody will be let start in it; and if nobody at all has waited so long, not for a
 * while. */
static struct choice longest_waiting(struct core *c) {
    struct search s = {.best = {0, -1}, .longest = c->config.aging_wait_ms};
    uint32_t looks = c->lines.used < AGED_LOOKS ? c->lines.used : AGED_LOOKS;
    c->stats.looks += looks;
    for (uint32_t n = 0; n < looks; n++) {
        c->aged_hand = slab_next(&c->lines, c->aged_hand + 1);
        if (!c->aged_hand)
            c->aged_hand = slab_next(&c->lines, 1);
        search_line(c, c->aged_hand, &s);
    }
    c->aged_in_vain = s.any ? 0 : c->aged_in_vain + looks;
    if (!s.best.line)
        c->aged_pass = c->pass;
    if (c->aged_in_vain >= c->lines.used) {
        c->aged_in_vain = 0;
        c->aged_look_ms = c->now.ms + c->config.aging_wait_ms / LOOK_AGAIN;
    }
    return s.best;
}

/* The share is owed, not tied to every n-th turn: a class whose queue is seldom open by its rate
 * gets it at the moment when it is. */
static struct choice choose_class(struct core *c) {
    c->chose_aged = false;
    if (c->since_aged + 1 < c->config.aging_share || c->aged_pass == c->pass ||
        c->now.ms < c->aged_look_ms || MUTANT(no_aging))
        return highest(c);
    struct choice aged = longest_waiting(c);
    c->chose_aged = aged.line != 0;
    return aged.line ? aged : highest(c);
}

uint32_t lane_choose(struct core *c) {
    for (;;) {
        struct choice k = choose_class(c);
        if (!k.line)
            return 0;
        uint32_t lane = line_at(c, k.line)->class[k.priority].ring;
        const struct lane *a = lane_at(c, lane);
        if (lane_may_start(c, a))
            return a->head;
        park(c, lane);
    }
}

/* Only a dispatch counts: what found no worker owes its share still. */
static void count_share(struct core *c) {
    if (c->chose_aged)
        c->since_aged = 0;
    else if (c->since_aged + 1 < c->config.aging_share)
        c->since_aged++;
}

/* The debt is paid in the next pass: to search for each kind that has no worker left would be long.
 */
void lane_unserved(struct core *c) {
    if (c->chose_aged)
        c->aged_pass = c->pass;
}

void lane_served(struct core *c, uint32_t i) {
    uint32_t lane = lane_of(c, job_at(c, i));
    struct lane *a = lane_at(c, lane);
    struct line *l = line_at(c, a->line);
    if (!a->credit)
        a->credit = tenant_at(c, a->tenant)->limit.now.weight;
    if (--a->credit == 0 && !MUTANT(unfair_ring))
        l->class[a->priority].ring = a->next;
    line_served(c, a->line);
    count_share(c);
    take_out(c, lane, i);
}
