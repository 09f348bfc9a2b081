/* The reading end of a stream: puts what arrives in order, once, and says what is missing.
 *
 * Pure. A reader follows one job's stream over a socket that may drop, double and reorder messages
 * and over changes of the broker. The caller attaches when he makes it, hands it every message of
 * the job (stream_reader_take) and the end (stream_reader_finished), and attaches again with
 * stream_reader_position whenever stream_reader_wants says so. One thread.
 *
 * What always holds
 *   - what was told since the last RESET is a beginning of one epoch, each event once, in order;
 *   - WHOLE is told when exactly everything up to the job's last position was. */
#pragma once

#include "common/base/time_types.h"
#include "common/wire/stream_frame.h"

#include <stdbool.h>
#include <stdint.h>

enum stream_news {
    STREAM_NOTHING,
    STREAM_EVENT,  /* `event`, at stream_reader_position */
    STREAM_RESET,  /* what was told before is void: another epoch begins */
    STREAM_WHOLE,  /* the job has ended and every event was told */
    STREAM_BROKEN, /* the job has ended and the rest of its stream is not kept: see its result */
};

struct stream_reader {
    uint64_t job;
    struct stream_position at;     /* told; of another epoch than before: `reset` is to be told */
    struct stream_position target; /* exists, as far as is known */
    struct stream_position last;   /* of a job that has ended; epoch 0: it wrote none */
    bool finished, gone, over;     /* over: WHOLE or BROKEN was told */
    bool reset;                    /* to be told before anything else */
    bool anew;          /* not attached: must ask even if nothing is known to be missing */
    struct mono ask_at; /* not before */
    uint64_t retry_ms;  /* as last asked with */
    /* The message that is being told: `left` events, the first right behind `at`. */
    struct str events;
    uint64_t left;
};

/* `known` {0, 0}: from the beginning. */
struct stream_reader stream_reader(uint64_t job, struct stream_position known);
/* A message of this job; call stream_reader_next until NOTHING before the frame goes away. */
void stream_reader_take(struct stream_reader *r, struct mono now, const struct stream_frame *f);
/* The job has ended (FINISHED); `last` as it says. Then stream_reader_next. */
void stream_reader_finished(struct stream_reader *r, struct mono now, struct stream_position last);
enum stream_news stream_reader_next(struct stream_reader *r, struct stream_event *event);
struct stream_position stream_reader_position(const struct stream_reader *r);
/* True if it is time to ATTACH again from stream_reader_position: something is missing (says so
 * every `retry_ms` until it comes), or the broker is another one (says so once). */
bool stream_reader_wants(struct stream_reader *r, struct mono now, uint64_t retry_ms);
/* When to ask stream_reader_wants again; MONO_NEVER. */
struct mono stream_reader_due(const struct stream_reader *r);
/* Connected anew: what was attached is so no more. */
void stream_reader_again(struct stream_reader *r, struct mono now);
