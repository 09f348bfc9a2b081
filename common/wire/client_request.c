/* Requests under way: made, said, said again, answered, ended. */
#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/wire/client_int.h"

#define SLOTS_MIN 64U
#define SLOTS_MAX 65536U

static const struct request_rule rules[] = {
    {VERB_submit, VERB_submitted, UNTIL_COUNT, REQUEST_CHANGES},
    {VERB_get_job, VERB_job_info, UNTIL_MESSAGE, REQUEST_ASKS},
    {VERB_list_jobs, VERB_job_info, UNTIL_NO_ID, REQUEST_ASKS},
    {VERB_get_why, VERB_why_info, UNTIL_MESSAGE, REQUEST_ASKS},
    {VERB_cancel_job, VERB_outcome, UNTIL_COUNT, REQUEST_CHANGES},
    {VERB_list_dead, VERB_dead_info, UNTIL_NO_ID, REQUEST_ASKS},
    {VERB_retry_job, VERB_outcome, UNTIL_COUNT, REQUEST_CHANGES},
    {VERB_get_status, VERB_status_info, UNTIL_MESSAGE, REQUEST_ASKS},
    {VERB_list_queues, VERB_queue_info, UNTIL_EMPTY, REQUEST_ASKS},
    {VERB_list_workers, VERB_worker_info, UNTIL_EMPTY, REQUEST_ASKS},
    {VERB_list_pools, VERB_pool_info, UNTIL_EMPTY, REQUEST_ASKS},
    {VERB_pause_queue, VERB_outcome, UNTIL_COUNT, REQUEST_CHANGES},
    {VERB_resume_queue, VERB_outcome, UNTIL_COUNT, REQUEST_CHANGES},
    {VERB_purge_queue, VERB_outcome, UNTIL_COUNT, REQUEST_CHANGES},
    {VERB_set_limit, VERB_outcome, UNTIL_COUNT, REQUEST_CHANGES},
    {VERB_scale_pool, VERB_outcome, UNTIL_COUNT, REQUEST_CHANGES},
    {VERB_drain, VERB_outcome, UNTIL_COUNT, REQUEST_CHANGES},
    {VERB_declare_kind, VERB_outcome, UNTIL_COUNT, REQUEST_HARMLESS},
    {VERB_worker_died, VERB_outcome, UNTIL_COUNT, REQUEST_HARMLESS},
    {VERB_attach, VERB_attached, UNTIL_COUNT, REQUEST_ASKS},
    {VERB_set_schedule, VERB_outcome, UNTIL_COUNT, REQUEST_HARMLESS},
    {VERB_remove_schedule, VERB_outcome, UNTIL_COUNT, REQUEST_CHANGES},
    {VERB_run_schedule, VERB_outcome, UNTIL_COUNT, REQUEST_CHANGES},
    {VERB_pause_schedule, VERB_outcome, UNTIL_COUNT, REQUEST_CHANGES},
    {VERB_list_schedules, VERB_schedule_info, UNTIL_EMPTY, REQUEST_ASKS},
    {VERB_set_note, VERB_outcome, UNTIL_COUNT, REQUEST_CHANGES},
    {VERB_list_notes, VERB_note_info, UNTIL_EMPTY, REQUEST_ASKS},
};

const struct request_rule *request_rule(enum verb verb) {
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i].verb == verb)
            return &rules[i];
    return NULL;
}

/* ---- the table ------------------------------------------------------------------------------ */
static uint32_t slots_wanted(const struct client *c) {
    uint64_t most = client_terms(c)->outstanding_max;
    uint32_t n = SLOTS_MIN;
    while (n < most && n < SLOTS_MAX)
        n *= 2;
    return n;
}

static void resize(struct client *c) {
    uint32_t n = slots_wanted(c);
    if (n <= c->n_slots)
        return;
    mem_free(c->by_sequence);
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): a table of pointers */
    c->by_sequence = mem_zalloc(n * sizeof *c->by_sequence);
    c->n_slots = n;
    for (struct pending *p = c->first; p; p = p->next)
        c->by_sequence[p->sequence % n] = p;
}

/* Older sequences than this far back are no longer kept by the broker, so that the oldest
 * unanswered one holds back new ones. Two are left for HELLOs. */
static bool window_is_open(const struct client *c, uint64_t next) {
    uint64_t most = client_terms(c)->outstanding_max;
    uint64_t window = most < c->n_slots ? most : c->n_slots;
    window = window > 3 ? window - 2 : 1;
    return !c->first || next - c->first->sequence < window;
}

struct pending *request_find(const struct client *c, uint64_t sequence) {
    struct pending *p = c->n_slots ? c->by_sequence[sequence % c->n_slots] : NULL;
    return p && p->sequence == sequence ? p : NULL;
}

static void link_in(struct client *c, struct pending *p) {
    p->next = NULL;
    p->prev = c->last;
    if (c->last)
        c->last->next = p;
    else
        c->first = p;
    c->last = p;
    c->by_sequence[p->sequence % c->n_slots] = p;
    c->n_pending++;
    c->bytes += p->body_len + p->payloads_len;
    if (p->deadline.ms < c->earliest.ms)
        c->earliest = p->deadline;
}

static void link_out(struct client *c, struct pending *p) {
    if (p->prev)
        p->prev->next = p->next;
    else
        c->first = p->next;
    if (p->next)
        p->next->prev = p->prev;
    else
        c->last = p->prev;
    c->by_sequence[p->sequence % c->n_slots] = NULL;
    c->n_pending--;
    c->bytes -= p->body_len + p->payloads_len;
}

static void pending_free(struct pending *p) {
    mem_free(p->bytes);
    mem_free(p);
}

void request_end(struct client *c, struct pending *p, const struct err *e) {
    link_out(c, p);
    c->calls++;
    static const struct err none;
    p->fn(p->ctx, &(struct client_reply){.end = true, .err = e ? e : &none});
    pending_free(p);
}

/* ---- making --------------------------------------------------------------------------------- */
/* A field that counts what goes with its item; 0 is as good as absent. */
static void set_number(union msg_any *m, const struct msg_def *def, uint8_t number, uint64_t v) {
    memcpy((char *)m + msg_field(def, number)->offset, &v, sizeof v);
    m->has = v ? m->has | 1ULL << number : m->has & ~(1ULL << number);
}

/* One item as it goes out: `size` says what its payload has, `children` how many it has. -1 with
 * why it cannot be sent. */
static int fit_item(const struct client *c, const struct msg_def *def,
                    const struct client_item *item, union msg_any *m, struct err *e) {
    *m = (union msg_any){0};
    memcpy(m, item->message, def->size);
    if (item->payload.len > client_terms(c)->body_max)
        return err_set(e, ERR_TOO_LARGE, "%s: a payload of %zu bytes, at most %llu", def->name,
                       item->payload.len, (unsigned long long)client_terms(c)->body_max);
    if (def->size_at)
        set_number(m, def, def->size_at, item->payload.len);
    else if (item->payload.len)
        return err_set(e, ERR_BAD_VALUE, "%s: has no payload", def->name);
    if (def->children_at)
        set_number(m, def, def->children_at, item->n_children);
    return codec_check(def, m, e);
}

enum fit { FIT_BAD = -1, FIT_YES, FIT_FULL };

/* Adds a parent's children, or some of them where not all can be. */
static enum fit add_children(struct client *c, const struct client_item *parent, struct err *e) {
    const struct msg_def *def = msg_def(MSG_submit);
    for (uint32_t n = 0; n < parent->n_children; n++) {
        const struct client_item *child = &parent->children[n];
        union msg_any m;
        if (child->n_children)
            return err_set(e, ERR_BAD_VALUE,
                           "child %u: has children of its own; it may spawn them "
                           "when it runs",
                           n);
        if (fit_item(c, def, child, &m, e) < 0)
            return err_add(e, "child %u", n);
        if (frame_add_child(&c->out, &m.submit, child->payload) < 0)
            return FIT_FULL;
    }
    return FIT_YES;
}

/* Adds an item with all that belongs to it, or nothing of it. */
static enum fit add_item(struct client *c, const struct client_item *item, union msg_any *m,
                         struct err *e) {
    struct frame_mark before = frame_mark(&c->out);
    ASSERT(!item->n_children || msg_def(c->out.verb->message)->children_at);
    if (fit_item(c, msg_def(c->out.verb->message), item, m, e) < 0)
        return FIT_BAD;
    if (frame_add_payload(&c->out, m, item->payload, STR("")) < 0)
        return FIT_FULL;
    enum fit fit = add_children(c, item, e);
    if (fit != FIT_YES)
        frame_back(&c->out, &before);
    return fit;
}

static int say_too_large(const struct client *c, const struct client_item *first, size_t least,
                         struct err *e) {
    const struct frame_out *f = &c->out;
    if (first->n_children)
        return err_set(
            e, ERR_TOO_LARGE,
            "%s: a job and its %u children do not fit a message of %u items and %zu bytes",
            f->verb->name, first->n_children, f->items_max, f->bytes_max);
    return err_set(e, ERR_TOO_LARGE, "%s: %zu items do not fit a message of %u and %zu bytes",
                   f->verb->name, least, f->items_max, f->bytes_max);
}

static void note_submit(struct pending *p, uint32_t index, const struct msg_submit *m) {
    if (m->watch)
        p->watch[index / 64] |= 1ULL << (index % 64);
    if (m->attach)
        p->attach[index / 64] |= 1ULL << (index % 64);
}

/* Fills the frame with as many items as it holds; how many, or -1. */
static int fill_frame(struct client *c, struct pending *p, const struct client_item *items,
                      size_t n, size_t least, struct err *e) {
    frame_begin(&c->out, p->rule->verb, p->sequence);
    const struct msg_welcome *terms = client_terms(c);
    if (terms->items_max < c->out.items_max)
        c->out.items_max = (uint32_t)terms->items_max;
    if (terms->bytes_max < c->out.bytes_max)
        c->out.bytes_max = terms->bytes_max;
    bool harmless = true, submits = p->rule->verb == VERB_submit;
    enum fit fit = FIT_YES;
    uint32_t taken = 0;
    for (; taken < n; taken++) {
        union msg_any m;
        fit = add_item(c, &items[taken], &m, e);
        if (fit != FIT_YES)
            break;
        if (!submits)
            continue;
        harmless &= m.submit.unique.len > 0;
        note_submit(p, taken, &m.submit);
    }
    if (taken < least && fit == FIT_BAD)
        return n > 1 ? err_add(e, "item %u", taken) : -1;
    if (taken < least)
        return say_too_large(c, &items[taken], least, e);
    p->items = taken;
    if (submits && harmless)
        p->effect = REQUEST_HARMLESS;
    return (int)taken;
}

static int keep_frames(struct client *c, struct pending *p, struct err *e) {
    const struct frame_out *f = &c->out;
    size_t bytes = f->body.len + f->payloads.len;
    size_t most = c->config.bytes_max ? c->config.bytes_max : CLIENT_BYTES_MAX;
    if (c->n_pending && (bytes > most || c->bytes > most - bytes))
        return err_set(e, ERR_BUSY, "unanswered requests have %zu bytes, at most %zu", c->bytes,
                       most);
    p->bytes = mem_try(bytes);
    if (!p->bytes)
        return err_set(e, ERR_NO_MEMORY, "a request of %zu bytes", bytes);
    p->body_len = f->body.len;
    p->payloads_len = f->payloads.len;
    memcpy(p->bytes, f->body.at, f->body.len);
    if (f->payloads.len)
        memcpy(p->bytes + f->body.len, f->payloads.at, f->payloads.len);
    return 0;
}

static void say(struct client *c, struct pending *p) {
    struct str body = str_make(p->bytes, p->body_len);
    struct str payloads = str_make(p->bytes + p->body_len, p->payloads_len);
    frame_begin(&c->out, p->rule->verb, p->sequence);
    struct str head = buf_str(&c->out.head);
    p->said = client_is_up(c) && link_send_parts(c->link, head, body, payloads, NULL) == 0;
    c->behind |= !p->said;
    if (!p->said)
        return;
    p->times++;
    p->seen = 0;
    p->may_be_done = true;
}

void requests_flush(struct client *c) {
    if (!c->behind || !client_is_up(c))
        return;
    c->behind = false;
    for (struct pending *p = c->first; p && !c->behind; p = p->next)
        if (!p->said)
            say(c, p);
}

int request_make(struct client *c, enum verb verb, const struct client_item *items, size_t n,
                 size_t least, client_reply_fn *fn, void *ctx, struct mono deadline,
                 struct err *e) {
    const struct request_rule *rule = request_rule(verb);
    ASSERT(rule && n > 0 && fn);
    if (c->refused.code) {
        if (e)
            *e = c->refused;
        return -1;
    }
    resize(c);
    uint64_t next = link_sequence_next(c->link);
    if (!window_is_open(c, next))
        return err_set(e, ERR_BUSY, "%u requests are not answered yet, the bound", c->n_pending);
    struct pending *p = MEM_NEW(struct pending);
    *p = (struct pending){.rule = rule,
                          .effect = rule->effect,
                          .sequence = next,
                          .fn = fn,
                          .ctx = ctx,
                          .deadline = deadline};
    int taken = fill_frame(c, p, items, n, least, e);
    if (taken < 0 || keep_frames(c, p, e) < 0) {
        pending_free(p);
        return -1;
    }
    uint64_t given = link_sequence(c->link);
    ASSERT(given == next);
    link_in(c, p);
    say(c, p);
    return taken;
}

/* ---- answers -------------------------------------------------------------------------------- */
static void take_submitted(struct client *c, const struct pending *p, uint32_t index,
                           const struct msg_submitted *m) {
    bool attach = p->attach[index / 64] >> (index % 64) & 1;
    bool watch = p->watch[index / 64] >> (index % 64) & 1;
    if (m->code || !m->id)
        return;
    /* Its end may have been told on a connection that is no more: ask for it again. */
    if (attach && c->tap.submitted)
        c->tap.submitted(c->tap.ctx, m->id, p->times > 1);
    else if (attach || watch)
        watch_note(c, m->id, p->times > 1);
}

static bool has_id(enum verb verb, const union msg_any *m) {
    return verb == VERB_dead_info ? MSG_HAS(&m->dead_info, dead_info, id)
                                  : MSG_HAS(&m->job_info, job_info, id);
}

/* True when the answer is whole with this item. */
static bool deliver(struct client *c, struct pending *p, const union msg_any *m,
                    const struct frame_item *item) {
    uint32_t index = p->seen++;
    if (index >= p->delivered) { /* else it was shown before the connection was lost */
        p->delivered++;
        if (p->rule->verb == VERB_submit)
            take_submitted(c, p, index, &m->submitted);
        c->calls++;
        p->fn(p->ctx, &(struct client_reply){.verb = p->rule->answer,
                                             .index = index,
                                             .message = m,
                                             .payload = item->payload,
                                             .result = item->result});
    }
    if (p->rule->until == UNTIL_COUNT)
        return p->seen == p->items;
    return p->rule->until == UNTIL_NO_ID && !has_id(p->rule->answer, m);
}

void request_answer(struct client *c, struct pending *p, struct frame_in *in) {
    union msg_any m;
    struct frame_item item;
    struct err e = {0};
    if (in->verb->verb != p->rule->answer)
        return; /* not what was asked for: the deadline will tell */
    bool whole = p->rule->until == UNTIL_MESSAGE || (p->rule->until == UNTIL_EMPTY && !in->items);
    for (bool more = true; more;) {
        arena_reset(c->arena);
        int got = frame_next(in, &m, c->arena, &item, &e);
        if (got < 0) {
            err_add(&e, "the broker's answer");
            request_end(c, p, &e);
            return;
        }
        more = got > 0;
        if (got > 0 && deliver(c, p, &m, &item)) {
            whole = true;
            break;
        }
    }
    if (whole)
        request_end(c, p, NULL);
}

void request_error(struct client *c, struct pending *p, const struct msg_error *m) {
    struct err e = {0};
    enum err_code code = err_code_known(m->code) ? (enum err_code)m->code : ERR_CONFLICT;
    if (code == ERR_NO_HELLO || code == ERR_STARTING) {
        /* It was not looked at: nothing was done, and it goes out again with the next WELCOME. What
         * was said more than once may have been done the first time. */
        if (p->times == 1)
            p->may_be_done = false;
        return;
    }
    err_set(&e, code, STR_FMT, STR_ARG(m->text));
    e.retry_after_ms = m->retry_after_ms;
    request_end(c, p, &e);
}

/* ---- when the broker does not answer -------------------------------------------------------- */
static void say_expired(const struct client *c, const struct pending *p, struct err *e) {
    const char *verb = verb_def(p->rule->verb)->name;
    if (p->may_be_done && p->effect == REQUEST_CHANGES)
        err_set(e, ERR_UNKNOWN_OUTCOME, "%s: no answer within the time given; it may be done",
                verb);
    else if (client_is_up(c))
        err_set(e, ERR_WAIT_TIMEOUT, "%s: no answer within the time given", verb);
    else
        client_say_unreachable(c, e);
}

void requests_expire(struct client *c) {
    struct mono now = c->config.clock();
    while (mono_reached(now, c->earliest) && c->earliest.ms != MONO_NEVER.ms) {
        struct pending *late = NULL;
        c->earliest = MONO_NEVER;
        for (struct pending *p = c->first; p; p = p->next) {
            if (!late && mono_reached(now, p->deadline))
                late = p;
            if (p->deadline.ms < c->earliest.ms)
                c->earliest = p->deadline;
        }
        if (!late)
            return;
        struct err e = {0};
        say_expired(c, late, &e);
        request_end(c, late, &e);
    }
}

static bool outcome_is_lost(const struct pending *p, bool new_epoch, struct err *e) {
    const char *verb = verb_def(p->rule->verb)->name;
    if (p->delivered && p->rule->until != UNTIL_COUNT)
        return err_set(e, ERR_UNREACHABLE_BROKER, "%s: the broker was lost within its answer",
                       verb) < 0;
    if (new_epoch && p->may_be_done && p->effect == REQUEST_CHANGES)
        return err_set(e, ERR_UNKNOWN_OUTCOME,
                       "%s: the broker was started anew before it answered; it may be done",
                       verb) < 0;
    return false;
}

/* The broker refuses what is numbered below the HELLO that it first heard of us (P-29). So what
 * goes to another life of it is a new request; so is what nobody has looked at yet. */
static void number_anew(struct client *c, bool new_epoch) {
    struct pending *last = c->last;
    for (struct pending *p = c->first, *next; p; p = next) {
        next = p == last ? NULL : p->next;
        if (!new_epoch && p->may_be_done)
            continue;
        link_out(c, p);
        p->sequence = link_sequence(c->link);
        link_in(c, p);
    }
}

void requests_again(struct client *c, bool new_epoch) {
    resize(c);
    number_anew(c, new_epoch);
    /* What callbacks add is behind `last` and was sent by itself. */
    uint64_t last = c->last ? c->last->sequence : 0;
    for (struct pending *p = c->first, *next; p && p->sequence <= last; p = next) {
        struct err e = {0};
        if (outcome_is_lost(p, new_epoch, &e)) {
            uint64_t sequence = p->sequence;
            request_end(c, p, &e);
            for (next = c->first; next && next->sequence <= sequence;)
                next = next->next;
        } else {
            say(c, p);
            next = p->next;
        }
    }
}

void requests_end_all(struct client *c, const struct err *e) {
    while (c->first)
        request_end(c, c->first, e);
}

void requests_forget(struct client *c, client_reply_fn *fn) {
    for (struct pending *p = c->first, *next; p; p = next) {
        next = p->next;
        if (p->fn != fn)
            continue;
        link_out(c, p);
        pending_free(p);
    }
}

void requests_drop(struct client *c) {
    while (c->first) {
        struct pending *p = c->first;
        link_out(c, p);
        pending_free(p);
    }
    MEM_FREE(c->by_sequence);
}
