/* Whole lives on a disk that is too small: filled until nothing more is taken, emptied by ending
 * what is there, filled again. Whenever what is live fits beside the reserve, everything may be put
 * again by itself; nothing that was promised is lost; the journal never fails for want of space.
 * The same with every call for more space refused once, and from some call on. */
#include "tests/support/crash_files.h"
#include "tests/support/journal_model.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MIB        (1U << 20)
#define TURNS_MAX  20000 /* that any phase of a life may take */
#define SPACE_ASKS (CALL_RESERVE | CALL_RENAME | CALL_SYNC_DIR)

struct size {
    uint64_t segment, turn, segments; /* the last: that the disk holds */
    uint32_t items, body_max;
    uint32_t left; /* items that are live after a purge: half of what the disk holds, at most */
};

/* As the broker with the smallest segments on a disk of 24 MiB. */
static const struct size broker_like = {MIB, 8 * MIB, 24, 60000, 1500, 6000};
/* Four records may fill a segment. */
static const struct size coarse = {64 << 10, 64 << 10, 14, 600, 16000, 30};
static const struct size fine = {64 << 10, 64 << 10, 12, 6000, 900, 300};

struct life {
    struct size size;
    struct crash_disk *disk;
    struct journal_model *model;
    struct journal *j;
    struct journal_options options;
    uint64_t next;    /* item that a purge looks at */
    uint64_t seen[5]; /* turns in each state of enum journal_room */
    uint64_t purged_in_none;
};

static void open_life(struct life *l) {
    struct err e = {0};
    if (journal_open(&l->j, &l->options, crash_disk_layer(l->disk), &e) != 0 ||
        model_attach(l->model, l->j, &e) != 0)
        fail_msg("%s", e.text);
}

static struct life begin(const struct size *size, uint64_t seed, bool threads) {
    struct model_options m = {.seed = seed, .items_max = size->items, .body_max = size->body_max};
    struct life l = {.size = *size, .disk = crash_disk_new(seed), .model = model_new(&m)};
    l.options = (struct journal_options){.dir = "disk",
                                         .segment_bytes = size->segment,
                                         .fill_bytes_max = MIB,
                                         .turn_bytes_max = size->turn,
                                         .no_threads = !threads};
    crash_disk_capacity(l.disk, size->segments * size->segment + 4096);
    open_life(&l);
    return l;
}

static void kill_life(struct life *l) {
    journal_abandon(&l->j);
    model_detach(l->model);
    crash_disk_killed(l->disk);
}

static void end(struct life *l) {
    kill_life(l);
    model_destroy(&l->model);
    crash_disk_destroy(&l->disk);
}

/* ---- turns ----------------------------------------------------------------------------------- */

static void purge(struct life *l, unsigned items) {
    for (unsigned n = 0; n < items; n++) {
        uint64_t item = l->next++ % l->size.items;
        model_end_item(l->model, item);
        model_end_item(l->model, item);
    }
}

static void wait_a_moment(struct life *l) {
    struct pollfd p = {.fd = journal_fd(l->j), .events = POLLIN};
    poll(&p, 1, 1);
}

/* One turn of a broker: what it puts stays far below a turn's bytes. */
static enum journal_room turn(struct life *l, bool fills, bool purges) {
    enum journal_room room = journal_room(l->j);
    l->seen[room]++;
    assert_int_not_equal(room, JOURNAL_READ_ONLY);
    for (unsigned n = 0; fills && room == JOURNAL_ROOM && n < 16; n++) {
        model_put(l->model);
        room = journal_room(l->j);
    }
    if (purges && room <= JOURNAL_RESERVE && room != JOURNAL_BUSY) {
        purge(l, 64);
    } else if (purges && room == JOURNAL_NONE && journal_may_purge(l->j)) {
        purge(l, 64);
        l->purged_in_none++;
    }
    model_clean(l->model);
    journal_commit(l->j);
    if (!l->options.no_threads)
        wait_a_moment(l);
    model_poll(l->model);
    if (journal_error(l->j))
        fail_msg("%s", journal_error(l->j)->text);
    return journal_room(l->j);
}

static void fill(struct life *l) {
    for (int i = 0, refused = 0; i < TURNS_MAX && refused < 20; i++) {
        enum journal_room room = turn(l, true, false);
        refused += room == JOURNAL_RESERVE || room == JOURNAL_NONE;
    }
}

/* What holds results is not refused before what brings new ones: so much ends before the purge. */
static void complete(struct life *l, unsigned items) {
    for (int i = 0; i < TURNS_MAX && items; i++) {
        if (turn(l, false, false) <= JOURNAL_RESERVE && items--)
            model_end_item(l->model, l->next++ % l->size.items);
    }
}

static void fail_as(struct life *l) {
    struct journal_stats s;
    journal_stats(l->j, &s);
    fail_msg("room %d: %llu items live, %llu bytes of %llu in files, %llu segments, %llu spares",
             (int)s.room, (unsigned long long)model_live(l->model),
             (unsigned long long)s.live_bytes, (unsigned long long)s.disk_bytes,
             (unsigned long long)s.segments, (unsigned long long)s.spares);
}

static void empty(struct life *l, uint64_t live) {
    for (int i = 0; i < TURNS_MAX && model_live(l->model) > live; i++)
        turn(l, false, true);
    if (model_live(l->model) > live)
        fail_as(l);
}

/* Results take all of what is kept for them. */
static void use_up_reserve(struct life *l) {
    for (int i = 0; i < TURNS_MAX && turn(l, false, false) != JOURNAL_NONE; i++)
        for (int n = 0; n < 64 && journal_room(l->j) <= JOURNAL_RESERVE; n++)
            model_put(l->model);
    assert_int_equal(journal_room(l->j), JOURNAL_NONE);
}

/* Whatever comes of it. */
static void purge_for_a_while(struct life *l) {
    for (int i = 0; i < 500; i++)
        turn(l, false, true);
}

static void must_recover(struct life *l) {
    enum journal_room room = JOURNAL_NONE;
    for (int i = 0; i < TURNS_MAX && room != JOURNAL_ROOM; i++)
        room = turn(l, false, false);
    if (room != JOURNAL_ROOM)
        fail_as(l);
    assert_int_equal(model_flush(l->model), 0);
}

static void cycle(struct life *l) {
    fill(l);
    complete(l, 40);
    empty(l, l->size.left);
    must_recover(l);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void live_on(const struct size *size, bool threads) {
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct life l = begin(size, seed, threads);
        for (int i = 0; i < 3; i++)
            cycle(&l);
        kill_life(&l);
        open_life(&l);
        cycle(&l);
        print_message("turns in each state of room: %llu %llu %llu %llu; %llu purges in the last\n",
                      (unsigned long long)l.seen[0], (unsigned long long)l.seen[1],
                      (unsigned long long)l.seen[2], (unsigned long long)l.seen[3],
                      (unsigned long long)l.purged_in_none);
        assert_true(l.seen[JOURNAL_RESERVE] + l.seen[JOURNAL_NONE] > 0);
        end(&l);
    }
}

static void a_small_disk_comes_back(void **state) {
    (void)state;
    live_on(&broker_like, false);
}

/* The operator's purge is all that can make space then. */
static void a_purge_makes_space_where_there_is_none(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct life l = begin(&broker_like, seed, false);
        fill(&l);
        use_up_reserve(&l);
        empty(&l, l.size.left);
        must_recover(&l);
        assert_true(l.purged_in_none > 0);
        end(&l);
    }
}

static void so_it_does_with_small_segments(void **state) {
    (void)state;
    live_on(&fine, false);
    live_on(&fine, true);
}

static void so_it_does_with_large_records(void **state) {
    (void)state;
    live_on(&coarse, false);
}

/* Killed at any moment of it: the log opens on the full disk, and comes back. */
static void killed_when_full(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct life l = begin(&fine, seed, false);
        fill(&l);
        for (uint64_t n = 0; n < 10; n++) {
            complete(&l, (unsigned)seed);
            kill_life(&l);
            open_life(&l);
        }
        empty(&l, fine.left);
        must_recover(&l);
        end(&l);
    }
}

static bool space_is_refused(struct crash_plan plan) {
    struct life l = begin(&fine, 3, false);
    crash_disk_plan(l.disk, plan);
    if (plan.stays) {
        fill(&l);
        purge_for_a_while(&l);
        crash_disk_plan(l.disk, (struct crash_plan){0});
    } else {
        cycle(&l);
    }
    bool reached = crash_disk_struck(l.disk);
    kill_life(&l);
    open_life(&l);
    cycle(&l);
    end(&l);
    return reached;
}

static void any_call_for_space_is_refused_once(void **state) {
    (void)state;
    uint64_t n = 1;
    while (space_is_refused((struct crash_plan){FAULT_ENOSPC, SPACE_ASKS, n, false}))
        n++;
    assert_true(n > 20);
}

/* From that call on, for the rest of that life. */
static void from_any_call_on_space_is_refused(void **state) {
    (void)state;
    for (uint64_t n = 1; n <= 40; n++)
        space_is_refused((struct crash_plan){FAULT_ENOSPC, CALL_RESERVE, n, true});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_disk_comes_back),
        cmocka_unit_test(a_purge_makes_space_where_there_is_none),
        cmocka_unit_test(so_it_does_with_small_segments),
        cmocka_unit_test(so_it_does_with_large_records),
        cmocka_unit_test(killed_when_full),
        cmocka_unit_test(any_call_for_space_is_refused_once),
        cmocka_unit_test(from_any_call_on_space_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
