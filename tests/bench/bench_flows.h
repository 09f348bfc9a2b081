/* Random flows through the core alone, and the truth about them, kept beside.
 *
 * The world plays the broker's outside in turns of a millisecond: the journal in memory, which is
 * replayed into a new core when the broker is killed; letters that wait until what they tell is
 * durable; workers and an operator. What is true of a job is learned from records that are durable,
 * from nowhere else: a kill takes nothing of it back.
 *
 * Vocabulary
 *   tree   one flow while it goes on; the core knows it as a root and what is below
 *   node   one job of a tree, from the moment it is durable until the tree has settled
 *   plan   what a job shall do, its payload: all that is random in it comes from its seed
 *   brood  the children that one attempt names */
#pragma once

#include "broker/core/core.h"
#include "broker/journal/journal.h"
#include "broker/records.h"
#include "common/base/check.h"
#include "common/base/lhash.h"
#include "common/base/mem.h"
#include "common/base/rng.h"
#include "common/base/slab.h"

#define FLOW_WORKERS 4
#define FLOW_SLOTS   512
#define FLOW_TREES   4096 /* that go on at a time */
#define FLOW_LEVELS  4
#define FLOW_FAN_OUT 4
#define BROOD_MAX    (FLOW_FAN_OUT + 1)

enum how { HOW_RESULT, HOW_SPAWN, HOW_SUBMIT };

struct plan {
    uint64_t number, seed;
    uint32_t tree;
    uint8_t levels;    /* of children that it may have below */
    uint8_t how;       /* its children come */
    uint8_t with_then; /* parents of its tree have one */
    uint8_t fail_fast; /* so may be jobs of its tree */
};

struct brood {
    struct core_child at[BROOD_MAX];
    struct plan plans[BROOD_MAX];
    uint32_t n; /* a then is the last one */
    bool then;
};

enum phase { PHASE_idle, PHASE_running, PHASE_spawning, PHASE_reported };

struct counts {
    uint32_t total, ended[4];
};

struct node {
    uint64_t id;
    uint32_t hash_next, tree;
    uint32_t parent, child, sibling; /* nodes */
    uint8_t state;                   /* in which it ended; 0: it has not */
    bool is_then, fail_fast, cancel_asked;
    bool doomed, settled; /* by its flow's last record */
    bool then_named;
    uint32_t named, maybe; /* children but then: for sure, and those that nobody acknowledged */
    struct plan plan;
    /* its attempt, as its worker sees it */
    enum phase phase;
    bool stopped, gave_up;
    uint64_t fence, sent;   /* the turn in which it was spoken of last */
    uint32_t worker, place; /* in the list of what that holds */
    uint32_t spawned;
    uint64_t outcome, outcome_fence;
};

struct tree {
    uint64_t number;
    struct plan plan;
    uint32_t root; /* 0: not durable yet */
    uint32_t next; /* of those that may be over */
    uint32_t held; /* attempts of it that workers hold */
    bool watched, told, over, queued, submit_again;
    uint32_t jobs_given, cancel_at; /* after so many dispatches somebody cancels; 0: nobody */
};

/* What a record says, until that is durable. */
struct seen {
    enum record_type type;
    uint64_t id, fence, parent;
    uint32_t state;
    bool moved; /* by cleaning: it says what was said before */
    bool is_then, fail_fast, settled, doomed;
    struct counts own, below;
    struct plan plan;
};

struct letter_kept {
    enum verb verb;
    uint64_t link, after;
    uint64_t job, fence, code, index;
    bool settled;
    struct counts counts;
};

struct letters {
    struct letter_kept *at;
    uint32_t n, size;
};

struct numbers {
    uint64_t *at;
    uint32_t n, size;
};

struct worker {
    uint64_t link;
    struct numbers held, todo; /* nodes; todo: to be looked at in this turn */
};

struct world {
    struct core *core;
    struct journal *journal;
    struct journal_memory *memory;
    struct rng rng;
    struct buf scratch;
    uint64_t now, sequence, links;
    uint64_t operator_link;
    /* the journal */
    struct seen *seen; /* records that are not durable yet, the first of them number seen_from */
    uint32_t seen_n, seen_size;
    uint64_t seen_from, flying_to; /* records before that are being written */
    bool flying, cleaning;
    uint64_t durable;
    uint32_t group_bytes, group_used;
    uint32_t until_cut; /* rows until the disk has its last one; 0: it is not to be killed */
    struct letters at_once, waiting;
    struct numbers loads; /* token, position, bytes */
    /* peers */
    struct worker workers[FLOW_WORKERS];
    struct numbers watch, cancel; /* ids that the operator shall name */
    /* the truth */
    struct slab nodes;
    struct lhash by_id;
    struct tree trees[FLOW_TREES + 1];
    uint32_t maybe_over;
    uint64_t submitted, trees_ended, trees_max;
    uint64_t jobs_ended, ended[4], thens_run, told, last_end;
    uint64_t records, record_bytes, moved, replayed, lost, restarts;
};

/* bench_flows.c */
void flows_broken(const struct world *w, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), noreturn));
void numbers_add(struct numbers *n, uint64_t x);

/* bench_flows_world.c: the driver of the core */
void world_open(struct world *w, uint64_t seed);
void world_turn(struct world *w);
void world_kill(struct world *w);
void world_close(struct world *w);

/* bench_flows_truth.c */
void truth_open(struct world *w);
void truth_close(struct world *w);
void truth_record(struct world *w, const struct seen *s); /* it is durable */
void truth_dispatch(struct world *w, const struct msg_dispatch *m);
void truth_told(struct world *w, const struct letter_kept *l); /* FLOW_INFO */
void truth_turn(struct world *w);
void truth_restart(struct world *w); /* the broker begins another life */
void tree_may_be_over(struct world *w, uint32_t tree);
static inline struct node *node_at(const struct world *w, uint32_t i) {
    return slab_at(&w->nodes, i);
}
uint32_t node_find(const struct world *w, uint64_t id);

/* bench_flows_peers.c: workers and the operator */
void brood_make(struct brood *b, const struct plan *of, uint64_t fence);
void peers_hello(struct world *w);
void peers_letter(struct world *w, const struct letter_kept *l);
void peers_turn(struct world *w);
void attempt_forget(struct world *w, uint32_t i);

/* bench_flows_big.c: one flow of a million jobs */
void big_flow(uint32_t jobs);
