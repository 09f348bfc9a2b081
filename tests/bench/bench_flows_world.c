/* The broker's outside: turns, the journal, letters that wait for it, and kills. */
#include "tests/bench/bench_flows.h"

#include <string.h>

#define ROWS_TO_CUT   4000 /* of what is put in the turns before a kill, so many may be on disk */
#define CLEAN_PIECES  4    /* in a turn */
#define CHECK_EVERY   20000
#define SCRATCH_BYTES (1U << 20)
#define KEPT_JOBS     5000 /* children are forgotten while their flows go on */

/* ---- records -------------------------------------------------------------------------------- */
static struct seen *seen_new(struct world *w) {
    if (w->seen_n == w->seen_size) {
        w->seen_size = w->seen_size ? w->seen_size * 2 : 1024;
        w->seen = mem_grow(w->seen, w->seen_size, sizeof *w->seen);
    }
    struct seen *s = &w->seen[w->seen_n++];
    *s = (struct seen){0};
    return s;
}

static void see_flow(struct seen *s, const struct msg_rec_flow *m) {
    s->id = m->id;
    s->settled = m->settled;
    s->doomed = m->doom != 0;
    s->own = (struct counts){
        (uint32_t)m->own,
        {(uint32_t)m->done, (uint32_t)m->dead, (uint32_t)m->cancelled, (uint32_t)m->expired}};
    s->below = (struct counts){(uint32_t)m->below,
                               {(uint32_t)m->below_done, (uint32_t)m->below_dead,
                                (uint32_t)m->below_cancelled, (uint32_t)m->below_expired}};
}

static void see(struct world *w, const struct record *r) {
    struct seen *s = seen_new(w);
    s->type = r->type;
    s->moved = w->cleaning;
    if (r->type == REC_FLOW)
        see_flow(s, r->other);
    if (!r->state)
        return;
    s->id = r->state->id;
    s->fence = r->state->fence;
    s->state = (uint32_t)r->state->state;
    if (r->type != REC_JOB)
        return;
    s->parent = r->spec->parent;
    s->is_then = r->spec->then;
    s->fail_fast = r->spec->fail_fast;
    if (r->payload.len != sizeof s->plan)
        flows_broken(w, "a record of a job has a payload of %zu bytes", r->payload.len);
    memcpy(&s->plan, r->payload.at, sizeof s->plan);
}

/* A row of records is whole: the disk may have had its last one. */
static void row_ends(struct world *w) {
    if (!w->until_cut || --w->until_cut)
        return;
    uint64_t unused;
    journal_poll(w->journal, &unused);
    journal_commit_inline(w->journal);
    w->flying = true;
    w->flying_to = w->seen_from + w->seen_n;
}

static uint64_t on_append(void *ctx, const struct record *r, uint32_t *bytes) {
    struct world *w = ctx;
    struct str parts[RECORD_PARTS];
    size_t n = record_parts(r, &w->scratch, parts);
    uint64_t pos = journal_put(w->journal, (uint8_t)r->type, parts, n, bytes);
    see(w, r);
    if (!w->cleaning) {
        w->records++;
        w->record_bytes += *bytes;
    }
    w->group_used += *bytes;
    if (!w->group_bytes)
        row_ends(w);
    else if (w->group_used > w->group_bytes)
        flows_broken(w, "a row of records has %u bytes, %u were announced", w->group_used,
                     w->group_bytes);
    return pos;
}

static void on_group(void *ctx, uint32_t bytes) {
    struct world *w = ctx;
    if (bytes && w->group_bytes)
        flows_broken(w, "a row of records begins within another one");
    if (bytes)
        journal_keep_together(w->journal, bytes);
    w->group_bytes = bytes;
    w->group_used = 0;
    if (!bytes)
        row_ends(w);
}

static void on_release(void *ctx, uint64_t pos, uint32_t bytes) {
    struct world *w = ctx;
    journal_release(w->journal, pos, bytes);
}

/* Read at once, for it may be moved; given a turn later. */
static void on_load(void *ctx, uint64_t pos, uint32_t bytes, uint64_t token) {
    struct world *w = ctx;
    struct journal_load_done done;
    if (journal_load(w->journal, pos, bytes, token) < 0 || !journal_loaded(w->journal, &done))
        flows_broken(w, "the journal in memory does not read");
    struct str body = done.record.body;
    char *copy = mem_alloc(body.len);
    memcpy(copy, body.at, body.len);
    numbers_add(&w->loads, token);
    numbers_add(&w->loads, done.record.type);
    numbers_add(&w->loads, (uint64_t)(uintptr_t)copy);
    numbers_add(&w->loads, body.len);
}

static void give_loads(struct world *w, bool dead) {
    struct numbers loads = w->loads;
    w->loads = (struct numbers){0};
    for (uint32_t k = 0; k < loads.n; k += 4) {
        char *copy = (char *)(uintptr_t)loads.at[k + 2];
        struct record_room room;
        struct record r;
        struct err e = {0};
        struct str body = str_make(copy, (size_t)loads.at[k + 3]);
        if (record_open((uint8_t)loads.at[k + 1], body, &room, &r, &e) < 0)
            flows_broken(w, "a record that was loaded: %s", e.text);
        if (!dead)
            core_loaded(w->core, loads.at[k], &r);
        mem_free(copy);
    }
    mem_free(loads.at);
}

/* ---- letters -------------------------------------------------------------------------------- */
static void keep(struct letters *to, const struct letter_kept *l) {
    if (to->n == to->size) {
        to->size = to->size ? to->size * 2 : 1024;
        to->at = mem_grow(to->at, to->size, sizeof *to->at);
    }
    to->at[to->n++] = *l;
}

static void open_ref(struct letter_kept *k, const struct msg_attempt_ref *m) {
    k->job = m->job;
    k->fence = m->fence;
}

static void open_spawned(struct letter_kept *k, const struct msg_spawned *m) {
    k->job = m->job;
    k->fence = m->fence;
    k->code = m->code;
    k->index = m->index;
}

static void open_flow_info(struct letter_kept *k, const struct msg_flow_info *m) {
    k->job = m->id;
    k->code = m->code;
    k->settled = m->settled;
    k->counts = (struct counts){
        (uint32_t)m->total,
        {(uint32_t)m->done, (uint32_t)m->dead, (uint32_t)m->cancelled, (uint32_t)m->expired}};
}

static void on_send(void *ctx, const struct letter *l) {
    struct world *w = ctx;
    struct letter_kept k = {.verb = l->verb, .link = l->link, .after = l->after};
    switch (l->verb) {
    case VERB_dispatch:
        truth_dispatch(w, l->message);
        k.job = ((const struct msg_dispatch *)l->message)->job;
        k.fence = ((const struct msg_dispatch *)l->message)->fence;
        break;
    case VERB_result_ack:
    case VERB_lost:
    case VERB_cancel_attempt:
        open_ref(&k, l->message);
        break;
    case VERB_spawned:
        open_spawned(&k, l->message);
        break;
    case VERB_flow_info:
        open_flow_info(&k, l->message);
        break;
    case VERB_submitted:
        k.code = ((const struct msg_submitted *)l->message)->code;
        if (k.code)
            flows_broken(w, "SUBMIT was refused with error %u", (unsigned)k.code);
        return;
    case VERB_error:
        flows_broken(w, "a message was refused with error %u",
                     (unsigned)((const struct msg_error *)l->message)->code);
    default:
        return;
    }
    keep(l->after >= w->durable ? &w->waiting : &w->at_once, &k);
}

static void deliver(struct world *w) {
    struct letters now = w->at_once, then = w->waiting;
    w->at_once = w->waiting = (struct letters){0};
    for (uint32_t k = 0; k < now.n; k++)
        peers_letter(w, &now.at[k]);
    for (uint32_t k = 0; k < then.n; k++) {
        if (then.at[k].after < w->durable)
            peers_letter(w, &then.at[k]);
        else
            keep(&w->waiting, &then.at[k]);
    }
    mem_free(now.at);
    mem_free(then.at);
}

static void on_event(void *ctx, const struct event *e) {
    if (e->what == EVENT_load_failed || e->what == EVENT_bad_record)
        flows_broken(ctx, "the core says of a record: " STR_FMT, STR_ARG(e->text));
}

/* No kind of this world streams. */
static uint64_t on_token(void *ctx, uint64_t fence) {
    (void)ctx;
    return fence;
}

static void on_stream(void *ctx, const struct stream_order *o) {
    (void)ctx;
    (void)o;
}

/* ---- lives ---------------------------------------------------------------------------------- */
static void begin(struct world *w) {
    core_begin(w->core, (struct mono){w->now}, (struct wall){1700000000000 + w->now});
}

static int replay_one(void *ctx, const struct journal_record *r, struct err *e) {
    struct world *w = ctx;
    struct record_room room;
    struct record record;
    if (record_open(r->type, r->body, &room, &record, e) < 0)
        return -1;
    core_replay(w->core, r->pos, r->bytes, &record);
    w->replayed++;
    return 0;
}

static void durable_now(struct world *w) {
    uint64_t upto = w->flying ? w->flying_to - w->seen_from : 0;
    for (uint32_t k = 0; k < upto; k++)
        truth_record(w, &w->seen[k]);
    w->seen_n -= (uint32_t)upto;
    memmove(w->seen, w->seen + upto, w->seen_n * sizeof *w->seen);
    w->seen_from += upto;
    w->flying = false;
}

static void commit(struct world *w) {
    if (w->flying || !journal_commit(w->journal))
        return;
    w->flying = true;
    w->flying_to = w->seen_from + w->seen_n;
}

static void poll(struct world *w) {
    journal_poll(w->journal, &w->durable);
    durable_now(w);
}

static void start(struct world *w) {
    struct err e = {0};
    struct core_config k = core_config_default();
    k.done_jobs = k.dead_jobs = KEPT_JOBS;
    k.attempts_max = 2;
    k.backoff_ms = k.backoff_max_ms = 1;
    struct effects fx = {.ctx = w,
                         .append = on_append,
                         .group = on_group,
                         .release = on_release,
                         .load = on_load,
                         .send = on_send,
                         .event = on_event,
                         .token = on_token,
                         .stream = on_stream};
    if (journal_open_memory(&w->journal, w->memory, &e) < 0)
        flows_broken(w, "%s", e.text);
    w->core = core_new(&k, &fx);
    begin(w);
    struct msg_kind_info kind = {0};
    MSG_SET(&kind, kind_info, kind, STR("work"));
    core_set_kind(w->core, &kind);
    core_set_may_spawn(w->core, STR("work"), &(struct str_list){(struct str[]){STR("work")}, 1});
    if (journal_replay(w->journal, replay_one, w, NULL, &e) < 0)
        flows_broken(w, "%s", e.text);
    core_start(w->core, (struct mono){w->now}, (struct wall){1700000000000 + w->now});
    core_check(w->core);
    commit(w);
    poll(w);
    core_durable(w->core, w->durable);
    peers_hello(w);
}

void world_open(struct world *w, uint64_t seed) {
    w->rng = rng_seed(seed);
    w->scratch = BUF(SCRATCH_BYTES);
    w->memory = journal_memory_new();
    w->now = 1;
    truth_open(w);
    start(w);
}

static void clean_one(void *ctx, const struct journal_record *r) {
    struct world *w = ctx;
    struct record_room room;
    struct record record;
    struct err e = {0};
    if (record_open(r->type, r->body, &room, &record, &e) < 0)
        flows_broken(w, "a record that is cleaned: %s", e.text);
    w->moved++;
    core_clean(w->core, r->pos, &record);
}

static void clean(struct world *w) {
    w->cleaning = true;
    for (int k = 0; k < CLEAN_PIECES && journal_clean_want(w->journal); k++)
        if (journal_clean_next(w->journal, clean_one, w) == JOURNAL_CLEAN_WAIT)
            break;
    w->cleaning = false;
}

static void turn(struct world *w) {
    w->now++;
    poll(w);
    begin(w);
    core_durable(w->core, w->durable);
    give_loads(w, false);
    deliver(w);
    truth_turn(w);
    peers_turn(w);
    core_end(w->core, true);
    if (w->now % CHECK_EVERY == 0)
        core_check(w->core);
}

/* What a turn has put is not always on its way to the disk at once. */
void world_turn(struct world *w) {
    turn(w);
    clean(w);
    if (rng_below(&w->rng, 3))
        commit(w);
}

/* A few turns of which the disk gets a part, to the end of a row of records; the rest is lost. */
void world_kill(struct world *w) {
    w->until_cut = 1 + rng_below(&w->rng, ROWS_TO_CUT);
    for (uint32_t k = 1 + rng_below(&w->rng, 4); k > 0 && w->until_cut; k--)
        turn(w);
    bool cut = !w->until_cut;
    w->until_cut = 0;
    if (cut)
        durable_now(w);
    w->flying = false;
    w->lost += w->seen_n;
    w->seen_from += w->seen_n;
    w->seen_n = 0;
    w->at_once.n = w->waiting.n = 0;
    give_loads(w, true);
    core_destroy(&w->core);
    journal_abandon(&w->journal);
    w->restarts++;
    w->now++;
    start(w);
}

void world_close(struct world *w) {
    struct core_stats stats;
    core_check(w->core);
    core_stats(w->core, &stats);
    for (int k = 0; k < JOB_done; k++)
        if (stats.by_state[k])
            flows_broken(w, "%u jobs are left in state %s", (unsigned)stats.by_state[k],
                         job_state_name((uint64_t)k));
    core_destroy(&w->core);
    journal_abandon(&w->journal);
    journal_memory_destroy(&w->memory);
    give_loads(w, true);
    truth_close(w);
    for (int k = 0; k < FLOW_WORKERS; k++) {
        mem_free(w->workers[k].held.at);
        mem_free(w->workers[k].todo.at);
    }
    mem_free(w->at_once.at);
    mem_free(w->waiting.at);
    mem_free(w->seen);
    mem_free(w->watch.at);
    mem_free(w->cancel.at);
    buf_destroy(&w->scratch);
}
