#include "tests/e2e/curve_scene.h"

#include "common/base/buf.h"
#include "common/base/hex.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const struct entry {
    const char *name, *role, *more;
} entries[CURVE_KEYS] = {
    [CURVE_CLIENT_A] = {"client-a", "client", NULL}, /* its tenant is said */
    [CURVE_CLIENT_B] = {"client-b", "client", ", tenant: b"},
    [CURVE_GATEWAY] = {"gateway", "gateway", ", tenant: \"*\""},
    [CURVE_GATEWAY_A] = {"gateway-a", "gateway", ", tenant: a"},
    [CURVE_WORKER] = {"worker", "worker", ""},
    [CURVE_ECHO] = {"echo", "worker", ", kinds: [echo, other]"},
    [CURVE_OPERATOR] = {"operator", "operator", ""},
};

static void put_entry(struct buf *out, const struct curve_scene *s, enum curve_key key,
                      const char *a) {
    char digits[KEY_DIGITS + 1];
    const struct entry *e = &entries[key];
    hex_show(s->keys[key].public_half, KEY_BYTES, digits);
    buf_printf(out, "  %s: {public: \"%s\", role: %s", e->name, digits, e->role);
    if (e->more)
        buf_printf(out, "%s}\n", e->more);
    else
        buf_printf(out, ", tenant: %s}\n", a);
}

void curve_scene_settings(const struct curve_scene *s, enum curve_key without, const char *a) {
    AUTO_BUF yaml = BUF(65536);
    buf_printf(&yaml,
               "broker:\n"
               "  key_file: %s/server.key\n"
               "  tcp_client: tcp://127.0.0.1:*\n"
               "  tcp_worker: tcp://127.0.0.1:*\n"
               "  tcp_gateway: tcp://127.0.0.1:*\n"
               "  tcp_operator: tcp://127.0.0.1:*\n"
               "streams: {tcp_worker: \"tcp://127.0.0.1:*\", tcp_reader: \"tcp://127.0.0.1:*\"}\n"
               "journal: {segment_size: 4MiB, batch_bytes: 4MiB, disk_min_free: 0}\n"
               "kinds: {echo: {}, other: {}, quick: {}}\n"
               "keys:\n",
               s->b.root);
    for (enum curve_key key = 0; key < CURVE_KEYS; key++)
        if (entries[key].name && key != without)
            put_entry(&yaml, s, key, a);
    buf_putc(&yaml, '\0');
    assert_false(yaml.failed);
    broker_write_config(&s->b, yaml.at);
}

void curve_scene_open(struct curve_scene *s) {
    struct err e = {0};
    char path[BROKER_PATH_MAX + 16];
    *s = (struct curve_scene){0};
    broker_make(&s->b, "");
    for (enum curve_key key = 0; key < CURVE_KEYS; key++) {
        assert_int_equal(key_file_make(&s->keys[key], &e), 0);
        memcpy(s->keys[key].server, s->keys[CURVE_SERVER].public_half, KEY_BYTES);
        s->keys[key].has_server = key != CURVE_SERVER;
    }
    snprintf(path, sizeof path, "%s/server.key", s->b.root);
    assert_int_equal(key_file_write(&s->keys[CURVE_SERVER], path, "the broker", &e), 0);
    curve_scene_settings(s, CURVE_KEYS, "a");
    broker_start(&s->b);
    curve_scene_find(s);
}

void curve_scene_close(struct curve_scene *s) {
    broker_stop(&s->b);
    broker_remove(&s->b);
}

int curve_set_up(void **state) {
    static struct curve_scene scene;
    curve_scene_open(&scene);
    *state = &scene;
    return 0;
}

int curve_tear_down(void **state) {
    curve_scene_close(*state);
    return 0;
}

/* The last line that says it. */
static void find_one(const char *text, const char *name, char out[256]) {
    char key[64];
    const char *at = NULL;
    snprintf(key, sizeof key, "\"%s\":\"", name);
    for (const char *next = strstr(text, key); next; next = strstr(next + 1, key))
        at = next;
    assert_true(at);
    if (at) /* which the analyzer does not take from the assertion */
        snprintf(out, 256, "%.*s", (int)strcspn(at + strlen(key), "\""), at + strlen(key));
}

void curve_scene_find(struct curve_scene *s) {
    static const char *const names[] = {"", "tcp_client", "tcp_worker", "tcp_gateway",
                                        "tcp_operator"};
    const char *text = broker_log_text(&s->b);
    for (enum role role = ROLE_CLIENT; role <= ROLE_OPERATOR; role++)
        find_one(text, names[role], s->at[role]);
}

static unsigned count_reloads(const struct curve_scene *s) {
    unsigned count = 0;
    for (const char *at = broker_log_text(&s->b); (at = strstr(at, "config.reloaded")); at++)
        count++;
    return count;
}

void curve_scene_reload(struct curve_scene *s) {
    unsigned before = count_reloads(s);
    struct raw_peer p;
    broker_signal(&s->b, SIGHUP);
    raw_join(&p, s->b.run, ROLE_OPERATOR, ++s->seed);
    for (unsigned tries = 0; count_reloads(s) == before; tries++) {
        assert_true(tries < 10000);
        raw_get_status(&p); /* a turn of the broker's */
    }
    raw_close(&p);
}

void curve_peer(struct curve_scene *s, struct raw_peer *p, enum role role, enum curve_key key) {
    raw_connect_with_key(p, s->at[role], role, ++s->seed, &s->keys[key]);
}

void curve_join(struct curve_scene *s, struct raw_peer *p, enum role role, enum curve_key key) {
    curve_peer(s, p, role, key);
    if (role == ROLE_WORKER)
        raw_hello_worker(p, 1, (struct uint_list){NULL, 0});
    else
        raw_hello(p);
}
