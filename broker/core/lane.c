/* Order and fairness: which ready job is next.
 *
 * By priority, the highest first; lines of the same priority take turns; within a class the lanes
 * of the tenants stand in a ring and are served by deficit round robin (M. Shreedhar, G. Varghese,
 * "Efficient fair queueing using deficit round robin", 1995), a job costing one and a tenant's
 * weight being its quantum; within a lane first in, first out. One of `aging_share` dispatches goes
 * to the class that has waited longest, if that is over aging_wait_ms, so that nothing starves.
 *
 * A lane whose tenant is at a limit is parked with its tenant until the limit gives way; a line
 * whose queue is at a limit is passed over. */
#include "broker/core/core_int.h"

#define LOOK_AGAIN 4 /* dispatches until a search that found nobody is repeated */

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

/* ---- the ring of lines that have something to dispatch
 * ------------------------------------------- */
static void line_activate(struct core *c, uint32_t i) {
    struct line *l = line_at(c, i);
    if (!c->active) {
        l->active_next = l->active_prev = i;
        c->active = i;
        return;
    }
    struct line *at = line_at(c, c->active);
    l->active_next = c->active;
    l->active_prev = at->active_prev;
    line_at(c, at->active_prev)->active_next = i;
    at->active_prev = i;
}

static void line_deactivate(struct core *c, uint32_t i) {
    struct line *l = line_at(c, i);
    if (l->active_next == i) {
        c->active = 0;
    } else {
        line_at(c, l->active_prev)->active_next = l->active_next;
        line_at(c, l->active_next)->active_prev = l->active_prev;
        if (c->active == i)
            c->active = l->active_next;
    }
    l->active_next = l->active_prev = 0;
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
        if (!l->mask)
            line_activate(c, a->line);
        l->mask = (uint16_t)(l->mask | (1U << a->priority));
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
        if (!l->mask)
            line_deactivate(c, a->line);
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
static void park(struct core *c, uint32_t i) {
    struct lane *a = lane_at(c, i);
    struct tenant *t = tenant_at(c, a->tenant);
    ring_remove(c, i);
    a->parked = true;
    a->next = t->parked;
    if (t->parked)
        lane_at(c, t->parked)->prev = i;
    t->parked = i;
    uint64_t wait_us = limit_wait_us(&t->limit, core_now_us(c));
    if (wait_us)
        timer_set(c, TIMER_TENANT, a->tenant, c->now.ms + wait_us / 1000 + 1);
}

static void unpark(struct core *c, uint32_t i) {
    struct lane *a = lane_at(c, i);
    struct tenant *t = tenant_at(c, a->tenant);
    if (a->prev)
        lane_at(c, a->prev)->next = a->next;
    else
        t->parked = a->next;
    if (a->next)
        lane_at(c, a->next)->prev = a->prev;
    a->next = a->prev = 0;
    a->parked = false;
}

void tenant_unpark(struct core *c, uint32_t tenant) {
    struct tenant *t = tenant_at(c, tenant);
    if (MUTANT(parked_forever))
        return;
    while (t->parked) {
        uint32_t i = t->parked;
        unpark(c, i);
        ring_add(c, i);
    }
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

void lane_remove(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    ASSERT(job_is(j, JOB_IN_LANE));
    uint32_t lane = lane_of(c, j);
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

/* ---- the choice --------------------------------------------------------------------------------
 */
static bool line_may_start(const struct core *c, const struct line *l) {
    return kind_at(c, l->kind)->exhausted != c->pass && queue_may_start(c, queue_at(c, l->queue));
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

static struct choice highest(const struct core *c) {
    struct choice best = {0, -1};
    uint32_t i = c->active;
    do {
        const struct line *l = line_at(c, i);
        int priority = 31 - __builtin_clz((unsigned)l->mask);
        if (MUTANT(priority_reversed))
            priority = __builtin_ctz((unsigned)l->mask);
        if (priority > best.priority && line_may_start(c, l))
            best = (struct choice){i, priority};
        i = l->active_next;
    } while (i != c->active && best.priority < PRIORITIES - 1);
    return best;
}

static struct choice longest_waiting(const struct core *c) {
    struct choice best = {0, -1};
    uint64_t longest = c->config.aging_wait_ms;
    uint32_t i = c->active;
    do {
        const struct line *l = line_at(c, i);
        if (line_may_start(c, l)) {
            for (int p = 0; p < PRIORITIES; p++) {
                if (!(l->mask & (1U << p)) || class_waited_ms(c, l, p) < longest)
                    continue;
                longest = class_waited_ms(c, l, p);
                best = (struct choice){i, p};
            }
        }
        i = l->active_next;
    } while (i != c->active);
    return best;
}

/* The share is owed, not tied to every n-th turn: a class whose queue is seldom open by its rate
 * gets it at the moment when it is. */
static struct choice choose_class(struct core *c) {
    c->chose_aged = false;
    if (c->since_aged + 1 < c->config.aging_share || MUTANT(no_aging))
        return highest(c);
    struct choice aged = longest_waiting(c);
    c->chose_aged = aged.line != 0;
    return aged.line ? aged : highest(c);
}

uint32_t lane_choose(struct core *c) {
    while (c->active) {
        struct choice k = choose_class(c);
        if (!k.line)
            return 0;
        uint32_t lane = line_at(c, k.line)->class[k.priority].ring;
        const struct lane *a = lane_at(c, lane);
        if (tenant_may_start(c, tenant_at(c, a->tenant)))
            return a->head;
        park(c, lane);
    }
    return 0;
}

/* Only a dispatch counts: what found no worker owes its share still. */
static void count_share(struct core *c) {
    uint32_t share = c->config.aging_share;
    if (c->chose_aged)
        c->since_aged = 0;
    else if (c->since_aged + 1 < share)
        c->since_aged++;
    else /* nobody has waited so long: look again in a while, not each time */
        c->since_aged = share > LOOK_AGAIN ? share - LOOK_AGAIN : 0;
}

void lane_served(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    uint32_t lane = lane_of(c, j);
    struct lane *a = lane_at(c, lane);
    struct line *l = line_at(c, a->line);
    if (!a->credit)
        a->credit = tenant_at(c, a->tenant)->limit.now.weight;
    if (--a->credit == 0 && !MUTANT(unfair_ring))
        l->class[a->priority].ring = a->next;
    c->active = l->active_next;
    count_share(c);
    lane_remove(c, i);
}
