/* Lines take turns: which line is next.
 *
 * Each line has the number of its turn; at a priority the lowest goes first, and who was served
 * goes behind all others. The lines of a kind stand in a ring for each priority, the highest that
 * they have, in the order of their turns, and the kinds in a heap by the turn of the first line in
 * their ring: so a kind without a free worker leaves as a whole, and comes back with its lines
 * where they were. A line whose queue is paused or at a limit stands in a ring of that queue until
 * something happens to it. What cannot start is therefore not looked at: a dispatch costs the
 * logarithm of the kinds that can be run, however many lines wait. */
#include "broker/core/core_int.h"
#include "common/base/mem.h"

/* ---- the kinds of a priority, by the turn of their first line -------------------------------- */
static uint64_t turn_of(const struct core *c, int priority, uint32_t kind) {
    return line_at(c, kind_at(c, kind)->ring[priority])->turn;
}

static void put(struct core *c, int priority, uint32_t at, uint32_t kind) {
    c->turns[priority].at[at] = kind;
    kind_at(c, kind)->place[priority] = at;
}

static void sift_up(struct core *c, int priority, uint32_t at, uint32_t kind) {
    const struct turns *h = &c->turns[priority];
    uint64_t turn = turn_of(c, priority, kind);
    for (; at > 1 && turn_of(c, priority, h->at[at / 2]) > turn; at /= 2)
        put(c, priority, at, h->at[at / 2]);
    put(c, priority, at, kind);
}

static void sift_down(struct core *c, int priority, uint32_t at, uint32_t kind) {
    const struct turns *h = &c->turns[priority];
    uint64_t turn = turn_of(c, priority, kind);
    for (uint32_t child = at * 2; child <= h->n; child = at * 2) {
        if (child < h->n &&
            turn_of(c, priority, h->at[child + 1]) < turn_of(c, priority, h->at[child]))
            child++;
        if (turn_of(c, priority, h->at[child]) >= turn)
            break;
        put(c, priority, at, h->at[child]);
        at = child;
    }
    put(c, priority, at, kind);
}

static void heap_add(struct core *c, int priority, uint32_t kind) {
    struct turns *h = &c->turns[priority];
    if (h->n + 1 >= h->size) {
        h->size = h->size ? h->size * 2 : 16;
        h->at = mem_grow(h->at, h->size, sizeof *h->at);
    }
    sift_up(c, priority, ++h->n, kind);
}

static void heap_remove(struct core *c, int priority, uint32_t kind) {
    struct turns *h = &c->turns[priority];
    uint32_t at = kind_at(c, kind)->place[priority], last = h->at[h->n--];
    kind_at(c, kind)->place[priority] = 0;
    if (last == kind)
        return;
    if (at > 1 && turn_of(c, priority, h->at[at / 2]) > turn_of(c, priority, last))
        sift_up(c, priority, at, last);
    else
        sift_down(c, priority, at, last);
}

void turns_teardown(struct core *c) {
    for (int p = 0; p < PRIORITIES; p++)
        mem_free(c->turns[p].at);
}

/* ---- rings of lines -------------------------------------------------------------------------- */
/* Behind everybody: before the one whose turn it is. */
static void ring_add(struct core *c, uint32_t *ring, uint32_t i) {
    struct line *l = line_at(c, i);
    if (!*ring) {
        l->ring_next = l->ring_prev = i;
        *ring = i;
        return;
    }
    struct line *first = line_at(c, *ring);
    l->ring_next = *ring;
    l->ring_prev = first->ring_prev;
    line_at(c, first->ring_prev)->ring_next = i;
    first->ring_prev = i;
}

static void ring_remove(struct core *c, uint32_t *ring, uint32_t i) {
    struct line *l = line_at(c, i);
    if (l->ring_next == i) {
        *ring = 0;
    } else {
        line_at(c, l->ring_prev)->ring_next = l->ring_next;
        line_at(c, l->ring_next)->ring_prev = l->ring_prev;
        if (*ring == i)
            *ring = l->ring_next;
    }
    l->ring_next = l->ring_prev = 0;
}

/* ---- lines that have something to dispatch --------------------------------------------------- */
static int highest_of(const struct line *l) {
    return l->mask ? 31 - __builtin_clz((unsigned)l->mask) : -1;
}

static void enter(struct core *c, uint32_t i) {
    struct line *l = line_at(c, i);
    struct kind *k = kind_at(c, l->kind);
    int top = highest_of(l);
    l->top = (uint8_t)top;
    l->turn = ++c->turn;
    bool first = !k->ring[top];
    ring_add(c, &k->ring[top], i);
    if (first && !k->closed)
        heap_add(c, top, l->kind);
}

static void leave(struct core *c, uint32_t i) {
    struct line *l = line_at(c, i);
    struct kind *k = kind_at(c, l->kind);
    bool first = k->ring[l->top] == i;
    if (first && l->ring_next == i && !k->closed)
        heap_remove(c, l->top, l->kind);
    ring_remove(c, &k->ring[l->top], i);
    if (first && k->ring[l->top] && !k->closed)
        sift_down(c, l->top, k->place[l->top], l->kind);
}

void line_place(struct core *c, uint32_t i) {
    struct line *l = line_at(c, i);
    int top = highest_of(l);
    if (l->shut) {
        if (top >= 0)
            return;
        ring_remove(c, &queue_at(c, l->queue)->shut, i);
        l->shut = false;
        return;
    }
    if (l->ring_next && top == l->top)
        return;
    if (l->ring_next)
        leave(c, i);
    if (top >= 0)
        enter(c, i);
}

uint32_t line_first(struct core *c, int priority) {
    const struct turns *h = &c->turns[priority];
    c->stats.looks += h->n != 0;
    return h->n ? kind_at(c, h->at[1])->ring[priority] : 0;
}

void line_served(struct core *c, uint32_t i) {
    struct line *l = line_at(c, i);
    struct kind *k = kind_at(c, l->kind);
    if (l->shut || k->ring[l->top] != i)
        return; /* it went before its turn: that is still to come */
    k->ring[l->top] = l->ring_next;
    l->turn = ++c->turn;
    if (!k->closed)
        sift_down(c, l->top, k->place[l->top], l->kind);
}

/* ---- queues and kinds that may not start ------------------------------------------------------
 */
static void wait_for_token(struct core *c, uint32_t queue) {
    const struct queue *q = queue_at(c, queue);
    uint64_t wait_us = limit_wait_us(&q->limit, core_now_us(c));
    if (wait_us && !q->paused && !q->timer)
        timer_set(c, TIMER_QUEUE, queue, c->now.ms + (wait_us + 999) / 1000);
}

void line_shut(struct core *c, uint32_t i) {
    struct line *l = line_at(c, i);
    leave(c, i);
    l->shut = true;
    ring_add(c, &queue_at(c, l->queue)->shut, i);
    wait_for_token(c, l->queue);
}

void queue_changed(struct core *c, uint32_t queue) {
    struct queue *q = queue_at(c, queue);
    if (!q->shut)
        return;
    if (!queue_may_start(c, q)) {
        wait_for_token(c, queue);
        return;
    }
    c->aged_look_ms = 0;
    while (q->shut) {
        uint32_t i = q->shut;
        ring_remove(c, &q->shut, i);
        line_at(c, i)->shut = false;
        enter(c, i);
    }
}

void kind_close(struct core *c, uint32_t kind) {
    struct kind *k = kind_at(c, kind);
    for (int p = 0; p < PRIORITIES; p++)
        if (k->place[p])
            heap_remove(c, p, kind);
    k->closed = true;
}

void kind_open(struct core *c, uint32_t kind) {
    struct kind *k = kind_at(c, kind);
    if (!k->closed)
        return;
    k->closed = false;
    for (int p = 0; p < PRIORITIES; p++)
        if (k->ring[p])
            heap_add(c, p, kind);
}

/* ---- checked -----------------------------------------------------------------------------------
 */
static uint32_t check_kind(const struct core *c, uint32_t kind, int p) {
    const struct kind *k = kind_at(c, kind);
    uint32_t n = 0, at = k->place[p];
    uint64_t turn = 0;
    ASSERT((at != 0) == (k->ring[p] && !k->closed));
    ASSERT(!at || (at <= c->turns[p].n && c->turns[p].at[at] == kind));
    ASSERT(at < 2 || turn_of(c, p, c->turns[p].at[at / 2]) <= turn_of(c, p, kind));
    for (uint32_t i = k->ring[p]; i; n++) {
        const struct line *l = line_at(c, i);
        ASSERT(l->kind == kind && !l->shut && l->top == p && (l->mask >> p) == 1);
        ASSERT(line_at(c, l->ring_next)->ring_prev == i && l->turn > turn);
        turn = l->turn;
        i = l->ring_next == k->ring[p] ? 0 : l->ring_next;
    }
    return n;
}

/* A queue with lines that are shut will wake them: by what ends, what is said, or its timer. */
static uint32_t check_shut(const struct core *c, uint32_t queue) {
    const struct queue *q = queue_at(c, queue);
    uint32_t n = 0;
    for (uint32_t i = q->shut; i; n++) {
        const struct line *l = line_at(c, i);
        ASSERT(l->queue == queue && l->shut && l->mask);
        i = l->ring_next == q->shut ? 0 : l->ring_next;
    }
    ASSERT(!n || q->paused || q->timer || !limit_has_room(&q->limit));
    return n;
}

void turns_check(const struct core *c) {
    uint32_t lines = 0, kinds = 0, found = 0, heaped = 0;
    SLAB_EACH(i, &c->lines)
    lines += line_at(c, i)->mask != 0;
    SLAB_EACH(k, &c->kinds.rows)
    for (int p = 0; p < PRIORITIES; p++) {
        found += check_kind(c, k, p);
        kinds += kind_at(c, k)->place[p] != 0;
    }
    SLAB_EACH(q, &c->queues.rows)
    found += check_shut(c, q);
    for (int p = 0; p < PRIORITIES; p++)
        heaped += c->turns[p].n;
    ASSERT(lines == found && kinds == heaped);
}
