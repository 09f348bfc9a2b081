/* A quern-worker of a test's own, and a client beside it. Fails the test if it cannot do what it
 * says; ends only the process that it started. */
#pragma once

#include "common/wire/client.h"
#include "schemas/states.h"
#include "tests/e2e/broker_process.h"

#define WORKER_DEADLINE_MS 30000

struct worker {
    pid_t pid; /* 0: does not run */
    uint8_t instance[16];
    unsigned files_max; /* its limit of open files; 0: as usual */
};

/* `arguments`: options separated by spaces ("--slots 2"); `setting`: NAME=VALUE for its
 * environment, or NULL. Its standard error goes to the broker's log. */
void worker_start(struct worker *w, const struct broker *b, const char *arguments,
                  const char *setting);
void worker_signal(const struct worker *w, int signal);
/* Waits for its end: its exit status, or -1 if a signal ended it. */
int worker_wait(struct worker *w);
void worker_kill(struct worker *w);
/* Ends it if it runs. */
void worker_remove(struct worker *w);

/* An operator, connected. */
struct client *worker_client(const struct broker *b);
struct mono worker_deadline(void);
/* One job; its id. `payload` is JSON. */
uint64_t worker_submit(struct client *c, const char *kind, const char *payload);
uint64_t worker_submit_as(struct client *c, const struct msg_submit *m, const char *payload);
/* Asks until it is in that state; what is known of it then (numbers only). */
struct msg_job_info worker_await_state(struct client *c, uint64_t id, enum job_state state);
struct msg_status_info worker_status(struct client *c);
/* Waits until so many workers are connected. */
void worker_await_workers(struct client *c, uint64_t n);
/* Waits for its end, which must be that state; its error. */
struct err worker_await_end(struct client *c, uint64_t id, enum job_state state);
