/* What the core does to the world: its `struct effects` over journal, outbox and log.
 *
 * Loads that the journal has no room for, or that would make what is being read at a time more than
 * EFFECTS_READING_BYTES, wait here, in order. A record that was released meanwhile stays live until
 * its load was asked for, so nothing may be cleaned while loads wait (effects_loads_wait). What a
 * load reads for the question of a peer is reserved for his connection until it was read (conns.h).
 * One thread. */
#pragma once

#include "broker/core/core.h"
#include "broker/journal/journal.h"
#include "broker/outbox.h"
#include "broker/relay_thread.h"
#include "broker/schedule/calendar.h"

#define EFFECTS_MARKS         1024U
#define EFFECTS_READING_BYTES (8U << 20)   /* what one turn can be given at once */
#define EFFECTS_READ_COST     (128U << 10) /* a read at least: CONNS_BYTES are 512 of them */

struct load_ask {
    uint64_t position, token;
    uint32_t bytes;
    bool released;
};

/* A load that is under way. */
struct reading {
    struct conn *asker; /* or NULL */
    size_t reserved;
    uint32_t bytes;
    bool asked; /* the journal knows of it */
};

struct effects_context {
    struct journal *journal;
    struct outbox *outbox;
    struct relay_thread *relay;
    struct peers *peers;                 /* NULL in tests: nothing is reserved */
    struct zones *zones;                 /* that schedules have named */
    struct core *core;                   /* likewise */
    unsigned char token_key[16];         /* of this life of the broker */
    struct buf scratch;                  /* envelopes of the record that is being put */
    uint64_t records, dispatches, ended; /* appended; attempts given to workers; jobs that ended */
    struct load_ask *asks;
    uint32_t asks_size, asks_first, asks_n; /* a ring */
    uint32_t marks[EFFECTS_MARKS];          /* how many asks have a position of that hash */
    struct reading *readings;               /* by token, which count from 1 up */
    uint32_t readings_size;
    size_t reading_bytes; /* that the journal was asked for */
};

void effects_init(struct effects_context *x, struct journal *journal, struct outbox *outbox,
                  struct relay_thread *relay);
void effects_done(struct effects_context *x);
struct effects effects_of(struct effects_context *x);

/* The record of a load has come, or will not. */
void effects_loaded(struct effects_context *x, uint64_t token);
bool effects_loads_wait(const struct effects_context *x);
/* Asks for as many of the loads that wait as the journal takes now. */
void effects_ask(struct effects_context *x);
