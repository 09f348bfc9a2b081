/* Waiting for the ends of jobs and of all below them, and printing their results in the order of
 * their submission.
 *
 * Ctrl-C and SIGTERM end the waiting, not the jobs. */
#pragma once

#include "cli/cli.h"

#include <signal.h>

#define WAITS_MAX 10000000 /* jobs waited for at a time */

/* How one of them ended, and its flow. */
struct wait_end {
    struct client_finished end; /* id 0: not yet */
    struct client_flow flow;    /* id 0: nothing was told of it yet */
    bool settled;               /* nothing more will be told of it */
};

struct waits {
    struct cli *c;
    bool many;
    uint64_t *ids;          /* 0: it was not accepted */
    enum err_code *refused; /* why not */
    size_t n, size;
    struct wait_end *window; /* of the next ones to be printed */
    size_t printed, watched;
    int status; /* of the first that did not end well */
};

/* Ctrl-C and SIGTERM, while something is waited for: `fd` is readable when one has come. */
struct interrupts {
    int fd;
    sigset_t old;
};
void interrupts_catch(struct interrupts *s);
void interrupts_release(struct interrupts *s);
/* Says BYE and ends this process by the signal that came. */
void interrupts_obey(struct interrupts *s, struct cli *c);

/* As --json shows how a job ended. */
json_t *finished_json(const struct client_finished *f, struct err *e);

void waits_init(struct waits *w, struct cli *c, bool many);
/* A job that was accepted; or 0, and why it was not. */
void waits_add(struct waits *w, uint64_t id, enum err_code refused);
/* The exit status: 0 if all ended well. */
int waits_run(struct waits *w);
void waits_done(struct waits *w);
