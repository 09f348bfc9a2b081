/* The relay: keeps a bounded log of each live stream and passes it on to those who are attached.
 *
 * A stream is a numbered log, written by one attempt of one job. Workers say it on a socket that
 * may drop (PUB), and it leaves on one that may drop (XPUB): whatever is missing is asked for
 * again. A gap in what a worker says makes a `need`; a subscriber with a gap attaches again with
 * his position. After a quiet moment both say how far the stream is, so that a lost tail is
 * noticed.
 *
 * A pure state machine, one thread. It has no clock, socket or file of its own: inputs are the
 * calls below, outputs those of `struct relay_effects`, made before an input returns; they must not
 * call back. Everything borrowed is valid during the call only.
 *
 * Keeping. The log of a stream that is written can be let go once all its subscribers were sent it:
 * who wants its beginning later makes the relay *rewind*, that is, ask the worker to say it again.
 * When all of an attempt was here its worker may forget it; from then on what is let go is gone.
 *
 * What always holds
 *   - a subscriber is sent each event of an epoch in order, from the position he named, and none of
 *     an epoch that is lower than one he was sent;
 *   - of a stream the relay has the events (base, have] of one epoch, and no other;
 *   - who is attached and lacks something is sent it or told `gone`, however often a need is lost;
 *   - `whole` is said of an attempt only when every event up to its last was here;
 *   - the events of all logs together have at most `bytes_max` bytes (and take at most twice that):
 *     streams that have ended are forgotten first (`gone`), then logs that all their subscribers
 *     were sent, which are asked for again; what then has no room is not taken, and asked for. */
#pragma once

#include "common/base/err.h"
#include "common/base/time_types.h"
#include "common/wire/stream_frame.h"

#include <stdbool.h>
#include <stdint.h>

struct relay;

/* A subscriber: the first 8 bytes of his instance, which are his topic. */
typedef uint64_t relay_peer;

struct relay_effects {
    void *ctx;
    /* A message for one subscriber; `head` without a token. */
    void (*publish)(void *ctx, relay_peer to, const struct msg_stream *head, struct str events);
    /* The worker of that attempt shall say the stream again from behind `have` on; said again and
     * again, ever more seldom, until he says something: a position at least. */
    void (*need)(void *ctx, uint64_t job, uint64_t fence, struct stream_position have);
    /* All of the attempt's stream up to what relay_close named was here. */
    void (*whole)(void *ctx, uint64_t job, uint64_t fence);
};

struct relay_config {
    uint64_t stream_bytes; /* of one stream's log, as in messages; one message always has its place.
                              Over it the log is let go as soon as everybody was sent it */
    uint64_t bytes_max;    /* of all logs together */
    uint32_t streams_max;  /* live, waited for, ended and kept; attempts always get one, they are
                              bounded by the core */
    uint32_t attached_max; /* attachments in all */
    uint64_t need_ms;      /* between two needs of one stream */
    uint64_t quiet_ms;     /* after so long without an event subscribers are told how far it is;
                              then ever more seldom */
    uint64_t keep_ms;      /* an ended stream is kept for so long */
};
struct relay_config relay_config_default(void);

struct relay *relay_new(const struct relay_config *config, const struct relay_effects *effects);
void relay_destroy(struct relay **r);

/* ---- from the core, in its order
 * --------------------------------------------------------------- */
/* An attempt of a job that streams was given to a worker, or adopted. A higher fence than before
 * begins another epoch: subscribers are told at once. `heard`: the attempt may have written already
 * (adopted after a restart): it is asked for. */
void relay_open(struct relay *r, struct mono now, uint64_t job, uint64_t fence, uint64_t token,
                bool heard);
/* The subscriber gets the stream from behind `known` on; he may be attached already: then his
 * position is set back or forth. A job without a stream yet is waited for. Over a bound, or when
 * the stream is not kept (`ended`: it never will be again), he is told `gone`. */
void relay_attach(struct relay *r, struct mono now, uint64_t job, relay_peer to,
                  struct stream_position known, bool ended);
/* The same for a job that the core has forgotten: only for who is attached to its stream already.
 */
void relay_attach_again(struct relay *r, struct mono now, uint64_t job, relay_peer to,
                        struct stream_position known);
void relay_detach(struct relay *r, uint64_t job, relay_peer to);
/* The attempt, which was opened, has reported its end, with its last position (epoch 0: it wrote
 * nothing, and so it is taken when the epoch is none of the attempt's). `whole` may be said at
 * once; it is said again when the end is reported again. */
void relay_close(struct relay *r, struct mono now, uint64_t job, uint64_t fence,
                 struct stream_position last);
/* The job has ended: no further attempt, unless it is retried. Its log is kept for `keep_ms`. */
void relay_end(struct relay *r, struct mono now, uint64_t job);

/* ---- from workers
 * ------------------------------------------------------------------------------ */
/* A frame of the stream socket, as it came. What is malformed, has no open stream, another token or
 * an epoch of another attempt is dropped and counted. */
void relay_frame(struct relay *r, struct mono now, struct str frame);

/* ---- time
 * -------------------------------------------------------------------------------------- */
/* Call after a burst of inputs: publishes what is new (neighbouring events merged into one
 * message), asks for gaps, forgets what is past its time. */
void relay_turn(struct relay *r, struct mono now);
/* When relay_turn is needed at the latest; MONO_NEVER. */
struct mono relay_next(const struct relay *r);

struct relay_stats {
    uint64_t frames, events, bytes; /* from workers, accepted */
    uint64_t malformed, strange,
        doubled;          /* dropped: unreadable; wrong token, epoch or job; known */
    uint64_t gaps, needs; /* seen; asked for */
    uint64_t published, published_events;
    uint64_t gone, evicted;
    uint32_t streams, attached;
    uint64_t log_bytes;
};
struct relay_stats relay_stats(const struct relay *r);

/* Walks everything and ends the process if an invariant does not hold. */
void relay_check(const struct relay *r);
