/* A client and a broker that does what the test says, with a clock that the test turns. */
#pragma once

#include "common/wire/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <zmq.h>

#include <cmocka.h>

#define REPLIES_MAX 64

extern struct mono now;
struct mono test_clock(void);

/* What a request was told. */
struct told {
    uint32_t items, ends;
    uint64_t ids[REPLIES_MAX];
    enum err_code end;
};

void on_reply(void *ctx, const struct client_reply *r);

struct scene {
    char folder[32], endpoint[LINK_ENDPOINT_MAX];
    void *context, *router;
    struct client *c;
    struct frame_out out;
    /* the last message of the client */
    zmq_msg_t from, parts[3];
    int n_parts;
    struct frame_in in;
    struct told told[8];
    uint32_t unreadable;
    struct client_finished finished[8];
    uint32_t n_finished;
    struct client_flow flows[16];
    uint32_t n_flows;
};

int set_up(void **state);
int set_up_as(void **state, enum role role, struct note_table *notes);
int tear_down(void **state);
#define SCENE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

/* ---- the broker ----------------------------------------------------------------------------- */
/* The next message of the client, which is served meanwhile, into s->in. */
enum verb receive(struct scene *s);
/* The next but HEARTBEATs, of which those of a lost connection may come late. */
void hear(struct scene *s, enum verb verb);
/* The client says nothing but HEARTBEATs. */
bool silent(struct scene *s);
void begin(struct scene *s, enum verb verb, uint64_t sequence);
void add(struct scene *s, const void *message, struct str payload);
void send_out(struct scene *s);
/* Sends what was built, and waits until the client has called back. */
void answer(struct scene *s);
/* Passes over what came before the next HELLO, and answers that. */
void welcome(struct scene *s, uint64_t epoch);
void say_error(struct scene *s, uint64_t sequence, enum err_code code);
void submitted(struct scene *s, uint64_t sequence, uint64_t first, uint64_t n);
/* Time passes until the client gives its broker up. */
void lose(struct scene *s);
/* n jobs in one request; told[which] hears of it. */
int submit(struct scene *s, uint32_t which, uint32_t n, bool unique, struct err *e);
