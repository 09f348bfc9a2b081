/* Rounds of killed processes under load: what the producers were told, held against what the broker
 * knows in the end.
 *
 * Vocabulary
 *   offer     one job of one SUBMIT, with a number of its own in its payload
 *   fate      what its sender knows of it: acknowledged, refused, or neither
 *   end       one acknowledged id and how its finished notices say it ended
 *   live      offers without an answer, and acknowledged jobs without an end */
#pragma once

#include "common/base/rng.h"
#include "common/wire/client.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CRASH_CLIENTS 3
#define CRASH_KEYS    8
#define CRASH_RESULT  40 /* bytes of a result that are kept */

enum fate { FATE_OPEN, FATE_ACKED, FATE_REFUSED, FATE_UNKNOWN };
enum work { WORK_ECHO, WORK_SLEEP, WORK_FAIL };

struct offer {
    enum work work;
    enum fate fate;
    uint32_t number; /* in its payload; of the first of its unique key */
    uint32_t detail; /* milliseconds of a sleep, failures before it succeeds */
    uint32_t key;    /* ordering key, 0: none */
    uint32_t unique; /* 0: none */
    uint32_t delay_ms;
    uint64_t id;
};

struct end {
    uint64_t id; /* 0: free */
    uint64_t state;
    uint32_t notices;
    bool acked;
    uint8_t result_len;
    char result[CRASH_RESULT];
};

struct load {
    struct client *clients[CRASH_CLIENTS];
    struct client *operator; /* asks for the status now and then */
    struct rng rng;
    struct offer *offers;
    uint32_t n_offers, size_offers;
    struct end *ends; /* open addressing */
    uint32_t n_ends, size_ends;
    uint32_t open;    /* offers without an answer */
    uint32_t waiting; /* acknowledged jobs without an end */
    uint32_t n_uniques, next_client;
    uint64_t events; /* answers and ends so far: what moments are counted in */
    uint64_t downs;  /* how often a client lost the broker */
    uint64_t asked_at;
    bool asked;
    /* of the lives of the broker */
    uint64_t epoch, stale, stale_before, unfinished;
    bool status_news;
    uint32_t wrong; /* what was found to be wrong, each printed */
};

#define CRASH_PAYLOAD 64
/* The payload of an offer; its length. */
size_t load_payload(const struct offer *o, char out[CRASH_PAYLOAD]);

void load_open(struct load *l, const char *run, uint64_t seed);
void load_close(struct load *l);
/* Serves all clients for at most `ms`, offering more if `offering`; back as soon as anything was
 * called back. */
void load_serve(struct load *l, bool offering, uint64_t ms);
/* The entry of an id, made if it is new. */
struct end *load_end(struct load *l, uint64_t id);
void load_ask_status(struct load *l);

/* Prints what is wrong, and counts it. */
void crash_wrong(struct load *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* After all has ended: holds everything against each other, and prints the counts. */
void crash_check(struct load *l);
