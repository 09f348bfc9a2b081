/* What is told of a job outside of the protocol: its trace, and events for the log, which carry
 * job, tenant and trace so that one search finds all that happened to it. */
#include "broker/core/core_int.h"

/* ---- traces --------------------------------------------------------------------------------- */
/* Records of programs that checked nothing may hold any text: such a job has one as if it had come
 * with none. */
struct trace spec_trace(const struct core *c, uint64_t id, const struct msg_rec_spec *s) {
    struct trace t;
    return s->trace.len && trace_read(s->trace, &t) ? t : trace_of_job(c->config.trace_seed, id);
}

bool job_trace(const struct core *c, uint32_t i, struct trace *out) {
    const struct job *j = job_at(c, i);
    const struct extra *x = job_extra(c, j);
    if (!job_is(j, JOB_HAS_TRACE))
        *out = trace_of_job(c->config.trace_seed, j->id);
    else if (x && x->body)
        *out = spec_trace(c, j->id, &x->body->spec);
    else if (x && x->traced)
        *out = x->trace;
    else
        return false; /* it is on disk */
    return true;
}

/* ---- events --------------------------------------------------------------------------------- */
void core_tell(struct core *c, enum core_event what, struct str text) {
    struct event e = {.what = what, .text = text};
    c->fx.event(c->fx.ctx, &e);
}

static void tell(struct core *c, enum core_event what, uint32_t i, uint64_t fence,
                 const struct trace *t, struct str text) {
    const struct job *j = job_at(c, i);
    struct event e = {.what = what,
                      .job = j->id,
                      .fence = fence,
                      .tenant = job_tenant(c, j)->row.name,
                      .trace = t,
                      .text = text};
    c->fx.event(c->fx.ctx, &e);
}

void job_tell_traced(struct core *c, enum core_event what, uint32_t i, const struct trace *t,
                     struct str text) {
    tell(c, what, i, job_at(c, i)->fence, t, text);
}

static const struct trace *trace_for(const struct core *c, enum core_event what, uint32_t i,
                                     struct trace *room) {
    bool wanted = !c->fx.traces || c->fx.traces(c->fx.ctx, what);
    return wanted && job_trace(c, i, room) ? room : NULL;
}

void job_tell(struct core *c, enum core_event what, uint32_t i, struct str text) {
    struct trace t;
    job_tell_traced(c, what, i, trace_for(c, what, i, &t), text);
}

void job_tell_id(struct core *c, enum core_event what, uint64_t id, uint64_t fence,
                 struct str text) {
    uint32_t i = job_find(c, id);
    struct trace t;
    if (i) {
        tell(c, what, i, fence ? fence : job_at(c, i)->fence, trace_for(c, what, i, &t), text);
        return;
    }
    struct event e = {.what = what, .job = id, .fence = fence, .text = text};
    c->fx.event(c->fx.ctx, &e);
}
