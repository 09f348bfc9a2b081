/* quern.h from outside: a worker (sdk_kinds.c) and a client that know nothing but that header, with
 * the real broker. */
#include "tests/e2e/broker_process.h"
#include "workers/sdk/quern.h"

#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PROGRAM     QUERN_BIN_DIR "/sdk_worker"
#define DEADLINE_MS 30000
#define YAML                                                                                       \
    "broker:\n  heartbeat: 200ms\n  heartbeats_missed: 4\n"                                        \
    "journal:\n  segment_size: 8MiB\n  disk_min_free: 0\n"                                         \
    "streams:\n  stream_max: 16MiB\n"                                                              \
    "kinds:\n  spawn: {may_spawn: [given, fail, then]}\n"

struct scene {
    struct broker b;
    pid_t worker;
    struct quern_client *c; /* a gateway */
};

/* ---- the scene ------------------------------------------------------------------------------ */
static pid_t start_worker(const struct scene *s, const char *word) {
    int log = open(s->b.log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(log >= 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setenv("QUERN_DATA", s->b.data, 1);
        dup2(log, 2);
        execl(PROGRAM, PROGRAM, word, (char *)NULL);
        _exit(127);
    }
    close(log);
    return pid;
}

static int end_worker(pid_t *pid, int number) {
    int status = 0;
    if (number)
        kill(*pid, number);
    assert_int_equal(waitpid(*pid, &status, 0), *pid);
    *pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static struct quern_client *connect_as(const struct scene *s, enum quern_role role) {
    struct quern_client_options options = quern_client_options_make();
    struct quern_error error;
    options.data = s->b.data;
    options.role = role;
    options.timeout_ms = DEADLINE_MS;
    struct quern_client *c = quern_connect(&options, &error);
    if (!c)
        fail_msg("%s: %s", error.name, error.text);
    assert_int_equal(error.code, QUERN_OK);
    return c;
}

static int set_up(void **state) {
    static struct scene s;
    s = (struct scene){0};
    broker_make(&s.b, YAML);
    broker_start(&s.b);
    s.worker = start_worker(&s, NULL);
    broker_await_log(&s.b, "worker.connected");
    s.c = connect_as(&s, QUERN_ROLE_GATEWAY);
    *state = &s;
    return 0;
}

static int tear_down(void **state) {
    struct scene *s = *state;
    quern_close(s->c);
    if (s->worker)
        end_worker(&s->worker, SIGKILL);
    broker_remove(&s->b);
    return 0;
}

/* ---- asking --------------------------------------------------------------------------------- */
static uint64_t submit(struct quern_client *c, const struct quern_spec *spec) {
    struct quern_error error;
    uint64_t id = quern_submit(c, spec, &error);
    if (!id)
        fail_msg("%s: %s", error.name, error.text);
    return id;
}

static uint64_t submit_kind(struct quern_client *c, const char *kind, const char *payload) {
    struct quern_spec spec = quern_spec_make(kind);
    spec.payload_json = payload;
    return submit(c, &spec);
}

static struct quern_report *await(struct quern_client *c, uint64_t id) {
    struct quern_error error;
    struct quern_report *report = quern_wait(c, id, DEADLINE_MS, &error);
    if (!report)
        fail_msg("%s: %s", error.name, error.text);
    assert_true(quern_report_id(report) == id);
    return report;
}

/* Runs it; its end must be that one. */
static struct quern_report *run(struct quern_client *c, const struct quern_spec *spec,
                                enum quern_state state) {
    struct quern_report *report = await(c, submit(c, spec));
    if (quern_report_state(report) != (int)state)
        fail_msg("%s, not %s: %s", quern_state_name(quern_report_state(report)),
                 quern_state_name(state), quern_report_error(report)->text);
    return report;
}

static void must_be(struct quern_client *c, const char *kind, const char *payload,
                    const char *result) {
    struct quern_spec spec = quern_spec_make(kind);
    spec.payload_json = payload;
    struct quern_report *report = run(c, &spec, QUERN_DONE);
    assert_string_equal(quern_report_result_json(report), result);
    assert_int_equal(quern_report_error(report)->code, QUERN_OK);
    quern_report_free(report);
}

static void must_fail(struct quern_client *c, const char *kind, const char *payload,
                      const char *name, const char *text) {
    struct quern_spec spec = quern_spec_make(kind);
    spec.payload_json = payload;
    spec.attempts_max = 2;
    struct quern_report *report = run(c, &spec, QUERN_DEAD);
    const struct quern_error *error = quern_report_error(report);
    assert_string_equal(error->name, name);
    assert_string_equal(quern_code_name(error->code), name);
    if (!strstr(error->text, text))
        fail_msg("\"%s\" is not in: %s", text, error->text);
    quern_report_free(report);
}

static void must_have(const char *text, const char *part) {
    if (!text || !strstr(text, part))
        fail_msg("%s is not in: %s", part, text ? text : "(none)");
}

/* ---- workers -------------------------------------------------------------------------------- */
/* P-46, P-83: what the code of a kind is told. */
static void test_given(void **state) {
    struct scene *s = *state;
    struct quern_spec spec = quern_spec_make("given");
    spec.payload = "\x81\xa1n\xc4\x01\xff"; /* {"n": one byte} */
    spec.payload_size = 6;
    spec.tenant = "acme";
    spec.attempts_max = 5;
    spec.trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    struct quern_report *report = run(s->c, &spec, QUERN_DONE);
    const char *json = quern_report_result_json(report);
    char id[QUERN_ID_SIZE], part[64];
    quern_id_show(quern_report_id(report), id);
    assert_true(quern_id_parse(id) == quern_report_id(report));
    assert_true(quern_id_parse("no id") == 0);
    snprintf(part, sizeof part, "{\"id\":\"%s\",\"fenced\":true,\"kind\":\"given\"", id);
    must_have(json, part);
    must_have(json, "\"tenant\":\"acme\",\"trace\":\"00-0af7");
    must_have(json, "\"attempt\":1,\"attempts_max\":5,\"parent\":0,\"timed\":true,\"bytes\":6");
    must_have(json, "\"user\":\"mine\",\"payload\":{\"n\":{\"$bin\":\"/w==\"}}}");
    snprintf(part, sizeof part, "\"said\":\"given %s\"", id);
    broker_await_log(&s->b, part);
    quern_report_free(report);
}

static void test_members(void **state) {
    struct quern_client *c = ((struct scene *)*state)->c;
    must_be(c, "members", NULL, "{\"text\":\"none\",\"number\":7,\"flag\":false,\"long\":0}");
    must_be(c, "members",
            "{\"text\": \"1234567\", \"number\": 100, \"flag\": true, \"long\": \"gr\\u00fc\"}",
            "{\"text\":\"1234567\",\"number\":100,\"flag\":true,\"long\":4}");
    must_fail(c, "members", "{\"text\": \"12345678\"}", "BAD_VALUE", "payload.text: 8 bytes");
    must_fail(c, "members", "{\"text\": \"a\\u0000b\"}", "BAD_VALUE", "zero byte");
    must_fail(c, "members", "{\"text\": {\"$bin\": \"/w==\"}}", "BAD_VALUE", "must be text");
    must_fail(c, "members", "{\"number\": 101}", "BAD_VALUE", "at most 100");
    must_fail(c, "members", "{\"flag\": 1}", "BAD_VALUE", "true or false");
    must_fail(c, "members", "{\"long\": []}", "BAD_VALUE", "must be text");
}

static void test_results(void **state) {
    struct quern_client *c = ((struct scene *)*state)->c;
    must_be(c, "same", "{\"a\": [1, null, {\"b\": 0.5}]}", "{\"a\":[1,null,{\"b\":0.5}]}");
    must_be(c, "numbers", NULL,
            "{\"most\":{\"$uint\":\"18446744073709551615\"},\"n\":2,\"half\":0.5}");
    must_fail(c, "large", NULL, "RESULT_TOO_LARGE", "over its bound");
    must_fail(c, "no_map", NULL, "JOB_REJECTED", "not one map");
    struct quern_spec spec = quern_spec_make("same");
    struct quern_report *report = run(c, &spec, QUERN_DONE);
    size_t size;
    assert_string_equal(quern_report_result_json(report), "{}");
    (void)quern_report_result(report, &size);
    assert_true(size <= 1);
    quern_report_free(report);
}

/* P-48: what each class becomes. */
static void test_failing(void **state) {
    struct quern_client *c = ((struct scene *)*state)->c;
    must_fail(c, "fail", "{\"class\": 1}", "JOB_FAILED", "class 1");
    must_fail(c, "fail", "{\"class\": 2}", "JOB_REJECTED", "class 2");
    must_fail(c, "fail", "{\"class\": 4}", "JOB_REJECTED", "class 4");
    must_fail(c, "fail", NULL, "JOB_REJECTED", "without saying why");
    must_fail(c, "mute", NULL, "JOB_REJECTED", "without `streams`");
    must_be(c, "fail", "{\"class\": 3}", "{\"attempt\":1}");
    struct quern_spec spec = quern_spec_make("fail");
    spec.payload_json = "{\"class\": 1}";
    spec.attempts_max = 3;
    struct quern_report *report = run(c, &spec, QUERN_DEAD);
    assert_int_equal(quern_report_attempts(report), 3);
    assert_int_equal(quern_report_error(report)->error_class, QUERN_TEMP);
    quern_report_free(report);
}

static struct quern_report *await_progress(struct quern_client *c, uint64_t id) {
    for (;;) {
        struct quern_error error;
        uint64_t done, total;
        struct quern_report *report = quern_get(c, id, &error);
        assert_non_null(report);
        if (quern_report_progress(report, &done, &total)) {
            assert_true(done == 1 && total == 3);
            return report;
        }
        quern_report_free(report);
        assert_null(quern_wait(c, id, 20, &error));
        assert_int_equal(error.code, QUERN_E_WAIT_TIMEOUT);
    }
}

/* P-40, P-52: it obeys, and leaves what it had. */
static void test_stopping(void **state) {
    struct quern_client *c = ((struct scene *)*state)->c;
    struct quern_error error;
    uint64_t id = submit_kind(c, "stop", NULL);
    struct quern_report *report = await_progress(c, id);
    assert_int_equal(quern_report_state(report), QUERN_RUNNING);
    must_have(quern_report_json(report), "\"state\":\"running\"");
    must_have(quern_report_json(report), "\"payload\":{}");
    quern_report_free(report);
    assert_int_equal(quern_cancel(c, id, &error), 0);
    report = await(c, id);
    assert_int_equal(quern_report_state(report), QUERN_CANCELLED);
    assert_string_equal(quern_report_result_json(report),
                        "{\"so_far\":\"something\",\"why\":\"CANCELLED\"}");
    must_have(quern_report_json(report), "\"state\":\"cancelled\"");
    quern_report_free(report);
    assert_int_equal(quern_cancel(c, id, &error), -1);
    assert_int_equal(error.code, QUERN_E_ALREADY_DONE);
    assert_int_equal(quern_retry(c, id, &error), 0);
    assert_int_equal(quern_cancel(c, id, NULL), 0);
    quern_report_free(await(c, id));
    struct quern_spec spec = quern_spec_make("stop");
    spec.timeout_ms = 100;
    spec.attempts_max = 1;
    report = run(c, &spec, QUERN_DEAD);
    assert_string_equal(quern_report_error(report)->name, "TIMEOUT");
    quern_report_free(report);
}

/* P-81 to P-84. */
static void test_flow(void **state) {
    struct quern_client *c = ((struct scene *)*state)->c;
    struct quern_error error;
    uint64_t id = submit_kind(c, "spawn", NULL);
    quern_report_free(await(c, id));
    for (uint64_t then = 0; !then;) { /* the children's ids follow their parent's */
        for (uint64_t near = id + 1; near < id + 8 && !then; near++) {
            struct quern_report *report = quern_get(c, near, &error);
            const char *json = report ? quern_report_json(report) : "";
            then = strstr(json, "\"kind\":\"then\"") ? near : 0;
            quern_report_free(report);
        }
        if (!then)
            continue;
        struct quern_report *report = await(c, then);
        assert_string_equal(quern_report_result_json(report),
                            "{\"parent\":\"done\",\"total\":3,\"done\":2,\"dead\":1}");
        quern_report_free(report);
    }
    must_fail(c, "then", NULL, "JOB_REJECTED", "no siblings");
}

/* P-60, P-71: how it leaves. */
static void test_leaving(void **state) {
    struct scene *s = *state;
    assert_int_equal(end_worker(&s->worker, SIGTERM), QUERN_EXIT_DRAINED);
    static const char *const mistakes[][2] = {
        {"none", "1 to 256 kinds, not 0"},
        {"twice", "there are two kinds given"},
        {"nameless", "is not a name"},
        {"empty", "has no function"},
        {"unsized", "quern_worker_options: its size is 0"},
        {"unknown", "does not have yet"},
    };
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        s->worker = start_worker(s, mistakes[i][0]);
        assert_int_equal(end_worker(&s->worker, 0), QUERN_EXIT_USAGE);
        broker_await_log(&s->b, mistakes[i][1]);
    }
    s->worker = start_worker(s, "later");
    quern_report_free(await(s->c, submit_kind(s->c, "given", NULL)));
    assert_int_equal(end_worker(&s->worker, SIGINT), QUERN_EXIT_DRAINED);
}

/* ---- clients -------------------------------------------------------------------------------- */
#define MANY 2000

static void test_many(void **state) {
    struct quern_client *c = ((struct scene *)*state)->c;
    static struct quern_spec specs[MANY];
    static const struct quern_spec *jobs[MANY];
    static uint64_t ids[MANY];
    static bool duplicates[MANY];
    static struct quern_error errors[MANY];
    for (size_t i = 0; i < MANY; i++) {
        jobs[i] = &specs[i];
        specs[i] = quern_spec_make("given");
        specs[i].watch = true;
        specs[i].payload_json = "{\"n\": 1}";
    }
    specs[3].payload_json = "[1]";
    specs[5].kind = NULL;
    specs[7].kind = "nobody runs this";
    specs[8].unique = specs[9].unique = "one";
    specs[11].priority = 10;
    specs[13].payload = "";
    assert_int_equal(quern_submit_many(c, jobs, MANY, ids, duplicates, errors), -1);
    assert_int_equal(errors[3].code, QUERN_E_BAD_VALUE);
    assert_int_equal(errors[5].code, QUERN_E_MISSING_FIELD);
    assert_int_equal(errors[7].code, QUERN_E_BAD_VALUE);
    assert_int_equal(errors[11].code, QUERN_E_BAD_VALUE);
    assert_int_equal(errors[13].code, QUERN_E_USAGE);
    assert_true(ids[8] && ids[8] == ids[9] && duplicates[9] && !duplicates[8]);
    size_t accepted = 0;
    for (size_t i = 0; i < MANY; i++)
        accepted += ids[i] != 0;
    assert_int_equal(accepted, MANY - 5);
    for (size_t i = 1; i < accepted; i++) { /* two are one */
        struct quern_error error;
        struct quern_report *report = quern_wait_any(c, DEADLINE_MS, &error);
        assert_non_null(report);
        assert_int_equal(quern_report_state(report), QUERN_DONE);
        quern_report_free(report);
    }
    struct quern_error error;
    assert_null(quern_wait_any(c, 0, &error));
    assert_int_equal(error.code, QUERN_E_WAIT_TIMEOUT);
    assert_int_equal(error.error_class, QUERN_TEMP);
    assert_int_equal(quern_submit_many(c, jobs, 0, ids, NULL, NULL), 0);
}

static void test_refusals(void **state) {
    struct scene *s = *state;
    struct quern_error error;
    struct quern_spec spec = quern_spec_make("nobody");
    assert_true(quern_submit(s->c, &spec, &error) == 0);
    assert_string_equal(error.name, "UNKNOWN_KIND");
    assert_int_equal(error.error_class, QUERN_PERM);
    spec.size = 0;
    assert_true(quern_submit(s->c, &spec, &error) == 0);
    assert_string_equal(error.name, "USAGE");
    must_have(error.text, "quern_spec_make");
    spec = quern_spec_make("given");
    spec.payload = "\x93";
    spec.payload_size = 1;
    assert_true(quern_submit(s->c, &spec, &error) == 0);
    assert_string_equal(error.name, "MALFORMED");
    assert_null(quern_get(s->c, 12345, &error));
    assert_string_equal(error.name, "NOT_FOUND");
    assert_null(quern_wait(s->c, 12345, DEADLINE_MS, &error));
    assert_string_equal(error.name, "NOT_FOUND");
    assert_string_equal(quern_code_name(12345), "UNKNOWN");
    assert_string_equal(quern_state_name(0), "unknown");
    assert_string_equal(quern_version(), QUERN_VERSION_STRING);
    assert_int_equal(quern_version_number(), QUERN_VERSION_NUMBER);
    struct quern_client *plain = connect_as(s, QUERN_ROLE_CLIENT);
    spec = quern_spec_make("given");
    spec.tenant = "acme";
    assert_true(quern_submit(plain, &spec, &error) == 0);
    assert_string_equal(error.name, "BAD_ROLE");
    quern_close(plain);
    struct quern_client_options options = quern_client_options_make();
    options.data = s->b.root; /* nobody serves it */
    options.timeout_ms = 50;
    assert_null(quern_connect(&options, &error));
    assert_string_equal(error.name, "UNREACHABLE_BROKER");
    options.role = 77;
    assert_null(quern_connect(&options, &error));
    assert_string_equal(error.name, "USAGE");
}

static void test_json(void **state) {
    (void)state;
    struct quern_error error;
    size_t size;
    void *msgpack = quern_to_msgpack("{\"a\": [true, {\"$bin\": \"/w==\"}]}", &size, &error);
    assert_non_null(msgpack);
    char *json = quern_to_json(msgpack, size, &error);
    assert_string_equal(json, "{\"a\":[true,{\"$bin\":\"/w==\"}]}");
    quern_free(json);
    quern_free(msgpack);
    assert_null(quern_to_msgpack("{", &size, &error));
    assert_true(size == 0 && error.code != QUERN_OK);
    assert_null(quern_to_json("\xc1", 1, &error));
    assert_true(error.code != QUERN_OK);
    quern_free(NULL);
}

/* P-24, P-30: the broker is killed while a job runs and a client waits for it. */
static void test_another_broker(void **state) {
    struct scene *s = *state;
    struct quern_error error;
    uint64_t id = submit_kind(s->c, "stop", NULL);
    quern_report_free(await_progress(s->c, id));
    broker_kill(&s->b);
    broker_start(&s->b);
    struct quern_spec spec = quern_spec_make("given");
    spec.unique = "once"; /* without it nobody could say whether the killed one had taken it */
    struct quern_report *report = await(s->c, submit(s->c, &spec));
    assert_int_equal(quern_report_state(report), QUERN_DONE);
    quern_report_free(report);
    assert_int_equal(quern_cancel(s->c, id, &error), 0);
    report = await(s->c, id);
    assert_int_equal(quern_report_state(report), QUERN_CANCELLED);
    must_have(quern_report_result_json(report), "so_far"); /* of the attempt that went on */
    quern_report_free(report);
}

/* ---- streams -------------------------------------------------------------------------------- */
static struct quern_stream *open_stream(struct quern_client *c, uint64_t id) {
    struct quern_error error;
    struct quern_stream *stream = quern_stream_open(c, id, &error);
    if (!stream)
        fail_msg("%s: %s", error.name, error.text);
    return stream;
}

static int next(struct quern_stream *stream, const struct quern_event **event) {
    struct quern_error error;
    int rc = quern_stream_next(stream, DEADLINE_MS, event, &error);
    if (rc < 0)
        fail_msg("%s: %s", error.name, error.text);
    return rc;
}

/* P-72, P-76, P-77. */
static void test_stream(void **state) {
    struct quern_client *c = ((struct scene *)*state)->c;
    const struct quern_event *event;
    struct quern_error error;
    char text[64] = "";
    unsigned data = 0;
    uint64_t id = submit_kind(c, "stream", NULL);
    struct quern_stream *stream = open_stream(c, id);
    assert_null(quern_stream_open(c, id, &error));
    assert_int_equal(error.code, QUERN_E_USAGE);
    while (next(stream, &event)) {
        if (event->type == QUERN_EVENT_RESET) {
            text[0] = 0;
        } else if (event->type == QUERN_EVENT_TEXT) {
            assert_int_equal(event->channel, 0);
            assert_int_equal(strlen(event->bytes), event->size);
            strncat(text, event->bytes, sizeof text - 1 - strlen(text));
        } else {
            assert_int_equal(event->type, QUERN_EVENT_DATA);
            char *json = quern_to_json(event->bytes, event->size, &error);
            assert_string_equal(json, data++ ? "{\"n\":2}" : "{\"n\":1}");
            assert_int_equal(event->channel, 7);
            quern_free(json);
        }
    }
    assert_string_equal(text, "gr\xc3\xbc\xc3\x9f");
    assert_int_equal(data, 2);
    assert_int_equal(quern_report_state(quern_stream_report(stream)), QUERN_DONE);
    assert_int_equal(next(stream, &event), 0); /* it stays so */
    quern_stream_close(stream);
    stream = open_stream(c, 12345);
    assert_int_equal(quern_stream_next(stream, DEADLINE_MS, &event, &error), -1);
    assert_string_equal(error.name, "NOT_FOUND");
    quern_stream_close(stream);
}

static void test_stream_of_client(void **state) {
    struct scene *s = *state;
    struct quern_client *plain = connect_as(s, QUERN_ROLE_CLIENT);
    const struct quern_event *event;
    struct quern_error error;
    struct quern_stream *stream =
        quern_stream_open(plain, submit_kind(plain, "stop", NULL), &error);
    int rc = stream ? quern_stream_next(stream, DEADLINE_MS, &event, &error) : -1;
    assert_int_equal(rc, -1);
    assert_string_equal(error.name, "BAD_ROLE");
    quern_close(plain); /* and its stream */
}

/* While another job is waited for more comes than is kept: nothing is lost, and memory is not taken
 * without end. */
#define FLOOD 300

static void test_unread_stream(void **state) {
    struct quern_client *c = ((struct scene *)*state)->c;
    const struct quern_event *event;
    struct quern_error error;
    char payload[64];
    uint64_t stop = submit_kind(c, "stop", NULL), bytes = 0;
    snprintf(payload, sizeof payload, "{\"pieces\": %d}", FLOOD);
    uint64_t id = submit_kind(c, "flood", payload);
    struct quern_stream *stream = open_stream(c, id);
    assert_null(quern_wait(c, id, DEADLINE_MS, &error));
    assert_int_equal(error.code, QUERN_E_USAGE);
    for (int state_of = 0; state_of != QUERN_DONE;) {
        assert_null(quern_wait(c, stop, 20, NULL)); /* serves the stream as well */
        struct quern_report *report = quern_get(c, id, &error);
        state_of = quern_report_state(report);
        quern_report_free(report);
    }
    for (int n = 0; n < 10; n++)
        assert_null(quern_wait(c, stop, 20, NULL));
    while (next(stream, &event)) {
        assert_int_equal(event->type, QUERN_EVENT_TEXT);
        for (size_t at = 0; at < event->size; at++)
            if (event->bytes[at] != '.') {
                uint64_t number = strtoull(event->bytes + at, NULL, 10);
                assert_true(number == (bytes + at) / (32U << 10));
                at += 11;
            }
        bytes += event->size;
    }
    assert_true(bytes == (uint64_t)FLOOD * (32U << 10));
    quern_stream_close(stream);
    assert_int_equal(quern_cancel(c, stop, NULL), 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_given),         TEST(test_members),        TEST(test_results),
        TEST(test_failing),       TEST(test_stopping),       TEST(test_flow),
        TEST(test_leaving),       TEST(test_many),           TEST(test_refusals),
        TEST(test_json),          TEST(test_stream),         TEST(test_stream_of_client),
        TEST(test_unread_stream), TEST(test_another_broker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
