/* What a worker holds and says, rule by rule. */
#include "common/base/mem.h"
#include "common/wire/codec.h"
#include "workers/harness/agent.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SAID_MAX 64
#define STREAM   ((struct stream_out *)&(char){0}) /* nobody looks into it */

struct said {
    enum verb verb;
    uint64_t job, fence, outcome, error, epoch, seq;
    char text[64], result[64];
};

struct bench {
    struct agent *agent;
    struct mono now;
    struct said said[SAID_MAX];
    uint32_t n, hellos;
    struct attempt *started[SAID_MAX], *stopped[SAID_MAX];
    uint32_t n_started, n_stopped, n_released, n_again;
    struct stream_position again; /* what the reader has */
    enum agent_route route;
};

static void copy(char to[64], struct str s) {
    assert_true(s.len < 64);
    if (s.len)
        memcpy(to, s.at, s.len);
    to[s.len] = 0;
}

static void fx_say(void *ctx, enum verb verb, const void *message, struct str payload,
                   const struct children *children) {
    struct bench *b = ctx;
    assert_true(b->n < SAID_MAX && (!children || !children->n));
    struct said *s = &b->said[b->n++];
    *s = (struct said){.verb = verb};
    copy(s->result, payload);
    if (verb == VERB_result) {
        const struct msg_result *m = message;
        s->job = m->job;
        s->fence = m->fence;
        s->outcome = m->outcome;
        s->error = m->error;
        s->epoch = m->epoch;
        s->seq = m->seq;
        copy(s->text, m->text);
        assert_int_equal(m->size, payload.len);
    } else {
        const struct msg_attempt_ref *m = message;
        s->job = m->job;
        s->fence = m->fence;
    }
}

static void fx_hello(void *ctx) {
    ((struct bench *)ctx)->hellos++;
}

static enum agent_route fx_admit(void *ctx, struct attempt *a, struct err *e) {
    struct bench *b = ctx;
    (void)a;
    if (b->route == AGENT_REJECT)
        err_set(e, ERR_UNKNOWN_KIND, "not here");
    return b->route;
}

static void fx_start(void *ctx, struct attempt *a) {
    struct bench *b = ctx;
    b->started[b->n_started++] = a;
    if (a->is_inline)
        agent_ended(b->agent, b->now, a,
                    &(struct ending){.outcome = OUTCOME_DONE, .result = a->payload});
}

static void fx_stop(void *ctx, struct attempt *a) {
    struct bench *b = ctx;
    b->stopped[b->n_stopped++] = a;
}

static void fx_again(void *ctx, struct attempt *a, struct stream_position have) {
    struct bench *b = ctx;
    (void)a;
    b->n_again++;
    b->again = have;
}

static void fx_release(void *ctx, struct attempt *a) {
    struct bench *b = ctx;
    b->n_released++;
    a->stream = NULL;
}

static const struct msg_welcome terms = {.version = 1, .heartbeat_ms = 1000, .missed_max = 3};
static void begin(struct bench *b, uint32_t slots, uint32_t prefetch) {
    *b = (struct bench){.now = {5000}};
    struct agent_effects fx = {.ctx = b,
                               .say = fx_say,
                               .hello = fx_hello,
                               .admit = fx_admit,
                               .start = fx_start,
                               .stop = fx_stop,
                               .again = fx_again,
                               .release = fx_release};
    b->agent = agent_new(&(struct agent_config){.slots = slots, .prefetch = prefetch}, &fx);
    agent_welcome(b->agent, b->now, &terms);
}

static void done(struct bench *b) {
    agent_destroy(&b->agent);
}

static void give(struct bench *b, uint64_t job, uint64_t fence) {
    struct msg_dispatch m = {.job = job,
                             .fence = fence,
                             .kind = STR("k"),
                             .tenant = STR("t"),
                             .attempt = 1,
                             .timeout_ms = 2000};
    agent_dispatch(b->agent, b->now, &m, STR("payload"));
}

static struct msg_attempt_ref ref(uint64_t job, uint64_t fence) {
    return (struct msg_attempt_ref){.job = job, .fence = fence};
}

static void ack(struct bench *b, uint64_t job, uint64_t fence) {
    struct msg_attempt_ref m = ref(job, fence);
    agent_result_ack(b->agent, b->now, &m);
}

static void end(struct bench *b, uint32_t which) {
    agent_ended(b->agent, b->now, b->started[which], &(struct ending){.outcome = OUTCOME_DONE});
}

static void said(const struct bench *b, uint32_t i, enum verb verb, uint64_t job, uint64_t fence) {
    assert_true(i < b->n);
    assert_int_equal(b->said[i].verb, verb);
    assert_int_equal(b->said[i].job, job);
    assert_int_equal(b->said[i].fence, fence);
}

static uint64_t held(const struct bench *b) {
    struct msg_heartbeat m = {0};
    agent_fill_heartbeat(b->agent, &m);
    return m.held;
}

/* ---- dispatch ------------------------------------------------------------------------------- */
/* P-47: what gets a slot at once is not reported as started, without a prefetch. */
static void test_slots(void **state) {
    (void)state;
    struct bench b;
    begin(&b, 2, 0);
    give(&b, 1, 10);
    give(&b, 2, 11);
    assert_int_equal(b.n_started, 2);
    assert_int_equal(b.n, 0);
    assert_memory_equal(b.started[0]->payload.at, "payload", 7);
    end(&b, 0);
    said(&b, 0, VERB_result, 1, 10);
    assert_int_equal(held(&b), 2); /* until it is acknowledged (P-56) */
    ack(&b, 1, 10);
    assert_int_equal(held(&b), 1);
    done(&b);
}

static void test_prefetch(void **state) {
    (void)state;
    struct bench b;
    begin(&b, 1, 2);
    give(&b, 1, 10);
    give(&b, 2, 11);
    give(&b, 3, 12);
    assert_int_equal(b.n_started, 1);
    said(&b, 0, VERB_started, 1, 10);
    end(&b, 0);
    said(&b, 1, VERB_result, 1, 10);
    said(&b, 2, VERB_started, 2, 11);
    assert_int_equal(b.n_started, 2);
    done(&b);
}

static void test_repeated_dispatch(void **state) {
    (void)state;
    struct bench b;
    begin(&b, 2, 0);
    give(&b, 1, 10);
    give(&b, 1, 10);
    give(&b, 1, 9);
    assert_int_equal(b.n_started, 1);
    end(&b, 0);
    give(&b, 1, 10);
    assert_int_equal(b.n_started, 1);
    assert_int_equal(b.n, 1);
    done(&b);
}

/* P-46: a newer fence ends the older attempt; its slot is busy until it obeys. */
static void test_newer_fence(void **state) {
    (void)state;
    struct bench b;
    begin(&b, 1, 0);
    give(&b, 1, 10);
    struct attempt *old = b.started[0];
    give(&b, 1, 20);
    assert_int_equal(b.n_stopped, 1);
    assert_int_equal(old->stop, ERR_STALE_FENCE);
    assert_int_equal(b.n_started, 1);
    assert_int_equal(held(&b), 1);
    end(&b, 0); /* nothing is said about it */
    assert_int_equal(b.n_started, 2);
    said(&b, 0, VERB_started, 1, 20);
    assert_int_equal(b.n, 1);
    done(&b);
}

static void test_newer_fence_of_ended(void **state) {
    (void)state;
    struct bench b;
    begin(&b, 1, 0);
    give(&b, 1, 10);
    end(&b, 0);
    give(&b, 1, 20);
    assert_int_equal(b.n_started, 2);
    assert_int_equal(agent_unacked(b.agent), 0);
    done(&b);
}

static void test_inline(void **state) {
    (void)state;
    struct bench b;
    begin(&b, 1, 4);
    b.route = AGENT_INLINE;
    for (uint64_t n = 1; n <= 3; n++)
        give(&b, n, 10 + n);
    assert_int_equal(b.n, 3);
    said(&b, 2, VERB_result, 3, 13);
    assert_string_equal(b.said[2].result, "payload");
    assert_int_equal(agent_running(b.agent), 0);
    assert_int_equal(agent_unacked(b.agent), 3);
    done(&b);
}

static void test_rejected(void **state) {
    (void)state;
    struct bench b;
    begin(&b, 1, 0);
    b.route = AGENT_REJECT;
    give(&b, 1, 10);
    said(&b, 0, VERB_result, 1, 10);
    assert_int_equal(b.said[0].outcome, OUTCOME_REJECTED);
    assert_int_equal(b.said[0].error, ERR_UNKNOWN_KIND);
    assert_string_equal(b.said[0].text, "not here");
    done(&b);
}

/* P-45: more than it offered: the two are out of step, HELLO sorts it out. */
static void test_too_many(void **state) {
    (void)state;
    struct bench b;
    begin(&b, 1, 1);
    give(&b, 1, 10);
    give(&b, 2, 11);
    give(&b, 3, 12);
    assert_int_equal(b.hellos, 1);
    assert_int_equal(held(&b), 2);
    give(&b, 4, 13); /* said before the HELLO came: the broker takes it back */
    assert_int_equal(b.hellos, 1);
    assert_int_equal(b.n, 1);
    done(&b);
}

/* ---- results -------------------------------------------------------------------------------- */
/* P-49 */
static void test_said_again(void **state) {
    (void)state;
    struct bench b;
    begin(&b, 2, 0);
    give(&b, 1, 10);
    end(&b, 0);
    b.now.ms += 2999;
    agent_tick(b.agent, b.now);
    assert_int_equal(b.n, 1);
    b.now.ms += 1;
    agent_tick(b.agent, b.now);
    agent_tick(b.agent, b.now);
    assert_int_equal(b.n, 2);
    said(&b, 1, VERB_result, 1, 10);
    agent_down(b.agent);
    b.now.ms += 10000;
    agent_tick(b.agent, b.now);
    assert_int_equal(b.n, 2);
    agent_welcome(b.agent, b.now, &terms);
    assert_int_equal(b.n, 3);
    ack(&b, 1, 9); /* of another attempt */
    assert_int_equal(agent_unacked(b.agent), 1);
    ack(&b, 1, 10);
    assert_int_equal(agent_unacked(b.agent), 0);
    agent_welcome(b.agent, b.now, &terms);
    assert_int_equal(b.n, 3);
    done(&b);
}

static void test_ends_while_down(void **state) {
    (void)state;
    struct bench b;
    begin(&b, 1, 0);
    give(&b, 1, 10);
    agent_down(b.agent);
    char *memory = memcpy(mem_alloc(3), "abc", 3);
    agent_ended(b.agent, b.now, b.started[0],
                &(struct ending){.outcome = OUTCOME_CANCELLED,
                                 .error = ERR_CANCELLED,
                                 .text = STR("words"),
                                 .result = str_make(memory, 3),
                                 .memory = memory});
    assert_int_equal(b.n, 0);
    agent_welcome(b.agent, b.now, &terms);
    said(&b, 0, VERB_result, 1, 10);
    assert_string_equal(b.said[0].text, "words");
    assert_string_equal(b.said[0].result, "abc");
    done(&b);
}

/* P-44: HELLO names all that is held. */
static void test_hello(void **state) {
    (void)state;
    struct bench b;
    begin(&b, 2, 3);
    for (uint64_t n = 1; n <= 4; n++)
        give(&b, n, 10 + n);
    end(&b, 0);
    struct msg_hello m = {0};
    agent_fill_hello(b.agent, &m);
    assert_int_equal(m.slots, 2);
    assert_int_equal(m.prefetch, 3);
    assert_int_equal(m.running.n, 6);
    assert_int_equal(m.running.at[0], 2);
    assert_int_equal(m.running.at[1], 12);
    assert_int_equal(m.running.at[4], 4);
    assert_int_equal(m.unacked.n, 2);
    assert_int_equal(m.unacked.at[0], 1);
    assert_int_equal(m.unacked.at[1], 11);
    done(&b);
}

/* ---- orders --------------------------------------------------------------------------------- */
/* P-52 */
static void test_cancel(void **state) {
    (void)state;
    struct bench b;
    begin(&b, 1, 1);
    give(&b, 1, 10);
    give(&b, 2, 11);
    struct msg_attempt_ref m = ref(1, 10);
    m.code = ERR_TIMEOUT;
    agent_cancel(b.agent, b.now, &m);
    assert_int_equal(b.started[0]->stop, ERR_TIMEOUT);
    agent_cancel(b.agent, b.now, &m);
    assert_int_equal(b.n_stopped, 1); /* said again with every heartbeat */
    m.code = ERR_CANCELLED;
    agent_cancel(b.agent, b.now, &m);
    assert_int_equal(b.n_stopped, 2);
    assert_int_equal(b.started[0]->stop, ERR_CANCELLED);
    m = ref(2, 11); /* it waits: it ends at once */
    agent_cancel(b.agent, b.now, &m);
    said(&b, b.n - 1, VERB_result, 2, 11);
    assert_int_equal(b.said[b.n - 1].outcome, OUTCOME_CANCELLED);
    m = ref(7, 17); /* nobody knows it */
    uint32_t before = b.n;
    agent_cancel(b.agent, b.now, &m);
    assert_int_equal(b.n, before);
    done(&b);
}

/* P-51 */
static void test_lost(void **state) {
    (void)state;
    struct bench b;
    begin(&b, 1, 2);
    give(&b, 1, 10);
    give(&b, 2, 11);
    give(&b, 3, 12);
    uint32_t before = b.n;
    struct msg_attempt_ref m = ref(2, 11); /* waits */
    agent_lost(b.agent, b.now, &m);
    assert_int_equal(held(&b), 2);
    m = ref(1, 99);
    agent_lost(b.agent, b.now, &m);
    assert_int_equal(held(&b), 2);
    m = ref(1, 10); /* runs */
    agent_lost(b.agent, b.now, &m);
    assert_int_equal(b.n_stopped, 1);
    assert_int_equal(held(&b), 1);
    assert_int_equal(b.n, before);
    end(&b, 0);
    said(&b, before, VERB_started, 3, 12);
    end(&b, 1);
    m = ref(3, 12); /* its result is kept */
    agent_lost(b.agent, b.now, &m);
    assert_int_equal(held(&b), 0);
    done(&b);
}

/* P-54 */
static void test_recall(void **state) {
    (void)state;
    struct bench b;
    begin(&b, 1, 1);
    give(&b, 1, 10);
    give(&b, 2, 11);
    b.n = 0;
    struct msg_attempt_ref m = ref(1, 10);
    agent_recall(b.agent, b.now, &m);
    said(&b, 0, VERB_started, 1, 10);
    m = ref(2, 11);
    agent_recall(b.agent, b.now, &m);
    said(&b, 1, VERB_returned, 2, 11);
    assert_int_equal(held(&b), 1);
    m = ref(3, 12);
    agent_recall(b.agent, b.now, &m);
    said(&b, 2, VERB_returned, 3, 12);
    end(&b, 0);
    b.n = 0;
    m = ref(1, 10);
    agent_recall(b.agent, b.now, &m);
    assert_int_equal(b.n, 0);
    assert_int_equal(b.n_started, 1);
    done(&b);
}

static void test_timeout(void **state) {
    (void)state;
    struct bench b;
    begin(&b, 1, 0);
    give(&b, 1, 10);
    b.now.ms += 1999;
    agent_tick(b.agent, b.now);
    assert_int_equal(b.n_stopped, 0);
    b.now.ms += 1;
    agent_tick(b.agent, b.now);
    agent_tick(b.agent, b.now);
    assert_int_equal(b.n_stopped, 1);
    assert_int_equal(b.started[0]->stop, ERR_TIMEOUT);
    done(&b);
}

/* ---- leaving -------------------------------------------------------------------------------- */
/* P-60 */
static void test_drain(void **state) {
    (void)state;
    struct bench b;
    begin(&b, 1, 2);
    give(&b, 1, 10);
    give(&b, 2, 11);
    b.n = 0;
    agent_drain(b.agent, false);
    agent_drain(b.agent, false);
    said(&b, 0, VERB_returned, 2, 11);
    assert_int_equal(b.n, 1);
    assert_int_equal(b.hellos, 0);
    give(&b, 3, 12);
    said(&b, 1, VERB_returned, 3, 12);
    assert_false(agent_is_drained(b.agent));
    end(&b, 0);
    assert_false(agent_is_drained(b.agent));
    ack(&b, 1, 10);
    assert_true(agent_is_drained(b.agent));
    done(&b);
}

/* It tells the broker by its HELLOs that it has no room, before a RESULT tells that it has. */
static void test_own_drain(void **state) {
    (void)state;
    struct bench b;
    begin(&b, 2, 2);
    give(&b, 1, 10);
    give(&b, 2, 11);
    agent_drain(b.agent, true);
    assert_int_equal(b.hellos, 1);
    struct msg_hello m = {0};
    agent_fill_hello(b.agent, &m);
    assert_int_equal(m.slots, 2);
    assert_int_equal(m.prefetch, 0);
    b.n = 0;
    end(&b, 0);
    assert_int_equal(b.hellos, 2);
    said(&b, 0, VERB_result, 1, 10);
    agent_fill_hello(b.agent, &m);
    assert_int_equal(m.slots, 1);
    agent_welcome(b.agent, b.now, &terms);
    end(&b, 1);
    agent_welcome(b.agent, b.now, &terms);
    b.n = 0;
    give(&b, 3, 12); /* its BYE will give that back */
    assert_int_equal(b.n, 0);
    assert_int_equal(b.n_started, 2);
    ack(&b, 1, 10);
    ack(&b, 2, 11);
    assert_true(agent_is_drained(b.agent));
    done(&b);
}

/* ---- streams -------------------------------------------------------------------------------- */
static void give_streaming(struct bench *b, uint64_t job, uint64_t fence,
                           struct stream_out *stream) {
    struct msg_dispatch m = {
        .job = job, .fence = fence, .kind = STR("k"), .tenant = STR("t"), .attempt = 1};
    MSG_SET(&m, dispatch, token, 555);
    agent_dispatch(b->agent, b->now, &m, STR(""));
    struct attempt *a = b->started[b->n_started - 1];
    assert_true(a->streams);
    assert_int_equal(a->token, 555);
    a->stream = stream;
}

static void ask_again(struct bench *b, uint64_t job, uint64_t fence) {
    struct msg_stream_need m = {.job = job, .fence = fence, .token = 777, .epoch = fence, .seq = 3};
    agent_stream_need(b->agent, &m);
}

/* Said again while it runs and after its end, until it is acknowledged. */
static void test_stream(void **state) {
    (void)state;
    struct bench b;
    begin(&b, 2, 0);
    give_streaming(&b, 1, 512, STREAM);
    ask_again(&b, 1, 513);
    assert_int_equal(b.n_again, 0);
    ask_again(&b, 1, 512);
    assert_int_equal(b.n_again, 1);
    assert_int_equal(b.again.seq, 3);
    assert_int_equal(b.started[0]->token, 777);
    agent_ended(b.agent, b.now, b.started[0],
                &(struct ending){.outcome = OUTCOME_DONE, .last = {514, 9}});
    assert_int_equal(b.said[0].epoch, 514);
    assert_int_equal(b.said[0].seq, 9);
    ask_again(&b, 1, 512);
    assert_int_equal(b.n_again, 2);
    assert_int_equal(b.n_released, 0);
    ack(&b, 1, 512);
    assert_int_equal(b.n_released, 1);
    give(&b, 2, 10); /* the broker does not ask for its stream: it is not told of one */
    agent_ended(b.agent, b.now, b.started[1],
                &(struct ending){.outcome = OUTCOME_DONE, .last = {10, 9}});
    assert_int_equal(b.said[1].epoch, 0);
    done(&b);
}

/* Given up while it runs: nothing is said again; handed back when its slot has ended. */
static void test_stream_lost(void **state) {
    (void)state;
    struct bench b;
    begin(&b, 2, 0);
    give_streaming(&b, 1, 512, STREAM);
    struct msg_attempt_ref lost = ref(1, 512);
    agent_lost(b.agent, b.now, &lost);
    ask_again(&b, 1, 512);
    assert_int_equal(b.n_again + b.n_released, 0);
    end(&b, 0);
    assert_int_equal(b.n_released, 1);
    give_streaming(&b, 3, 1024, STREAM);
    done(&b);
    assert_int_equal(b.n_released, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_prefetch),
        cmocka_unit_test(test_repeated_dispatch),
        cmocka_unit_test(test_newer_fence),
        cmocka_unit_test(test_newer_fence_of_ended),
        cmocka_unit_test(test_inline),
        cmocka_unit_test(test_rejected),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_said_again),
        cmocka_unit_test(test_ends_while_down),
        cmocka_unit_test(test_hello),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_lost),
        cmocka_unit_test(test_recall),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_own_drain),
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_stream_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
