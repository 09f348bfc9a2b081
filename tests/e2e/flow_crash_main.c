/* Kills broker, workers and supervisor at random moments while flows run, and then looks at every
 * flow from its root down.
 *
 *     bench_flow_crash [--rounds N] [--seed S]
 *
 * Each flow must have settled; each job that is done must have its children, once each, and its
 * then must have been given to a worker after all that it waited for had ended. P-32, P-81, P-83,
 * P-84. */
#include "common/base/mem.h"
#include "common/os/clock.h"
#include "schemas/states.h"
#include "tests/e2e/crash_scene.h"
#include "tests/e2e/flow_tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define ROUNDS      50
#define POLLS       150U /* between two blows, at most */
#define LIVE_MAX    12U  /* flows at a time */
#define ANSWER_MS   30000
#define STALL_MS    60000
#define PAYLOAD     256
#define WRONG_SHOWN 50U

static const char settings[] = "broker: {heartbeat: 100ms}\n"
                               "journal: {segment_size: 4MiB, batch_bytes: 4MiB}\n"
                               "pools:\n"
                               "  default: {processes_min: 2, processes_max: 2, slots: 4, "
                               "prefetch: 4, restart_backoff: 10ms}\n"
                               "log: {level: warn}\n";

struct flow {
    uint64_t id;
    struct flow_shape shape;
    bool settled;
};

static struct crash_scene scene;
static struct client *client;
static struct flow *flows;
static uint32_t n_flows, n_live, wrong;

static void report(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void report(const char *format, ...) {
    va_list list;
    if (wrong++ >= WRONG_SHOWN)
        return;
    va_start(list, format);
    fputs("wrong: ", stdout);
    vprintf(format, list);
    putchar('\n');
    va_end(list);
}

/* ---- flows ---------------------------------------------------------------------------------- */
static struct flow_shape make_shape(void) {
    struct flow_shape s = {.children = 1 + rng_below(&scene.moments, 25), .depth = 1, .then = true};
    switch (rng_below(&scene.moments, 4)) {
    case 0:
        s.now = true;
        break;
    case 1:
        s.children = 1 + rng_below(&scene.moments, 4);
        s.depth = 2 + rng_below(&scene.moments, 2);
        s.now = rng_below(&scene.moments, 2);
        break;
    default:
        break;
    }
    return s;
}

/* The unique key makes a second SUBMIT harmless where a broker has died over the first. */
static void submit_flow(void) {
    struct flow *f = &flows[n_flows];
    struct err e = {0};
    struct client_submitted out;
    char unique[32], json[PAYLOAD];
    *f = (struct flow){.shape = make_shape()};
    int len = snprintf(unique, sizeof unique, "flow %u", n_flows);
    AUTO_BUF payload = BUF(PAYLOAD);
    flow_payload(&f->shape, n_flows, json, sizeof json);
    if (flow_json(json, &payload, &e) < 0) {
        report("flow %u: %s", n_flows, e.text);
        return;
    }
    struct msg_submit m = {0};
    MSG_SET(&m, submit, kind, STR("spawn"));
    MSG_SET(&m, submit, unique, str_make(unique, (size_t)len));
    MSG_SET(&m, submit, window_ms, 3600000);
    struct client_item item = {.message = &m, .payload = buf_str(&payload)};
    if (client_submit(client, &item, 1, &out, mono_add(clock_mono(), ANSWER_MS), &e) < 0)
        return; /* it came to nothing, or stays a stranger: that is what the last count allows */
    f->id = out.id;
    n_flows++;
    n_live++;
}

static void look_at(struct flow *f) {
    struct msg_job_info info;
    struct err e = {0};
    if (flow_job(client, f->id, &info, &e) < 0) {
        if (e.code != ERR_UNKNOWN_OUTCOME && e.code != ERR_UNREACHABLE_BROKER)
            report("job %llx: %s", (unsigned long long)f->id, e.text);
        return;
    }
    f->settled = info.settled;
    n_live -= f->settled;
}

static void poll_one(uint32_t at) {
    for (uint32_t n = 0; n < n_flows; n++) {
        struct flow *f = &flows[(at + n) % n_flows];
        if (f->settled)
            continue;
        look_at(f);
        return;
    }
}

/* ---- blows ---------------------------------------------------------------------------------- */
static const struct blow {
    const char *name;
    bool (*strike)(struct crash_scene *s);
} blows[] = {
    {"the broker", crash_broker},
    {"the broker, twice", crash_broker_starting},
    {"a worker", crash_worker},
    {"a worker", crash_worker},
    {"a worker and the broker", crash_worker_and_broker},
    {"quern-pools", crash_pools},
    {"everything", crash_everything},
};
#define BLOWS (sizeof blows / sizeof *blows)

static void run_round(void) {
    uint32_t polls = 1 + rng_below(&scene.moments, POLLS);
    for (uint32_t n = 0; n < polls; n++) {
        if (n_live < LIVE_MAX)
            submit_flow();
        else
            poll_one(n);
    }
    pools_reap_orphans(&scene.pools, &scene.broker);
    blows[rng_below(&scene.moments, BLOWS)].strike(&scene);
}

static void drain(void) {
    struct mono stalls = mono_add(clock_mono(), STALL_MS);
    uint32_t live = n_live;
    while (n_live && !mono_reached(clock_mono(), stalls)) {
        pools_reap_orphans(&scene.pools, &scene.broker);
        for (uint32_t n = 0; n < n_flows; n++)
            if (!flows[n].settled)
                look_at(&flows[n]);
        if (n_live != live)
            stalls = mono_add(clock_mono(), STALL_MS);
        live = n_live;
    }
    for (uint32_t n = 0; n < n_flows; n++)
        if (!flows[n].settled)
            report("flow %u, job %llx: has not settled", n, (unsigned long long)flows[n].id);
}

static void check(void) {
    struct flow_found found = {0};
    struct err e = {0};
    for (uint32_t n = 0; n < n_flows; n++)
        if (flows[n].settled && flow_check(client, flows[n].id, &flows[n].shape, &found, &e) < 0)
            report("flow %u: %s", n, e.text);
    printf("%u flows: %u jobs, %u thens, %u dead of crashes; %u kills of the broker, %u of "
           "workers\n",
           n_flows, found.jobs, found.thens, found.crashed, scene.broker_kills, scene.worker_kills);
}

int main(int argc, char **argv) {
    struct crash_options options = {
        .program = "bench_flow_crash",
        .about = "kills processes at random while flows run; each settles, no child is lost or "
                 "doubled",
        .count_name = "--rounds",
        .count = ROUNDS};
    int status;
    if (!crash_options_read(&options, argc, argv, &status))
        return status;
    crash_scene_open(&scene, settings, options.seed);
    client = flow_client(scene.broker.run);
    flows = mem_zalloc((options.count + 1) * POLLS * sizeof *flows);
    for (uint64_t round = 0; round < options.count && !wrong; round++)
        run_round();
    drain();
    check();
    client_destroy(&client);
    mem_free(flows);
    return crash_scene_close(&scene, wrong);
}
