/* A disk that fails at the n-th call, for every n, and one that runs full: what journal.h promises
 * then. On one thread, so that n means the same call each time. */
#include "broker/journal/format.h"
#include "tests/support/crash_files.h"
#include "tests/support/journal_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define STEPS   1200
#define SEGMENT (64ULL << 10)

struct fixture {
    struct crash_disk *disk;
    struct journal_model *model;
    struct journal *j;
    struct journal_options options;
};

static struct fixture begin(uint64_t seed) {
    struct model_options options = {.seed = seed, .items_max = 60};
    struct fixture f = {.disk = crash_disk_new(seed), .model = model_new(&options)};
    f.options = (struct journal_options){.dir = "disk",
                                         .segment_bytes = SEGMENT,
                                         .fill_bytes_max = 256U << 10,
                                         .turn_bytes_max = 64U << 10,
                                         .spares_reserve = 2,
                                         .loads_max = 16,
                                         .no_threads = true};
    return f;
}

static int open_journal(struct fixture *f, struct err *e) {
    if (journal_open(&f->j, &f->options, crash_disk_layer(f->disk), e) != 0)
        return -1;
    return model_attach(f->model, f->j, e);
}

static void must_open(struct fixture *f) {
    struct err e = {0};
    if (open_journal(f, &e) != 0)
        fail_msg("%s", e.text);
}

static void kill_journal(struct fixture *f) {
    journal_abandon(&f->j);
    model_detach(f->model);
    crash_disk_killed(f->disk);
}

static void end(struct fixture *f) {
    kill_journal(f);
    model_destroy(&f->model);
    crash_disk_destroy(&f->disk);
}

static void plan(struct fixture *f, enum crash_fault fault, unsigned calls, uint64_t at) {
    crash_disk_plan(f->disk, (struct crash_plan){fault, calls, at, false});
}

static struct journal_stats stats_of(struct fixture *f) {
    struct journal_stats stats;
    journal_stats(f->j, &stats);
    return stats;
}

static bool struck(void *ctx) {
    return crash_disk_struck(ctx);
}

/* ---- a failed write or sync ------------------------------------------------------------------ */

/* Nothing more is durable, nothing is tried again; what was durable can still be read. */
static void check_read_only(struct fixture *f) {
    assert_int_equal(journal_room(f->j), JOURNAL_READ_ONLY);
    model_poll(f->model);
    uint64_t durable = model_durable(f->model);
    plan(f, FAULT_EIO, CALL_WRITE | CALL_SYNC, UINT64_MAX);
    for (int i = 0; i < 50; i++) {
        model_put(f->model);
        assert_false(journal_commit(f->j));
        assert_false(journal_commit_inline(f->j));
        assert_int_equal(crash_disk_counted(f->disk), 0);
        model_step(f->model);
        plan(f, FAULT_EIO, CALL_WRITE | CALL_SYNC, UINT64_MAX);
    }
    assert_int_equal(model_flush(f->model), -1);
    assert_int_equal(model_durable(f->model), durable);
    assert_false(journal_clean_want(f->j));
    assert_true(strlen(journal_error(f->j)->text) > 0);
}

/* True while the n-th call is reached. Which calls are a batch's shows in what comes of it: the
 * journal is READ_ONLY; the failure of a spare or a removal only shows in `upkeep`. */
static bool fail_call(enum crash_fault fault, unsigned calls, uint64_t n, uint64_t *read_only,
                      uint64_t *came_back) {
    struct fixture f = begin(7);
    must_open(&f);
    model_loads_may_fail(f.model, struck, f.disk);
    plan(&f, fault, calls, n);
    for (int i = 0; i < STEPS && !journal_error(f.j); i++)
        model_step(f.model);
    bool reached = crash_disk_struck(f.disk);
    uint64_t possible = UINT64_MAX, durable = UINT64_MAX;
    if (!reached)
        plan(&f, FAULT_NONE, 0, 0);
    if (journal_error(f.j)) {
        assert_true(reached);
        ++*read_only;
        model_loads_may_fail(f.model, NULL, NULL);
        check_read_only(&f);
        durable = model_durable(f.model);
        possible = model_before(f.model, journal_doubt_end(f.j));
    } else {
        /* An open may have been a load's; no space is no trouble any more once there was a spare.
         */
        if (reached && !(calls & CALL_OPEN) && fault != FAULT_ENOSPC)
            assert_int_not_equal(stats_of(&f).upkeep.code, ERR_OK);
        assert_int_equal(model_flush(f.model), 0);
    }
    kill_journal(&f);
    must_open(&f);
    /* Not durable and found: only what was in doubt. */
    assert_true(model_records(f.model) <= possible);
    *came_back += model_records(f.model) > durable;
    assert_int_equal(model_flush(f.model), 0);
    end(&f);
    return reached;
}

static void any_failed_write_or_sync_is_never_tried_again(void **state) {
    (void)state;
    static const enum crash_fault faults[] = {FAULT_EIO, FAULT_ENOSPC};
    for (size_t i = 0; i < 2; i++) {
        uint64_t n = 1, read_only = 0, came_back = 0;
        while (fail_call(faults[i], CALL_WRITE | CALL_SYNC, n, &read_only, &came_back))
            n++;
        print_message("%llu failures, %llu of them of batches, %llu found by the next open\n",
                      (unsigned long long)n - 1, (unsigned long long)read_only,
                      (unsigned long long)came_back);
        assert_true(read_only > 50 && read_only < n - 1);
        assert_true(came_back > 0 && came_back < read_only);
    }
}

static void failures_beside_batches_do_not_stop_the_journal(void **state) {
    (void)state;
    uint64_t n = 1, read_only = 0, came_back = 0;
    while (fail_call(FAULT_EIO,
                     CALL_RENAME | CALL_UNLINK | CALL_SYNC_DIR | CALL_RESERVE | CALL_OPEN, n,
                     &read_only, &came_back))
        n++;
    print_message("%llu failures\n", (unsigned long long)n - 1);
    assert_true(n > 20);
    assert_int_equal(read_only, 0);
}

/* ---- failed reads ---------------------------------------------------------------------------- */

static void a_failed_read_is_told_and_nothing_else(void **state) {
    (void)state;
    uint64_t n = 1, blocked = 0;
    for (bool reached = true; reached; n++) {
        struct fixture f = begin(9);
        must_open(&f);
        model_loads_may_fail(f.model, struck, f.disk);
        plan(&f, FAULT_EIO, CALL_READ, n);
        for (int i = 0; i < STEPS; i++)
            model_step(f.model);
        reached = crash_disk_struck(f.disk);
        assert_null(journal_error(f.j));
        assert_int_equal(model_flush(f.model), 0);
        blocked += stats_of(&f).upkeep.code == ERR_IO;
        kill_journal(&f);
        must_open(&f);
        end(&f);
    }
    /* Some of them met cleaning, which then leaves the segment alone. */
    assert_true(blocked > 0 && blocked < n);
}

static void any_failed_call_of_open_leaves_the_log_as_it_was(void **state) {
    (void)state;
    uint64_t n = 1;
    struct fixture f = begin(11);
    must_open(&f);
    for (int i = 0; i < STEPS; i++)
        model_step(f.model);
    assert_int_equal(model_flush(f.model), 0);
    kill_journal(&f);
    for (bool reached = true; reached; n++) {
        struct err e = {0};
        plan(&f, FAULT_EIO, CALL_ANY, n);
        int status = open_journal(&f, &e);
        reached = crash_disk_struck(f.disk);
        if (status != 0)
            assert_true(reached && e.code == ERR_IO);
        kill_journal(&f);
    }
    assert_true(n > 20);
    must_open(&f);
    end(&f);
}

/* ---- a full disk ----------------------------------------------------------------------------- */

static void work_until(struct fixture *f, enum journal_room room) {
    for (int i = 0; i < 200000 && journal_room(f->j) != room; i++) {
        if (journal_room(f->j) <= JOURNAL_RESERVE)
            model_put(f->model);
        journal_commit(f->j);
        model_poll(f->model);
    }
    assert_int_equal(journal_room(f->j), room);
    assert_null(journal_error(f->j));
}

/* One item after another, so that old segments stay fully live and nothing can be cleaned. */
static struct fixture begin_growing(void) {
    struct fixture f = begin(13);
    struct model_options options = {.seed = 13, .items_max = 100000};
    model_destroy(&f.model);
    f.model = model_new(&options);
    return f;
}

/* ROOM, RESERVE, NONE in this order as space runs out, and back when there is some again. */
static void check_rooms(struct fixture *f, void (*make_space)(struct fixture *f)) {
    work_until(f, JOURNAL_RESERVE);
    assert_int_equal(stats_of(f).upkeep.code, ERR_DISK_FULL);
    /* The reserve takes as much as was said: two segments and what is left of this one. */
    uint64_t before = stats_of(f).bytes_written;
    work_until(f, JOURNAL_NONE);
    assert_true(stats_of(f).bytes_written - before >= SEGMENT);
    assert_int_equal(model_flush(f->model), 0);
    make_space(f);
    work_until(f, JOURNAL_ROOM);
    assert_int_equal(stats_of(f).upkeep.code, ERR_OK);
    assert_int_equal(model_flush(f->model), 0);
    kill_journal(f);
    must_open(f);
}

static void more_capacity(struct fixture *f) {
    crash_disk_capacity(f->disk, 64 * SEGMENT);
}

static void end_most_items(struct fixture *f) {
    model_end_items(f->model, 10);
    for (int i = 0; i < 20; i++) {
        journal_commit(f->j);
        model_poll(f->model);
    }
}

static void a_full_disk_refuses_submissions_first(void **state) {
    (void)state;
    struct fixture f = begin_growing();
    crash_disk_capacity(f.disk, 12 * SEGMENT);
    must_open(&f);
    check_rooms(&f, more_capacity);
    end(&f);
}

static void a_bound_on_the_journal_does_the_same(void **state) {
    (void)state;
    struct fixture f = begin_growing();
    f.options.bytes_max = 12 * SEGMENT;
    must_open(&f);
    check_rooms(&f, end_most_items);
    end(&f);
}

static void a_bound_on_free_space_does_the_same(void **state) {
    (void)state;
    struct fixture f = begin_growing();
    crash_disk_capacity(f.disk, 20 * SEGMENT);
    f.options.disk_min_free = 8 * SEGMENT;
    must_open(&f);
    check_rooms(&f, more_capacity);
    end(&f);
}

/* Submissions do not take the reserve until the keeper finds out what the bounds say. */
static void a_full_disk_is_known_at_the_start(void **state) {
    (void)state;
    struct fixture f = begin_growing();
    f.options.bytes_max = 3 * SEGMENT;
    must_open(&f);
    model_poll(f.model);
    assert_int_equal(journal_room(f.j), JOURNAL_RESERVE);
    kill_journal(&f);
    must_open(&f);
    assert_int_equal(journal_room(f.j), JOURNAL_RESERVE);
    end(&f);
}

/* Bounds of config are passed rather than the journal lost; a disk that has nothing left ends it.
 */
static void putting_in_spite_of_none_ends_at_the_real_end(void **state) {
    (void)state;
    struct fixture f = begin_growing();
    crash_disk_capacity(f.disk, 16 * SEGMENT);
    f.options.bytes_max = 8 * SEGMENT;
    must_open(&f);
    work_until(&f, JOURNAL_NONE);
    uint64_t at_none = model_durable(f.model);
    for (int i = 0; i < 100000 && !journal_error(f.j); i++) {
        model_put(f.model);
        journal_commit(f.j);
        model_poll(f.model);
    }
    assert_non_null(journal_error(f.j));
    assert_int_equal(journal_error(f.j)->code, ERR_DISK_FULL);
    assert_true(model_durable(f.model) > at_none);
    kill_journal(&f);
    must_open(&f);
    end(&f);
}

/* The last block of the last segment is taken: the seal finds no room. */
static void a_full_log_can_be_closed(void **state) {
    (void)state;
    struct fixture f = begin_growing();
    struct model_options options = {.seed = 13, .items_max = 100000, .body_max = 500};
    model_destroy(&f.model);
    f.model = model_new(&options);
    crash_disk_capacity(f.disk, 6 * SEGMENT);
    must_open(&f);
    work_until(&f, JOURNAL_NONE);
    uint64_t pos = 0;
    while (stats_of(&f).spares > 0 || (uint32_t)pos < SEGMENT - FORMAT_BLOCK) {
        pos = model_put(f.model);
        assert_int_equal(model_flush(f.model), 0);
    }
    struct err e = {0};
    if (journal_close(&f.j, &e) != 0)
        fail_msg("%s", e.text);
    kill_journal(&f);
    must_open(&f);
    end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_failed_write_or_sync_is_never_tried_again),
        cmocka_unit_test(failures_beside_batches_do_not_stop_the_journal),
        cmocka_unit_test(a_failed_read_is_told_and_nothing_else),
        cmocka_unit_test(any_failed_call_of_open_leaves_the_log_as_it_was),
        cmocka_unit_test(a_full_disk_refuses_submissions_first),
        cmocka_unit_test(a_bound_on_the_journal_does_the_same),
        cmocka_unit_test(a_bound_on_free_space_does_the_same),
        cmocka_unit_test(a_full_disk_is_known_at_the_start),
        cmocka_unit_test(putting_in_spite_of_none_ends_at_the_real_end),
        cmocka_unit_test(a_full_log_can_be_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
