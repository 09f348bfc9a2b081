/* Flows on the command line: jobs as they are described in JSON, and what is shown of a family. */
#include "cli/describe.h"
#include "cli/family.h"
#include "cli/flow.h"
#include "cli/out.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* ---- descriptions --------------------------------------------------------------------------- */
struct scene {
    struct arena *arena;
    json_t *defaults;
    struct client_item item;
    struct err e;
};

static int set_up(void **state) {
    static struct scene s;
    s = (struct scene){.arena = arena_new(8U << 20)};
    s.defaults = json_pack("{s:s, s:i}", "kind", "page", "priority", 3);
    *state = &s;
    return 0;
}

static int tear_down(void **state) {
    struct scene *s = *state;
    json_decref(s->defaults);
    arena_destroy(&s->arena);
    return 0;
}

static int describe(struct scene *s, const char *text) {
    json_auto_t *json = json_bridge_parse(str_of(text), &s->e);
    s->e = (struct err){0};
    assert_non_null(json);
    return describe_job(json, s->defaults, s->arena, &s->item, &s->e);
}

static const struct msg_submit *message(const struct client_item *item) {
    return item->message;
}

static void test_a_line_wins_over_the_options(void **state) {
    struct scene *s = *state;
    assert_int_equal(describe(s, "{}"), 0);
    assert_true(str_eq(message(&s->item)->kind, STR("page")));
    assert_int_equal(message(&s->item)->priority, 3);
    assert_int_equal(s->item.payload.len, 0);
    assert_int_equal(s->item.n_children, 0);
    assert_int_equal(describe(s, "{\"kind\":\"crawl\",\"priority\":4,\"fail_fast\":true,"
                                 "\"payload\":{\"n\":7}}"),
                     0);
    assert_true(str_eq(message(&s->item)->kind, STR("crawl")));
    assert_int_equal(message(&s->item)->priority, 4);
    assert_true(message(&s->item)->fail_fast);
    assert_true(str_eq(s->item.payload, STR("\x81\xa1n\x07")));
}

static void test_children_and_then(void **state) {
    struct scene *s = *state;
    assert_int_equal(describe(s, "{\"trace\":\"t-1\",\"children\":[{\"kind\":\"a\",\"payload\":"
                                 "{\"n\":1}},{\"kind\":\"b\",\"trace\":\"t-2\"}],"
                                 "\"then\":{\"kind\":\"c\"}}"),
                     0);
    assert_int_equal(s->item.n_children, 3);
    const struct client_item *at = s->item.children;
    assert_true(str_eq(message(&at[0])->kind, STR("a")));
    assert_true(str_eq(at[0].payload, STR("\x81\xa1n\x01")));
    assert_true(str_eq(message(&at[0])->trace, STR("t-1")));
    assert_false(MSG_HAS(message(&at[0]), submit, priority)); /* the options are the parent's */
    assert_true(str_eq(message(&at[1])->trace, STR("t-2")));
    assert_false(message(&at[1])->then);
    assert_true(message(&at[2])->then);
    assert_true(str_eq(message(&at[2])->kind, STR("c")));
}

static void test_wrong_descriptions(void **state) {
    struct scene *s = *state;
    static const struct {
        const char *text, *says;
    } wrong[] = {
        {"[]", "must be a JSON object with the keys of submit"},
        {"{\"payload\":[]}", "payload: must be a JSON object"},
        {"{\"prioritty\":1}", "did you mean 'priority'"},
        {"{\"priority\":12}", "priority"},
        {"{\"children\":{}}", "children: must be a list"},
        {"{\"children\":[1]}", "child 0: must be a JSON object"},
        {"{\"children\":[{\"kind\":\"a\"},{}]}", "child 1"},
        {"{\"children\":[{\"kind\":\"a\",\"children\":[]}]}", "child 0: a child has no children"},
        {"{\"children\":[{\"kind\":\"a\",\"then\":{\"kind\":\"b\"}}]}",
         "child 0: a child has no children"},
        {"{\"then\":{\"kind\":\"a\",\"children\":[]}}", "then: a child has no children"},
        {"{\"then\":1}", "then: must be a JSON object"},
        {"{\"then\":{\"kind\":\"a\",\"payload\":3}}", "then: payload: must be a JSON object"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(describe(s, wrong[i].text), -1);
        if (!strstr(s->e.text, wrong[i].says))
            fail_msg("%s: '%s' does not say '%s'", wrong[i].text, s->e.text, wrong[i].says);
    }
}

static void test_children_are_bounded(void **state) {
    struct scene *s = *state;
    json_auto_t *list = json_array(), *one = json_pack("{s:s}", "kind", "a");
    struct msg_submit m = {0};
    struct client_item parent = CLIENT_ITEM(&m, STR(""));
    for (int i = 0; i < DESCRIBE_CHILDREN_MAX; i++)
        json_array_append(list, one);
    assert_int_equal(describe_children(list, NULL, s->arena, &parent, &s->e), 0);
    assert_int_equal(parent.n_children, DESCRIBE_CHILDREN_MAX);
    assert_int_equal(describe_children(list, one, s->arena, &parent, &s->e), -1);
    assert_int_equal(s->e.code, ERR_TOO_LARGE);
    assert_string_equal(s->e.text, "children: 1001, at most 1000");
}

/* ---- what is shown -------------------------------------------------------------------------- */
static json_t *job(int n, const char *state) {
    char id[14];
    snprintf(id, sizeof id, "0000c%08d", n);
    return json_pack("{s:s, s:s, s:s, s:i}", "id", id, "state", state, "kind", "page", "attempts",
                     0);
}

static const char *shown_state(const json_t *parent, size_t i) {
    return out_text(json_array_get(json_object_get(parent, "children"), i), "state");
}

static void test_what_matters_comes_first(void **state) {
    (void)state;
    json_auto_t *parent = job(0, "done"), *children = json_array();
    for (int n = 1; n <= 1000; n++)
        json_array_append_new(children, job(n, n > 975 ? "ready" : "done"));
    json_array_append_new(children, job(1001, "dead"));
    json_array_append_new(children, job(1002, "running"));
    json_t *then = job(1003, "blocked"), *broken = job(1004, "done");
    json_object_set_new(then, "then", json_true());
    json_object_set_new(broken, "below", json_integer(3));
    json_object_set_new(broken, "below_dead", json_integer(1));
    json_array_append_new(children, then);
    json_array_append_new(children, broken);
    family_choose(parent, children);
    assert_int_equal(json_array_size(json_object_get(parent, "children")), FAMILY_LEVEL_MAX + 1);
    assert_string_equal(shown_state(parent, 0), "dead");
    assert_string_equal(shown_state(parent, 1), "done"); /* a job below it failed */
    assert_string_equal(shown_state(parent, 2), "running");
    assert_string_equal(shown_state(parent, 3), "ready");
    assert_string_equal(shown_state(parent, FAMILY_LEVEL_MAX), "blocked");
    const json_t *more = json_object_get(parent, "more");
    assert_int_equal(out_field(more, "count"), 983);
    assert_int_equal(out_field(more, "done"), 975);
    assert_int_equal(out_field(more, "ready"), 8);
    AUTO_BUF text = BUF(1 << 20);
    family_put(&text, parent);
    buf_putc(&text, '\0');
    assert_non_null(strstr(text.at, "  ├─ 0000c00001001 dead page\n"));
    assert_non_null(
        strstr(text.at, "  ├─ 0000c00001004 done page; 1 of 3 below it have ended, 1 failed\n"));
    assert_non_null(strstr(text.at, "  ├─ ... and 983 more: 8 ready, 975 done\n"
                                    "  └─ 0000c00001003 blocked page (then)\n"));
}

static void test_levels(void **state) {
    (void)state;
    json_auto_t *parent = job(0, "done"), *children = json_array(), *below = json_array();
    json_t *first = job(1, "running"), *last = job(2, "dead");
    json_object_set_new(first, "progress", json_integer(3));
    json_object_set_new(first, "progress_total", json_integer(10));
    json_object_set_new(last, "attempts", json_integer(2));
    json_object_set_new(last, "error", json_string("TIMEOUT"));
    json_object_set_new(last, "text", json_string("it took\ntoo long"));
    json_array_append_new(below, job(3, "done"));
    json_array_append_new(children, first);
    json_array_append_new(children, last);
    family_choose(last, below);
    family_choose(parent, children);
    AUTO_BUF text = BUF(1 << 16);
    family_put(&text, parent);
    buf_putc(&text, '\0');
    assert_string_equal(text.at,
                        "  ├─ 0000c00000002 dead page, failed 2 times, TIMEOUT: it took too long\n"
                        "  │  └─ 0000c00000003 done page\n"
                        "  └─ 0000c00000001 running page, 3 of 10\n");
}

static void test_past_retention(void **state) {
    (void)state;
    json_auto_t *parent = job(0, "done");
    json_object_set_new(parent, "children", json_array());
    json_object_set_new(parent, "more", json_pack("{s:i}", "gone", 7));
    AUTO_BUF text = BUF(1 << 16);
    family_put(&text, parent);
    buf_putc(&text, '\0');
    assert_string_equal(text.at, "  └─ ... 7 past retention\n");
}

static void test_how_a_flow_goes(void **state) {
    (void)state;
    struct client_flow f = {.id = 7, .total = 40, .done = 11, .dead = 1, .state = 6};
    struct err e = {0};
    AUTO_BUF text = BUF(1024);
    flow_put(&text, &f);
    buf_putc(&text, '\0');
    assert_string_equal(text.at, "12 of 40 jobs below it have ended, 1 dead");
    assert_true(flow_has_failed(&f));
    f.dead = 0;
    assert_false(flow_has_failed(&f));
    f.settled = true;
    json_auto_t *json = flow_json(&f, &e);
    assert_int_equal(out_field(json, "total"), 40);
    assert_string_equal(out_text(json, "state"), "done");
    assert_true(out_flag(json, "settled"));
    assert_int_equal(out_cut(STR("├─ ab"), 4), 8);
    assert_int_equal(out_cut(STR("ab"), 4), 2);
}

#define SCENE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        SCENE(test_a_line_wins_over_the_options),
        SCENE(test_children_and_then),
        SCENE(test_wrong_descriptions),
        SCENE(test_children_are_bounded),
        cmocka_unit_test(test_what_matters_comes_first),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_past_retention),
        cmocka_unit_test(test_how_a_flow_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
