/* Settings that are good: the table itself, round trips, precedence, entries, comparison. */
#include "common/base/mem.h"
#include "common/config/config_int.h"
#include "tests/support/config_help.h"
#include "tests/support/settings_doc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static char *const no_env[] = {NULL};

#define DIGITS "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* A value other than the default, and what else must then be given, where the general rule of
 * sample_of would break a relation. */
static const struct special {
    enum setting id;
    const char *value;
    enum setting with; /* what must be given too, or SETTINGS_ROWS */
    const char *with_value;
} specials[] = {
    {SETTING_broker_batch_bytes_max, "2MiB", SETTINGS_ROWS, NULL},
    {SETTING_journal_batch_bytes, "16MiB", SETTINGS_ROWS, NULL},
    {SETTING_defaults_backoff, "2s", SETTINGS_ROWS, NULL},
    {SETTING_defaults_backoff_max, "1h", SETTINGS_ROWS, NULL},
    {SETTING_kinds_backoff, "2s", SETTINGS_ROWS, NULL},
    {SETTING_kinds_backoff_max, "1h", SETTINGS_ROWS, NULL},
    {SETTING_pools_processes_min, "2", SETTINGS_ROWS, NULL},
    {SETTING_pools_processes_max, "7", SETTINGS_ROWS, NULL},
    {SETTING_pools_restart_backoff, "1s", SETTINGS_ROWS, NULL},
    {SETTING_pools_restart_backoff_max, "1m", SETTINGS_ROWS, NULL},
    {SETTING_queues_burst, "9", SETTING_queues_rate, "5/m"},
    {SETTING_tenants_burst, "9", SETTING_tenants_rate, "5/m"},
    {SETTING_keys_public, DIGITS, SETTING_keys_role, "worker"},
    {SETTING_keys_role, "operator", SETTING_keys_public, DIGITS},
};

static const char *const by_type[SETTINGS_TYPES] = {
    [SETTINGS_BOOL] = "true",
    [SETTINGS_TEXT] = "python3 \"a b.py\" \\ $x '#'",
    [SETTINGS_NAME] = "n.a:m-e_1",
    [SETTINGS_NAMES] = "null, a:b, c",
    [SETTINGS_PATH] = "/srv/dé # x: y",
    [SETTINGS_ENDPOINT] = "tcp://[::1]:5555",
    [SETTINGS_LISTEN] = "[::]:9464",
    [SETTINGS_DURABILITY] = "async",
    [SETTINGS_LOG_LEVEL] = "debug",
    [SETTINGS_LOG_FORMAT] = "text",
    [SETTINGS_TENANT] = "*",
};

static struct special sample_of(enum setting id) {
    for (size_t i = 0; i < sizeof specials / sizeof specials[0]; i++)
        if (specials[i].id == id)
            return specials[i];
    const struct settings_row *row = settings_row(id);
    const char *value = by_type[row->type];
    if (!value)
        value = strcmp(row->max, row->fallback) != 0 ? row->max : row->min;
    return (struct special){id, value, SETTINGS_ROWS, NULL};
}

static void put_quoted(struct buf *out, const char *text) {
    for (buf_putc(out, '"'); *text; text++) {
        if (*text == '"' || *text == '\\')
            buf_putc(out, '\\');
        buf_putc(out, *text);
    }
    buf_putc(out, '"');
}

/* A file that begins the setting's section, and an entry of it where it is named. */
static void begin_file(struct buf *out, enum setting id) {
    const struct settings_section *section = settings_section(settings_row(id)->section);
    buf_printf(out, "%s:\n%s", section->name, section->named ? "  web-1:\n" : "");
}

static void put_line(struct buf *out, enum setting id, const char *value) {
    const struct settings_row *row = settings_row(id);
    buf_printf(out, "%s%s: ", settings_section(row->section)->named ? "    " : "  ", row->key);
    put_quoted(out, value);
    buf_putc(out, '\n');
}

static struct settings *load_buf(struct buf *yaml, char *const *envp) {
    buf_putc(yaml, '\0');
    return config_good(yaml->at, envp);
}

/* ---- the table ---- */

static void every_default_is_within_its_bounds(void **state) {
    (void)state;
    struct arena *arena = arena_new(1U << 20);
    for (enum setting id = 0; id < SETTINGS_ROWS; id++) {
        const struct settings_row *row = settings_row(id);
        enum setting from = config_fallback(row->fallback);
        if (from != SETTINGS_ROWS) {
            /* Inherited: the source must be of the same type and have the same bounds. */
            const struct settings_row *source = settings_row(from);
            assert_int_equal(source->type, row->type);
            assert_string_equal(source->min, row->min);
            assert_string_equal(source->max, row->max);
            continue;
        }
        void *instance = arena_alloc(arena, config_instance_size(row->section));
        struct err e = {0};
        if (config_value_read(row, str_of(row->fallback), arena, instance, &e) < 0)
            fail_msg("%s: %s", row->key, e.text);
    }
    arena_destroy(&arena);
}

static void every_row_has_its_words(void **state) {
    (void)state;
    for (enum setting id = 0; id < SETTINGS_ROWS; id++) {
        const struct settings_row *row = settings_row(id);
        assert_true(strlen(row->doc) > 10);
        assert_int_equal(row->doc[strlen(row->doc) - 1], '.');
        assert_null(strchr(row->doc, '|'));
        assert_true(str_is_name(str_of(row->key), 40));
        assert_int_equal(config_find_row(row->section, str_of(row->key)), id);
        assert_non_null(settings_type_words(row->type));
    }
}

/* A relation compares numbers, between plain sections or within one entry. */
static void relations_are_of_one_kind(void **state) {
    (void)state;
    for (size_t i = 0; i < config_relations_count; i++) {
        const struct settings_row *left = settings_row(config_relations[i].left);
        const struct settings_row *right = settings_row(config_relations[i].right);
        if (config_relations[i].rule == RELATION_NOT_OVER)
            assert_int_equal(left->type, right->type);
        if (settings_section(left->section)->named || settings_section(right->section)->named)
            assert_int_equal(left->section, right->section);
    }
}

/* ---- every setting there and back ---- */

struct seen {
    enum setting id;
    bool live, found;
    size_t others;
};

static void see(void *ctx, const struct settings_change *change) {
    struct seen *seen = ctx;
    if (change->id == seen->id && !seen->found) {
        seen->found = true;
        seen->live = change->live;
    } else if (change->what == SETTINGS_CHANGED) {
        seen->others++;
    }
}

static void expect_same(const struct settings *a, const struct settings *b) {
    assert_int_equal(settings_diff(a, b, NULL, NULL), 0);
}

/* Printed as a file it loads to the same. */
static void expect_yaml_round_trip(const struct settings *s) {
    for (int docs = 0; docs < 2; docs++) {
        AUTO_BUF text = BUF(SETTINGS_PAGE_MAX);
        assert_int_equal(settings_show_yaml(s, docs, &text), 0);
        buf_putc(&text, '\0');
        AUTO_SETTINGS again = config_good(text.at, no_env);
        expect_same(s, again);
    }
}

static void expect_only_change(const struct settings *before, const struct settings *after,
                               const struct special *sample) {
    struct seen seen = {.id = sample->id};
    config_expect(after, sample->id, 0, sample->value);
    size_t changes = settings_diff(before, after, see, &seen);
    assert_int_equal(changes, seen.others + 1);
    assert_true(seen.found);
    assert_int_equal(seen.live, settings_row(sample->id)->live);
    assert_int_equal(seen.others, sample->with != SETTINGS_ROWS);
    expect_yaml_round_trip(after);
}

static void every_setting_goes_there_and_back(void **state) {
    (void)state;
    for (enum setting id = 0; id < SETTINGS_ROWS; id++) {
        struct special sample = sample_of(id);
        AUTO_BUF without = BUF(4096);
        AUTO_BUF with = BUF(4096);
        begin_file(&without, id);
        begin_file(&with, id);
        put_line(&with, id, sample.value);
        if (sample.with != SETTINGS_ROWS)
            put_line(&with, sample.with, sample.with_value);
        AUTO_SETTINGS before = load_buf(&without, no_env);
        AUTO_SETTINGS after = load_buf(&with, no_env);
        expect_only_change(before, after, &sample);
        assert_int_equal(settings_origin(after, id, 0).from, SETTINGS_FROM_FILE);
        assert_int_equal(settings_origin(before, id, 0).from, SETTINGS_FROM_DEFAULT);
    }
}

/* QUERN_<SECTION>_<KEY> or QUERN_<SECTION>_<NAME>_<KEY>, written here on its own. */
static char *variable(enum setting id, const char *value) {
    const struct settings_row *row = settings_row(id);
    const struct settings_section *section = settings_section(row->section);
    AUTO_BUF text = BUF(4096);
    buf_printf(&text, "QUERN_%s_%s%s", section->name, section->named ? "WEB_1_" : "", row->key);
    for (size_t i = 0; i < text.len; i++)
        if (text.at[i] >= 'a' && text.at[i] <= 'z')
            text.at[i] = (char)(text.at[i] - 'a' + 'A');
    buf_printf(&text, "=%s%c", value, '\0');
    return mem_strdup(text.at);
}

static void every_setting_has_a_variable(void **state) {
    (void)state;
    for (enum setting id = 0; id < SETTINGS_ROWS; id++) {
        struct special sample = sample_of(id);
        AUTO_BUF file = BUF(4096);
        begin_file(&file, id);
        AUTO_FREE char *first = variable(id, sample.value);
        AUTO_FREE char *second =
            sample.with == SETTINGS_ROWS ? NULL : variable(sample.with, sample.with_value);
        char *const env[] = {"HOME=/", first, second, NULL};
        AUTO_SETTINGS before = load_buf(&file, no_env);
        AUTO_SETTINGS after = config_good(file.at, env);
        expect_only_change(before, after, &sample);
        assert_int_equal(settings_origin(after, id, 0).from, SETTINGS_FROM_ENV);
    }
}

/* ---- the generated pages ---- */

static void committed_pages_are_those_of_the_table(void **state) {
    (void)state;
    for (const struct settings_page *page = settings_pages(); page->name; page++) {
        AUTO_BUF wanted = BUF(SETTINGS_PAGE_MAX);
        page->write(&wanted);
        assert_false(wanted.failed);
        AUTO_BUF committed = BUF(SETTINGS_PAGE_MAX);
        AUTO_BUF path = BUF(4096);
        buf_printf(&path, "%s/%s%c", QUERN_SOURCE_DIR, page->path, '\0');
        config_read_file(path.at, &committed);
        if (!str_eq(buf_str(&wanted), buf_str(&committed)))
            fail_msg("%s differs from the settings table. Regenerate it:\n"
                     "    %s/settings_doc %s > %s",
                     page->path, QUERN_BIN_DIR, page->name, page->path);
    }
}

/* Examples in comments: "# queues:" and what is indented below it. */
static void put_uncommented(struct buf *out, struct str line) {
    bool head = line.len > 3 && str_starts(line, STR("# ")) && line.at[line.len - 2] == ':';
    if (head || str_starts(line, STR("#   ")))
        line = str_make(line.at + 2, line.len - 2);
    buf_put_str(out, line);
}

static void the_committed_file_holds_the_defaults(void **state) {
    (void)state;
    AUTO_BUF yaml = BUF(SETTINGS_PAGE_MAX);
    config_read_file(QUERN_SOURCE_DIR "/config/quern.yaml", &yaml);
    AUTO_BUF whole = BUF(SETTINGS_PAGE_MAX);
    struct str rest = buf_str(&yaml);
    while (rest.len) {
        const char *end = memchr(rest.at, '\n', rest.len);
        size_t n = end ? (size_t)(end - rest.at) + 1 : rest.len;
        put_uncommented(&whole, str_make(rest.at, n));
        rest = str_make(rest.at + n, rest.len - n);
    }
    AUTO_SETTINGS s = load_buf(&yaml, no_env);
    AUTO_SETTINGS defaults = config_good("", no_env);
    expect_same(s, defaults);
    AUTO_SETTINGS examples = load_buf(&whole, no_env);
    AUTO_SETTINGS listed = config_good("keys: {example: }\nqueues: {example: }\n"
                                       "tenants: {example: }\n"
                                       "kinds: {example: }\n",
                                       no_env);
    expect_same(examples, listed);
    for (enum setting id = 0; id < SETTINGS_ROWS; id++)
        assert_int_equal(settings_origin(examples, id, 0).from, SETTINGS_FROM_FILE);
}

/* ---- values ---- */

static void values_are_in_their_fields(void **state) {
    (void)state;
    AUTO_SETTINGS s =
        config_good("broker: {heartbeat: 1500ms, body_max: 64KiB, ops_listen: \"localhost:0\"}\n"
                    "log: {level: warn}\n"
                    "queues:\n"
                    "  chat: {rate: 30/m, burst: 3, paused: on}\n"
                    "kinds:\n"
                    "  answer: {may_spawn: [summarize, index], ttl: 2m}\n"
                    "pools:\n"
                    "  py: {command: python3 w.py, memory_max: 512MiB}\n",
                    no_env);
    assert_int_equal(s->broker.heartbeat_ms, 1500);
    assert_int_equal(s->broker.body_max, 65536);
    assert_int_equal(s->log.level, SETTINGS_LOG_WARN);
    const struct settings_queue *chat = settings_find_queue(s, STR("chat"));
    assert_int_equal(chat->rate.count, 30);
    assert_int_equal(chat->rate.per_ms, 60000);
    assert_int_equal(chat->burst, 3);
    assert_true(chat->paused);
    const struct settings_kind *answer = settings_find_kind(s, STR("answer"));
    assert_int_equal(answer->may_spawn.count, 2);
    assert_string_equal(answer->may_spawn.at[1].at, "index");
    assert_int_equal(answer->ttl_ms, 120000);
    const struct settings_pool *py = settings_find_pool(s, STR("py"));
    assert_string_equal(py->command.at, "python3 w.py");
    assert_int_equal(py->memory_max, 512U << 20);
    assert_null(settings_find_pool(s, STR("default")));
}

static void without_a_file_there_is_one_pool(void **state) {
    (void)state;
    static const char *const empty[] = {"",         "\n# nothing\n", "---\n",
                                        "pools:\n", "pools: {}\n",   "\357\273\277broker:\n"};
    for (size_t i = 0; i < sizeof empty / sizeof empty[0]; i++) {
        AUTO_SETTINGS s = config_good(empty[i], no_env);
        assert_int_equal(s->pools.count, 1);
        const struct settings_pool *pool = settings_find_pool(s, STR("default"));
        assert_non_null(pool);
        assert_int_equal(pool->kinds.count, 0);
        assert_int_equal(pool->memory_max, 0);
        assert_int_equal(s->queues.count, 0);
        assert_null(settings_find_queue(s, STR("default")));
    }
    struct settings *s;
    struct err_list errors = {0};
    assert_int_equal(settings_load(NULL, NULL, &s, &errors), 0);
    assert_int_equal(s->pools.count, 1);
    settings_destroy(&s);
    assert_null(s);
    settings_destroy(&s);
}

static void entries_are_sorted_and_inherit(void **state) {
    (void)state;
    AUTO_SETTINGS s = config_good("kinds:\n  c: {timeout: 1m}\n  a:\n  b: {timeout: 2m}\n"
                                  "defaults: {timeout: 9s, ttl: 1h}\n",
                                  no_env);
    assert_int_equal(s->kinds.count, 3);
    static const char *const names[] = {"a", "b", "c"};
    static const uint64_t timeouts[] = {9000, 120000, 60000};
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(s->kinds.at[i].name.at, names[i]);
        assert_ptr_equal(settings_find_kind(s, str_of(names[i])), &s->kinds.at[i]);
        assert_int_equal(s->kinds.at[i].timeout_ms, timeouts[i]);
        assert_int_equal(s->kinds.at[i].ttl_ms, 3600000);
    }
    assert_int_equal(s->kinds.usual.timeout_ms, 9000);
    assert_int_equal(settings_origin(s, SETTING_kinds_timeout, 0).from, SETTINGS_FROM_DEFAULT);
    assert_int_equal(settings_origin(s, SETTING_kinds_timeout, 2).line, 2);
    config_expect(s, SETTING_kinds_timeout, SETTINGS_USUAL, "9s");
    assert_int_equal(settings_entries(s, SETTINGS_SECTION_kinds), 3);
    assert_int_equal(settings_entries(s, SETTINGS_SECTION_broker), 1);
    assert_int_equal(settings_entry_name(s, SETTINGS_SECTION_broker, 0).len, 0);
}

static void many_entries_fit(void **state) {
    (void)state;
    AUTO_BUF yaml = BUF(SETTINGS_FILE_MAX);
    buf_put_str(&yaml, STR("tenants:\n"));
    for (unsigned i = 0; i < SETTINGS_ENTRIES_MAX; i++)
        buf_printf(&yaml, "  t%u: {weight: %u}\n", i, i % 1000 + 1);
    AUTO_SETTINGS s = load_buf(&yaml, no_env);
    assert_int_equal(s->tenants.count, SETTINGS_ENTRIES_MAX);
    assert_int_equal(settings_find_tenant(s, STR("t777"))->weight, 778);
}

/* ---- precedence, and variables in values ---- */

static void the_environment_wins_over_the_file(void **state) {
    (void)state;
    char *const env[] = {"QUERN_BROKER_HEARTBEAT=3s",
                         "QUERN_POOLS_WEB_PAGES_SLOTS=9",
                         "QUERN_POOLS_WEB_PAGES_KINDS=",
                         "QUERN_DATA=/x",
                         "QUERN_ADMIN_SECRET=s",
                         "QUERN_CI_ANYTHING=1",
                         "QUERNBROKER=1",
                         "QUERN_FUZZ",
                         NULL};
    AUTO_SETTINGS s = config_good("broker: {heartbeat: 2s, heartbeats_missed: 4}\n"
                                  "pools: {web-pages: {slots: 2, kinds: [a, b]}}\n",
                                  env);
    config_expect(s, SETTING_broker_heartbeat, 0, "3s");
    config_expect(s, SETTING_broker_heartbeats_missed, 0, "4");
    config_expect(s, SETTING_pools_slots, 0, "9");
    config_expect(s, SETTING_pools_kinds, 0, "");
    assert_int_equal(settings_origin(s, SETTING_broker_heartbeat, 0).from, SETTINGS_FROM_ENV);
    assert_int_equal(settings_origin(s, SETTING_broker_heartbeats_missed, 0).line, 1);
    char *const pool[] = {"QUERN_POOLS_DEFAULT_PROCESSES_MAX=8", NULL};
    AUTO_SETTINGS implicit = config_good("", pool);
    assert_int_equal(implicit->pools.at[0].processes_max, 8);
}

static void variables_are_expanded(void **state) {
    (void)state;
    static const struct {
        const char *value, *text;
    } cases[] = {
        {"'${A}'", "one"},           {"${A}${A}", "oneone"},
        {"x${EMPTY}y", "xy"},        {"${EMPTY:-d}", "d"},
        {"${NONE:-a b:c}", "a b:c"}, {"${NONE:-}x", "x"},
        {"\"$${A}\"", "${A}"},       {"$A $ $$ {A}", "$A $ $$ {A}"},
        {"'$$${A}'", "$${A}"},       {"${A:-$b}", "one"},
        {"${_a1}", "low"},           {"${AA:-${A}", "${A"},
    };
    char *const env[] = {"A=one", "EMPTY=", "_a1=low", NULL};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        AUTO_BUF yaml = BUF(4096);
        buf_printf(&yaml, "pools: \n  p:\n    command: %s\n", cases[i].value);
        AUTO_SETTINGS s = load_buf(&yaml, env);
        config_expect(s, SETTING_pools_command, 0, cases[i].text);
        expect_yaml_round_trip(s);
    }
    AUTO_SETTINGS number = config_good("broker: {workers_max: '${N:-12}'}", env);
    assert_int_equal(number->broker.workers_max, 12);
}

/* ---- comparison ---- */

static void note(void *ctx, const struct settings_change *change) {
    settings_change_show(change, ctx);
    buf_put_str(ctx, change->live ? STR(" live\n") : STR(" restart\n"));
}

static void a_comparison_names_what_changed(void **state) {
    (void)state;
    AUTO_SETTINGS old = config_good("queues: {a: , b: {concurrency: 1}, d: }\n"
                                    "broker: {workers_max: 7}\n",
                                    no_env);
    AUTO_SETTINGS new = config_good("queues: {b: {concurrency: 2}, c: , d: }\n"
                                    "journal: {segment_size: 128MiB}\n"
                                    "pools: {other: }\n",
                                    no_env);
    AUTO_BUF text = BUF(4096);
    assert_int_equal(settings_diff(old, new, note, &text), 7);
    buf_putc(&text, '\0');
    assert_string_equal(text.at, "broker.workers_max live\n"
                                 "journal.segment_size restart\n"
                                 "queues.a removed live\n"
                                 "queues.b.concurrency live\n"
                                 "queues.c added live\n"
                                 "pools.default removed restart\n"
                                 "pools.other added restart\n");
    expect_same(old, old);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_default_is_within_its_bounds),
        cmocka_unit_test(every_row_has_its_words),
        cmocka_unit_test(relations_are_of_one_kind),
        cmocka_unit_test(every_setting_goes_there_and_back),
        cmocka_unit_test(every_setting_has_a_variable),
        cmocka_unit_test(committed_pages_are_those_of_the_table),
        cmocka_unit_test(the_committed_file_holds_the_defaults),
        cmocka_unit_test(values_are_in_their_fields),
        cmocka_unit_test(without_a_file_there_is_one_pool),
        cmocka_unit_test(entries_are_sorted_and_inherit),
        cmocka_unit_test(many_entries_fit),
        cmocka_unit_test(the_environment_wins_over_the_file),
        cmocka_unit_test(variables_are_expanded),
        cmocka_unit_test(a_comparison_names_what_changed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
