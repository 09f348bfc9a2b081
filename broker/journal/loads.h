/* Reading records back: requests from the dispatcher, answers from the keeper.
 *
 * Two rings with one writer and one reader each, both of `max` places: no more than `max` loads are
 * under way, so neither can overflow. Records that still stand in a batch are answered on the
 * dispatcher's side, through a ring of its own. A loaded body is one allocation, freed when the
 * next answer is taken. */
#pragma once

#include "broker/journal/journal.h"
#include "common/base/ring.h"

struct load_request {
    uint64_t pos, token;
    uint32_t bytes;
    bool closed; /* nobody writes the segment any more */
};

struct load_answer {
    struct journal_load_done done;
    void *memory; /* what the body stands in */
};

struct loads {
    uint32_t max;
    uint32_t under_way; /* the dispatcher's */
    uint64_t count;
    struct ring requests, answers, known;
    void *shown; /* the body that the dispatcher looks at */
};

void loads_init(struct loads *l, uint32_t max);
void loads_clear(struct loads *l);

/* ---- dispatcher ------------------------------------------------------------------------------ */
/* False when `max` are under way. */
bool loads_ask(struct loads *l, const struct load_request *request);
/* Answered at once: `r`, or `err` when r is NULL. */
bool loads_know(struct loads *l, uint64_t token, const struct journal_record *r,
                const struct err *err);
bool loads_take(struct loads *l, struct journal_load_done *out);

/* ---- keeper ---------------------------------------------------------------------------------- */
bool loads_waiting(const struct loads *l);
bool loads_next(struct loads *l, struct load_request *out);
/* Takes the memory over. */
void loads_answer(struct loads *l, const struct load_answer *answer);
