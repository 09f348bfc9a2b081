#include "cli/up.h"
#include "common/log/log.h"
#include "common/os/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#define WAIT_MS     500
#define WAIT_MAX_MS 30000

/* The broker stops cleanly when we are gone. The supervisor need not: without it the workers get
 * SIGTERM and finish by themselves, and nothing stands in the way of the next tree. */
static const struct part kinds[PARTS] = {
    [PART_BROKER] = {.name = "quern-broker", .death_signal = SIGTERM, .has_ready_fd = true},
    [PART_POOLS] = {.name = "quern-pools", .death_signal = SIGKILL},
};

/* Programs lie beside this one, in the build folder as where they are installed. */
int part_init(struct part *p, enum part_id id, struct err *e) {
    *p = kinds[id];
    p->child.pidfd = p->ready_fd = -1;
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0)
        return err_errno(e, "cannot read /proc/self/exe");
    self[n] = 0;
    *strrchr(self, '/') = 0;
    if (snprintf(p->program, sizeof p->program, "%s/%s", self, p->name) >= (int)sizeof p->program)
        return err_set(e, ERR_TOO_LARGE, "the path of %s: at most %d bytes", p->name, PATH_MAX - 1);
    if (access(p->program, X_OK) < 0)
        return err_errno(e, "%s must be beside quern, in %s", p->name, self);
    return 0;
}

int part_start(struct part *p, struct up *u, struct err *e) {
    char *argv[10] = {(char *)(uintptr_t)p->name, "--data", u->data};
    size_t n = 3;
    if (handed_keep(&u->handed, e) < 0)
        return -1;
    if (handed_path(&u->handed)) {
        argv[n++] = "--config";
        argv[n++] = (char *)(uintptr_t)handed_path(&u->handed);
    }
    if (p->has_ready_fd) {
        argv[n++] = "--ready-fd";
        argv[n++] = "3"; /* CHILD_PASS */
    }
    int ready[2] = {-1, -1};
    if (p->has_ready_fd && pipe2(ready, O_CLOEXEC | O_NONBLOCK) < 0)
        return err_errno(e, "cannot start %s: pipe", p->name);
    struct child_spec spec = {.program = p->program,
                              .argv = argv,
                              .envp = environ,
                              .output = -1,
                              .pass = ready[1],
                              .death_signal = p->death_signal};
    log_look(); /* it gets the log that we have */
    int rc = child_start(&spec, &p->child, e);
    if (ready[1] >= 0)
        close(ready[1]);
    if (rc < 0) {
        if (ready[0] >= 0)
            close(ready[0]);
        return -1;
    }
    p->ready_fd = ready[0];
    p->ready = !p->has_ready_fd;
    p->kill_at = MONO_NEVER;
    restart_started(&p->restart, clock_mono());
    log_event(LOG_process_started, log_text("name", p->name),
              log_u64("process", (uint64_t)p->child.pid));
    return 0;
}

void part_stop(struct part *p, uint64_t grace_ms) {
    child_signal(&p->child, SIGTERM);
    p->kill_at = mono_add(clock_mono(), grace_ms);
}

void part_look(struct part *p) {
    char byte;
    if (p->ready_fd < 0)
        return;
    ssize_t n = read(p->ready_fd, &byte, 1);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    p->ready = n == 1;
    close(p->ready_fd);
    p->ready_fd = -1;
}

bool part_reap(struct part *p, struct up *u) {
    struct child_end end;
    if (!child_reap(&p->child, &end))
        return false;
    if (p->ready_fd >= 0)
        close(p->ready_fd);
    p->ready_fd = -1;
    p->ready = false;
    p->not_before = restart_ended(&p->restart, clock_mono(), WAIT_MS, WAIT_MAX_MS, &u->rng);
    struct child_words words = child_end_words(&end);
    log_event(u->stops ? LOG_process_ended : LOG_process_died, log_text("name", p->name),
              log_text("how", words.at));
    if (!u->was_ready && !u->stops)
        err_set(&u->failed, ERR_INTERNAL, "%s %s before it was ready; above it says why", p->name,
                words.at);
    return true;
}
