/* The suite that every journal passes, over what the implementations differ in. */
#pragma once

#include "broker/journal/journal.h"

struct journal_maker {
    const char *name;
    void *(*make)(void); /* a place for one journal */
    void (*unmake)(void *place);
    /* Opens what is in the place, as it was left by close, or by a kill. */
    int (*open)(void *place, struct journal **out, struct err *e);
};

/* Runs all tests over it; returns how many failed. */
int journal_contract(const struct journal_maker *maker);
