/* The copy of the settings that children read. */
#include "common/config/handed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define GOOD  "broker: {heartbeat: 2s}\n"
#define OTHER "broker: {heartbeat: 3s}\n"

static char *const no_env[] = {NULL};

struct scene {
    char folder[64], file[96], copy[96];
    struct handed h;
    struct settings *settings;
    struct err_list errors;
};

static void put(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void assert_copy(const struct scene *s, const char *text) {
    char got[256] = "";
    FILE *f = fopen(s->copy, "r");
    assert_non_null(f);
    size_t n = fread(got, 1, sizeof got - 1, f);
    fclose(f);
    got[n] = 0;
    assert_string_equal(got, text);
}

static int load(struct scene *s, const char *text) {
    settings_destroy(&s->settings);
    s->errors = (struct err_list){0};
    put(s->file, text);
    return handed_load(&s->h, s->file, no_env, &s->settings, &s->errors);
}

static int set_up(void **state) {
    static struct scene s;
    struct err e;
    s = (struct scene){.folder = "/tmp/quern-handed-XXXXXX"};
    assert_non_null(mkdtemp(s.folder));
    snprintf(s.file, sizeof s.file, "%s/given", s.folder);
    snprintf(s.copy, sizeof s.copy, "%s/copy", s.folder);
    assert_int_equal(load(&s, GOOD), 0);
    assert_null(handed_path(&s.h));
    assert_int_equal(handed_open(&s.h, s.copy, &e), 0);
    assert_string_equal(handed_path(&s.h), s.copy);
    *state = &s;
    return 0;
}

static int tear_down(void **state) {
    struct scene *s = *state;
    handed_remove(&s->h);
    handed_done(&s->h);
    settings_destroy(&s->settings);
    unlink(s->file);
    return rmdir(s->folder);
}

static void test_only_what_is_valid(void **state) {
    struct scene *s = *state;
    assert_copy(s, GOOD);
    assert_int_equal(load(s, "broker: {heartbeat: 3s\n"), -1);
    assert_null(s->settings);
    assert_copy(s, GOOD);
    assert_int_equal(load(s, OTHER), 0);
    assert_int_equal(s->settings->broker.heartbeat_ms, 3000);
    assert_copy(s, OTHER);
}

static void test_is_for_its_owner_only(void **state) {
    const struct scene *s = *state;
    struct stat st;
    assert_int_equal(stat(s->copy, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

static void test_comes_back(void **state) {
    struct scene *s = *state;
    struct err e;
    put(s->file, OTHER);
    assert_int_equal(unlink(s->copy), 0);
    assert_int_equal(handed_keep(&s->h, &e), 0);
    assert_copy(s, GOOD); /* what is held, whatever the file says by now */
}

/* A folder where the part shall be written cannot be opened as a file. */
static void test_nothing_changes_if_it_cannot_be_written(void **state) {
    struct scene *s = *state;
    char part[128];
    struct err e;
    snprintf(part, sizeof part, "%s.part", s->copy);
    assert_int_equal(mkdir(part, 0700), 0);
    assert_int_equal(load(s, OTHER), -1);
    assert_null(s->settings);
    assert_int_equal(s->errors.count, 1);
    assert_non_null(strstr(s->errors.at[0].text, "cannot write "));
    assert_true(s->h.not_kept);
    assert_copy(s, GOOD);
    assert_int_equal(rmdir(part), 0);
    unlink(s->copy);
    assert_int_equal(handed_keep(&s->h, &e), 0);
    assert_copy(s, GOOD);
}

/* What is written to /dev/full finds no space. */
static void fill_disk(const struct scene *s) {
    char part[128];
    snprintf(part, sizeof part, "%s.part", s->copy);
    assert_int_equal(symlink("/dev/full", part), 0);
}

static void test_the_copy_before_is_room_for_the_next(void **state) {
    struct scene *s = *state;
    fill_disk(s);
    assert_int_equal(load(s, OTHER), 0);
    assert_copy(s, OTHER);
    assert_string_equal(handed_path(&s->h), s->copy);
}

static void test_the_file_stands_in_until_there_is_room(void **state) {
    struct scene *s = *state;
    struct err e;
    assert_int_equal(unlink(s->copy), 0);
    fill_disk(s);
    assert_int_equal(handed_keep(&s->h, &e), 0);
    assert_true(s->h.stands_in);
    assert_string_equal(handed_path(&s->h), s->file);
    assert_int_equal(access(s->copy, F_OK), -1);
    assert_int_equal(handed_keep(&s->h, &e), 0); /* there is room */
    assert_false(s->h.stands_in);
    assert_string_equal(handed_path(&s->h), s->copy);
    assert_copy(s, GOOD);
}

static void test_the_file_that_stands_in_is_not_removed(void **state) {
    struct scene *s = *state;
    struct err e;
    assert_int_equal(unlink(s->copy), 0);
    fill_disk(s);
    assert_int_equal(handed_keep(&s->h, &e), 0);
    handed_remove(&s->h);
    assert_int_equal(access(s->file, F_OK), 0);
}

static void test_nothing_without_a_file(void **state) {
    struct handed h = {0};
    struct settings *s;
    struct err_list errors = {0};
    struct err e;
    (void)state;
    assert_int_equal(handed_load(&h, NULL, no_env, &s, &errors), 0);
    assert_int_equal(handed_open(&h, "/nowhere/at/all", &e), 0);
    assert_int_equal(handed_keep(&h, &e), 0);
    assert_null(handed_path(&h));
    settings_destroy(&s);
    handed_done(&h);
}

#define IN_SCENE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_SCENE(test_only_what_is_valid),
        IN_SCENE(test_is_for_its_owner_only),
        IN_SCENE(test_comes_back),
        IN_SCENE(test_nothing_changes_if_it_cannot_be_written),
        IN_SCENE(test_the_copy_before_is_room_for_the_next),
        IN_SCENE(test_the_file_stands_in_until_there_is_room),
        IN_SCENE(test_the_file_that_stands_in_is_not_removed),
        cmocka_unit_test(test_nothing_without_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
