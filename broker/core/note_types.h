/* What is kept of notes, and timers: for core_types.h, which says who may include it. */
#pragma once

#include "common/base/lhash.h"
#include "common/base/slab.h"
#include "schemas/messages.h"

struct timer {
    uint64_t when;
    uint32_t item;
    uint32_t what;
};

struct timers {
    struct timer *at; /* a heap; at[0] is unused */
    uint32_t n, size;
};

/* A note, or the memory of one that was removed: peers that were told of it must hear that. */
struct note {
    uint32_t hash_next;
    uint32_t next, prev; /* in the order of versions */
    uint32_t timer;      /* while it is there */
    uint64_t version;
    uint64_t ends_ms; /* monotone */
    uint64_t told_ms; /* until then a peer may show one of its earlier values */
    uint32_t pid;     /* of who set it, as the following */
    uint8_t instance[16];
    bool gone;
    uint8_t name_len, by_len;
    uint16_t value_len;
    char name[NAME_MAX_LEN], by[128], value[NOTE_MAX_LEN];
};

struct notes {
    struct slab items;
    struct lhash index;
    uint32_t head, tail; /* the one that changed last is the last */
    uint32_t there, gone;
    uint64_t version; /* of the last change */
    uint64_t floor;   /* what was removed up to here is not remembered */
    struct timers ends;
};

/* What one peer was told last. One telling at a time is under way: the next one waits until the
 * peer has said that it has it, or until it must be taken for lost. */
struct note_telling {
    uint64_t from;     /* behind this version, */
    uint64_t upto;     /* up to this one; 0: nothing is under way */
    uint64_t again_ms; /* until then it is waited for */
    uint32_t tries;
};
