/* Kinds: what a job has where its submission leaves it open. Each field that the configuration
 * states wins; the rest is what was declared last, by DECLARE_KIND or a worker's HELLO, and is
 * journaled. */
#include "broker/core/core_int.h"
#include "common/base/mem.h"

#define NUMBERS(X)                                                                                 \
    X(priority)                                                                                    \
    X(timeout_ms)                                                                                  \
    X(attempts_max)                                                                                \
    X(backoff_ms) X(backoff_max_ms) X(ttl_ms) X(durability) X(speculative) X(streams)
#define TEXTS(X) X(queue) X(schema)

static struct str keep_text(char **at, struct str s) {
    char *copy = *at;
    if (s.len)
        memcpy(copy, s.at, s.len);
    *at += s.len;
    return (struct str){copy, s.len};
}

static void part_set(struct kind_part *p, const struct msg_kind_info *info) {
    struct msg_kind_info copy = *info;
    char *text = mem_alloc(info->queue.len + info->schema.len + 1), *at = text;
    copy.kind = (struct str){0};
    copy.queue = keep_text(&at, info->queue);
    copy.schema = keep_text(&at, info->schema);
    mem_free(p->text);
    *p = (struct kind_part){.info = copy, .text = text, .given = true};
}

static void part_clear(struct kind_part *p) {
    mem_free(p->text);
    *p = (struct kind_part){0};
}

static void merge(struct kind *k) {
    const struct msg_kind_info *file = &k->file.info, *said = &k->said.info;
    k->info = (struct msg_kind_info){0};
    MSG_SET(&k->info, kind_info, kind, k->row.name);
#define TAKE(field)                                                                                \
    if (MSG_HAS(file, kind_info, field))                                                           \
        MSG_SET(&k->info, kind_info, field, file->field);                                          \
    else if (MSG_HAS(said, kind_info, field))                                                      \
        MSG_SET(&k->info, kind_info, field, said->field);
    NUMBERS(TAKE)
    TEXTS(TAKE)
#undef TAKE
    k->declared = k->file.given || k->said.given;
}

static bool same(const struct msg_kind_info *a, const struct msg_kind_info *b) {
    bool equal = true;
#define SAME(field) equal &= MSG_HAS(a, kind_info, field) == MSG_HAS(b, kind_info, field);
    NUMBERS(SAME)
    TEXTS(SAME)
#undef SAME
#define SAME(field) equal &= a->field == b->field;
    NUMBERS(SAME)
#undef SAME
#define SAME(field) equal &= str_eq(a->field, b->field);
    TEXTS(SAME)
#undef SAME
    return equal;
}

void kind_drop(struct kind *k) {
    part_clear(&k->file);
    part_clear(&k->said);
    MEM_FREE(k->workers);
    MEM_FREE(k->may_spawn);
}

/* ---- what the configuration states
 * --------------------------------------------------------------- */
void kind_set_may_spawn(struct kind *k, const struct str_list *names) {
    size_t bytes = names->n * sizeof *k->may_spawn;
    for (size_t n = 0; n < names->n; n++)
        bytes += names->at[n].len;
    mem_free(k->may_spawn);
    k->may_spawn = NULL;
    k->n_may_spawn = (uint32_t)names->n;
    if (!bytes)
        return;
    k->may_spawn = mem_alloc(bytes);
    char *at = (char *)(k->may_spawn + names->n);
    for (size_t n = 0; n < names->n; n++)
        k->may_spawn[n] = keep_text(&at, names->at[n]);
}

bool kind_may_spawn(const struct kind *k, struct str child) {
    for (uint32_t n = 0; n < k->n_may_spawn; n++)
        if (str_eq(k->may_spawn[n], child))
            return true;
    return false;
}

void kind_state(struct core *c, uint32_t kind, const struct msg_kind_info *info) {
    part_set(&kind_at(c, kind)->file, info);
    merge(kind_at(c, kind));
}

void core_unlist_kind(struct core *c, struct str name) {
    uint32_t i = names_find(&c->kinds, name);
    if (!i)
        return;
    part_clear(&kind_at(c, i)->file);
    merge(kind_at(c, i));
}

/* ---- what was declared
 * --------------------------------------------------------------------------- */
void kind_record(struct core *c, uint32_t kind) {
    struct kind *k = kind_at(c, kind);
    const struct msg_kind_info *i = &k->said.info;
    struct msg_rec_kind m = {0};
    MSG_SET(&m, rec_kind, version, k->version);
    MSG_SET(&m, rec_kind, kind, k->row.name);
#define KEEP(field)                                                                                \
    if (MSG_HAS(i, kind_info, field))                                                              \
        MSG_SET(&m, rec_kind, field, i->field);
    NUMBERS(KEEP)
    TEXTS(KEEP)
#undef KEEP
    struct record r = {.type = REC_KIND, .other = &m};
    if (k->pos)
        c->fx.release(c->fx.ctx, k->pos, k->bytes);
    k->pos = c->fx.append(c->fx.ctx, &r, &k->bytes);
}

void kind_replay(struct core *c, uint32_t kind, const struct msg_rec_kind *m) {
    struct msg_kind_info i = {0};
#define BACK(field)                                                                                \
    if (MSG_HAS(m, rec_kind, field))                                                               \
        MSG_SET(&i, kind_info, field, m->field);
    NUMBERS(BACK)
    TEXTS(BACK)
#undef BACK
    part_set(&kind_at(c, kind)->said, &i);
    merge(kind_at(c, kind));
}

static void declare(struct core *c, uint32_t kind, const struct msg_kind_info *info) {
    struct kind *k = kind_at(c, kind);
    part_set(&k->said, info);
    merge(k);
    k->version++;
    kind_record(c, kind);
}

/* A HELLO is taken even when the journal has no room: then the kind is known in this life, and is
 * written down by a later one. */
void kind_hello(struct core *c, uint32_t kind) {
    struct kind *k = kind_at(c, kind);
    bool writes = c->room == CORE_ROOM && !c->read_only;
    if (!k->said.given && !writes) {
        part_set(&k->said, &(struct msg_kind_info){0});
        merge(k);
    } else if (writes && !k->pos) {
        struct msg_kind_info none = {0};
        declare(c, kind, &none);
    }
}

static void refuse(struct core *c, const struct err *e) {
    answer(c, &(struct reply_item){.code = (uint32_t)e->code}, e, 0);
}

/* Workers declare at each connect: what changes nothing must cost nothing. */
void on_declare_kind(struct core *c, const void *message, struct str payload) {
    const struct msg_kind_info *m = message;
    (void)payload;
    uint32_t kind = names_find(&c->kinds, m->kind);
    struct err e;
    if (rights_check_kind(c, "kind_info.kind", m->kind, &e) < 0) {
        refuse(c, &e);
        return;
    }
    if (kind && kind_at(c, kind)->pos && same(&kind_at(c, kind)->said.info, m)) {
        answer(c, &(struct reply_item){.count = 1}, NULL, kind_at(c, kind)->pos);
        return;
    }
    if (c->room != CORE_ROOM) {
        err_set(&e, ERR_DISK_FULL,
                "kind '" STR_FMT "': the journal keeps what space is left for jobs it has",
                STR_ARG(m->kind));
        refuse(c, &e);
        return;
    }
    kind = kind_take(c, m->kind);
    if (!kind) {
        err_set(&e, ERR_BUSY, "there are %u kinds, the bound", c->config.kinds_max);
        refuse(c, &e);
        return;
    }
    declare(c, kind, m);
    answer(c, &(struct reply_item){.count = 1}, NULL, kind_at(c, kind)->pos);
}
