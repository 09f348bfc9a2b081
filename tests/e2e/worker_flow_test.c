/* Jobs that spawn others, with the real broker and workers. */
#include "common/os/clock.h"
#include "tests/e2e/flow_tree.h"
#include "tests/e2e/worker_process.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* A lease of 300 ms: who is killed is missed soon. */
#define YAML                                                                                       \
    "broker:\n  heartbeat: 100ms\n  heartbeats_missed: 3\n"                                        \
    "journal:\n  segment_size: 8MiB\n  disk_min_free: 0\n"

struct scene {
    struct broker b;
    struct worker first, second;
    struct client *c;
};

static int set_up(void **state) {
    static struct scene s;
    s = (struct scene){0};
    broker_make(&s.b, YAML);
    broker_start(&s.b);
    s.c = worker_client(&s.b);
    worker_start(&s.first, &s.b, "--slots 4 --prefetch 20", NULL);
    worker_await_workers(s.c, 1);
    *state = &s;
    return 0;
}

static int tear_down(void **state) {
    struct scene *s = *state;
    client_destroy(&s->c);
    worker_remove(&s->first);
    worker_remove(&s->second);
    broker_remove(&s->b);
    return 0;
}

/* Waits until `reached` is true of what is known of the job. */
static struct msg_job_info await_job(struct scene *s, uint64_t id,
                                     bool (*reached)(const struct msg_job_info *j, uint64_t what),
                                     uint64_t what) {
    struct mono deadline = worker_deadline();
    struct msg_job_info j;
    struct err e = {0};
    do {
        if (flow_job(s->c, id, &j, &e) < 0 && e.code != ERR_UNKNOWN_OUTCOME)
            fail_msg("%s", e.text);
        if (mono_reached(clock_mono(), deadline))
            fail_msg("state %s, %u of %u jobs below it have ended", job_state_name(j.state),
                     (unsigned)(j.below_done + j.below_dead + j.below_cancelled),
                     (unsigned)j.below);
    } while (!reached(&j, what));
    return j;
}

static bool is_settled(const struct msg_job_info *j, uint64_t what) {
    (void)what;
    return j->settled;
}

static bool has_below(const struct msg_job_info *j, uint64_t what) {
    return j->below >= what;
}

static uint64_t submit_shape(struct scene *s, const struct flow_shape *shape, uint32_t number) {
    char json[256];
    flow_payload(shape, number, json, sizeof json);
    return worker_submit(s->c, "spawn", json);
}

static void check_shape(struct scene *s, uint64_t id, const struct flow_shape *shape) {
    struct flow_found found = {0};
    struct err e = {0};
    await_job(s, id, is_settled, 0);
    if (flow_check(s->c, id, shape, &found, &e) < 0)
        fail_msg("%s", e.text);
    assert_int_equal(found.jobs, flow_below(shape) + 1);
}

/* ---- flows that go well --------------------------------------------------------------------- */
/* P-81, P-84 */
static void test_settles(void **state) {
    struct scene *s = *state;
    const struct flow_shape wide = {.children = 400, .depth = 1, .then = true};
    const struct flow_shape deep = {.children = 5, .depth = 3, .then = true};
    uint64_t ids[2] = {submit_shape(s, &wide, 0), submit_shape(s, &deep, 1)};
    check_shape(s, ids[0], &wide);
    check_shape(s, ids[1], &deep);
    assert_int_equal(worker_status(s->c).stale_fences, 0);
}

/* P-83 */
static void test_now(void **state) {
    struct scene *s = *state;
    const struct flow_shape shape = {.children = 100, .depth = 1, .now = true, .then = true};
    check_shape(s, submit_shape(s, &shape, 0), &shape);
}

struct told {
    struct scene *s;
    uint64_t then;
};

static void take_then(void *ctx, const struct client_reply *r) {
    struct told *t = ctx;
    const struct msg_job_info *m = r->message;
    if (MSG_HAS(m, job_info, id) && m->then)
        t->then = m->id;
}

static uint64_t then_of(struct scene *s, uint64_t parent) {
    struct told t = {.s = s};
    struct msg_list_jobs m = {0};
    struct err e = {0};
    MSG_SET(&m, list_jobs, parent, parent);
    if (client_call(s->c, VERB_list_jobs, &(struct client_item){.message = &m}, 1, take_then, &t,
                    worker_deadline(), &e) < 0)
        fail_msg("%s", e.text);
    return t.then;
}

/* P-84, P-85: by default it runs however the others ended, and is told how. */
static void test_is_told(void **state) {
    struct scene *s = *state;
    uint64_t id =
        worker_submit(s->c, "spawn",
                      "{\"children\":3,\"kind\":\"fail\",\"payload\":{\"class\":\"perm\"},"
                      "\"then\":{\"kind\":\"spawn\",\"payload\":{\"children\":0}}}");
    await_job(s, id, is_settled, 0);
    struct client_finished end = CLIENT_FINISHED;
    struct err e = {0};
    if (client_wait(s->c, then_of(s, id), worker_deadline(), &end, &e) < 0)
        fail_msg("%s", e.text);
    struct buf wanted = BUF(256);
    assert_int_equal(
        flow_json("{\"spawned\":0,\"parent_state\":\"done\",\"siblings\":3,\"done\":0,\"dead\":3,"
                  "\"cancelled\":0,\"expired\":0,\"broken\":0}",
                  &wanted, &e),
        0);
    assert_int_equal(end.state, JOB_done);
    assert_int_equal(end.result.len, wanted.len);
    assert_memory_equal(end.result.at, wanted.at, wanted.len);
    buf_destroy(&wanted);
    client_finished_done(&end);
}

/* ---- what is refused ------------------------------------------------------------------------ */
/* P-82: where, and that nothing is left of it. */
static void test_refused(void **state) {
    struct scene *s = *state;
    static const struct {
        const char *payload;
        enum err_code error;
        const char *text;
    } cases[] = {
        {"{\"children\":1000,\"then\":{\"kind\":\"echo\"}}", ERR_TOO_LARGE,
         "children: 1001, at most 1000"},
        {"{\"kind\":\"other\"}", ERR_BAD_ROLE, "may_spawn"},
        {"{\"kind\":\"other\",\"now\":true}", ERR_BAD_ROLE, "may_spawn"},
        {"{\"then\":{}}", ERR_BAD_VALUE, "payload.then.kind: is missing"},
        {"{\"kind\":\"no kind\",\"now\":true}", ERR_BAD_VALUE, "submit.kind"},
    };
    for (size_t n = 0; n < sizeof cases / sizeof *cases; n++) {
        uint64_t id = worker_submit(s->c, "spawn", cases[n].payload);
        struct err e = worker_await_end(s->c, id, JOB_dead);
        assert_int_equal(e.code, cases[n].error);
        if (!strstr(e.text, cases[n].text))
            fail_msg("\"%s\", not \"%s\"", e.text, cases[n].text);
        struct msg_job_info j = worker_await_state(s->c, id, JOB_dead);
        assert_int_equal(j.below, 0);
        assert_int_equal(j.spawned, 0);
    }
}

/* P-52, P-86: a job that waits for its children to be durable obeys; all below it ends. */
static void test_cancel_while_spawning(void **state) {
    struct scene *s = *state;
    uint64_t id =
        worker_submit(s->c, "spawn", "{\"children\":1000000,\"now\":true,\"delay_ms\":3600000}");
    struct msg_cancel_job m = {0};
    struct err e = {0};
    await_job(s, id, has_below, 20);
    MSG_SET(&m, cancel_job, id, id);
    assert_int_equal(client_call(s->c, VERB_cancel_job, &(struct client_item){.message = &m}, 1,
                                 NULL, NULL, worker_deadline(), &e),
                     0);
    struct msg_job_info j = await_job(s, id, is_settled, 0);
    assert_int_equal(j.state, JOB_cancelled);
    assert_int_equal(j.below_cancelled, j.below);
    assert_int_equal(worker_status(s->c).running, 0);
}

/* ---- processes that die --------------------------------------------------------------------- */
/* P-83: of what two attempts spawned under the same unique keys there is one each. */
static void test_worker_killed(void **state) {
    struct scene *s = *state;
    const struct flow_shape shape = {.children = 300, .depth = 1, .now = true, .then = true};
    uint64_t id = submit_shape(s, &shape, 0);
    await_job(s, id, has_below, 30);
    worker_kill(&s->first);
    worker_start(&s->first, &s->b, "--slots 2", NULL);
    check_shape(s, id, &shape);
}

/* P-83: the same attempt goes on where it was. Its children have no unique keys: an index that was
 * taken, in whichever life of the broker, is not taken twice. */
static void test_broker_killed(void **state) {
    struct scene *s = *state;
    const struct flow_shape shape = {.children = 300, .depth = 1, .now = true, .then = true};
    uint64_t id = worker_submit(s->c, "spawn",
                                "{\"children\":300,\"now\":true,\"then\":{\"kind\":\"spawn\","
                                "\"payload\":{\"children\":0}}}");
    for (uint64_t below = 30; below <= 210; below += 60) {
        await_job(s, id, has_below, below);
        broker_kill(&s->b);
        broker_start(&s->b);
    }
    check_shape(s, id, &shape);
    struct msg_job_info j = await_job(s, id, is_settled, 0);
    assert_int_equal(j.attempts, 0); /* that failed */
}

int main(void) {
#define SCENE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        SCENE(test_settles),
        SCENE(test_now),
        SCENE(test_is_told),
        SCENE(test_refused),
        SCENE(test_cancel_while_spawning),
        SCENE(test_worker_killed),
        SCENE(test_broker_killed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
