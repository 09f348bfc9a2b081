#include "tests/bench/bench_queue_quern.h"

#include "common/os/clock.h"

#include <poll.h>
#include <stdio.h>

#define COMMON      "log: {level: warn}\npools: {default: {processes_min: 2, processes_max: 2}}\n"
#define SPECULATIVE COMMON "kinds: {echo: {speculative: true}}\n"
#define CAREFUL     COMMON "kinds: {echo: {speculative: false}}\n"
#define LARGE       COMMON "broker: {jobs_max: 20000000}\nkinds: {echo: {}}\n"

#define DURABLE       0
#define IN_MEMORY     2
#define WINDOW        16U /* batches without an answer */
#define WINDOW_SINGLE 64U /* the same, of one job */
#define WARM_MS       1000
#define SINGLES_MAX   20000U
#define SINGLES_WARM  200U

/* ---- sustained ------------------------------------------------------------------------------ */
static struct usage all_usage(const struct quern *q, struct usage *broker) {
    struct usage all = process_usage(0);
    *broker = process_usage(q->broker.pid);
    all.cpu_us += broker->cpu_us;
    for (unsigned n = 0; n < WORKERS; n++)
        all.cpu_us += process_usage(q->workers[n].pid).cpu_us;
    return all;
}

static void run_for(struct stream *s, double seconds, struct samples *samples) {
    uint64_t end = clock_mono_ns() + (uint64_t)(seconds * 1e9);
    while (clock_mono_ns() < end) {
        stream_turn(s);
        if (samples)
            samples_add(samples, s->done);
    }
}

struct sustained {
    const char *name, *settings;
    size_t batch, window;
    uint64_t durability;
    double target;
};

static void sustained(const struct bench *b, const struct sustained *what) {
    static struct stream s;
    struct quern q;
    struct samples samples;
    struct usage broker[2];
    quern_start(&q, b, what->settings, WORKERS, ROLE_CLIENT);
    stream_begin(&s, q.client, what->batch, what->window, what->durability, 0);
    run_for(&s, WARM_MS / 1e3, NULL);
    uint64_t before = s.done;
    struct usage all = all_usage(&q, &broker[0]);
    samples_begin(&samples, s.done);
    run_for(&s, (double)b->seconds, &samples);
    uint64_t spent = all_usage(&q, &broker[1]).cpu_us - all.cpu_us;
    double jobs = (double)(s.done - before);
    struct cost cost = {.broker_us = (double)(broker[1].cpu_us - broker[0].cpu_us) / jobs,
                        .total_us = (double)spent / jobs,
                        .journal_bytes = (double)(broker[1].written - broker[0].written) / jobs};
    stream_finish(&s);
    row_rate(what->name, &samples, &cost, what->target);
    quern_stop(&q);
}

void quern_batched(const struct bench *b) {
    heading("Quern: one producer (client library), batches of 256; two quern-worker, kind echo");
    sustained(b, &(struct sustained){"durable", SPECULATIVE, BATCH, WINDOW, DURABLE, 300000});
    sustained(b, &(struct sustained){"in memory", SPECULATIVE, BATCH, WINDOW, IN_MEMORY, 500000});
}

void quern_unbatched(const struct bench *b) {
    heading("Quern: one job a message, 64 messages without an answer");
    sustained(b, &(struct sustained){"durable", SPECULATIVE, 1, WINDOW_SINGLE, DURABLE, 0});
    sustained(b, &(struct sustained){"in memory", SPECULATIVE, 1, WINDOW_SINGLE, IN_MEMORY, 0});
}

/* ---- one at a time -------------------------------------------------------------------------- */
static uint64_t one_job(struct quern *q, const struct offer *o) {
    struct client_item item = CLIENT_ITEM(&o->message, o->payload);
    struct client_submitted out;
    struct err e = {0};
    uint64_t ended = q->ended, began = clock_mono_ns();
    if (client_submit(q->client, &item, 1, &out, MONO_NEVER, &e) < 0)
        die("%s", e.text);
    while (q->ended == ended)
        client_poll(q->client, MONO_NEVER);
    return clock_mono_ns() - began;
}

static void single(const struct bench *b, const char *name, const char *settings,
                   uint64_t durability, double target_us) {
    static uint64_t ns[SINGLES_MAX];
    struct quern q;
    struct offer o;
    size_t n = 0;
    quern_start(&q, b, settings, 1, ROLE_CLIENT);
    offer_make(&o, durability);
    MSG_SET(&o.message, submit, watch, true);
    for (size_t i = 0; i < SINGLES_WARM; i++)
        one_job(&q, &o);
    uint64_t end = clock_mono_ns() + b->seconds * SECOND_NS;
    while (n < SINGLES_MAX && clock_mono_ns() < end)
        ns[n++] = one_job(&q, &o);
    row_latency(name, ns, n, target_us);
    quern_stop(&q);
}

void quern_single(const struct bench *b) {
    heading("Quern: one job at a time, from SUBMIT until its end is told; one quern-worker");
    single(b, "durable, speculative", SPECULATIVE, DURABLE, 300);
    single(b, "durable, not speculative", CAREFUL, DURABLE, 400);
    single(b, "in memory", SPECULATIVE, IN_MEMORY, 170);
}

/* ---- fairness ------------------------------------------------------------------------------- */
/* Seconds of one tenant and of fifty take turns in one broker, so that both see the same machine.
 */
void quern_fair(const struct bench *b) {
    static struct stream streams[2];
    static const unsigned tenants[2] = {1, 50};
    struct samples samples[2];
    struct quern q;
    heading("Quern: what fairness costs; durable, batches of 256, seconds of both in turn");
    quern_start(&q, b, SPECULATIVE, WORKERS, ROLE_GATEWAY);
    uint64_t done = 0;
    for (unsigned k = 0; k < 2; k++) {
        samples_begin(&samples[k], 0);
        stream_begin(&streams[k], q.client, BATCH, WINDOW, DURABLE, tenants[k]);
    }
    /* One round of both takes 1.2 s. */
    for (uint64_t spent_ms = 0; spent_ms < b->seconds * 1000ULL; spent_ms += 1200) {
        for (unsigned k = 0; k < 2; k++) {
            struct stream *s = &streams[k];
            s->done = s->sent = done;
            s->window = WINDOW;
            run_for(s, 0.2, NULL);
            samples[k].ns = clock_mono_ns();
            samples[k].count = s->done;
            run_for(s, 1.02, &samples[k]);
            stream_finish(s);
            done = s->done;
        }
    }
    double one = samples_median(&samples[0]), fifty = samples_median(&samples[1]);
    row_rate("1 tenant", &samples[0], &NO_COST, 0);
    row_rate("50 tenants", &samples[1], &NO_COST, 0);
    row_text("cost", "%.1f %%  target 5: %s", (one - fifty) / one * 100,
             fifty >= 0.95 * one ? "met" : "missed");
    quern_stop(&q);
}

/* ---- at rest -------------------------------------------------------------------------------- */
static void rest_of(const char *name, pid_t pid, const struct usage *before, double seconds) {
    struct usage now = process_usage(pid);
    double percent = (double)(now.cpu_us - before->cpu_us) / seconds / 1e4;
    double mib = (double)now.private_bytes / (1 << 20);
    row_text(name, "%.2f MiB private (%.1f resident), %.2f %% of a core  target 4, 0.3: %s", mib,
             (double)now.rss / (1 << 20), percent, mib < 4 && percent < 0.3 ? "met" : "missed");
}

void quern_idle(const struct bench *b) {
    double seconds = b->seconds < 10 ? (double)b->seconds : 10;
    struct quern q;
    heading("Quern: at rest, after a thousand jobs");
    quern_start(&q, b, SPECULATIVE, 1, ROLE_CLIENT);
    struct offer o;
    offer_make(&o, DURABLE);
    MSG_SET(&o.message, submit, watch, true);
    for (size_t i = 0; i < 1000; i++)
        one_job(&q, &o);
    quern_disconnect(&q);
    poll(NULL, 0, WARM_MS);
    struct usage broker = process_usage(q.broker.pid), worker = process_usage(q.workers[0].pid);
    poll(NULL, 0, (int)(seconds * 1e3));
    rest_of("quern-broker", q.broker.pid, &broker, seconds);
    rest_of("quern-worker", q.workers[0].pid, &worker, seconds);
    quern_stop(&q);
}

/* ---- restart -------------------------------------------------------------------------------- */
#define FEW 20000U

static void send_until(struct stream *s, uint64_t jobs) {
    s->alive_max = jobs;
    while (s->sent + s->batch <= jobs)
        stream_turn(s);
    while (s->open)
        stream_turn(s);
}

static void restart(const struct bench *b, uint64_t jobs, double target_s) {
    static struct stream s;
    struct quern q;
    quern_start(&q, b, LARGE, 0, ROLE_CLIENT);
    stream_begin(&s, q.client, BATCH, WINDOW, DURABLE, 0);
    send_until(&s, FEW);
    struct usage few = process_usage(q.broker.pid);
    uint64_t began = clock_mono_ns(), sent = s.sent;
    send_until(&s, jobs);
    double seconds = (double)(clock_mono_ns() - began) / 1e9;
    struct usage many = process_usage(q.broker.pid);
    double bytes = (double)(many.rss - few.rss) / (double)(s.sent - sent);
    quern_disconnect(&q);
    process_stop(&q.broker);
    double ms = quern_again(&q, b);
    struct usage after = process_usage(q.broker.pid);
    char name[64];
    snprintf(name, sizeof name, "%llu jobs that wait", (unsigned long long)s.sent);
    row_text(name, "serves again after %.2f s  target %.1f: %s", ms / 1e3, target_s,
             ms / 1e3 <= target_s ? "met" : "missed");
    row_text("", "%.0f B resident a job beyond the window (%.0f after the restart)  target 100: %s",
             bytes, ((double)after.rss - (double)few.rss) / (double)(s.sent - sent),
             bytes <= 100 ? "met" : "missed");
    row_text("", "submitted at %.0f /s", (double)(s.sent - sent) / seconds);
    quern_stop(&q);
}

void quern_restart(const struct bench *b) {
    heading("Quern: a restart");
    restart(b, b->jobs, 1.5 * (double)b->jobs / 1e6);
    if (b->all)
        restart(b, 10000000, 15);
}
