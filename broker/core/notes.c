/* Notes: a small table of names and values, each there for a while, that workers and gateways
 * share. It is not written down: a broker that starts has none.
 *
 * All of it is one list in the order of the last changes, so that what a peer has not heard is the
 * end of it. A peer says in its HEARTBEAT up to which version it has heard; nothing is sent to one
 * that is up to date, and one that is not gets each change once, until it says that it has them or
 * they must be taken for lost. A note that ends by itself need not be told of: who was told of it
 * knows when it ends. One that ends earlier than was ever told, or is removed, stays in the list as
 * `gone`; so many of these are remembered, and who has not heard of one that is not is told all
 * there is, and forgets what it had. */
#include "broker/core/core_int.h"
#include "common/base/id.h"

#define TRIES_MAX 10 /* the wait for a peer that does not take what it is told doubles so often */

static uint64_t name_hash(const void *ctx, uint32_t i) {
    const struct core *c = ctx;
    const struct note *n = note_at(c, i);
    return hash_bytes(c->config.seed, str_make(n->name, n->name_len));
}

static uint32_t *name_link(const void *ctx, uint32_t i) {
    return &note_at(ctx, i)->hash_next;
}

static bool name_equal(const void *ctx, uint32_t i, const void *key) {
    const struct note *n = note_at(ctx, i);
    return str_eq(str_make(n->name, n->name_len), *(const struct str *)key);
}

static const struct lhash_ops name_ops = {name_hash, name_link, name_equal};

void notes_setup(struct core *c) {
    slab_init(&c->notes.items, sizeof(struct note));
    lhash_init(&c->notes.index, &name_ops, c);
}

void notes_teardown(struct core *c) {
    lhash_done(&c->notes.index);
    slab_done(&c->notes.items);
}

/* A version has its epoch in it, so that one of another life of the broker is never a version of
 * this one. */
void notes_start(struct core *c) {
    c->notes.version = c->notes.floor = id_make(c->epoch, 0);
}

/* ---- the list ------------------------------------------------------------------------------- */
static uint32_t find(const struct core *c, struct str name) {
    return lhash_find(&c->notes.index, hash_bytes(c->config.seed, name), &name);
}

static void list_out(struct core *c, uint32_t i) {
    struct notes *all = &c->notes;
    struct note *n = note_at(c, i);
    *(n->prev ? &note_at(c, n->prev)->next : &all->head) = n->next;
    *(n->next ? &note_at(c, n->next)->prev : &all->tail) = n->prev;
    n->next = n->prev = 0;
}

static void list_in(struct core *c, uint32_t i) {
    struct notes *all = &c->notes;
    struct note *n = note_at(c, i);
    n->prev = all->tail;
    *(n->prev ? &note_at(c, n->prev)->next : &all->head) = i;
    all->tail = i;
}

static uint32_t make(struct core *c, struct str name) {
    uint32_t i = slab_take(&c->notes.items);
    struct note *n = note_at(c, i);
    n->name_len = (uint8_t)name.len;
    memcpy(n->name, name.at, name.len);
    n->gone = true;
    c->notes.gone++;
    lhash_add(&c->notes.index, i);
    list_in(c, i);
    return i;
}

static void set_gone(struct core *c, uint32_t i, bool gone) {
    struct note *n = note_at(c, i);
    if (n->gone == gone)
        return;
    n->gone = gone;
    c->notes.gone += gone ? 1U : -1U;
    c->notes.there += gone ? -1U : 1U;
}

/* It is what is told last from now on. */
static void changed(struct core *c, uint32_t i) {
    list_out(c, i);
    list_in(c, i);
    note_at(c, i)->version = ++c->notes.version;
    c->stats.note_changes++;
}

static void forget(struct core *c, uint32_t i) {
    set_gone(c, i, true);
    c->notes.gone--;
    list_out(c, i);
    lhash_remove(&c->notes.index, i);
    slab_give(&c->notes.items, i);
}

static void forget_oldest_gone(struct core *c) {
    uint32_t i = c->notes.head;
    while (!note_at(c, i)->gone)
        i = note_at(c, i)->next;
    c->notes.floor = note_at(c, i)->version;
    forget(c, i);
}

/* Nobody who was told of it shows it any longer than `told_ms`. */
static void end(struct core *c, uint32_t i) {
    struct note *n = note_at(c, i);
    timer_clear(c, TIMER_NOTE, i);
    if (n->told_ms <= c->now.ms) {
        forget(c, i);
        return;
    }
    n->value_len = 0;
    set_gone(c, i, true);
    changed(c, i);
    while (c->notes.gone > c->config.notes_max)
        forget_oldest_gone(c);
}

void note_timer(struct core *c, uint32_t i) {
    end(c, i);
}

/* ---- setting -------------------------------------------------------------------------------- */
static void sign(struct note *n, const struct session *s) {
    memcpy(n->instance, s->instance, sizeof n->instance);
    n->pid = s->pid;
    n->by_len = (uint8_t)s->name.len;
    if (s->name.len)
        memcpy(n->by, s->name.at, s->name.len);
}

static void put(struct core *c, uint32_t i, const struct msg_set_note *m) {
    struct note *n = note_at(c, i);
    set_gone(c, i, false);
    changed(c, i);
    n->value_len = (uint16_t)m->value.len;
    memcpy(n->value, m->value.at, m->value.len);
    n->ends_ms = c->now.ms + m->for_ms + (MUTANT(note_ends_late) ? 500 : 0);
    if (n->told_ms < n->ends_ms)
        n->told_ms = n->ends_ms;
    sign(n, c->request.session);
    timer_set(c, TIMER_NOTE, i, n->ends_ms);
}

/* `i`: the note that is there; 0: there is none. */
static int check_conditions(const struct core *c, const struct msg_set_note *m, uint32_t i,
                            bool removes, struct err *e) {
    uint64_t version = i ? note_at(c, i)->version : 0;
    uint64_t left_ms = i ? note_at(c, i)->ends_ms - c->now.ms : 0;
    if (MSG_HAS(m, set_note, if_version) && m->if_version != version)
        return err_set(e, ERR_CONFLICT, "note '" STR_FMT "': has version %llu%s", STR_ARG(m->name),
                       (unsigned long long)version, i ? "" : ", it is not there");
    if (m->longer && i && left_ms >= (removes ? 0 : m->for_ms))
        return err_set(e, ERR_CONFLICT, "note '" STR_FMT "': is there for %llu ms yet",
                       STR_ARG(m->name), (unsigned long long)left_ms);
    if (removes && !i)
        return err_set(e, ERR_NOT_FOUND, "note '" STR_FMT "': not there", STR_ARG(m->name));
    return 0;
}

static int check_room(struct core *c, struct err *e) {
    if (c->notes.there < c->config.notes_max)
        return 0;
    c->stats.notes_refused++;
    err_set(e, ERR_BUSY, "there are %u notes, the bound", c->config.notes_max);
    e->retry_after_ms = c->notes.ends.at[1].when - c->now.ms; /* until the next one ends */
    return -1;
}

/* Returns the version that the note has now, 0 if there is none. */
static uint64_t set(struct core *c, const struct msg_set_note *m, struct err *e) {
    uint32_t known = find(c, m->name);
    uint32_t i = known && !note_at(c, known)->gone ? known : 0;
    uint64_t version = i ? note_at(c, i)->version : 0;
    bool removes = !m->value.len || !m->for_ms;
    if (check_conditions(c, m, i, removes, e) < 0)
        return version;
    if (removes) {
        end(c, i);
        return 0;
    }
    if (!i && check_room(c, e) < 0)
        return 0;
    if (!known)
        known = make(c, m->name);
    put(c, known, m);
    return note_at(c, known)->version;
}

void on_set_note(struct core *c, const void *message, struct str payload) {
    struct err e = {0};
    (void)payload;
    uint64_t version = set(c, message, &e);
    answer(c, &(struct reply_item){.code = (uint32_t)e.code, .id = version}, &e, 0);
}

/* ---- telling -------------------------------------------------------------------------------- */
static struct msg_note_info info(const struct core *c, uint32_t i) {
    const struct note *n = note_at(c, i);
    struct msg_note_info m = {0};
    MSG_SET(&m, note_info, name, str_make(n->name, n->name_len));
    MSG_SET(&m, note_info, version, n->version);
    if (n->gone)
        return m;
    MSG_SET(&m, note_info, value, str_make(n->value, n->value_len));
    MSG_SET(&m, note_info, left_ms, n->ends_ms - c->now.ms);
    return m;
}

static void tell_behind(struct core *c, uint64_t link, uint64_t have) {
    uint32_t i = c->notes.tail;
    while (note_at(c, i)->prev && note_at(c, note_at(c, i)->prev)->version > have)
        i = note_at(c, i)->prev;
    for (; i; i = note_at(c, i)->next) {
        struct msg_note_info m = info(c, i);
        if (have)
            MSG_SET(&m, note_info, behind, have);
        send_to(c, link, VERB_note_info, 0, &m, STR(""), 0);
        have = m.version;
    }
}

void notes_tell(struct core *c, uint32_t session, uint64_t have) {
    const struct session *s = session_at(c, session);
    struct note_telling *t = &session_at(c, session)->notes;
    uint64_t newest = c->notes.tail ? note_at(c, c->notes.tail)->version : 0;
    if (s->role == ROLE_CLIENT || rights_bound(c)) /* they are of no tenant */
        return;
    if (have < c->notes.floor || have > c->notes.version)
        have = 0;
    if (have >= newest) {
        *t = (struct note_telling){0};
        return;
    }
    bool under_way = have < t->upto;
    if (under_way && (c->now.ms < t->again_ms || MUTANT(note_told_once)))
        return;
    uint64_t lease_ms = c->config.heartbeat_ms * c->config.missed_max;
    if (!under_way || have > t->from) /* it took some of it */
        t->tries = 0;
    else if (t->tries < TRIES_MAX)
        t->tries++;
    t->again_ms = c->now.ms + (lease_ms << t->tries);
    t->from = have;
    t->upto = newest;
    tell_behind(c, s->link, have);
}

void on_list_notes(struct core *c, const void *message, struct str payload) {
    const struct msg_get_status *m = message;
    (void)payload;
    for (uint32_t i = c->notes.head; i; i = note_at(c, i)->next) {
        const struct note *n = note_at(c, i);
        struct msg_note_info row = info(c, i);
        if (n->gone || (m->name.len && !str_eq(m->name, row.name)))
            continue;
        MSG_SET(&row, note_info, by, str_make(n->by, n->by_len));
        MSG_SET(&row, note_info, pid, n->pid);
        MSG_SET(&row, note_info, instance, str_make(n->instance, sizeof n->instance));
        send_to(c, c->request.link, VERB_note_info, c->request.sequence, &row, STR(""), 0);
    }
    send_end(c, VERB_note_info);
}

/* ---- what always holds ---------------------------------------------------------------------- */
void notes_check(const struct core *c) {
    const struct notes *all = &c->notes;
    uint32_t there = 0, gone = 0, prev = 0;
    uint64_t version = 0;
    for (uint32_t i = all->head; i; prev = i, i = note_at(c, i)->next) {
        const struct note *n = note_at(c, i);
        ASSERT(n->prev == prev && n->version > version && n->version <= all->version);
        ASSERT(find(c, str_make(n->name, n->name_len)) == i);
        ASSERT(n->gone ? !n->timer && n->version > all->floor
                       : n->timer && n->value_len && n->ends_ms <= n->told_ms);
        ASSERT(n->gone || all->ends.at[n->timer].when == n->ends_ms);
        version = n->version;
        there += !n->gone;
        gone += n->gone;
    }
    ASSERT(all->tail == prev && there == all->there && gone == all->gone);
    ASSERT(there <= c->config.notes_max && gone <= c->config.notes_max);
    ASSERT(all->items.used == there + gone && all->index.n == there + gone && all->ends.n == there);
}
