/* A small file is replaced as a whole, on a full disk too. A link to /dev/full is where nothing can
 * be written. */
#include "common/os/replace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct scene {
    char folder[64], path[96], part[112];
};

static int set_up(void **state) {
    static struct scene s;
    s = (struct scene){.folder = "/tmp/quern-replace-XXXXXX"};
    assert_non_null(mkdtemp(s.folder));
    snprintf(s.path, sizeof s.path, "%s/file", s.folder);
    snprintf(s.part, sizeof s.part, "%s.part", s.path);
    *state = &s;
    return 0;
}

/* Nothing may be left beside the file. */
static int tear_down(void **state) {
    const struct scene *s = *state;
    unlink(s->path);
    return rmdir(s->folder);
}

static void put(const struct scene *s, const char *text) {
    struct err e;
    assert_int_equal(file_replace(s->path, str_of(text), &e), 0);
}

static void assert_file(const struct scene *s, const char *text) {
    char got[256] = "";
    FILE *f = fopen(s->path, "r");
    assert_non_null(f);
    size_t n = fread(got, 1, sizeof got - 1, f);
    fclose(f);
    got[n] = 0;
    assert_string_equal(got, text);
}

static void no_room_for_another(const struct scene *s) {
    assert_int_equal(symlink("/dev/full", s->part), 0);
}

static void test_longer_and_shorter(void **state) {
    const struct scene *s = *state;
    struct stat st;
    put(s, "one");
    put(s, "one and two");
    assert_file(s, "one and two");
    put(s, "3");
    assert_file(s, "3");
    assert_int_equal(stat(s->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

static void test_its_own_blocks_are_room(void **state) {
    const struct scene *s = *state;
    put(s, "what was there");
    no_room_for_another(s);
    put(s, "what is new");
    assert_file(s, "what is new");
}

static void test_a_full_disk_is_said(void **state) {
    const struct scene *s = *state;
    struct err e;
    no_room_for_another(s);
    assert_int_equal(file_replace(s->path, STR("text"), &e), -1);
    assert_int_equal(e.code, ERR_DISK_FULL);
    assert_non_null(strstr(e.text, s->path));
    assert_int_equal(access(s->path, F_OK), -1);
}

static void test_other_trouble_changes_nothing(void **state) {
    const struct scene *s = *state;
    struct err e;
    put(s, "what was there");
    assert_int_equal(mkdir(s->part, 0700), 0);
    assert_int_equal(file_replace(s->path, STR("text"), &e), -1);
    assert_int_equal(e.code, ERR_IO);
    assert_file(s, "what was there");
    assert_int_equal(rmdir(s->part), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_longer_and_shorter, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_its_own_blocks_are_room, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_full_disk_is_said, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_other_trouble_changes_nothing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
