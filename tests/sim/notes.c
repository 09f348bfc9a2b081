/* Notes that workers and an operator set, and what must hold of them: none is told to last longer
 * than who set it said, and in the end every worker knows what the broker does. */
#include "tests/sim/sim.h"

#include <stdio.h>

#define NAMES    12
#define LONG_MS  3600000 /* outlives the world */
#define SHORT_MS 2000
#define LATE_MS  1000 /* a message is under way so long at most */

void note_copies_setup(struct sim *s) {
    for (uint32_t i = 0; i < SIM_WORKERS; i++)
        s->notes.copies[i] = note_table_new();
}

void note_copies_done(struct sim *s) {
    for (uint32_t i = 0; i < SIM_WORKERS; i++)
        note_table_destroy(&s->notes.copies[i]);
}

/* Every value is another one: it says which setting it is of. */
void notes_set_some(struct sim *s, uint64_t link, enum role role, uint64_t *sequence) {
    char name[8], value[16];
    struct msg_set_note m = {0};
    if (s->healing || s->notes.n == SIM_NOTES_MAX)
        return;
    snprintf(name, sizeof name, "n%u", rng_below(&s->rng, NAMES));
    snprintf(value, sizeof value, "%u", s->notes.n);
    MSG_SET(&m, set_note, name, str_of(name));
    if (rng_below(&s->rng, 5)) {
        uint32_t for_ms = rng_below(&s->rng, 2) ? LONG_MS : 1 + rng_below(&s->rng, SHORT_MS);
        s->notes.n++;
        MSG_SET(&m, set_note, value, str_of(value));
        MSG_SET(&m, set_note, for_ms, for_ms);
    }
    if (rng_below(&s->rng, 4) == 0)
        MSG_SET(&m, set_note, longer, true);
    if (rng_below(&s->rng, 4) == 0)
        MSG_SET(&m, set_note, if_version, 0);
    peer_send(s, link, role, VERB_set_note, ++*sequence, &m, STR(""));
}

static uint32_t setting_of(struct sim *s, struct str value) {
    uint64_t n;
    if (!str_to_u64(value, SIM_NOTES_MAX - 1, &n))
        sim_fail(s, "a note has a value that nobody set: " STR_FMT, STR_ARG(value));
    return (uint32_t)n;
}

/* The broker hears it; a repetition comes later, and does not set it again. */
void notes_heard(struct sim *s, const struct msg_set_note *m) {
    if (!m->value.len)
        return;
    uint32_t n = setting_of(s, m->value);
    if (!s->notes.ends[n])
        s->notes.ends[n] = s->now + m->for_ms;
}

void notes_told(struct sim *s, const struct msg_note_info *m) {
    if (!m->value.len)
        return;
    uint64_t ends = s->notes.ends[setting_of(s, m->value)];
    if (s->now + m->left_ms > ends)
        sim_fail(s, "note " STR_FMT " is told to be there for %llu ms, it has %lld",
                 STR_ARG(m->name), (unsigned long long)m->left_ms, (long long)(ends - s->now));
}

void notes_take(struct sim *s, uint32_t worker, const struct msg_note_info *m) {
    note_table_take(s->notes.copies[worker], (struct mono){s->now}, m);
}

static void check_entry(struct sim *s, uint32_t worker, const struct note_entry *e) {
    const struct core *c = s->broker.core;
    for (uint32_t i = c->notes.head; i; i = note_at(c, i)->next) {
        const struct note *n = note_at(c, i);
        if (str_eq(str_make(n->name, n->name_len), e->name) && !n->gone)
            return; /* which version it is, the other way round says */
    }
    if (e->ends.ms > s->now + LATE_MS)
        sim_fail(s, "worker %u knows note " STR_FMT " yet, which is gone", worker,
                 STR_ARG(e->name));
}

static void check_worker(struct sim *s, uint32_t worker) {
    const struct core *c = s->broker.core;
    const struct note_table *copy = s->notes.copies[worker];
    for (uint32_t i = c->notes.head; i; i = note_at(c, i)->next) {
        const struct note *n = note_at(c, i);
        struct str name = str_make(n->name, n->name_len);
        const struct note_entry *e = note_table_find(copy, (struct mono){s->now}, name);
        if (!n->gone && (!e || e->version != n->version))
            sim_fail(s, "worker %u has %s note " STR_FMT ", which is " STR_FMT, worker,
                     e ? "another" : "no", STR_ARG(name),
                     STR_ARG(str_make(n->value, n->value_len)));
    }
    for (uint32_t n = 0; n < note_table_count(copy); n++)
        check_entry(s, worker, note_table_at(copy, n));
}

/* Nothing has been set for seconds, and nothing was lost. */
void observe_notes_end(struct sim *s) {
    for (uint32_t i = 0; i < SIM_WORKERS; i++)
        if (s->workers[i].alive && s->workers[i].welcome)
            check_worker(s, i);
}
