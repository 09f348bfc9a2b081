/* Configurations that are refused: what each error says, and that all of them are said. */
#include "common/config/nearest.h"
#include "tests/support/config_help.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

struct refusal {
    const char *yaml;
    const char *errors[5];
};

static void expect_refusals(const struct refusal *refusals, size_t n) {
    for (size_t i = 0; i < n; i++)
        config_refused(refusals[i].yaml, NULL, refusals[i].errors);
}

static void unknown_keys_are_named_with_the_nearest(void **state) {
    (void)state;
    static const struct refusal refusals[] = {
        {"broker:\n  heartbeet: 1s\n",
         {"q.yaml:2: broker.heartbeet: no such setting; did you mean heartbeat"}},
        {"brokre:\n  heartbeat: 1s\n", {"q.yaml:1: brokre: no such section; did you mean broker"}},
        {"a: {b: {c: [d, {e: f}]}}\nzzzzzzzzz: 1\nbroker: {zzzzzzzzz: {a: [1]}, heartbeat: x}\n",
         {"q.yaml:1: a: no such section", "q.yaml:2: zzzzzzzzz: no such section",
          "q.yaml:3: broker.zzzzzzzzz: no such setting",
          "q.yaml:3: broker.heartbeat: 'x' is not a duration: a whole number and ms, s, m, h or "
          "d"}},
        {"pools:\n  p:\n    slot: 1\n",
         {"q.yaml:3: pools.p.slot: no such setting; did you mean slots"}},
        {"\"a\\e[31m\\n\": 1\n", {"q.yaml:1: a?[31m?: no such section"}},
    };
    expect_refusals(refusals, COUNT(refusals));
}

static void values_are_checked(void **state) {
    (void)state;
    static const struct refusal refusals[] = {
        {"broker:\n  heartbeat: 11m\n",
         {"q.yaml:2: broker.heartbeat: 11m is out of bounds: 10ms to 10m"}},
        {"broker:\n  heartbeat: 9ms\n",
         {"q.yaml:2: broker.heartbeat: 9ms is out of bounds: 10ms to 10m"}},
        {"broker:\n  heartbeat: 5 parsecs\n",
         {"q.yaml:2: broker.heartbeat: 'parsecs' is not a unit of a duration: use ms, s, m, h or "
          "d"}},
        {"broker: {heartbeat: 99999999999999999999d}",
         {"q.yaml:1: broker.heartbeat: '99999999999999999999d' is not a duration: a whole number "
          "and ms, s, m, h or d"}},
        {"broker: {workers_max: 1e3, body_max: 2MiB}",
         {"q.yaml:1: broker.workers_max: '1e3' is not a whole number",
          "q.yaml:1: broker.body_max: 2MiB is out of bounds: 1KiB to 1MiB"}},
        {"broker: {workers_max: -1}", {"q.yaml:1: broker.workers_max: '-1' is not a whole number"}},
        {"defaults: {ttl: 0s}",
         {"q.yaml:1: defaults.ttl: 0s is out of bounds: 1ms to 3650d, or none"}},
        {"pools: {p: {memory_max: 1}}",
         {"q.yaml:1: pools.p.memory_max: 1 is out of bounds: 64MiB to 1024GiB, or none"}},
        {"log: {level: inof}",
         {"q.yaml:1: log.level: 'inof' is none of error, warn, info, debug; did you mean info"}},
        {"log: {format: xml}", {"q.yaml:1: log.format: 'xml' is none of json, text"}},
        {"queues: {q: {paused: maybe}}",
         {"q.yaml:1: queues.q.paused: 'maybe' is not true or false"}},
        {"kinds: {k: {queue: 'a b'}}",
         {"q.yaml:1: kinds.k.queue: 'a b' is not a name: 1 to 64 of A-Z a-z 0-9 . _ : -, not "
          "beginning with . or -"}},
        {"kinds: {k: {may_spawn: [a, b, a]}}",
         {"q.yaml:1: kinds.k.may_spawn: 'a' is listed twice"}},
        {"kinds: {k: {may_spawn: ['']}}",
         {"q.yaml:1: kinds.k.may_spawn: '' is not a name: 1 to 64 of A-Z a-z 0-9 . _ : -, not "
          "beginning with . or -"}},
        {"pools: {p: {command: \"a\\nb\"}}",
         {"q.yaml:1: pools.p.command: 'a?b' has a line break or another control character"}},
    };
    expect_refusals(refusals, COUNT(refusals));
}

static void rates_are_checked(void **state) {
    (void)state;
    static const char *const bad[] = {"100",  "/s",    "1/",   "1/w",  "1 / s",
                                      "-1/s", "1.5/s", "1/s/", "1/ms", "5000000000/s"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        char yaml[100], error[200];
        snprintf(yaml, sizeof yaml, "queues: {q: {rate: '%s'}}", bad[i]);
        snprintf(
            error, sizeof error,
            "q.yaml:1: queues.q.rate: '%s' is not a rate: a whole number and /s, /m, /h or /d, "
            "or none",
            bad[i]);
        config_refused(yaml, NULL, (const char *[]){error, NULL});
    }
    static const struct refusal refusals[] = {
        {"queues: {q: {rate: 0/s}}",
         {"q.yaml:1: queues.q.rate: 0/s is out of bounds: 1/d to 1000000/s, or none"}},
        {"queues: {q: {rate: 1000001/s}}",
         {"q.yaml:1: queues.q.rate: 1000001/s is out of bounds: 1/d to 1000000/s, or none"}},
        {"queues: {q: {burst: 2}}",
         {"q.yaml:1: queues.q.burst (2) is of no use with queues.q.rate (none): a burst is a "
          "property "
          "of a rate"}},
    };
    expect_refusals(refusals, COUNT(refusals));
}

/* P-3 */
#define OPEN                                                                                       \
    " can be reached from other hosts, which needs keys: make one with quern keygen --server and " \
    "name its file in broker.key_file, or use 127.0.0.0/8 or [::1]"

static void addresses_are_checked(void **state) {
    (void)state;
    static const char *const bad[] = {
        "127.0.0.1:1",  "tcp://127.0.0.1",      "tcp://127.0.0.1:",  "tcp://127.0.0.1:0",
        "tcp://:80",    "tcp://127.1:80",       "tcp://*:80",        "tcp://127.0.0.1:65536",
        "tcp://::1:80", "tcp://[127.0.0.1]:80", "tcp://localhost:1", "tcp://[::1]",
        "ipc:///tmp/x", "tcp://127.0.0.1:80 ",
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        char yaml[100], error[ERR_TEXT_MAX];
        snprintf(yaml, sizeof yaml, "broker: {tcp_client: '%s'}", bad[i]);
        snprintf(
            error, sizeof error,
            "q.yaml:1: broker.tcp_client: '%s' is not tcp://ADDRESS:PORT with an IPv4 address or "
            "an IPv6 address in brackets, and a port of 1 to 65535 or * for any free one",
            bad[i]);
        config_refused(yaml, NULL, (const char *[]){error, NULL});
    }
    static const struct refusal refusals[] = {
        {"broker: {tcp_worker: 'tcp://0.0.0.0:80', tcp_gateway: 'tcp://[::]:80'}",
         {"q.yaml:1: broker.tcp_worker: 'tcp://0.0.0.0:80'" OPEN,
          "q.yaml:1: broker.tcp_gateway: 'tcp://[::]:80'" OPEN}},
        {"streams: {tcp_reader: 'tcp://10.0.0.1:80'}",
         {"q.yaml:1: streams.tcp_reader: 'tcp://10.0.0.1:80'" OPEN}},
        {"broker: {ops_listen: '9464'}",
         {"q.yaml:1: broker.ops_listen: '9464' is neither off nor HOST:PORT (an IPv6 address in "
          "brackets, a "
          "port "
          "of 0 to 65535)"}},
        {"broker: {ops_listen: '::1:9464'}",
         {"q.yaml:1: broker.ops_listen: '::1:9464' is neither off nor HOST:PORT (an IPv6 address "
          "in brackets, "
          "a "
          "port of 0 to 65535)"}},
    };
    expect_refusals(refusals, COUNT(refusals));
    AUTO_SETTINGS s = config_good("broker: {tcp_client: 'tcp://127.9.0.1:*', tcp_worker: "
                                  "'tcp://[::1]:65535', ops_listen: 'db-1.example:0'}",
                                  NULL);
    config_expect(s, SETTING_broker_tcp_client, 0, "tcp://127.9.0.1:*");
}

#define DIGITS    "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"
#define LOWER     "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define NOT_A     " characters that are not a key, which is 64 digits of 0-9 a-f"
#define NO_TENANT "is missing: the tenant that it sees and submits for, or * for all"

static void keys_are_checked(void **state) {
    (void)state;
    static const struct refusal refusals[] = {
        {"keys: {a: {public: " DIGITS "0, role: worker}}", {"q.yaml:1: keys.a.public: 65" NOT_A}},
        {"keys: {a: {public: g0112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF, "
         "role: worker}}",
         {"q.yaml:1: keys.a.public: 64" NOT_A}},
        {"keys: {a: {role: worker}}",
         {"q.yaml:1: keys.a.public: is missing: the 64 digits that quern keygen prints"}},
        {"\nkeys:\n  a:\n    public: " DIGITS,
         {"q.yaml:4: keys.a.role: is missing: client, worker, gateway or operator"}},
        {"keys: {a: {public: " DIGITS ", role: clint}}",
         {"q.yaml:1: keys.a.role: 'clint' is none of none, client, worker, gateway, operator; did "
          "you mean client"}},
        {"keys: {a: {public: " DIGITS ", role: client}}", {"q.yaml:1: keys.a.tenant: " NO_TENANT}},
        {"keys: {a: {public: " DIGITS ", role: gateway, tenant: -x}}",
         {"q.yaml:1: keys.a.tenant: '-x' is not a name: 1 to 64 of A-Z a-z 0-9 . _ : -, not "
          "beginning with . or -"}},
        {"keys: {a: {public: " DIGITS ", role: worker, tenant: acme}}",
         {"q.yaml:1: keys.a.tenant: a worker gets jobs of all tenants, and an operator sees them: "
          "leave it out, or write *"}},
        {"keys: {a: {public: " DIGITS ", role: operator, kinds: [echo]}}",
         {"q.yaml:1: keys.a.kinds: only a worker runs kinds: leave it out"}},
        {"keys: {a: {public: " DIGITS ", role: operator}, b: {public: " LOWER ", role: worker}}",
         {"q.yaml:1: keys.b.public: is that of a too: a key is one peer's, with one role"}},
    };
    expect_refusals(refusals, COUNT(refusals));
    AUTO_SETTINGS s =
        config_good("broker: {tcp_client: 'tcp://0.0.0.0:7000', key_file: /etc/quern/server.key}\n"
                    "keys: {a: {public: " DIGITS ", role: client, tenant: '*'}}",
                    NULL);
    config_expect(s, SETTING_keys_public, 0, LOWER);
    config_expect(s, SETTING_keys_tenant, 0, "*");
}

static void shapes_are_checked(void **state) {
    (void)state;
    static const struct refusal refusals[] = {
        {"[a]", {"q.yaml:1: expected sections, such as 'broker:'"}},
        {"broker", {"q.yaml:1: expected sections, such as 'broker:'"}},
        {"broker: [a, b]", {"q.yaml:1: broker: expected lines of KEY: VALUE"}},
        {"broker: 5", {"q.yaml:1: broker: expected lines of KEY: VALUE"}},
        {"queues: [a]", {"q.yaml:1: queues: expected names, and lines of KEY: VALUE below each"}},
        {"queues:\n  a: 5\n", {"q.yaml:2: queues.a: expected lines of KEY: VALUE"}},
        {"broker:\n  heartbeat: [1s]\n  reply_keep: {a: b}\n  aging_wait:\n  aging_share: ~\n",
         {"q.yaml:2: broker.heartbeat: expected a duration, not a list",
          "q.yaml:3: broker.reply_keep: expected a duration, not a section",
          "q.yaml:4: broker.aging_wait: expected a duration, not nothing (remove the line for the "
          "default)",
          "q.yaml:5: broker.aging_share: expected a number, not nothing (remove the line for the "
          "default)"}},
        {"kinds:\n  k:\n    may_spawn:\n    - [a]\n    - {b: c}\n",
         {"q.yaml:4: kinds.k.may_spawn: each element must be a name",
          "q.yaml:5: kinds.k.may_spawn: each element must be a name"}},
        {"? [a, b]\n: c\nbroker: {? {x: y} : z}\n",
         {"q.yaml:1: the file: a key must be plain text",
          "q.yaml:3: broker: a key must be plain text"}},
    };
    expect_refusals(refusals, COUNT(refusals));
}

static void nothing_may_be_given_twice(void **state) {
    (void)state;
    static const struct refusal refusals[] = {
        {"broker:\n  heartbeat: 1s\n  workers_max: 5\n  heartbeat: 2s\n",
         {"q.yaml:4: broker.heartbeat: given twice, first in line 2"}},
        {"broker: {heartbeat: x, heartbeat: 1s}",
         {"q.yaml:1: broker.heartbeat: 'x' is not a duration: a whole number and ms, s, m, h or d",
          "q.yaml:1: broker.heartbeat: given twice, first in line 1"}},
        {"broker:\nlog: {level: info}\nbroker: {zzz: 1}\n",
         {"q.yaml:3: broker: given twice, first in line 1"}},
        {"queues:\n  a: {burst: 0}\n  b:\n  a: {zzz: 1}\n", {"q.yaml:4: queues.a: given twice"}},
    };
    expect_refusals(refusals, COUNT(refusals));
}

#define SHORTHAND ": anchors, aliases and tags are not allowed: write the value out"

static void shorthand_is_refused(void **state) {
    (void)state;
    static const struct refusal refusals[] = {
        {"broker: &b {heartbeat: 1s}\nlog: *b\n",
         {"q.yaml:1: &b" SHORTHAND, "q.yaml:2: *b" SHORTHAND}},
        {"broker: {heartbeat: &h 1s, reply_keep: *h}",
         {"q.yaml:1: &h" SHORTHAND, "q.yaml:1: *h" SHORTHAND}},
        {"queues: {q: &q {paused: on}, r: *q}",
         {"q.yaml:1: &q" SHORTHAND, "q.yaml:1: *q" SHORTHAND}},
        {"log: {level: !!str info}", {"q.yaml:1: tag tag:yaml.org,2002:str" SHORTHAND}},
        {"kinds: {k: {may_spawn: [&a x, *a]}}",
         {"q.yaml:1: &a" SHORTHAND, "q.yaml:1: *a" SHORTHAND}},
        {"broker:\n  &k heartbeat: 1s\n  *k : 2s\n",
         {"q.yaml:2: &k" SHORTHAND, "q.yaml:3: *k" SHORTHAND}},
        {"a: &a [x, x]\n", {"q.yaml:1: a: no such section", "q.yaml:1: &a" SHORTHAND}},
    };
    expect_refusals(refusals, COUNT(refusals));
}

static void an_alias_bomb_costs_nothing(void **state) {
    (void)state;
    AUTO_BUF yaml = BUF(8192);
    buf_put_str(&yaml, STR("a0: &a0 [x, x, x, x]\n"));
    for (int i = 1; i < 30; i++)
        buf_printf(&yaml, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d]\n", i, i, i - 1, i - 1, i - 1, i - 1);
    struct settings *s;
    struct err_list errors = {0};
    assert_int_equal(settings_parse(buf_str(&yaml), "q.yaml", NULL, &s, &errors), -1);
    assert_int_equal(errors.count, ERR_LIST_MAX);
    assert_string_equal(errors.at[1].text, "q.yaml:1: &a0" SHORTHAND);
}

static void bad_yaml_is_refused_with_its_line(void **state) {
    (void)state;
    static const struct refusal refusals[] = {
        {"broker:\n\theartbeat: 1s\n",
         {"q.yaml:2: not valid YAML: while scanning for the next token, found character that "
          "cannot "
          "start any token; there is a tab: indent with spaces"}},
        {"broker: {heartbeat: 1s\n",
         {"q.yaml:2: not valid YAML: while parsing a flow mapping, did not find expected ',' or "
          "'}'"}},
        {"broker:\n  zzz: 1\n   heartbeat: 1s\n",
         {"q.yaml:2: broker.zzz: no such setting",
          "q.yaml:3: not valid YAML: mapping values are not allowed in this context"}},
        {"log: {level: \"info}\n",
         {"q.yaml:2: not valid YAML: while scanning a quoted scalar, found unexpected end of "
          "stream"}},
        {"broker:\n  heartbeat: \x01\n",
         {"q.yaml:2: not valid YAML: control characters are not allowed"}},
        {"broker:\n  # caf\xE9\n", {"q.yaml:2: is not UTF-8"}},
        {"log: {level: info}\n---\nlog: {level: info}\n",
         {"q.yaml:2: a second document: only one is allowed"}},
        {"%YAML 1.9\n---\n{}\n", {"q.yaml:1: not valid YAML: found incompatible YAML document"}},
    };
    expect_refusals(refusals, COUNT(refusals));
    struct settings *s;
    struct err_list errors = {0};
    assert_int_equal(settings_parse(STR("log:\n  \0level: info"), "q.yaml", NULL, &s, &errors), -1);
    assert_string_equal(errors.at[0].text,
                        "q.yaml:2: not valid YAML: control characters are not allowed");
}

static void size_and_depth_are_bounded(void **state) {
    (void)state;
    AUTO_BUF deep = BUF(8192);
    buf_put_str(&deep, STR("zzzzz: "));
    for (int i = 0; i < 2000; i++)
        buf_putc(&deep, '[');
    buf_putc(&deep, '\0');
    config_refused(deep.at, NULL,
                   (const char *[]){"q.yaml:1: zzzzz: no such section",
                                    "q.yaml:1: nested deeper than 16 levels", NULL});
    AUTO_BUF large = BUF(SETTINGS_FILE_MAX + 2);
    while (large.len < SETTINGS_FILE_MAX)
        buf_put_str(&large, STR("#\n"));
    struct settings *s;
    struct err_list errors = {0};
    assert_int_equal(settings_parse(buf_str(&large), "q.yaml", NULL, &s, &errors), 0);
    settings_destroy(&s);
    buf_putc(&large, '#');
    assert_int_equal(settings_parse(buf_str(&large), "q.yaml", NULL, &s, &errors), -1);
    assert_string_equal(errors.at[0].text, "q.yaml: is larger than 256 KiB");
}

static void entries_are_bounded(void **state) {
    (void)state;
    AUTO_BUF yaml = BUF(SETTINGS_FILE_MAX);
    buf_put_str(&yaml, STR("queues:\n"));
    for (unsigned i = 0; i <= SETTINGS_ENTRIES_MAX; i++)
        buf_printf(&yaml, "  q%u:\n", i);
    buf_printf(&yaml, "  -x:\n  \"\":\n  %065d:\n%c", 0, '\0');
    config_refused(yaml.at, NULL,
                   (const char *[]){
                       "q.yaml:1026: queues.q1024: is one too many: at most 1024 are allowed",
                       "q.yaml:1027: queues.-x: is not a name: 1 to 64 of A-Z a-z 0-9 . _ : -, not "
                       "beginning with . or -",
                       "q.yaml:1028: queues.: is not a name: 1 to 64 of A-Z a-z 0-9 . _ : -, not "
                       "beginning with . or -",
                       "q.yaml:1029: queues.000000000000000000000000000000000000000000000000000000"
                       "0000000000...: is not a name: 1 to 64 of A-Z a-z 0-9 . _ : -, not "
                       "beginning with . or -",
                       NULL});
}

static void all_errors_are_counted(void **state) {
    (void)state;
    AUTO_BUF yaml = BUF(8192);
    for (int i = 0; i < 33; i++)
        buf_printf(&yaml, "zzzz%d: 1\n", i);
    struct settings *s;
    struct err_list errors = {0};
    assert_int_equal(settings_parse(buf_str(&yaml), "q.yaml", NULL, &s, &errors), -1);
    assert_int_equal(errors.count, ERR_LIST_MAX);
    assert_int_equal(errors.dropped, 33 - ERR_LIST_MAX);
    assert_string_equal(errors.at[19].text, "q.yaml:20: zzzz19: no such section");
    assert_int_equal(errors.at[0].code, ERR_BAD_CONFIG);
    /* A list that came with errors: the new ones are added, and decide. */
    AUTO_SETTINGS good = NULL;
    assert_int_equal(settings_parse(STR(""), "q.yaml", NULL, &good, &errors), 0);
    assert_int_equal(settings_parse(STR("x: 1"), "q.yaml", NULL, &s, &errors), -1);
    assert_null(s);
}

static void relations_are_checked(void **state) {
    (void)state;
    static const struct refusal refusals[] = {
        {"pools:\n  a:\n    processes_max: 2\n    processes_min: 3\n  b: {processes_min: 9}\n",
         {"q.yaml:4: pools.a.processes_min (3) is over pools.a.processes_max (2): the least is not "
          "more than the most",
          "q.yaml:5: pools.b.processes_min (9) is over pools.b.processes_max (4): the least is not "
          "more than the most"}},
        {"broker: {batch_bytes_max: 64KiB, result_max: 100KiB, body_max: x}",
         {"q.yaml:1: broker.body_max: 'x' is not a size: a whole number and B, KiB, MiB or GiB",
          "q.yaml:1: broker.result_max (100KiB) is over broker.batch_bytes_max (64KiB): a message "
          "must hold the largest result"}},
        /* Said once, not for each kind that inherits it; said of a kind that gives its own. */
        {"defaults: {backoff: 20m}\nkinds: {k: , l: {backoff: 2h}}\n",
         {"q.yaml:1: defaults.backoff (20m) is over defaults.backoff_max (10m): the first wait is "
          "not longer than the longest",
          "q.yaml:2: kinds.l.backoff (2h) is over kinds.l.backoff_max (10m): the first wait is "
          "not longer than the longest"}},
        {"defaults: {backoff_max: x}\nkinds: {k: {backoff: 2h}}\n",
         {"q.yaml:1: defaults.backoff_max: 'x' is not a duration: a whole number and ms, s, m, h "
          "or d"}},
    };
    expect_refusals(refusals, COUNT(refusals));
    char *const env[] = {"QUERN_JOURNAL_SEGMENT_SIZE=1MiB", NULL};
    config_refused(
        "", env,
        (const char *[]){"environment: journal.batch_bytes (8MiB) is over "
                         "journal.segment_size (1MiB): a file must hold the largest write",
                         NULL});
}

static void wrong_variables_are_refused(void **state) {
    (void)state;
    char *const env[] = {"QUERN_BROKER_HARTBEAT=1s",
                         "QUERN_BROKER_HEARTBEAT=1x",
                         "QUERN_NOTHING_LIKE_IT_AT_ALL=1",
                         "QUERN_POOLS_WEB_SLOTS=0",
                         "QUERN_POOLS_WEB_SLOT=1",
                         "QUERN_QUEUES_A_B_BURST=1",
                         "QUERN_=1",
                         NULL};
    config_refused(
        "pools: {web: }\nqueues: {a-b: , a.b: }\n", env,
        (const char *[]){
            "environment: QUERN_BROKER_HARTBEAT: no such setting; did you mean "
            "QUERN_BROKER_HEARTBEAT",
            "environment: QUERN_BROKER_HEARTBEAT: 'x' is not a unit of a duration: use ms, "
            "s, m, h or d",
            "environment: QUERN_NOTHING_LIKE_IT_AT_ALL: no such setting",
            "environment: QUERN_POOLS_WEB_SLOTS: 0 is out of bounds: 1 to 1024",
            "environment: QUERN_POOLS_WEB_SLOT: no such setting; did you mean "
            "QUERN_POOLS_WEB_SLOTS",
            "environment: QUERN_QUEUES_A_B_BURST: names more than one setting: use the "
            "file",
            "environment: QUERN_: no such setting", NULL});
}

static void bad_expansions_are_refused(void **state) {
    (void)state;
    static const struct refusal refusals[] = {
        {"broker:\n  heartbeat: ${BEAT}\n",
         {"q.yaml:2: broker.heartbeat: the environment has no BEAT, and ${NAME:-default} is not "
          "used"}},
        {"broker: {heartbeat: '${BEAT'}",
         {"q.yaml:1: broker.heartbeat: '${' without '}'; write $${ for a plain ${"}},
        {"broker: {heartbeat: '${}'}",
         {"q.yaml:1: broker.heartbeat: '${}' is neither ${NAME} nor ${NAME:-default}"}},
        {"broker: {heartbeat: '${1A:-1s}'}",
         {"q.yaml:1: broker.heartbeat: '${1A:-1s}' is neither ${NAME} nor ${NAME:-default}"}},
        {"broker: {heartbeat: '${A:=1s}'}",
         {"q.yaml:1: broker.heartbeat: '${A:=1s}' is neither ${NAME} nor ${NAME:-default}"}},
        {"broker: {heartbeat: '${A:-9x}'}",
         {"q.yaml:1: broker.heartbeat: 'x' is not a unit of a duration: use ms, s, m, h or d"}},
    };
    expect_refusals(refusals, COUNT(refusals));
    static char big[SETTINGS_VALUE_MAX / 2 + 3] = "B=";
    memset(big + 2, 'x', sizeof big - 3);
    char *const env[] = {big, NULL};
    config_refused(
        "pools: {p: {command: '${B}${B}${B}'}}", env,
        (const char *[]){"q.yaml:1: pools.p.command: the value is longer than 8192 bytes", NULL});
    config_refused(
        "pools: {p: {command: '${B}${B}'}}", env,
        (const char *[]){"q.yaml:1: pools.p.command: is 8192 bytes long: 0 to 4096 are allowed",
                         NULL});
}

/* ---- files ---- */

static void files_are_read(void **state) {
    (void)state;
    char path[] = "/tmp/settings_test_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    static const char text[] = "broker: {heartbeat: 2s}\nzzz: 1\n";
    assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
    struct settings *s;
    struct err_list errors = {0};
    assert_int_equal(settings_load(path, NULL, &s, &errors), -1);
    char wanted[100];
    snprintf(wanted, sizeof wanted, "%s:2: zzz: no such section", path);
    assert_string_equal(errors.at[0].text, wanted);
    assert_int_equal(ftruncate(fd, 24), 0);
    errors = (struct err_list){0};
    assert_int_equal(settings_load(path, NULL, &s, &errors), 0);
    assert_int_equal(s->broker.heartbeat_ms, 2000);
    settings_destroy(&s);
    assert_int_equal(ftruncate(fd, SETTINGS_FILE_MAX * 3), 0);
    assert_int_equal(settings_load(path, NULL, &s, &errors), -1);
    snprintf(wanted, sizeof wanted, "%s: is larger than 256 KiB", path);
    assert_string_equal(errors.at[0].text, wanted);
    close(fd);
    unlink(path);
}

/* Nobody writes to it. */
static void a_pipe_is_refused_at_once(void **state) {
    char folder[] = "/tmp/settings_test_XXXXXX", path[64], wanted[128];
    struct settings *s;
    struct err_list errors = {0};
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/pipe", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(settings_load(path, NULL, &s, &errors), -1);
    snprintf(wanted, sizeof wanted, "%s: cannot be read: it is a pipe, and must be a file", path);
    assert_string_equal(errors.at[0].text, wanted);
    unlink(path);
    rmdir(folder);
}

static void files_that_cannot_be_read_are_named(void **state) {
    (void)state;
    struct settings *s;
    struct err_list errors = {0};
    assert_int_equal(settings_load("/nowhere/q.yaml", NULL, &s, &errors), -1);
    assert_int_equal(settings_load("/", NULL, &s, &errors), -1);
    assert_string_equal(errors.at[0].text,
                        "/nowhere/q.yaml: cannot be read: No such file or directory");
    assert_string_equal(errors.at[1].text, "/: cannot be read: Is a directory");
    char path[400];
    memset(path, 'x', sizeof path);
    path[sizeof path - 1] = '\0';
    assert_int_equal(settings_parse(STR("zzz: 1"), path, NULL, &s, &errors), -1);
    assert_string_equal(errors.at[2].text + 120, ":1: zzz: no such section");
}

/* ---- likeness ---- */

static const char *nearest_of(const char *wrong) {
    static const char *const words[] = {"heartbeat", "heartbeats_missed", "rate", "ttl", "slots"};
    struct nearest n = nearest_start(str_of(wrong));
    for (size_t i = 0; i < COUNT(words); i++)
        nearest_offer(&n, str_of(words[i]));
    return n.best.len ? n.best.at : NULL;
}

static void the_nearest_word_is_found(void **state) {
    (void)state;
    assert_string_equal(nearest_of("hartbeat"), "heartbeat");
    assert_string_equal(nearest_of("HEARTBEAT"), "heartbeat");
    assert_string_equal(nearest_of("ehartbeta"), "heartbeat"); /* two swaps */
    assert_string_equal(nearest_of("heartbeat_missed"), "heartbeats_missed");
    assert_string_equal(nearest_of("slot"), "slots");
    assert_string_equal(nearest_of("tlt"), "ttl");
    assert_null(nearest_of("xyz"));
    assert_null(nearest_of(""));
    assert_null(nearest_of("concurrency"));
    char long_word[NEAREST_MAX + 2];
    memset(long_word, 'a', sizeof long_word);
    long_word[NEAREST_MAX + 1] = '\0';
    assert_null(nearest_of(long_word));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_keys_are_named_with_the_nearest),
        cmocka_unit_test(values_are_checked),
        cmocka_unit_test(rates_are_checked),
        cmocka_unit_test(addresses_are_checked),
        cmocka_unit_test(keys_are_checked),
        cmocka_unit_test(shapes_are_checked),
        cmocka_unit_test(nothing_may_be_given_twice),
        cmocka_unit_test(shorthand_is_refused),
        cmocka_unit_test(an_alias_bomb_costs_nothing),
        cmocka_unit_test(bad_yaml_is_refused_with_its_line),
        cmocka_unit_test(size_and_depth_are_bounded),
        cmocka_unit_test(entries_are_bounded),
        cmocka_unit_test(all_errors_are_counted),
        cmocka_unit_test(relations_are_checked),
        cmocka_unit_test(wrong_variables_are_refused),
        cmocka_unit_test(bad_expansions_are_refused),
        cmocka_unit_test(files_are_read),
        cmocka_unit_test(a_pipe_is_refused_at_once),
        cmocka_unit_test(files_that_cannot_be_read_are_named),
        cmocka_unit_test(the_nearest_word_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
