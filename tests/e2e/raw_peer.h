/* A peer that speaks QJP/1 frame by frame, wrongly too, if told so. For tests: every call that
 * cannot do what it says fails the test. */
#pragma once

#include "common/base/arena.h"
#include "common/wire/frame.h"
#include "common/wire/keys.h"

#include <zmq.h>

#define PEER_DEADLINE_MS 20000
#define PEER_PARTS_MAX   8

struct raw_peer {
    void *context, *socket;
    enum role role;
    const struct key_file *key; /* NULL: without */
    bool deaf; /* ZeroMQ takes hardly anything from its connection until that was read */
    bool watched;
    void *events; /* of raw_watch, where it is watched from the beginning */
    uint8_t instance[16];
    uint64_t sequence; /* of the last request */
    uint64_t epoch;    /* of the last WELCOME */
    struct frame_out out;
    /* The message that came last. */
    zmq_msg_t parts[PEER_PARTS_MAX];
    unsigned count;
    struct frame_in in;
    struct arena *arena;
};

/* Connects to RUN/ROLE.sock; `seed` makes its instance. */
void raw_open(struct raw_peer *p, const char *run, enum role role, uint8_t seed);
/* The same to any endpoint; `routing`, if not NULL, as its own routing id. */
void raw_connect(struct raw_peer *p, const char *endpoint, enum role role, uint8_t seed,
                 const char *routing);
/* The same by CURVE. */
void raw_connect_with_key(struct raw_peer *p, const char *endpoint, enum role role, uint8_t seed,
                          const struct key_file *key);
/* Tells from now on how its connections go: a PAIR of zmq_socket_monitor, the caller's to close. */
void *raw_watch(struct raw_peer *p);
/* By CURVE, watched from before it connects. */
void *raw_connect_watched(struct raw_peer *p, const char *endpoint, enum role role, uint8_t seed,
                          const struct key_file *key);
/* What it does not read stays with the broker. */
void raw_open_deaf(struct raw_peer *p, const char *run, enum role role, uint8_t seed);
void raw_close(struct raw_peer *p);
/* A new connection of the same instance. */
void raw_reconnect(struct raw_peer *p, const char *run);

/* ---- out ------------------------------------------------------------------------------------ */
void raw_send_parts(struct raw_peer *p, const struct str *parts, size_t n);
/* One item. */
void raw_send(struct raw_peer *p, enum verb verb, uint64_t sequence, const void *message,
              struct str payload);
/* What was built in p->out by frame_begin and frame_add. */
void raw_send_out(struct raw_peer *p);
/* A request with the next sequence, which it returns. */
uint64_t raw_ask(struct raw_peer *p, enum verb verb, const void *message, struct str payload);

/* ---- in ------------------------------------------------------------------------------------- */
/* The next message into p->in, but HEARTBEATs; it must be of that verb and sequence. */
void raw_expect(struct raw_peer *p, enum verb verb, uint64_t sequence);
/* The same, passing over other verbs. */
void raw_await(struct raw_peer *p, enum verb verb);
/* Whatever comes next. */
void raw_await_any(struct raw_peer *p);
/* Whether anything but HEARTBEATs comes within `ms`. */
bool raw_hears(struct raw_peer *p, int ms);
/* The next item of it, which must be there. */
struct frame_item raw_item(struct raw_peer *p, union msg_any *m);
/* Awaits an ERROR of that sequence and code; its text, which is valid until the next message. */
struct str raw_expect_error(struct raw_peer *p, uint64_t sequence, enum err_code code);

/* ---- the conversation ------------------------------------------------------------------------ */
struct msg_hello raw_hello_message(const struct raw_peer *p);
/* Says HELLO as that message and awaits WELCOME. */
struct msg_welcome raw_hello_as(struct raw_peer *p, const struct msg_hello *m);
/* As a client, gateway or operator. */
struct msg_welcome raw_hello(struct raw_peer *p);
/* raw_open and raw_hello. */
void raw_join(struct raw_peer *p, const char *run, enum role role, uint8_t seed);
/* As a worker of kind "echo" that holds what `running` lists (job, fence, ...). */
struct msg_welcome raw_hello_worker(struct raw_peer *p, uint64_t slots, struct uint_list running);
/* Submits one job of `kind`, to be watched; its id. The answer must say that it was accepted. */
uint64_t raw_submit(struct raw_peer *p, const char *kind, struct str payload);
/* The next DISPATCH, which must be of one job; its payload is valid until the next message. */
struct msg_dispatch raw_expect_dispatch(struct raw_peer *p, struct str *payload);
void raw_report(struct raw_peer *p, const struct msg_dispatch *d, enum result_outcome outcome,
                struct str result);
struct msg_finished raw_expect_finished(struct raw_peer *p, uint64_t job);
struct msg_status_info raw_get_status(struct raw_peer *p);
struct msg_job_info raw_get_job(struct raw_peer *p, uint64_t job);
