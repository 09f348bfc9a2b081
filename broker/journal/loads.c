#include "broker/journal/loads.h"

#include "common/base/check.h"
#include "common/base/mem.h"

void loads_init(struct loads *l, uint32_t max) {
    *l = (struct loads){.max = max};
    ring_init(&l->requests, max, sizeof(struct load_request));
    ring_init(&l->answers, max, sizeof(struct load_answer));
    ring_init(&l->known, max, sizeof(struct load_answer));
}

/* No more than `max` loads are under way, so no ring is ever full. */
static void push(struct ring *r, const void *item) {
    bool room = ring_push(r, item);
    ASSERT(room);
}

void loads_clear(struct loads *l) {
    struct load_answer answer;
    while (l->answers.slots && ring_pop(&l->answers, &answer))
        mem_free(answer.memory);
    while (l->known.slots && ring_pop(&l->known, &answer))
        mem_free(answer.memory);
    ring_clear(&l->requests);
    ring_clear(&l->answers);
    ring_clear(&l->known);
    MEM_FREE(l->shown);
}

bool loads_ask(struct loads *l, const struct load_request *request) {
    if (l->under_way == l->max)
        return false;
    l->under_way++;
    l->count++;
    push(&l->requests, request);
    return true;
}

bool loads_know(struct loads *l, uint64_t token, const struct journal_record *r,
                const struct err *err) {
    if (l->under_way == l->max)
        return false;
    l->under_way++;
    l->count++;
    struct load_answer answer = {.done.token = token};
    if (r) {
        answer.memory = mem_alloc(r->body.len + 1);
        memcpy(answer.memory, r->body.at, r->body.len);
        answer.done.record = *r;
        answer.done.record.body.at = answer.memory;
    } else {
        answer.done.err = *err;
    }
    push(&l->known, &answer);
    return true;
}

bool loads_take(struct loads *l, struct journal_load_done *out) {
    struct load_answer answer;
    MEM_FREE(l->shown);
    if (!ring_pop(&l->known, &answer) && !ring_pop(&l->answers, &answer))
        return false;
    ASSERT(l->under_way > 0);
    l->under_way--;
    l->shown = answer.memory;
    *out = answer.done;
    return true;
}

bool loads_waiting(const struct loads *l) {
    return !ring_empty(&l->requests);
}

bool loads_next(struct loads *l, struct load_request *out) {
    return ring_pop(&l->requests, out);
}

void loads_answer(struct loads *l, const struct load_answer *answer) {
    push(&l->answers, answer);
}
