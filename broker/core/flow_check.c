/* What always holds of flows; see check.c. */
#include "broker/core/core_int.h"
#include "common/base/mem.h"

/* Flows: every count is that of the jobs and flows that are there, where they are. */
static void check_flow(const struct core *c, uint32_t n, const uint32_t *refs,
                       const uint32_t *live) {
    const struct flow *f = flow_at(c, n);
    uint32_t ended = f->own.ended[0] + f->own.ended[1] + f->own.ended[2] + f->own.ended[3];
    ASSERT(flow_find(c, f->id) == n && f->refs == refs[n] + f->releases + (f->watchers != 0));
    ASSERT(!f->job || (job_at(c, f->job)->id == f->id && job_is(job_at(c, f->job), JOB_HAS_FLOW)));
    ASSERT(!f->job || job_state_terminal(job_at(c, f->job)->state) == (f->end != 0));
    ASSERT(f->own.total == ended + live[n]);
    ASSERT(f->closed <= ended && f->broken <= f->closed);
    ASSERT(!f->settled || (f->end && f->closed == f->own.total && !f->then_open));
    ASSERT(f->settled || !f->end || f->closed < f->own.total || f->then_open);
    ASSERT(!f->then || (f->then_open && job_is(job_at(c, f->then), JOB_HELD)));
}

void flows_check(const struct core *c) {
    uint32_t end = slab_end(&c->flows), watched = 0;
    uint32_t *refs = mem_zalloc((end + 1) * sizeof *refs);
    uint32_t *live = mem_zalloc((end + 1) * sizeof *live);
    SLAB_EACH(i, &c->jobs) {
        const struct job *j = job_at(c, i);
        uint32_t own = job_flow(c, j);
        refs[own]++;
        refs[j->up]++;
        ASSERT((own != 0) == job_is(j, JOB_HAS_FLOW));
        live[j->up] += !job_state_terminal(j->state) && !job_is(j, JOB_IS_THEN);
        ASSERT(!job_is(j, JOB_HELD) || flow_at(c, j->up)->then == i);
    }
    SLAB_EACH(n, &c->flows)
    refs[flow_at(c, n)->up]++;
    SLAB_EACH(n, &c->flows)
    check_flow(c, n, refs, live);
    SLAB_EACH(n, &c->flows)
    for (uint32_t wi = flow_at(c, n)->watchers; wi; watched++)
        wi = ((const struct watch *)slab_at(&c->watches, wi))->job_next;
    ASSERT(watched <= c->watches.used);
    mem_free(refs);
    mem_free(live);
}
