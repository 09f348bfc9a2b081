#include "common/wire/link_core.h"

#include "common/base/check.h"

void link_core_init(struct link_core *k, uint64_t seed) {
    *k = (struct link_core){.rng = rng_seed(seed)};
    /* What holds until a broker says otherwise. */
    k->terms = (struct msg_welcome){.version = 1,
                                    .heartbeat_ms = 1000,
                                    .missed_max = 3,
                                    .items_max = 1024,
                                    .bytes_max = 4U << 20,
                                    .body_max = 1U << 20,
                                    .result_max = 64U << 10,
                                    .outstanding_max = 1024};
}

uint64_t link_core_sequence(struct link_core *k) {
    return ++k->sequence;
}

/* The second half of it is chance, so that peers of one broker do not come all at once. */
static uint64_t backoff_ms(struct link_core *k) {
    uint64_t wait = LINK_BACKOFF_MIN_MS;
    for (uint32_t n = 1; n < k->failures && wait < LINK_BACKOFF_MAX_MS; n++)
        wait *= 2;
    if (wait > LINK_BACKOFF_MAX_MS)
        wait = LINK_BACKOFF_MAX_MS;
    return wait / 2 + rng_below(&k->rng, (uint32_t)(wait / 2) + 1);
}

static void say_hello(struct link_core *k, struct mono now, struct link_todo *todo) {
    k->hello_sequence = link_core_sequence(k);
    k->hello_open = true;
    k->hello_due = false;
    k->hello_said = now;
    todo->hello = true;
}

/* A new socket, and HELLO as the first thing on it. */
static void open_socket(struct link_core *k, struct mono now, struct link_todo *todo) {
    k->state = LINK_STATE_GREETING;
    k->heard = now;
    k->patience_ms = link_core_lease_ms(k) + (k->failures ? backoff_ms(k) : 0);
    todo->open = true;
    say_hello(k, now, todo);
}

static void go_down(struct link_core *k, struct link_todo *todo) {
    todo->down = k->state == LINK_STATE_UP;
    k->state = LINK_STATE_GREETING;
}

void link_core_start(struct link_core *k, struct mono now, struct link_todo *todo) {
    ASSERT(k->state == LINK_STATE_CLOSED);
    *todo = (struct link_todo){0};
    k->ticked = now;
    open_socket(k, now, todo);
}

void link_core_failed(struct link_core *k, struct mono now) {
    k->failures++;
    k->state = LINK_STATE_WAITING;
    k->hello_open = k->hello_due = false;
    k->retry = mono_add(now, backoff_ms(k));
}

void link_core_hello_again(struct link_core *k, struct mono now, struct link_todo *todo) {
    *todo = (struct link_todo){0};
    if (k->state == LINK_STATE_UP)
        say_hello(k, now, todo);
}

/* ---- time ----------------------------------------------------------------------------------- */
/* A process that was stopped must not hold the time against the broker: what passed since it should
 * have come back. */
static void forgive_sleep(struct link_core *k, struct mono now) {
    struct mono due = link_core_next(k);
    uint64_t late_ms = mono_until(due.ms > k->ticked.ms ? due : k->ticked, now);
    if (late_ms > k->terms.heartbeat_ms)
        k->heard = mono_add(k->heard, late_ms);
    k->ticked = now;
}

static void replace_socket(struct link_core *k, struct mono now, struct link_todo *todo) {
    uint64_t silent_ms = mono_until(k->heard, now);
    go_down(k, todo);
    k->not_now = (struct err){0};
    err_set(&todo->err, ERR_UNREACHABLE_BROKER, "the broker was silent for %llu ms",
            (unsigned long long)silent_ms);
    k->failures++;
    todo->close = true;
    open_socket(k, now, todo);
}

/* A HELLO on a connection that lives is answered soon, or was lost. */
static bool hello_is_lost(const struct link_core *k, struct mono now) {
    return k->hello_open && k->heard.ms > k->hello_said.ms &&
           mono_until(k->hello_said, now) >= 2 * k->terms.heartbeat_ms;
}

void link_core_tick(struct link_core *k, struct mono now, bool drained, struct link_todo *todo) {
    *todo = (struct link_todo){0};
    if (k->state == LINK_STATE_CLOSED || k->state == LINK_STATE_REFUSED)
        return;
    forgive_sleep(k, now);
    if (k->state == LINK_STATE_WAITING) {
        if (mono_reached(now, k->retry))
            open_socket(k, now, todo);
        return;
    }
    if (drained && mono_until(k->heard, now) >= k->patience_ms) {
        replace_socket(k, now, todo);
        return;
    }
    if (k->hello_due ? mono_reached(now, k->retry) : hello_is_lost(k, now))
        say_hello(k, now, todo);
    if (k->state == LINK_STATE_UP && mono_reached(now, k->beat)) {
        k->beat = mono_add(now, k->terms.heartbeat_ms);
        todo->heartbeat = true;
    }
}

struct mono link_core_next(const struct link_core *k) {
    if (k->state == LINK_STATE_CLOSED || k->state == LINK_STATE_REFUSED)
        return MONO_NEVER;
    if (k->state == LINK_STATE_WAITING)
        return k->retry;
    struct mono next = mono_add(k->heard, k->patience_ms);
    struct mono lost = mono_add(k->hello_said, 2 * k->terms.heartbeat_ms);
    if (k->hello_due && k->retry.ms < next.ms)
        next = k->retry;
    if (k->hello_open && k->heard.ms > k->hello_said.ms && lost.ms < next.ms)
        next = lost;
    if (k->state == LINK_STATE_UP && k->beat.ms < next.ms)
        next = k->beat;
    return next;
}

/* ---- what the broker says ------------------------------------------------------------------- */
static void on_welcome(struct link_core *k, struct mono now, uint64_t sequence,
                       const struct msg_welcome *m, struct link_todo *todo) {
    if (sequence != k->hello_sequence || !k->hello_open)
        return;                                /* of an earlier HELLO: a later one is under way */
    ASSERT(m->stream.len <= sizeof k->stream); /* as the table has it */
    k->hello_open = k->hello_due = false;
    k->failures = 0;
    k->not_now = (struct err){0};
    k->terms = *m;
    k->terms.stream.at = k->stream; /* what it pointed to goes */
    if (m->stream.len)
        memcpy(k->stream, m->stream.at, m->stream.len);
    k->patience_ms = link_core_lease_ms(k);
    todo->new_epoch = m->epoch != k->epoch;
    todo->up = true;
    k->epoch = m->epoch;
    k->state = LINK_STATE_UP;
    k->beat = mono_add(now, m->heartbeat_ms);
}

/* The broker does not know us (any more). */
static void greet_anew(struct link_core *k, struct mono now, const char *why,
                       struct link_todo *todo) {
    if (k->hello_open || k->hello_due)
        return; /* it was said before our HELLO came */
    go_down(k, todo);
    err_set(&todo->err, ERR_NO_HELLO, "%s", why);
    say_hello(k, now, todo);
}

static void hello_later(struct link_core *k, struct mono now, uint64_t wait_ms,
                        const struct err *why, struct link_todo *todo) {
    go_down(k, todo);
    k->not_now = *why;
    todo->err = *why;
    k->hello_open = false;
    k->hello_due = true;
    k->retry = mono_add(now, wait_ms);
}

/* A new socket after the back-off: where somebody else has our name, perhaps our own last socket, a
 * new routing id tells. */
static void go_away(struct link_core *k, struct mono now, const struct err *why,
                    struct link_todo *todo) {
    go_down(k, todo);
    k->not_now = (struct err){0};
    todo->err = *why;
    todo->close = true;
    link_core_failed(k, now);
}

/* A HELLO to a broker that leaves would be lost with it, and only noticed after a lease: later than
 * the next life of the broker waits for the workers of this one (P-58). */
static void on_bye(struct link_core *k, struct mono now, struct link_todo *todo) {
    struct err why = {0};
    err_set(&why, ERR_NO_HELLO, "the broker said bye");
    go_away(k, now, &why, todo);
}

/* Most likely its broker has ended. After the back-off a new socket finds the next one as soon as
 * it listens; at once would be too often where somebody ends every connection. */
void link_core_cut(struct link_core *k, struct mono now, struct link_todo *todo) {
    *todo = (struct link_todo){0};
    if (k->state != LINK_STATE_GREETING && k->state != LINK_STATE_UP)
        return;
    struct err why = {0};
    err_set(&why, ERR_UNREACHABLE_BROKER, "the connection to the broker was closed");
    go_away(k, now, &why, todo);
}

/* A short start should be over at the next try, a long one is not to be disturbed. */
static uint64_t starting_ms(struct link_core *k) {
    k->failures++;
    uint64_t wait = backoff_ms(k);
    return wait < LINK_STARTING_MS ? wait : LINK_STARTING_MS;
}

static void hello_failed(struct link_core *k, struct mono now, const struct msg_error *m,
                         const struct err *why, struct link_todo *todo) {
    if (why->class == ERR_CLASS_TEMP || why->class == ERR_CLASS_HOLD) {
        k->failures++;
        hello_later(k, now, m->retry_after_ms ? m->retry_after_ms : backoff_ms(k), why, todo);
    } else if (why->code == ERR_DUPLICATE_INSTANCE) {
        go_away(k, now, why, todo);
    } else {
        k->state = LINK_STATE_REFUSED;
        k->hello_open = k->hello_due = false;
        todo->close = todo->refused = true;
        todo->err = *why;
    }
}

static bool on_error(struct link_core *k, struct mono now, uint64_t sequence,
                     const struct msg_error *m, struct link_todo *todo) {
    struct err why = {0};
    enum err_code code = err_code_known(m->code) ? (enum err_code)m->code : ERR_BAD_VALUE;
    err_set(&why, code, STR_FMT, STR_ARG(m->text));
    bool of_hello = k->hello_open && sequence == k->hello_sequence;
    if (code == ERR_STARTING) {
        if (of_hello || !k->hello_open)
            hello_later(k, now, starting_ms(k), &why, todo);
    } else if (of_hello && code == ERR_NO_HELLO) {
        hello_later(k, now, backoff_ms(k), &why, todo);
    } else if (of_hello) {
        hello_failed(k, now, m, &why, todo);
    } else if (code == ERR_NO_HELLO) {
        greet_anew(k, now, why.text, todo);
    } else if (code == ERR_DUPLICATE_INSTANCE && !k->hello_open) {
        go_away(k, now, &why, todo);
    }
    return !of_hello;
}

bool link_core_message(struct link_core *k, struct mono now, enum verb verb, uint64_t sequence,
                       const void *message, struct link_todo *todo) {
    *todo = (struct link_todo){0};
    if (k->state != LINK_STATE_GREETING && k->state != LINK_STATE_UP)
        return false;
    k->heard = now;
    switch ((int)verb) {
    case VERB_welcome:
        on_welcome(k, now, sequence, message, todo);
        return false;
    case VERB_error:
        return on_error(k, now, sequence, message, todo);
    case VERB_heartbeat:
        if (((const struct msg_heartbeat *)message)->epoch != k->epoch && k->state == LINK_STATE_UP)
            greet_anew(k, now, "the broker has a new epoch", todo);
        return true;
    case VERB_bye:
        on_bye(k, now, todo);
        return true;
    default:
        return true;
    }
}
