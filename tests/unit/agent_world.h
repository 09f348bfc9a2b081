/* The world of agent_world_test: the broker's core with its log, and a network with faults. */
#pragma once

#include "broker/core/core.h"
#include "broker/records.h"
#include "common/base/rng.h"
#include "common/wire/frame.h"
#include "common/wire/link_core.h"
#include "workers/harness/agent.h"
#include "workers/harness/stream_log.h"

#define WORKERS   3
#define SLOTS     3
#define PREFETCH  2
#define JOBS      150
#define NUMBERS   (5 * JOBS) /* child k of job n has the number JOBS + 4 n + k, its then k = 3 */
#define STEP_MS   5
#define SUBMIT_MS 200 /* between two jobs */
#define FAULTS_MS 40000
#define END_MS    160000
#define SEEDS     60ULL
#define NEED_MS   200 /* between two needs of one stream */
#define MAIL_MAX  20000
#define LOG_MAX   120000

/* ---- the world ------------------------------------------------------------------------------ */
struct mail {
    uint64_t link, at_ms;
    bool to_broker;
    uint64_t after; /* of a letter: the record it waits for */
    char *bytes;
    size_t head, body, payloads;
};

struct row {
    char *bytes;
    size_t len;
    uint8_t type;
};

struct run {
    struct attempt *attempt;
    uint64_t end_ms;
    bool stubborn;
    bool asks;        /* it waits for its child */
    uint32_t spawned; /* children that it knows of */
};

struct peer {
    uint8_t instance[16];
    struct link_core link;
    struct agent *agent;
    uint64_t socket;       /* the number of its connection; 0: none */
    uint64_t cut_until_ms; /* nothing gets through */
    struct run runs[SLOTS];
    struct world *w;
};

/* To see that the faults do something. */
struct tally {
    uint64_t starts, gone, taken_back, sockets, epochs;
    uint64_t streams, needs, lost_frames, whole; /* streams: that are held somewhere */
    uint64_t spawns, spawned, thens;             /* spawns: SPAWN said */
};

/* What the relay knows of one attempt's stream. */
struct heard {
    uint64_t job, fence, token;
    struct stream_position have, last;
    bool asks, closing;
    uint64_t need_ms; /* not before */
};

struct world {
    struct heard heard[NUMBERS];
    struct rng rng;
    uint64_t now_ms;
    bool faults;
    struct core *core;
    struct row *log; /* position is index plus one */
    uint64_t log_n, durable;
    uint64_t loads[1024][2];
    uint32_t loads_n;
    struct mail *mail;
    size_t mail_n;
    struct peer peers[WORKERS];
    struct frame_out out;
    struct buf scratch;
    uint64_t submitted;
    struct tally tally;
};

/* One in so many of a million, while there are faults. */
bool chance(struct world *w, uint32_t of_million);
struct mono now_of(const struct world *w);

/* ---- the network ---------------------------------------------------------------------------- */
void post(struct world *w, uint64_t link, bool to_broker, const struct frame_out *f,
          uint64_t after);
/* What is on its way there is lost. */
void drop_link(struct world *w, uint64_t link);

/* ---- the broker ----------------------------------------------------------------------------- */
void start_broker(struct world *w);
/* What was not durable is lost, and all that was on its way. */
void kill_broker(struct world *w);
/* One job, acknowledged: what was not might be lost with the broker. */
void submit(struct world *w);
/* One turn, without the messages; they come between begin and end. */
void broker_begin(struct world *w);
void broker_hears(struct world *w, struct frame_in *in, uint64_t link, struct arena *arena);
/* ---- the relay ------------------------------------------------------------------------------ */
/* A frame of a worker's stream socket, which may be lost. */
void relay_hears(struct world *w, const struct msg_stream *head, struct str events);
/* Asks for what is missing, says what is whole; within a turn of the broker. */
void relay_turn(struct world *w);
void open_row(struct world *w, uint64_t position, struct record_room *room, struct record *r);
uint64_t job_number(struct str payload);
struct str job_payload_of(uint64_t n, char room[16]);
