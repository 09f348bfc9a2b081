/* The real broker on a disk of 24 MiB: filled, killed, emptied, filled again. Twice: on a file
 * system of that size, where one can be mounted for this process alone, and in any case on a disk
 * that a library in front of the broker bounds (fail_sync.c). */
#include "common/os/clock.h"
#include "tests/e2e/worker_process.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define SETTINGS                                                                                   \
    "broker: {heartbeat: 100ms, heartbeats_missed: 20, batch_bytes_max: 1MiB, body_max: 512KiB}\n" \
    "journal: {segment_size: 1MiB, batch_bytes: 1MiB, disk_min_free: 0}\n"                         \
    "retention: {done_bytes: 1MiB, dead_bytes: 1MiB}\n"                                            \
    "kinds: {echo: {}, sleep: {}, nobody: {}}\n"
#define BODY (16U << 10)

struct scene {
    struct broker b;
    struct worker w;
    struct client *c;
    bool mounted;
};

/* ---- the disk ------------------------------------------------------------------------------- */
static bool write_text(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return ok;
}

/* What is mounted from now on is seen by this process and its children, and ends with them. */
static bool mounts_of_our_own(void) {
    char map[32];
    unsigned uid = geteuid(), gid = getegid();
    if (uid != 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
            return false;
        snprintf(map, sizeof map, "0 %u 1", uid);
        if (!write_text("/proc/self/uid_map", map) || !write_text("/proc/self/setgroups", "deny"))
            return false;
        snprintf(map, sizeof map, "0 %u 1", gid);
        if (!write_text("/proc/self/gid_map", map))
            return false;
    } else if (unshare(CLONE_NEWNS) != 0) {
        return false;
    }
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static void disk_path(const struct scene *s, char out[256], const char *what) {
    if (s->mounted)
        snprintf(out, 256, "%s/ballast", s->b.data);
    else
        snprintf(out, 256, "%s/sync.%s", s->b.root, what);
}

static int make_file(const struct scene *s, const char *what) {
    char path[256];
    disk_path(s, path, what);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    return fd;
}

/* Not a byte is left for others. */
static void take_what_is_free(const struct scene *s) {
    static const char bytes[4096] = "x";
    int fd = make_file(s, "full");
    while (s->mounted && write(fd, bytes, sizeof bytes) > 0)
        continue;
    close(fd);
}

static void give_it_back(const struct scene *s) {
    char path[256];
    disk_path(s, path, "full");
    assert_int_equal(unlink(path), 0);
}

/* ---- life ----------------------------------------------------------------------------------- */
static int set_up(void **state, bool mounted) {
    static struct scene s;
    s = (struct scene){.mounted = mounted};
    broker_make(&s.b, SETTINGS);
    if (mounted) {
        assert_int_equal(mkdir(s.b.data, 0700), 0);
        assert_int_equal(mount("tmpfs", s.b.data, "tmpfs", 0, "size=24m,mode=0700"), 0);
    } else {
        s.b.preload = QUERN_FAIL_SYNC;
        close(make_file(&s, "small"));
    }
    broker_start(&s.b);
    s.c = worker_client(&s.b);
    worker_start(&s.w, &s.b, "--slots 4", NULL);
    worker_await_workers(s.c, 1);
    *state = &s;
    return 0;
}

static int set_up_mounted(void **state) {
    return set_up(state, true);
}

static int set_up_bounded(void **state) {
    return set_up(state, false);
}

static int tear_down(void **state) {
    struct scene *s = *state;
    client_destroy(&s->c);
    worker_remove(&s->w);
    if (s->b.pid)
        broker_kill(&s->b);
    if (s->mounted)
        umount2(s->b.data, MNT_DETACH);
    broker_remove(&s->b);
    return 0;
}

static enum err_code offer(struct client *c, const char *kind, struct str payload, uint64_t *id) {
    struct msg_submit m = {0};
    struct client_submitted out = {0};
    struct err e = {0};
    MSG_SET(&m, submit, kind, str_of(kind));
    client_submit(c, &CLIENT_ITEM(&m, payload), 1, &out, worker_deadline(), &e);
    *id = out.id;
    return e.code;
}

static enum err_code offered(struct client *c) {
    static char payload[BODY] = "\x80";
    uint64_t id;
    return offer(c, "nobody", str_make(payload, BODY), &id);
}

/* One that runs while all else happens. Right after a purge the room may go once more. */
static uint64_t run_one(struct scene *s) {
    struct mono deadline = worker_deadline();
    uint64_t id;
    enum err_code code;
    while ((code = offer(s->c, "sleep", STR("\x81\xa2ms\xcd\x05\xdc"), &id)) != ERR_OK) {
        assert_int_equal(code, ERR_DISK_FULL);
        assert_false(mono_reached(clock_mono(), deadline));
    }
    worker_await_state(s->c, id, JOB_running);
    return id;
}

/* Until nothing more is taken; how many were. While a purge is being cleaned up the room that there
 * is may go for a moment: a disk that holds so few is not full. */
static uint64_t fill(struct scene *s, uint64_t least) {
    struct mono deadline = worker_deadline();
    uint64_t taken = 0;
    enum err_code code;
    while ((code = offered(s->c)) == ERR_OK || taken < least) {
        taken += code == ERR_OK;
        assert_true(code == ERR_OK || code == ERR_DISK_FULL);
        assert_in_range(taken, 0, (24U << 20) / BODY);
        assert_false(mono_reached(clock_mono(), deadline));
    }
    assert_int_equal(code, ERR_DISK_FULL);
    return taken;
}

static void purge(struct scene *s, uint64_t jobs) {
    struct msg_queue_ref m = {0};
    struct err e = {0};
    uint64_t count = 0;
    MSG_SET(&m, queue_ref, queue, STR("nobody"));
    if (client_change(s->c, VERB_purge_queue, &m, &count, worker_deadline(), &e) < 0)
        fail_msg("purge: %s", e.text);
    assert_int_equal(count, jobs);
}

static void await_room(struct scene *s) {
    struct mono deadline = worker_deadline();
    enum err_code code;
    while ((code = offered(s->c)) != ERR_OK) {
        assert_int_equal(code, ERR_DISK_FULL);
        if (mono_reached(clock_mono(), deadline))
            fail_msg("there is no room again: %llu bytes in files, %llu live",
                     (unsigned long long)worker_status(s->c).journal_bytes,
                     (unsigned long long)worker_status(s->c).journal_live_bytes);
    }
}

static void kill_and_start(struct scene *s, void (*meanwhile)(const struct scene *s)) {
    broker_kill(&s->b);
    if (meanwhile)
        meanwhile(s);
    broker_start(&s->b);
    worker_status(s->c);
}

static void must_go_on(struct scene *s) {
    assert_false(worker_status(s->c).read_only);
    assert_false(broker_log_has(&s->b, "journal.read_only"));
}

/* ---- tests ---------------------------------------------------------------------------------- */
/* P-38: what is there ends, what was taken is there after a kill, and once it is purged all is as
 * before. */
static void comes_back(void **state) {
    struct scene *s = *state;
    for (int round = 0; round < 3; round++) {
        uint64_t runs = run_one(s);
        uint64_t taken = fill(s, 200);
        worker_await_end(s->c, runs, JOB_done);
        kill_and_start(s, NULL);
        assert_int_equal(worker_status(s->c).ready, taken);
        purge(s, taken);
        await_room(s);
        purge(s, 1);
        must_go_on(s);
    }
}

/* Killed without a free byte on the disk: it starts, answers, takes results and purges. */
static void starts_on_a_full_disk(void **state) {
    struct scene *s = *state;
    uint64_t runs = run_one(s);
    uint64_t taken = fill(s, 200);
    kill_and_start(s, take_what_is_free);
    for (int i = 0; i < 3; i++)
        kill_and_start(s, NULL);
    assert_int_equal(worker_status(s->c).ready, taken);
    worker_await_state(s->c, runs, JOB_done);
    taken += fill(s, 0); /* cleaning may have made room for some */
    purge(s, taken);
    must_go_on(s);
    give_it_back(s);
    await_room(s);
}

int main(void) {
    const struct CMUnitTest bounded[] = {
        cmocka_unit_test_setup_teardown(comes_back, set_up_bounded, tear_down),
        cmocka_unit_test_setup_teardown(starts_on_a_full_disk, set_up_bounded, tear_down),
    };
    const struct CMUnitTest mounted[] = {
        cmocka_unit_test_setup_teardown(comes_back, set_up_mounted, tear_down),
        cmocka_unit_test_setup_teardown(starts_on_a_full_disk, set_up_mounted, tear_down),
    };
    int failed = 0;
    if (mounts_of_our_own())
        failed += cmocka_run_group_tests_name("mounted", mounted, NULL, NULL);
    else
        print_message("no file system can be mounted here (%s): only the bounded disk\n",
                      strerror(errno));
    failed += cmocka_run_group_tests_name("bounded", bounded, NULL, NULL);
    return failed ? 1 : 0;
}
