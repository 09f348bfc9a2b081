/* The suite that every journal passes, over what the implementations differ in. */
#pragma once

#include "broker/journal/journal.h"

/* What a turn may put; implementations that have such a bound are opened with it. */
#define CONTRACT_TURN_BYTES (1U << 20)

struct journal_maker {
    const char *name;
    void *(*make)(void); /* a place for one journal */
    void (*unmake)(void *place);
    /* Opens what is in the place, as it was left by close, or by a kill. */
    int (*open)(void *place, struct journal **out, struct err *e);
};

/* Runs all tests over one; returns how many failed. */
int journal_contract(const struct journal_maker *of);
