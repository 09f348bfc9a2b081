/* Streams from one seed: writers, the relay, readers, and what lies between them.
 *
 * Time is virtual and moves in steps. Writers are models that say what they wrote as the protocol
 * has it (go-back-N); the relay and the readers are the code that is shipped. What goes from
 * writers to the relay and from it to readers is lost, late, doubled (the double may come much
 * later) and forged; needs are lost; attempts die and go on speaking; the relay starts anew;
 * readers are slow, leave and come back. In the second phase nothing goes wrong any more: then
 * every reader must be told the end.
 *
 * What must hold is checked by stream_observe.c, and by relay_check at every step. */
#pragma once

#include "broker/relay/relay.h"
#include "common/base/rng.h"
#include "common/wire/stream_reader.h"
#include "tests/sim/mutants.h"

#include <setjmp.h>

#define SS_JOBS     3
#define SS_PEERS    3
#define SS_ATTEMPTS 4  /* of a job */
#define SS_EPOCHS   4  /* of an attempt */
#define SS_EVENTS   96 /* of an epoch */
#define SS_STEP_MS  10
#define SS_SPAN_MS  2500  /* of the first phase */
#define SS_HEAL_MS  60000 /* by then all must have ended */
#define SS_RETRY_MS 150

struct ss;

enum ss_kind { SS_FRAME, SS_PUBLISHED, SS_NEED, SS_ATTACH, SS_FINISHED, SS_RESULT };

/* Something on its way. */
struct ss_packet {
    uint64_t at_ms;
    enum ss_kind kind;
    uint32_t job, peer, attempt, life;
    uint64_t token; /* NEED; FRAME: as the true writer says it, else 0 */
    struct stream_position position;
    char *bytes;
    size_t len;
};

struct ss_attempt {
    uint32_t job;
    uint64_t fence, token;
    bool alive, over;                  /* over: its result was taken, it has forgotten everything */
    uint64_t zombie_until;             /* dead for the core, but it speaks */
    uint32_t wrote[SS_EPOCHS], epochs; /* events of each epoch; how many epochs */
    uint32_t cursor_epoch, cursor;     /* said */
    uint32_t to_write, resets;
    uint64_t said_ms;               /* last */
    bool position_said;             /* since then */
    uint64_t result_ms;             /* offered last */
    struct stream_position needed;  /* named last by this life of the relay */
    bool got[SS_EPOCHS][SS_EVENTS]; /* by this life of the relay */
};

struct ss_job {
    uint64_t id, token;
    struct ss_attempt attempts[SS_ATTEMPTS];
    uint32_t n_attempts; /* the last one runs, unless... */
    uint64_t next_ms;    /* ...the next one begins then; 0: it runs */
    uint64_t adopt_ms;   /* the relay is new: it hears of the attempt then */
    bool whole, ended;
    uint64_t sent_epoch; /* by this life of the relay, to anybody */
    struct stream_position last;
};

struct ss_told {
    struct stream_reader reader;
    bool here, attached;
    struct stream_position at; /* what the observer heard; epoch 0: nothing since the last reset */
    uint64_t floor;            /* highest epoch of what it heard */
    enum stream_news end;
    struct stream_position sent; /* by the relay, from the attachment on */
    bool gone;                   /* the relay has said so */
};

struct ss_peer {
    struct stream_topic topic;
    uint64_t slow_until;
    struct ss_told told[SS_JOBS];
};

struct ss {
    struct rng rng;
    uint64_t now;
    bool loud, healed, tight;
    uint32_t loss, doubling, life, restarts; /* chances of a million; of the relay */
    uint64_t down_until;
    struct relay *relay;
    struct relay_config config;
    struct ss_job jobs[SS_JOBS];
    struct ss_peer peers[SS_PEERS];
    struct ss_packet *packets; /* by time */
    uint32_t n_packets, size_packets;
    char *words;
    size_t words_max;
    jmp_buf broken;
};

/* False with words if a rule was broken. */
bool stream_sim_run(uint64_t seed, bool loud, char *words, size_t max);

/* A broken rule: ends the run. */
#define SS_BROKEN(s, ...)                                                                          \
    do {                                                                                           \
        snprintf((s)->words, (s)->words_max, __VA_ARGS__);                                         \
        longjmp((s)->broken, 1);                                                                   \
    } while (0)
#define SS_RULE(s, holds, ...)                                                                     \
    do {                                                                                           \
        if (!(holds))                                                                              \
            SS_BROKEN(s, __VA_ARGS__);                                                             \
    } while (0)

static inline struct mono ss_now(const struct ss *s) {
    return (struct mono){s->now};
}

static inline bool ss_chance(struct ss *s, uint32_t of_million) {
    return !s->healed && rng_chance(&s->rng, of_million);
}

/* ---- stream_hop.c --------------------------------------------------------------------------- */
/* Takes `p.bytes` as a copy; lost, late and doubled where `lossy`. */
void ss_send(struct ss *s, struct ss_packet p, struct str bytes, bool lossy);
/* The next one that has arrived; its bytes are the caller's. */
bool ss_arrived(struct ss *s, struct ss_packet *p);
void ss_put_back(struct ss *s, struct ss_packet p, uint64_t at_ms);
void ss_drop_all(struct ss *s);

/* ---- stream_writer.c ------------------------------------------------------------------------ */
/* What stands at a position; the same whenever it is asked for. */
struct stream_event ss_event(uint64_t epoch, uint64_t seq, char room[64]);
struct stream_position ss_last_of(const struct ss_attempt *a);
void ss_begin_attempt(struct ss *s, struct ss_job *j);
void ss_write(struct ss *s, struct ss_attempt *a);
void ss_hear_need(struct ss_attempt *a, const struct ss_packet *p);
void ss_forge(struct ss *s);

/* ---- stream_observe.c ----------------------------------------------------------------------- */
void ss_see_publish(struct ss *s, uint32_t peer, const struct msg_stream *head, struct str events);
void ss_see_whole(struct ss *s, const struct ss_job *j, uint64_t fence);
void ss_mark_got(struct ss *s, const struct ss_packet *p);
/* Hears whatever the reader has to tell. */
void ss_hear(struct ss *s, uint32_t peer, uint32_t job);
void ss_check_end(struct ss *s);
