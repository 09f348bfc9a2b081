/* The network: packets that may be lost, late, twice or in another order. */
#include "tests/sim/sim.h"

#include "common/base/mem.h"

struct packet *packet_new(uint64_t link, bool to_broker, enum role role,
                          const struct frame_out *f) {
    struct packet *p = MEM_NEW(struct packet);
    *p = (struct packet){.link = link,
                         .to_broker = to_broker,
                         .role = role,
                         .head = f->head.len,
                         .body = f->body.len,
                         .payloads = f->payloads.len};
    p->bytes = mem_alloc(p->head + p->body + p->payloads);
    memcpy(p->bytes, f->head.at, p->head);
    memcpy(p->bytes + p->head, f->body.at, p->body);
    if (p->payloads)
        memcpy(p->bytes + p->head + p->body, f->payloads.at, p->payloads);
    return p;
}

static struct packet *copy(const struct packet *p) {
    struct packet *q = MEM_NEW(struct packet);
    *q = *p;
    size_t n = p->head + p->body + p->payloads;
    q->bytes = memcpy(mem_alloc(n), p->bytes, n);
    return q;
}

void packet_free(struct packet *p) {
    if (!p)
        return;
    mem_free(p->bytes);
    mem_free(p);
}

bool net_cut(const struct sim *s, uint64_t link) {
    for (uint32_t i = 0; i < SIM_CLIENTS; i++)
        if (s->clients[i].link == link)
            return s->clients[i].partition_until > s->now;
    for (uint32_t i = 0; i < SIM_WORKERS; i++)
        if (s->workers[i].link == link)
            return s->workers[i].partition_until > s->now;
    return false;
}

static uint64_t delay(struct sim *s) {
    uint64_t ms = rng_below(&s->rng, 3);
    if (!s->healing && rng_chance(&s->rng, 50000))
        ms += rng_below(&s->rng, s->slow_ms + 1);
    return ms;
}

void net_send(struct sim *s, struct packet *p) {
    bool lost = net_cut(s, p->link) || (!s->healing && rng_chance(&s->rng, s->loss));
    if (lost) {
        packet_free(p);
        return;
    }
    if (!s->healing && rng_chance(&s->rng, s->twice))
        sim_at(s, s->now + delay(s) + 1, SIM_PACKET, 0, copy(p));
    sim_at(s, s->now + delay(s), SIM_PACKET, 0, p);
}
