/* `quern up`: broker and supervisor as one process tree.
 *
 * A *part* is one program of the tree. Before the tree was ready for the first time, a part that
 * ends ends the whole: starting it again would not help. Later it is started again after a wait
 * that doubles. Parts get SIGTERM or SIGKILL from the kernel when this process ends, however it
 * ends, so nothing of a tree outlives it. One thread. */
#pragma once

#include "cli/cli.h"
#include "common/config/handed.h"
#include "common/os/child.h"
#include "common/os/restart.h"

#include <limits.h>

enum part_id { PART_BROKER, PART_POOLS, PARTS };

struct part {
    const char *name;
    int death_signal;
    bool has_ready_fd; /* takes --ready-fd */
    char program[PATH_MAX];
    struct child child;
    struct restart restart;
    struct mono not_before; /* may be started from then on */
    struct mono kill_at;    /* while it stops */
    int ready_fd;           /* readable when it serves, or has ended; -1 */
    bool ready;
};

struct up {
    struct cli *c;
    const char *config;
    char config_path[PATH_MAX];
    char data[PATH_MAX]; /* absolute */
    char log[PATH_MAX];  /* of --detach; empty: it goes where it was sent */
    struct mono log_look_at;
    struct handed handed;        /* what the parts read of it */
    struct settings *boot, *now; /* as started; as last loaded */
    struct part parts[PARTS];
    struct rng rng;
    int signals;
    int answer_fd;  /* of --detach: who waits for us to be ready; -1 */
    unsigned stops; /* how often we were told to stop */
    bool was_ready;
    bool asking; /* for the state of the pools */
    bool pools_ready;
    struct mono began, ask_at;
    struct buf pools_text; /* "default 1/1, embed 2/2" */
    struct err failed;     /* why we stop, if nobody told us to */
};

/* ---- up_part.c ------------------------------------------------------------------------------ */
int part_init(struct part *p, enum part_id id, struct err *e);
/* Starts it; on failure it is tried again later. */
int part_start(struct part *p, struct up *u, struct err *e);
/* SIGTERM, and SIGKILL after `grace_ms`. */
void part_stop(struct part *p, uint64_t grace_ms);
/* True if it had ended. */
bool part_reap(struct part *p, struct up *u);
/* Looks whether it serves. */
void part_look(struct part *p);

/* ---- up_detach.c ---------------------------------------------------------------------------- */
/* Goes on in a process of its own; this one waits for its answer and ends. Returns in the new one
 * only. */
int detach(struct up *u, struct err *e);
/* Tells who waits how it went: status 0 and the ready line, or another one and why. */
void detach_answer(struct up *u, int status, struct str text);

/* Turns the log when it has become too large; looks once a second. */
void up_turn_log(struct up *u, struct mono now);

/* ---- up_reload.c ---------------------------------------------------------------------------- */
int up_load(struct up *u, struct settings **out, struct err_list *errors);
/* From now on the parts read a copy in DATA/run; says there which file is the operator's. */
int up_hand_down(struct up *u, struct err *e);
/* SIGHUP: all or nothing; answers in DATA/run/reload.json, and tells the parts. */
void up_reload(struct up *u);
