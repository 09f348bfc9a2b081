/* What is on its way: in order where nothing is doubled. */
#include "tests/sim/stream_sim.h"

#include "common/base/mem.h"

static void insert(struct ss *s, struct ss_packet p) {
    if (s->n_packets == s->size_packets) {
        s->size_packets = s->size_packets ? s->size_packets * 2 : 64;
        s->packets = mem_grow(s->packets, s->size_packets, sizeof *s->packets);
    }
    uint32_t k = s->n_packets++;
    for (; k > 0 && s->packets[k - 1].at_ms > p.at_ms; k--)
        s->packets[k] = s->packets[k - 1];
    s->packets[k] = p;
}

static bool same_way(const struct ss_packet *a, const struct ss_packet *b) {
    return a->kind == b->kind && a->peer == b->peer &&
           (a->kind == SS_PUBLISHED || (a->job == b->job && a->attempt == b->attempt));
}

/* Not before what was sent earlier on the same way. */
static uint64_t arrival(struct ss *s, const struct ss_packet *p) {
    uint64_t at = s->now + rng_below(&s->rng, s->healed ? 20 : 60);
    for (uint32_t k = 0; k < s->n_packets; k++)
        if (same_way(&s->packets[k], p) && s->packets[k].at_ms > at &&
            s->packets[k].at_ms < s->now + 100)
            at = s->packets[k].at_ms;
    return at;
}

static char *copy(struct str bytes) {
    char *p = mem_alloc(bytes.len + 1);
    if (bytes.len)
        memcpy(p, bytes.at, bytes.len);
    return p;
}

void ss_send(struct ss *s, struct ss_packet p, struct str bytes, bool lossy) {
    if (lossy && ss_chance(s, s->loss))
        return;
    p.life = s->life;
    p.len = bytes.len;
    p.bytes = copy(bytes);
    p.at_ms = arrival(s, &p);
    insert(s, p);
    if (!lossy || !ss_chance(s, s->doubling))
        return;
    p.bytes = copy(bytes);
    p.at_ms += rng_below(&s->rng, 2) ? rng_below(&s->rng, 400) + 100 : 0;
    insert(s, p);
}

bool ss_arrived(struct ss *s, struct ss_packet *p) {
    if (s->n_packets == 0 || s->packets[0].at_ms > s->now)
        return false;
    *p = s->packets[0];
    s->n_packets--;
    memmove(s->packets, s->packets + 1, s->n_packets * sizeof *s->packets);
    return true;
}

void ss_put_back(struct ss *s, struct ss_packet p, uint64_t at_ms) {
    p.at_ms = at_ms;
    insert(s, p);
}

void ss_drop_all(struct ss *s) {
    for (uint32_t k = 0; k < s->n_packets; k++)
        mem_free(s->packets[k].bytes);
    mem_free(s->packets);
    s->packets = NULL;
    s->n_packets = s->size_packets = 0;
}
