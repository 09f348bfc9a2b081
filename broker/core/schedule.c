/* Schedules: a job is submitted whenever it is due, once for each due time.
 *
 * What has been settled, up to `settled_ms`, stands in the record of the schedule, which is written
 * in one row with the job's: a due time at or before it is never run again, whatever crashes and
 * however the wall clock is set. */
#include "broker/core/core_int.h"
#include "common/base/id.h"
#include "common/base/mem.h"

#include <stdio.h>

#define LATE_MS     30000 /* a run that comes later than this was missed */
#define AGAIN_MS    1000  /* until one is tried again for which there was no room */
#define PASS_MAX    1000  /* due times passed over one by one */
#define PAYLOAD_MAX (64U << 10)

/* In one turn, for thousands may be due at the same time: bytes that are put into the journal, and
 * a due time looked for counts as so many. */
#define WORK_MAX    (1U << 20)
#define WORK_OF_DUE 512

static int next_due(const struct core *c, const struct due_rule *r, uint64_t after_ms,
                    uint64_t *due_ms, struct err *e) {
    if (r->cron.len)
        return c->fx.due(c->fx.ctx, r, after_ms, due_ms, e);
    ASSERT(r->interval_ms);
    uint64_t n = after_ms >= r->anchor_ms ? (after_ms - r->anchor_ms) / r->interval_ms + 1 : 1;
    *due_ms = r->anchor_ms + n * r->interval_ms;
    return 0;
}

static uint64_t due_after(struct core *c, const struct schedule *s, uint64_t after_ms) {
    struct err e = {0};
    uint64_t due_ms = 0;
    c->schedule_work += WORK_OF_DUE;
    return next_due(c, &s->rule, after_ms, &due_ms, &e) == 0 ? due_ms : 0;
}

/* When the run for a due time begins: before the next one is due, or that would take its place. */
static uint64_t start_of(struct core *c, const struct schedule *s, uint64_t due_ms) {
    if (!s->jitter_ms)
        return due_ms;
    uint64_t next = due_after(c, s, due_ms), most = s->jitter_ms;
    if (next > due_ms && next - due_ms < most)
        most = next - due_ms;
    return due_ms + hash_mix(hash_bytes(0, s->row.name), due_ms) % most;
}

static void note_failure(struct core *c, struct schedule *s, const struct err *e) {
    bool again = s->failure && s->failure->code == e->code;
    mem_free(s->failure);
    s->failure = failure_new(e->code, str_of(e->text));
    if (again)
        return; /* it was told, and is tried again every second */
    char text[320];
    snprintf(text, sizeof text, STR_FMT ": %s", STR_ARG(s->row.name), e->text);
    core_tell(c, EVENT_schedule_refused, str_of(text));
}

/* Waits for the first due time that is not settled. A rule that was understood when it was set may
 * not be any more: its zone is gone. */
static void arm(struct core *c, uint32_t i) {
    struct schedule *s = schedule_at(c, i);
    struct err e = {0};
    s->next_ms = 0;
    if (!s->paused && next_due(c, &s->rule, s->settled_ms, &s->next_ms, &e) < 0)
        note_failure(c, s, &e);
    if (s->next_ms)
        timer_set(c, TIMER_SCHEDULE, i, start_of(c, s, s->next_ms));
    else
        timer_clear(c, TIMER_SCHEDULE, i);
}

/* ---- records -------------------------------------------------------------------------------- */
static void put_live(const struct schedule *s, char *to) {
    for (uint32_t k = 0; k < s->n_live; k++)
        for (uint32_t b = 0; b < 8; b++)
            to[k * 8 + b] = (char)(s->live[k] >> (56 - 8 * b));
}

static void get_live(struct schedule *s, struct str from) {
    s->n_live = 0;
    for (size_t k = 0; k + 8 <= from.len && s->n_live < SCHEDULE_LIVE; k += 8) {
        uint64_t id = 0;
        for (size_t b = 0; b < 8; b++)
            id = id << 8 | (unsigned char)from.at[k + b];
        s->live[s->n_live++] = id;
    }
    s->last_id = s->n_live ? s->live[s->n_live - 1] : 0;
}

void schedule_record(struct core *c, uint32_t i) {
    struct schedule *s = schedule_at(c, i);
    char live[SCHEDULE_LIVE * 8];
    struct msg_rec_schedule m = {0};
    put_live(s, live);
    MSG_SET(&m, rec_schedule, name, s->row.name);
    MSG_SET(&m, rec_schedule, version, ++s->version);
    if (s->removed)
        MSG_SET(&m, rec_schedule, removed, true);
    MSG_SET(&m, rec_schedule, cron, s->rule.cron);
    MSG_SET(&m, rec_schedule, zone, s->rule.zone);
    MSG_SET(&m, rec_schedule, interval_ms, s->rule.interval_ms);
    MSG_SET(&m, rec_schedule, overlap, (uint64_t)s->overlap);
    MSG_SET(&m, rec_schedule, missed, (uint64_t)s->missed);
    MSG_SET(&m, rec_schedule, jitter_ms, s->jitter_ms);
    MSG_SET(&m, rec_schedule, paused, s->paused);
    MSG_SET(&m, rec_schedule, created_ms, s->created_ms);
    MSG_SET(&m, rec_schedule, settled_ms, s->settled_ms);
    MSG_SET(&m, rec_schedule, due_ms, s->due_ms);
    MSG_SET(&m, rec_schedule, runs, s->runs);
    MSG_SET(&m, rec_schedule, skipped, s->skipped);
    MSG_SET(&m, rec_schedule, missed_runs, s->missed_runs);
    MSG_SET(&m, rec_schedule, refused, s->refused);
    if (s->failure)
        MSG_SET(&m, rec_schedule, text, str_make(s->failure->text, s->failure->len));
    MSG_SET(&m, rec_schedule, live, str_make(live, s->n_live * 8));
    struct record r = {.type = REC_SCHEDULE, .other = &m};
    if (!s->removed) {
        r.submit = &s->m;
        r.payload = s->payload;
    }
    if (s->pos)
        c->fx.release(c->fx.ctx, s->pos, s->bytes);
    s->pos = c->fx.append(c->fx.ctx, &r, &s->bytes);
}

static struct str keep(char **to, struct str from) {
    struct str copy = {*to, from.len};
    if (from.len)
        memcpy(*to, from.at, from.len);
    *to += from.len;
    return copy;
}

static size_t texts_of(const struct due_rule *r, const struct msg_submit *m, struct str payload) {
    return r->cron.len + r->zone.len + m->kind.len + m->queue.len + m->tenant.len + m->key.len +
           m->unique.len + m->trace.len + payload.len;
}

/* Takes a copy of all that is borrowed. */
static void set_job(struct core *c, struct schedule *s, const struct due_rule *rule,
                    const struct msg_submit *m, struct str payload) {
    size_t bytes = texts_of(rule, m, payload);
    char *text = mem_alloc(bytes + 1), *to = text;
    s->rule = *rule;
    s->rule.cron = keep(&to, rule->cron);
    s->rule.zone = keep(&to, rule->zone);
    s->m = *m;
    s->m.kind = keep(&to, m->kind);
    s->m.queue = keep(&to, m->queue);
    s->m.tenant = keep(&to, m->tenant);
    s->m.key = keep(&to, m->key);
    s->m.unique = keep(&to, m->unique);
    s->m.trace = keep(&to, m->trace);
    s->payload = keep(&to, payload);
    mem_free(s->text); /* may have been what was copied */
    c->schedule_bytes += bytes - s->text_bytes;
    s->text = text;
    s->text_bytes = (uint32_t)bytes;
}

void schedule_drop(struct core *c, struct schedule *s) {
    c->schedule_bytes -= s->text_bytes;
    MEM_FREE(s->text);
    MEM_FREE(s->failure);
    s->text_bytes = 0;
}

void schedule_replay(struct core *c, struct schedule *s, const struct record *r) {
    const struct msg_rec_schedule *m = r->other;
    s->removed = m->removed;
    if (m->removed)
        return;
    struct due_rule rule = {m->cron, m->zone, m->interval_ms, m->created_ms};
    set_job(c, s, &rule, r->submit, r->payload);
    s->overlap = (enum overlap)m->overlap;
    s->missed = (enum missed)m->missed;
    s->jitter_ms = m->jitter_ms;
    s->paused = m->paused;
    s->created_ms = m->created_ms;
    s->settled_ms = MUTANT(schedule_forgets) ? m->created_ms : m->settled_ms;
    s->due_ms = m->due_ms;
    s->runs = m->runs;
    s->skipped = m->skipped;
    s->missed_runs = m->missed_runs;
    s->refused = m->refused;
    MEM_FREE(s->failure);
    if (m->text.len)
        s->failure = failure_new(ERR_JOB_REJECTED, m->text);
    get_live(s, m->live);
}

void schedules_resume(struct core *c) {
    SLAB_EACH(i, &c->schedules.rows) {
        if (schedule_at(c, i)->removed)
            names_drop(c, &c->schedules, i);
        else
            arm(c, i);
    }
}

/* ---- a run ---------------------------------------------------------------------------------- */
static bool goes_on(const struct core *c, uint64_t id) {
    uint32_t i = job_find(c, id), n = flow_find(c, id);
    return (i && !job_state_terminal(job_at(c, i)->state)) || (n && !flow_at(c, n)->settled);
}

static void prune(const struct core *c, struct schedule *s) {
    uint32_t kept = 0;
    for (uint32_t k = 0; k < s->n_live; k++)
        if (goes_on(c, s->live[k]))
            s->live[kept++] = s->live[k];
    s->n_live = kept;
}

static void cancel_live(struct core *c, struct schedule *s) {
    for (uint32_t k = 0; k < s->n_live; k++) {
        uint32_t i = job_find(c, s->live[k]);
        flow_cancel(c, flow_find(c, s->live[k]));
        if (i && !job_state_terminal(job_at(c, i)->state))
            job_cancel(c, i, STR("its schedule has begun the next run"));
    }
}

static void add_live(struct schedule *s, uint64_t id) {
    if (s->n_live == SCHEDULE_LIVE)
        memmove(s->live, s->live + 1, --s->n_live * sizeof *s->live);
    s->live[s->n_live++] = id;
    s->last_id = id;
}

/* One after the other: by an ordering key of the schedule's own, unless its job has one. */
static struct str queue_key(const struct schedule *s, char *to, size_t size) {
    int n = snprintf(to, size, "schedule:" STR_FMT, STR_ARG(s->row.name));
    return str_make(to, (size_t)n);
}

/* `due_ms` 0: by hand. */
static int submit(struct core *c, uint32_t n, uint64_t due_ms, uint64_t *id, struct err *e) {
    struct schedule *s = schedule_at(c, n);
    struct msg_submit m = s->m;
    char key[NAME_MAX_LEN + 16];
    if (s->overlap == OVERLAP_QUEUE && !MSG_HAS(&m, submit, key))
        MSG_SET(&m, submit, key, queue_key(s, key, sizeof key));
    struct offer o = {.m = &m, .payload = s->payload, .schedule = s->row.name, .due_ms = due_ms};
    struct reply_item item = {0};
    uint64_t after;
    if (offer_resolve(c, &o, e) < 0)
        return -1;
    if (offer_is_unique(&o) && offer_duplicate(c, &o, &item, &after, e))
        return e->code ? -1
                       : err_set(e, ERR_CONFLICT, "its unique key is held by job %s",
                                 id_show(item.id).at);
    if (offer_check_room(c, &o, e) < 0 || offer_take_names(c, &o, e) < 0)
        return -1;
    if (!MUTANT(schedule_torn))
        group_open(c, 2 * (size_t)s->text_bytes);
    offer_accept(c, &o, &item, &after);
    *id = item.id;
    add_live(s, item.id);
    s->runs++;
    c->schedule_runs++;
    MEM_FREE(s->failure);
    if (due_ms)
        s->settled_ms = s->due_ms = due_ms;
    schedule_record(c, n);
    if (!MUTANT(schedule_torn))
        group_close(c);
    return 0;
}

static void settle(struct core *c, uint32_t n, uint64_t due_ms) {
    schedule_at(c, n)->settled_ms = schedule_at(c, n)->due_ms = due_ms;
    schedule_record(c, n);
    arm(c, n);
}

static void run(struct core *c, uint32_t n, uint64_t due_ms) {
    struct schedule *s = schedule_at(c, n);
    struct err e = {0};
    uint64_t id;
    prune(c, s);
    bool full = s->n_live == SCHEDULE_LIVE && s->overlap == OVERLAP_QUEUE;
    if (full || (s->n_live && s->overlap == OVERLAP_SKIP && !MUTANT(schedule_overlaps))) {
        s->skipped++;
        c->schedule_skipped++;
        settle(c, n, due_ms);
        return;
    }
    /* What goes on is better than nothing, which is what would take its place. */
    if (s->overlap == OVERLAP_REPLACE && journal_room_for_jobs(c, &e) == 0)
        cancel_live(c, s);
    if (submit(c, n, due_ms, &id, &e) == 0) {
        if (!MUTANT(schedule_stops) || rng_below(&c->rng, 8))
            arm(c, n);
        return;
    }
    note_failure(c, s, &e);
    if (err_code_class(e.code) == ERR_CLASS_TEMP) { /* the same run again, before any other */
        s->next_ms = due_ms;
        timer_set(c, TIMER_SCHEDULE, n, c->wall.ms + AGAIN_MS);
        return;
    }
    s->refused++;
    c->schedule_refused++;
    settle(c, n, due_ms);
}

static uint64_t last_interval(struct core *c, const struct schedule *s, uint64_t due_ms,
                              uint64_t *passed) {
    *passed = (c->wall.ms - due_ms) / s->rule.interval_ms;
    if (*passed && start_of(c, s, due_ms + *passed * s->rule.interval_ms) > c->wall.ms)
        --*passed;
    return due_ms + *passed * s->rule.interval_ms;
}

/* The last due time that has come, and how many were before it. Those of a cron from `due_ms` on,
 * one by one; where they are too many, from a span before now that has one in it. */
static uint64_t last_cron(struct core *c, const struct schedule *s, uint64_t due_ms,
                          uint64_t *passed) {
    static const uint64_t spans_s[] = {60, 3600, 86400, 31 * 86400, 366 * 86400};
    uint64_t next = due_ms;
    for (*passed = 0; *passed < PASS_MAX; ++*passed, due_ms = next) {
        next = due_after(c, s, due_ms);
        if (!next || start_of(c, s, next) > c->wall.ms)
            return due_ms;
    }
    for (size_t k = 0; k < sizeof spans_s / sizeof *spans_s; k++) {
        uint64_t from = c->wall.ms - s->jitter_ms - spans_s[k] * 1000;
        next = due_after(c, s, from);
        if (from <= due_ms || (next && start_of(c, s, next) <= c->wall.ms)) {
            due_ms = from > due_ms ? next : due_ms;
            break;
        }
    }
    for (uint64_t n = 0; n < PASS_MAX; n++, due_ms = next) {
        next = due_after(c, s, due_ms);
        if (!next || start_of(c, s, next) > c->wall.ms)
            break;
    }
    return due_ms;
}

bool schedules_had_their_turn(const struct core *c) {
    return c->schedule_work >= WORK_MAX;
}

void schedule_timer(struct core *c, uint32_t n) {
    struct schedule *s = schedule_at(c, n);
    c->schedule_work += 2 * (uint64_t)s->text_bytes + WORK_OF_DUE;
    uint64_t passed, due_ms = s->rule.cron.len ? last_cron(c, s, s->next_ms, &passed)
                                               : last_interval(c, s, s->next_ms, &passed);
    if (c->read_only)
        return; /* the next life of the broker will */
    s->missed_runs += passed;
    c->schedule_missed += passed;
    bool late = c->wall.ms > start_of(c, s, due_ms) + LATE_MS;
    if (late && s->missed == MISSED_NONE) {
        s->missed_runs++;
        c->schedule_missed++;
        settle(c, n, due_ms);
        return;
    }
    run(c, n, due_ms);
}

/* ---- requests ------------------------------------------------------------------------------- */
static int check_rule(const struct core *c, const struct msg_schedule *m, struct due_rule *rule,
                      struct err *e) {
    uint64_t due_ms;
    *rule = (struct due_rule){m->cron, m->zone, m->interval_ms, c->wall.ms};
    if (!m->cron.len == !m->interval_ms)
        return err_set(e, ERR_BAD_VALUE, "schedule: has either cron or interval_ms");
    if (m->zone.len && !m->cron.len)
        return err_set(e, ERR_BAD_VALUE, "schedule.zone: an interval has none");
    if (next_due(c, rule, c->wall.ms, &due_ms, e) < 0)
        return err_add(e, "schedule");
    if (!due_ms)
        return err_set(e, ERR_BAD_VALUE, "schedule.cron: it is never due");
    return 0;
}

/* What makes no sense for a job that is submitted by nobody, again and again. */
static int check_job(struct core *c, const struct core_child *job, struct err *e) {
    const struct msg_submit *m = &job->m;
    const struct {
        uint64_t bit;
        const char *name;
    } others[] = {{MSGBIT_submit_delay_ms, "delay_ms"}, {MSGBIT_submit_run_at_ms, "run_at_ms"},
                  {MSGBIT_submit_watch, "watch"},       {MSGBIT_submit_attach, "attach"},
                  {MSGBIT_submit_grace_ms, "grace_ms"}, {MSGBIT_submit_children, "children"},
                  {MSGBIT_submit_then, "then"},         {MSGBIT_submit_parent, "parent"},
                  {MSGBIT_submit_fence, "fence"},       {MSGBIT_submit_index, "index"}};
    for (size_t n = 0; n < sizeof others / sizeof *others; n++)
        if (m->has & others[n].bit)
            return err_set(e, ERR_BAD_VALUE, "submit.%s: not for a schedule", others[n].name);
    if (MSG_HAS(m, submit, durability) && m->durability == DURABLE_NONE)
        return err_set(e, ERR_BAD_VALUE, "submit.durability: none is not for a schedule");
    if (job->payload.len > PAYLOAD_MAX)
        return err_set(e, ERR_TOO_LARGE, "payload: %zu bytes, at most %u for a schedule",
                       job->payload.len, PAYLOAD_MAX);
    struct offer o = {.m = m, .payload = job->payload};
    return offer_resolve(c, &o, e);
}

static int check_place(struct core *c, uint32_t i, const struct due_rule *rule,
                       const struct core_child *job, struct err *e) {
    uint64_t more = texts_of(rule, &job->m, job->payload);
    uint64_t had = i ? schedule_at(c, i)->text_bytes : 0;
    if (!i && c->schedules.index.n >= c->config.schedules_max)
        return err_set(e, ERR_BUSY, "there are %u schedules, the bound", c->config.schedules_max);
    if (c->schedule_bytes - had + more > c->config.schedules_bytes)
        return err_set(e, ERR_BUSY, "the jobs of all schedules would have %llu bytes, at most %llu",
                       (unsigned long long)(c->schedule_bytes - had + more),
                       (unsigned long long)c->config.schedules_bytes);
    return journal_room_for_jobs(c, e);
}

static bool same_rule(const struct due_rule *a, const struct due_rule *b) {
    return str_eq(a->cron, b->cron) && str_eq(a->zone, b->zone) && a->interval_ms == b->interval_ms;
}

/* What is set again goes on where it is, unless it is due at other times now. */
static uint64_t set(struct core *c, const struct msg_schedule *m, struct due_rule *rule,
                    const struct core_child *job) {
    uint32_t i = names_find(&c->schedules, m->name);
    bool goes_on = i && same_rule(&schedule_at(c, i)->rule, rule);
    if (!i)
        i = schedule_take(c, m->name);
    struct schedule *s = schedule_at(c, i);
    if (goes_on)
        rule->anchor_ms = s->created_ms;
    set_job(c, s, rule, &job->m, job->payload);
    s->created_ms = rule->anchor_ms;
    if (!goes_on || s->paused)
        s->settled_ms = s->settled_ms > c->wall.ms && goes_on ? s->settled_ms : c->wall.ms;
    s->overlap = (enum overlap)m->overlap;
    s->missed = (enum missed)m->missed;
    s->jitter_ms = m->jitter_ms;
    if (MSG_HAS(m, schedule, paused))
        s->paused = m->paused;
    schedule_record(c, i);
    arm(c, i);
    return s->pos;
}

void on_set_schedule(struct core *c, const void *message, struct str payload) {
    const struct msg_schedule *m = message;
    const struct core_child *job = c->request.children.at;
    struct due_rule rule;
    struct err e = {0};
    uint64_t after = 0;
    (void)payload;
    if (check_rule(c, m, &rule, &e) == 0 && check_job(c, job, &e) == 0 &&
        check_place(c, names_find(&c->schedules, m->name), &rule, job, &e) == 0)
        after = set(c, m, &rule, job);
    c->stats.refused += e.code != ERR_OK;
    answer(c, &(struct reply_item){.code = (uint32_t)e.code, .count = e.code == ERR_OK}, &e, after);
}

static uint32_t find(struct core *c, struct str name, struct err *e) {
    uint32_t i = names_find(&c->schedules, name);
    if (!i)
        err_set(e, ERR_NOT_FOUND, "schedule '" STR_FMT "': not known", STR_ARG(name));
    return i;
}

static void answer_ref(struct core *c, const struct err *e, uint64_t id, uint64_t after) {
    c->stats.refused += e->code != ERR_OK;
    answer(c, &(struct reply_item){.code = (uint32_t)e->code, .id = id, .count = e->code == ERR_OK},
           e, after);
}

/* Its last record says that it is gone, and is itself not needed: it stays on disk for longer than
 * those before it. */
void on_remove_schedule(struct core *c, const void *message, struct str payload) {
    const struct msg_schedule_ref *m = message;
    struct err e = {0};
    uint64_t after = 0;
    (void)payload;
    uint32_t i = find(c, m->name, &e);
    if (i) {
        schedule_at(c, i)->removed = true;
        schedule_record(c, i);
        after = schedule_at(c, i)->pos;
        names_drop(c, &c->schedules, i);
    }
    answer_ref(c, &e, 0, after);
}

void on_run_schedule(struct core *c, const void *message, struct str payload) {
    const struct msg_schedule_ref *m = message;
    struct err e = {0};
    uint64_t id = 0, after = 0;
    (void)payload;
    uint32_t i = find(c, m->name, &e);
    if (i)
        prune(c, schedule_at(c, i));
    if (i && submit(c, i, 0, &id, &e) == 0)
        after = schedule_at(c, i)->pos;
    answer_ref(c, &e, id, after);
}

/* What was due while it was paused is not run later. */
void on_pause_schedule(struct core *c, const void *message, struct str payload) {
    const struct msg_schedule_ref *m = message;
    struct err e = {0};
    uint64_t after = 0;
    (void)payload;
    uint32_t i = find(c, m->name, &e);
    if (i) {
        struct schedule *s = schedule_at(c, i);
        if (s->paused && m->resume && s->settled_ms < c->wall.ms)
            s->settled_ms = c->wall.ms;
        s->paused = !m->resume;
        schedule_record(c, i);
        arm(c, i);
        after = s->pos;
    }
    answer_ref(c, &e, 0, after);
}

/* All payloads together may be more than an answer should have. */
static void tell(struct core *c, uint32_t i, bool with_payload) {
    struct schedule *s = schedule_at(c, i);
    struct msg_schedule_info m = {0};
    MSG_SET(&m, schedule_info, name, s->row.name);
    if (s->rule.cron.len)
        MSG_SET(&m, schedule_info, cron, s->rule.cron);
    if (s->rule.zone.len)
        MSG_SET(&m, schedule_info, zone, s->rule.zone);
    if (s->rule.interval_ms)
        MSG_SET(&m, schedule_info, interval_ms, s->rule.interval_ms);
    MSG_SET(&m, schedule_info, overlap, (uint64_t)s->overlap);
    MSG_SET(&m, schedule_info, missed, (uint64_t)s->missed);
    MSG_SET(&m, schedule_info, jitter_ms, s->jitter_ms);
    MSG_SET(&m, schedule_info, paused, s->paused);
    MSG_SET(&m, schedule_info, kind, s->m.kind);
    if (s->m.queue.len)
        MSG_SET(&m, schedule_info, queue, s->m.queue);
    if (s->m.tenant.len)
        MSG_SET(&m, schedule_info, tenant, s->m.tenant);
    MSG_SET(&m, schedule_info, created_ms, s->created_ms);
    if (s->next_ms)
        MSG_SET(&m, schedule_info, next_ms, start_of(c, s, s->next_ms));
    if (s->due_ms)
        MSG_SET(&m, schedule_info, last_ms, s->due_ms);
    if (s->last_id)
        MSG_SET(&m, schedule_info, last_id, s->last_id);
    uint32_t last = s->last_id ? job_find(c, s->last_id) : 0;
    if (last)
        MSG_SET(&m, schedule_info, last_state,
                job_at(c, last)->state ? job_at(c, last)->state : (uint64_t)JOB_ready);
    MSG_SET(&m, schedule_info, runs, s->runs);
    MSG_SET(&m, schedule_info, skipped, s->skipped);
    MSG_SET(&m, schedule_info, missed_runs, s->missed_runs);
    MSG_SET(&m, schedule_info, refused, s->refused);
    if (s->failure)
        MSG_SET(&m, schedule_info, text, str_make(s->failure->text, s->failure->len));
    if (s->payload.len && with_payload)
        MSG_SET(&m, schedule_info, size, s->payload.len);
    send_to(c, c->request.link, VERB_schedule_info, c->request.sequence, &m,
            with_payload ? s->payload : STR(""), 0);
}

void on_list_schedules(struct core *c, const void *message, struct str payload) {
    const struct msg_get_status *m = message;
    (void)payload;
    SLAB_EACH(i, &c->schedules.rows)
    if (!m->name.len || str_eq(m->name, schedule_at(c, i)->row.name))
        tell(c, i, m->name.len > 0);
    send_end(c, VERB_schedule_info);
}
