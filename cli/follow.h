/* Following the stream of one job: its text is printed as it comes, then how the job ended.
 *
 * Ctrl-C and SIGTERM end the following, not the job. */
#pragma once

#include "cli/cli.h"
#include "common/wire/stream_client.h"

struct follow {
    struct cli *c;
    struct stream_client *streams;
    uint64_t id;
    bool graced;      /* it is cancelled some time after nobody follows it any more */
    uint64_t channel; /* of the last text */
    bool within_line; /* what was printed last does not end its line */
    bool any;         /* something of the stream was printed */
    bool broken, ended;
    struct client_finished end;
};

/* Connects, and is ready to hear of whatever is attached from now on. */
int follow_open(struct follow *f, struct cli *c, struct err *e);
void follow_done(struct follow *f);
/* A job that was submitted with `attach`. The exit status, as of waits_run. */
int follow_run(struct follow *f, uint64_t id);
/* A job that is there, from the beginning of its stream. */
int follow_job(struct follow *f, uint64_t id);
