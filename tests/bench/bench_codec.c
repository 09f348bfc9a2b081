/* How long one envelope takes to write and to read, and one item of a whole message. */
#include "common/base/id.h"
#include "common/os/clock.h"
#include "common/wire/frame.h"

#include <stdio.h>

#define ITEMS  1000
#define ROUNDS 2000

static union msg_any an_attempt_ref(void) {
    union msg_any m = {0};
    MSG_SET(&m.attempt_ref, attempt_ref, job, id_make(3, 123456));
    MSG_SET(&m.attempt_ref, attempt_ref, fence, id_make(3, 123999));
    return m;
}

static union msg_any a_result(void) {
    union msg_any m = {0};
    MSG_SET(&m.result, result, job, id_make(3, 123456));
    MSG_SET(&m.result, result, fence, id_make(3, 123999));
    MSG_SET(&m.result, result, outcome, OUTCOME_DONE);
    MSG_SET(&m.result, result, size, 64);
    return m;
}

static union msg_any a_dispatch(void) {
    union msg_any m = {0};
    MSG_SET(&m.dispatch, dispatch, job, id_make(3, 123456));
    MSG_SET(&m.dispatch, dispatch, fence, id_make(3, 123999));
    MSG_SET(&m.dispatch, dispatch, kind, STR("summarize"));
    MSG_SET(&m.dispatch, dispatch, size, 64);
    MSG_SET(&m.dispatch, dispatch, tenant, STR("default"));
    MSG_SET(&m.dispatch, dispatch, attempt, 1);
    MSG_SET(&m.dispatch, dispatch, attempts_max, 3);
    MSG_SET(&m.dispatch, dispatch, timeout_ms, 60000);
    return m;
}

static union msg_any a_traced_dispatch(void) {
    union msg_any m = a_dispatch();
    MSG_SET(&m.dispatch, dispatch, trace,
            STR("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
    return m;
}

static union msg_any a_submit(void) {
    union msg_any m = {0};
    MSG_SET(&m.submit, submit, kind, STR("scrape"));
    MSG_SET(&m.submit, submit, size, 64);
    MSG_SET(&m.submit, submit, tenant, STR("default"));
    MSG_SET(&m.submit, submit, priority, 5);
    MSG_SET(&m.submit, submit, key, STR("www.example.org#0"));
    MSG_SET(&m.submit, submit, unique, STR("crawl7:https://www.example.org/a/b/c"));
    MSG_SET(&m.submit, submit, ttl_ms, 3600000);
    MSG_SET(&m.submit, submit, timeout_ms, 30000);
    return m;
}

static union msg_any a_submitted(void) {
    union msg_any m = {0};
    MSG_SET(&m.submitted, submitted, code, 0);
    MSG_SET(&m.submitted, submitted, id, id_make(3, 123456));
    return m;
}

static const struct {
    const char *name;
    enum verb verb;
    union msg_any (*make)(void);
} kinds[] = {
    {"attempt_ref", VERB_started, an_attempt_ref},
    {"result", VERB_result, a_result},
    {"dispatch", VERB_dispatch, a_dispatch},
    {"dispatch+trace", VERB_dispatch, a_traced_dispatch},
    {"submit", VERB_submit, a_submit},
    {"submitted", VERB_submitted, a_submitted},
};

static double per_item(uint64_t began) {
    return (double)(clock_mono_ns() - began) / ((double)ROUNDS * ITEMS);
}

static double time_put(const struct verb_def *verb, const union msg_any *m, struct buf *out) {
    uint64_t began = clock_mono_ns();
    for (int round = 0; round < ROUNDS; round++) {
        buf_clear(out);
        for (int i = 0; i < ITEMS; i++)
            codec_put(out, verb->message, m);
    }
    return per_item(began);
}

static double time_get(const struct verb_def *verb, const struct buf *in) {
    union msg_any back;
    uint64_t seen = 0;
    uint64_t began = clock_mono_ns();
    for (int round = 0; round < ROUNDS; round++) {
        struct cursor c = cursor_of(buf_str(in));
        struct err e;
        while (cursor_left(&c) && codec_get(&c, verb->message, &back, NULL, NULL, &e) == 0)
            seen += back.has;
    }
    double ns = per_item(began);
    if (seen == 0)
        fprintf(stderr, "nothing was read\n");
    return ns;
}

/* A whole message of ITEMS items: built; opened and read. */
static void time_frame(const struct verb_def *verb, const union msg_any *m, struct str payload,
                       double *build, double *read) {
    AUTO_FRAME_OUT f = FRAME_OUT;
    uint64_t began = clock_mono_ns();
    for (int round = 0; round < ROUNDS; round++) {
        frame_begin(&f, verb->verb, 7);
        for (int i = 0; i < ITEMS; i++)
            frame_add_payload(&f, m, payload, STR(""));
    }
    *build = per_item(began);
    union msg_any back;
    struct frame_in in;
    struct frame_item item;
    struct err e;
    began = clock_mono_ns();
    for (int round = 0; round < ROUNDS; round++) {
        if (frame_open(&in, buf_str(&f.head), buf_str(&f.body), buf_str(&f.payloads), &e) < 0)
            fprintf(stderr, "%s\n", e.text);
        while (frame_next(&in, &back, NULL, &item, &e) == 1)
            continue;
    }
    *read = per_item(began);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--about") == 0) {
        puts("nanoseconds to write and to read one envelope, alone and in a message");
        return 0;
    }
    char bytes[64] = {0};
    printf("%-15s %6s %9s %9s %9s %9s\n", "message", "bytes", "put ns", "get ns", "build ns",
           "read ns");
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        const struct verb_def *verb = verb_def(kinds[i].verb);
        union msg_any m = kinds[i].make();
        AUTO_BUF out = BUF(FRAME_BYTES_MAX);
        double build, read, put = time_put(verb, &m, &out), get = time_get(verb, &out);
        bool carries = msg_def(verb->message)->size_at != 0;
        time_frame(verb, &m, str_make(bytes, carries ? sizeof bytes : 0), &build, &read);
        printf("%-15s %6zu %9.1f %9.1f %9.1f %9.1f\n", kinds[i].name, out.len / ITEMS, put, get,
               build, read);
    }
    return 0;
}
