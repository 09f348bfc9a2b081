/* Those who submit, work, spawn and cancel. They outlive the broker, as they do. */
#include "tests/bench/bench_flows.h"

#include <string.h>

#define SUBMIT_MAX 256 /* new flows in a turn */
#define ITEMS_MAX  256
#define SAY_AGAIN  100 /* turns without an answer, looked at every so many */
#define BEAT       200

/* ---- what children a job has ---------------------------------------------------------------- */
static void brood_child(struct rng *rng, struct brood *b, const struct plan *of, bool then) {
    uint32_t k = b->n++;
    struct core_child *c = &b->at[k];
    struct plan *p = &b->plans[k];
    uint32_t levels = of->levels - 1U;
    *p = *of;
    p->seed = rng_u64(rng);
    p->levels = (uint8_t)(then && levels > 1 ? 1 : levels);
    p->how = rng_below(rng, 2) ? HOW_RESULT : HOW_SPAWN;
    *c = (struct core_child){.payload = str_make(p, sizeof *p)};
    MSG_SET(&c->m, submit, kind, STR("work"));
    MSG_SET(&c->m, submit, size, sizeof *p);
    MSG_SET(&c->m, submit, priority, rng_below(rng, 7));
    if (of->fail_fast && rng_below(rng, 2))
        MSG_SET(&c->m, submit, fail_fast, true);
    if (then)
        MSG_SET(&c->m, submit, then, true);
    else if (!rng_below(rng, 20))
        MSG_SET(&c->m, submit, delay_ms, 1 + rng_below(rng, 20));
}

/* The same for the same attempt: what is said again must be what was said. Fence 0: what comes with
 * the submission. */
void brood_make(struct brood *b, const struct plan *of, uint64_t fence) {
    struct rng rng = rng_seed(of->seed ^ (fence * 0x9E3779B97F4A7C15ULL));
    b->n = 0;
    b->then = false;
    bool names = (of->how == HOW_SUBMIT) == (fence == 0);
    uint32_t children = of->levels && names ? rng_below(&rng, FLOW_FAN_OUT + 1) : 0;
    for (uint32_t k = 0; k < children; k++)
        brood_child(&rng, b, of, false);
    b->then = children && of->with_then;
    if (b->then)
        brood_child(&rng, b, of, true);
}

/* ---- what is held --------------------------------------------------------------------------- */
static void hold(struct world *w, uint32_t i, uint32_t worker, uint64_t fence) {
    struct node *n = node_at(w, i);
    struct worker *by = &w->workers[worker];
    if (n->phase != PHASE_idle) /* an attempt of which the broker's new life knows nothing */
        attempt_forget(w, i);
    n->phase = PHASE_running;
    n->stopped = n->gave_up = false;
    n->fence = fence;
    n->spawned = 0;
    n->worker = worker;
    n->place = by->held.n;
    numbers_add(&by->held, i);
    numbers_add(&by->todo, n->id);
    w->trees[n->tree].held++;
}

static bool names_by_spawn(const struct node *n) {
    return n->plan.how == HOW_SPAWN && n->plan.levels;
}

void attempt_forget(struct world *w, uint32_t i) {
    struct node *n = node_at(w, i);
    struct numbers *held = &w->workers[n->worker].held;
    struct brood b;
    if (n->phase == PHASE_spawning && names_by_spawn(n)) {
        brood_make(&b, &n->plan, n->fence);
        n->maybe += b.n - n->spawned;
    }
    held->at[n->place] = held->at[--held->n];
    if (n->place < held->n)
        node_at(w, (uint32_t)held->at[n->place])->place = n->place;
    n->phase = PHASE_idle;
    w->trees[n->tree].held--;
    tree_may_be_over(w, n->tree);
}

/* ---- what the broker says ------------------------------------------------------------------- */
static uint32_t worker_of(const struct world *w, uint64_t link) {
    for (uint32_t k = 0; k < FLOW_WORKERS; k++)
        if (w->workers[k].link == link)
            return k;
    flows_broken(w, "a letter came for link %u, which is no worker's", (unsigned)link);
}

static void on_spawned(struct world *w, struct node *n, const struct letter_kept *l) {
    struct brood b;
    if (n->phase != PHASE_spawning)
        return;
    if (l->code) {
        if (l->code != ERR_CANCELLED)
            flows_broken(w, "SPAWN was refused with error %u", (unsigned)l->code);
        n->gave_up = true;
    } else if (l->index == n->spawned) {
        brood_make(&b, &n->plan, n->fence);
        n->spawned++;
        if (b.then && n->spawned == b.n)
            n->then_named = true;
        else
            n->named++;
        if (n->spawned < b.n)
            return;
    } else {
        return;
    }
    numbers_add(&w->workers[n->worker].todo, n->id);
}

void peers_letter(struct world *w, const struct letter_kept *l) {
    if (l->verb == VERB_flow_info) {
        truth_told(w, l);
        return;
    }
    uint32_t i = node_find(w, l->job);
    if (!i)
        return; /* of an attempt that was forgotten */
    struct node *n = node_at(w, i);
    if (l->verb == VERB_dispatch) {
        hold(w, i, worker_of(w, l->link), l->fence);
        return;
    }
    if (n->phase == PHASE_idle || n->fence != l->fence)
        return;
    if (l->verb == VERB_spawned) {
        on_spawned(w, n, l);
    } else if (l->verb == VERB_cancel_attempt) {
        n->stopped = true;
        if (n->phase == PHASE_running)
            numbers_add(&w->workers[n->worker].todo, n->id);
    } else if (l->verb == VERB_lost || n->phase == PHASE_reported) {
        attempt_forget(w, i);
    }
}

/* ---- what workers say ----------------------------------------------------------------------- */
static void ask(struct world *w, uint64_t link, enum role role, enum verb verb) {
    if (!core_request(w->core, link, role, verb, ++w->sequence))
        flows_broken(w, "the broker refuses to listen");
}

/* Some of a worker's nodes, all in the same phase, as the items of messages. */
static void say(struct world *w, const struct worker *by, enum verb verb,
                const struct numbers *nodes, void (*item)(struct world *w, struct node *n)) {
    for (uint32_t k = 0; k < nodes->n; k++) {
        if (k % ITEMS_MAX == 0)
            ask(w, by->link, ROLE_WORKER, verb);
        item(w, node_at(w, (uint32_t)nodes->at[k]));
        if (k % ITEMS_MAX == ITEMS_MAX - 1 || k + 1 == nodes->n)
            core_request_end(w->core);
    }
}

/* All that were not answered. */
static void say_spawn(struct world *w, struct node *n) {
    struct brood b;
    brood_make(&b, &n->plan, n->fence);
    n->phase = PHASE_spawning;
    n->sent = w->now;
    for (uint32_t k = n->spawned; k < b.n; k++) {
        struct msg_submit *m = &b.at[k].m;
        MSG_SET(m, submit, parent, n->id);
        MSG_SET(m, submit, fence, n->fence);
        MSG_SET(m, submit, index, k);
        core_item(w->core, m, b.at[k].payload, NULL);
    }
}

static uint64_t outcome_of(const struct node *n) {
    if (n->stopped)
        return OUTCOME_CANCELLED;
    if (n->gave_up)
        return OUTCOME_FAILED;
    struct rng rng = rng_seed(n->plan.seed + n->fence);
    uint32_t dice = rng_below(&rng, 100);
    return dice < 6 ? OUTCOME_FAILED : dice < 9 ? OUTCOME_REJECTED : OUTCOME_DONE;
}

static void say_result(struct world *w, struct node *n) {
    struct brood b = {.n = 0};
    struct msg_result m = {0};
    if (n->outcome_fence != n->fence || !n->outcome) {
        n->outcome = outcome_of(n);
        n->outcome_fence = n->fence;
    }
    if (n->phase == PHASE_spawning) { /* it gives up what was not answered well */
        brood_make(&b, &n->plan, n->fence);
        n->maybe += b.n - n->spawned;
    }
    n->phase = PHASE_reported;
    n->sent = w->now;
    b.n = 0;
    if (n->outcome == OUTCOME_DONE && n->plan.how == HOW_RESULT)
        brood_make(&b, &n->plan, n->fence);
    MSG_SET(&m, result, job, n->id);
    MSG_SET(&m, result, fence, n->fence);
    MSG_SET(&m, result, outcome, n->outcome);
    if (b.n) {
        MSG_SET(&m, result, children, b.n);
        core_children(w->core, b.at, b.n);
    }
    core_item(w->core, &m, STR(""), NULL);
}

/* Whether its attempt spawns now, reports, or goes on. */
static void step(struct world *w, struct worker *by, uint32_t i, struct numbers *spawns,
                 struct numbers *results) {
    struct node *n = node_at(w, i);
    struct brood b;
    if (n->phase == PHASE_running && !n->stopped) {
        if (!rng_below(&w->rng, 4)) {
            numbers_add(&by->todo, n->id);
            return;
        }
        if (names_by_spawn(n)) {
            brood_make(&b, &n->plan, n->fence);
            if (b.n) {
                n->phase = PHASE_spawning;
                numbers_add(spawns, i);
                return;
            }
        }
    }
    if (n->phase == PHASE_reported)
        return;
    numbers_add(results, i);
    if (n->phase == PHASE_running)
        n->phase = PHASE_reported;
}

static void say_again(struct world *w, const struct worker *by, struct numbers *spawns,
                      struct numbers *results) {
    for (uint32_t k = 0; k < by->held.n; k++) {
        uint32_t i = (uint32_t)by->held.at[k];
        const struct node *n = node_at(w, i);
        if (n->phase < PHASE_spawning || w->now - n->sent < SAY_AGAIN)
            continue;
        numbers_add(n->phase == PHASE_spawning ? spawns : results, i);
    }
}

static void worker_turn(struct world *w, struct worker *by) {
    struct numbers todo = by->todo, spawns = {0}, results = {0};
    by->todo = (struct numbers){0};
    if (w->now % SAY_AGAIN == 0)
        say_again(w, by, &spawns, &results);
    for (uint32_t k = 0; k < todo.n; k++) {
        uint32_t i = node_find(w, todo.at[k]);
        if (i && node_at(w, i)->phase != PHASE_idle)
            step(w, by, i, &spawns, &results);
    }
    say(w, by, VERB_spawn, &spawns, say_spawn);
    say(w, by, VERB_result, &results, say_result);
    mem_free(todo.at);
    mem_free(spawns.at);
    mem_free(results.at);
}

/* ---- what the operator says ----------------------------------------------------------------- */
static void tree_new(struct world *w, struct tree *t) {
    uint32_t dice = rng_below(&w->rng, 20);
    *t = (struct tree){.number = ++w->submitted};
    t->plan = (struct plan){.number = t->number,
                            .seed = rng_u64(&w->rng),
                            .tree = (uint32_t)(t - w->trees),
                            .levels = (uint8_t)rng_below(&w->rng, FLOW_LEVELS + 1),
                            .how = (uint8_t)rng_below(&w->rng, 3),
                            .with_then = (uint8_t)rng_below(&w->rng, 2),
                            .fail_fast = rng_below(&w->rng, 5) == 0};
    t->watched = dice < 2;
    t->cancel_at = dice == 19 ? 1 + rng_below(&w->rng, 20) : 0;
}

static void submit(struct world *w, const struct tree *t) {
    struct brood b = {.n = 0};
    struct msg_submit m = {0};
    if (t->plan.how == HOW_SUBMIT)
        brood_make(&b, &t->plan, 0);
    MSG_SET(&m, submit, kind, STR("work"));
    MSG_SET(&m, submit, size, sizeof t->plan);
    if (t->plan.fail_fast)
        MSG_SET(&m, submit, fail_fast, true);
    if (b.n) {
        MSG_SET(&m, submit, children, b.n);
        core_children(w->core, b.at, b.n);
    }
    core_item(w->core, &m, str_make(&t->plan, sizeof t->plan), NULL);
}

static void submit_some(struct world *w) {
    uint32_t n = 0;
    for (uint32_t k = 1; k <= FLOW_TREES && n < SUBMIT_MAX; k++) {
        struct tree *t = &w->trees[k];
        bool again = t->number && t->submit_again;
        if (!again && (t->number || w->submitted >= w->trees_max))
            continue;
        if (!again)
            tree_new(w, t);
        t->submit_again = false;
        if (n++ == 0)
            ask(w, w->operator_link, ROLE_OPERATOR, VERB_submit);
        submit(w, t);
    }
    if (n)
        core_request_end(w->core);
}

static void name_jobs(struct world *w, enum verb verb, struct numbers *ids) {
    for (uint32_t k = 0; k < ids->n; k++) {
        uint32_t i = node_find(w, ids->at[k]);
        struct msg_cancel_job cancel = {0};
        struct msg_get_job get = {0};
        MSG_SET(&cancel, cancel_job, id, ids->at[k]);
        MSG_SET(&get, get_job, id, ids->at[k]);
        if (i && verb == VERB_cancel_job)
            node_at(w, i)->cancel_asked = true;
        ask(w, w->operator_link, ROLE_OPERATOR, verb);
        core_item(w->core, verb == VERB_cancel_job ? (void *)&cancel : (void *)&get, STR(""), NULL);
        core_request_end(w->core);
    }
    ids->n = 0;
}

void peers_turn(struct world *w) {
    for (uint32_t k = 0; k < FLOW_WORKERS; k++)
        worker_turn(w, &w->workers[k]);
    name_jobs(w, VERB_cancel_job, &w->cancel);
    name_jobs(w, VERB_watch_flow, &w->watch);
    submit_some(w);
    if (w->now % BEAT)
        return;
    ask(w, w->operator_link, ROLE_OPERATOR, VERB_heartbeat);
    core_request_end(w->core);
    for (uint32_t k = 0; k < FLOW_WORKERS; k++) {
        ask(w, w->workers[k].link, ROLE_WORKER, VERB_heartbeat);
        core_request_end(w->core);
    }
}

/* ---- after a start of the broker ------------------------------------------------------------ */
static void hello(struct world *w, uint64_t link, uint64_t name, enum role role,
                  const struct numbers *running, const struct numbers *unacked) {
    uint64_t id[2] = {name, 7};
    struct str kinds[] = {STR("work")};
    struct msg_hello m = {0};
    MSG_SET(&m, hello, version_min, 1);
    MSG_SET(&m, hello, version_max, 1);
    MSG_SET(&m, hello, role, (uint64_t)role);
    MSG_SET(&m, hello, instance, str_make(id, 16));
    if (role == ROLE_WORKER) {
        MSG_SET(&m, hello, kinds, ((struct str_list){kinds, 1}));
        MSG_SET(&m, hello, slots, FLOW_SLOTS);
        MSG_SET(&m, hello, running, ((struct uint_list){running->at, running->n}));
        MSG_SET(&m, hello, unacked, ((struct uint_list){unacked->at, unacked->n}));
    }
    ask(w, link, role, VERB_hello);
    core_item(w->core, &m, STR(""), NULL);
    core_request_end(w->core);
}

static void worker_hello(struct world *w, uint32_t worker) {
    struct worker *by = &w->workers[worker];
    struct numbers running = {0}, unacked = {0};
    by->link = ++w->links;
    for (uint32_t k = 0; k < by->held.n; k++) {
        struct node *n = node_at(w, (uint32_t)by->held.at[k]);
        struct numbers *to = n->phase == PHASE_reported ? &unacked : &running;
        numbers_add(to, n->id);
        numbers_add(to, n->fence);
        n->sent = 0; /* what was said to the last life is said again */
    }
    hello(w, by->link, worker + 2, ROLE_WORKER, &running, &unacked);
    mem_free(running.at);
    mem_free(unacked.at);
}

void peers_hello(struct world *w) {
    truth_restart(w);
    w->operator_link = ++w->links;
    hello(w, w->operator_link, 1, ROLE_OPERATOR, NULL, NULL);
    for (uint32_t k = 0; k < FLOW_WORKERS; k++)
        worker_hello(w, k);
}
