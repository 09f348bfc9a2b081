/* Questions of peers that do not read fast enough: they wait here until there is room for their
 * answers (conns.h), and are given out in turns, one of each peer.
 *
 * What always holds: questions of one connection leave in the order in which they came. Bounds: of
 * one connection as many as it may have unanswered, with WAITING_PEER_BYTES; of all together
 * WAITING_BYTES. What is beyond is refused with BUSY. What *ends* something (DETACH) gets no
 * answer, and so no BUSY: it waits only behind what *begins* something (ATTACH, WATCH_JOB), and
 * then has as many bytes beside the bounds as that has. One thread. */
#pragma once

#include "broker/peers.h"

#define WAITING_PEER_BYTES (1U << 20)
#define WAITING_BYTES      (32U << 20)

struct waiting_line;

enum waiting_what { WAITING_ASKS, WAITING_BEGINS, WAITING_ENDS };

struct waiting {
    struct waiting_line *first, *last; /* a ring of those who wait, in turns */
    uint32_t lines, requests;
    size_t bytes;
    uint32_t peer_max; /* requests of one connection */
};

void waiting_init(struct waiting *w, uint32_t peer_max);
void waiting_done(struct waiting *w);

/* Takes over what the parcel holds, which must be given back all the same. -1 with BUSY. */
int waiting_put(struct waiting *w, struct conn *c, struct parcel *in, enum waiting_what what,
                struct err *e);
/* Whether something waits that begins: what ends must not overtake it. */
bool waiting_begins(const struct conn *c);
/* The next one that has room; false: nobody has. Must be given back with parcel_done. What closed
 * connections asked is forgotten. */
bool waiting_take(struct waiting *w, struct parcel *out);
/* Whether waiting_take has something to do. */
bool waiting_has_room(const struct waiting *w);
/* Forgets what the connection asked; how many that were. */
uint32_t waiting_forget(struct waiting *w, struct conn *c);
