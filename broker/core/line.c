/* Lines: the jobs of one queue and one kind. There are as many as the jobs need: a line goes with
 * its last job, and lets go of its queue and kind. Lines whose jobs have all ended can give the
 * name of their queue back when others need the room: what it was is in the jobs' records. */
#include "broker/core/core_int.h"

struct line_name {
    uint32_t queue, kind;
};

static uint64_t line_hash_of(uint32_t queue, uint32_t kind) {
    return hash_mix(queue, kind);
}

static uint64_t line_hash(const void *ctx, uint32_t i) {
    const struct line *l = line_at(ctx, i);
    return line_hash_of(l->queue, l->kind);
}

static uint32_t *line_link(const void *ctx, uint32_t i) {
    return &line_at(ctx, i)->hash_next;
}

static bool line_equal(const void *ctx, uint32_t i, const void *key) {
    const struct line *l = line_at(ctx, i);
    const struct line_name *n = key;
    return l->queue == n->queue && l->kind == n->kind;
}

static const struct lhash_ops line_ops = {line_hash, line_link, line_equal};

void lines_setup(struct core *c) {
    slab_init(&c->lines, sizeof(struct line));
    lhash_init(&c->line_index, &line_ops, c);
}

void lines_teardown(struct core *c) {
    lhash_done(&c->line_index);
    slab_done(&c->lines);
    turns_teardown(c);
}

/* A line holds its queue. */
static void queue_add(struct core *c, uint32_t queue, uint32_t i) {
    struct line *l = line_at(c, i);
    struct queue *q = queue_at(c, queue);
    l->queue = queue;
    l->prev = 0;
    l->next = q->lines;
    if (q->lines)
        line_at(c, q->lines)->prev = i;
    q->lines = i;
    q->n_lines++;
    names_hold(&c->queues, queue);
}

static void queue_remove(struct core *c, uint32_t i) {
    const struct line *l = line_at(c, i);
    struct queue *q = queue_at(c, l->queue);
    if (q->line == i)
        q->line = 0;
    if (l->prev)
        line_at(c, l->prev)->next = l->next;
    else
        q->lines = l->next;
    if (l->next)
        line_at(c, l->next)->prev = l->prev;
    q->n_lines--;
    names_let_go(&c->queues, l->queue);
}

static uint32_t line_make(struct core *c, uint32_t queue, uint32_t kind) {
    uint32_t i = slab_take(&c->lines);
    struct line *l = line_at(c, i);
    l->kind = kind;
    queue_add(c, queue, i);
    names_hold(&c->kinds, kind);
    lhash_add(&c->line_index, i);
    return i;
}

static uint32_t line_find(const struct core *c, uint32_t queue, uint32_t kind) {
    uint32_t last = queue_at(c, queue)->line;
    if (last && line_at(c, last)->kind == kind)
        return last;
    struct line_name name = {queue, kind};
    return lhash_find(&c->line_index, line_hash_of(queue, kind), &name);
}

uint32_t line_join(struct core *c, uint32_t queue, uint32_t kind) {
    uint32_t i = line_find(c, queue, kind);
    if (!i)
        i = line_make(c, queue, kind);
    queue_at(c, queue)->line = i;
    line_at(c, i)->jobs++;
    return i;
}

void line_leave(struct core *c, uint32_t i) {
    struct line *l = line_at(c, i);
    ASSERT(l->jobs > 0);
    if (--l->jobs)
        return;
    ASSERT(!l->mask && !l->loaded);
    queue_remove(c, i);
    names_let_go(&c->kinds, l->kind);
    lhash_remove(&c->line_index, i);
    slab_give(&c->lines, i);
}

/* ---- lines of ended jobs only ---------------------------------------------------------------- */
bool queue_has_ended(const struct core *c, uint32_t queue) {
    const struct queue *q = queue_at(c, queue);
    uint64_t live = 0;
    for (int s = 0; s < JOB_STATES; s++)
        live += job_state_terminal((enum job_state)s) ? 0 : q->by_state[s];
    return !live && q->row.refs == q->n_lines;
}

void queue_unname(struct core *c, uint32_t queue) {
    struct queue *q = queue_at(c, queue), *to = queue_at(c, c->nameless);
    while (q->lines) {
        uint32_t i = q->lines;
        lhash_remove(&c->line_index, i);
        queue_remove(c, i);
        queue_add(c, c->nameless, i);
        lhash_add(&c->line_index, i);
    }
    for (int s = 0; s < JOB_STATES; s++) {
        to->by_state[s] += q->by_state[s];
        q->by_state[s] = 0;
    }
    to->kept_dead += q->kept_dead;
    q->kept_dead = 0;
}

void job_rejoin(struct core *c, uint32_t i, uint32_t queue) {
    struct job *j = job_at(c, i);
    uint32_t old = j->line;
    job_queue(c, j)->by_state[j->state]--;
    j->line = line_join(c, queue, line_at(c, old)->kind);
    job_queue(c, j)->by_state[j->state]++;
    line_leave(c, old);
}
