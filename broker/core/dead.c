/* Dead letters in groups: what died of the same error (common/base/fingerprint.h) stands in one
 * list. A kept dead job has a *letter*, which its slot names where other jobs have their extra; so
 * groups are counted exactly, whatever brings a job in (its end, a restart) or takes it out
 * (retention, RETRY_JOB), and nobody walks jobs to count.
 *
 * There are so many groups; what would need one more stands in that of all the rest, until it
 * leaves. The journal has each job's fingerprint, and the order of ends makes the groups again. */
#include "broker/core/core_int.h"
#include "common/base/fingerprint.h"
#include "common/base/id.h"

#define PAGE_DEFAULT 50

static uint64_t group_hash(const void *ctx, uint32_t i) {
    return hash_mix(0, dead_group_at(ctx, i)->print);
}

static uint32_t *group_link(const void *ctx, uint32_t i) {
    return &dead_group_at(ctx, i)->hash_next;
}

static bool group_equal(const void *ctx, uint32_t i, const void *key) {
    return dead_group_at(ctx, i)->print == *(const uint64_t *)key;
}

static const struct lhash_ops group_ops = {group_hash, group_link, group_equal};

void dead_setup(struct core *c) {
    slab_init(&c->dead_letters, sizeof(struct dead_letter));
    slab_init(&c->dead_groups, sizeof(struct dead_group));
    lhash_init(&c->dead_index, &group_ops, c);
}

void dead_teardown(struct core *c) {
    lhash_done(&c->dead_index);
    slab_done(&c->dead_groups);
    slab_done(&c->dead_letters);
}

static uint32_t group_find(const struct core *c, uint64_t print) {
    return lhash_find(&c->dead_index, hash_mix(0, print), &print);
}

/* Found or made; where there is no place for it, that of all the rest, which always has one. */
static uint32_t group_take(struct core *c, uint64_t print) {
    uint32_t i = group_find(c, print);
    if (i)
        return i;
    uint32_t others = group_find(c, FINGERPRINT_OTHER);
    if (c->dead_groups.used - (others ? 1 : 0) >= c->config.dead_groups_max) {
        if (others)
            return others;
        print = FINGERPRINT_OTHER;
    }
    i = slab_take(&c->dead_groups);
    dead_group_at(c, i)->print = print;
    lhash_add(&c->dead_index, i);
    return i;
}

/* ---- coming and going ----------------------------------------------------------------------- */
/* A record of an older program does not say it: what it is made of is in the record. */
void dead_learn(struct core *c, uint32_t i) {
    const struct job *j = job_at(c, i);
    struct extra *x = job_need_extra(c, i);
    struct str text = x->failure ? str_make(x->failure->text, x->failure->len) : STR("");
    if (!x->group)
        x->group =
            fingerprint_of(job_kind(c, j)->row.name, x->failure ? x->failure->code : ERR_OK, text);
}

static void say(struct dead_group *g, const struct failure *f) {
    if (g->print == FINGERPRINT_OTHER) {
        g->len =
            (uint32_t)text_clip(STR("errors of many sorts: there was no place for more groups"),
                                g->text, sizeof g->text);
        return;
    }
    g->error = f ? f->code : ERR_OK;
    g->len = f ? (uint32_t)text_clip(str_make(f->text, f->len), g->text, sizeof g->text) : 0;
}

uint32_t dead_join(struct core *c, uint32_t i) {
    dead_learn(c, i);
    const struct extra *x = job_extra(c, job_at(c, i));
    uint32_t group = group_take(c, x->group), letter = slab_take(&c->dead_letters);
    struct dead_group *g = dead_group_at(c, group);
    *dead_letter_at(c, letter) = (struct dead_letter){.job = i, .group = group, .prev = g->tail};
    if (g->tail)
        dead_letter_at(c, g->tail)->next = letter;
    else
        g->head = letter;
    g->tail = letter;
    g->n++;
    say(g, x->failure);
    return letter;
}

void dead_leave(struct core *c, uint32_t letter) {
    struct dead_letter *l = dead_letter_at(c, letter);
    struct dead_group *g = dead_group_at(c, l->group);
    ASSERT(g->n > 0);
    if (l->prev)
        dead_letter_at(c, l->prev)->next = l->next;
    else
        g->head = l->next;
    if (l->next)
        dead_letter_at(c, l->next)->prev = l->prev;
    else
        g->tail = l->prev;
    if (!MUTANT(dead_count_stays) || g->n == 1)
        g->n--;
    if (!g->head) {
        lhash_remove(&c->dead_index, l->group);
        slab_give(&c->dead_groups, l->group);
    }
    slab_give(&c->dead_letters, letter);
}

uint64_t dead_print(const struct core *c, const struct job *j) {
    bool is_dead = j->state == JOB_dead && job_is(j, JOB_IS_KEPT);
    return is_dead ? dead_group_at(c, dead_letter_at(c, j->extra)->group)->print : 0;
}

uint32_t dead_count(const struct core *c, uint64_t print) {
    uint32_t i = group_find(c, print);
    return i ? dead_group_at(c, i)->n : 0;
}

/* ---- LIST_DEAD ------------------------------------------------------------------------------ */
static void send_info(struct core *c, const struct msg_dead_info *m) {
    send_to(c, c->request.link, VERB_dead_info, c->request.sequence, m, STR(""), 0);
}

static void send_error(struct core *c, const struct err *e) {
    struct msg_dead_info m = {0};
    MSG_SET(&m, dead_info, code, (uint64_t)e->code);
    MSG_SET(&m, dead_info, text, str_of(e->text));
    c->stats.refused++;
    send_info(c, &m);
}

static const struct job *letter_job(const struct core *c, uint32_t letter) {
    return job_at(c, dead_letter_at(c, letter)->job);
}

static void send_group(struct core *c, const struct dead_group *g) {
    const struct job *first = letter_job(c, g->head), *last = letter_job(c, g->tail);
    struct msg_dead_info m = {0};
    MSG_SET(&m, dead_info, code, 0);
    MSG_SET(&m, dead_info, group, g->print);
    MSG_SET(&m, dead_info, id, last->id);
    if (g->print != FINGERPRINT_OTHER) {
        MSG_SET(&m, dead_info, kind, job_kind(c, last)->row.name);
        MSG_SET(&m, dead_info, error, g->error);
    }
    MSG_SET(&m, dead_info, text, str_make(g->text, g->len));
    MSG_SET(&m, dead_info, count, g->n);
    MSG_SET(&m, dead_info, first_ms, first->since_ms);
    MSG_SET(&m, dead_info, last_ms, last->since_ms);
    send_info(c, &m);
}

static void send_letter(struct core *c, const struct dead_group *g, const struct job *j) {
    struct msg_dead_info m = {0};
    MSG_SET(&m, dead_info, code, 0);
    MSG_SET(&m, dead_info, group, g->print);
    MSG_SET(&m, dead_info, id, j->id);
    MSG_SET(&m, dead_info, kind, job_kind(c, j)->row.name);
    if (line_at(c, j->line)->queue != c->nameless)
        MSG_SET(&m, dead_info, queue, job_queue(c, j)->row.name);
    MSG_SET(&m, dead_info, tenant, job_tenant(c, j)->row.name);
    MSG_SET(&m, dead_info, attempts, j->attempts);
    MSG_SET(&m, dead_info, ended_ms, j->since_ms);
    send_info(c, &m);
}

/* Where the page begins: the last end, or what ended before that of `before`. */
static int page_begin(const struct core *c, const struct msg_list_dead *m, uint32_t group,
                      uint32_t *letter, struct err *e) {
    *letter = dead_group_at(c, group)->tail;
    if (!m->before)
        return 0;
    uint32_t i = job_find(c, m->before);
    if (!i || dead_print(c, job_at(c, i)) != m->group)
        return err_set(e, ERR_NOT_FOUND,
                       "job %s: no longer in that group; list it from its beginning",
                       id_show(m->before).at);
    *letter = dead_letter_at(c, job_at(c, i)->extra)->prev;
    return 0;
}

static void list_group(struct core *c, const struct msg_list_dead *m) {
    struct err e = {0};
    uint32_t group = group_find(c, m->group), letter = 0;
    if (!group)
        err_set(&e, ERR_NOT_FOUND, "group %s: no dead letter is in it", id_show(m->group).at);
    if (e.code || page_begin(c, m, group, &letter, &e) < 0) {
        send_error(c, &e);
        return;
    }
    uint64_t limit = m->limit ? m->limit : PAGE_DEFAULT, last = 0;
    for (; letter && limit; letter = dead_letter_at(c, letter)->prev, limit--) {
        last = letter_job(c, letter)->id;
        send_letter(c, dead_group_at(c, group), letter_job(c, letter));
    }
    struct msg_dead_info end = {0};
    MSG_SET(&end, dead_info, code, 0);
    if (letter)
        MSG_SET(&end, dead_info, next, last);
    send_info(c, &end);
}

void on_list_dead(struct core *c, const void *message, struct str payload) {
    const struct msg_list_dead *m = message;
    (void)payload;
    if (m->group) {
        list_group(c, m);
        return;
    }
    SLAB_EACH(i, &c->dead_groups)
    send_group(c, dead_group_at(c, i));
    struct msg_dead_info end = {0};
    MSG_SET(&end, dead_info, code, 0);
    send_info(c, &end);
}

/* ---- what always holds ---------------------------------------------------------------------- */
static uint32_t check_group(const struct core *c, uint32_t group) {
    const struct dead_group *g = dead_group_at(c, group);
    uint32_t n = 0, prev = 0;
    ASSERT(group_find(c, g->print) == group && g->head);
    for (uint32_t i = g->head; i; n++) {
        const struct dead_letter *l = dead_letter_at(c, i);
        const struct job *j = job_at(c, l->job);
        ASSERT(l->group == group && l->prev == prev && j->extra == i);
        ASSERT(j->state == JOB_dead && job_is(j, JOB_IS_KEPT));
        prev = i;
        i = l->next;
    }
    ASSERT(g->tail == prev && n == g->n);
    return n;
}

void dead_check(const struct core *c) {
    uint32_t n = 0;
    SLAB_EACH(i, &c->dead_groups)
    n += check_group(c, i);
    ASSERT(n == c->dead_letters.used && n == c->kept[KEPT_DEAD].n);
}
