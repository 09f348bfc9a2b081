/* Notes as a job's code sees them, through its slot and the agent; the test is the broker. */
#include "common/os/clock.h"
#include "workers/harness/job_int.h"
#include "workers/harness/notes.h"
#include "workers/harness/slots.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define DEADLINE_MS 20000

static const struct msg_welcome terms = {.version = 1, .heartbeat_ms = 1000, .missed_max = 3};
static const struct job_limits limits = {.result_max = 1000, .together_max = 3000};

struct bench {
    struct agent *agent;
    struct slots *slots;
    struct job_notes *notes;
    job_run_fn *run;
    struct mono now;
    bool ended, mute;
    enum result_outcome outcome;
    enum err_code error;
    uint64_t retry_after_ms;
    char text[ERR_TEXT_MAX];
    /* what was said, and what the broker shall answer */
    uint32_t said;
    struct msg_set_note last;
    char name[80], value[300];
    uint64_t sequence;
    void (*broker)(struct bench *b);
};

static void fx_say(void *ctx, enum verb verb, const void *message, struct str payload,
                   const struct children *children) {
    struct bench *b = ctx;
    const struct msg_result *m = message;
    (void)payload, (void)children;
    assert_int_equal(verb, VERB_result);
    b->ended = true;
    b->outcome = (enum result_outcome)m->outcome;
    b->error = (enum err_code)m->error;
    b->retry_after_ms = m->retry_after_ms;
    snprintf(b->text, sizeof b->text, STR_FMT, STR_ARG(m->text));
}

static uint64_t fx_note(void *ctx, const struct msg_set_note *m) {
    struct bench *b = ctx;
    b->said++;
    b->last = *m;
    snprintf(b->name, sizeof b->name, STR_FMT, STR_ARG(m->name));
    snprintf(b->value, sizeof b->value, STR_FMT, STR_ARG(m->value));
    return b->mute ? 0 : ++b->sequence;
}

static void fx_noted(void *ctx, struct attempt *a, const struct msg_set_note *m, uint64_t version,
                     const struct err *e) {
    struct bench *b = ctx;
    if (!e->code)
        job_notes_set(b->notes, clock_mono(), m, version);
    slots_answer(a, e);
}

static enum agent_route fx_admit(void *ctx, struct attempt *a, struct err *e) {
    (void)ctx, (void)a, (void)e;
    return AGENT_SLOT;
}

static void fx_start(void *ctx, struct attempt *a) {
    struct bench *b = ctx;
    slots_start(b->slots, a, b->run, clock_mono(), &limits);
}

static void fx_stop(void *ctx, struct attempt *a) {
    (void)ctx;
    slots_stop(a, a->stop);
}

static void on_ended(void *ctx, struct attempt *a, const struct ending *end) {
    struct bench *b = ctx;
    agent_ended(b->agent, b->now, a, end);
}

static void on_wish(void *ctx, struct attempt *a, struct note_wish *wish) {
    struct bench *b = ctx;
    agent_note(b->agent, b->now, a, wish);
    if (b->broker)
        b->broker(b);
}

/* Runs one job to its end. */
static void run(struct bench *b, job_run_fn *fn, void (*broker)(struct bench *b)) {
    const struct slots_news news = {.ctx = b, .ended = on_ended, .notes = on_wish};
    struct agent_effects fx = {.ctx = b,
                               .say = fx_say,
                               .note = fx_note,
                               .noted = fx_noted,
                               .admit = fx_admit,
                               .start = fx_start,
                               .stop = fx_stop};
    bool mute = b->mute;
    *b = (struct bench){.run = fn, .now = {5000}, .broker = broker, .mute = mute};
    b->notes = job_notes_new();
    b->slots = slots_new(1);
    slots_share_notes(b->slots, b->notes);
    b->agent = agent_new(&(struct agent_config){.slots = 1}, &fx);
    agent_welcome(b->agent, b->now, &terms);
    struct msg_dispatch m = {.job = 7, .fence = 9, .kind = STR("k"), .tenant = STR("t")};
    agent_dispatch(b->agent, b->now, &m, STR(""));
    while (!b->ended) {
        struct pollfd p = {.fd = slots_fd(b->slots), .events = POLLIN};
        assert_int_equal(poll(&p, 1, DEADLINE_MS), 1);
        slots_collect(b->slots, &news);
    }
    agent_destroy(&b->agent);
    slots_destroy(&b->slots);
    job_notes_destroy(&b->notes);
}

static void answer(struct bench *b, enum err_code code, uint64_t version) {
    struct msg_outcome m = {.code = code, .version = version, .text = STR("the broker's words")};
    assert_false(agent_outcome(b->agent, b->sequence + 100, &m)); /* of somebody else's */
    assert_true(agent_outcome(b->agent, b->sequence, &m));
    assert_false(agent_outcome(b->agent, b->sequence, &m));
}

static void answer_well(struct bench *b) {
    answer(b, ERR_OK, b->last.value.len ? 40 + b->said : 0);
}

static void answer_conflict(struct bench *b) {
    answer(b, ERR_CONFLICT, 40);
}

static void answer_full(struct bench *b) {
    answer(b, ERR_BUSY, 0);
}

static void refuse(struct bench *b) {
    agent_refused(b->agent, b->sequence,
                  &(struct msg_error){.code = ERR_NO_HELLO, .text = STR("say hello first")});
}

static void be_silent(struct bench *b) {
    b->now.ms += 2999;
    agent_tick(b->agent, b->now);
    assert_int_equal(b->said, 1);
    b->now.ms += 1;
    agent_tick(b->agent, b->now);
}

static void stop_it(struct bench *b) {
    agent_cancel(b->agent, b->now, &(struct msg_attempt_ref){.job = 7, .fence = 9});
}

/* ---- jobs ----------------------------------------------------------------------------------- */
static const struct job_note_change plain = {
    .name = {"p:1", 3}, .value = {"open", 4}, .for_ms = 60000};

/* A job sees at once what it has set. */
static int run_sets(struct job *job, struct err *e) {
    struct job_note note;
    struct job_note_change change = plain;
    bool changed = false;
    if (job_note_get(job, STR("p:1"), &note) || job_note_set(job, &change, &changed, e) < 0)
        return -1;
    if (!changed || !job_note_get(job, STR("p:1"), &note) || !str_eq(note.value, STR("open")) ||
        note.version != 41 || note.left_ms > 60000)
        return err_set(e, ERR_INTERNAL, "it is not there");
    change.value = STR("");
    if (job_note_set(job, &change, &changed, e) < 0)
        return -1;
    if (!changed || job_note_get(job, STR("p:1"), &note))
        return err_set(e, ERR_INTERNAL, "it is there yet");
    return 0;
}

static int run_once(struct job *job, struct err *e) {
    struct job_note_change change = plain;
    bool changed = true;
    change.longer = change.conditional = true;
    if (job_note_set(job, &change, &changed, e) < 0)
        return -1;
    return changed ? err_set(e, ERR_INTERNAL, "it was to be refused") : 0;
}

static int run_hostile(struct job *job, struct err *e) {
    static char value[257];
    static const struct job_note_change bad[] = {
        {.name = {"a b", 3}, .value = {"x", 1}, .for_ms = 1},
        {.name = {"", 0}, .value = {"x", 1}, .for_ms = 1},
        {.name = {"p", 1}, .value = {value, 257}, .for_ms = 1},
        {.name = {"p", 1}, .value = {"\xff", 1}, .for_ms = 1},
        {.name = {"p", 1}, .value = {"x", 1}, .for_ms = NOTE_MAX_MS + 1},
    };
    bool changed;
    for (size_t n = 0; n < sizeof bad / sizeof *bad; n++)
        if (job_note_set(job, &bad[n], &changed, e) == 0 || e->code != ERR_BAD_VALUE)
            return err_set(e, ERR_INTERNAL, "case %zu", n);
    return 0;
}

static int run_inline(struct job *job, struct err *e) {
    bool changed;
    return job_note_set(job, &plain, &changed, e);
}

/* ---- cases ---------------------------------------------------------------------------------- */
/* P-100 */
static void test_set(void **state) {
    (void)state;
    struct bench b = {0};
    run(&b, run_sets, answer_well);
    assert_int_equal(b.outcome, OUTCOME_DONE);
    assert_int_equal(b.said, 2);
    assert_string_equal(b.name, "p:1");
    run(&b, run_once, answer_conflict);
    assert_int_equal(b.outcome, OUTCOME_DONE);
    assert_true(b.last.longer && MSG_HAS(&b.last, set_note, if_version));
    assert_string_equal(b.value, "open");
}

/* No room is no fault of the job's. */
static void test_full(void **state) {
    (void)state;
    struct bench b = {0};
    run(&b, run_once, answer_full);
    assert_int_equal(b.outcome, OUTCOME_HOLD);
    assert_int_equal(b.retry_after_ms, 1000);
    assert_string_equal(b.text, "the broker's words");
}

/* Nobody waits for longer than a lease, and nothing is said twice. */
static void test_unheard(void **state) {
    (void)state;
    static void (*const brokers[])(struct bench *) = {refuse, be_silent, NULL};
    for (size_t n = 0; n < 3; n++) {
        struct bench b = {.mute = !brokers[n]};
        run(&b, run_once, brokers[n]);
        assert_int_equal(b.said, 1);
        assert_int_equal(b.outcome, OUTCOME_FAILED);
        assert_int_equal(b.error, ERR_UNREACHABLE_BROKER);
    }
}

static void go_down_and_up(struct bench *b) {
    agent_down(b->agent);
    agent_welcome(b->agent, b->now, &terms);
}

static void test_connection_lost(void **state) {
    (void)state;
    struct bench b = {0};
    run(&b, run_once, go_down_and_up);
    assert_int_equal(b.said, 1);
    assert_int_equal(b.error, ERR_UNREACHABLE_BROKER);
}

static void test_stopped(void **state) {
    (void)state;
    struct bench b = {0};
    run(&b, run_once, stop_it);
    assert_int_equal(b.outcome, OUTCOME_CANCELLED);
}

static void test_hostile(void **state) {
    (void)state;
    struct bench b = {0};
    run(&b, run_hostile, answer_well);
    assert_int_equal(b.outcome, OUTCOME_DONE);
    assert_int_equal(b.said, 0);
}

static void test_inline(void **state) {
    (void)state;
    struct job job;
    struct attempt a = {.kind = STR("quick")};
    struct ending end;
    struct job_note note;
    job_setup(&job);
    job_execute(&job, &a, run_inline, clock_mono(), &limits, &end);
    assert_int_equal(end.outcome, OUTCOME_REJECTED);
    assert_non_null(strstr(job.err.text, "kind quick runs inline"));
    assert_false(job_note_get(&job, STR("p"), &note)); /* nobody has given it any */
    job_teardown(&job);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set),     cmocka_unit_test(test_full),
        cmocka_unit_test(test_unheard), cmocka_unit_test(test_connection_lost),
        cmocka_unit_test(test_stopped), cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_inline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
