/* Notes that attempts set while they run: each is said once, and answered within a lease. */
#include "common/base/mem.h"
#include "workers/harness/agent_int.h"

static bool is_noting(const struct attempt *t) {
    return t->state == ATTEMPT_RUNNING && t->noting.wish;
}

static void answer(struct agent *a, struct attempt *t, uint64_t version, const struct err *e) {
    struct note_wish *wish = t->noting.wish;
    t->noting = (struct noting){0};
    a->fx.noted(a->fx.ctx, t, &wish->m, version, e);
    mem_free(wish);
}

/* It may have been set: what is said is lost with the connection. */
static void answer_unheard(struct agent *a, struct attempt *t) {
    struct err e = {0};
    err_set(&e, ERR_UNREACHABLE_BROKER, "note '" STR_FMT "': the broker has not answered",
            STR_ARG(t->noting.wish->m.name));
    answer(a, t, 0, &e);
}

static void answer_code(struct agent *a, struct attempt *t, uint64_t code, struct str text,
                        uint64_t version, uint64_t retry_after_ms) {
    struct err e = {0};
    if (code) {
        enum err_code known = err_code_known(code) ? (enum err_code)code : ERR_BAD_VALUE;
        err_set(&e, known, STR_FMT, STR_ARG(text));
        e.retry_after_ms = retry_after_ms;
    }
    answer(a, t, version, &e);
}

void agent_note(struct agent *a, struct mono now, struct attempt *t, struct note_wish *wish) {
    agent_note_over(t);
    t->noting = (struct noting){.wish = wish, .said = now};
    if (!is_noting(t))
        return; /* it is over already */
    if (a->connected)
        t->noting.sequence = a->fx.note(a->fx.ctx, &wish->m);
    if (!t->noting.sequence)
        answer_unheard(a, t);
}

void agent_note_over(struct attempt *t) {
    mem_free(t->noting.wish);
    t->noting = (struct noting){0};
}

void agent_notes_late(struct agent *a, struct mono now, bool all) {
    for (uint32_t i = a->rows[ATTEMPT_RUNNING].head; i; i = at(a, i)->next) {
        struct attempt *t = at(a, i);
        if (is_noting(t) && (all || mono_reached(now, mono_add(t->noting.said, a->lease_ms))))
            answer_unheard(a, t);
    }
}

static struct attempt *find(const struct agent *a, uint64_t sequence) {
    uint32_t i = a->rows[ATTEMPT_RUNNING].head;
    while (i && !(is_noting(at(a, i)) && at(a, i)->noting.sequence == sequence))
        i = at(a, i)->next;
    return i ? at(a, i) : NULL;
}

bool agent_outcome(struct agent *a, uint64_t sequence, const struct msg_outcome *m) {
    struct attempt *t = find(a, sequence);
    if (t)
        answer_code(a, t, m->code, m->text, m->version, 0);
    return t != NULL;
}

void agent_note_refused(struct agent *a, uint64_t sequence, const struct msg_error *m) {
    struct attempt *t = find(a, sequence);
    if (!t)
        return;
    if (m->code == ERR_NO_HELLO || m->code == ERR_STARTING || m->code == ERR_STOPPING)
        answer_unheard(a, t);
    else
        answer_code(a, t, m->code, m->text, 0, m->retry_after_ms);
}
