/* Lines: the jobs of one queue and one kind. There are as many as the jobs need: a line goes with
 * its last job, and lets go of its queue and kind. */
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

static uint32_t line_make(struct core *c, uint32_t queue, uint32_t kind) {
    uint32_t i = slab_take(&c->lines);
    struct line *l = line_at(c, i);
    l->queue = queue;
    l->kind = kind;
    names_hold(&c->queues, queue);
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
    if (queue_at(c, l->queue)->line == i)
        queue_at(c, l->queue)->line = 0;
    names_let_go(&c->queues, l->queue);
    names_let_go(&c->kinds, l->kind);
    lhash_remove(&c->line_index, i);
    slab_give(&c->lines, i);
}
