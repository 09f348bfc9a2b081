/* Job slots, their states, and the records that tell the journal of both. */
#include "broker/core/core_int.h"
#include "common/base/id.h"
#include "common/base/mem.h"

#define FAIL_TEXT_MAX 512

/* ---- the index by id
 * ----------------------------------------------------------------------------- */
/* Ids are given in a row, so their low bits fill the buckets one after the other: no mixing, only
 * another beginning for each epoch, whose counters all start at 1. */
static uint64_t id_hash_of(uint64_t id) {
    return id + id_epoch(id) * 0x9E3779B97F4A7C15ULL;
}

static uint64_t id_hash(const void *ctx, uint32_t i) {
    return id_hash_of(job_at(ctx, i)->id);
}

static uint32_t *id_link(const void *ctx, uint32_t i) {
    return &job_at(ctx, i)->hash_next;
}

static bool id_equal(const void *ctx, uint32_t i, const void *key) {
    return job_at(ctx, i)->id == *(const uint64_t *)key;
}

static const struct lhash_ops id_ops = {id_hash, id_link, id_equal};

void jobs_setup(struct core *c) {
    slab_init(&c->jobs, sizeof(struct job));
    slab_init(&c->extras, sizeof(struct extra));
    lhash_init(&c->by_id, &id_ops, c);
}

void jobs_teardown(struct core *c) {
    SLAB_EACH(i, &c->extras) {
        struct extra *x = extra_at(c, i);
        body_free(&x->body);
        mem_free(x->failure);
        mem_free(x->history);
    }
    lhash_done(&c->by_id);
    slab_done(&c->extras);
    slab_done(&c->jobs);
}

uint32_t job_find(const struct core *c, uint64_t id) {
    return lhash_find(&c->by_id, id_hash_of(id), &id);
}

uint32_t job_new(struct core *c, uint64_t id) {
    uint32_t i = slab_take(&c->jobs);
    struct job *j = job_at(c, i);
    j->id = id;
    lhash_add(&c->by_id, i);
    c->stats.by_state[JOB_NONE]++;
    return i;
}

void job_belongs(struct core *c, uint32_t i, uint32_t queue, uint32_t kind, uint32_t tenant) {
    struct job *j = job_at(c, i);
    ASSERT(!j->line);
    j->line = line_join(c, queue, kind);
    j->tenant = tenant & (TENANTS_END - 1);
    names_hold(&c->tenants, tenant);
}

void job_free(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    lhash_remove(&c->by_id, i);
    if (job_is(j, JOB_LOADING)) /* what is read will find nobody */
        line_at(c, j->line)->loaded--;
    struct extra *x = job_extra(c, j);
    if (x) {
        ASSERT(!x->timer && !x->worker && !x->watchers);
        stream_free(c, i);
        body_drop(c, i);
        mem_free(x->failure);
        mem_free(x->history);
        slab_give(&c->extras, j->extra);
    }
    flow_forget_job(c, i);
    c->stats.by_state[j->state]--;
    if (j->line) {
        job_queue(c, j)->by_state[j->state]--;
        names_let_go(&c->tenants, j->tenant);
        line_leave(c, j->line);
    }
    slab_give(&c->jobs, i);
}

struct extra *job_need_extra(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    ASSERT(!job_is(j, JOB_IS_KEPT));
    if (!j->extra)
        j->extra = slab_take(&c->extras);
    return extra_at(c, j->extra);
}

void job_drop_extra(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    struct extra *x = job_extra(c, j);
    if (!x || x->body || x->failure || x->history || x->worker || x->key || x->unique ||
        x->watchers || x->stream || x->timer || x->tries || x->crashes || x->ttl_end_ms ||
        x->run_at_ms || x->due_ms)
        return;
    slab_give(&c->extras, j->extra);
    j->extra = 0;
}

void job_clear_extra(struct core *c, uint32_t i) {
    struct extra *x = job_extra(c, job_at(c, i));
    if (!x)
        return;
    mem_free(x->failure);
    mem_free(x->history);
    *x = (struct extra){0};
    job_drop_extra(c, i);
}

/* ---- lists
 * --------------------------------------------------------------------------------------- */
void list_push(struct core *c, struct list *l, uint32_t i) {
    struct job *j = job_at(c, i);
    j->next = 0;
    j->prev = l->tail;
    if (l->tail)
        job_at(c, l->tail)->next = i;
    else
        l->head = i;
    l->tail = i;
    l->n++;
}

void list_remove(struct core *c, struct list *l, uint32_t i) {
    struct job *j = job_at(c, i);
    ASSERT(l->n > 0);
    if (j->prev)
        job_at(c, j->prev)->next = j->next;
    else
        l->head = j->next;
    if (j->next)
        job_at(c, j->next)->prev = j->prev;
    else
        l->tail = j->prev;
    j->next = j->prev = 0;
    l->n--;
}

/* ---- states
 * -------------------------------------------------------------------------------------- */
#define TO(s) (1U << JOB_##s)
#define ENDS  (TO(done) | TO(dead) | TO(cancelled) | TO(expired))

/* From each state, where a job may go. NONE: accepted, not yet durable. */
static const uint16_t may_become[JOB_STATES] = {
    [JOB_NONE] = TO(scheduled) | TO(ready) | TO(blocked) | TO(running) | TO(cancelling) | ENDS,
    [JOB_scheduled] =
        TO(ready) | TO(blocked) | TO(running) | TO(dead) | TO(cancelled) | TO(expired),
    [JOB_ready] = TO(blocked) | TO(running) | TO(dead) | TO(cancelled) | TO(expired),
    [JOB_blocked] = TO(blocked) | TO(ready) | TO(running) | TO(dead) | TO(cancelled) | TO(expired),
    [JOB_running] = TO(scheduled) | TO(ready) | TO(blocked) | TO(cancelling) | TO(done) | TO(dead) |
                    TO(cancelled),
    [JOB_cancelling] = TO(cancelled),
    /* An operator runs it again. */
    [JOB_done] = TO(scheduled) | TO(ready) | TO(blocked),
    [JOB_dead] = TO(scheduled) | TO(ready) | TO(blocked),
    [JOB_cancelled] = TO(scheduled) | TO(ready) | TO(blocked),
    [JOB_expired] = TO(scheduled) | TO(ready) | TO(blocked),
};

void job_set_state(struct core *c, uint32_t i, enum job_state to) {
    struct job *j = job_at(c, i);
    ASSERT(may_become[j->state] & (1U << to));
    struct queue *q = job_queue(c, j);
    q->entered += job_state_terminal((enum job_state)j->state);
    c->stats.by_state[j->state]--;
    q->by_state[j->state]--;
    j->state = to & 0xFF;
    c->stats.by_state[to]++;
    q->by_state[to]++;
    if (!job_state_terminal(to) || c->replaying)
        return;
    c->stats.ended[to]++;
    q->ended++;
}

static bool goes_on(char c) {
    return ((unsigned char)c & 0xC0) == 0x80;
}

/* What went wrong stands in front, the last words of a process at the end. */
size_t text_clip(struct str text, char *out, size_t max) {
    static const char gap[] = " ... ";
    if (text.len <= max) {
        if (text.len)
            memcpy(out, text.at, text.len);
        return text.len;
    }
    size_t head = (max - (sizeof gap - 1)) * 5 / 8, tail = max - (sizeof gap - 1) - head;
    while (head && goes_on(text.at[head]))
        head--; /* never in the middle of a character */
    while (tail && goes_on(text.at[text.len - tail]))
        tail--;
    memcpy(out, text.at, head);
    memcpy(out + head, gap, sizeof gap - 1);
    memcpy(out + head + sizeof gap - 1, text.at + text.len - tail, tail);
    return head + sizeof gap - 1 + tail;
}

struct failure *failure_new(enum err_code code, struct str text) {
    char clip[FAIL_TEXT_MAX];
    size_t len = text_clip(text, clip, sizeof clip);
    struct failure *f = mem_alloc(sizeof *f + len);
    f->code = code;
    f->len = (uint32_t)len;
    if (len)
        memcpy(f->text, clip, len);
    return f;
}

void job_fail_text(struct core *c, uint32_t i, enum err_code code, struct str text) {
    struct extra *x = job_need_extra(c, i);
    mem_free(x->failure);
    x->failure = failure_new(code, text);
}

/* ---- records
 * ------------------------------------------------------------------------------------- */
static void set_wait(const struct core *c, const struct job *j, const struct extra *x,
                     struct msg_rec_state *m) {
    if (j->state != JOB_scheduled)
        return;
    if (job_is(j, JOB_HAS_RUN_AT)) {
        MSG_SET(m, rec_state, due_ms, x->run_at_ms);
        return;
    }
    uint64_t rest = x->due_ms > c->now.ms ? x->due_ms - c->now.ms : 0;
    MSG_SET(m, rec_state, due_ms, c->wall.ms + rest);
    MSG_SET(m, rec_state, wait_ms, rest);
}

static void set_position(const struct core *c, uint32_t i, struct msg_rec_state *m) {
    uint64_t epoch, seq;
    stream_position(c, i, &epoch, &seq);
    if (!epoch)
        return;
    MSG_SET(m, rec_state, stream_epoch, epoch);
    MSG_SET(m, rec_state, stream_seq, seq);
}

void job_state_message(const struct core *c, uint32_t i, struct msg_rec_state *m) {
    const struct job *j = job_at(c, i);
    const struct extra *x = job_extra(c, j);
    *m = (struct msg_rec_state){0};
    MSG_SET(m, rec_state, id, j->id);
    MSG_SET(m, rec_state, version, j->version);
    /* What is accepted but not yet placed will be ready or blocked by what the replay finds. */
    MSG_SET(m, rec_state, state, j->state ? j->state : (uint64_t)JOB_ready);
    if (j->fence)
        MSG_SET(m, rec_state, fence, j->fence);
    if (j->attempts)
        MSG_SET(m, rec_state, attempts, j->attempts);
    if (job_is(j, JOB_ISOLATED))
        MSG_SET(m, rec_state, isolated, true);
    if (job_is(j, JOB_APART))
        MSG_SET(m, rec_state, apart, true);
    if (job_state_terminal(j->state))
        MSG_SET(m, rec_state, ended_ms, j->since_ms);
    if (!x)
        return;
    if (x->crashes)
        MSG_SET(m, rec_state, crashes, x->crashes);
    if (x->started_ms)
        MSG_SET(m, rec_state, started_ms, x->started_ms);
    if (x->tries)
        MSG_SET(m, rec_state, tries, x->tries);
    if (x->stream)
        set_position(c, i, m);
    if (x->failure) {
        MSG_SET(m, rec_state, error, (uint64_t)x->failure->code);
        MSG_SET(m, rec_state, text, str_make(x->failure->text, x->failure->len));
    }
    if (x->history)
        MSG_SET(m, rec_state, history, str_make(x->history->text, x->history->len));
    if (x->group)
        MSG_SET(m, rec_state, group, x->group);
    set_wait(c, j, x, m);
}

uint64_t job_record(struct core *c, uint32_t i, struct str result) {
    struct job *j = job_at(c, i);
    j->version++;
    if (job_is(j, JOB_IS_VOLATILE))
        return 0;
    struct msg_rec_state m;
    job_state_message(c, i, &m);
    if (result.len)
        MSG_SET(&m, rec_state, result_size, result.len);
    struct record r = {.type = REC_STATE, .state = &m, .result = result};
    if (j->state_pos != j->body_pos)
        c->fx.release(c->fx.ctx, j->state_pos, j->state_bytes);
    j->state_pos = c->fx.append(c->fx.ctx, &r, &j->state_bytes);
    return j->state_pos;
}

/* Body and newest state in one record: for cleaning, and for a job that is run again. `state` is
 * used as it is for an ended job, whose error and times are only on disk. */
void job_record_whole(struct core *c, uint32_t i, const struct record *old) {
    struct job *j = job_at(c, i);
    struct msg_rec_state m;
    bool ended = job_state_terminal(j->state);
    bool state_too = j->state_pos == j->body_pos;
    if (ended && state_too)
        m = *old->state;
    else
        job_state_message(c, i, &m);
    struct record r = {.type = REC_JOB,
                       .state = &m,
                       .spec = old->spec,
                       .payload = old->payload,
                       .result = ended && state_too ? old->result : STR("")};
    job_mark(j, JOB_WAS_DURABLE); /* the old one was read back */
    c->fx.release(c->fx.ctx, j->body_pos, j->body_bytes);
    j->body_pos = c->fx.append(c->fx.ctx, &r, &j->body_bytes);
    /* The end of a job, with its result, stays where it is. */
    if (ended && !state_too)
        return;
    if (!state_too)
        c->fx.release(c->fx.ctx, j->state_pos, j->state_bytes);
    j->state_pos = j->body_pos;
    j->state_bytes = 0;
}
