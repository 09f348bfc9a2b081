/* Children that an attempt spawns: what is said, how often, and which answers count. */
#include "common/base/mem.h"
#include "workers/harness/agent.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

struct bench {
    struct agent *agent;
    struct mono now;
    struct attempt *started[8];
    uint32_t n_started, n_stopped, n_results, n_spawns, n_answers;
    uint32_t children;   /* of the last result */
    uint64_t sequence;   /* of the last SPAWN */
    struct err answer;   /* the last one */
    struct attempt *who; /* it was for */
    bool mute;           /* nothing can be sent */
};

static void fx_say(void *ctx, enum verb verb, const void *message, struct str payload,
                   const struct children *children) {
    struct bench *b = ctx;
    (void)payload;
    if (verb != VERB_result)
        return;
    b->n_results++;
    b->children = children->n;
    assert_int_equal(((const struct msg_result *)message)->children, children->n);
}

static uint64_t fx_spawn(void *ctx, const struct children *child) {
    struct bench *b = ctx;
    assert_int_equal(child->n, 1);
    b->n_spawns++;
    return b->mute ? 0 : ++b->sequence;
}

static void fx_spawned(void *ctx, struct attempt *a, const struct err *e) {
    struct bench *b = ctx;
    b->n_answers++;
    b->answer = *e;
    b->who = a;
}

static void fx_hello(void *ctx) {
    (void)ctx;
}

static enum agent_route fx_admit(void *ctx, struct attempt *a, struct err *e) {
    (void)ctx, (void)a, (void)e;
    return AGENT_SLOT;
}

static void fx_start(void *ctx, struct attempt *a) {
    struct bench *b = ctx;
    b->started[b->n_started++] = a;
}

static void fx_stop(void *ctx, struct attempt *a) {
    (void)a;
    ((struct bench *)ctx)->n_stopped++;
}

static const struct msg_welcome terms = {.version = 1, .heartbeat_ms = 1000, .missed_max = 3};

static void begin(struct bench *b, uint32_t slots, uint32_t prefetch) {
    *b = (struct bench){.now = {5000}};
    struct agent_effects fx = {.ctx = b,
                               .say = fx_say,
                               .spawn = fx_spawn,
                               .spawned = fx_spawned,
                               .hello = fx_hello,
                               .admit = fx_admit,
                               .start = fx_start,
                               .stop = fx_stop};
    b->agent = agent_new(&(struct agent_config){.slots = slots, .prefetch = prefetch}, &fx);
    agent_welcome(b->agent, b->now, &terms);
}

static void done(struct bench *b) {
    agent_destroy(&b->agent);
}

static void give(struct bench *b, uint64_t job, uint64_t fence) {
    struct msg_dispatch m = {
        .job = job, .fence = fence, .kind = STR("k"), .tenant = STR("t"), .attempt = 1};
    agent_dispatch(b->agent, b->now, &m, STR(""));
}

static void add_child(struct children *k, size_t payload_len) {
    struct msg_submit m = {0};
    struct err e = {0};
    AUTO_BUF payload = BUF(1U << 20);
    MSG_SET(&m, submit, kind, STR("k"));
    msgpack_put_map(&payload, 1);
    msgpack_put_text(&payload, STR("x"));
    char *bytes = mem_zalloc(payload_len + 1);
    msgpack_put_bytes(&payload, str_make(bytes, payload_len));
    mem_free(bytes);
    if (children_add(k, &m, buf_str(&payload), &e) < 0)
        fail_msg("%s", e.text);
}

static void spawn(struct bench *b, uint32_t which, uint32_t index) {
    struct children child = {0};
    add_child(&child, 1);
    agent_spawn(b->agent, b->now, b->started[which], &child, index);
    assert_int_equal(child.n, 0); /* it was taken */
}

static void answer(struct bench *b, uint64_t sequence, uint64_t index, enum err_code code) {
    struct msg_spawned m = {
        .code = code, .job = 1, .fence = 10, .index = index, .text = STR("words")};
    agent_spawned(b->agent, sequence, &m);
}

static void end(struct bench *b, uint32_t which, struct children *children) {
    agent_ended(b->agent, b->now, b->started[which],
                &(struct ending){.outcome = OUTCOME_DONE, .children = *children});
    *children = (struct children){0};
}

static void pass(struct bench *b, uint64_t ms) {
    b->now.ms += ms;
    agent_tick(b->agent, b->now);
}

/* ---- spawning now --------------------------------------------------------------------------- */
/* P-83: again after a lease and after a WELCOME, until it is answered; then never more. */
static void test_said_again(void **state) {
    (void)state;
    struct bench b;
    begin(&b, 1, 0);
    give(&b, 1, 10);
    spawn(&b, 0, 0);
    assert_int_equal(b.n_spawns, 1);
    pass(&b, 2999);
    assert_int_equal(b.n_spawns, 1);
    pass(&b, 1);
    assert_int_equal(b.n_spawns, 2);
    agent_down(b.agent);
    pass(&b, 9000);
    assert_int_equal(b.n_spawns, 2);
    agent_welcome(b.agent, b.now, &terms);
    assert_int_equal(b.n_spawns, 3);
    answer(&b, 1, 0, ERR_OK); /* any time that it was said will do */
    assert_int_equal(b.n_answers, 1);
    assert_ptr_equal(b.who, b.started[0]);
    assert_int_equal(b.answer.code, ERR_OK);
    answer(&b, 2, 0, ERR_OK); /* it came twice */
    pass(&b, 9000);
    agent_welcome(b.agent, b.now, &terms);
    assert_int_equal(b.n_answers, 1);
    assert_int_equal(b.n_spawns, 3);
    done(&b);
}

/* Another life of the broker, with the child said to neither, one or both of them. */
static void test_epochs(void **state) {
    (void)state;
    struct bench b;
    begin(&b, 1, 0);
    give(&b, 1, 10);
    agent_down(b.agent);
    spawn(&b, 0, 0); /* nobody is there */
    assert_int_equal(b.n_spawns, 0);
    agent_welcome(b.agent, b.now, &terms);
    assert_int_equal(b.n_spawns, 1);
    agent_down(b.agent);
    agent_welcome(b.agent, b.now, &terms);
    assert_int_equal(b.n_spawns, 2);
    answer(&b, b.sequence, 0, ERR_OK);
    assert_int_equal(b.n_answers, 1);
    spawn(&b, 0, 1);
    answer(&b, b.sequence, 0, ERR_OK); /* of the one before, said again by the new life */
    assert_int_equal(b.n_answers, 1);
    answer(&b, b.sequence, 1, ERR_OK);
    assert_int_equal(b.n_answers, 2);
    done(&b);
}

/* A refusal counts only as the answer to what was said last: what was said before might still be
 * taken behind it, under an index that the next child would have. */
static void test_refused(void **state) {
    (void)state;
    struct bench b;
    begin(&b, 1, 0);
    give(&b, 1, 10);
    spawn(&b, 0, 0);
    pass(&b, 3000);
    assert_int_equal(b.n_spawns, 2);
    answer(&b, 1, 0, ERR_BUSY);
    assert_int_equal(b.n_answers, 0);
    answer(&b, 2, 0, ERR_BUSY);
    assert_int_equal(b.n_answers, 1);
    assert_int_equal(b.answer.code, ERR_BUSY);
    assert_string_equal(b.answer.text, "words");
    spawn(&b, 0, 0); /* the index is free again */
    answer(&b, 2, 0, ERR_BUSY);
    assert_int_equal(b.n_answers, 1);
    answer(&b, 3, 0, ERR_OK);
    assert_int_equal(b.n_answers, 2);
    assert_int_equal(b.answer.code, ERR_OK);
    done(&b);
}

static void test_refused_as_a_whole(void **state) {
    (void)state;
    struct bench b;
    begin(&b, 1, 0);
    give(&b, 1, 10);
    spawn(&b, 0, 0);
    struct msg_error full = {.code = ERR_DISK_FULL, .text = STR("full"), .retry_after_ms = 5};
    struct msg_error starting = {.code = ERR_STARTING, .text = STR("starting")};
    struct msg_error unknown = {.code = 4711, .text = STR("what is this")};
    agent_refused(b.agent, 1, &starting); /* it will be said again */
    agent_refused(b.agent, 0, &full);     /* of no request */
    agent_refused(b.agent, 9, &full);     /* of another one */
    assert_int_equal(b.n_answers, 0);
    agent_refused(b.agent, 1, &full);
    assert_int_equal(b.n_answers, 1);
    assert_int_equal(b.answer.code, ERR_DISK_FULL);
    assert_int_equal(b.answer.retry_after_ms, 5);
    spawn(&b, 0, 0);
    agent_refused(b.agent, 2, &unknown); /* section 11: as PERM */
    assert_int_equal(b.n_answers, 2);
    assert_int_equal(b.answer.class, ERR_CLASS_PERM);
    done(&b);
}

/* What could not be sent has no sequence; a refusal of anything else is none of it. */
static void test_not_sent(void **state) {
    (void)state;
    struct bench b;
    begin(&b, 1, 0);
    b.mute = true;
    give(&b, 1, 10);
    spawn(&b, 0, 0);
    answer(&b, 0, 0, ERR_BUSY);
    assert_int_equal(b.n_answers, 0);
    b.mute = false;
    pass(&b, 3000);
    answer(&b, 1, 0, ERR_BUSY);
    assert_int_equal(b.n_answers, 1);
    done(&b);
}

/* P-51, P-52: who was told to stop says no more of it; who lost the job never hears an answer. */
static void test_stopped(void **state) {
    (void)state;
    struct bench b;
    begin(&b, 2, 0);
    give(&b, 1, 10);
    spawn(&b, 0, 0);
    struct msg_attempt_ref m = {.job = 1, .fence = 10};
    agent_cancel(b.agent, b.now, &m);
    assert_int_equal(b.n_stopped, 1);
    pass(&b, 9000);
    agent_welcome(b.agent, b.now, &terms);
    assert_int_equal(b.n_spawns, 1);
    spawn(&b, 0, 0); /* it had handed it over before it heard */
    assert_int_equal(b.n_spawns, 1);
    agent_lost(b.agent, b.now, &m);
    answer(&b, 1, 0, ERR_OK);
    answer(&b, 1, 0, ERR_STALE_FENCE);
    assert_int_equal(b.n_answers, 0);
    struct children late = {0};
    add_child(&late, 1);
    end(&b, 0, &late); /* nothing is said of that either */
    assert_int_equal(b.n_results, 0);
    done(&b);
}

static void test_newer_fence(void **state) {
    (void)state;
    struct bench b;
    begin(&b, 2, 0);
    give(&b, 1, 10);
    spawn(&b, 0, 0);
    give(&b, 1, 20);
    answer(&b, 1, 0, ERR_OK); /* of the older attempt */
    assert_int_equal(b.n_answers, 0);
    pass(&b, 9000);
    assert_int_equal(b.n_spawns, 1);
    spawn(&b, 1, 0);
    struct msg_spawned m = {.job = 1, .fence = 20, .index = 0};
    agent_spawned(b.agent, 2, &m);
    assert_int_equal(b.n_answers, 1);
    assert_ptr_equal(b.who, b.started[1]);
    done(&b);
}

/* ---- with the result ------------------------------------------------------------------------ */
/* P-49, P-81: they are kept and said again with it. */
static void test_with_result(void **state) {
    (void)state;
    struct bench b;
    struct children k = {0};
    begin(&b, 1, 0);
    give(&b, 1, 10);
    for (uint32_t n = 0; n < 3; n++)
        add_child(&k, 100);
    end(&b, 0, &k);
    assert_int_equal(b.children, 3);
    agent_down(b.agent);
    agent_welcome(b.agent, b.now, &terms);
    assert_int_equal(b.n_results, 2);
    assert_int_equal(b.children, 3);
    struct msg_attempt_ref m = {.job = 1, .fence = 10};
    agent_result_ack(b.agent, b.now, &m);
    assert_int_equal(agent_unacked(b.agent), 0);
    done(&b);
}

/* What is kept is bounded: nothing is started while too much of it waits for RESULT_ACK. */
static void test_memory_is_bounded(void **state) {
    (void)state;
    struct bench b;
    begin(&b, 2, 2);
    give(&b, 1, 10);
    give(&b, 2, 11);
    struct children k = {0};
    add_child(&k, 1000);
    k.payloads.size += AGENT_UNACKED_BYTES; /* as if it held so much */
    end(&b, 0, &k);
    give(&b, 3, 12);
    assert_int_equal(b.n_started, 2);
    end(&b, 1, &(struct children){0});
    assert_int_equal(b.n_started, 2);
    struct msg_attempt_ref m = {.job = 1, .fence = 10};
    agent_result_ack(b.agent, b.now, &m);
    assert_int_equal(b.n_started, 3);
    done(&b);
}

/* ---- what may be a child -------------------------------------------------------------------- */
static void refuses(struct children *k, const struct msg_submit *m, struct str payload,
                    const char *text) {
    struct err e = {0};
    uint32_t n = k->n;
    size_t weight = k->weight, bytes = k->envelopes.len;
    assert_int_equal(children_add(k, m, payload, &e), -1);
    if (!strstr(e.text, text))
        fail_msg("\"%s\", not \"%s\"", e.text, text);
    assert_int_equal(k->n, n);
    assert_int_equal(k->weight, weight);
    assert_int_equal(k->envelopes.len, bytes);
}

static void test_bounds(void **state) {
    (void)state;
    struct children k = {0};
    struct err e = {0};
    char *key = mem_zalloc(4096);
    memset(key, 'x', 4096);
    struct msg_submit m = {0};
    refuses(&k, &m, STR(""), "child 0: submit.kind: must be there");
    MSG_SET(&m, submit, kind, STR("a kind"));
    refuses(&k, &m, STR(""), "child 0: submit.kind");
    MSG_SET(&m, submit, kind, STR("k"));
    refuses(&k, &m, STR("\x01"), "child 0: payload: a number, must be a map");
    MSG_SET(&m, submit, key, str_make(key, 300));
    refuses(&k, &m, STR(""), "submit.key: 300 bytes, at most 256");
    m.has &= ~MSGBIT_submit_key;
    MSG_SET(&m, submit, priority, 10);
    refuses(&k, &m, STR(""), "submit.priority: 10");
    m.has &= ~MSGBIT_submit_priority;
    MSG_SET(&m, submit, then, true);
    MSG_SET(&m, submit, delay_ms, 5);
    refuses(&k, &m, STR(""), "submit.then: waits for its parent");
    m.has &= ~MSGBIT_submit_delay_ms;
    assert_int_equal(children_add(&k, &m, STR(""), &e), 0);
    refuses(&k, &m, STR(""), "child 1: submit.then: there is one already");
    m.then = false;
    m.has &= ~MSGBIT_submit_then;
    while (k.n < CHILDREN_MAX)
        assert_int_equal(children_add(&k, &m, STR("\x80"), &e), 0);
    refuses(&k, &m, STR(""), "children: 1001, at most 1000");
    children_destroy(&k);
    for (int n = 0; n < 3; n++)
        add_child(&k, 1000000);
    char *big = mem_zalloc(200000);
    struct str payload = str_make(big, 200000);
    static const uint8_t head[8] = {0x81, 0xa1, 'x', 0xc6, 0x00, 0x03, 0x0d, 0x38};
    memcpy(big, head, sizeof head);
    refuses(&k, &m, payload, "bytes with their heads, at most 3145728");
    assert_int_equal(children_add(&k, &m, STR("\x80"), &e), 0); /* a small one has room */
    children_destroy(&k);
    mem_free(big);
    mem_free(key);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_said_again),        cmocka_unit_test(test_epochs),
        cmocka_unit_test(test_refused),           cmocka_unit_test(test_refused_as_a_whole),
        cmocka_unit_test(test_not_sent),          cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_newer_fence),       cmocka_unit_test(test_with_result),
        cmocka_unit_test(test_memory_is_bounded), cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
