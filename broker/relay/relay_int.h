/* What the files of broker/relay share: a stream, who is attached to it, and what is due when. */
#pragma once

#include "broker/relay/relay.h"

#include "common/base/buf.h"
#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/base/lhash.h"
#include "common/base/mem.h"
#include "common/base/slab.h"

/* Faults that the simulator's build can turn on, to see that they are seen; here there are none. */
#ifndef MUTANT
#define MUTANT(name) 0
#endif

#define TURN_BYTES   (4U << 20) /* sent to subscribers in one turn, about */
#define BACKOFF_BITS 4U         /* needs and positions become rarer up to 2^this */

/* Neighbouring events that go out as one message: begins at byte `at` of the log. */
struct run {
    uint64_t seq; /* of its first event */
    uint64_t at;
};

/* Which list of the relay a stream is in. */
enum kept { KEPT_NOT, KEPT_LIVE, KEPT_ENDED };

struct stream {
    uint64_t job, fence, token;
    /* The log: events (base, have] of `epoch`; 0: nothing was written by anybody yet. */
    uint64_t epoch, base, have;
    struct buf log;
    struct run *runs;
    uint32_t n_runs, size_runs;
    /* What is missing: everything up to `target`, or, `silent`, any word at all. */
    struct stream_position target;
    struct stream_position last; /* reported; `closed` */
    bool open, silent, closed, whole, ended;
    bool queued_all;        /* since the last word was queued nobody was served */
    uint32_t needs, quiets; /* said since something arrived */
    struct mono needed_at, need_at, quiet_at, keep_at;
    struct mono due;  /* in the heap; may be too early, never too late */
    uint32_t heap_at; /* place in it plus one; 0: not there */
    uint32_t subs;    /* list of who is attached */
    enum kept kept;
    uint32_t kept_next, kept_prev;
    uint32_t hash_next;
};

struct sub {
    relay_peer to;
    uint32_t stream;
    struct stream_position at; /* sent */
    size_t offset;             /* of the next event in the log; SIZE_MAX: to be looked for */
    bool announce;             /* to be told how far it is, even if there is nothing to send */
    bool lost;                 /* told `gone`; until the next epoch */
    bool queued;
    uint32_t queue_next, queue_prev;
    uint32_t next, prev; /* of the stream */
    uint32_t hash_next;
};

struct link_list {
    uint32_t head, tail;
};

struct relay {
    struct relay_config config;
    struct relay_effects effects;
    struct slab streams, subs;
    struct lhash by_job, by_peer;
    struct link_list kept[KEPT_ENDED + 1];
    struct link_list queue; /* subs to be served, in turn */
    uint32_t *heap;         /* streams by `due` */
    uint32_t n_heap, size_heap;
    bool full; /* nothing can be let go before the next turn */
    struct relay_stats stats;
};

static inline struct stream *stream_at(const struct relay *r, uint32_t i) {
    return slab_at(&r->streams, i);
}

static inline struct sub *sub_at(const struct relay *r, uint32_t i) {
    return slab_at(&r->subs, i);
}

/* More may come of it, and can be asked for. */
static inline bool stream_is_fed(const struct stream *s) {
    return s->open && !s->whole;
}

static inline struct stream_position stream_have(const struct stream *s) {
    return (struct stream_position){s->epoch, s->have};
}

static inline bool stream_is_missing(const struct stream *s) {
    return stream_is_fed(s) && (s->silent || stream_before(stream_have(s), s->target));
}

/* ---- streams.c ------------------------------------------------------------------------------ */
void streams_init(struct relay *r);
void streams_done(struct relay *r);
uint32_t stream_find(const struct relay *r, uint64_t job);
/* A new one; 0 if there are too many and `must` is not set. */
uint32_t stream_make(struct relay *r, uint64_t job, bool must);
/* Whoever lacks something of it is told `gone`. */
void stream_forget(struct relay *r, uint32_t i);
void stream_keep(struct relay *r, uint32_t i, enum kept where);

/* ---- log.c ---------------------------------------------------------------------------------- */
/* Lets all bytes go; what is here now ends at `have`. */
void log_drop(struct relay *r, uint32_t i, uint64_t have);
void log_enter_epoch(struct relay *r, struct mono now, uint32_t i, uint64_t epoch);
/* Events [seq, seq + count), right behind `have`; false if there is no room for them. */
bool log_append(struct relay *r, uint32_t i, uint64_t count, struct str events);
/* Asks for everything behind `have` once more. */
void log_rewind(struct relay *r, uint32_t i, uint64_t have);
/* The run that has event `seq`, which is in the log. */
uint32_t log_run_of(const struct stream *s, uint64_t seq);
struct run log_run_end(const struct stream *s, uint32_t run);
size_t log_offset_of(const struct stream *s, uint64_t seq);

/* ---- attach.c ------------------------------------------------------------------------------- */
void attach_init(struct relay *r);
void attach_done(struct relay *r);
void attach_end(struct relay *r, uint32_t i);
void attach_queue(struct relay *r, uint32_t i);
void attach_queue_all(struct relay *r, struct stream *s);
void attach_forget_offsets(struct relay *r, const struct stream *s);
/* Whether everybody was sent all there is. */
bool attach_all_served(const struct relay *r, const struct stream *s);
void attach_tell_gone(struct relay *r, relay_peer to, uint64_t job, uint64_t epoch);
/* Serves who is queued, up to the bound of one turn. */
void attach_serve(struct relay *r, struct mono now);

/* ---- due.c ---------------------------------------------------------------------------------- */
/* Call when something of the stream became due earlier. */
void due_set(struct relay *r, uint32_t stream);
void due_remove(struct relay *r, uint32_t stream);
void due_run(struct relay *r, struct mono now);
/* Something is missing since now: asks as soon as it may. */
void due_need(struct relay *r, struct mono now, uint32_t stream);
/* Something of what is missing came. */
void due_came(struct relay *r, struct mono now, uint32_t stream);
void due_check(const struct relay *r);
