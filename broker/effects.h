/* What the core does to the world: its `struct effects` over journal, outbox and log.
 *
 * Loads that the journal has no room for wait here, in order. A record that was released meanwhile
 * stays live until its load was asked for, so nothing may be cleaned while loads wait
 * (effects_loads_wait). One thread. */
#pragma once

#include "broker/core/core.h"
#include "broker/journal/journal.h"
#include "broker/outbox.h"
#include "broker/relay_thread.h"

#define EFFECTS_MARKS 1024U

struct load_ask {
    uint64_t position, token;
    uint32_t bytes;
    bool released;
};

struct effects_context {
    struct journal *journal;
    struct outbox *outbox;
    struct relay_thread *relay;
    unsigned char token_key[16];         /* of this life of the broker */
    struct buf scratch;                  /* envelopes of the record that is being put */
    uint64_t records, dispatches, ended; /* appended; attempts given to workers; jobs that ended */
    struct load_ask *asks;
    uint32_t asks_size, asks_first, asks_n; /* a ring */
    uint32_t marks[EFFECTS_MARKS];          /* how many asks have a position of that hash */
};

void effects_init(struct effects_context *x, struct journal *journal, struct outbox *outbox,
                  struct relay_thread *relay);
void effects_done(struct effects_context *x);
struct effects effects_of(struct effects_context *x);

bool effects_loads_wait(const struct effects_context *x);
/* Asks for as many of the loads that wait as the journal takes now. */
void effects_ask(struct effects_context *x);
