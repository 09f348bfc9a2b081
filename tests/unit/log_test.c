/* Lines of the log: what stands in them, whatever is put in. */
#include "common/base/id.h"
#include "common/base/rng.h"
#include "common/log/log.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static int ends[2];
static char said[64 << 10];

static int set_up(void **state) {
    (void)state;
    assert_int_equal(pipe(ends), 0);
    log_open("log_test", ends[1]);
    log_set(LOG_LEVEL_info, LOG_FORMAT_json);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    close(ends[0]);
    if (ends[1] >= 0)
        close(ends[1]);
    log_open("log_test", 2);
    return 0;
}

/* All that was written so far. */
static struct str heard(void) {
    size_t len = 0;
    ssize_t n;
    log_open("log_test", 2);
    close(ends[1]);
    ends[1] = -1;
    while ((n = read(ends[0], said + len, sizeof said - 1 - len)) > 0)
        len += (size_t)n;
    said[len] = '\0';
    return str_make(said, len);
}

static json_t *heard_json(void) {
    json_error_t error;
    struct str line = heard();
    assert_true(line.len > 0 && line.at[line.len - 1] == '\n');
    json_t *o = json_loadb(line.at, line.len, JSON_REJECT_DUPLICATES, &error);
    if (!o)
        fail_msg("%s: " STR_FMT, error.text, STR_ARG(line));
    return o;
}

static void assert_text(const json_t *o, const char *key, const char *text) {
    assert_non_null(json_object_get(o, key));
    assert_string_equal(json_string_value(json_object_get(o, key)), text);
}

static void all_types(void **state) {
    (void)state;
    struct err e = {0};
    err_set(&e, ERR_IO, "a disk");
    log_event(LOG_broker_ready, log_u64("most", INT64_MAX), log_i64("least", -7),
              log_bool("yes", true), log_text("words", "gr\xc3\xbc\xc3\x9f\x65"), log_id("job", 77),
              log_id("none", 0), LOG_WHY(&e));
    json_t *o = heard_json();
    assert_text(o, "level", "info");
    assert_text(o, "event", "broker.ready");
    assert_text(o, "program", "log_test");
    assert_text(o, "text", "the broker serves");
    assert_int_equal(json_integer_value(json_object_get(o, "pid")), getpid());
    assert_int_equal(json_string_length(json_object_get(o, "time")), 24);
    assert_int_equal(json_integer_value(json_object_get(o, "least")), -7);
    assert_true(json_is_true(json_object_get(o, "yes")));
    assert_text(o, "words", "gr\xc3\xbc\xc3\x9f\x65");
    assert_text(o, "job", id_show(77).at);
    assert_null(json_object_get(o, "none"));
    assert_text(o, "error", "a disk");
    assert_text(o, "code", "IO");
    json_decref(o);
    assert_non_null(strstr(said, "\"most\":9223372036854775807"));
}

/* Whatever a peer may have put into a text, the line is one line of JSON. */
static void any_bytes(void **state) {
    (void)state;
    char bytes[256];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)i;
    log_event(LOG_broker_ready, log_str("bytes", str_make(bytes, sizeof bytes)),
              log_str("cut", STR("\xe2\x82")));
    json_t *o = heard_json();
    assert_text(o, "cut", "??");
    json_decref(o);
    assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1);
}

/* The same of all that chance puts together, and cut anywhere. */
static void bytes_of_chance(void **state) {
    struct rng rng = rng_seed(20261);
    for (int round = 0; round < 3000; round++) {
        static char bytes[2 * LOG_LINE_MAX];
        static const char pieces[] = "\\\"\n\xc3\xbc\xe2\x82\xf0\x9f\x90\x9d\xed\xa0\x80{},:";
        size_t len = rng_below(&rng, rng_below(&rng, 8) ? 200 : sizeof bytes);
        for (size_t i = 0; i < len; i++)
            bytes[i] = rng_below(&rng, 2) ? pieces[rng_below(&rng, sizeof pieces)]
                                          : (char)rng_below(&rng, 256);
        set_up(state);
        log_event(LOG_broker_ready, log_str("a", str_make(bytes, len)), log_u64("n", len),
                  log_str("b", str_make(bytes + len / 2, len / 2)));
        json_t *o = heard_json(); /* which takes UTF-8 only */
        assert_in_range(strlen(said), 1, LOG_LINE_MAX);
        assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1);
        const char *cut = json_string_value(json_object_get(o, "a"));
        if (len > LOG_LINE_MAX)
            assert_string_equal(cut + strlen(cut) - 3, "...");
        json_decref(o);
        tear_down(state);
    }
    set_up(state);
}

/* A line has at most LOG_LINE_MAX bytes; it stays well-formed wherever it is cut. */
static void long_values(void **state) {
    (void)state;
    static char text[2 * LOG_LINE_MAX];
    for (size_t len = LOG_LINE_MAX - 300; len < LOG_LINE_MAX; len++) {
        set_up(state);
        memset(text, len % 2 ? '\\' : 'x', len);
        log_event(LOG_broker_ready, log_str("long", str_make(text, len % 2 ? len / 2 : len)),
                  log_u64("number", 12345678), log_text("short", "s"));
        json_t *o = heard_json();
        assert_in_range(strlen(said), 1, LOG_LINE_MAX);
        json_decref(o);
        tear_down(state);
    }
    set_up(state);
}

static void levels(void **state) {
    (void)state;
    log_set(LOG_LEVEL_warn, LOG_FORMAT_json);
    log_event(LOG_broker_ready);
    assert_false(log_wanted(LOG_broker_ready));
    log_event(LOG_config_restart);
    json_t *o = heard_json();
    assert_text(o, "event", log_event_name(LOG_config_restart));
    json_decref(o);
}

static void as_text(void **state) {
    (void)state;
    log_set(LOG_LEVEL_info, LOG_FORMAT_text);
    log_event(LOG_broker_ready, log_u64("epoch", 7), log_text("data", "a\nb"));
    struct str line = heard();
    assert_non_null(strstr(line.at, " info  log_test["));
    assert_non_null(strstr(line.at, "broker.ready: the broker serves; epoch=7 data=a b\n"));
}

/* What a peer can cause is bounded: the rest is counted, and told by the next line. */
static void bounded(void **state) {
    (void)state;
    for (int i = 0; i < 1000; i++)
        log_event(LOG_message_refused, log_u64("n", (uint64_t)i));
    struct str all = heard();
    size_t lines = 0;
    for (size_t i = 0; i < all.len; i++)
        lines += all.at[i] == '\n';
    assert_in_range(lines, 10, 20); /* of one second, or of two */
}

static void lost(void **state) {
    (void)state;
    uint64_t before = log_lost();
    log_open("log_test", -1);
    log_event(LOG_broker_ready);
    assert_int_equal(log_lost(), before + 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_types, set_up, tear_down),
        cmocka_unit_test_setup_teardown(any_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bytes_of_chance, set_up, tear_down),
        cmocka_unit_test_setup_teardown(long_values, set_up, tear_down),
        cmocka_unit_test_setup_teardown(levels, set_up, tear_down),
        cmocka_unit_test_setup_teardown(as_text, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lost, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
