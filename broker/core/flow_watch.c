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

/* Out of the flow's list; the session's is its own affair. */
void flow_unlink_watch(struct core *c, uint32_t wi) {
    uint32_t *at = &flow_at(c, watch_at(c, wi)->flow)->watchers;
    while (*at != wi)
        at = &watch_at(c, *at)->job_next;
    *at = watch_at(c, wi)->job_next;
}

void flow_unwatch(struct core *c, uint32_t n) {
    struct flow *f = flow_at(c, n);
    while (f->watchers)
        watch_drop(c, f->watchers);
}

static int watch(struct core *c, uint32_t i, struct err *e) {
    uint32_t n = job_flow(c, job_at(c, i));
    uint32_t session = c->request.session_index;
    if (n && watches(c, n, session))
        return 0;
    if (c->watches.used >= c->config.watches_max)
        return err_set(e, ERR_BUSY, "%u watches are held, the bound is %u", c->watches.used,
                       c->config.watches_max);
    if (!n && c->flows.used >= c->config.flows_max)
        return err_set(e, ERR_BUSY, "%u jobs with children are held, the bound is %u",
                       c->flows.used, c->config.flows_max);
    n = job_need_flow(c, i);
    uint32_t wi = slab_take(&c->watches);
    struct flow *f = flow_at(c, n);
    *watch_at(c, wi) = (struct watch){.flow = n, .job_next = f->watchers};
    watch_link_session(c, wi, session);
    f->watchers = wi;
    return 0;
}

/* ---- news ----------------------------------------------------------------------------------- */
void flow_timer(struct core *c, uint32_t n) {
    struct flow *f = flow_at(c, n);
    f->told_ms = c->now.ms;
    for (uint32_t wi = f->watchers; wi; wi = watch_at(c, wi)->job_next)
        tell(c, n, session_at(c, watch_at(c, wi)->session)->link, 0);
    if (f->settled)
        flow_unwatch(c, n);
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
    struct err e = {0};
    (void)payload;
    uint32_t i = job_find(c, m->id);
    uint32_t n = i ? 0 : flow_find(c, m->id);
    if (i && (watch(c, i, &e) < 0))
        refuse(c, m->id, &e);
    else if (i)
        n = job_flow(c, job_at(c, i));
    else if (!n) {
        err_set(&e, ERR_NOT_FOUND, "job %s: not known, or past retention", id_show(m->id).at);
        refuse(c, m->id, &e);
    }
    if (!n)
        return;
    tell(c, n, c->request.link, c->request.sequence);
    if (flow_at(c, n)->settled)
        flow_unwatch(c, n);
}
