#include "broker/journal/tally.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void live_and_dead_add_up(void **state) {
    (void)state;
    struct tally t;
    tally_init(&t, 10);
    assert_false(tally_oldest_dead(&t));
    assert_false(tally_clean_pays(&t, 1));
    tally_open(&t, 10, 1000, 0);
    tally_put(&t, 10, 600);
    tally_put(&t, 10, 300);
    assert_false(tally_clean_pays(&t, 1)); /* the last segment is not counted */
    tally_open(&t, 11, 1000, 950);
    assert_int_equal(tally_at(&t, 10)->end, 950);
    assert_false(tally_clean_pays(&t, 1)); /* 100 dead, 900 live */
    tally_release(&t, 10, 300);
    assert_false(tally_clean_pays(&t, 1)); /* 400, 600 */
    assert_true(tally_clean_pays(&t, 4));
    tally_put(&t, 11, 500);
    assert_int_equal(t.live, 1100);
    tally_open(&t, 12, 2000, 1000);
    assert_false(tally_clean_pays(&t, 1)); /* 900, 1100 */
    tally_release(&t, 11, 500);
    assert_true(tally_clean_pays(&t, 1));
    assert_false(tally_oldest_dead(&t)); /* 11 is, but 10 is not */
    tally_release(&t, 10, 600);
    assert_true(tally_oldest_dead(&t));
    tally_drop_oldest(&t);
    tally_drop_oldest(&t);
    assert_false(tally_oldest_dead(&t));
    assert_int_equal(t.first, 12);
    assert_int_equal(t.kept, 10);
    assert_int_equal(tally_at(&t, 10)->bytes, 1000); /* until its file is gone */
    tally_forget(&t);
    tally_forget(&t);
    assert_int_equal(t.live, 0);
    assert_int_equal(t.closed_size, 0);
    tally_clear(&t);
}

static void more_segments_than_the_ring_has_places(void **state) {
    (void)state;
    struct tally t;
    tally_init(&t, 1000000);
    for (uint32_t i = 0; i < 1000; i++) {
        uint32_t segment = 1000000 + i;
        tally_open(&t, segment, 100, 100);
        tally_put(&t, segment, i + 1);
        if (i >= 100) { /* the window slides: old places are used again */
            tally_release(&t, segment - 100, i - 99);
            assert_true(tally_oldest_dead(&t));
            tally_drop_oldest(&t);
            tally_forget(&t);
        }
        for (uint32_t s = t.first; s <= t.last; s++)
            assert_int_equal(tally_at(&t, s)->live, s - 1000000 + 1);
    }
    assert_int_equal(t.last - t.first, 99);
    assert_int_equal(t.size, 128);
    tally_clear(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(live_and_dead_add_up),
        cmocka_unit_test(more_segments_than_the_ring_has_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
