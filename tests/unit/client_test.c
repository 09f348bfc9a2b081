/* The client against a broker that does what the test says, with a clock that the test turns. */
#include "tests/unit/client_scene.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- answers -------------------------------------------------------------------------------- */
/* P-26, P-27: an answer may come in parts, and in any order of the requests. */
static void test_answers(void **state) {
    struct scene *s = *state;
    welcome(s, 5);
    submit(s, 0, 3, false, NULL);
    submit(s, 1, 1, false, NULL);
    hear(s, VERB_submit);
    uint64_t first = s->in.sequence;
    assert_int_equal(s->in.items, 3);
    hear(s, VERB_submit);
    submitted(s, s->in.sequence, 40, 1);
    assert_int_equal(s->told[1].ends, 1);
    submitted(s, first, 10, 2);
    assert_int_equal(s->told[0].items, 2);
    assert_int_equal(s->told[0].ends, 0);
    submitted(s, first, 12, 1);
    assert_int_equal(s->told[0].ends, 1);
    assert_int_equal(s->told[0].end, ERR_OK);
    assert_int_equal(s->told[0].ids[1], 11);
    assert_int_equal(s->told[0].ids[2], 12);
    begin(s, VERB_submitted, first); /* once more: nobody waits for it */
    add(s, &(struct msg_submitted){.has = 6, .id = 10}, STR(""));
    send_out(s);
    assert_true(silent(s));
    assert_int_equal(s->told[0].items, 3);
    assert_int_equal(client_outstanding(s->c), 0);
}

static void test_whole_error(void **state) {
    struct scene *s = *state;
    welcome(s, 5);
    submit(s, 0, 2, false, NULL);
    hear(s, VERB_submit);
    say_error(s, s->in.sequence, ERR_READ_ONLY);
    assert_int_equal(s->told[0].end, ERR_READ_ONLY);
    assert_int_equal(s->told[0].items, 0);
}

/* P-69: dropped, told, not answered; and the conversation goes on. */
static void test_unreadable(void **state) {
    struct scene *s = *state;
    welcome(s, 5);
    submit(s, 0, 1, false, NULL);
    hear(s, VERB_submit);
    uint64_t sequence = s->in.sequence;
    static const struct {
        struct str head, body;
    } wrong[] = {
        {{"", 0}, {"", 0}},
        {{"\x93\x01\x02", 3}, {"\x90", 1}},
        {{"\x93\x01\x0b\x00", 4}, {"\xdf\xff\xff\xff\xff", 5}},
        {{"\x93\x01\x7f\x00", 4}, {"\x91\x80", 2}},
        {{"\x93\x01\x02\x00", 4}, {"\x91\x80", 2}},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        begin(s, VERB_submitted, 0);
        buf_clear(&s->out.head);
        buf_clear(&s->out.body);
        buf_put_str(&s->out.head, wrong[i].head);
        buf_put_str(&s->out.body, wrong[i].body);
        answer(s);
        assert_int_equal(s->unreadable, i + 1);
    }
    assert_true(silent(s));
    submitted(s, sequence, 10, 1);
    assert_int_equal(s->told[0].end, ERR_OK);
    assert_int_equal(s->told[0].ends, 1);
}

static void test_lists(void **state) {
    struct scene *s = *state;
    welcome(s, 5);
    struct msg_get_status all = {0};
    struct msg_list_jobs jobs = {0};
    struct client_item item = {.message = &all};
    client_request(s->c, VERB_list_queues, &item, 1, on_reply, &s->told[0], MONO_NEVER, NULL);
    hear(s, VERB_list_queues);
    struct msg_queue_info q = {.name = STR("q")};
    q.has = 0x1ffe;
    begin(s, VERB_queue_info, s->in.sequence);
    add(s, &q, STR(""));
    add(s, &q, STR(""));
    answer(s);
    assert_int_equal(s->told[0].ends, 0);
    begin(s, VERB_queue_info, s->in.sequence);
    answer(s);
    assert_int_equal(s->told[0].items, 2);
    assert_int_equal(s->told[0].ends, 1);
    item.message = &jobs;
    client_request(s->c, VERB_list_jobs, &item, 1, on_reply, &s->told[1], MONO_NEVER, NULL);
    hear(s, VERB_list_jobs);
    begin(s, VERB_job_info, s->in.sequence);
    add(s, &(struct msg_job_info){.has = 6, .id = 7}, STR(""));
    add(s, &(struct msg_job_info){.has = 2}, STR(""));
    answer(s);
    assert_int_equal(s->told[1].items, 2);
    assert_int_equal(s->told[1].ends, 1);
}

/* ---- bounds --------------------------------------------------------------------------------- */
/* P-29: no sequence gets further ahead of an unanswered one than the broker keeps answers. */
static void test_window(void **state) {
    struct scene *s = *state;
    struct err e = {0};
    welcome(s, 5);
    uint32_t n = 0;
    while (submit(s, n, 1, false, &e) == 0)
        n++;
    assert_int_equal(e.code, ERR_BUSY);
    assert_in_range(n, 4, 7);
    hear(s, VERB_submit);
    submitted(s, s->in.sequence, 1, 1);
    assert_int_equal(submit(s, 7, 1, false, &e), 0);
}

static void test_sizes(void **state) {
    struct scene *s = *state;
    struct err e = {0};
    welcome(s, 5);
    assert_int_equal(submit(s, 0, 16, false, &e), 0);
    struct msg_submit m = {0};
    struct client_item items[17];
    static char large[50001];
    for (int i = 0; i < 17; i++)
        items[i] = CLIENT_ITEM(&m, STR(""));
    MSG_SET(&m, submit, kind, STR("k"));
    assert_int_equal(
        client_request(s->c, VERB_submit, items, 17, on_reply, &s->told[1], MONO_NEVER, &e), -1);
    assert_int_equal(e.code, ERR_TOO_LARGE);
    items[0].payload = str_make(large, 50001);
    assert_int_equal(
        client_request(s->c, VERB_submit, items, 1, on_reply, &s->told[1], MONO_NEVER, &e), -1);
    assert_int_equal(e.code, ERR_TOO_LARGE);
    items[0].payload = str_make(large, 50000);
    for (int i = 0; i < 2; i++) /* its bytes_max */
        assert_int_equal(
            client_request(s->c, VERB_submit, items, 1, on_reply, &s->told[1], MONO_NEVER, &e), -i);
    assert_int_equal(e.code, ERR_BUSY);
    MSG_SET(&m, submit, kind, STR("not a name"));
    items[0].payload = STR("");
    assert_int_equal(
        client_request(s->c, VERB_submit, items, 1, on_reply, &s->told[1], MONO_NEVER, &e), -1);
    assert_int_equal(e.code, ERR_BAD_VALUE);
}

/* ---- the broker is lost --------------------------------------------------------------------- */
/* P-30: the same broker is asked again with the same sequence; what was shown is not shown again.
 */
static void test_same_epoch(void **state) {
    struct scene *s = *state;
    welcome(s, 5);
    submit(s, 0, 3, false, NULL);
    hear(s, VERB_submit);
    uint64_t sequence = s->in.sequence;
    submitted(s, sequence, 10, 2);
    lose(s);
    welcome(s, 5);
    hear(s, VERB_submit);
    assert_int_equal(s->in.sequence, sequence);
    submitted(s, sequence, 10, 3);
    assert_int_equal(s->told[0].items, 3);
    assert_int_equal(s->told[0].end, ERR_OK);
    assert_int_equal(s->told[0].ids[2], 12);
}

static void test_new_epoch(void **state) {
    struct scene *s = *state;
    welcome(s, 5);
    submit(s, 0, 1, false, NULL);
    submit(s, 1, 1, true, NULL);
    struct msg_get_status m = {0};
    struct client_item item = {.message = &m};
    client_request(s->c, VERB_get_status, &item, 1, on_reply, &s->told[2], MONO_NEVER, NULL);
    hear(s, VERB_submit);
    hear(s, VERB_submit);
    hear(s, VERB_get_status);
    uint64_t before = s->in.sequence;
    lose(s);
    welcome(s, 6);
    assert_int_equal(s->told[0].end, ERR_UNKNOWN_OUTCOME);
    assert_int_equal(err_code_exit(s->told[0].end), 5);
    hear(s, VERB_submit); /* the unique one: harmless */
    assert_true(s->in.sequence > before);
    submitted(s, s->in.sequence, 77, 1);
    assert_int_equal(s->told[1].ids[0], 77);
    hear(s, VERB_get_status);
}

/* NO_HELLO for what was said once: nobody has looked at it, so another broker may. */
static void test_refused_unread(void **state) {
    struct scene *s = *state;
    welcome(s, 5);
    submit(s, 0, 1, false, NULL);
    hear(s, VERB_submit);
    say_error(s, s->in.sequence, ERR_NO_HELLO);
    assert_int_equal(s->told[0].ends, 0);
    uint64_t old = s->in.sequence;
    welcome(s, 6);
    hear(s, VERB_submit);
    assert_true(s->in.sequence > old);
    submitted(s, s->in.sequence, 10, 1);
    assert_int_equal(s->told[0].end, ERR_OK);
}

/* ---- deadlines ------------------------------------------------------------------------------ */
static void test_deadlines(void **state) {
    struct scene *s = *state;
    struct err e = {0};
    struct msg_get_status m = {0};
    struct client_item item = {.message = &m};
    /* nobody is there yet */
    client_request(s->c, VERB_get_status, &item, 1, on_reply, &s->told[0], mono_add(now, 2000),
                   NULL);
    now.ms += 2000;
    client_poll(s->c, MONO_PAST);
    assert_int_equal(s->told[0].end, ERR_UNREACHABLE_BROKER);
    welcome(s, 5);
    submit(s, 1, 1, false, NULL);
    client_request(s->c, VERB_get_status, &item, 1, on_reply, &s->told[2], mono_add(now, 500),
                   NULL);
    hear(s, VERB_submit);
    hear(s, VERB_get_status);
    now.ms += 500;
    client_poll(s->c, MONO_PAST);
    assert_int_equal(s->told[2].end, ERR_WAIT_TIMEOUT);
    assert_int_equal(s->told[1].ends, 0);
    now.ms += 59500;
    client_poll(s->c, MONO_PAST);
    assert_int_equal(s->told[1].end, ERR_UNKNOWN_OUTCOME);
    assert_int_equal(client_outstanding(s->c), 0);
    assert_int_equal(client_call(s->c, VERB_get_status, &item, 1, NULL, NULL, now, &e), -1);
}

/* ---- watches -------------------------------------------------------------------------------- */
static void say_finished(struct scene *s, uint64_t id, uint32_t times) {
    begin(s, VERB_finished, 0);
    add(s, &(struct msg_finished){.has = 6, .id = id, .state = 6}, STR(""));
    while (--times)
        send_out(s);
    answer(s);
}

/* P-39: asked for again on every connection; told once. */
static void test_watches(void **state) {
    struct scene *s = *state;
    welcome(s, 5);
    for (uint64_t id = 1; id <= 3; id++)
        assert_int_equal(client_watch(s->c, id, NULL), 0);
    hear(s, VERB_watch_job);
    assert_int_equal(s->in.items, 3);
    client_unwatch(s->c, 1);
    begin(s, VERB_finished, 0);
    add(s, &(struct msg_finished){.has = 6, .id = 1, .state = 6}, STR(""));
    add(s, &(struct msg_finished){.has = 6, .id = 9, .state = 6}, STR(""));
    send_out(s);
    say_finished(s, 2, 3);
    assert_true(silent(s));
    assert_int_equal(s->n_finished, 1);
    assert_int_equal(s->finished[0].id, 2);
    lose(s);
    welcome(s, 6);
    hear(s, VERB_watch_job);
    assert_int_equal(s->in.items, 1);
    begin(s, VERB_job_info, s->in.sequence);
    add(s, &(struct msg_job_info){.has = 6, .code = ERR_NOT_FOUND, .id = 3}, STR(""));
    answer(s);
    assert_int_equal(s->n_finished, 2);
    assert_int_equal(s->finished[1].state, 0);
    assert_int_equal(s->finished[1].err.code, ERR_NOT_FOUND);
}

/* P-90: a broker that has no room for a question now is asked again. */
static void test_refused_watch(void **state) {
    struct scene *s = *state;
    welcome(s, 5);
    assert_int_equal(client_watch(s->c, 4, NULL), 0);
    hear(s, VERB_watch_job);
    begin(s, VERB_error, s->in.sequence);
    add(s, &(struct msg_error){.has = 6, .code = ERR_BUSY, .text = STR("because")}, STR(""));
    send_out(s);
    assert_int_equal(submit(s, 0, 1, false, NULL), 0);
    hear(s, VERB_submit);
    submitted(s, s->in.sequence, 9, 1); /* what comes behind it was heard: so was the refusal */
    assert_true(silent(s));
    now = mono_add(now, 1000);
    hear(s, VERB_watch_job);
    assert_int_equal(s->in.items, 1);
    say_finished(s, 4, 1);
    now = mono_add(now, 1000);
    assert_true(silent(s));
}

/* A job submitted with `watch` whose answer came only with the repetition: its end may have been
 * told to the lost connection. */
static void test_watched_submission(void **state) {
    struct scene *s = *state;
    welcome(s, 5);
    struct msg_submit m = {0};
    MSG_SET(&m, submit, kind, STR("k"));
    MSG_SET(&m, submit, watch, true);
    struct client_item item = {.message = &m};
    client_request(s->c, VERB_submit, &item, 1, on_reply, &s->told[0], MONO_NEVER, NULL);
    hear(s, VERB_submit);
    submitted(s, s->in.sequence, 50, 1);
    assert_true(silent(s));
    client_request(s->c, VERB_submit, &item, 1, on_reply, &s->told[1], MONO_NEVER, NULL);
    hear(s, VERB_submit);
    lose(s);
    welcome(s, 5);
    hear(s, VERB_submit);
    uint64_t sequence = s->in.sequence;
    hear(s, VERB_watch_job);
    assert_int_equal(s->in.items, 1);
    submitted(s, sequence, 51, 1);
    hear(s, VERB_watch_job);
    say_finished(s, 51, 1);
    say_finished(s, 50, 1);
    assert_int_equal(s->n_finished, 2);
}

/* ---- where the broker is -------------------------------------------------------------------- */
/* A path that no socket address can hold is reached all the same. */
static void test_long_path(void **state) {
    struct scene *s = *state;
    struct err e = {0};
    char folder[400], path[420], endpoint[LINK_ENDPOINT_MAX];
    snprintf(folder, sizeof folder, "%s/%0150d", s->folder, 1);
    assert_int_equal(mkdir(folder, 0700), 0);
    snprintf(path, sizeof path, "%s/s", folder);
    char real[64];
    snprintf(real, sizeof real, "%s/s", s->folder);
    assert_int_equal(symlink(real, path), 0);
    snprintf(endpoint, sizeof endpoint, "ipc://%s", path);
    welcome(s, 5);
    client_destroy(&s->c);
    struct client_config config = {
        .role = ROLE_CLIENT, .endpoint = endpoint, .instance = {9}, .clock = test_clock};
    assert_int_equal(client_new(&s->c, &config, &e), 0);
    welcome(s, 5);
    unlink(path);
    rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCENE(test_answers),    SCENE(test_whole_error),   SCENE(test_lists),
        SCENE(test_unreadable), SCENE(test_window),        SCENE(test_sizes),
        SCENE(test_same_epoch), SCENE(test_new_epoch),     SCENE(test_refused_unread),
        SCENE(test_deadlines),  SCENE(test_watches),       SCENE(test_watched_submission),
        SCENE(test_long_path),  SCENE(test_refused_watch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
