#include "tests/e2e/worker_process.h"

#include "common/base/id.h"
#include "common/os/clock.h"
#include "common/wire/json_bridge.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PROGRAM QUERN_BIN_DIR "/quern-worker"
#define WORDS   24

/* ---- the process ---------------------------------------------------------------------------- */
static void become(const struct worker *w, const struct broker *b, char *arguments,
                   const char *setting, int error_fd) {
    char *argv[WORDS] = {(char *)(uintptr_t)PROGRAM, (char *)(uintptr_t) "--data",
                         (char *)(uintptr_t)b->data};
    size_t n = 3;
    for (char *rest = arguments, *word; (word = strtok_r(rest, " ", &rest)) && n < WORDS - 1;)
        argv[n++] = word;
    char name[64], hex[33];
    for (size_t i = 0; i < 16; i++)
        snprintf(hex + 2 * i, 3, "%02x", w->instance[i]);
    setenv("QUERN_WORKER_INSTANCE", hex, 1);
    const char *is = setting ? strchr(setting, '=') : NULL;
    if (is) {
        snprintf(name, sizeof name, "%.*s", (int)(is - setting), setting);
        setenv(name, is + 1, 1);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(error_fd, 2);
    if (w->files_max)
        setrlimit(RLIMIT_NOFILE, &(struct rlimit){w->files_max, w->files_max});
    execv(PROGRAM, argv);
    _exit(127);
}

void worker_start(struct worker *w, const struct broker *b, const char *arguments,
                  const char *setting) {
    char words[512];
    snprintf(words, sizeof words, "%s", arguments);
    random_bytes(w->instance, sizeof w->instance);
    int log = open(b->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(log >= 0);
    w->pid = fork();
    assert_true(w->pid >= 0);
    if (w->pid == 0)
        become(w, b, words, setting, log);
    close(log);
}

void worker_signal(const struct worker *w, int signal) {
    assert_true(w->pid > 0);
    assert_int_equal(kill(w->pid, signal), 0);
}

int worker_wait(struct worker *w) {
    struct pollfd p = {.fd = pidfd_open(w->pid, 0), .events = POLLIN};
    int status = 0, n;
    assert_true(p.fd >= 0);
    while ((n = poll(&p, 1, WORKER_DEADLINE_MS)) < 0 && errno == EINTR)
        continue;
    close(p.fd);
    if (n == 0)
        kill(w->pid, SIGKILL);
    assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
    w->pid = 0;
    if (n == 0)
        fail_msg("a worker does not end");
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void worker_kill(struct worker *w) {
    worker_signal(w, SIGKILL);
    worker_wait(w);
}

void worker_remove(struct worker *w) {
    if (w->pid > 0)
        worker_kill(w);
}

/* ---- the client ----------------------------------------------------------------------------- */
struct mono worker_deadline(void) {
    return mono_add(clock_mono(), WORKER_DEADLINE_MS);
}

#define MUST(call)                                                                                 \
    do {                                                                                           \
        struct err e = {0};                                                                        \
        if ((call) < 0)                                                                            \
            fail_msg("%s", e.text);                                                                \
    } while (0)

struct client *worker_client(const struct broker *b) {
    char endpoint[LINK_ENDPOINT_MAX];
    struct client *c = NULL;
    MUST(link_endpoint(endpoint, b->data, NULL, ROLE_OPERATOR, &e));
    struct client_config config = {
        .role = ROLE_OPERATOR, .endpoint = endpoint, .name = "test", .clock = clock_mono};
    random_bytes(config.instance, sizeof config.instance);
    MUST(client_new(&c, &config, &e));
    MUST(client_connect(c, worker_deadline(), &e));
    return c;
}

uint64_t worker_submit_as(struct client *c, const struct msg_submit *m, const char *payload) {
    struct buf bytes __attribute__((cleanup(buf_destroy))) = BUF(1U << 20);
    json_t *json = NULL;
    struct client_submitted out;
    MUST((json = json_bridge_parse(str_of(payload), &e)) ? 0 : -1);
    MUST(json_bridge_to_value(json, &bytes, &e));
    json_decref(json);
    struct client_item item = CLIENT_ITEM(m, buf_str(&bytes));
    MUST(client_submit(c, &item, 1, &out, worker_deadline(), &e));
    return out.id;
}

uint64_t worker_submit(struct client *c, const char *kind, const char *payload) {
    struct msg_submit m = {0};
    MSG_SET(&m, submit, kind, str_of(kind));
    return worker_submit_as(c, &m, payload);
}

static void take_info(void *ctx, const struct client_reply *r) {
    *(struct msg_job_info *)ctx = *(const struct msg_job_info *)r->message;
}

struct msg_job_info worker_await_state(struct client *c, uint64_t id, enum job_state state) {
    struct msg_get_job m = {0};
    struct msg_job_info info = {0};
    struct mono deadline = worker_deadline();
    MSG_SET(&m, get_job, id, id);
    struct client_item item = {.message = &m};
    do {
        MUST(client_call(c, VERB_get_job, &item, 1, take_info, &info, deadline, &e));
        if (mono_reached(clock_mono(), deadline))
            fail_msg("job %s is %s, not %s", id_show(id).at, job_state_name(info.state),
                     job_state_name(state));
    } while (info.state != (uint64_t)state);
    return info;
}

static void take_status(void *ctx, const struct client_reply *r) {
    *(struct msg_status_info *)ctx = *(const struct msg_status_info *)r->message;
}

struct msg_status_info worker_status(struct client *c) {
    struct msg_status_info info = {0};
    struct msg_get_status m = {0};
    struct client_item item = {.message = &m};
    MUST(client_call(c, VERB_get_status, &item, 1, take_status, &info, worker_deadline(), &e));
    return info;
}

void worker_await_workers(struct client *c, uint64_t n) {
    struct mono deadline = worker_deadline();
    while (worker_status(c).workers != n)
        if (mono_reached(clock_mono(), deadline))
            fail_msg("%d workers are not there", (int)n);
}

struct err worker_await_end(struct client *c, uint64_t id, enum job_state state) {
    struct client_finished end = CLIENT_FINISHED;
    MUST(client_wait(c, id, worker_deadline(), &end, &e));
    if (end.state != (uint64_t)state)
        fail_msg("job %s is %s: %s", id_show(id).at, job_state_name(end.state), end.err.text);
    struct err err = end.err;
    client_finished_done(&end);
    return err;
}
