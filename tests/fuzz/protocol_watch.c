#include "common/base/check.h"
#include "common/base/mem.h"
#include "tests/fuzz/protocol_world.h"

#define ARENA_BYTES (1U << 20)

/* Room for one more in an array whose size is the next power of two. */
#define GROW(array, n)                                                                             \
    do {                                                                                           \
        if (((n) & ((n)-1)) == 0)                                                                  \
            (array) = mem_grow((array), (n) ? 2 * (size_t)(n) : 1, sizeof *(array));               \
    } while (0)

void watch_open(struct watcher *t) {
    *t = (struct watcher){.arena = arena_new(ARENA_BYTES)};
}

void watch_close(struct watcher *t) {
    mem_free(t->asked);
    mem_free(t->said);
    mem_free(t->rows);
    mem_free(t->fences);
    arena_destroy(&t->arena);
}

/* ---- requests ---------------------------------------------------------------------------------
 */
static bool is_list(enum verb verb) {
    return verb == VERB_list_jobs || verb == VERB_list_queues || verb == VERB_list_workers ||
           verb == VERB_list_pools || verb == VERB_list_dead || verb == VERB_list_schedules ||
           verb == VERB_list_notes;
}

static struct asked *asked_of(struct watcher *t, uint64_t sequence) {
    for (uint32_t n = t->n_asked; n-- > 0;)
        if (t->asked[n].sequence == sequence)
            return &t->asked[n];
    GROW(t->asked, t->n_asked);
    struct asked *a = &t->asked[t->n_asked++];
    *a = (struct asked){.sequence = sequence};
    return a;
}

/* A repetition is answered like the first of its sequence, whatever it asks itself (P-28). */
void watch_asked(struct watcher *t, struct parcel *in) {
    struct frame_in frame;
    struct err e = {0};
    uint64_t bound = 1;
    bool list = false;
    if (in->count < 2 || in->count > PEERS_PARTS)
        return;
    if (frame_open(&frame, parcel_part(in, 0), parcel_part(in, 1), parcel_part(in, 2), &e) == 0) {
        const struct verb_def *why = verb_def(VERB_why_info);
        list = is_list(frame.verb->verb);
        bound = list ? UINT32_MAX : frame.verb->verb == VERB_get_why ? why->items_max : frame.items;
    }
    if (!frame.sequence)
        return;
    struct asked *a = asked_of(t, frame.sequence);
    a->messages++;
    a->lists += list;
    if (bound > a->most)
        a->most = bound;
}

static void check_answer(struct watcher *t, const struct frame_in *in) {
    struct asked *a = asked_of(t, in->sequence);
    a->items += in->items;
    a->ends += in->items == 0;
    ASSERT(a->items <= a->messages * a->most); /* 0 if nobody asked */
    ASSERT(a->ends <= a->lists);
}

/* ---- letters ----------------------------------------------------------------------------------
 */
void watch_letter(struct watcher *t, const struct letter *l) {
    ASSERT(verb_def(l->verb) && (verb_def(l->verb)->roles & ROLE_BIT_BROKER));
    if (!l->sequence || l->verb == VERB_error)
        return;
    GROW(t->said, t->n_said);
    t->said[t->n_said++] =
        (struct said){.link = l->link, .sequence = l->sequence, .after = l->after, .verb = l->verb};
}

/* The next letter of that answer leaves. */
static void check_letter(struct world *w, uint64_t link, const struct frame_in *in) {
    struct watcher *t = &w->watcher;
    while (t->first_said < t->n_said && t->said[t->first_said].left)
        t->first_said++;
    for (uint32_t n = t->first_said; n < t->n_said; n++) {
        struct said *s = &t->said[n];
        if (s->left || s->link != link || s->sequence != in->sequence || s->verb != in->verb->verb)
            continue;
        s->left = true;
        ASSERT(s->after < w->durable);
        return;
    }
    UNREACHABLE(); /* the core did not say that */
}

/* ---- records ----------------------------------------------------------------------------------
 */
void watch_record(struct watcher *t, const struct record *r, uint64_t pos) {
    if (!r->state)
        return;
    GROW(t->rows, t->n_rows);
    struct row *row = &t->rows[t->n_rows++];
    *row = (struct row){.id = r->state->id,
                        .pos = pos,
                        .fence = r->state->fence,
                        .state = (enum job_state)r->state->state,
                        .sync = r->spec && r->spec->durability == 0,
                        .first = r->state->version == 1};
}

void watch_killed(struct watcher *t, uint64_t durable) {
    while (t->n_rows && t->rows[t->n_rows - 1].pos >= durable)
        t->n_rows--;
    t->first_said = t->n_said;
}

/* What the journal would say of a job after a crash at this moment; NULL: nothing. */
static const struct row *durable_row(const struct world *w, uint64_t id) {
    const struct watcher *t = &w->watcher;
    for (uint32_t n = t->n_rows; n-- > 0;)
        if (t->rows[n].id == id && t->rows[n].pos < w->durable)
            return &t->rows[n];
    return NULL;
}

static bool is_newest(const struct watcher *t, uint32_t n) {
    for (uint32_t k = n + 1; k < t->n_rows; k++)
        if (t->rows[k].id == t->rows[n].id)
            return false;
    return true;
}

uint64_t watch_live(const struct watcher *t) {
    uint64_t live = 0;
    for (uint32_t n = 0; n < t->n_rows; n++)
        live += !job_state_terminal(t->rows[n].state) && is_newest(t, n);
    return live;
}

static bool is_journaled(const struct world *w, uint64_t id) {
    const struct watcher *t = &w->watcher;
    for (uint32_t n = 0; n < t->n_rows; n++)
        if (t->rows[n].id == id)
            return true;
    return false;
}

static void check_submitted(struct world *w, const struct msg_submitted *m) {
    const struct watcher *t = &w->watcher;
    if (m->code)
        return;
    for (uint32_t n = 0; n < t->n_rows; n++)
        if (t->rows[n].id == m->id && t->rows[n].first && t->rows[n].sync)
            ASSERT(t->rows[n].pos < w->durable);
    w->ids[w->n_ids++ % WORLD_SEEN] = m->id;
}

static void check_finished(const struct world *w, const struct msg_finished *m) {
    if (!is_journaled(w, m->id))
        return;
    const struct row *row = durable_row(w, m->id);
    ASSERT(row && row->state == (enum job_state)m->state);
}

/* After a crash that attempt must not be run again. */
static void check_ack(const struct world *w, const struct msg_attempt_ref *m) {
    if (!is_journaled(w, m->job))
        return;
    const struct row *row = durable_row(w, m->job);
    ASSERT(row &&
           (row->fence != m->fence || (row->state != JOB_running && row->state != JOB_cancelling)));
}

static void check_dispatch(struct world *w, const struct msg_dispatch *m) {
    struct watcher *t = &w->watcher;
    for (uint32_t n = 0; n < t->n_fences; n++)
        ASSERT(t->fences[n] != m->fence);
    GROW(t->fences, t->n_fences);
    t->fences[t->n_fences++] = m->fence;
    w->given[w->n_given++ % WORLD_SEEN] = (struct attempt){m->job, m->fence};
}

/* ---- what leaves ------------------------------------------------------------------------------
 */
static void check_item(struct world *w, enum verb verb, const union msg_any *m) {
    if (verb == VERB_submitted)
        check_submitted(w, &m->submitted);
    else if (verb == VERB_finished)
        check_finished(w, &m->finished);
    else if (verb == VERB_result_ack)
        check_ack(w, &m->attempt_ref);
    else if (verb == VERB_dispatch)
        check_dispatch(w, &m->dispatch);
    else if (verb == VERB_error)
        ASSERT(m->error.code && m->error.text.len);
}

static struct str part(zmq_msg_t *parts, unsigned n, unsigned i) {
    return i < n ? str_make(zmq_msg_data(&parts[i]), zmq_msg_size(&parts[i])) : STR("");
}

void watch_sent(struct world *w, uint64_t link, zmq_msg_t *parts, unsigned n) {
    struct frame_in in;
    struct frame_item item;
    union msg_any m;
    struct err e = {0};
    int rc = frame_open(&in, part(parts, n, 0), part(parts, n, 1), part(parts, n, 2), &e);
    ASSERT(rc == 0 && (in.verb->roles & ROLE_BIT_BROKER));
    ASSERT(in.items <= w->config.items_max);
    if (in.sequence)
        check_answer(&w->watcher, &in);
    bool answers = in.sequence && in.verb->verb != VERB_error;
    if (answers && in.items == 0)
        check_letter(w, link, &in);
    arena_reset(w->watcher.arena);
    while ((rc = frame_next(&in, &m, w->watcher.arena, &item, &e)) != 0) {
        ASSERT(rc == 1);
        check_item(w, in.verb->verb, &m);
        if (answers)
            check_letter(w, link, &in);
    }
}
