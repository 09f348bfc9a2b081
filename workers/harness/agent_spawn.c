/* Children that attempts spawn while they run: one at a time is said, and said again, until the
 * broker answers. */
#include "workers/harness/agent_int.h"

void agent_spawn_over(struct attempt *t) {
    children_destroy(&t->spawning.child);
    t->spawning = (struct spawning){0};
}

static bool is_spawning(const struct attempt *t) {
    return t->state == ATTEMPT_RUNNING && t->spawning.open;
}

static void say(struct agent *a, struct mono now, struct attempt *t) {
    struct spawning *s = &t->spawning;
    if (!a->connected || t->stop)
        return;
    s->said = now;
    s->sequence = a->fx.spawn(a->fx.ctx, &s->child);
}

void agent_spawn(struct agent *a, struct mono now, struct attempt *t, struct children *child,
                 uint32_t index) {
    agent_spawn_over(t);
    t->spawning = (struct spawning){.open = true, .child = *child, .index = index, .said = now};
    *child = (struct children){0};
    if (is_spawning(t))
        say(a, now, t);
}

void agent_spawns_say(struct agent *a, struct mono now, bool all) {
    for (uint32_t i = a->rows[ATTEMPT_RUNNING].head; i; i = at(a, i)->next) {
        struct attempt *t = at(a, i);
        if (is_spawning(t) && (all || mono_reached(now, mono_add(t->spawning.said, a->lease_ms))))
            say(a, now, t);
    }
}

/* ---- answers -------------------------------------------------------------------------------- */
static void answer(struct agent *a, struct attempt *t, uint64_t code, struct str text,
                   uint64_t retry_after_ms) {
    struct err e = {0};
    if (code) {
        enum err_code known = err_code_known(code) ? (enum err_code)code : ERR_BAD_VALUE;
        err_set(&e, known, STR_FMT, STR_ARG(text));
        e.retry_after_ms = retry_after_ms;
    }
    agent_spawn_over(t);
    a->fx.spawned(a->fx.ctx, t, &e);
}

/* That it is durable may be an answer to any time it was said; a refusal must be one to the last:
 * the same child may stand behind the first refusal once more, and be taken, and the next child
 * would have its index. */
void agent_spawned(struct agent *a, uint64_t sequence, const struct msg_spawned *m) {
    struct attempt *t = agent_find(a, m->job, m->fence);
    if (!t || !is_spawning(t) || t->spawning.index != m->index)
        return;
    if (m->code == 0 || (sequence && sequence == t->spawning.sequence))
        answer(a, t, m->code, m->text, 0);
}

/* What only says that the broker cannot hear us now is no answer. */
static bool is_refusal(uint64_t code) {
    return code != ERR_NO_HELLO && code != ERR_STARTING && code != ERR_STOPPING &&
           code != ERR_READ_ONLY;
}

void agent_refused(struct agent *a, uint64_t sequence, const struct msg_error *m) {
    agent_note_refused(a, sequence, m);
    uint32_t i = a->rows[ATTEMPT_RUNNING].head;
    while (i && !(is_spawning(at(a, i)) && at(a, i)->spawning.sequence == sequence))
        i = at(a, i)->next;
    if (i && sequence && is_refusal(m->code))
        answer(a, at(a, i), m->code, m->text, m->retry_after_ms);
}
