/* Redis Streams as a queue: XADD; XREADGROUP, XACK, XDEL. */
#include "tests/bench/bench_queue.h"

#ifdef HAVE_HIREDIS

#include "common/os/clock.h"

#include <hiredis/hiredis.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CONSUMERS   2U
#define IN_FLIGHT   4U    /* pipelines that are not answered */
#define ALIVE_MAX   16384 /* entries that are not acknowledged */
#define START_MS    10000
#define SINGLES_MAX 20000U

/* Shared with the consumers. */
struct shared {
    _Atomic uint64_t done;
    _Atomic bool stop;
};
static struct shared *shared;

struct server {
    struct process process;
    char socket[PATH_SIZE], dir[PATH_SIZE];
};
static struct server server;

/* ---- talking -------------------------------------------------------------------------------- */
static redisReply *reply(redisContext *c) {
    void *r = NULL;
    if (redisGetReply(c, &r) != REDIS_OK)
        die("redis: %s", c->errstr);
    redisReply *said = r;
    if (said->type == REDIS_REPLY_ERROR)
        die("redis: %s", said->str);
    return said;
}

static void skip_reply(redisContext *c) {
    freeReplyObject(reply(c));
}

static void command(redisContext *c, const char *text) {
    redisAppendCommand(c, text);
    skip_reply(c);
}

static redisContext *try_connect(void) {
    redisContext *c = redisConnectUnix(server.socket);
    if (c && !c->err)
        return c;
    if (c)
        redisFree(c);
    return NULL;
}

static redisContext *connect_to(void) {
    redisContext *c = try_connect();
    if (!c)
        die("redis: cannot connect");
    return c;
}

/* False if there is no redis-server. */
static bool start(const struct bench *b, bool durable) {
    char log[PATH_SIZE];
    path_in(b, log, "redis.log");
    path_in(b, server.socket, "redis.sock");
    const char *argv[] = {
        "redis-server", "--port", "0", "--unixsocket", server.socket,          "--dir",
        b->root,        "--save", "",  "--appendonly", durable ? "yes" : "no", "--appendfsync",
        "always",       NULL};
    process_start(&server.process, argv, log, false);
    struct mono deadline = mono_add(clock_mono(), START_MS);
    redisContext *c = NULL;
    while (!c && !mono_reached(clock_mono(), deadline)) {
        poll(NULL, 0, 10);
        c = try_connect();
    }
    if (!c)
        return false;
    command(c, "XGROUP CREATE jobs workers $ MKSTREAM");
    redisFree(c);
    return true;
}

static void stop(const struct bench *b) {
    char path[PATH_SIZE];
    process_stop(&server.process);
    path_in(b, path, "appendonlydir");
    remove_tree(path);
}

/* ---- consumers ------------------------------------------------------------------------------ */
/* The ids of what was read, as arguments of one XACK and one XDEL. */
static size_t take_ids(const redisReply *read, const char **ids) {
    if (read->type != REDIS_REPLY_ARRAY || read->elements == 0)
        return 0;
    const redisReply *entries = read->element[0]->element[1];
    for (size_t i = 0; i < entries->elements; i++)
        ids[i] = entries->element[i]->element[0]->str;
    return entries->elements;
}

static void acknowledge(redisContext *c, const char **ids, size_t n, bool result) {
    const char *ack[BATCH + 3] = {"XACK", "jobs", "workers"};
    const char *del[BATCH + 2] = {"XDEL", "jobs"};
    memcpy(ack + 3, ids, n * sizeof *ids);
    memcpy(del + 2, ids, n * sizeof *ids);
    redisAppendCommandArgv(c, (int)n + 3, ack, NULL);
    redisAppendCommandArgv(c, (int)n + 2, del, NULL);
    if (result)
        redisAppendCommand(c, "LPUSH results 1");
    for (int i = 0; i < 2 + result; i++)
        skip_reply(c);
}

static void consume(const void *arg) {
    const char *name = arg;
    bool single = strcmp(name, "single") == 0;
    redisContext *c = connect_to();
    while (!atomic_load(&shared->stop)) {
        const char *ids[BATCH];
        redisAppendCommand(c, "XREADGROUP GROUP workers %s COUNT 256 BLOCK 100 STREAMS jobs >",
                           name);
        redisReply *read = reply(c);
        size_t n = take_ids(read, ids);
        if (n)
            acknowledge(c, ids, n, single);
        freeReplyObject(read);
        atomic_fetch_add(&shared->done, n);
    }
    redisFree(c);
}

/* ---- sustained ------------------------------------------------------------------------------ */
static char *add_command(int *len) {
    char payload[PAYLOAD_BYTES];
    char *text = NULL;
    memset(payload, 'x', sizeof payload);
    *len = redisFormatCommand(&text, "XADD jobs * p %b", payload, sizeof payload);
    return text;
}

static void send_batch(redisContext *c, const char *add, int len) {
    for (unsigned i = 0; i < BATCH; i++)
        redisAppendFormattedCommand(c, add, (size_t)len);
    for (int done = 0; !done;)
        if (redisBufferWrite(c, &done) != REDIS_OK)
            die("redis: %s", c->errstr);
}

static void produce(redisContext *c, double seconds, struct samples *samples) {
    int len;
    char *add = add_command(&len);
    uint64_t sent = atomic_load(&shared->done);
    uint64_t end = clock_mono_ns() + (uint64_t)(seconds * 1e9);
    unsigned flying = 0;
    while (clock_mono_ns() < end) {
        uint64_t done = atomic_load(&shared->done);
        if (samples)
            samples_add(samples, done);
        bool may = sent + BATCH <= done + ALIVE_MAX;
        if (!may && !flying) {
            poll(NULL, 0, 1);
            continue;
        }
        for (; may && flying < IN_FLIGHT; flying++, sent += BATCH)
            send_batch(c, add, len);
        for (unsigned i = 0; i < BATCH; i++)
            skip_reply(c);
        flying--;
    }
    for (; flying; flying--)
        for (unsigned i = 0; i < BATCH; i++)
            skip_reply(c);
    while (atomic_load(&shared->done) < sent)
        poll(NULL, 0, 1);
    redisFreeCommand(add);
}

static void batched(const struct bench *b, const char *name) {
    struct process consumers[CONSUMERS];
    struct samples samples;
    atomic_store(&shared->stop, false);
    process_fork(&consumers[0], consume, "one");
    process_fork(&consumers[1], consume, "two");
    redisContext *c = connect_to();
    produce(c, 1, NULL);
    pid_t pids[] = {0, server.process.pid, consumers[0].pid, consumers[1].pid};
    uint64_t before = atomic_load(&shared->done), all = 0, own = 0;
    struct usage first[4];
    for (size_t i = 0; i < 4; i++)
        first[i] = process_usage(pids[i]);
    samples_begin(&samples, before);
    produce(c, (double)b->seconds, &samples);
    double jobs = (double)(atomic_load(&shared->done) - before);
    for (size_t i = 0; i < 4; i++) {
        uint64_t spent = process_usage(pids[i]).cpu_us - first[i].cpu_us;
        all += spent;
        own += i == 1 ? spent : 0;
    }
    uint64_t written = process_usage(pids[1]).written - first[1].written;
    struct cost cost = {(double)own / jobs, (double)all / jobs, (double)written / jobs};
    atomic_store(&shared->stop, true);
    redisFree(c);
    for (size_t i = 0; i < CONSUMERS; i++)
        process_wait(&consumers[i]);
    row_rate(name, &samples, &cost, 0);
}

/* ---- one at a time -------------------------------------------------------------------------- */
static void single(const struct bench *b, const char *name) {
    static uint64_t ns[SINGLES_MAX];
    struct process consumer;
    int len;
    size_t n = 0;
    char *add = add_command(&len);
    atomic_store(&shared->stop, false);
    process_fork(&consumer, consume, "single");
    redisContext *c = connect_to();
    uint64_t end = clock_mono_ns() + b->seconds * SECOND_NS;
    while (n < SINGLES_MAX && clock_mono_ns() < end) {
        uint64_t began = clock_mono_ns();
        redisAppendFormattedCommand(c, add, (size_t)len);
        redisAppendCommand(c, "BLPOP results 0");
        skip_reply(c);
        skip_reply(c);
        ns[n++] = clock_mono_ns() - began;
    }
    atomic_store(&shared->stop, true);
    redisFree(c);
    process_wait(&consumer);
    redisFreeCommand(add);
    row_latency(name, ns, n, 0);
}

void redis_all(const struct bench *b) {
    static const char *const batched_names[] = {"without AOF", "appendfsync always"};
    static const char *const single_names[] = {"one at a time, without AOF",
                                               "one at a time, appendfsync always"};
    heading("Redis Streams: pipelines of 256 XADD; two consumers of 256: XREADGROUP, XACK, XDEL");
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        die("no shared memory");
    for (int durable = 1; durable >= 0; durable--) {
        atomic_store(&shared->done, 0);
        if (start(b, durable)) {
            batched(b, batched_names[durable]);
            single(b, single_names[durable]);
        } else {
            row_text(batched_names[durable], "not measured: redis-server does not answer");
        }
        stop(b);
    }
    munmap(shared, sizeof *shared);
}

#else

void redis_all(const struct bench *b) {
    (void)b;
    heading("Redis Streams");
    row_text("all", "not measured: built without libhiredis");
}

#endif
