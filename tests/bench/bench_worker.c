/* What one quern-worker does a second: a broker that does nothing but hand out and acknowledge
 * tiny jobs, over the real socket. `bench_worker [KIND] [PREFETCH] [JOBS]`; KIND echo runs on the
 * worker's host thread, sleep ({ms: 0}) goes through its slots. */
#include "common/base/mem.h"
#include "common/os/clock.h"
#include "common/wire/frame.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#define BATCH 512

struct bench {
    void *context, *router;
    char folder[32], endpoint[64];
    zmq_msg_t from, parts[3];
    int n_parts;
    struct frame_in in;
    struct frame_out dispatch, ack, out;
    const char *kind;
    uint64_t credit, given, ended, jobs;
    pid_t worker;
};

static void fail(const char *what) {
    fprintf(stderr, "bench_worker: %s\n", what);
    exit(1);
}

static void send_frame(struct bench *b, const struct frame_out *f) {
    zmq_msg_t to;
    zmq_msg_init(&to);
    zmq_msg_copy(&to, &b->from);
    if (zmq_msg_send(&to, b->router, ZMQ_SNDMORE) < 0 ||
        zmq_send(b->router, f->head.at, f->head.len, ZMQ_SNDMORE) < 0 ||
        zmq_send(b->router, f->body.at, f->body.len, ZMQ_SNDMORE) < 0 ||
        zmq_send(b->router, f->payloads.len ? f->payloads.at : "", f->payloads.len, 0) < 0)
        fail("cannot send");
}

static bool receive(struct bench *b, int flags) {
    struct err e = {0};
    while (b->n_parts)
        zmq_msg_close(&b->parts[--b->n_parts]);
    if (zmq_msg_recv(&b->from, b->router, flags) < 0)
        return false;
    do {
        zmq_msg_init(&b->parts[b->n_parts]);
        if (zmq_msg_recv(&b->parts[b->n_parts++], b->router, 0) < 0)
            fail("cannot receive");
    } while (zmq_msg_more(&b->parts[b->n_parts - 1]));
    struct str p[3] = {{0}};
    for (int i = 0; i < b->n_parts; i++)
        p[i] = str_make(zmq_msg_data(&b->parts[i]), zmq_msg_size(&b->parts[i]));
    if (frame_open(&b->in, p[0], p[1], p[2], &e) < 0)
        fail(e.text);
    return true;
}

static void give(struct bench *b) {
    while (b->credit && b->given < b->jobs) {
        frame_begin(&b->dispatch, VERB_dispatch, 0);
        struct str payload = STR("\x81\xa2ms\x00");
        for (int n = 0; n < BATCH && b->credit && b->given < b->jobs; n++) {
            struct msg_dispatch m = {0};
            MSG_SET(&m, dispatch, job, ++b->given);
            MSG_SET(&m, dispatch, fence, b->given);
            MSG_SET(&m, dispatch, kind, str_of(b->kind));
            MSG_SET(&m, dispatch, size, payload.len);
            MSG_SET(&m, dispatch, tenant, STR("default"));
            MSG_SET(&m, dispatch, attempt, 1);
            MSG_SET(&m, dispatch, timeout_ms, 300000);
            frame_add_payload(&b->dispatch, &m, payload, STR(""));
            b->credit--;
        }
        send_frame(b, &b->dispatch);
    }
}

static void take_results(struct bench *b) {
    struct msg_result m;
    struct frame_item item;
    struct err e;
    frame_begin(&b->ack, VERB_result_ack, 0);
    while (frame_next(&b->in, &m, NULL, &item, &e) == 1) {
        struct msg_attempt_ref ref = {0};
        MSG_SET(&ref, attempt_ref, job, m.job);
        MSG_SET(&ref, attempt_ref, fence, m.fence);
        frame_add(&b->ack, &ref);
        b->ended++;
        b->credit++;
    }
    send_frame(b, &b->ack);
}

static void take_hello(struct bench *b) {
    frame_begin(&b->out, VERB_welcome, b->in.sequence);
    frame_add(&b->out, &(struct msg_welcome){.has = 0x3fe,
                                             .version = 1,
                                             .epoch = 1,
                                             .heartbeat_ms = 1000,
                                             .missed_max = 3,
                                             .items_max = 1024,
                                             .bytes_max = 4U << 20,
                                             .body_max = 1U << 20,
                                             .result_max = 64U << 10,
                                             .outstanding_max = 1024});
    send_frame(b, &b->out);
}

static void serve(struct bench *b) {
    while (b->ended < b->jobs) {
        if (!receive(b, 0))
            fail("nothing came");
        enum verb verb = b->in.verb->verb;
        if (verb == VERB_hello)
            take_hello(b);
        else if (verb == VERB_result)
            take_results(b);
        give(b);
    }
}

static void start_worker(struct bench *b, const char *prefetch) {
    b->worker = fork();
    if (b->worker)
        return;
    execl(QUERN_BIN_DIR "/quern-worker", "quern-worker", "--broker", b->endpoint, "--slots", "4",
          "--prefetch", prefetch, (char *)NULL);
    _exit(127);
}

int main(int argc, char **argv) {
    struct bench b = {.folder = "/tmp/quern-bench-XXXXXX",
                      .dispatch = FRAME_OUT,
                      .ack = FRAME_OUT,
                      .out = FRAME_OUT,
                      .kind = argc > 1 ? argv[1] : "echo"};
    const char *prefetch = argc > 2 ? argv[2] : "4000";
    uint64_t more = 0;
    b.jobs = 1000000;
    if (!str_to_u64(str_of(prefetch), 4096, &more) ||
        (argc > 3 && !str_to_u64(str_of(argv[3]), UINT32_MAX, &b.jobs)) || !mkdtemp(b.folder))
        fail("wrong usage");
    b.credit = 4 + more;
    snprintf(b.endpoint, sizeof b.endpoint, "ipc://%s/s", b.folder);
    b.context = zmq_ctx_new();
    b.router = zmq_socket(b.context, ZMQ_ROUTER);
    zmq_msg_init(&b.from);
    if (zmq_bind(b.router, b.endpoint) < 0)
        fail("cannot bind");
    start_worker(&b, prefetch);
    if (!receive(&b, 0))
        fail("no worker");
    take_hello(&b);
    uint64_t begin = clock_mono_ns();
    give(&b);
    serve(&b);
    double seconds = (double)(clock_mono_ns() - begin) / 1e9;
    printf("%s: %" PRIu64 " jobs, prefetch %s: %.0f jobs/s\n", b.kind, b.jobs, prefetch,
           (double)b.jobs / seconds);
    kill(b.worker, SIGKILL);
    waitpid(b.worker, NULL, 0);
    unlink(b.endpoint + strlen("ipc://"));
    rmdir(b.folder);
    return 0;
}
