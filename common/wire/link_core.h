/* What a peer has to say to the broker, and when: the pure part of a link.
 *
 * No clock, no socket, no random source: times come in as arguments, what is to be done goes out as
 * `struct link_todo`. So the link of link.h and a simulation with virtual time run the same code.
 *
 *     CLOSED ──start──▶ GREETING ──WELCOME──▶ UP
 *                          ▲ ▲                │ NO_HELLO, another epoch: HELLO again
 *                          │ └────────────────┤
 *                          └── new socket ◀───┘ silence of missed_max * heartbeat_ms
 *     WAITING: no socket could be had, another peer has our name, the broker said BYE, or the
 *     connection was cut: until the back-off has passed
 *     REFUSED: for good
 *
 * What always holds
 *   - every HELLO has a sequence of its own, and only the WELCOME of the last one counts;
 *   - silence is measured in time that we were awake, and only when all that had arrived was read;
 *   - a socket that brought no WELCOME is replaced after a lease and a jittered back-off that
 *     doubles up to LINK_BACKOFF_MAX_MS: it goes on trying to connect meanwhile, so that a broker
 *     that comes back is found at once. */
#pragma once

#include "common/base/err.h"
#include "common/base/rng.h"
#include "common/base/time_types.h"
#include "schemas/messages.h"

#define LINK_BACKOFF_MIN_MS 100
#define LINK_BACKOFF_MAX_MS 5000
#define LINK_STARTING_MS    1000 /* the longest wait after STARTING */
#define LINK_STREAM_MAX     128  /* bytes of a stream socket's name */

enum link_state {
    LINK_STATE_CLOSED,
    LINK_STATE_WAITING,
    LINK_STATE_GREETING,
    LINK_STATE_UP,
    LINK_STATE_REFUSED,
};

struct link_core {
    enum link_state state;
    bool hello_open;         /* the last HELLO is not answered */
    bool hello_due;          /* it was answered by "not now": again at `retry` */
    uint64_t sequence;       /* the last one given */
    uint64_t hello_sequence; /* of the last HELLO */
    uint64_t epoch;          /* of the last WELCOME; 0 before */
    struct msg_welcome terms;
    char stream[LINK_STREAM_MAX]; /* its text */
    uint32_t failures;            /* in a row */
    uint64_t patience_ms;         /* silence that is borne in this state */
    struct mono heard;            /* the last sign of life, moved on by what we slept */
    struct mono ticked;           /* the last call */
    struct mono beat;             /* the next heartbeat */
    struct mono retry;            /* WAITING: the next socket; hello_due: the next HELLO */
    struct mono hello_said;
    struct err not_now; /* why the broker put the last HELLO off; code 0: it did not */
    struct rng rng;
};

/* What the driver must do, in this order. */
struct link_todo {
    bool close;     /* the socket, and forget what waits in it */
    bool open;      /* a new one; link_core_failed if that cannot be */
    bool hello;     /* with sequence `hello_sequence` */
    bool heartbeat; /* with sequence 0 and `epoch` */
    bool up;        /* tell the user */
    bool new_epoch; /* with up: another life of the broker */
    bool down;      /* tell the user, with `err` */
    bool refused;   /* likewise; nothing will ever follow */
    struct err err;
};

void link_core_init(struct link_core *k, uint64_t seed);
/* Each sets `todo` anew. */
void link_core_start(struct link_core *k, struct mono now, struct link_todo *todo);
/* `drained`: the socket was empty at some moment since `now`. */
void link_core_tick(struct link_core *k, struct mono now, bool drained, struct link_todo *todo);
/* Any message that could be read. True: it is the user's business too. `message` is its first item.
 */
bool link_core_message(struct link_core *k, struct mono now, enum verb verb, uint64_t sequence,
                       const void *message, struct link_todo *todo);
/* The connection has ended, and all that had arrived on it was read. */
void link_core_cut(struct link_core *k, struct mono now, struct link_todo *todo);
/* No socket could be opened. */
void link_core_failed(struct link_core *k, struct mono now);
/* HELLO says something new. Nothing to do while not up: the next HELLO will say it. */
void link_core_hello_again(struct link_core *k, struct mono now, struct link_todo *todo);
/* The next sequence of a request. */
uint64_t link_core_sequence(struct link_core *k);
/* When link_core_tick is needed at the latest. */
struct mono link_core_next(const struct link_core *k);

static inline uint64_t link_core_lease_ms(const struct link_core *k) {
    return k->terms.heartbeat_ms * k->terms.missed_max;
}
