/* The window: how many payloads stay in memory, and how the others come back in time.
 *
 * A line keeps the bodies of up to window_jobs that wait, and of as many more as workers could take
 * at once, which are gone with the turn; beyond that a waiting job has only its slot. What runs
 * keeps its body, within window_bytes. `ahead` of a lane is its first job that may have no body;
 * when half of the window is used up, reads are asked for from there on, long before those jobs are
 * dispatched. */
#include "broker/core/core_int.h"
#include "common/base/mem.h"

static struct str keep(char **to, struct str s) {
    struct str copy = {*to, s.len};
    if (s.len)
        memcpy(*to, s.at, s.len);
    *to += s.len;
    return copy;
}

struct body *body_new(const struct msg_rec_spec *spec, struct str payload) {
    size_t bytes = sizeof(struct body) + spec->kind.len + spec->queue.len + spec->tenant.len +
                   spec->key.len + spec->unique.len + spec->trace.len + spec->schedule.len +
                   payload.len;
    struct body *b = mem_alloc(bytes);
    b->spec = *spec;
    b->bytes = (uint32_t)bytes;
    b->waits = false;
    char *to = b->data;
    b->spec.kind = keep(&to, spec->kind);
    b->spec.queue = keep(&to, spec->queue);
    b->spec.tenant = keep(&to, spec->tenant);
    b->spec.key = keep(&to, spec->key);
    b->spec.unique = keep(&to, spec->unique);
    b->spec.trace = keep(&to, spec->trace);
    b->spec.schedule = keep(&to, spec->schedule);
    b->payload = keep(&to, payload);
    return b;
}

void body_free(struct body **b) {
    MEM_FREE(*b);
}

static bool in_window(const struct job *j) {
    return !job_is(j, JOB_IS_VOLATILE);
}

void body_waits(struct core *c, uint32_t i) {
    const struct job *j = job_at(c, i);
    struct extra *x = job_extra(c, j);
    if (!in_window(j) || !x || !x->body || x->body->waits)
        return;
    x->body->waits = true;
    line_at(c, j->line)->loaded++;
}

void body_runs(struct core *c, uint32_t i) {
    const struct job *j = job_at(c, i);
    struct extra *x = job_extra(c, j);
    if (!x->body->waits)
        return;
    x->body->waits = false;
    line_at(c, j->line)->loaded--;
}

void body_put(struct core *c, uint32_t i, const struct msg_rec_spec *spec, struct str payload) {
    struct job *j = job_at(c, i);
    struct extra *x = job_need_extra(c, i);
    ASSERT(!x->body);
    x->body = body_new(spec, payload);
    if (in_window(j)) {
        c->stats.body_bytes += x->body->bytes;
        body_waits(c, i);
    } else {
        c->stats.volatile_bytes += x->body->bytes;
    }
}

void body_drop(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    struct extra *x = job_extra(c, j);
    if (!x || !x->body)
        return;
    if (in_window(j)) {
        body_runs(c, i);
        c->stats.body_bytes -= x->body->bytes;
    } else {
        c->stats.volatile_bytes -= x->body->bytes;
    }
    body_free(&x->body);
}

/* Whether workers could take `n` jobs of the kind now. */
static bool would_be_taken(const struct core *c, const struct kind *k, uint32_t n) {
    uint32_t credit = 0;
    if (k->closed)
        return false;
    for (uint32_t w = 0; w < k->n_workers && credit < n; w++)
        credit += worker_credit(worker_at(c, k->workers[w]));
    return credit >= n;
}

bool body_may_stay(const struct core *c, const struct job *j) {
    uint32_t loaded = line_at(c, j->line)->loaded, most = c->config.window_jobs;
    return c->stats.body_bytes <= c->config.window_bytes &&
           (loaded <= most || would_be_taken(c, job_kind(c, j), loaded - most));
}

uint64_t load_start(struct core *c, const struct load *what, uint64_t pos, uint32_t bytes) {
    uint32_t i = slab_take(&c->loads);
    *(struct load *)slab_at(&c->loads, i) = *what;
    c->stats.loads++;
    c->fx.load(c->fx.ctx, pos, bytes, i);
    return i;
}

void body_fetch(struct core *c, uint32_t i) {
    struct job *j = job_at(c, i);
    if (job_is(j, JOB_LOADING) || job_body(c, j))
        return;
    ASSERT(j->body_pos);
    job_mark(j, JOB_LOADING);
    line_at(c, j->line)->loaded++;
    struct load l = {.what = LOAD_DISPATCH, .job = j->id};
    load_start(c, &l, j->body_pos, j->body_bytes);
}

void body_refill(struct core *c, uint32_t lane) {
    struct lane *a = lane_at(c, lane);
    struct line *l = line_at(c, a->line);
    if (!a->ahead || l->loaded > c->config.window_jobs / 2)
        return;
    while (a->ahead && l->loaded < c->config.window_jobs &&
           c->stats.body_bytes <= c->config.window_bytes) {
        body_fetch(c, a->ahead);
        a->ahead = job_at(c, a->ahead)->next;
    }
}

static void body_arrived(struct core *c, uint32_t i, const struct record *r) {
    struct job *j = job_at(c, i);
    job_unmark(j, JOB_LOADING);
    line_at(c, j->line)->loaded--;
    if (job_state_terminal(j->state))
        return;
    if (!job_body(c, j))
        body_put(c, i, r->spec, r->payload);
    if (job_is(j, JOB_TO_SEND) && j->up && flow_stops(c, i))
        return; /* its flow has failed meanwhile */
    if (job_is(j, JOB_TO_SEND))
        dispatch_send(c, i);
    else if (j->state == JOB_running || j->state == JOB_cancelling)
        attempt_learn(c, i);
}

uint64_t core_load_link(const struct core *c, uint64_t token) {
    const struct load *l = slab_at(&c->loads, (uint32_t)token);
    return l->link;
}

void core_loaded(struct core *c, uint64_t token, const struct record *r) {
    struct load l = *(struct load *)slab_at(&c->loads, (uint32_t)token);
    slab_give(&c->loads, (uint32_t)token);
    uint32_t i = job_find(c, l.job);
    switch (l.what) {
    case LOAD_DISPATCH:
        if (i && job_is(job_at(c, i), JOB_LOADING))
            body_arrived(c, i, r);
        return;
    case LOAD_RETRY:
        sweep_loaded(c, &l, r);
        return;
    case LOAD_INFO_BODY:
    case LOAD_INFO_STATE:
    case LOAD_FINISHED:
        info_loaded(c, &l, r);
        return;
    }
}

/* The job's own record cannot be read: it cannot run, and says so. */
static void body_lost(struct core *c, uint32_t i, const struct err *e) {
    struct job *j = job_at(c, i);
    job_unmark(j, JOB_LOADING | JOB_TO_SEND);
    line_at(c, j->line)->loaded--;
    if (job_state_terminal(j->state))
        return;
    job_fail_text(c, i, ERR_CORRUPT, str_of(e->text));
    job_end(c, i, j->state == JOB_cancelling ? JOB_cancelled : JOB_dead, STR(""));
}

void core_load_failed(struct core *c, uint64_t token, const struct err *e) {
    struct load l = *(struct load *)slab_at(&c->loads, (uint32_t)token);
    slab_give(&c->loads, (uint32_t)token);
    job_tell_id(c, EVENT_load_failed, l.job, 0, str_of(e->text));
    uint32_t i = job_find(c, l.job);
    switch (l.what) {
    case LOAD_DISPATCH:
        if (i && job_is(job_at(c, i), JOB_LOADING))
            body_lost(c, i, e);
        return;
    case LOAD_RETRY:
        sweep_loaded(c, &l, NULL);
        return;
    case LOAD_INFO_BODY:
    case LOAD_INFO_STATE:
    case LOAD_FINISHED:
        info_loaded(c, &l, NULL);
        return;
    }
}
