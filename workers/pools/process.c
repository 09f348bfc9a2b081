#include "workers/pools/process.h"

#include "common/base/mem.h"
#include "common/base/str.h"
#include "common/base/worker_env.h"
#include "common/os/clock.h"
#include "workers/pools/output.h"
#include "workers/pools/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define READ_MAX (256U << 10) /* of one process before others have their turn */

/* ---- its output ----------------------------------------------------------------------------- */
static void keep(struct process *p, const char *at, size_t n) {
    if (n > sizeof p->words) {
        at += n - sizeof p->words;
        n = sizeof p->words;
    }
    size_t over = p->words_len + n > sizeof p->words ? p->words_len + n - sizeof p->words : 0;
    memmove(p->words, p->words + over, p->words_len - over);
    p->words_len -= over;
    memcpy(p->words + p->words_len, at, n);
    p->words_len += n;
}

static void pass_line(struct process *p) {
    if (!p->line_len)
        return;
    if (p->line[p->line_len - 1] != '\n')
        p->line[p->line_len++] = '\n';
    if (output_pass(p->pool->name, p->hex, str_make(p->line, p->line_len)))
        keep(p, p->line, p->line_len);
    p->line_len = 0;
}

static void take(struct process *p, const char *at, size_t n) {
    while (n) {
        const char *end = memchr(at, '\n', n);
        size_t part = end ? (size_t)(end - at) + 1 : n, room = sizeof p->line - 1 - p->line_len;
        bool whole = part <= room;
        if (!whole)
            part = room;
        memcpy(p->line + p->line_len, at, part);
        p->line_len += part;
        at += part;
        n -= part;
        if ((end && whole) || p->line_len == sizeof p->line - 1)
            pass_line(p);
    }
}

static void close_output(struct process *p) {
    pass_line(p);
    if (p->output >= 0)
        close(p->output);
    p->output = -1;
}

void process_read(struct process *p) {
    char bytes[16384];
    for (size_t total = 0; p->output >= 0 && total < READ_MAX;) {
        ssize_t n = read(p->output, bytes, sizeof bytes);
        if (n > 0) {
            take(p, bytes, (size_t)n);
            total += (size_t)n;
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            close_output(p);
        } else if (errno == EAGAIN) {
            return;
        }
    }
}

/* ---- starting ------------------------------------------------------------------------------- */
void process_hex(const uint8_t *instance, char *hex) {
    for (size_t i = 0; i < PROCESS_INSTANCE_LEN; i++)
        snprintf(hex + 2 * i, 3, "%02x", instance[i]);
}

static size_t length(char *const *list) {
    size_t n = 0;
    while (list[n])
        n++;
    return n;
}

static char **environment(const struct process_spec *spec, char *instance) {
    size_t ours = length(spec->envp), told = length(spec->told);
    char **all = mem_alloc((ours + told + 2) * sizeof *all);
    memcpy(all, spec->envp, ours * sizeof *all);
    memcpy(all + ours, spec->told, told * sizeof *all);
    all[ours + told] = instance;
    all[ours + told + 1] = NULL;
    return all;
}

static int start(struct process *p, const struct process_spec *spec, int output, struct err *e) {
    char instance[sizeof WORKER_ENV_INSTANCE + sizeof p->hex + 1];
    snprintf(instance, sizeof instance, "%s=%s", WORKER_ENV_INSTANCE, p->hex);
    char **envp = environment(spec, instance);
    struct child_spec child = {.program = spec->argv[0],
                               .argv = spec->argv,
                               .envp = envp,
                               .directory = spec->directory,
                               .output = output,
                               .pass = -1,
                               .death_signal = SIGTERM};
    int rc = child_start(&child, &p->child, e);
    mem_free(envp);
    return rc;
}

struct process *process_start(const struct process_spec *spec, struct err *e) {
    int pipe_fds[2];
    if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
        err_errno(e, "cannot start %s: pipe", spec->argv[0]);
        return NULL;
    }
    fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK);
    struct process *p = MEM_NEW(struct process);
    p->output = pipe_fds[0];
    random_bytes(p->instance, sizeof p->instance);
    process_hex(p->instance, p->hex);
    int rc = start(p, spec, pipe_fds[1], e);
    close(pipe_fds[1]);
    if (rc < 0)
        process_destroy(&p);
    else
        p->started = clock_mono();
    return p;
}

/* ---- ending --------------------------------------------------------------------------------- */
bool process_ended(struct process *p, struct child_end *end) {
    if (!child_reap(&p->child, end))
        return false;
    process_read(p);
    close_output(p); /* somebody that it started may hold the other end */
    return true;
}

void process_destroy(struct process **pp) {
    struct process *p = *pp;
    *pp = NULL;
    if (!p)
        return;
    close_output(p);
    mem_free(p);
}

uint64_t process_rss(const struct process *p) {
    char path[64], text[128];
    snprintf(path, sizeof path, "/proc/%d/statm", (int)p->child.pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text);
    close(fd);
    /* "size resident shared ...", in pages. */
    const char *blank = n > 0 ? memchr(text, ' ', (size_t)n) : NULL;
    const char *from = blank ? blank + 1 : NULL;
    const char *to = from ? memchr(from, ' ', (size_t)(text + n - from)) : NULL;
    uint64_t pages = 0;
    if (to)
        str_to_u64(str_make(from, (size_t)(to - from)), UINT64_MAX >> 16, &pages);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}
