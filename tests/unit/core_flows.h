/* Jobs with children, as the tests of flows make, end and spawn them. */
#pragma once

#include "common/base/mem.h"
#include "tests/unit/core_world.h"

#define WORKER 9

static inline void may_spawn(struct world *w) {
    struct str kinds[] = {STR("k")};
    core_set_may_spawn(w->core, STR("k"), &(struct str_list){kinds, 1});
}

static inline int set_up(void **state) {
    world_set_up(state);
    may_spawn(*state);
    return 0;
}

static inline struct core_child child(void) {
    struct core_child c = {.payload = STR("")};
    MSG_SET(&c.m, submit, kind, STR("k"));
    return c;
}

static inline struct core_child then(void) {
    struct core_child c = child();
    MSG_SET(&c.m, submit, then, true);
    return c;
}

/* The newest dispatch of that job. */
static inline struct seen given(const struct world *w, uint64_t job) {
    for (uint32_t k = w->n; k-- > 0;)
        if (w->letters[k].verb == VERB_dispatch && w->letters[k].job == job)
            return w->letters[k];
    return (struct seen){0};
}

static inline void end(struct world *w, uint64_t job, uint64_t outcome) {
    struct seen d = given(w, job);
    assert_int_equal(d.job, job);
    world_report(w, d.link, job, d.fence, outcome);
    world_turn(w, 1);
}

static inline void report_with(struct world *w, uint64_t job, const struct core_child *at,
                               uint32_t n) {
    struct seen d = given(w, job);
    struct msg_result m = {0};
    MSG_SET(&m, result, job, job);
    MSG_SET(&m, result, fence, d.fence);
    MSG_SET(&m, result, outcome, OUTCOME_DONE);
    MSG_SET(&m, result, children, n);
    world_begin(w, 1);
    assert_true(core_request(w->core, d.link, ROLE_WORKER, VERB_result, ++w->sequence));
    core_children(w->core, at, n);
    core_item(w->core, &m, STR(""), NULL);
    core_request_end(w->core);
    world_end(w);
}

static inline void end_with(struct world *w, uint64_t job, const struct core_child *at,
                            uint32_t n) {
    report_with(w, job, at, n);
    world_turn(w, 1);
}

static inline uint64_t submit_with(struct world *w, struct msg_submit m,
                                   const struct core_child *at, uint32_t n) {
    MSG_SET(&m, submit, kind, STR("k"));
    MSG_SET(&m, submit, children, n);
    world_begin(w, 1);
    assert_true(core_request(w->core, 1, ROLE_OPERATOR, VERB_submit, ++w->sequence));
    core_children(w->core, at, n);
    core_item(w->core, &m, STR(""), NULL);
    core_request_end(w->core);
    world_end(w);
    world_turn(w, 1);
    return world_last(w, VERB_submitted).id;
}
