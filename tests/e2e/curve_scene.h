/* A broker with keys, on free ports of 127.0.0.1, and peers that have some. For tests: every call
 * that cannot do what it says fails the test. */
#pragma once

#include "tests/e2e/broker_process.h"
#include "tests/e2e/raw_peer.h"

enum curve_key {
    CURVE_SERVER,
    CURVE_CLIENT_A, /* a client of tenant a */
    CURVE_CLIENT_B,
    CURVE_GATEWAY, /* of all tenants */
    CURVE_GATEWAY_A,
    CURVE_WORKER, /* of all kinds */
    CURVE_ECHO,   /* a worker of kind echo */
    CURVE_OPERATOR,
    CURVE_STRANGER, /* that is not listed */
    CURVE_KEYS
};

struct curve_scene {
    struct broker b;
    struct key_file keys[CURVE_KEYS];
    char at[5][256]; /* endpoints, by enum role */
    uint8_t seed;    /* of the last peer */
};

/* Makes keys and settings, and starts. */
void curve_scene_open(struct curve_scene *s);
void curve_scene_close(struct curve_scene *s);
/* The same for a group of tests, which find it at `*state`. */
int curve_set_up(void **state);
int curve_tear_down(void **state);
/* Settings that list all keys but `without` (CURVE_KEYS: all), the first one as tenant `a`. */
void curve_scene_settings(const struct curve_scene *s, enum curve_key without, const char *a);
/* Where it listens now, from its log. */
void curve_scene_find(struct curve_scene *s);
/* SIGHUP, and waits until the settings are read. */
void curve_scene_reload(struct curve_scene *s);
/* Connects, without HELLO. */
void curve_peer(struct curve_scene *s, struct raw_peer *p, enum role role, enum curve_key key);
/* With HELLO: as a worker it is of kind echo. */
void curve_join(struct curve_scene *s, struct raw_peer *p, enum role role, enum curve_key key);
