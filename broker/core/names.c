/* What has a name: queues, tenants, kinds, pools. There may be so many of each; when there are, one
 * that nothing names and nobody set or listed makes room for the next. */
#include "broker/core/core_int.h"
#include "common/base/mem.h"

#define LOOK_MAX 4096 /* rows looked at in one turn for one that is not used */

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

static void init(struct names *n, size_t item_bytes, const struct name_ops *ops) {
    slab_init(&n->rows, item_bytes);
    lhash_init(&n->index, &name_ops, n);
    n->ops = ops;
    n->max = UINT32_MAX;
}

static void done(struct names *n) {
    SLAB_EACH(i, &n->rows) {
        struct name_row *row = slab_at(&n->rows, i);
        mem_free((void *)(uintptr_t)row->name.at);
    }
    lhash_done(&n->index);
    slab_done(&n->rows);
}

/* Who submits many jobs mostly names the same things in each of them. */
uint32_t names_find(struct names *n, struct str name) {
    if (n->last && name_equal(n, n->last, &name))
        return n->last;
    uint32_t i = lhash_find(&n->index, hash_bytes(0, name), &name);
    if (i)
        n->last = i;
    return i;
}

void names_hold(struct names *n, uint32_t i) {
    ((struct name_row *)slab_at(&n->rows, i))->refs++;
}

void names_let_go(struct names *n, uint32_t i) {
    struct name_row *row = slab_at(&n->rows, i);
    ASSERT(row->refs > 0);
    row->refs--;
}

/* ---- room for another ----------------------------------------------------------------------- */
static void forget(struct core *c, struct names *n, uint32_t i) {
    struct name_row *row = slab_at(&n->rows, i);
    ASSERT(row->refs == 0);
    n->ops->forget(c, i);
    if (n->last == i)
        n->last = 0;
    lhash_remove(&n->index, i);
    mem_free((void *)(uintptr_t)row->name.at);
    slab_give(&n->rows, i);
}

static bool may_give(const struct core *c, const struct names *n, uint32_t i, bool dead_too) {
    return n->ops->may_give && n->ops->may_give(c, i, dead_too);
}

static void give(struct core *c, struct names *n, uint32_t i) {
    n->ops->give(c, i);
    forget(c, n, i);
}

/* The next row that nothing needs goes, or that only ended jobs have; one with dead letters, which
 * are looked for by their queue, if there is no other. A turn looks at so many rows of a table and
 * no more: who is refused for that tries again, and the search goes on from there. */
static bool make_room(struct core *c, struct names *n) {
    uint32_t dead = 0;
    for (uint32_t looks = 0; looks < n->rows.used && n->looked < LOOK_MAX; looks++) {
        n->looked++;
        n->hand = slab_next(&n->rows, n->hand + 1);
        if (!n->hand)
            n->hand = slab_next(&n->rows, 1);
        const struct name_row *row = slab_at(&n->rows, n->hand);
        if (!n->ops->unused(c, n->hand))
            continue;
        if (!row->refs) {
            forget(c, n, n->hand);
            return true;
        }
        if (may_give(c, n, n->hand, false)) {
            give(c, n, n->hand);
            return true;
        }
        if (!dead && may_give(c, n, n->hand, true))
            dead = n->hand;
    }
    if (dead)
        give(c, n, dead);
    return dead != 0;
}

static uint32_t make(struct names *n, struct str name) {
    uint32_t i = slab_take(&n->rows);
    struct name_row *row = slab_at(&n->rows, i);
    char *copy = mem_alloc(name.len + 1);
    memcpy(copy, name.at, name.len);
    copy[name.len] = '\0';
    row->name = (struct str){copy, name.len};
    lhash_add(&n->index, i);
    return i;
}

/* 0 when there are `max` and all of them are needed. */
static uint32_t take(struct core *c, struct names *n, struct str name) {
    uint32_t i = names_find(n, name);
    while (!i && n->index.n >= n->max)
        if (!make_room(c, n))
            return 0;
    return i ? i : make(n, name);
}

/* Its record is on disk until its segment goes: if the name comes again before that, its records
 * must have higher versions. */
static void retire(struct core *c, struct names *n, uint32_t version, uint64_t pos,
                   uint32_t bytes) {
    if (version > n->version_floor)
        n->version_floor = version;
    if (pos)
        c->fx.release(c->fx.ctx, pos, bytes);
}

static bool queue_unused(const struct core *c, uint32_t i) {
    const struct queue *q = queue_at(c, i);
    return i != c->nameless && !q->configured && !q->limit.is_set && !q->pause_is_set;
}

static bool queue_may_give(const struct core *c, uint32_t i, bool dead_too) {
    return (dead_too || !queue_at(c, i)->kept_dead) && queue_has_ended(c, i);
}

static void queue_forget(struct core *c, uint32_t i) {
    const struct queue *q = queue_at(c, i);
    timer_clear(c, TIMER_QUEUE, i);
    retire(c, &c->queues, q->version, q->pos, q->bytes);
}

static bool tenant_unused(const struct core *c, uint32_t i) {
    const struct tenant *t = tenant_at(c, i);
    return !t->configured && !t->limit.is_set;
}

static void tenant_forget(struct core *c, uint32_t i) {
    const struct tenant *t = tenant_at(c, i);
    timer_clear(c, TIMER_TENANT, i);
    retire(c, &c->tenants, t->version, t->pos, t->bytes);
}

/* A declaration alone is no need: who wants the kind declares it again. */
static bool kind_unused(const struct core *c, uint32_t i) {
    return !kind_at(c, i)->file.given && !kind_at(c, i)->n_may_spawn;
}

static void kind_forget(struct core *c, uint32_t i) {
    struct kind *k = kind_at(c, i);
    ASSERT(!k->n_workers && !k->isolated.n && !k->reserved);
    kind_drop(k);
    retire(c, &c->kinds, k->version, k->pos, k->bytes);
}

static bool pool_unused(const struct core *c, uint32_t i) {
    const struct pool *p = pool_at(c, i);
    return !p->configured && !p->is_set;
}

static void pool_forget(struct core *c, uint32_t i) {
    const struct pool *p = pool_at(c, i);
    retire(c, &c->pools, p->version, p->pos, p->bytes);
}

/* Each is needed until it is removed. */
static bool schedule_unused(const struct core *c, uint32_t i) {
    (void)c, (void)i;
    return false;
}

static void schedule_forget(struct core *c, uint32_t i) {
    struct schedule *s = schedule_at(c, i);
    timer_clear(c, TIMER_SCHEDULE, i);
    schedule_drop(c, s);
    retire(c, &c->schedules, s->version, s->pos, s->bytes);
}

void names_drop(struct core *c, struct names *n, uint32_t i) {
    forget(c, n, i);
}

static const struct name_ops queue_ops = {.unused = queue_unused,
                                          .may_give = queue_may_give,
                                          .give = queue_unname,
                                          .forget = queue_forget};
static const struct name_ops tenant_ops = {.unused = tenant_unused, .forget = tenant_forget};
static const struct name_ops kind_ops = {.unused = kind_unused, .forget = kind_forget};
static const struct name_ops schedule_ops = {.unused = schedule_unused, .forget = schedule_forget};
static const struct name_ops pool_ops = {.unused = pool_unused, .forget = pool_forget};

void names_setup(struct core *c) {
    init(&c->queues, sizeof(struct queue), &queue_ops);
    c->nameless = slab_take(&c->queues.rows); /* in no index */
    init(&c->tenants, sizeof(struct tenant), &tenant_ops);
    init(&c->kinds, sizeof(struct kind), &kind_ops);
    init(&c->pools, sizeof(struct pool), &pool_ops);
    init(&c->schedules, sizeof(struct schedule), &schedule_ops);
}

/* The bounds are for what comes; what was accepted under others is not refused at replay. */
void names_bound(struct core *c) {
    c->queues.max = c->pools.max = c->config.queues_max;
    c->tenants.max = c->config.tenants_max;
    c->kinds.max = c->config.kinds_max;
    c->schedules.max = c->config.schedules_max;
}

void names_turn(struct core *c) {
    c->queues.looked = c->tenants.looked = c->kinds.looked = c->pools.looked = c->schedules.looked =
        0;
}

void names_teardown(struct core *c) {
    SLAB_EACH(i, &c->kinds.rows)
    kind_drop(kind_at(c, i));
    SLAB_EACH(i, &c->schedules.rows)
    schedule_drop(c, schedule_at(c, i));
    done(&c->schedules);
    done(&c->queues);
    done(&c->tenants);
    done(&c->kinds);
    done(&c->pools);
}

static const struct limit_config no_limit = {.weight = 1};

uint32_t queue_take(struct core *c, struct str name) {
    uint32_t i = take(c, &c->queues, name);
    struct queue *q = i ? queue_at(c, i) : NULL;
    if (!q || q->limit.now.weight)
        return i; /* there is none, or it was there */
    limit_configure(&q->limit, &no_limit);
    q->version = c->queues.version_floor;
    return i;
}

uint32_t tenant_take(struct core *c, struct str name) {
    uint32_t i = take(c, &c->tenants, name);
    struct tenant *t = i ? tenant_at(c, i) : NULL;
    if (!t || t->limit.now.weight)
        return i;
    limit_configure(&t->limit, &no_limit);
    t->version = c->tenants.version_floor;
    return i;
}

/* A version from where it can be told from that of a kind which had this name before. */
uint32_t kind_take(struct core *c, struct str name) {
    uint32_t i = take(c, &c->kinds, name);
    struct kind *k = i ? kind_at(c, i) : NULL;
    if (k && !k->version)
        k->version = c->kinds.version_floor;
    return i;
}

uint32_t schedule_take(struct core *c, struct str name) {
    uint32_t i = take(c, &c->schedules, name);
    struct schedule *s = i ? schedule_at(c, i) : NULL;
    if (s && !s->version)
        s->version = c->schedules.version_floor;
    return i;
}

uint32_t pool_take(struct core *c, struct str name) {
    uint32_t i = take(c, &c->pools, name);
    struct pool *p = i ? pool_at(c, i) : NULL;
    if (p && !p->version)
        p->version = c->pools.version_floor;
    return i;
}
