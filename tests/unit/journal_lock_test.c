/* Two processes and one directory on the system's disk, and what the real layer does there. */
#include "broker/journal/file_layer.h"
#include "broker/journal/journal.h"
#include "common/base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[512], inside[600];

static int make_folder(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/journal-lock-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(folder));
    snprintf(inside, sizeof inside, "%s/journal", folder);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    DIR *dir = opendir(inside);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
    rmdir(inside);
    rmdir(folder);
    return 0;
}

static int open_journal(struct journal **j, struct err *e) {
    struct journal_options options = {.dir = inside, .segment_bytes = 1U << 20};
    return journal_open(j, &options, &file_layer_real, e);
}

static int ignore(void *ctx, const struct journal_record *r, struct err *e) {
    (void)e;
    *(uint64_t *)ctx += r->body.len;
    return 0;
}

/* Opens the journal, puts one durable record, says so and waits to be killed. */
static void hold(int say) {
    struct journal *j;
    struct err e;
    uint64_t sum = 0;
    uint32_t bytes;
    struct str body = STR("from the one who was killed");
    if (open_journal(&j, &e) != 0 || journal_replay(j, ignore, &sum, NULL, &e) != 0)
        _exit(1);
    journal_put(j, 1, &body, 1, &bytes);
    if (journal_flush(j, &e) != 0 || write(say, "!", 1) != 1)
        _exit(1);
    for (;;)
        pause();
}

static void the_lock_names_its_holder_and_dies_with_it(void **state) {
    (void)state;
    int pipe_fds[2];
    char c;
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        hold(pipe_fds[1]);
    assert_int_equal(read(pipe_fds[0], &c, 1), 1);
    struct journal *j = NULL;
    struct err e = {0};
    char words[64];
    snprintf(words, sizeof words, "process %ld holds", (long)pid);
    assert_int_equal(open_journal(&j, &e), -1);
    assert_int_equal(e.code, ERR_LOCKED);
    assert_non_null(strstr(e.text, words));
    assert_non_null(strstr(e.text, "journal-lock-"));
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    uint64_t sum = 0;
    if (open_journal(&j, &e) != 0 || journal_replay(j, ignore, &sum, NULL, &e) != 0)
        fail_msg("%s", e.text);
    assert_int_equal(sum, strlen("from the one who was killed"));
    assert_int_equal(journal_close(&j, &e), 0);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static void the_directory_is_its_owners_alone(void **state) {
    (void)state;
    struct journal *j;
    struct err e = {0};
    struct stat st;
    if (open_journal(&j, &e) != 0)
        fail_msg("%s", e.text);
    assert_int_equal(stat(inside, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    journal_abandon(&j);
}

static void a_directory_that_cannot_be_made_is_named(void **state) {
    (void)state;
    struct journal *j = NULL;
    struct err e = {0};
    struct journal_options options = {.dir = "/no/such/place"};
    assert_int_equal(journal_open(&j, &options, &file_layer_real, &e), -1);
    assert_int_equal(e.code, ERR_IO);
    assert_non_null(strstr(e.text, "/no/such/place"));
    assert_null(j);
}

static void options_are_checked(void **state) {
    (void)state;
    struct journal_options wrong[] = {
        {.dir = inside, .segment_bytes = 1000},
        {.dir = inside, .segment_bytes = 65537},
        {.dir = inside, .segment_bytes = 2ULL << 30},
        {.dir = inside, .spares_reserve = 100},
        {.dir = inside, .loads_max = 1000000},
        {.dir = inside, .fill_bytes_max = 1ULL << 40},
        {.dir = inside, .turn_bytes_max = 1ULL << 40},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct journal *j = NULL;
        struct err e = {0};
        assert_int_equal(journal_open(&j, &wrong[i], &file_layer_real, &e), -1);
        assert_int_equal(e.code, ERR_BAD_CONFIG);
    }
}

static void note_name(void *ctx, const char *name, uint64_t bytes) {
    char *names = ctx;
    size_t used = strlen(names);
    snprintf(names + used, 200 - used, "%s=%llu ", name, (unsigned long long)bytes);
}

/* The layer itself, for what the journal seldom meets. */
static void files_behave_as_the_layer_promises(void **state) {
    (void)state;
    static char block[FILE_BLOCK] __attribute__((aligned(FILE_BLOCK))), back[FILE_BLOCK];
    struct file_dir *d;
    struct file *f, *g;
    struct err e = {0};
    char names[200] = "";
    uint64_t space = 0;
    assert_int_equal(file_dir_open(&file_layer_real, inside, &d, &e), 0);
    assert_int_equal(file_open(d, "a", FILE_READ_AHEAD, &f, &e), -1);
    assert_non_null(strstr(e.text, "a: cannot be opened: No such file"));
    assert_int_equal(file_open(d, "a", FILE_CREATE, &f, &e), 0);
    assert_int_equal(file_reserve(f, 3 * FILE_BLOCK, &e), 0);
    memset(block, 'x', sizeof block);
    assert_int_equal(file_write(f, block, FILE_BLOCK, FILE_BLOCK, &e), 0);
    assert_int_equal(file_sync(f, &e), 0);
    assert_int_equal(file_rename(d, "a", "b", &e), 0);
    assert_int_equal(file_sync_dir(d, &e), 0);
    for (int how = FILE_READ_AHEAD; how <= FILE_READ_EXACT; how++) {
        assert_int_equal(file_open(d, "b", (enum file_how)how, &g, &e), 0);
        assert_int_equal(file_read(g, back, 100, FILE_BLOCK - 50, &e), 0);
        assert_int_equal(back[49], 0);
        assert_int_equal(back[50], 'x');
        assert_int_equal(file_read(g, back, 100, 3 * FILE_BLOCK - 50, &e), -1);
        assert_int_equal(e.code, ERR_CORRUPT);
        file_close(&g);
    }
    assert_int_equal(file_list(d, note_name, names, &e), 0);
    assert_string_equal(names, "b=12288 ");
    assert_int_equal(file_space(d, &space, &e), 0);
    assert_true(space > 0);
    file_close(&f);
    assert_int_equal(file_unlink(d, "b", &e), 0);
    assert_int_equal(file_unlink(d, "b", &e), -1);
    assert_non_null(strstr(e.text, "b: cannot be removed: No such file"));
    file_dir_close(&d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_lock_names_its_holder_and_dies_with_it, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(the_directory_is_its_owners_alone, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(a_directory_that_cannot_be_made_is_named, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(options_are_checked, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(files_behave_as_the_layer_promises, make_folder,
                                        remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
