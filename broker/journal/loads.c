#include "broker/journal/loads.h"

#include "common/base/check.h"
#include "common/base/mem.h"

static uint32_t power_of_two(uint32_t n) {
    uint32_t p = 1;
    while (p < n)
        p *= 2;
    return p;
}

static void ring_init(struct load_ring *r, uint32_t places, size_t size) {
    atomic_init(&r->head, 0);
    atomic_init(&r->tail, 0);
    r->slots = mem_grow(NULL, places, size);
}

void loads_init(struct loads *l, uint32_t max) {
    uint32_t places = power_of_two(max);
    *l = (struct loads){.max = max, .mask = places - 1};
    ring_init(&l->requests, places, sizeof(struct load_request));
    ring_init(&l->answers, places, sizeof(struct load_answer));
    ring_init(&l->known, places, sizeof(struct load_answer));
}

/* Sequentially consistent, because threads go to sleep on the answer. */
static bool ring_empty(const struct load_ring *r) {
    return atomic_load(&r->head) == atomic_load_explicit(&r->tail, memory_order_relaxed);
}

/* Sequentially consistent, because a bell is rung or a flag raised behind it. */
static void ring_push(const struct loads *l, struct load_ring *r, const void *item, size_t size) {
    unsigned head = atomic_load_explicit(&r->head, memory_order_relaxed);
    ASSERT(head - atomic_load_explicit(&r->tail, memory_order_acquire) <= l->mask);
    memcpy((char *)r->slots + (head & l->mask) * size, item, size);
    atomic_store(&r->head, head + 1);
}

static bool ring_pop(const struct loads *l, struct load_ring *r, void *out, size_t size) {
    if (ring_empty(r))
        return false;
    unsigned tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    memcpy(out, (char *)r->slots + (tail & l->mask) * size, size);
    atomic_store_explicit(&r->tail, tail + 1, memory_order_release);
    return true;
}

void loads_clear(struct loads *l) {
    struct load_answer answer;
    while (l->answers.slots && ring_pop(l, &l->answers, &answer, sizeof answer))
        mem_free(answer.memory);
    while (l->known.slots && ring_pop(l, &l->known, &answer, sizeof answer))
        mem_free(answer.memory);
    MEM_FREE(l->requests.slots);
    MEM_FREE(l->answers.slots);
    MEM_FREE(l->known.slots);
    MEM_FREE(l->shown);
}

bool loads_ask(struct loads *l, const struct load_request *request) {
    if (l->under_way == l->max)
        return false;
    l->under_way++;
    l->count++;
    ring_push(l, &l->requests, request, sizeof *request);
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
    ring_push(l, &l->known, &answer, sizeof answer);
    return true;
}

bool loads_take(struct loads *l, struct journal_load_done *out) {
    struct load_answer answer;
    MEM_FREE(l->shown);
    if (!ring_pop(l, &l->known, &answer, sizeof answer) &&
        !ring_pop(l, &l->answers, &answer, sizeof answer))
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
    return ring_pop(l, &l->requests, out, sizeof *out);
}

void loads_answer(struct loads *l, const struct load_answer *answer) {
    ring_push(l, &l->answers, answer, sizeof *answer);
}
