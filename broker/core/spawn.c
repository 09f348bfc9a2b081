/* Children as they come in: behind a submission, behind a result, or while an attempt runs. All of
 * them are taken, or none. */
#include "broker/core/core_int.h"
#include "common/base/id.h"
#include "common/base/mem.h"

/* What a child's record has at most beside its payload and what it was told in texts. */
#define HEAD_BYTES (320 + TRACE_LEN + 3 * NAME_MAX_LEN)
/* A turn may put 8 MiB into the journal; a row of records that does not fit into what is left of a
 * segment leaves as much unused. */
#define BYTES_MAX (3U << 20)

size_t children_bytes(const struct core_children *k) {
    size_t bytes = 0;
    for (uint32_t n = 0; n < k->n; n++) {
        const struct msg_submit *m = &k->at[n].m;
        bytes += HEAD_BYTES + m->key.len + m->unique.len + k->at[n].payload.len;
    }
    return bytes;
}

/* ---- may they come in? ---------------------------------------------------------------------- */
static int check_fields(const struct msg_submit *m, struct err *e) {
    const struct {
        uint64_t bit;
        const char *name;
    } others[] = {{MSGBIT_submit_tenant, "tenant"},     {MSGBIT_submit_durability, "durability"},
                  {MSGBIT_submit_watch, "watch"},       {MSGBIT_submit_attach, "attach"},
                  {MSGBIT_submit_grace_ms, "grace_ms"}, {MSGBIT_submit_children, "children"},
                  {MSGBIT_submit_parent, "parent"},     {MSGBIT_submit_fence, "fence"},
                  {MSGBIT_submit_index, "index"}};
    for (size_t n = 0; n < sizeof others / sizeof *others; n++)
        if (m->has & others[n].bit)
            return err_set(e, ERR_BAD_VALUE, "submit.%s: not for a child", others[n].name);
    if (m->then && (MSG_HAS(m, submit, delay_ms) || MSG_HAS(m, submit, run_at_ms)))
        return err_set(e, ERR_BAD_VALUE, "submit.then: waits for its parent, not for a time");
    return 0;
}

static int check_kind(const struct core *c, const struct offer *o, struct err *e) {
    const struct kind *k = kind_at(c, o->parent->kind);
    if (!o->parent->by_worker || kind_may_spawn(k, o->m->kind))
        return 0;
    return err_set(e, ERR_BAD_ROLE,
                   "kinds." STR_FMT ".may_spawn: '" STR_FMT "' is not in that list of the "
                   "configuration",
                   STR_ARG(k->row.name), STR_ARG(o->m->kind));
}

/* A name that nobody holds may make room for the next one. */
static void hold_names(struct core *c, const struct offer *o) {
    names_hold(&c->queues, o->queue);
    names_hold(&c->tenants, o->tenant);
}

static void let_go_names(struct core *c, const struct offer *offers, uint32_t n) {
    for (uint32_t k = 0; k < n; k++) {
        names_let_go(&c->queues, offers[k].queue);
        names_let_go(&c->tenants, offers[k].tenant);
    }
}

static int check_each(struct core *c, const struct parent *parent, const struct core_children *k,
                      struct offer *out, struct err *e) {
    uint32_t intervals = 0;
    for (uint32_t n = 0; n < k->n; n++) {
        struct offer *o = &out[n];
        *o = (struct offer){.m = &k->at[n].m,
                            .payload = k->at[n].payload,
                            .parent = parent,
                            .new_intervals = intervals};
        if (check_fields(o->m, e) < 0 || check_kind(c, o, e) < 0 || offer_resolve(c, o, e) < 0 ||
            offer_take_names(c, o, e) < 0) {
            let_go_names(c, out, n);
            return err_add(e, "child %u", n);
        }
        hold_names(c, o);
        intervals += key_is_new(c, o->queue, o->tenant, o->m->key, o->m->interval_ms);
    }
    return 0;
}

static int check_flow(const struct core *c, const struct parent *parent, uint32_t n,
                      struct err *e) {
    const struct core_config *k = &c->config;
    uint32_t own = parent->slot ? job_flow(c, job_at(c, parent->slot)) : 0;
    uint32_t up = parent->slot ? job_at(c, parent->slot)->up : 0;
    uint32_t depth = own ? flow_at(c, own)->depth : up ? flow_at(c, up)->depth + 1U : 1;
    if (depth > k->flow_depth_max)
        return err_set(e, ERR_TOO_LARGE, "children would be %u deep, at most %u", depth,
                       k->flow_depth_max);
    uint32_t top = own ? own : up;
    uint32_t below = top ? flow_at(c, flow_root(c, top))->all.total : 0;
    if (below > k->flow_jobs_max || n > k->flow_jobs_max - below)
        return err_set(e, ERR_TOO_LARGE, "its flow would have %llu jobs, at most %u",
                       (unsigned long long)below + n, k->flow_jobs_max);
    if (!own && c->flows.used >= k->flows_max)
        return err_set(e, ERR_BUSY, "%u jobs with children are held, the bound is %u",
                       c->flows.used, k->flows_max);
    return 0;
}

static int check_room(const struct core *c, const struct core_children *k, size_t beside,
                      struct err *e) {
    size_t bytes = children_bytes(k);
    uint32_t half = c->config.group_max / 2, most = half < BYTES_MAX ? half : BYTES_MAX;
    uint64_t live = c->jobs.used - c->kept[0].n - c->kept[1].n;
    if (bytes > most)
        return err_set(e, ERR_TOO_LARGE, "children: %zu bytes with their heads, at most %u", bytes,
                       most);
    if (!group_fits(c, bytes + beside))
        return err_set(e, ERR_TOO_LARGE,
                       "children: %zu bytes with their heads beside %zu of their parent, together "
                       "at most %u (journal.segment_size)",
                       bytes, beside, c->config.group_max);
    if (live + k->n > c->config.jobs_max)
        return err_set(e, ERR_BUSY, "%u jobs wait or run, at most %u", (unsigned)live,
                       c->config.jobs_max);
    uint32_t uniques = 0;
    for (uint32_t n = 0; n < k->n; n++)
        uniques += MSG_HAS(&k->at[n].m, submit, unique);
    if (uniques && c->uniques.used + uniques > c->config.windows_max)
        return err_set(e, ERR_BUSY, "%u unique keys are held, the bound is %u", c->uniques.used,
                       c->config.windows_max);
    return journal_room_for_jobs(c, e);
}

int children_check(struct core *c, const struct parent *parent, const struct core_children *k,
                   struct offer *out, struct err *e) {
    if (parent->is_volatile)
        return err_set(e, ERR_BAD_VALUE, "children: not of a job of durability none");
    if (check_flow(c, parent, k->n, e) < 0 || check_room(c, k, parent->beside, e) < 0)
        return -1;
    return check_each(c, parent, k, out, e);
}

struct parent parent_of(const struct core *c, uint32_t i) {
    const struct job *j = job_at(c, i);
    struct parent p = {.slot = i,
                       .kind = line_at(c, j->line)->kind,
                       .tenant = job_tenant(c, j)->row.name,
                       .priority = j->priority,
                       .is_volatile = job_is(j, JOB_IS_VOLATILE),
                       .by_worker = true};
    p.traced = job_trace(c, i, &p.trace);
    return p;
}

/* ---- in ------------------------------------------------------------------------------------- */
/* A second then, and what is a duplicate, are passed over. */
static void accept_child(struct core *c, const struct offer *o) {
    struct reply_item unused = {0};
    struct err e = {0};
    uint64_t after = 0;
    uint32_t own = job_flow(c, job_at(c, o->parent->slot));
    if (o->m->then && own && flow_at(c, own)->then_open)
        return;
    if (!offer_is_unique(o) || !offer_duplicate(c, o, &unused, &after, &e))
        offer_accept(c, o, &unused, &after);
}

void children_accept(struct core *c, const struct core_children *k, const struct offer *offers) {
    for (uint32_t n = 0; n < k->n; n++)
        accept_child(c, &offers[n]);
    let_go_names(c, offers, k->n);
}

/* ---- kept for later ------------------------------------------------------------------------- */
static struct str keep(char **to, struct str s) {
    struct str copy = {*to, s.len};
    if (s.len)
        memcpy(*to, s.at, s.len);
    *to += s.len;
    return copy;
}

struct core_child *children_copy(const struct core_children *k) {
    size_t bytes = k->n * sizeof *k->at;
    for (uint32_t n = 0; n < k->n; n++) {
        const struct msg_submit *m = &k->at[n].m;
        bytes += m->kind.len + m->queue.len + m->key.len + m->unique.len + m->trace.len +
                 m->tenant.len + k->at[n].payload.len;
    }
    struct core_child *copy = mem_alloc(bytes);
    char *to = (char *)(copy + k->n);
    for (uint32_t n = 0; n < k->n; n++) {
        struct msg_submit *m = &copy[n].m;
        copy[n] = k->at[n];
        m->kind = keep(&to, m->kind);
        m->queue = keep(&to, m->queue);
        m->tenant = keep(&to, m->tenant);
        m->key = keep(&to, m->key);
        m->unique = keep(&to, m->unique);
        m->trace = keep(&to, m->trace);
        copy[n].payload = keep(&to, copy[n].payload);
    }
    return copy;
}

/* ---- while an attempt runs ------------------------------------------------------------------ */
static void answer_spawn(struct core *c, const struct msg_submit *m, const struct err *e,
                         uint64_t after) {
    struct msg_spawned a = {0};
    MSG_SET(&a, spawned, code, (uint64_t)e->code);
    if (MSG_HAS(m, submit, parent))
        MSG_SET(&a, spawned, job, m->parent);
    if (MSG_HAS(m, submit, fence))
        MSG_SET(&a, spawned, fence, m->fence);
    if (MSG_HAS(m, submit, index))
        MSG_SET(&a, spawned, index, m->index);
    if (e->code) {
        MSG_SET(&a, spawned, text, str_of(e->text));
        c->stats.refused++;
    }
    send_to(c, c->request.link, VERB_spawned, c->request.sequence, &a, STR(""), after);
}

/* Which child the attempt has to name next. */
static uint32_t next_index(const struct core *c, const struct job *j) {
    uint32_t own = job_flow(c, j);
    return own && flow_at(c, own)->fence == j->fence ? flow_at(c, own)->spawned : 0;
}

static uint64_t spawn(struct core *c, uint32_t i, const struct msg_submit *m, struct str payload,
                      struct err *e) {
    struct core_child child = {*m, payload};
    struct core_children one = {&child, 1};
    struct offer offer;
    child.m.has &= ~(MSGBIT_submit_parent | MSGBIT_submit_fence | MSGBIT_submit_index);
    struct parent parent = parent_of(c, i);
    if (children_check(c, &parent, &one, &offer, e) < 0)
        return 0;
    struct flow *f = flow_at(c, job_need_flow(c, i));
    f->fence = job_at(c, i)->fence;
    f->spawned = (uint32_t)m->index + 1;
    group_open(c, children_bytes(&one));
    children_accept(c, &one, &offer);
    flow_record(c, job_flow(c, job_at(c, i)));
    group_close(c);
    return f->pos;
}

void on_spawn(struct core *c, const void *message, struct str payload) {
    const struct msg_submit *m = message;
    struct err e = {0};
    uint64_t after = 0;
    if (!MSG_HAS(m, submit, parent) || !MSG_HAS(m, submit, fence) || !MSG_HAS(m, submit, index)) {
        err_set(&e, ERR_MISSING_FIELD, "spawn: names parent, fence and index");
        answer_spawn(c, m, &e, 0);
        return;
    }
    uint32_t i = job_find(c, m->parent);
    if (!i || !attempt_is_current(c, i, m->fence)) {
        attempt_refuse_stale(c, m->parent, m->fence);
        return;
    }
    uint32_t next = next_index(c, job_at(c, i));
    if (job_at(c, i)->state == JOB_cancelling)
        err_set(&e, ERR_CANCELLED, "job %s is being cancelled", id_show(m->parent).at);
    else if (m->index > next)
        err_set(&e, ERR_BAD_VALUE, "submit.index: %u, the next is %u", (unsigned)m->index, next);
    else if (m->index < next && !MUTANT(flow_spawn_twice))
        after = flow_at(c, job_flow(c, job_at(c, i)))->pos;
    else if (c->read_only)
        return; /* it will be said to the broker's next life */
    else
        after = spawn(c, i, m, payload, &e);
    answer_spawn(c, m, &e, MUTANT(flow_spawned_early) ? 0 : after);
}
