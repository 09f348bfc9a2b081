/* The broker's core among simulated clients, workers, disk and network, from one seed.
 *
 * Time is virtual and moves from event to event. The network loses, delays, doubles, reorders and
 * partitions; the disk keeps what was synced and, at a crash, a prefix of what was not; workers
 * die, freeze and disobey; the broker crashes and sleeps; the wall clock steps by up to a day. In
 * the first phase anything may happen and nothing wrong may be seen; then the world heals, and
 * everything that was accepted must come to its end.
 *
 * What must hold is checked by observers (observe.c) that look at records and letters from outside,
 * and by core_check after every turn. A broken rule ends the run with its words and the seed. */
#pragma once

#include "broker/core/core_int.h"
#include "broker/records.h"
#include "common/base/rng.h"
#include "common/wire/frame.h"
#include "common/wire/note_table.h"
#include "tests/sim/mutants.h"

#include <setjmp.h>

#define SIM_CLIENTS   3
#define SIM_WORKERS   3
#define SIM_JOBS_MAX  512
#define SIM_NOTES_MAX 4096
#define SIM_SPAN_MS   40000  /* of the first phase */
#define SIM_HEAL_MS   900000 /* by then all must have ended */

enum behaviour {
    DO_succeed,
    DO_fail,   /* `times` attempts, then succeed */
    DO_reject, /* permanent error */
    DO_hold,   /* `times` attempts rate-limited, then succeed */
    DO_crash,  /* ends its process `times` times */
    DO_deaf,   /* does not obey a cancel */
    DO_KINDS
};

/* What a job shall do: its payload. */
struct plan {
    uint32_t client, item;
    uint64_t sequence;
    uint32_t behaviour, times, ms, pad;
    uint64_t fence;              /* of the attempt that spawned it */
    uint32_t children, levels;   /* that it spawns; and how deep that may go on below */
    uint32_t spawns;             /* by SPAWN, not with its result */
    uint32_t then;               /* the last of them is a then */
    uint32_t comes_with, unused; /* children that are submitted with it */
};

#define BROOD_MAX 4
#define SCHEDULES 4

struct brood {
    struct msg_submit m[BROOD_MAX];
    struct plan plans[BROOD_MAX];
    uint32_t n;
};

struct packet {
    uint64_t link; /* of the peer, whichever way it goes */
    bool to_broker;
    enum role role;
    char *bytes; /* head, body, payloads end to end */
    size_t head, body, payloads;
};

enum sim_event {
    SIM_PACKET,
    SIM_TURN,
    SIM_COMMITTED,
    SIM_LOADED,
    SIM_CLIENT,
    SIM_WORKER,
    SIM_FAULT,
    SIM_RELAY,
};

struct event_row {
    uint64_t at, order;
    enum sim_event what;
    uint64_t who;
    struct packet *packet;
};

struct log_row {
    uint64_t pos;
    uint32_t bytes, type;
    char *body;
    size_t len;
    bool released, gone; /* gone: its segment was removed */
    bool goes_on;        /* the next row is of the same group */
};

struct disk {
    struct log_row *rows;
    uint32_t n, size;
    uint32_t first;            /* the oldest row whose segment is there */
    uint32_t durable, writing; /* rows before them are synced, are being synced */
    bool busy;
    uint32_t group_bytes, group_used; /* of the group that is open; 0: there is none */
    uint64_t life;                    /* commits of an earlier life do not count */
    uint64_t next_pos;
    uint64_t cut_pos; /* what stood here and behind was lost by the last crash */
    uint64_t live, dead;
    uint32_t cleaning; /* rows of the segment being cleaned end here; 0: none */
    uint32_t clean_durable;
};

struct held {
    struct packet *packet;
    uint64_t after;
};

struct broker_sim {
    struct core *core;
    bool frozen, turn_due;
    uint64_t life, started_at, turn_at;
    struct packet **inbox;
    uint32_t inbox_n, inbox_size;
    struct held *held;
    uint32_t held_n, held_size;
    struct frame_out out;
    uint64_t out_link, out_after, same_sequence;
    bool out_open;
    uint64_t *loads; /* token, row */
    uint32_t loads_n, loads_size;
    uint64_t down_until;
    uint32_t wide_share; /* what the file says of queue wide: of one tenant at a time */
};

/* What the relay knows of a job's stream. */
struct model_row {
    uint64_t job, fence;              /* of the attempt that was opened last */
    uint64_t closed_fence, closed_at; /* its end was reported */
    uint64_t to;
    bool attached;
};

struct relay_model {
    struct model_row *rows;
    uint32_t n, size;
};

enum fate { FATE_unsent, FATE_sent, FATE_acked, FATE_refused, FATE_unknown };

/* One offered job, as its client sees it. */
struct offer_row {
    struct plan plan;
    struct msg_submit m;
    char key[16], unique[16];
    enum fate fate;
    uint64_t id, sequence, sent_at, epoch, first_sent;
    bool duplicate, finished, cancel_asked, cancel_ok, revived, sure_finished;
    uint64_t state;
};

struct client_sim {
    uint64_t link;
    uint8_t instance[16];
    uint64_t sequence, epoch, hello_at, beat_at;
    bool welcome;
    uint64_t partition_until;
    struct offer_row offers[SIM_JOBS_MAX];
    uint32_t n;
    /* one request of another kind at a time */
    enum verb request;
    uint64_t request_sequence, request_at, request_id;
    bool request_group; /* request_id is one of dead letters */
    uint32_t request_offer;
    bool schedules_paused; /* for the end of the world */
};

enum held_state { HELD_waiting, HELD_running, HELD_done };

struct held_job {
    uint64_t job, fence, ends_at, sent_at;
    struct plan plan;
    uint32_t attempt;
    enum held_state state;
    uint64_t outcome;
    uint32_t spawned; /* children that SPAWNED has told of */
    uint64_t spawn_at;
    bool cancelled, gave_up, told_started, streams;
    uint64_t cancel_code;
};

struct worker_sim {
    uint64_t link;
    uint8_t instance[16];
    uint64_t sequence, epoch, hello_at, beat_at;
    bool welcome, alive, draining;
    uint64_t frozen_until, partition_until, born_at;
    uint32_t slots, prefetch;
    struct held_job held[64];
    uint32_t n;
    uint64_t delivered_at; /* the last packet that reached the broker's inbox */
};

struct note_sim {
    struct note_table *copies[SIM_WORKERS];
    uint32_t n;                   /* values that were set, each a number of its own, */
    uint64_t ends[SIM_NOTES_MAX]; /* and when each is over; 0: the broker has not heard of it */
};

struct observer;

struct sim {
    uint64_t seed;
    struct rng rng;
    uint64_t now, order;
    int64_t wall_step, wall_step_max;
    bool healing, ended;
    bool loud;
    bool retried_all;              /* somebody has asked for more than one dead job to run again */
    uint32_t loss, twice, slow_ms; /* of a million; and the longest delay */
    struct event_row *events;
    uint32_t events_n, events_size;
    struct disk disk;
    struct broker_sim broker;
    struct relay_model relay;
    struct note_sim notes;
    struct client_sim clients[SIM_CLIENTS];
    struct worker_sim workers[SIM_WORKERS];
    uint64_t links;
    uint8_t crash_left[1024]; /* by job: ends of a process it still has in it, plus one */
    struct observer *eye;
    jmp_buf *out;
    char *words;
    size_t words_size;
};

/* sim.c */
void sim_at(struct sim *s, uint64_t when, enum sim_event what, uint64_t who, struct packet *p);
void sim_fail(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3), noreturn));
void sim_say(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
struct wall sim_wall(const struct sim *s);
/* Queues are named of which there is no place for all, so that some are forgotten. */
static inline bool sim_few_names(const struct sim *s) {
    return s->seed % 3 == 1;
}
/* Runs one seed; false with the words of the broken rule. */
bool sim_run(uint64_t seed, bool loud, char *words, size_t words_size);

/* net.c */
struct packet *packet_new(uint64_t link, bool to_broker, enum role role, const struct frame_out *f);
void packet_free(struct packet *p);
void net_send(struct sim *s, struct packet *p);
bool net_cut(const struct sim *s, uint64_t link);

/* disk.c */
uint64_t disk_append(struct sim *s, const struct record *r, uint32_t *bytes);
void disk_group(struct sim *s, uint32_t bytes);
void disk_release(struct sim *s, uint64_t pos, uint32_t bytes);
void disk_commit(struct sim *s);
void disk_committed(struct sim *s, uint64_t life);
void disk_crash(struct sim *s);
void disk_clean(struct sim *s);
void disk_replay(struct sim *s);
uint64_t disk_durable_pos(const struct disk *d);
struct log_row *disk_find(struct disk *d, uint64_t pos);
void disk_done(struct disk *d);

/* driver.c: the broker process */
void broker_start(struct sim *s);
void broker_crash(struct sim *s);
void broker_reload(struct sim *s);
void broker_turn(struct sim *s);
void broker_wake(struct sim *s);
void broker_receive(struct sim *s, struct packet *p);
void broker_loaded(struct sim *s, uint64_t who);
void broker_done(struct sim *s);
void broker_said(struct sim *s); /* after inputs outside of a turn */

/* flow.c: what is spawned */
void flow_plan(struct rng *rng, struct plan *p, uint32_t levels);
void brood_of_attempt(struct brood *b, const struct plan *parent, uint64_t job, uint64_t fence);
void brood_of_offer(struct brood *b, const struct plan *parent);
void observe_flows_end(struct sim *s);
/* A child that has durably ended and may be run again now, or one that goes on; 0: there is none.
 */
uint64_t some_child(struct sim *s, bool ended);

/* schedule.c: schedules, and what must hold of them */
void schedule_request(struct sim *s, uint64_t link, enum verb verb, uint64_t sequence,
                      uint32_t which);
void observe_schedules(struct sim *s);

/* notes.c: notes, and what must hold of them */
void note_copies_setup(struct sim *s);
void note_copies_done(struct sim *s);
void notes_set_some(struct sim *s, uint64_t link, enum role role, uint64_t *sequence);
void notes_heard(struct sim *s, const struct msg_set_note *m); /* by the broker */
void notes_told(struct sim *s, const struct msg_note_info *m); /* by the broker */
void notes_take(struct sim *s, uint32_t worker, const struct msg_note_info *m);
void observe_notes_end(struct sim *s);

/* relay_model.c: what the core orders of it, and its answers */
uint64_t model_token(const struct sim *s, uint64_t fence);
struct model_row *model_find(const struct sim *s, uint64_t job);
void model_order(struct sim *s, const struct stream_order *o);
void model_dispatch(struct sim *s, const struct msg_dispatch *m);
void model_says(struct sim *s, uint64_t who);
void model_turn(struct sim *s);
void model_done(struct sim *s);

/* peers */
void client_tick(struct sim *s, uint32_t i);
void client_packet(struct sim *s, uint32_t i, struct packet *p);
void client_setup(struct sim *s, uint32_t i);
void worker_tick(struct sim *s, uint32_t i);
void worker_packet(struct sim *s, uint32_t i, struct packet *p);
void worker_setup(struct sim *s, uint32_t i);
void worker_die(struct sim *s, uint32_t i, bool tell);
void peer_send(struct sim *s, uint64_t link, enum role role, enum verb verb, uint64_t sequence,
               const void *msg, struct str payload);
bool supervisor_kill(struct sim *s, const uint8_t *instance);

/* observe.c */
void observe_start(struct sim *s);
void observe_done(struct sim *s);
void observe_restart(struct sim *s);
void observe_append(struct sim *s, const struct record *r, uint64_t pos);
void observe_letter(struct sim *s, const struct letter *l);
void observe_result(struct sim *s, const struct msg_result *m);
void observe_attach(struct sim *s, uint64_t job);
void observe_whole(struct sim *s, uint64_t job, uint64_t fence); /* the relay says so; 0: no more */
void observe_turn(struct sim *s);
void observe_acked(struct sim *s, struct offer_row *o);
void observe_finished(struct sim *s, struct offer_row *o, uint64_t state);
void observe_lost_worker(struct sim *s, struct str text);
void observe_limits_changed(struct sim *s);
void observe_freeze(struct sim *s, bool begins);
void observe_stuck(struct sim *s) __attribute__((noreturn));
void observe_end(struct sim *s);
