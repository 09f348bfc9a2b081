#include "tests/e2e/flow_tree.h"

#include "common/base/id.h"
#include "common/base/mem.h"
#include "common/os/clock.h"
#include "common/wire/json_bridge.h"
#include "schemas/states.h"

#include <stdio.h>
#include <stdlib.h>

#define ANSWER_MS 30000
#define PAGE      1000

struct client *flow_client(const char *run) {
    char endpoint[LINK_ENDPOINT_MAX];
    struct client *c = NULL;
    struct err e = {0};
    snprintf(endpoint, sizeof endpoint, "ipc://%s/operator.sock", run);
    struct client_config config = {
        .role = ROLE_OPERATOR, .endpoint = endpoint, .name = "flows", .clock = clock_mono};
    random_bytes(config.instance, sizeof config.instance);
    if (client_new(&c, &config, &e) < 0 ||
        client_connect(c, mono_add(clock_mono(), ANSWER_MS), &e) < 0) {
        fprintf(stderr, "no client: %s\n", e.text);
        exit(1);
    }
    return c;
}

/* ---- out ------------------------------------------------------------------------------------ */
void flow_payload(const struct flow_shape *s, uint32_t number, char *out, size_t size) {
    char unique[48] = "";
    if (s->now) /* an attempt that is lost leaves its children behind: the next spawns them again */
        snprintf(unique, sizeof unique, ",\"unique\":\"flow %u\"", number);
    snprintf(out, size, "{\"children\":%u,\"depth\":%u,\"now\":%s%s%s}", s->children, s->depth,
             s->now ? "true" : "false", unique,
             s->then ? ",\"then\":{\"kind\":\"spawn\",\"payload\":{\"children\":0}}" : "");
}

int flow_json(const char *json, struct buf *out, struct err *e) {
    json_t *value = json_bridge_parse(str_of(json), e);
    int rc = value ? json_bridge_to_value(value, out, e) : -1;
    json_decref(value);
    return rc;
}

uint32_t flow_below(const struct flow_shape *s) {
    uint32_t level = 1, all = 0;
    for (uint32_t d = 0; d < s->depth; d++) {
        all += s->then ? level : 0;
        level *= s->children;
        all += level;
    }
    return all;
}

/* ---- in ------------------------------------------------------------------------------------- */
static void take_job(void *ctx, const struct client_reply *r) {
    *(struct msg_job_info *)ctx = *(const struct msg_job_info *)r->message;
}

int flow_job(struct client *c, uint64_t id, struct msg_job_info *out, struct err *e) {
    struct msg_get_job m = {0};
    MSG_SET(&m, get_job, id, id);
    struct client_item item = {.message = &m};
    *out = (struct msg_job_info){0};
    if (client_call(c, VERB_get_job, &item, 1, take_job, out, mono_add(clock_mono(), ANSWER_MS),
                    e) < 0)
        return -1;
    return out->code ? err_set(e, ERR_NOT_FOUND, "job %s is not told", id_show(id).at) : 0;
}

struct children_of {
    struct msg_job_info *at; /* numbers only */
    uint32_t n, size;
    uint64_t next;
};

static void take_child(void *ctx, const struct client_reply *r) {
    struct children_of *k = ctx;
    const struct msg_job_info *m = r->message;
    if (!MSG_HAS(m, job_info, id)) {
        k->next = MSG_HAS(m, job_info, next) ? m->next : 0;
        return;
    }
    if (k->n == k->size) {
        k->size = k->size ? 2 * k->size : 64;
        k->at = mem_grow(k->at, k->size, sizeof *k->at);
    }
    k->at[k->n++] = *m;
}

static int list_children(struct client *c, uint64_t id, struct children_of *k, struct err *e) {
    struct msg_list_jobs m = {0};
    MSG_SET(&m, list_jobs, limit, PAGE);
    MSG_SET(&m, list_jobs, parent, id);
    struct client_item item = {.message = &m};
    do {
        if (client_call(c, VERB_list_jobs, &item, 1, take_child, k,
                        mono_add(clock_mono(), ANSWER_MS), e) < 0)
            return -1;
        MSG_SET(&m, list_jobs, before, k->next);
    } while (k->next);
    for (uint32_t n = 0; n < k->n; n++) /* a list does not tell all of it */
        if (flow_job(c, k->at[n].id, &k->at[n], e) < 0)
            return -1;
    return 0;
}

/* ---- what is right -------------------------------------------------------------------------- */
static bool died_of_crashes(const struct msg_job_info *j) {
    return j->state == JOB_dead && j->error == ERR_CRASHED;
}

static int check_end(const struct msg_job_info *j, struct flow_found *found, struct err *e) {
    found->jobs++;
    found->crashed += died_of_crashes(j);
    if (j->state != JOB_done && !died_of_crashes(j))
        return err_set(e, ERR_INTERNAL, "job %s: state %s, error %d", id_show(j->id).at,
                       job_state_name(j->state), (int)j->error);
    return 0;
}

/* P-84: a worker got it after everything below the others had ended. */
static int check_then(const struct msg_job_info *then, uint64_t others_ended_ms, struct err *e) {
    if (then->started_ms < others_ended_ms)
        return err_set(e, ERR_INTERNAL, "then %s started %llu ms before the others had ended",
                       id_show(then->id).at,
                       (unsigned long long)(others_ended_ms - then->started_ms));
    return 0;
}

static int check_node(struct client *c, const struct msg_job_info *j, const struct flow_shape *s,
                      struct flow_found *found, uint64_t *ended_ms, struct err *e);

/* NOLINTNEXTLINE(misc-no-recursion): a tree is as deep as the test makes it */
static int check_children(struct client *c, const struct children_of *k, const struct flow_shape *s,
                          struct flow_found *found, uint64_t *ended_ms, struct err *e) {
    struct flow_shape below = *s;
    const struct msg_job_info *then = NULL;
    below.depth--;
    for (uint32_t n = 0; n < k->n; n++) {
        if (k->at[n].then && then)
            return err_set(e, ERR_INTERNAL, "job %s is a second then", id_show(k->at[n].id).at);
        if (k->at[n].then)
            then = &k->at[n];
        else if (check_node(c, &k->at[n], &below, found, ended_ms, e) < 0)
            return -1;
    }
    if (!then)
        return 0;
    found->thens++;
    if (check_end(then, found, e) < 0 || check_then(then, *ended_ms, e) < 0)
        return -1;
    if (then->ended_ms > *ended_ms)
        *ended_ms = then->ended_ms;
    return 0;
}

static uint64_t later(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

/* `ended_ms` becomes the latest end of it and all below, if that is later. */
/* NOLINTNEXTLINE(misc-no-recursion): a tree is as deep as the test makes it */
static int check_node(struct client *c, const struct msg_job_info *j, const struct flow_shape *s,
                      struct flow_found *found, uint64_t *ended_ms, struct err *e) {
    struct children_of k = {0};
    uint64_t own_ms = j->ended_ms;
    if (check_end(j, found, e) < 0)
        return -1;
    int rc = s->depth ? list_children(c, j->id, &k, e) : 0;
    uint32_t wanted = s->depth ? s->children + s->then : 0;
    bool right = k.n == wanted || (died_of_crashes(j) && k.n <= (s->now ? wanted : 0));
    if (rc == 0 && !right)
        rc = err_set(e, ERR_INTERNAL, "job %s has %u children, not %u", id_show(j->id).at, k.n,
                     wanted);
    if (rc == 0 && k.n)
        rc = check_children(c, &k, s, found, &own_ms, e);
    *ended_ms = later(*ended_ms, own_ms);
    mem_free(k.at);
    return rc;
}

int flow_check(struct client *c, uint64_t id, const struct flow_shape *s, struct flow_found *found,
               struct err *e) {
    struct msg_job_info j;
    uint32_t before = found->jobs, crashed = found->crashed;
    uint64_t ended_ms = 0;
    if (flow_job(c, id, &j, e) < 0 || check_node(c, &j, s, found, &ended_ms, e) < 0)
        return -1;
    uint32_t below = found->jobs - before - 1;
    if (j.below != below || (found->crashed == crashed && below != flow_below(s)))
        return err_set(e, ERR_INTERNAL, "job %s: %u jobs are below it, it counted %u, of %u",
                       id_show(id).at, below, (unsigned)j.below, flow_below(s));
    return 0;
}
