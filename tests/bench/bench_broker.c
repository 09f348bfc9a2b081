/* Jobs through a real quern-broker over its local sockets, with a client and a worker that do next
 * to nothing, in one process beside it.
 *
 *     bench_broker [latency | throughput | rest] [COUNT] [BATCH]
 *
 * latency     one job at a time: from SUBMIT until SUBMITTED, and until FINISHED
 * throughput  COUNT jobs in messages of BATCH: submitted, acknowledged on disk, run, their ends on
 * disk rest        what the broker takes of one core while nothing happens, over COUNT seconds */
#include "common/base/mem.h"
#include "common/os/clock.h"
#include "tests/e2e/broker_process.h"
#include "tests/e2e/raw_peer.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char settings[] = "kinds:\n"
                               "  echo: {}\n"
                               "  quick: {speculative: true}\n"
                               "  light: {durability: none}\n"
                               "window: {queue_jobs: 100000}\n"
                               "log: {level: warn}\n";

static struct broker broker;

/* ---- the worker ----------------------------------------------------------------------------- */
#define SLOTS 1024

static void *work(void *arg) {
    struct raw_peer *w = arg;
    static const struct str kinds[] = {{"echo", 4}, {"quick", 5}, {"light", 5}};
    struct msg_hello hello = raw_hello_message(w);
    MSG_SET(&hello, hello, kinds, ((struct str_list){kinds, 3}));
    MSG_SET(&hello, hello, slots, SLOTS);
    MSG_SET(&hello, hello, prefetch, 4096 - SLOTS);
    raw_hello_as(w, &hello);
    for (;;) {
        raw_await_any(w);
        if (w->in.verb->verb == VERB_bye)
            return NULL;
        if (w->in.verb->verb != VERB_dispatch)
            continue;
        union msg_any m;
        frame_begin(&w->out, VERB_result, 0);
        for (uint32_t n = w->in.items; n; n--) {
            struct msg_result r = {0};
            raw_item(w, &m);
            MSG_SET(&r, result, job, m.dispatch.job);
            MSG_SET(&r, result, fence, m.dispatch.fence);
            MSG_SET(&r, result, outcome, OUTCOME_DONE);
            frame_add(&w->out, &r);
        }
        raw_send_out(w);
    }
}

/* ---- latency -------------------------------------------------------------------------------- */
static int by_size(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static double part_us(const uint64_t *sorted_ns, size_t n, size_t percent) {
    size_t at = n * percent / 100;
    return (double)sorted_ns[at] / 1e3;
}

static void show(const char *kind, const char *what, uint64_t *ns, size_t n) {
    qsort(ns, n, sizeof *ns, by_size);
    printf("%-6s %-10s p50 %6.0f us   p90 %6.0f us   p99 %6.0f us\n", kind, what,
           part_us(ns, n, 50), part_us(ns, n, 90), part_us(ns, n, 99));
}

/* Both may come in either order. */
static void one_job(struct raw_peer *client, const char *kind, uint64_t *submitted,
                    uint64_t *finished) {
    struct msg_submit m = {0};
    MSG_SET(&m, submit, kind, str_of(kind));
    MSG_SET(&m, submit, watch, true);
    MSG_SET(&m, submit, size, 8);
    uint64_t began = clock_mono_ns();
    raw_ask(client, VERB_submit, &m, STR("\x81\xa4text\xa1x"));
    *submitted = *finished = 0;
    while (!*submitted || !*finished) {
        raw_await_any(client);
        if (client->in.verb->verb == VERB_submitted)
            *submitted = clock_mono_ns() - began;
        if (client->in.verb->verb == VERB_finished)
            *finished = clock_mono_ns() - began;
    }
}

static void latency(struct raw_peer *client, size_t count) {
    static const char *const kinds[] = {"echo", "quick", "light"};
    uint64_t *submitted = mem_grow(NULL, count, sizeof *submitted);
    uint64_t *finished = mem_grow(NULL, count, sizeof *finished);
    for (size_t k = 0; k < 3; k++) {
        for (size_t i = 0; i < count; i++)
            one_job(client, kinds[k], &submitted[i], &finished[i]);
        show(kinds[k], "submitted", submitted, count);
        show(kinds[k], "finished", finished, count);
    }
    mem_free(submitted);
    mem_free(finished);
}

/* ---- throughput ----------------------------------------------------------------------------- */
#define WINDOW  16U    /* messages without an answer */
#define BACKLOG 20000U /* jobs that have not ended */

static void send_batch(struct raw_peer *client, size_t batch) {
    struct msg_submit m = {0};
    MSG_SET(&m, submit, kind, STR("echo"));
    MSG_SET(&m, submit, watch, true);
    MSG_SET(&m, submit, size, 100);
    static char payload[100] = "\x81\xa4text\xd9\x5b";
    frame_begin(&client->out, VERB_submit, ++client->sequence);
    for (size_t i = 0; i < batch; i++)
        frame_add_payload(&client->out, &m, str_make(payload, sizeof payload), STR(""));
    raw_send_out(client);
}

static double cpu_seconds(void) {
    char path[64], text[512];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)broker.pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    char *at = strrchr(text, ')');
    for (int field = 2; at && field < 14; field++)
        at = strchr(at + 1, ' ');
    if (at) {
        user = strtoul(at, &at, 10);
        system = strtoul(at, &at, 10);
    }
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* A refused job never ends. */
static size_t refused(struct raw_peer *client) {
    size_t n = 0;
    union msg_any m;
    for (uint32_t i = client->in.items; i; i--) {
        raw_item(client, &m);
        if (!m.submitted.code)
            continue;
        if (n++ == 0)
            fprintf(stderr, "refused: " STR_FMT "\n", STR_ARG(m.submitted.text));
    }
    return n;
}

static void throughput(struct raw_peer *client, size_t count, size_t batch) {
    size_t sent = 0, acked = 0, ended = 0, outstanding = 0;
    double cpu = cpu_seconds();
    uint64_t began = clock_mono_ns();
    while (ended < count) {
        for (; outstanding < WINDOW && sent < count && sent < ended + BACKLOG;
             outstanding++, sent += batch)
            send_batch(client, batch);
        raw_await_any(client);
        if (client->in.verb->verb == VERB_submitted) {
            acked += client->in.items;
            outstanding--;
            ended += refused(client);
        }
        if (client->in.verb->verb == VERB_finished)
            ended += client->in.items;
    }
    double seconds = (double)(clock_mono_ns() - began) / 1e9;
    printf("%zu jobs in messages of %zu: %.0f a second; %.2f us of the broker's time each\n", acked,
           batch, (double)acked / seconds, (cpu_seconds() - cpu) * 1e6 / (double)acked);
}

/* ---- main ----------------------------------------------------------------------------------- */
static void rest(size_t seconds) {
    struct mono end = mono_add(clock_mono(), seconds * 1000);
    double cpu = cpu_seconds();
    zmq_poll(NULL, 0, (long)mono_until(clock_mono(), end));
    printf("at rest: %.2f %% of a core\n", (cpu_seconds() - cpu) * 100 / (double)seconds);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    uint64_t count = 0, batch = 256;
    if (strcmp(what, "--about") == 0) {
        puts("jobs through a real broker: latency, throughput, CPU at rest");
        return 0;
    }
    if ((argc > 2 && !str_to_u64(str_of(argv[2]), 100000000, &count)) ||
        (argc > 3 && !str_to_u64(str_of(argv[3]), 1024, &batch)) || batch == 0) {
        fputs("usage: bench_broker [latency | throughput | rest] [COUNT] [BATCH]\n", stderr);
        return 2;
    }
    struct raw_peer client, worker;
    pthread_t thread;
    broker_make(&broker, settings);
    broker_start(&broker);
    raw_open(&client, broker.run, ROLE_CLIENT, 1);
    raw_open(&worker, broker.run, ROLE_WORKER, 2);
    raw_hello(&client);
    pthread_create(&thread, NULL, work, &worker);
    if (!*what || strcmp(what, "latency") == 0)
        latency(&client, count ? count : 3000);
    if (!*what || strcmp(what, "throughput") == 0)
        throughput(&client, count ? count : 1000000, batch);
    if (!*what || strcmp(what, "rest") == 0)
        rest(count && *what ? count : 10);
    broker_stop(&broker);
    pthread_join(thread, NULL);
    raw_close(&client);
    raw_close(&worker);
    broker_remove(&broker);
    return 0;
}
