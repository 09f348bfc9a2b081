/* The client and flows: children that go out with their parent, and watching how a flow goes. */
#include "tests/unit/client_scene.h"

#include <string.h>

#define CHILDREN_MAX 1001

static struct msg_submit job(bool unique) {
    struct msg_submit m = {0};
    MSG_SET(&m, submit, kind, STR("k"));
    if (unique)
        MSG_SET(&m, submit, unique, STR("u"));
    return m;
}

/* A parent with children that are all alike. */
struct family {
    struct msg_submit parent, child;
    struct client_item children[CHILDREN_MAX];
    struct client_item item;
};

static struct client_item *family(struct family *f, uint32_t n, struct str payload) {
    f->parent = job(false);
    f->child = job(false);
    for (uint32_t i = 0; i < n; i++)
        f->children[i] = CLIENT_ITEM(&f->child, payload);
    f->item = CLIENT_ITEM(&f->parent, STR("\x80"));
    f->item.children = f->children;
    f->item.n_children = n;
    return &f->item;
}

/* The next item of the message that was heard. */
static struct frame_item next(struct scene *s, struct msg_submit *m) {
    static struct arena *arena;
    struct frame_item item;
    struct err e = {0};
    if (!arena)
        arena = arena_new(1 << 20);
    assert_int_equal(frame_next(&s->in, m, arena, &item, &e), 1);
    return item;
}

static void end_message(struct scene *s) {
    struct msg_submit m;
    struct frame_item item;
    struct err e = {0};
    assert_int_equal(frame_next(&s->in, &m, NULL, &item, &e), 0);
}

/* ---- submitting ----------------------------------------------------------------------------- */
/* P-81: the envelopes of children stand behind their parent's; the answer is for parents alone. */
static void test_children(void **state) {
    struct scene *s = *state;
    static struct family f;
    struct msg_submit m, then = job(false);
    welcome(s, 5);
    MSG_SET(&then, submit, then, true);
    struct client_item items[3] = {CLIENT_ITEM(&f.parent, STR("\x80")),
                                   *family(&f, 2, STR("\x81\xa1x\x01")),
                                   CLIENT_ITEM(&f.parent, STR(""))};
    f.children[1] = CLIENT_ITEM(&then, STR("\x81\xa1x\x02"));
    MSG_SET(&f.parent, submit, fail_fast, true);
    client_request(s->c, VERB_submit, items, 3, on_reply, &s->told[0], MONO_NEVER, NULL);
    hear(s, VERB_submit);
    assert_int_equal(s->in.items, 5);
    assert_int_equal(next(s, &m).children, 0);
    assert_int_equal(next(s, &m).children, 2);
    assert_true(m.fail_fast);
    struct frame_item child = next(s, &m);
    assert_true(child.child && !m.then);
    assert_true(str_eq(child.payload, STR("\x81\xa1x\x01")));
    child = next(s, &m);
    assert_true(child.child && m.then);
    assert_true(str_eq(child.payload, STR("\x81\xa1x\x02")));
    assert_false(next(s, &m).child);
    end_message(s);
    submitted(s, s->in.sequence, 10, 3);
    assert_int_equal(s->told[0].items, 3);
    assert_int_equal(s->told[0].end, ERR_OK);
}

/* Answers for two messages of 16 items, of which each parent takes eight. */
static void answer_two(struct scene *s) {
    for (int i = 0; i < 2; i++) {
        hear(s, VERB_submit);
        assert_int_equal(s->in.items, 16);
        submitted(s, s->in.sequence, 10 + 2 * (uint64_t)i, 2);
    }
}

struct many {
    uint32_t ends;
};

static void on_end(void *ctx, const struct client_reply *r) {
    ((struct many *)ctx)->ends += r->end;
}

/* What does not fit goes into the next message with all of its children. */
static void test_batches_keep_families_together(void **state) {
    struct scene *s = *state;
    static struct family f;
    struct many many = {0};
    welcome(s, 5);
    struct client_item items[4];
    for (int i = 0; i < 4; i++)
        items[i] = *family(&f, 7, STR("\x80"));
    struct err e = {0};
    assert_int_equal(client_request(s->c, VERB_submit, items, 4, on_end, &many, MONO_NEVER, &e),
                     -1);
    assert_int_equal(e.code, ERR_TOO_LARGE);
    for (int i = 0; i < 4; i += 2)
        assert_int_equal(
            client_request(s->c, VERB_submit, items + i, 2, on_end, &many, MONO_NEVER, &e), 0);
    answer_two(s);
    assert_int_equal(many.ends, 2);
}

/* ---- bounds --------------------------------------------------------------------------------- */
static void refused(struct scene *s, const struct client_item *item, enum err_code code,
                    const char *says) {
    struct err e = {0};
    assert_int_equal(
        client_request(s->c, VERB_submit, item, 1, on_reply, &s->told[0], MONO_NEVER, &e), -1);
    assert_int_equal(e.code, code);
    if (!strstr(e.text, says))
        fail_msg("'%s' does not say '%s'", e.text, says);
}

static void test_bounds(void **state) {
    struct scene *s = *state;
    static struct family f;
    static char large[50001];
    welcome(s, 5);
    refused(s, family(&f, 1001, STR("")), ERR_BAD_VALUE, "1001, at most 1000");
    refused(s, family(&f, 16, STR("")), ERR_TOO_LARGE, "its 16 children do not fit");
    refused(s, family(&f, 2, str_make(large, 50000)), ERR_TOO_LARGE, "its 2 children do not fit");
    refused(s, family(&f, 1, str_make(large, 50001)), ERR_TOO_LARGE, "child 0");
    family(&f, 2, STR(""));
    f.children[1].children = f.children;
    f.children[1].n_children = 1;
    refused(s, &f.item, ERR_BAD_VALUE, "child 1: has children of its own");
    struct msg_submit wrong = {0};
    MSG_SET(&wrong, submit, kind, STR("not a name"));
    family(&f, 3, STR(""));
    f.children[2].message = &wrong;
    refused(s, &f.item, ERR_BAD_VALUE, "child 2");
    assert_true(silent(s));
    assert_int_equal(client_request(s->c, VERB_submit, family(&f, 15, STR("")), 1, on_reply,
                                    &s->told[0], MONO_NEVER, NULL),
                     0);
    hear(s, VERB_submit);
    assert_int_equal(s->in.items, 16);
}

/* ---- the broker is lost --------------------------------------------------------------------- */
/* P-30, P-81: an answer that was lost is asked for again, with the children, which are taken once.
 */
static void test_lost_answer(void **state) {
    struct scene *s = *state;
    static struct family f;
    welcome(s, 5);
    client_request(s->c, VERB_submit, family(&f, 3, STR("\x80")), 1, on_reply, &s->told[0],
                   MONO_NEVER, NULL);
    hear(s, VERB_submit);
    uint64_t sequence = s->in.sequence;
    lose(s);
    welcome(s, 5);
    hear(s, VERB_submit);
    assert_int_equal(s->in.sequence, sequence);
    assert_int_equal(s->in.items, 4);
    submitted(s, sequence, 10, 1);
    assert_int_equal(s->told[0].items, 1);
    assert_int_equal(s->told[0].end, ERR_OK);
}

/* Only a parent that is unique may be offered to another life of the broker. */
static void test_restart(void **state) {
    struct scene *s = *state;
    static struct family f, unique;
    welcome(s, 5);
    client_request(s->c, VERB_submit, family(&f, 3, STR("")), 1, on_reply, &s->told[0], MONO_NEVER,
                   NULL);
    family(&unique, 2, STR(""));
    unique.parent = job(true);
    client_request(s->c, VERB_submit, &unique.item, 1, on_reply, &s->told[1], MONO_NEVER, NULL);
    hear(s, VERB_submit);
    hear(s, VERB_submit);
    lose(s);
    welcome(s, 6);
    assert_int_equal(s->told[0].end, ERR_UNKNOWN_OUTCOME);
    hear(s, VERB_submit);
    assert_int_equal(s->in.items, 3);
    submitted(s, s->in.sequence, 20, 1);
    assert_int_equal(s->told[1].ids[0], 20);
    assert_int_equal(s->told[1].end, ERR_OK);
}

static void test_refusal(void **state) {
    struct scene *s = *state;
    static struct family f;
    struct client_submitted out = {0};
    welcome(s, 5);
    client_request(s->c, VERB_submit, family(&f, 1, STR("")), 1, on_reply, &s->told[0], MONO_NEVER,
                   NULL);
    hear(s, VERB_submit);
    say_error(s, s->in.sequence, ERR_DISK_FULL);
    assert_int_equal(s->told[0].end, ERR_DISK_FULL);
    struct err e = {0};
    assert_int_equal(client_submit(s->c, family(&f, 16, STR("")), 1, &out, MONO_NEVER, &e), -1);
    assert_int_equal(out.err.code, ERR_TOO_LARGE);
    assert_int_equal(client_outstanding(s->c), 0);
}

/* ---- watching ------------------------------------------------------------------------------- */
static void say_flow(struct scene *s, uint64_t sequence, uint64_t id, uint64_t done, bool settled) {
    struct msg_flow_info m = {0};
    MSG_SET(&m, flow_info, code, 0);
    MSG_SET(&m, flow_info, id, id);
    MSG_SET(&m, flow_info, total, 5);
    MSG_SET(&m, flow_info, done, done);
    MSG_SET(&m, flow_info, dead, 1);
    MSG_SET(&m, flow_info, state, 6);
    if (settled)
        MSG_SET(&m, flow_info, settled, true);
    if (settled)
        MSG_SET(&m, flow_info, error, (uint64_t)ERR_FLOW_FAILED);
    begin(s, VERB_flow_info, sequence);
    add(s, &m, STR(""));
}

/* P-88: the first FLOW_INFO answers, the others have sequence 0, and the last one is settled. */
static void test_watch(void **state) {
    struct scene *s = *state;
    welcome(s, 5);
    assert_int_equal(client_watch_flow(s->c, 7, NULL), 0);
    assert_int_equal(client_watch_flow(s->c, 8, NULL), 0);
    assert_int_equal(client_watch_flow(s->c, 7, NULL), 0);
    hear(s, VERB_watch_flow);
    assert_int_equal(s->in.items, 2);
    say_flow(s, s->in.sequence, 7, 1, false);
    answer(s);
    assert_int_equal(s->n_flows, 1);
    assert_int_equal(s->flows[0].id, 7);
    assert_int_equal(s->flows[0].total, 5);
    assert_int_equal(s->flows[0].done, 1);
    assert_int_equal(s->flows[0].dead, 1);
    assert_false(s->flows[0].settled);
    say_flow(s, 0, 7, 2, false);
    answer(s);
    say_flow(s, 0, 7, 4, true);
    send_out(s);
    say_flow(s, 0, 7, 4, true); /* once more, and one that nobody asked for: not told */
    send_out(s);
    say_flow(s, 0, 99, 4, true);
    send_out(s);
    client_unwatch_flow(s->c, 8);
    say_flow(s, 0, 8, 4, false);
    answer(s);
    assert_int_equal(s->n_flows, 3);
    assert_true(s->flows[2].settled);
    assert_int_equal(s->flows[2].doom, ERR_FLOW_FAILED);
    assert_int_equal(s->flows[1].doom, ERR_OK);
    assert_true(silent(s));
}

/* A whole message may be lost with its connection, so it is said after every WELCOME. */
static void test_watch_again(void **state) {
    struct scene *s = *state;
    welcome(s, 5);
    client_watch_flow(s->c, 7, NULL);
    client_watch_flow(s->c, 8, NULL);
    hear(s, VERB_watch_flow);
    say_flow(s, s->in.sequence, 8, 4, true);
    answer(s);
    for (uint64_t epoch = 5; epoch <= 6; epoch++) {
        lose(s);
        welcome(s, epoch);
        hear(s, VERB_watch_flow);
        assert_int_equal(s->in.items, 1);
    }
    say_flow(s, s->in.sequence, 7, 3, true);
    answer(s);
    assert_int_equal(s->n_flows, 2);
    assert_int_equal(s->flows[1].id, 7);
    lose(s);
    welcome(s, 6);
    assert_true(silent(s));
}

static void test_watch_refused(void **state) {
    struct scene *s = *state;
    welcome(s, 5);
    client_watch_flow(s->c, 7, NULL);
    hear(s, VERB_watch_flow);
    struct msg_flow_info m = {0};
    MSG_SET(&m, flow_info, code, (uint64_t)ERR_NOT_FOUND);
    MSG_SET(&m, flow_info, id, 7);
    MSG_SET(&m, flow_info, text, STR("past retention"));
    begin(s, VERB_flow_info, s->in.sequence);
    add(s, &m, STR(""));
    answer(s);
    assert_int_equal(s->n_flows, 1);
    assert_int_equal(s->flows[0].err.code, ERR_NOT_FOUND);
    assert_string_equal(s->flows[0].err.text, "past retention");
    lose(s);
    welcome(s, 6);
    assert_true(silent(s));
}

/* More flows than a message of WATCH_FLOW may name. */
static void test_watch_many(void **state) {
    struct scene *s = *state;
    welcome(s, 5);
    for (uint64_t id = 1; id <= 40; id++)
        client_watch_flow(s->c, id, NULL);
    uint32_t heard = 0;
    while (heard < 40) {
        hear(s, VERB_watch_flow);
        assert_in_range(s->in.items, 1, 16);
        heard += s->in.items;
    }
    assert_int_equal(heard, 40);
}

static void test_finished_says_that_there_is_a_flow(void **state) {
    struct scene *s = *state;
    welcome(s, 5);
    client_watch(s->c, 7, NULL);
    client_watch(s->c, 8, NULL);
    hear(s, VERB_watch_job);
    struct msg_finished m = {.has = 6, .id = 8, .state = 6};
    begin(s, VERB_finished, 0);
    add(s, &m, STR(""));
    m.id = 7;
    MSG_SET(&m, finished, flow, true);
    add(s, &m, STR(""));
    answer(s);
    assert_int_equal(s->n_finished, 2);
    assert_false(s->finished[0].flow);
    assert_true(s->finished[1].flow);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCENE(test_children),
        SCENE(test_batches_keep_families_together),
        SCENE(test_bounds),
        SCENE(test_lost_answer),
        SCENE(test_restart),
        SCENE(test_refusal),
        SCENE(test_watch),
        SCENE(test_watch_again),
        SCENE(test_watch_refused),
        SCENE(test_watch_many),
        SCENE(test_finished_says_that_there_is_a_flow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
