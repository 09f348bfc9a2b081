/* quern down, quern reload: speaking with the process tree of `quern up`. */
#include "cli/cli.h"
#include "cli/out.h"
#include "cli/tree.h"
#include "common/os/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <unistd.h>

#define DOWN_USUAL_MS 60000
#define RELOAD_MS     10000

static int no_tree(const struct cli *c, struct err *e) {
    return err_set(e, ERR_UNREACHABLE_BROKER, "no `quern up` runs in %s", c->data);
}

/* A descriptor of the process that holds the tree: its number may be another's only after it has
 * let go of the lock, so it is looked at once more behind the descriptor. */
static int open_tree(const struct cli *c, int *pidfd, pid_t *pid, struct err *e) {
    *pid = tree_pid(c->data);
    if (!*pid)
        return no_tree(c, e);
    *pidfd = pidfd_open(*pid, 0);
    if (*pidfd >= 0 && tree_pid(c->data) == *pid)
        return 0;
    if (*pidfd >= 0)
        close(*pidfd);
    return no_tree(c, e);
}

static bool wait_readable(int fd, uint64_t ms) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    struct mono until = cli_deadline(ms);
    int n;
    do
        n = poll(&p, 1, (int)mono_until(clock_mono(), until));
    while (n < 0 && errno == EINTR);
    return n > 0;
}

/* ---- down ----------------------------------------------------------------------------------- */
int run_down(struct cli *c, const struct args_down *args) {
    struct err e = {0};
    int pidfd = -1;
    pid_t pid;
    uint64_t wait_ms = ARG_HAS(args, down, timeout) ? args->timeout : DOWN_USUAL_MS;
    if (open_tree(c, &pidfd, &pid, &e) < 0)
        return cli_fail(c, &e);
    pidfd_send_signal(pidfd, SIGTERM, NULL, 0);
    if (args->now)
        pidfd_send_signal(pidfd, SIGINT, NULL, 0);
    bool ended = wait_readable(pidfd, wait_ms);
    close(pidfd);
    if (ended)
        return 0;
    err_set(&e, ERR_WAIT_TIMEOUT, "process %d has not ended after %llu s; it goes on ending",
            (int)pid, (unsigned long long)wait_ms / 1000);
    return cli_fail(c, &e);
}

/* ---- reload --------------------------------------------------------------------------------- */
/* One reload at a time, since there is one way for the answer. */
static int take_turn(const struct cli *c, int *fd, struct err *e) {
    char path[TREE_PATH_MAX];
    tree_path(path, c->data, "reload.lock");
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (*fd < 0 || flock(*fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? err_set(e, ERR_LOCKED, "another reload is under way")
                                    : err_errno(e, "cannot lock %s", path);
    return 0;
}

static int ask_reload(const struct cli *c, json_t **answer, struct err *e) {
    int pidfd = -1, fd = -1;
    pid_t pid;
    if (open_tree(c, &pidfd, &pid, e) < 0)
        return -1;
    if (tree_ask(c->data, &fd, e) == 0) {
        pidfd_send_signal(pidfd, SIGHUP, NULL, 0);
        *answer = tree_hear(fd, cli_deadline(RELOAD_MS));
        if (!*answer)
            err_set(e, ERR_WAIT_TIMEOUT, "no answer after %d s", RELOAD_MS / 1000);
    }
    tree_forget(c->data, &fd);
    close(pidfd);
    return *answer ? 0 : -1;
}

static void print_list(const json_t *answer, const char *key, const char *head) {
    const json_t *list = json_object_get(answer, key);
    for (size_t i = 0; i < json_array_size(list); i++) {
        AUTO_BUF text = BUF(65536);
        out_clean(&text, str_of(json_string_value(json_array_get(list, i))));
        printf("%s" STR_FMT "\n", head, STR_ARG(buf_str(&text)));
    }
}

static int tell_answer(struct cli *c, const json_t *answer) {
    const json_t *errors = json_object_get(answer, "errors");
    size_t n = json_array_size(errors);
    enum err_code code = ERR_BAD_CONFIG;
    err_code_from_name(str_of(json_string_value(json_object_get(answer, "code"))), &code);
    for (size_t i = 0; i < n; i++)
        cli_say("%s", json_string_value(json_array_get(errors, i)));
    if (c->json) {
        cli_json(c, answer);
    } else if (!n) {
        print_list(answer, "applied", "applied: ");
        print_list(answer, "restart", "needs a restart: ");
        if (!json_array_size(json_object_get(answer, "applied")))
            printf("nothing new to apply\n");
    }
    return n ? err_code_exit(code) : 0;
}

int run_reload(struct cli *c, const struct args_reload *args) {
    (void)args;
    struct err e = {0};
    json_auto_t *answer = NULL;
    int lock = -1, status;
    if (!tree_pid(c->data))
        no_tree(c, &e);
    else if (take_turn(c, &lock, &e) == 0)
        ask_reload(c, &answer, &e);
    status = e.code ? cli_fail(c, &e) : tell_answer(c, answer);
    if (lock >= 0)
        close(lock);
    return status;
}
