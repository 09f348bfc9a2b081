#include "tests/contract/journal_contract.h"

#include "common/base/mem.h"
#include "common/base/rng.h"
#include "tests/support/journal_model.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define WAIT_MS 20000

static const struct journal_maker *maker;

struct fixture {
    void *place;
    struct journal *j;
    struct journal_replayed stats;
    /* What a replay has shown. */
    uint64_t records;
    uint64_t last_pos;
    char texts[4096];
};

static int set_up(void **state) {
    struct fixture *f = MEM_NEW(struct fixture);
    f->place = maker->make();
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *f = *state;
    journal_abandon(&f->j);
    maker->unmake(f->place);
    mem_free(f);
    return 0;
}

static int note(void *ctx, const struct journal_record *r, struct err *e) {
    struct fixture *f = ctx;
    (void)e;
    assert_true(r->pos > f->last_pos);
    f->last_pos = r->pos;
    f->records++;
    size_t used = strlen(f->texts);
    if (r->body.len < 64)
        snprintf(f->texts + used, sizeof f->texts - used, "%u:" STR_FMT " ", r->type,
                 STR_ARG(r->body));
    return 0;
}

static void start(struct fixture *f) {
    struct err e = {0};
    f->records = f->last_pos = 0;
    f->texts[0] = '\0';
    if (maker->open(f->place, &f->j, &e) != 0 || journal_replay(f->j, note, f, &f->stats, &e) != 0)
        fail_msg("%s", e.text);
}

static uint64_t put(struct fixture *f, uint8_t type, struct str body, uint32_t *bytes) {
    return journal_put(f->j, type, &body, 1, bytes);
}

static uint64_t put_text(struct fixture *f, const char *text) {
    uint32_t bytes;
    return put(f, 1, str_of(text), &bytes);
}

static void wait_event(struct fixture *f) {
    struct pollfd p = {.fd = journal_fd(f->j), .events = POLLIN};
    assert_int_equal(poll(&p, 1, WAIT_MS), 1);
}

static void wait_durable(struct fixture *f, uint64_t pos) {
    uint64_t durable;
    journal_commit(f->j);
    journal_poll(f->j, &durable);
    while (durable <= pos) {
        wait_event(f);
        journal_poll(f->j, &durable);
        journal_commit(f->j);
    }
}

static void reopen(struct fixture *f) {
    struct err e = {0};
    if (journal_close(&f->j, &e) != 0)
        fail_msg("%s", e.text);
    start(f);
}

/* Spares may still be in the making. */
static void wait_room(struct fixture *f) {
    uint64_t durable;
    journal_poll(f->j, &durable);
    enum journal_room room; /* asked once a turn: a spare may be made between two questions */
    while ((room = journal_room(f->j)) != JOURNAL_ROOM) {
        assert_int_equal(room, JOURNAL_BUSY);
        wait_event(f);
        journal_poll(f->j, &durable);
    }
}

/* ---- put, commit, replay --------------------------------------------------------------------- */

static void an_empty_journal_shows_nothing(void **state) {
    struct fixture *f = *state;
    start(f);
    assert_int_equal(f->records, 0);
    assert_int_equal(f->stats.records, 0);
    reopen(f);
    assert_int_equal(f->records, 0);
    assert_int_equal(f->stats.cut_bytes, 0);
    assert_null(journal_error(f->j));
    wait_room(f);
}

static void records_come_back_in_order(void **state) {
    struct fixture *f = *state;
    uint32_t bytes;
    start(f);
    uint64_t a = put(f, 1, STR("first"), &bytes);
    uint64_t b = put(f, 255, STR(""), &bytes);
    struct str parts[] = {STR("in "), STR(""), STR("three "), STR("parts")};
    uint64_t c = journal_put(f->j, 0, parts, 4, &bytes);
    assert_true(a > 0 && a < b && b < c);
    assert_true(bytes >= 14);
    wait_durable(f, c);
    uint64_t d = put_text(f, "next batch");
    assert_true(d > c);
    reopen(f);
    assert_string_equal(f->texts, "1:first 255: 0:in three parts 1:next batch ");
    assert_true(f->stats.closed);
    assert_int_equal(f->last_pos, d);
    assert_true(put_text(f, "after reopening") > d);
    reopen(f);
    assert_string_equal(f->texts, "1:first 255: 0:in three parts 1:next batch 1:after reopening ");
}

static void the_longest_record_fits(void **state) {
    struct fixture *f = *state;
    start(f);
    uint32_t max = journal_body_max(f->j), bytes = 0;
    assert_true(max >= 32768);
    char *body = mem_zalloc(max);
    body[0] = 'a';
    body[max - 1] = 'z';
    for (int i = 0; i < 3; i++)
        put(f, 9, str_make(body, max), &bytes);
    uint64_t pos = put(f, 9, str_make(body, max), &bytes);
    assert_true(bytes >= max);
    wait_durable(f, pos);
    reopen(f);
    assert_int_equal(f->records, 4);
    assert_int_equal(f->stats.bytes, 4ULL * bytes);
    mem_free(body);
}

static void what_was_not_durable_may_be_lost_from_its_end_only(void **state) {
    struct fixture *f = *state;
    start(f);
    uint64_t a = put_text(f, "kept");
    wait_durable(f, a);
    for (int i = 0; i < 100; i++)
        put_text(f, "perhaps");
    journal_abandon(&f->j);
    start(f);
    assert_int_equal(strncmp(f->texts, "1:kept ", 7), 0);
    assert_false(f->stats.closed);
}

static void nothing_is_durable_before_it_is_committed(void **state) {
    struct fixture *f = *state;
    uint64_t durable;
    start(f);
    uint64_t a = put_text(f, "waits");
    journal_poll(f->j, &durable);
    assert_true(durable <= a);
    wait_durable(f, a);
    assert_false(journal_poll(f->j, &durable));
    assert_true(durable > a);
    assert_false(journal_commit(f->j)); /* nothing is left to hand over */
}

static void flush_and_inline_commits_are_durable_at_once(void **state) {
    struct fixture *f = *state;
    struct err e = {0};
    uint64_t durable;
    start(f);
    uint64_t a = put_text(f, "inline");
    assert_true(journal_commit_inline(f->j));
    journal_poll(f->j, &durable);
    assert_true(durable > a);
    assert_false(journal_commit_inline(f->j)); /* nothing is left to write */
    uint64_t b = put_text(f, "flushed");
    journal_commit(f->j);
    uint64_t c = put_text(f, "flushed too");
    assert_int_equal(journal_flush(f->j, &e), 0);
    wait_event(f); /* the loop is told, though flush has waited itself */
    assert_true(journal_poll(f->j, &durable));
    assert_true(durable > b && durable > c);
    journal_abandon(&f->j);
    start(f);
    assert_string_equal(f->texts, "1:inline 1:flushed 1:flushed too ");
}

static int refuse_second(void *ctx, const struct journal_record *r, struct err *e) {
    struct fixture *f = ctx;
    (void)r;
    return ++f->records == 2 ? err_set(e, ERR_MALFORMED, "not to my taste") : 0;
}

static void a_replay_ends_with_the_error_of_its_reader(void **state) {
    struct fixture *f = *state;
    struct err e = {0};
    start(f);
    put_text(f, "one");
    put_text(f, "two");
    put_text(f, "three");
    assert_int_equal(journal_close(&f->j, &e), 0);
    assert_int_equal(maker->open(f->place, &f->j, &e), 0);
    f->records = 0;
    assert_int_equal(journal_replay(f->j, refuse_second, f, NULL, &e), -1);
    assert_int_equal(e.code, ERR_MALFORMED);
    assert_int_equal(f->records, 2);
}

static void a_second_opener_is_refused(void **state) {
    struct fixture *f = *state;
    struct journal *second = NULL;
    struct err e = {0};
    start(f);
    assert_int_equal(maker->open(f->place, &second, &e), -1);
    assert_int_equal(e.code, ERR_LOCKED);
    assert_null(second);
    journal_abandon(&f->j);
    start(f);
}

/* ---- bounds ---------------------------------------------------------------------------------- */

static void a_full_batch_says_busy(void **state) {
    struct fixture *f = *state;
    char body[1024] = "";
    uint32_t bytes;
    uint64_t pos = 0;
    start(f);
    wait_room(f);
    for (int i = 0; i < 64 * 1024 && journal_room(f->j) == JOURNAL_ROOM; i++)
        pos = put(f, 1, str_make(body, sizeof body), &bytes);
    assert_int_equal(journal_room(f->j), JOURNAL_BUSY);
    /* Whoever was told so in the middle of a message may finish it. */
    for (uint64_t more = 0; more + 2 * sizeof body < CONTRACT_TURN_BYTES; more += bytes)
        pos = put(f, 1, str_make(body, sizeof body), &bytes);
    wait_durable(f, pos);
    wait_room(f);
}

/* ---- loads ----------------------------------------------------------------------------------- */

static struct journal_load_done wait_load(struct fixture *f) {
    struct journal_load_done done;
    uint64_t durable;
    while (!journal_loaded(f->j, &done)) {
        wait_event(f);
        journal_poll(f->j, &durable);
    }
    return done;
}

static void expect_load(struct fixture *f, uint64_t pos, uint32_t bytes, const char *text) {
    assert_int_equal(journal_load(f->j, pos, bytes, pos + 7), 0);
    struct journal_load_done done = wait_load(f);
    assert_int_equal(done.err.code, ERR_OK);
    assert_int_equal(done.token, pos + 7);
    assert_int_equal(done.record.pos, pos);
    assert_int_equal(done.record.bytes, bytes);
    assert_int_equal(done.record.type, 5);
    assert_true(str_eq(done.record.body, str_of(text)));
}

static void a_record_can_be_loaded_all_its_life(void **state) {
    struct fixture *f = *state;
    uint32_t bytes, other;
    start(f);
    put_text(f, "before");
    uint64_t pos = put(f, 5, STR("the one"), &bytes);
    expect_load(f, pos, bytes, "the one"); /* filling */
    journal_commit(f->j);
    expect_load(f, pos, bytes, "the one"); /* in flight, or just durable */
    wait_durable(f, pos);
    expect_load(f, pos, bytes, "the one");
    for (int i = 0; i < 3; i++)
        wait_durable(f, put(f, 6, STR("later ones"), &other));
    expect_load(f, pos, bytes, "the one"); /* from the file */
    reopen(f);
    expect_load(f, pos, bytes, "the one");
    uint64_t empty = put(f, 5, STR(""), &bytes);
    expect_load(f, empty, bytes, "");
}

static void loads_are_bounded(void **state) {
    struct fixture *f = *state;
    uint32_t bytes;
    uint64_t asked = 0, durable;
    start(f);
    uint64_t pos = put(f, 5, STR("wanted"), &bytes);
    while (asked < 100000 && journal_load(f->j, pos, bytes, asked) == 0)
        asked++;
    assert_true(asked >= 16 && asked < 100000);
    for (uint64_t i = 0; i < asked; i++)
        assert_int_equal(wait_load(f).err.code, ERR_OK);
    assert_int_equal(journal_load(f->j, pos, bytes, 1), 0);
    wait_load(f);
    journal_poll(f->j, &durable);
}

/* ---- dead and live --------------------------------------------------------------------------- */

struct kept {
    struct fixture *f;
    uint64_t pos[1000];
    uint32_t bytes[1000];
    int n;
};

/* Puts 1000 numbered records of 2 KiB, so that several segments are filled. */
static void put_many(struct kept *k) {
    char body[2048] = "";
    for (int i = 0; i < 1000; i++) {
        snprintf(body, sizeof body, "%d", i);
        k->pos[i] = put(k->f, 1, str_make(body, sizeof body), &k->bytes[i]);
    }
    wait_durable(k->f, k->pos[999]);
}

static uint64_t segments(struct fixture *f) {
    struct journal_stats stats;
    journal_stats(f->j, &stats);
    return stats.segments;
}

/* A record that is dead as soon as it is durable, or its own segment would be cleaned one day. */
static void tick(struct fixture *f) {
    uint32_t bytes;
    uint64_t pos = put(f, 1, STR("tick"), &bytes);
    wait_durable(f, pos);
    journal_release(f->j, pos, bytes);
}

/* Removal takes a commit that says so and a moment of the keeper. */
static void wait_first_segment(struct fixture *f, uint64_t at_least) {
    struct journal_stats stats;
    for (;;) {
        tick(f);
        journal_stats(f->j, &stats);
        if (stats.first_segment >= at_least)
            return;
    }
}

/* Whatever is lost when it is dropped in the middle of its work: never a part of a row. */
static void what_is_put_together_stays_together(void **state) {
    struct fixture *f = *state;
    struct rng r = rng_seed(11);
    char body[4096] = "";
    uint64_t records = 0, whole[200];
    start(f);
    for (uint32_t i = 0; i < 200; i++) {
        uint32_t n = 1 + rng_below(&r, 6), len = rng_below(&r, sizeof body), bytes;
        wait_room(f);
        journal_keep_together(f->j, n * (len + 16));
        for (uint32_t k = 0; k < n; k++, records++) {
            put(f, 1, str_make(body, len), &bytes);
            assert_true(bytes <= len + 16);
        }
        whole[i] = records;
        if (rng_below(&r, 3) == 0)
            journal_commit(f->j);
    }
    assert_true(journal_together_max(f->j) >= journal_body_max(f->j) / 2);
    journal_abandon(&f->j);
    start(f);
    bool is_whole = f->records == 0;
    for (uint32_t i = 0; i < 200; i++)
        is_whole |= f->records == whole[i];
    assert_true(is_whole);
}

static void segments_without_live_records_go(void **state) {
    struct fixture *f = *state;
    struct kept k = {.f = f};
    start(f);
    put_many(&k);
    uint64_t before = segments(f);
    assert_true(before > 4);
    /* All but one record in the middle: what is older goes, what is newer stays behind it. */
    for (int i = 0; i < 1000; i++)
        if (i != 500)
            journal_release(f->j, k.pos[i], k.bytes[i]);
    uint64_t middle = k.pos[500] >> 32;
    wait_first_segment(f, middle);
    assert_true(segments(f) < before);
    reopen(f);
    assert_true(f->records >= 1 && f->records < 1000);
    struct journal_stats stats;
    journal_stats(f->j, &stats);
    assert_int_equal(stats.first_segment, middle);
}

static void move_kept(void *ctx, const struct journal_record *r) {
    struct kept *k = ctx;
    for (int i = 0; i < k->n; i++) {
        if (k->pos[i] != r->pos)
            continue;
        uint32_t bytes;
        uint64_t pos = journal_put(k->f->j, r->type, &r->body, 1, &bytes);
        assert_int_equal(bytes, k->bytes[i]);
        journal_release(k->f->j, k->pos[i], bytes);
        k->pos[i] = pos;
    }
}

static void cleaning_moves_what_is_live(void **state) {
    struct fixture *f = *state;
    struct kept k = {.f = f, .n = 1000};
    start(f);
    put_many(&k);
    assert_false(journal_clean_want(f->j));
    assert_int_equal(journal_clean_next(f->j, move_kept, &k), JOURNAL_CLEAN_IDLE);
    uint64_t before = segments(f), first = k.pos[0] >> 32;
    int kept = 0;
    for (int i = 0; i < 1000; i++) {
        if (i % 5 == 0) {
            k.pos[kept] = k.pos[i];
            k.bytes[kept++] = k.bytes[i];
        } else {
            journal_release(f->j, k.pos[i], k.bytes[i]);
        }
    }
    k.n = kept;
    assert_true(journal_clean_want(f->j));
    int done = 0;
    while (journal_clean_want(f->j)) {
        enum journal_clean got = journal_clean_next(f->j, move_kept, &k);
        done += got == JOURNAL_CLEAN_DONE;
        if (got == JOURNAL_CLEAN_WAIT)
            wait_event(f);
        tick(f);
    }
    assert_true(done >= 2);
    wait_first_segment(f, first + (uint64_t)done);
    assert_true(segments(f) < before);
    for (int i = 0; i < kept; i++) {
        assert_int_equal(journal_load(f->j, k.pos[i], k.bytes[i], (uint64_t)i), 0);
        struct journal_load_done load = wait_load(f);
        assert_int_equal(load.err.code, ERR_OK);
        char text[16];
        snprintf(text, sizeof text, "%d", i * 5);
        assert_string_equal(load.record.body.at, text);
    }
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void a_random_user_finds_what_it_put(void **state) {
    struct fixture *f = *state;
    struct model_options options = {.seed = 20240817};
    struct journal_model *m = model_new(&options);
    struct err e = {0};
    for (int life = 0; life < 6; life++) {
        if (maker->open(f->place, &f->j, &e) != 0 || model_attach(m, f->j, &e) != 0)
            fail_msg("%s", e.text);
        for (int i = 0; i < 4000; i++)
            model_step(m);
        model_finish_loads(m);
        if (life % 3 == 0)
            assert_int_equal(model_flush(m), 0);
        if (life % 2 == 0) {
            journal_abandon(&f->j);
        } else if (journal_close(&f->j, &e) != 0) {
            fail_msg("%s", e.text);
        }
        model_detach(m);
    }
    model_destroy(&m);
}

int journal_contract(const struct journal_maker *of) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_empty_journal_shows_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(records_come_back_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_longest_record_fits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_not_durable_may_be_lost_from_its_end_only, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(nothing_is_durable_before_it_is_committed, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(flush_and_inline_commits_are_durable_at_once, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_replay_ends_with_the_error_of_its_reader, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_second_opener_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_batch_says_busy, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_record_can_be_loaded_all_its_life, set_up, tear_down),
        cmocka_unit_test_setup_teardown(loads_are_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_put_together_stays_together, set_up, tear_down),
        cmocka_unit_test_setup_teardown(segments_without_live_records_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cleaning_moves_what_is_live, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_random_user_finds_what_it_put, set_up, tear_down),
    };
    maker = of;
    return cmocka_run_group_tests_name(of->name, tests, NULL, NULL);
}
