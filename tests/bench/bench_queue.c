/* Quern beside Redis Streams and an empty broker of libzmq, in one run on one machine.
 *
 *     bench_queue [--seconds N] [--jobs N] [--only NAME] [--all]
 *
 * N seconds for each sustained run (30); N jobs that wait at the restart (1,000,000), with --all
 * ten million as well. Figures of throughput are medians over seconds, those of latency over jobs.
 * Nothing is asserted. */
#include "tests/bench/bench_queue.h"

#include "common/base/str.h"
#include "common/os/clock.h"

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define SYNCS       1000U
#define BLOCK       4096U
#define SECONDS_MAX SAMPLES_MAX
#define JOBS_MAX    10000000

void die(const char *fmt, ...) {
    va_list args;
    fflush(stdout);
    fputs("bench_queue: ", stderr);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

void path_in(const struct bench *b, char out[PATH_SIZE], const char *name) {
    if (snprintf(out, PATH_SIZE, "%s/%s", b->root, name) >= (int)PATH_SIZE)
        die("the path of %s is too long", name);
}

/* ---- figures -------------------------------------------------------------------------------- */
void samples_begin(struct samples *s, uint64_t count) {
    *s = (struct samples){.ns = clock_mono_ns(), .count = count};
}

bool samples_add(struct samples *s, uint64_t count) {
    uint64_t now = clock_mono_ns();
    if (now - s->ns < SECOND_NS)
        return false;
    if (s->n < SAMPLES_MAX)
        s->rates[s->n++] = (double)(count - s->count) * 1e9 / (double)(now - s->ns);
    s->ns = now;
    s->count = count;
    return true;
}

static int by_rate(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int by_time(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

double samples_median(struct samples *s) {
    qsort(s->rates, s->n, sizeof s->rates[0], by_rate);
    return s->n ? s->rates[s->n / 2] : 0;
}

void heading(const char *text) {
    printf("\n%s\n", text);
    fflush(stdout);
}

static void show_cost(const struct cost *c) {
    if (c->broker_us >= 0)
        printf("  broker %5.2f us", c->broker_us);
    if (c->total_us >= 0)
        printf("  all %5.2f us", c->total_us);
    if (c->journal_bytes > 0)
        printf("  written %4.0f B", c->journal_bytes);
}

void row_rate(const char *what, struct samples *s, const struct cost *cost, double target) {
    double median = samples_median(s);
    printf("  %-44s %9.0f /s  (%.0f to %.0f)", what, median, s->n ? s->rates[0] : 0,
           s->n ? s->rates[s->n - 1] : 0);
    show_cost(cost);
    if (target > 0)
        printf("  target %.0f: %s", target, median >= target ? "met" : "missed");
    putchar('\n');
    fflush(stdout);
}

void row_latency(const char *what, uint64_t *ns, size_t n, double target_us) {
    if (n == 0)
        die("%s: nothing was measured", what);
    qsort(ns, n, sizeof *ns, by_time);
    size_t half = n / 2, last = n * 99 / 100;
    double p50 = (double)ns[half] / 1e3;
    printf("  %-44s p50 %7.1f us  p99 %7.1f us  (%zu)", what, p50, (double)ns[last] / 1e3, n);
    if (target_us > 0)
        printf("  target %.0f: %s", target_us, p50 <= target_us ? "met" : "missed");
    putchar('\n');
    fflush(stdout);
}

void row_text(const char *what, const char *fmt, ...) {
    va_list args;
    printf("  %-44s ", what);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

bool wanted(const struct bench *b, const char *name) {
    return !b->only || strcmp(b->only, name) == 0;
}

/* ---- the disk ------------------------------------------------------------------------------- */
/* What everything durable waits for: one written-over block. */
static void disk(const struct bench *b) {
    static uint64_t ns[SYNCS];
    static char block[BLOCK];
    char path[PATH_SIZE];
    path_in(b, path, "block");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        die("%s cannot be made", path);
    for (size_t i = 0; i < SYNCS; i++)
        if (pwrite(fd, block, sizeof block, (off_t)(i * BLOCK)) < 0)
            die("%s cannot be written", path);
    fsync(fd);
    for (size_t i = 0; i < SYNCS; i++) {
        uint64_t began = clock_mono_ns();
        if (pwrite(fd, block, sizeof block, (off_t)(i * BLOCK)) < 0 || fdatasync(fd) < 0)
            die("%s cannot be synced", path);
        ns[i] = clock_mono_ns() - began;
    }
    close(fd);
    unlink(path);
    heading("The disk");
    row_latency("write of 4 KiB and fdatasync", ns, SYNCS, 0);
}

/* ---- the process that measures -------------------------------------------------------------- */
static const struct part {
    const char *name;
    void (*run)(const struct bench *b);
} parts[] = {
    {"disk", disk},
    {"batched", quern_batched},
    {"unbatched", quern_unbatched},
    {"single", quern_single},
    {"fair", quern_fair},
    {"redis", redis_all},
    {"zmq", zmq_limit},
    {"idle", quern_idle},
    {"restart", quern_restart},
    {"stream", quern_streams},
};
#define PARTS (sizeof parts / sizeof *parts)

static void measure(const struct bench *b) {
    double load = 0;
    getloadavg(&load, 1); /* what others take of the machine spoils every figure below */
    printf("payloads of %u bytes; %ld cores, load %.1f before; %llu s a run\n", PAYLOAD_BYTES,
           sysconf(_SC_NPROCESSORS_ONLN), load, (unsigned long long)b->seconds);
    for (size_t i = 0; i < PARTS; i++)
        if (wanted(b, parts[i].name))
            parts[i].run(b);
}

/* ---- the process that cleans up ------------------------------------------------------------- */
static int wait_for(pid_t child, const sigset_t *set) {
    int status;
    while (waitpid(child, &status, WNOHANG) == 0) {
        siginfo_t info;
        int number = sigwaitinfo(set, &info);
        if (number == SIGINT || number == SIGTERM)
            kill(child, SIGKILL);
    }
    while (waitpid(-1, NULL, 0) > 0)
        continue; /* those of the child, which are killed with it, are ours now */
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static int run(struct bench *b) {
    sigset_t set, before;
    const char *tmp = getenv("TMPDIR");
    snprintf(b->root, sizeof b->root, "%s/quern-bench-XXXXXX",
             tmp && *tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    if (!mkdtemp(b->root))
        die("cannot make %s", b->root);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, &before);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        sigprocmask(SIG_SETMASK, &before, NULL);
        measure(b);
        exit(0);
    }
    int status = child > 0 ? wait_for(child, &set) : 1;
    remove_tree(b->root);
    return status;
}

static void usage(void) {
    fputs("usage: bench_queue [--seconds N] [--jobs N] [--all] [--only NAME]\n  NAME:", stderr);
    for (size_t i = 0; i < PARTS; i++)
        fprintf(stderr, " %s", parts[i].name);
    fputc('\n', stderr);
    exit(2);
}

static bool is_part(const char *name) {
    for (size_t i = 0; i < PARTS; i++)
        if (strcmp(parts[i].name, name) == 0)
            return true;
    return false;
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"about", no_argument, NULL, 'h'},         {"all", no_argument, NULL, 'a'},
        {"seconds", required_argument, NULL, 's'}, {"jobs", required_argument, NULL, 'j'},
        {"only", required_argument, NULL, 'o'},    {0}};
    struct bench b = {.seconds = 30, .jobs = 1000000};
    bool fine = true;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'h') {
            puts("whole queues side by side: Quern, Redis Streams, an empty libzmq broker");
            return 0;
        }
        if (c == 'a')
            b.all = true;
        else if (c == 's')
            fine &= str_to_u64(str_of(optarg), SECONDS_MAX, &b.seconds);
        else if (c == 'j')
            fine &= str_to_u64(str_of(optarg), JOBS_MAX, &b.jobs);
        else if (c == 'o' && is_part(optarg))
            b.only = optarg;
        else
            usage();
    }
    if (!fine || optind < argc || b.seconds == 0 || b.jobs == 0)
        usage();
    return run(&b);
}
