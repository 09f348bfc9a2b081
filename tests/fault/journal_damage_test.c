/* Damaged, missing and foreign files: a journal opens with all that it was given, or it says which
 * file is wrong and where. It never opens with less, but for a torn end that nobody was told of. */
#include "broker/journal/format.h"
#include "broker/journal/journal.h"
#include "common/base/mem.h"
#include "tests/support/crash_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SEGMENT     (64U << 10)
#define RECORDS_MAX 1000U

struct fixture {
    struct crash_disk *disk;
    struct journal *j;
    uint64_t pos[RECORDS_MAX]; /* of all that was put */
    uint32_t bytes[RECORDS_MAX];
    uint32_t n;
    uint32_t seen; /* by the last open, in order from the first */
    struct journal_replayed stats;
    struct err err;
};

static int set_up(void **state) {
    struct fixture *f = MEM_NEW(struct fixture);
    f->disk = crash_disk_new(5);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *f = *state;
    journal_abandon(&f->j);
    crash_disk_destroy(&f->disk);
    mem_free(f);
    return 0;
}

static int note(void *ctx, const struct journal_record *r, struct err *e) {
    struct fixture *f = ctx;
    uint32_t number;
    (void)e;
    assert_true(r->body.len >= 4);
    memcpy(&number, r->body.at, 4);
    assert_int_equal(number, f->seen);
    assert_int_equal(r->pos, f->pos[f->seen]);
    f->seen++;
    return 0;
}

static struct journal_options options_of(uint32_t segment_bytes) {
    return (struct journal_options){.dir = "disk",
                                    .segment_bytes = segment_bytes,
                                    .fill_bytes_max = 256U << 10,
                                    .turn_bytes_max = 64U << 10,
                                    .spares_reserve = 1,
                                    .no_threads = true};
}

static int try_open(struct fixture *f) {
    struct journal_options options = options_of(SEGMENT);
    f->seen = 0;
    f->err = (struct err){0};
    if (journal_open(&f->j, &options, crash_disk_layer(f->disk), &f->err) != 0)
        return -1;
    return journal_replay(f->j, note, f, &f->stats, &f->err);
}

static void must_open(struct fixture *f) {
    if (try_open(f) != 0)
        fail_msg("%s", f->err.text);
}

static void leave(struct fixture *f) {
    journal_abandon(&f->j);
    crash_disk_killed(f->disk);
}

static void close_journal(struct fixture *f) {
    assert_int_equal(journal_close(&f->j, &f->err), 0);
}

/* Batches of 1 to 9 records. */
static void put_records(struct fixture *f, uint32_t count) {
    char body[900];
    uint32_t until = f->n + count;
    memset(body, 'b', sizeof body);
    while (f->n < until) {
        memcpy(body, &f->n, 4);
        struct str part = {body, 100 + f->n * 37 % 800};
        f->pos[f->n] = journal_put(f->j, (uint8_t)f->n, &part, 1, &f->bytes[f->n]);
        f->n++;
        if (f->n % 9 == 0 || f->n % 7 == 0)
            journal_commit(f->j);
    }
    assert_int_equal(journal_flush(f->j, &f->err), 0);
}

/* A log of several segments, closed in order. */
static void make_log(struct fixture *f) {
    must_open(f);
    put_records(f, 400);
    close_journal(f);
    assert_true(f->pos[f->n - 1] >> 32 >= 4);
}

static const char *name_of(uint32_t segment) {
    static char name[FILE_NAME_SIZE];
    snprintf(name, sizeof name, "%012u.seg", segment);
    return name;
}

static uint32_t last_segment(struct fixture *f) {
    return (uint32_t)(f->pos[f->n - 1] >> 32);
}

static void expect_refusal(struct fixture *f, enum err_code code, const char *words) {
    assert_int_equal(try_open(f), -1);
    if (f->err.code != code || !strstr(f->err.text, words))
        fail_msg("wanted %s with \"%s\", got %s: %s", err_code_name(code), words,
                 err_code_name(f->err.code), f->err.text);
    leave(f);
}

/* ---- damage ---------------------------------------------------------------------------------- */

static bool in_record(struct fixture *f, uint64_t pos) {
    for (uint32_t i = 0; i < f->n; i++)
        if (pos >= f->pos[i] && pos < f->pos[i] + f->bytes[i])
            return true;
    return false;
}

/* After a close in order everything is proven: a flipped bit is refused, or it did not matter. */
static void flip_everywhere(struct fixture *f, uint32_t segment, uint32_t *refused) {
    for (uint32_t at = 0; at < SEGMENT; at += at % FORMAT_BLOCK < 80 ? 7 : 1021) {
        crash_disk_flip(f->disk, name_of(segment), at, (uint8_t)(1 << at % 8));
        if (try_open(f) == 0) {
            assert_int_equal(f->seen, f->n);
            assert_false(in_record(f, format_pos(segment, at)));
        } else {
            assert_true(f->err.code == ERR_CORRUPT || f->err.code == ERR_BAD_VERSION);
            assert_non_null(strstr(f->err.text, name_of(segment)));
            ++*refused;
        }
        leave(f);
        crash_disk_flip(f->disk, name_of(segment), at, (uint8_t)(1 << at % 8));
    }
}

static void any_flipped_bit_in_a_closed_log_is_refused(void **state) {
    struct fixture *f = *state;
    uint32_t refused = 0;
    make_log(f);
    for (uint32_t s = 1; s <= last_segment(f); s++)
        flip_everywhere(f, s, &refused);
    print_message("%u flipped bits refused\n", refused);
    assert_true(refused > 200);
    must_open(f);
    assert_int_equal(f->seen, f->n);
}

static uint32_t last_batch(struct fixture *f) {
    char head[FORMAT_BATCH_HEAD];
    struct batch_head h;
    uint32_t last = 0;
    for (uint32_t at = FORMAT_BLOCK; at < SEGMENT; at += FORMAT_BLOCK) {
        crash_disk_copy_out(f->disk, name_of(last_segment(f)), at, head, sizeof head);
        if (format_get_batch(head, &h) && h.segment == last_segment(f))
            last = at;
    }
    return last;
}

/* Without a close nothing tells of the last batch: damaged, it is a torn one. All before it is
 * proven. */
static void only_the_last_batch_can_be_cut(void **state) {
    struct fixture *f = *state;
    must_open(f);
    put_records(f, 399);
    journal_commit(f->j);
    leave(f);
    uint32_t at = last_batch(f), cut = 0, refused = 0;
    assert_true(at > FORMAT_BLOCK);
    for (uint32_t i = 0; i < f->n; i++) {
        crash_disk_flip(f->disk, name_of((uint32_t)(f->pos[i] >> 32)), (uint32_t)f->pos[i] + 20, 4);
        if (try_open(f) == 0) {
            assert_true(f->pos[i] > format_pos(last_segment(f), at));
            assert_true(f->seen < f->n && f->pos[f->seen] > format_pos(last_segment(f), at));
            assert_true(f->stats.cut_bytes > 0 && !f->stats.closed);
            cut++;
        } else {
            assert_int_equal(f->err.code, ERR_CORRUPT);
            assert_true(f->pos[i] < format_pos(last_segment(f), at));
            refused++;
        }
        leave(f);
        crash_disk_flip(f->disk, name_of((uint32_t)(f->pos[i] >> 32)), (uint32_t)f->pos[i] + 20, 4);
    }
    assert_true(cut > 0 && refused > 300);
}

/* Two records fill the rest of a batch's first block: blocks of two batches fit together. */
#define FITTING (2016U - FORMAT_RECORD_HEAD)

/* What is left of a cut batch never comes back, though the next one is torn over it and all
 * records have the same size and place. */
static void nothing_cut_comes_back(void **state) {
    struct fixture *f = *state;
    char body[FITTING], old[FORMAT_BLOCK * 8], block[FORMAT_BLOCK];
    uint32_t number, bytes;
    struct str part = {body, sizeof body};
    memset(body, 'c', sizeof body);
    must_open(f);
    put_records(f, 8);
    /* A batch of eight records, torn: its second block is lost. */
    for (number = 8; number < 16; number++) {
        memcpy(body, &number, 4);
        f->pos[number] = journal_put(f->j, 1, &part, 1, &bytes);
    }
    journal_commit(f->j);
    leave(f);
    uint32_t at = last_batch(f);
    crash_disk_copy_out(f->disk, name_of(1), at, old, sizeof old);
    memset(block, 0, sizeof block);
    crash_disk_put(f->disk, name_of(1), block, sizeof block, at + FORMAT_BLOCK);
    must_open(f);
    assert_int_equal(f->seen, 8);
    assert_true(f->stats.cut_bytes > 0);
    /* Another batch at the same place, other bodies. All of it reaches the disk but its first
     * block, where the old head and the old first records still stand. */
    for (number = 8; number < 16; number++) {
        memcpy(body, &number, 4);
        body[100] = 'd';
        assert_int_equal(journal_put(f->j, 1, &part, 1, &bytes), f->pos[number]);
    }
    journal_commit(f->j);
    leave(f);
    crash_disk_put(f->disk, name_of(1), old, FORMAT_BLOCK, at);
    must_open(f);
    assert_int_equal(f->seen, 8);
    leave(f);
    /* The other way round: the new first block over the old rest. */
    crash_disk_put(f->disk, name_of(1), old, sizeof old, at);
    must_open(f);
    assert_int_equal(f->seen, 16);
}

/* A segment's first batch reached the disk and its head did not: a later life's head, which may be
 * the same, does not bring the batch back. */
static void a_lost_beginning_of_a_segment_does_not_come_back(void **state) {
    struct fixture *f = *state;
    char first[FORMAT_BLOCK * 2], zeros[FORMAT_BLOCK] = {0};
    must_open(f);
    do
        put_records(f, 1);
    while (last_segment(f) < 2);
    leave(f);
    crash_disk_copy_out(f->disk, name_of(2), 0, first, sizeof first);
    crash_disk_put(f->disk, name_of(2), zeros, sizeof zeros, 0);
    f->n--;
    must_open(f);
    assert_int_equal(f->seen, f->n);
    leave(f);
    /* Now the later life's head alone. */
    if (crash_disk_exists(f->disk, name_of(2)))
        crash_disk_put(f->disk, name_of(2), first, FORMAT_BLOCK, 0);
    must_open(f);
    assert_int_equal(f->seen, f->n);
    put_records(f, 20);
    leave(f);
    must_open(f);
    assert_int_equal(f->seen, f->n);
}

/* What docs/journal.md tells an operator who has no backup: zeros from the damage on, and the later
 * segments away. */
static void the_way_out_without_a_backup_works(void **state) {
    struct fixture *f = *state;
    make_log(f);
    uint32_t victim = 0;
    while (f->pos[victim] >> 32 < 2)
        victim++;
    victim += 20;
    crash_disk_flip(f->disk, name_of(2), (uint32_t)f->pos[victim], 1);
    char words[FILE_NAME_SIZE + 64];
    expect_refusal(f, ERR_CORRUPT, "000000000002.seg: damaged at offset ");
    uint32_t offset = 0;
    for (const char *c = strstr(f->err.text, "offset ") + 7; *c >= '0' && *c <= '9'; c++)
        offset = offset * 10 + (uint32_t)(*c - '0');
    assert_int_equal(offset % FORMAT_BLOCK, 0);
    char *zeros = mem_zalloc(SEGMENT);
    crash_disk_put(f->disk, name_of(2), zeros, SEGMENT - offset, offset);
    mem_free(zeros);
    for (uint32_t s = 3; s <= last_segment(f) + 4; s++) {
        snprintf(words, sizeof words, "%s", name_of(s));
        if (crash_disk_exists(f->disk, words))
            crash_disk_remove(f->disk, words);
    }
    must_open(f);
    assert_true(f->seen <= victim && f->seen > victim - 10);
    f->n = f->seen;
    put_records(f, 50);
    close_journal(f);
    must_open(f);
    assert_int_equal(f->seen, f->n);
}

/* ---- missing and foreign files --------------------------------------------------------------- */

static void a_missing_segment_is_named(void **state) {
    struct fixture *f = *state;
    make_log(f);
    for (uint32_t s = 1; s < last_segment(f); s++) {
        crash_disk_rename(f->disk, name_of(s), "away");
        crash_disk_rename(f->disk, "away", "lost+found"); /* which is nobody's business */
        expect_refusal(f, ERR_CORRUPT, "is missing");
        assert_non_null(strstr(f->err.text, name_of(s)));
        crash_disk_rename(f->disk, "lost+found", name_of(s));
    }
    must_open(f);
}

static void released_segments_are_not_missed_and_do_not_come_back(void **state) {
    struct fixture *f = *state;
    char *old = mem_alloc(SEGMENT);
    make_log(f);
    crash_disk_copy_out(f->disk, name_of(1), 0, old, SEGMENT);
    must_open(f);
    for (uint32_t i = 0; i < f->n - 10; i++)
        journal_release(f->j, f->pos[i], f->bytes[i]);
    uint64_t durable;
    for (int i = 0; i < 4; i++) {
        journal_commit(f->j);
        journal_poll(f->j, &durable);
    }
    close_journal(f);
    assert_false(crash_disk_exists(f->disk, name_of(1)));
    /* As if its removal had not reached the disk. */
    crash_disk_put(f->disk, name_of(1), old, SEGMENT, 0);
    mem_free(old);
    struct journal_options options = options_of(SEGMENT);
    assert_int_equal(journal_open(&f->j, &options, crash_disk_layer(f->disk), &f->err), 0);
    assert_false(crash_disk_exists(f->disk, name_of(1)));
}

static void files_that_are_not_ours_are_named(void **state) {
    struct fixture *f = *state;
    static const char *const names[] = {"notes.txt",         "000000000000.seg",
                                        "00000000002.seg",   "000000000002.seg~",
                                        "9999999999999.seg", "999999999999.seg"};
    make_log(f);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        crash_disk_put(f->disk, names[i], "?", 1, 0);
        expect_refusal(f, ERR_CONFLICT, names[i]);
        crash_disk_remove(f->disk, names[i]);
    }
    crash_disk_put(f->disk, "spare.tmp", "?", 1, 0);
    must_open(f);
    assert_int_equal(f->seen, f->n);
}

static void wrong_sizes_are_named(void **state) {
    struct fixture *f = *state;
    make_log(f);
    static const uint32_t sizes[] = {0, 100, FORMAT_BLOCK, SEGMENT - 1, SEGMENT + FORMAT_BLOCK};
    for (uint32_t s = 1; s <= last_segment(f); s++) {
        char *whole = mem_alloc(SEGMENT);
        crash_disk_copy_out(f->disk, name_of(s), 0, whole, SEGMENT);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            crash_disk_resize(f->disk, name_of(s), sizes[i]);
            expect_refusal(f, ERR_CORRUPT, name_of(s));
            crash_disk_resize(f->disk, name_of(s), SEGMENT);
            crash_disk_put(f->disk, name_of(s), whole, SEGMENT, 0);
        }
        mem_free(whole);
    }
    must_open(f);
    assert_int_equal(f->seen, f->n);
}

static void a_later_format_is_named(void **state) {
    struct fixture *f = *state;
    char head[FORMAT_BLOCK];
    make_log(f);
    crash_disk_copy_out(f->disk, name_of(1), 0, head, sizeof head);
    format_store32(head + 12, FORMAT_VERSION + 1);
    format_store32(head + 8, crc32c(0, str_make(head + 12, sizeof head - 12)));
    crash_disk_put(f->disk, name_of(1), head, sizeof head, 0);
    expect_refusal(f, ERR_BAD_VERSION, "later version");
}

static void a_segment_of_another_journal_is_named(void **state) {
    struct fixture *f = *state;
    char *other = mem_alloc(SEGMENT);
    make_log(f);
    crash_disk_copy_out(f->disk, name_of(2), 0, other, SEGMENT);
    crash_disk_destroy(&f->disk);
    f->disk = crash_disk_new(6);
    f->n = 0;
    make_log(f);
    crash_disk_put(f->disk, name_of(2), other, SEGMENT, 0);
    expect_refusal(f, ERR_CORRUPT, "another journal");
    mem_free(other);
}

static void a_renamed_segment_is_named(void **state) {
    struct fixture *f = *state;
    make_log(f);
    crash_disk_remove(f->disk, name_of(1));
    crash_disk_rename(f->disk, name_of(2), "spare.tmp");
    crash_disk_rename(f->disk, "spare.tmp", name_of(1));
    expect_refusal(f, ERR_CORRUPT, "");
    assert_non_null(strstr(f->err.text, "00000000000"));
}

/* Segments of another size than config asks for are read; those to come have the new one. */
static void the_size_of_segments_can_be_changed(void **state) {
    struct fixture *f = *state;
    make_log(f);
    struct journal_options options = options_of(2 * SEGMENT);
    f->seen = 0;
    assert_int_equal(journal_open(&f->j, &options, crash_disk_layer(f->disk), &f->err), 0);
    assert_int_equal(journal_replay(f->j, note, f, NULL, &f->err), 0);
    assert_int_equal(f->seen, 400);
    put_records(f, 400);
    assert_int_equal(crash_disk_size(f->disk, name_of(last_segment(f))), 2 * SEGMENT);
    close_journal(f);
    must_open(f);
    assert_int_equal(f->seen, 800);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(any_flipped_bit_in_a_closed_log_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(only_the_last_batch_can_be_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_cut_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_lost_beginning_of_a_segment_does_not_come_back, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_way_out_without_a_backup_works, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_missing_segment_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(released_segments_are_not_missed_and_do_not_come_back,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(files_that_are_not_ours_are_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_sizes_are_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_later_format_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_segment_of_another_journal_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_renamed_segment_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_size_of_segments_can_be_changed, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
