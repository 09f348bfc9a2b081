/* Who wants to know how a flow goes: WATCH_FLOW, FLOW_INFO. */
#include "broker/core/core_int.h"
#include "common/base/id.h"

#define TELL_MS 100 /* no watcher is told more often */

static struct watch *watch_at(const struct core *c, uint32_t wi) {
    return slab_at(&c->watches, wi);
}

static void tell(struct core *c, uint32_t n, uint64_t link, uint64_t sequence) {
    const struct flow *f = flow_at(c, n);
    struct msg_flow_info m = {0};
    MSG_SET(&m, flow_info, code, 0);
    MSG_SET(&m, flow_info, id, f->id);
    MSG_SET(&m, flow_info, total, f->all.total);
    MSG_SET(&m, flow_info, done, f->all.ended[0]);
    MSG_SET(&m, flow_info, dead, f->all.ended[1]);
    MSG_SET(&m, flow_info, cancelled, f->all.ended[2]);
    MSG_SET(&m, flow_info, expired, f->all.ended[3]);
    uint64_t state = f->end ? f->end : f->job ? job_at(c, f->job)->state : 0;
    if (f->end || f->job)
        MSG_SET(&m, flow_info, state, state ? state : (uint64_t)JOB_ready);
    if (f->settled)
        MSG_SET(&m, flow_info, settled, true);
    enum err_code doom = flow_doom_of(c, n);
    if (doom)
        MSG_SET(&m, flow_info, error, (uint64_t)doom);
    /* A job without children has no record but its own. */
    uint64_t own = f->job ? job_at(c, f->job)->state_pos : 0, pos = f->pos > own ? f->pos : own;
    bool commits = f->settled && pos >= c->durable;
    send_to(c, link, VERB_flow_info, sequence, &m, STR(""), commits ? pos : 0);
}

/* ---- who ------------------------------------------------------------------------------------ */
static bool watches(const struct core *c, uint32_t n, uint32_t session) {
    uint32_t wi = flow_at(c, n)->watchers;
    while (wi && watch_at(c, wi)->session != session)
        wi = watch_at(c, wi)->job_next;
    return wi != 0;
}

/* Out of the flow's list; the session's is its own affair. What is watched is there until the last
 * watcher goes. */
void flow_unlink_watch(struct core *c, uint32_t wi) {
    uint32_t n = watch_at(c, wi)->flow;
    uint32_t *at = &flow_at(c, n)->watchers;
    while (*at != wi)
        at = &watch_at(c, *at)->job_next;
    *at = watch_at(c, wi)->job_next;
    if (!flow_at(c, n)->watchers)
        flow_let_go(c, n);
}

static void unwatch(struct core *c, uint32_t n) {
    for (uint32_t wi = flow_at(c, n)->watchers, next; wi; wi = next) {
        next = watch_at(c, wi)->job_next;
        watch_drop(c, wi); /* the last one may take the flow with it */
    }
}

static bool may_watch(const struct core *c, struct err *e) {
    if (c->watches.used < c->config.watches_max)
        return true;
    err_set(e, ERR_BUSY, "%u watches are held, the bound is %u", c->watches.used,
            c->config.watches_max);
    return false;
}

/* The flow that is asked for, whose job may be forgotten; one is made for a job without children.
 * 0: an error. */
static uint32_t flow_asked(struct core *c, uint64_t id, struct err *e) {
    uint32_t i = job_find_seen(c, id), n = i ? job_flow(c, job_at(c, i)) : 0;
    if (!i && !rights_bound(c))
        n = flow_find(c, id);
    if (n)
        return n;
    if (!i)
        err_set(e, ERR_NOT_FOUND, "job %s: not known, or past retention", id_show(id).at);
    else if (c->flows.used >= c->config.flows_max)
        err_set(e, ERR_BUSY, "%u jobs with children are held, the bound is %u", c->flows.used,
                c->config.flows_max);
    else if (may_watch(c, e))
        return job_need_flow(c, i);
    return 0;
}

static void watch(struct core *c, uint32_t n, uint32_t session) {
    uint32_t wi = slab_take(&c->watches);
    struct flow *f = flow_at(c, n);
    *watch_at(c, wi) = (struct watch){.flow = n, .job_next = f->watchers};
    watch_link_session(c, wi, session);
    if (!f->watchers)
        f->refs++;
    f->watchers = wi;
}

/* ---- news ----------------------------------------------------------------------------------- */
void flow_tell(struct core *c, uint32_t n) {
    struct flow *f = flow_at(c, n);
    f->told_ms = c->now.ms;
    for (uint32_t wi = f->watchers; wi; wi = watch_at(c, wi)->job_next)
        tell(c, n, session_at(c, watch_at(c, wi)->session)->link, 0);
    if (f->settled)
        unwatch(c, n);
}

void flow_timer(struct core *c, uint32_t n) {
    bool stays = flow_at(c, n)->job != 0;
    flow_tell(c, n);
    if (stays)
        flow_unneeded(c, n);
}

/* Soon: what ends together is told together. */
void flow_news(struct core *c, uint32_t n) {
    struct flow *f = flow_at(c, n);
    if (!f->watchers)
        return;
    uint64_t at = f->told_ms + TELL_MS;
    if (!f->timer)
        timer_set(c, TIMER_FLOW, n, at > c->now.ms ? at : c->now.ms);
}

static void refuse(struct core *c, uint64_t id, const struct err *e) {
    struct msg_flow_info m = {0};
    MSG_SET(&m, flow_info, code, (uint64_t)e->code);
    MSG_SET(&m, flow_info, id, id);
    MSG_SET(&m, flow_info, text, str_of(e->text));
    c->stats.refused++;
    send_to(c, c->request.link, VERB_flow_info, c->request.sequence, &m, STR(""), 0);
}

void on_watch_flow(struct core *c, const void *message, struct str payload) {
    const struct msg_get_job *m = message;
    uint32_t session = c->request.session_index;
    struct err e = {0};
    (void)payload;
    uint32_t n = flow_asked(c, m->id, &e);
    bool goes_on = n && !flow_at(c, n)->settled && !watches(c, n, session);
    if (!n || (goes_on && !may_watch(c, &e))) {
        refuse(c, m->id, &e);
        return;
    }
    if (goes_on)
        watch(c, n, session);
    tell(c, n, c->request.link, c->request.sequence);
    flow_unneeded(c, n);
}
