/* What is known of peers: for core_types.h, which says who may include it. */
#pragma once

#include "broker/core/note_types.h"
#include "common/base/str.h"
#include "schemas/messages.h"

struct reply {
    uint64_t sequence, after;
    enum verb verb;
    uint32_t n;
    uint64_t first_id; /* when all items were accepted with ids in a row */
    struct reply_item *items;
    struct reply *older, *newer; /* among all that have items */
    uint32_t session;            /* whose it is, while it has items */
    bool dropped;                /* it was too much to keep: known, but not what was answered */
};

struct reply_item {
    uint64_t id;
    uint32_t code;
    uint32_t count;
    bool duplicate, flow;
};

struct session {
    uint8_t instance[16];
    uint64_t link, old_link;
    uint64_t heard_ms;              /* awake time */
    uint64_t hello_sequence, first; /* of its first hello: no request has a smaller one */
    enum role role;
    uint32_t hash_next, link_next;
    uint32_t worker;
    uint32_t watches;      /* its watch entries */
    struct reply *replies; /* a ring of outstanding_max, by sequence */
    uint32_t reply_items;
    uint64_t highest;
    bool gone, supervisor;
    bool has_key;
    uint8_t key[32];   /* what it said its first hello with: nobody else goes on with it */
    bool quiet;        /* was silent for a lease and lost what it was attached to: to be told */
    uint64_t quiet_ms; /* the silence that was last acted on: since when, plus one */
    struct note_telling notes;
    struct str name, host;
    uint32_t pid;
};
