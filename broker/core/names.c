/* What has a name: queues, tenants, kinds, pools; and lines, named by queue and kind. */
#include "broker/core/core_int.h"
#include "common/base/mem.h"

static uint64_t name_hash(const void *ctx, uint32_t i) {
    const struct names *n = ctx;
    const struct name_row *row = slab_at(&n->rows, i);
    return hash_bytes(0, row->name);
}

static uint32_t *name_link(const void *ctx, uint32_t i) {
    const struct names *n = ctx;
    return &((struct name_row *)slab_at(&n->rows, i))->hash_next;
}

static bool name_equal(const void *ctx, uint32_t i, const void *key) {
    const struct names *n = ctx;
    return str_eq(((struct name_row *)slab_at(&n->rows, i))->name, *(const struct str *)key);
}

static const struct lhash_ops name_ops = {name_hash, name_link, name_equal};

void names_init(struct names *n, size_t item_bytes, uint32_t max) {
    slab_init(&n->rows, item_bytes);
    lhash_init(&n->index, &name_ops, n);
    n->max = max;
}

void names_done(struct names *n) {
    SLAB_EACH(i, &n->rows) {
        struct name_row *row = slab_at(&n->rows, i);
        mem_free((void *)(uintptr_t)row->name.at);
    }
    lhash_done(&n->index);
    slab_done(&n->rows);
}

uint32_t names_find(const struct names *n, struct str name) {
    return lhash_find(&n->index, hash_bytes(0, name), &name);
}

uint32_t names_take(struct names *n, struct str name) {
    uint32_t i = names_find(n, name);
    if (i)
        return i;
    if (n->rows.used >= n->max)
        return 0;
    i = slab_take(&n->rows);
    struct name_row *row = slab_at(&n->rows, i);
    char *copy = mem_alloc(name.len + 1);
    memcpy(copy, name.at, name.len);
    copy[name.len] = '\0';
    row->name = (struct str){copy, name.len};
    lhash_add(&n->index, i);
    return i;
}

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

uint32_t line_take(struct core *c, uint32_t queue, uint32_t kind) {
    struct line_name name = {queue, kind};
    uint32_t i = lhash_find(&c->line_index, line_hash_of(queue, kind), &name);
    if (i)
        return i;
    i = slab_take(&c->lines);
    struct line *l = line_at(c, i);
    l->queue = queue;
    l->kind = kind;
    lhash_add(&c->line_index, i);
    return i;
}

void names_setup(struct core *c) {
    names_init(&c->queues, sizeof(struct queue), UINT32_MAX);
    names_init(&c->tenants, sizeof(struct tenant), UINT32_MAX);
    names_init(&c->kinds, sizeof(struct kind), UINT32_MAX);
    names_init(&c->pools, sizeof(struct pool), UINT32_MAX);
    slab_init(&c->lines, sizeof(struct line));
    lhash_init(&c->line_index, &line_ops, c);
}

/* The bounds are for what comes; what was accepted under others is not refused at replay. */
void names_bound(struct core *c) {
    c->queues.max = c->pools.max = c->config.queues_max;
    c->tenants.max = c->config.tenants_max;
    c->kinds.max = c->config.kinds_max;
}

void names_teardown(struct core *c) {
    SLAB_EACH(i, &c->kinds.rows) {
        mem_free(kind_at(c, i)->text);
        mem_free(kind_at(c, i)->workers);
    }
    names_done(&c->queues);
    names_done(&c->tenants);
    names_done(&c->kinds);
    names_done(&c->pools);
    lhash_done(&c->line_index);
    slab_done(&c->lines);
}

static const struct limit_config no_limit = {.weight = 1};

uint32_t queue_take(struct core *c, struct str name) {
    uint32_t i = names_find(&c->queues, name);
    if (i)
        return i;
    i = names_take(&c->queues, name);
    if (i)
        limit_configure(&queue_at(c, i)->limit, &no_limit);
    return i;
}

uint32_t tenant_take(struct core *c, struct str name) {
    uint32_t i = names_find(&c->tenants, name);
    if (i)
        return i;
    i = names_take(&c->tenants, name);
    if (i)
        limit_configure(&tenant_at(c, i)->limit, &no_limit);
    return i;
}

void kind_set(struct core *c, uint32_t kind, const struct msg_kind_info *info) {
    struct kind *k = kind_at(c, kind);
    mem_free(k->text);
    k->text = mem_alloc(info->queue.len + info->schema.len + 1);
    if (info->queue.len)
        memcpy(k->text, info->queue.at, info->queue.len);
    if (info->schema.len)
        memcpy(k->text + info->queue.len, info->schema.at, info->schema.len);
    k->info = *info;
    k->info.kind = k->row.name;
    k->info.queue = (struct str){k->text, info->queue.len};
    k->info.schema = (struct str){k->text + info->queue.len, info->schema.len};
    k->declared = true;
}
