/* A broker without sockets, files and threads, and somebody who watches what leaves it.
 *
 * Everything from a message that was taken off a socket to one that is put on a socket is the
 * broker's own: receive.c, core, effects.c, outbox.c, records.c, over the journal in memory. Only
 * peers_send, peers_send_back and peers_conn are replaced, by the linker (--wrap).
 *
 * The watcher knows requests from what goes in, and records and letters from the effects. It
 * asserts of each message that leaves:
 *   - it is one that a peer can read, item by item;
 *   - its sequence was asked, and what answers it has not more items than were asked;
 *   - each of its letters waited for its record, and what SUBMITTED, FINISHED and RESULT_ACK say
 *     stands in a record that is durable;
 *   - no fence is given twice.
 * After a kill, every job whose records say so is alive, and no other. */
#pragma once

#include "broker/effects.h"
#include "broker/receive.h"

#define WORLD_SEEN 16U /* job ids and attempts that peers remember */

struct attempt {
    uint64_t job, fence;
};

/* What was asked with one sequence, and what was answered. */
struct asked {
    uint64_t sequence, messages, lists; /* lists: end with a message without items */
    uint64_t most;                      /* items that one answer has at most */
    uint64_t items, ends;
};

/* A letter with a sequence that has not left. */
struct said {
    uint64_t link, sequence, after;
    enum verb verb;
    bool left;
};

/* A record of a job. */
struct row {
    uint64_t id, pos, fence;
    enum job_state state;
    bool sync; /* its submission waits for it */
    bool first;
};

struct watcher {
    struct asked *asked;
    struct said *said;
    struct row *rows;
    uint64_t *fences;
    uint32_t n_asked, n_said, n_rows, n_fences;
    uint32_t first_said; /* those before it have left */
    struct arena *arena;
};

struct world {
    struct core_config config;
    struct core *core;
    struct journal_memory *memory;
    struct journal *journal;
    struct outbox *outbox;
    struct effects_context context;
    struct effects effects;
    struct receiver receiver;
    struct watcher watcher;
    uint64_t now, wall, durable, sequence;
    bool failed;
    uint64_t ids[WORLD_SEEN]; /* from SUBMITTED; the newest overwrite the oldest */
    struct attempt given[WORLD_SEEN];
    struct attempt closed[WORLD_SEEN]; /* since the last turn: their streams are asked for */
    uint32_t n_ids, n_given, n_closed;
};

/* ---- protocol_world.c ------------------------------------------------------------------------ */
/* Serves, in the middle of its first turn. */
void world_open(struct world *w);
void world_close(struct world *w);
void world_message(struct world *w, struct parcel *in);
/* Ends the turn and begins the next, which hears what is durable by now. */
void world_turn(struct world *w, uint64_t later_ms, int64_t wall_jump_ms);
void world_commit(struct world *w);
void world_room(struct world *w, enum core_room room);
/* The disk is gone: nothing becomes durable any more. */
void world_fail(struct world *w);
/* The process is killed and a new one reads what was durable. */
void world_kill(struct world *w);

/* ---- protocol_watch.c ------------------------------------------------------------------------ */
void watch_open(struct watcher *t);
void watch_close(struct watcher *t);
void watch_asked(struct watcher *t, struct parcel *in);
void watch_letter(struct watcher *t, const struct letter *l);
void watch_record(struct watcher *t, const struct record *r, uint64_t pos);
/* What was not durable is gone, and so is all that waited for it. */
void watch_killed(struct watcher *t, uint64_t durable);
/* Jobs that the records say have not ended. */
uint64_t watch_live(const struct watcher *t);
void watch_sent(struct world *w, uint64_t link, zmq_msg_t *parts, unsigned n);
