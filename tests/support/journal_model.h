/* What a journal must hold, and a random user of it: the checker behind the contract and crash
 * tests.
 *
 * Every record that is put has a serial number, in the order of the log, and belongs to an *item*;
 * the newest record of an item is live, as with the broker's jobs. Bodies are made from the serial,
 * so each byte can be checked. After an open the log must be a run of serials without a hole, from
 * no later than the oldest live record to no earlier than the last one reported durable.
 *
 * A violated promise ends the test with the seed in its message. Single-threaded. */
#pragma once

#include "broker/journal/journal.h"

#include <stdbool.h>
#include <stdint.h>

struct journal_model;

struct model_options {
    uint64_t seed;
    uint32_t body_max;  /* 0: 600, now and then 20,000 */
    uint32_t items_max; /* 0: 200 */
};

struct journal_model *model_new(const struct model_options *options);
void model_destroy(struct journal_model **m);

/* Replays `j` and checks what comes against what was put; the model goes on from there. -1 when the
 * replay itself fails. */
int model_attach(struct journal_model *m, struct journal *j, struct err *e);
/* The journal is gone; loads under way are forgotten. */
void model_detach(struct journal_model *m);
/* One thing that a broker might do next. */
void model_step(struct journal_model *m);
/* Takes in what the journal has to tell, checks loads that came back. */
void model_poll(struct journal_model *m);
/* Makes all durable and says so; -1 if the journal is READ_ONLY. */
int model_flush(struct journal_model *m);
/* Waits for all loads under way. */
void model_finish_loads(struct journal_model *m);
/* A load that fails is a broken promise unless `why(ctx)` is true. */
void model_loads_may_fail(struct journal_model *m, bool (*why)(void *ctx), void *ctx);

uint64_t model_cut_bytes(const struct journal_model *m); /* of the last attach */
uint64_t model_put(struct journal_model *m);
uint64_t model_records(const struct journal_model *m);
uint64_t model_before(const struct journal_model *m, uint64_t pos); /* serials before it */
uint64_t model_durable(const struct journal_model *m);              /* serial */
uint64_t model_live(const struct journal_model *m);                 /* items */
/* A step of one item: it ends by a short record; one that has ended is forgotten. */
void model_end_item(struct journal_model *m, uint64_t item);
/* A piece of cleaning, if the journal wants it. */
void model_clean(struct journal_model *m);
/* Ends all items but `leave`. */
void model_end_items(struct journal_model *m, uint32_t leave);
