/* Whole queues side by side: what the files of bench_queue share.
 *
 * The first process only waits, and cleans up when the second one, which measures, has ended in
 * whatever way: all other processes are killed with their parent, and the folder goes last. What
 * cannot be done ends the measuring process by `die`. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PAYLOAD_BYTES 256U
#define BATCH         256U
#define SAMPLES_MAX   600U
#define SECOND_NS     1000000000ULL
#define PATH_SIZE     128U

struct bench {
    uint64_t seconds; /* of each sustained run */
    uint64_t jobs;    /* that wait at the restart */
    bool all;
    const char *only;
    char root[64]; /* the folder of this run */
};

void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
void path_in(const struct bench *b, char out[PATH_SIZE], const char *name);

/* ---- processes (bench_queue_process.c) ------------------------------------------------------ */
struct process {
    pid_t pid; /* 0: none */
};

/* Runs a program; its output goes to the file `log`. With `ready_fd` it is told `--ready-fd N`, and
 * waited for until it wrote there; returns how many milliseconds that took. */
double process_start(struct process *p, const char *const *argv, const char *log, bool ready_fd);
/* Runs `body` in a child. */
void process_fork(struct process *p, void (*body)(const void *arg), const void *arg);
/* SIGTERM, and SIGKILL if that does not help. */
void process_stop(struct process *p);
/* Waits until a process that ends by itself has ended. */
void process_wait(struct process *p);

struct usage {
    uint64_t cpu_us;
    uint64_t written; /* bytes by write calls */
    uint64_t rss, private_bytes;
};
/* pid 0: this process. */
struct usage process_usage(pid_t pid);
void remove_tree(const char *path);

/* ---- figures (bench_queue.c) ---------------------------------------------------------------- */
/* How many were done at which times: one rate a second. */
struct samples {
    double rates[SAMPLES_MAX];
    size_t n;
    uint64_t ns, count; /* of the last one */
};
void samples_begin(struct samples *s, uint64_t count);
/* True once a second has passed since the last one that counted. */
bool samples_add(struct samples *s, uint64_t count);
double samples_median(struct samples *s);

struct cost {
    double broker_us, total_us, journal_bytes; /* of a job; less than 0: not known */
};
#define NO_COST ((struct cost){-1, -1, -1})

bool wanted(const struct bench *b, const char *name);
void heading(const char *text);
/* `target` 0: none. */
void row_rate(const char *what, struct samples *s, const struct cost *cost, double target);
void row_latency(const char *what, uint64_t *ns, size_t n, double target_us);
void row_text(const char *what, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- what is measured ----------------------------------------------------------------------- */
void quern_batched(const struct bench *b);
void quern_unbatched(const struct bench *b);
void quern_single(const struct bench *b);
void quern_fair(const struct bench *b);
void quern_idle(const struct bench *b);
void quern_restart(const struct bench *b);
void quern_streams(const struct bench *b);
void redis_all(const struct bench *b);
void zmq_limit(const struct bench *b);
