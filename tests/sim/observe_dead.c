/* Dead letters as LIST_DEAD tells of them, held against the records of ends that were written. */
#include "tests/sim/observe_int.h"

#include "common/base/fingerprint.h"
#include "common/base/id.h"

static uint32_t dead_of(const struct observer *o, uint64_t group) {
    uint32_t n = 0;
    for (uint32_t k = 0; k < o->n; k++)
        n += o->rows[k].ended_state == JOB_dead && (!group || o->rows[k].group == group);
    return n;
}

static void see_group(struct sim *s, const struct msg_dead_info *m) {
    struct observer *o = s->eye;
    bool places = s->broker.core->config.dead_groups_max >= ROWS_MAX / 8;
    uint32_t n = dead_of(o, m->group);
    o->dead_told += (uint32_t)m->count;
    if (m->group == FINGERPRINT_OTHER ? places : places ? m->count != n : m->count > n)
        sim_fail(s, "group %s of dead letters is said to have %llu jobs, it has %u",
                 id_show(m->group).at, (unsigned long long)m->count, n);
}

void see_dead_info(struct sim *s, const struct msg_dead_info *m) {
    struct observer *o = s->eye;
    /* Only the newest are kept there: which ones, is not seen from outside. */
    if (s->broker.core->config.dead_jobs < SIM_JOBS_MAX)
        return;
    if (m->count) {
        see_group(s, m);
        return;
    }
    if (o->dead_told != dead_of(o, 0))
        sim_fail(s, "%u dead letters are listed, there are %u", o->dead_told, dead_of(o, 0));
    o->dead_told = 0;
}
