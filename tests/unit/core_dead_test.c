/* Dead letters: their groups, the history of a job, what RETRY_JOB does with a group. */
#include "common/base/fingerprint.h"
#include "common/base/mem.h"
#include "tests/unit/core_world.h"

#include <stdio.h>

/* ---- doing ----------------------------------------------------------------------------------- */
static void report(struct world *w, uint64_t link, struct seen d, uint64_t outcome,
                   const char *text) {
    struct msg_result m = {0};
    MSG_SET(&m, result, job, d.job);
    MSG_SET(&m, result, fence, d.fence);
    MSG_SET(&m, result, outcome, outcome);
    MSG_SET(&m, result, text, str_of(text));
    world_ask(w, link, ROLE_WORKER, VERB_result, &m);
    world_turn(w, 1);
}

/* A job that worker 9 rejects with these words. */
static uint64_t die(struct world *w, const char *text) {
    uint64_t id = world_submit(w, (struct msg_submit){0});
    struct seen d = world_last(w, VERB_dispatch);
    assert_true(d.job == id);
    report(w, 9, d, OUTCOME_REJECTED, text);
    return id;
}

static struct world *with_worker(void **state) {
    struct world *w = *state;
    w->journaled = true;
    world_add_worker(w, 9, 4);
    return w;
}

static void list(struct world *w, struct msg_list_dead m) {
    w->n_dead = 0;
    world_ask(w, 1, ROLE_OPERATOR, VERB_list_dead, &m);
}

static uint64_t group_of(const char *text) {
    return fingerprint_of(STR("k"), ERR_JOB_REJECTED, str_of(text));
}

static uint64_t count_of(struct world *w, uint64_t group) {
    list(w, (struct msg_list_dead){0});
    for (uint32_t k = 0; k < w->n_dead; k++)
        if (w->dead[k].group == group)
            return w->dead[k].count;
    return 0;
}

static struct msg_retry_job of_group(uint64_t group) {
    struct msg_retry_job m = {0};
    MSG_SET(&m, retry_job, group, group);
    return m;
}

static void retry(struct world *w, struct msg_retry_job m) {
    world_ask(w, 1, ROLE_OPERATOR, VERB_retry_job, &m);
    for (int k = 0; k < 4; k++)
        world_turn(w, 1);
}

/* ---- groups ---------------------------------------------------------------------------------- */
/* P-96 */
static void what_died_alike_is_one_group(void **state) {
    struct world *w = with_worker(state);
    uint64_t first = die(w, "no page 7");
    die(w, "disk full");
    uint64_t last = die(w, "no page 12");
    list(w, (struct msg_list_dead){0});
    assert_int_equal(w->n_dead, 2);
    const struct msg_dead_info *pages = w->dead[0].count == 2 ? &w->dead[0] : &w->dead[1];
    assert_true(pages->group == group_of("no page 1"));
    assert_int_equal(pages->count, 2);
    assert_int_equal(pages->error, ERR_JOB_REJECTED);
    assert_true(pages->id == last);
    assert_true(pages->first_ms < pages->last_ms);
    assert_string_equal(w->dead_text[pages - w->dead], "no page 12");
    assert_int_equal(world_stats(w).dead_groups, 2);

    struct msg_list_dead one = {0};
    MSG_SET(&one, list_dead, group, group_of("no page 1"));
    list(w, one);
    assert_int_equal(w->n_dead, 2);
    assert_true(w->dead[0].id == last && w->dead[1].id == first);
}

static void a_group_is_listed_in_pages(void **state) {
    struct world *w = with_worker(state);
    uint64_t ids[5];
    for (int k = 0; k < 5; k++)
        ids[k] = die(w, "x");
    struct msg_list_dead m = {0};
    MSG_SET(&m, list_dead, group, group_of("x"));
    MSG_SET(&m, list_dead, limit, 2);
    list(w, m);
    assert_int_equal(w->n_dead, 2);
    uint64_t next = world_last(w, VERB_dead_info).next;
    assert_true(next == ids[3]);
    MSG_SET(&m, list_dead, limit, 3);
    MSG_SET(&m, list_dead, before, next);
    list(w, m);
    assert_int_equal(w->n_dead, 3);
    assert_true(w->dead[2].id == ids[0]);
    assert_int_equal(world_last(w, VERB_dead_info).next, 0);
    struct msg_retry_job again = {0};
    MSG_SET(&again, retry_job, id, ids[3]);
    retry(w, again);
    list(w, m);
    assert_int_equal(world_last(w, VERB_dead_info).code, ERR_NOT_FOUND);
    MSG_SET(&m, list_dead, group, group_of("y"));
    list(w, m);
    assert_int_equal(world_last(w, VERB_dead_info).code, ERR_NOT_FOUND);
}

static void counts_are_the_same_after_a_restart(void **state) {
    struct world *w = with_worker(state);
    die(w, "no page 7");
    die(w, "no page 8");
    uint64_t gone = die(w, "disk full");
    die(w, "disk full");
    struct msg_retry_job again = {0};
    MSG_SET(&again, retry_job, id, gone);
    retry(w, again);
    for (int life = 0; life < 2; life++) {
        assert_int_equal(count_of(w, group_of("no page 1")), 2);
        assert_int_equal(count_of(w, group_of("disk full")), 1);
        assert_int_equal(w->n_dead, 2);
        world_restart(w);
    }
    assert_string_equal(w->dead_text[w->dead[0].count == 2 ? 0 : 1], "no page 8");
}

/* A record of a program that knew of no groups. */
static void older_records_have_groups_too(void **state) {
    struct world *w = with_worker(state);
    die(w, "no page 7");
    for (uint32_t k = 0; k < w->n_journal; k++)
        w->journal[k].state.group = 0;
    world_restart(w);
    assert_int_equal(count_of(w, group_of("no page 1")), 1);
}

static void what_is_forgotten_leaves_its_group(void **state) {
    struct world *w = with_worker(state);
    die(w, "a");
    die(w, "a");
    die(w, "b");
    struct core_config k = w->config;
    k.dead_jobs = 2;
    core_reconfigure(w->core, &k);
    world_turn(w, 1);
    assert_int_equal(count_of(w, group_of("a")), 1);
    k.dead_jobs = 1;
    core_reconfigure(w->core, &k);
    world_turn(w, 1);
    assert_int_equal(count_of(w, group_of("a")), 0);
    assert_int_equal(world_stats(w).dead_groups, 1);
}

static void there_are_so_many_groups(void **state) {
    struct world *w = with_worker(state);
    struct core_config k = w->config;
    k.dead_groups_max = 1;
    core_reconfigure(w->core, &k);
    uint64_t a = die(w, "a");
    die(w, "b");
    die(w, "c");
    assert_int_equal(count_of(w, group_of("a")), 1);
    assert_int_equal(count_of(w, FINGERPRINT_OTHER), 2);
    assert_int_equal(w->n_dead, 2);
    struct msg_retry_job again = {0};
    MSG_SET(&again, retry_job, id, a);
    retry(w, again);
    die(w, "d"); /* its place is free again */
    assert_int_equal(count_of(w, group_of("d")), 1);
    assert_int_equal(count_of(w, FINGERPRINT_OTHER), 2);
    uint32_t before = world_count(w, VERB_dispatch);
    retry(w, of_group(FINGERPRINT_OTHER));
    assert_int_equal(world_count(w, VERB_dispatch) - before, 2);
}

/* ---- running them again ---------------------------------------------------------------------- */
/* P-98 */
static void a_group_runs_again(void **state) {
    struct world *w = with_worker(state);
    die(w, "a 1");
    die(w, "b");
    die(w, "a 2");
    retry(w, of_group(group_of("a 9")));
    assert_int_equal(world_last(w, VERB_outcome).code, 0);
    assert_int_equal(count_of(w, group_of("a 9")), 0);
    assert_int_equal(count_of(w, group_of("b")), 1);
    assert_int_equal(world_stats(w).by_state[JOB_running], 2);
    retry(w, of_group(group_of("a 9")));
    assert_int_equal(world_last(w, VERB_outcome).code, ERR_NOT_FOUND);
    struct msg_retry_job both = of_group(group_of("b"));
    MSG_SET(&both, retry_job, queue, STR("k"));
    retry(w, both);
    assert_int_equal(world_last(w, VERB_outcome).code, ERR_BAD_VALUE);
}

static void a_dry_run_changes_nothing(void **state) {
    struct world *w = with_worker(state);
    uint64_t id = die(w, "a");
    die(w, "a");
    uint64_t running = world_submit(w, (struct msg_submit){0});
    uint32_t before = w->appended[REC_JOB] + w->appended[REC_STATE];
    struct msg_retry_job m = of_group(group_of("a")), all = {0}, one = {0};
    MSG_SET(&m, retry_job, dry_run, true);
    MSG_SET(&all, retry_job, dry_run, true);
    MSG_SET(&all, retry_job, dead, true);
    MSG_SET(&one, retry_job, dry_run, true);
    MSG_SET(&one, retry_job, id, id);
    struct msg_retry_job cases[] = {m, all, one};
    static const uint64_t wanted[] = {2, 2, 1};
    for (int k = 0; k < 3; k++) {
        retry(w, cases[k]);
        assert_int_equal(world_last(w, VERB_outcome).code, 0);
        assert_int_equal(world_last(w, VERB_outcome).count, wanted[k]);
    }
    MSG_SET(&all, retry_job, queue, STR("k"));
    retry(w, all);
    assert_int_equal(world_last(w, VERB_outcome).count, 2);
    MSG_SET(&one, retry_job, id, running);
    retry(w, one);
    assert_int_equal(world_last(w, VERB_outcome).code, ERR_NOT_FINISHED);
    assert_int_equal(w->appended[REC_JOB] + w->appended[REC_STATE], before);
    assert_int_equal(world_stats(w).kept_dead, 2);
    assert_int_equal(world_stats(w).sweeps, 0);
}

/* Others go on while it is worked on: a turn never takes more than its share. */
static void a_large_group_is_paced(void **state) {
    struct world *w = *state;
    const uint32_t n = 10000;
    world_add_worker(w, 9, 1024);
    for (uint32_t done = 0, at = 0; done < n;) {
        world_begin(w, 1);
        for (uint32_t k = 0; k < 1000; k++)
            world_offer(w, (struct msg_submit){0});
        world_end(w);
        world_turn(w, 1);
        world_begin(w, 1);
        for (uint32_t end = w->n; at < end; at++) {
            if (w->letters[at].verb != VERB_dispatch)
                continue;
            world_result(w, 9, w->letters[at].job, w->letters[at].fence, OUTCOME_REJECTED);
            done++;
        }
        world_end(w);
        world_turn(w, 1);
    }
    assert_int_equal(world_stats(w).kept_dead, n);
    uint32_t outcomes = world_count(w, VERB_outcome), turns = 0;
    struct msg_retry_job m = of_group(group_of(""));
    world_ask(w, 1, ROLE_OPERATOR, VERB_retry_job, &m);
    while (world_count(w, VERB_outcome) == outcomes) {
        uint64_t before = world_stats(w).kept_dead;
        uint32_t answered = world_count(w, VERB_submitted);
        world_begin(w, 1);
        world_offer(w, (struct msg_submit){0});
        world_end(w);
        assert_true(before - world_stats(w).kept_dead <= 64);
        assert_int_equal(world_count(w, VERB_submitted), answered + 1);
        assert_true(++turns < 1000);
        core_durable(w->core, w->pos);
    }
    assert_int_equal(world_last(w, VERB_outcome).count, n);
    assert_int_equal(count_of(w, group_of("")), 0);
}

/* ---- history --------------------------------------------------------------------------------- */
static uint32_t lines(const char *text) {
    uint32_t n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static void get(struct world *w, uint64_t id) {
    struct msg_get_job m = {0};
    MSG_SET(&m, get_job, id, id);
    world_ask(w, 1, ROLE_OPERATOR, VERB_get_job, &m);
    world_turn(w, 1);
}

static void wait_until_it_runs(struct world *w) {
    struct msg_heartbeat beat = {0};
    MSG_SET(&beat, heartbeat, epoch, core_epoch(w->core));
    for (int turn = 0; !world_stats(w).by_state[JOB_running]; turn++) {
        assert_true(turn < 1000);
        world_turn(w, 400);
        world_ask(w, 9, ROLE_WORKER, VERB_heartbeat, &beat);
    }
}

/* P-97 */
static void attempts_are_remembered(void **state) {
    struct world *w = with_worker(state);
    struct msg_submit m = {0};
    MSG_SET(&m, submit, attempts_max, 10);
    uint64_t id = world_submit(w, m);
    for (int k = 0; k < 10; k++) {
        char text[40];
        snprintf(text, sizeof text, "try %d\tfailed\nbadly", k);
        report(w, 9, world_last(w, VERB_dispatch), OUTCOME_FAILED, text);
        if (k == 1) {
            get(w, id);
            assert_int_equal(lines(w->history), 2);
            world_restart(w);
            world_add_worker(w, 9, 4);
        }
        if (k < 9)
            wait_until_it_runs(w);
    }
    for (int life = 0; life < 2; life++) {
        get(w, id);
        assert_int_equal(w->info.state, JOB_dead);
        assert_true(w->info.group > FINGERPRINT_OTHER);
        assert_int_equal(lines(w->history), 8);
        assert_non_null(strstr(w->history, "try 2 failed|badly\n"));
        assert_null(strstr(w->history, "try 1"));
        char worker[40];
        snprintf(worker, sizeof worker, "\t%d\t", ERR_JOB_FAILED);
        assert_non_null(strstr(w->history, worker));
        world_restart(w);
    }
    struct msg_retry_job again = {0};
    MSG_SET(&again, retry_job, id, id);
    retry(w, again);
    get(w, id);
    assert_int_equal(lines(w->history), 0);
}

/* The words of a process go to the attempt that ended it, however long they are. */
static void last_words_are_kept(void **state) {
    struct world *w = with_worker(state);
    uint64_t instance[2] = {9, 9};
    uint64_t id = world_submit(w, (struct msg_submit){0});
    char text[900];
    memset(text, 'x', sizeof text);
    struct str first = STR("ended by signal 11; its last words follow\n"), last = STR("boom!");
    memcpy(text, first.at, first.len);
    memcpy(text + sizeof text - last.len - 1, last.at, last.len);
    text[sizeof text - 1] = '\0';
    struct msg_worker_died m = {0};
    MSG_SET(&m, worker_died, instance, str_make(instance, 16));
    MSG_SET(&m, worker_died, crashed, true);
    MSG_SET(&m, worker_died, text, str_of(text));
    world_ask(w, 1, ROLE_OPERATOR, VERB_worker_died, &m);
    world_turn(w, 1);
    get(w, id);
    assert_int_equal(lines(w->history), 1);
    assert_non_null(strstr(w->history, "ended by signal 11; its last words follow|x"));
    assert_non_null(strstr(w->history, "boom!\n"));
}

#define DEAD(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        DEAD(what_died_alike_is_one_group),
        DEAD(a_group_is_listed_in_pages),
        DEAD(counts_are_the_same_after_a_restart),
        DEAD(older_records_have_groups_too),
        DEAD(what_is_forgotten_leaves_its_group),
        DEAD(there_are_so_many_groups),
        DEAD(a_group_runs_again),
        DEAD(a_dry_run_changes_nothing),
        DEAD(a_large_group_is_paced),
        DEAD(attempts_are_remembered),
        DEAD(last_words_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
