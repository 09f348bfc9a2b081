/* What a worker process holds, and what it says about it: the pure part of a worker.
 *
 * No clock, socket or thread: times come in as arguments, what is to be done goes out through
 * `struct agent_effects`. The host thread of a worker and a simulation run the same code.
 *
 * Vocabulary
 *   attempt   one (job, fence) that the broker gave us
 *   waiting   no slot has it yet: it can be given back at no cost
 *   running   a slot has it, or it runs inline (trivial kinds that need no slot)
 *   ended     its RESULT was said and is not acknowledged: kept, and said again
 *   spawning  it runs, and waits to hear that a child of it is durable
 *   gone      it runs, but the broker has given the job to somebody else: nothing is said about it
 *
 * What always holds
 *   - a job is held at most once, with the highest fence that was given for it;
 *   - a RESULT is kept until RESULT_ACK or LOST, said again after every WELCOME and when it stood
 *     unacknowledged for a lease (P-49);
 *   - the stream of an attempt is kept as long as the attempt is, and handed back once;
 *   - at most slots + prefetch attempts wait or run, at most AGENT_UNACKED_MAX are ended; one more
 *     means that the broker and we are out of step, and HELLO is said again to sort that out;
 *   - while results and children that were not acknowledged hold AGENT_UNACKED_BYTES of memory,
 *     nothing more is started;
 *   - an attempt waits for the answer about one child at a time; that is said again after every
 *     WELCOME and when it stood unanswered for a lease (P-83), until the attempt is told to stop;
 *   - between a HELLO and its WELCOME nothing new is taken: the broker takes back what the HELLO
 *     did not name;
 *   - while it leaves on its own account every HELLO offers no more slots than run, so that the
 *     broker has nothing to give.
 *
 * The effects may call agent_ended from `start`, and nothing else. One thread. */
#pragma once

#include "common/base/err.h"
#include "common/base/lhash.h"
#include "common/base/slab.h"
#include "common/base/time_types.h"
#include "common/base/trace.h"
#include "common/wire/stream_frame.h"
#include "schemas/messages.h"
#include "schemas/states.h"
#include "workers/harness/children.h"
#include "workers/harness/note_wish.h"

#define AGENT_SLOTS_MAX     1024
#define AGENT_PREFETCH_MAX  4096
#define AGENT_UNACKED_MAX   5120
#define AGENT_UNACKED_BYTES (256U << 20)
#define AGENT_TICK_MS       100

struct agent;

enum attempt_state { ATTEMPT_WAITING, ATTEMPT_RUNNING, ATTEMPT_GONE, ATTEMPT_ENDED };

/* How an attempt ended. */
struct ending {
    enum result_outcome outcome;
    enum err_code error; /* OK, or of the error table */
    uint64_t retry_after_ms;
    struct str text;             /* copied */
    struct str result;           /* in `memory`, or in the attempt's payload */
    char *memory;                /* of mem_alloc; the agent takes it; may be NULL */
    struct stream_position last; /* of its stream; epoch 0: it wrote none */
    struct children children;    /* that it spawns, if it is done; the agent takes them */
};

/* What a then is told of whom it waited for. */
struct siblings {
    enum job_state parent_state; /* NONE: it is no then */
    uint32_t total, done, dead, cancelled, expired;
    uint32_t broken; /* of the done ones, whose own flow was cancelled */
};

/* A child that an attempt waits for. */
struct spawning {
    bool open;
    struct children child; /* one, with its parent, fence and index */
    uint32_t index;
    uint64_t sequence; /* of the last time it was said; 0: it was not */
    struct mono said;
};

/* A note that an attempt sets, and waits to hear about: said once, for nothing depends on it. */
struct noting {
    struct note_wish *wish; /* NULL: it does not wait */
    uint64_t sequence;
    struct mono said;
};

struct attempt {
    uint64_t job, fence;
    enum attempt_state state;
    enum err_code stop; /* OK, or why it was told to stop */
    bool alone, is_inline;
    uint32_t number, number_max; /* which attempt of how many; 0: any number */
    uint64_t timeout_ms;         /* 0: none */
    struct mono started;
    struct str kind, tenant, payload; /* in `memory` */
    struct str trace;                 /* there, or `span` */
    struct trace_text span;           /* the driver's: its own place in the trace */
    bool streams;                     /* the broker wants its stream, */
    uint64_t token;                   /* under this token */
    uint64_t parent;                  /* 0: none */
    struct siblings siblings;
    void *user;                /* the driver's */
    const void *kind_data;     /* likewise: what its kind has for its code */
    struct stream_out *stream; /* the driver's, until `release`; NULL: it writes none */
    /* the agent's own */
    char *memory;
    struct ending ending;
    struct spawning spawning;
    struct noting noting;
    size_t unacked_bytes; /* of its ending */
    struct mono said;
    uint32_t index, hash_next, next, prev;
};

enum agent_route { AGENT_REJECT = -1, AGENT_SLOT, AGENT_INLINE };

struct agent_effects {
    void *ctx;
    /* To the broker, in this order. May be lost. `children`: of a result; else NULL. */
    void (*say)(void *ctx, enum verb verb, const void *message, struct str payload,
                const struct children *children);
    /* SPAWN, behind what was said. Its sequence; 0 if it cannot be sent now. */
    uint64_t (*spawn)(void *ctx, const struct children *child);
    /* What became of the child that it waits for: code OK, it is durable. */
    void (*spawned)(void *ctx, struct attempt *a, const struct err *e);
    /* SET_NOTE, behind what was said. Its sequence; 0 if it cannot be sent now. */
    uint64_t (*note)(void *ctx, const struct msg_set_note *m);
    /* What became of it: code OK, it has that version now. */
    void (*noted)(void *ctx, struct attempt *a, const struct msg_set_note *m, uint64_t version,
                  const struct err *e);
    /* HELLO again, behind what was said. */
    void (*hello)(void *ctx);
    /* Whether and where it can run; REJECT with why. */
    enum agent_route (*admit)(void *ctx, struct attempt *a, struct err *e);
    /* Runs it; agent_ended follows, at once for one that is inline. */
    void (*start)(void *ctx, struct attempt *a);
    /* Tells it to stop: `a->stop` says why. STALE_FENCE: what it reports will be dropped. */
    void (*stop)(void *ctx, struct attempt *a);
    /* The stream of one that runs or has ended is said again from behind `have` on, under the token
     * that it has by now. */
    void (*again)(void *ctx, struct attempt *a, struct stream_position have);
    /* Nobody will ask for `a->stream` again. */
    void (*release)(void *ctx, struct attempt *a);
};

struct agent_config {
    uint32_t slots, prefetch;
};

struct agent *agent_new(const struct agent_config *config, const struct agent_effects *effects);
/* Nothing may run any more. */
void agent_destroy(struct agent **a);

/* ---- the link ------------------------------------------------------------------------------- */
void agent_welcome(struct agent *a, struct mono now, const struct msg_welcome *terms);
void agent_down(struct agent *a);
/* What HELLO and HEARTBEAT say; lists borrow until the next call. */
void agent_fill_hello(struct agent *a, struct msg_hello *m);
void agent_fill_heartbeat(const struct agent *a, struct msg_heartbeat *m);

/* ---- what the broker says ------------------------------------------------------------------- */
void agent_dispatch(struct agent *a, struct mono now, const struct msg_dispatch *m,
                    struct str payload);
void agent_result_ack(struct agent *a, struct mono now, const struct msg_attempt_ref *m);
void agent_spawned(struct agent *a, uint64_t sequence, const struct msg_spawned *m);
/* False: nobody here has asked for that. */
bool agent_outcome(struct agent *a, uint64_t sequence, const struct msg_outcome *m);
/* ERROR about the whole message of that sequence. */
void agent_refused(struct agent *a, uint64_t sequence, const struct msg_error *m);
void agent_cancel(struct agent *a, struct mono now, const struct msg_attempt_ref *m);
void agent_lost(struct agent *a, struct mono now, const struct msg_attempt_ref *m);
void agent_stream_need(struct agent *a, const struct msg_stream_need *m);
void agent_recall(struct agent *a, struct mono now, const struct msg_attempt_ref *m);

/* ---- what happens here ---------------------------------------------------------------------- */
void agent_ended(struct agent *a, struct mono now, struct attempt *t, const struct ending *end);
/* A child of one that runs, to be durable before it goes on: effect `spawned` follows, unless the
 * attempt is told to stop or ends. Takes what `child` holds. */
void agent_spawn(struct agent *a, struct mono now, struct attempt *t, struct children *child,
                 uint32_t index);
/* A note that one that runs sets: effect `noted` follows within a lease, unless the attempt ends.
 * Takes the wish. */
void agent_note(struct agent *a, struct mono now, struct attempt *t, struct note_wish *wish);
void agent_progress(struct agent *a, const struct attempt *t, uint64_t done, uint64_t total);
/* Says again what was not acknowledged, stops what is over its time. */
void agent_tick(struct agent *a, struct mono now);
/* When agent_tick is needed at the latest. */
struct mono agent_next(const struct agent *a, struct mono now);
/* Takes no more, gives back what waits. `own`: on its own account, the broker does not know. */
void agent_drain(struct agent *a, bool own);
/* Tells all that run to stop. */
void agent_stop_all(struct agent *a);

bool agent_is_draining(const struct agent *a);
/* Draining, nothing runs, and every result was acknowledged. */
bool agent_is_drained(const struct agent *a);
uint32_t agent_running(const struct agent *a); /* without those that are gone */
uint32_t agent_unacked(const struct agent *a);
uint64_t agent_done(const struct agent *a); /* attempts ended since the start */
/* Calls `visit` for each running attempt. */
void agent_each_running(const struct agent *a, void (*visit)(void *ctx, struct attempt *t),
                        void *ctx);
