/* The questions of `quern top`: all of them at once, so that keys are heard while answers come.
 *
 * A *round* asks each part once; it is over when all have answered or failed. Of jobs that run one
 * page a round is asked for: where the broker holds many, they are found over several rounds. */
#pragma once

#include "cli/cli.h"
#include "cli/top_model.h"

#define TOP_ANSWER_MS 10000 /* a round that takes longer has failed */

struct top_asking {
    struct top_asks *all;
    enum top_part part;
    json_t *rows;
};

struct top_asks {
    struct cli *c;
    struct top_asking parts[TOP_PARTS];
    unsigned under_way;
    bool failed;     /* one of this round has */
    struct err err;  /* why */
    uint64_t before; /* jobs that run: where the next page begins; 0: at the newest */
    json_t *found;   /* ... those of the pages before it */
};

void top_asks_init(struct top_asks *a, struct cli *c);
/* Begins a round. -1: it could not be said. */
int top_asks_begin(struct top_asks *a, struct err *e);
bool top_asks_over(const struct top_asks *a);
/* Once over: gives the answers to the model. -1 with why not. */
int top_asks_take(struct top_asks *a, struct top_model *m, struct err *e);
void top_asks_done(struct top_asks *a);
