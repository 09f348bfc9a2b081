/* One conversation of one peer with one broker endpoint, over a DEALER socket.
 *
 * A link connects, says HELLO, shows that it lives at every `heartbeat_ms` of the WELCOME, and when
 * the connection has ended or the broker was silent for `missed_max` of those it takes a new socket
 * (that is a new routing id) and says HELLO again, with the same instance; if that brings nothing,
 * again after a jittered wait of up to 5 s more. It says HELLO again too when the broker has a new
 * epoch or asks for it. What to say when is decided by link_core.h, which has neither clock nor
 * socket; here is the rest.
 *
 * Vocabulary
 *   up        the last HELLO was answered by WELCOME; only then may anything else be sent
 *   news      what link_poll found: one thing a call
 *   sequence  the number of a request; the link gives them, HELLO has one too
 *
 * What always holds
 *   - nothing blocks but link_wait, and link_poll until the time it was given;
 *   - at most LINK_QUEUE_MAX messages wait for the broker; one more is refused with BUSY;
 *   - what was sent and not answered when a link goes down is forgotten here: who needs it says it
 *     again at the next LINK_UP;
 *   - a message of the broker that cannot be read is dropped, told as LINK_UNREADABLE, not
 * answered.
 *
 * A loop of one's own waits for link_fd to be readable, which says no more than "call link_poll".
 * It is an edge: after every wake and after every link_send, call link_poll with MONO_PAST until it
 * answers LINK_NOTHING (or come back at once), and again at link_next at the latest.
 *
 * One thread. After fork the child must not touch a link. This folder reads no clock: the caller
 * brings one (clock_mono of common/os/clock.h), and the random bytes of the instance. */
#pragma once

#include "common/base/time_types.h"
#include "common/wire/frame.h"
#include "common/wire/keys.h"

#define LINK_QUEUE_MAX    10000 /* messages */
#define LINK_LINGER_MS    1000  /* how long a last word may take to leave */
#define LINK_ENDPOINT_MAX 4200
#define LINK_INSTANCE_LEN 16

#define MONO_PAST ((struct mono){0})

struct link;

struct link_config {
    enum role role;
    const char *endpoint;                /* as link_endpoint says it; copied */
    const struct key_file *key;          /* as key_for says it, for TCP; copied; NULL: none */
    const char *name;                    /* for people: the program; copied; may be NULL */
    uint8_t instance[LINK_INSTANCE_LEN]; /* random, new at every start of the process */
    struct mono (*clock)(void);
    void *ctx;
    /* Add what a role has to say; may be NULL. What they point to is used during the call only. */
    void (*fill_hello)(void *ctx, struct msg_hello *m);
    void (*fill_heartbeat)(void *ctx, struct msg_heartbeat *m);
};

enum link_what {
    LINK_NOTHING,
    LINK_UP,         /* WELCOME: say again what was not answered */
    LINK_DOWN,       /* the broker is gone, silent or wants HELLO; send nothing until LINK_UP */
    LINK_REFUSED,    /* the broker will never have us (role, version): `err`; the link is dead */
    LINK_MESSAGE,    /* `message` */
    LINK_UNREADABLE, /* dropped: `err` */
};

struct link_news {
    enum link_what what;
    bool new_epoch; /* UP: another life of the broker than the last one seen, or the first */
    struct frame_in message; /* opened, lenient; borrows until the next call on this link */
    struct err err;          /* REFUSED, UNREADABLE; DOWN: why */
};

/* Writes the endpoint of a role: of `broker` if that is given ("tcp://host:port", "ipc://PATH", or
 * the path of a socket or of a data directory that is there), else of the data directory `data`:
 * "ipc://DATA/run/ROLE.sock". -1 with USAGE for anything else. Paths of any length work: what the
 * kernel's bound of 107 bytes for a socket's path refuses is reached through its directory. */
int link_endpoint(char out[LINK_ENDPOINT_MAX], const char *data, const char *broker, enum role role,
                  struct err *e);

/* The endpoint of a stream socket, as WELCOME names it: `file` in the folder of `endpoint`, or
 * `port` of its host: 1; 0 if the one that is wanted is not named. -1 with BAD_VALUE for a name
 * that leads elsewhere. */
int link_beside(char out[LINK_ENDPOINT_MAX], const char *endpoint, struct str file, uint64_t port,
                struct err *e);

/* Begins to connect; whether there is a broker shows in LINK_UP or its absence. */
int link_new(struct link **out, const struct link_config *config, struct err *e);
/* After link_bye the last words have LINK_LINGER_MS to leave; else nothing waits. */
void link_destroy(struct link **l);

/* Waits until there is news or `until` has come. */
void link_poll(struct link *l, struct mono until, struct link_news *news);
/* Waits until link_poll has work, one of `fds` is readable (then ready[i]) or `until` has come. */
void link_wait(struct link *l, struct mono until, const int *fds, bool *ready, size_t n);
/* The same, and until the ZeroMQ socket can be read; NULL: there is none. */
void link_wait_with(struct link *l, struct mono until, void *socket, const int *fds, bool *ready,
                    size_t n);
/* Something that belongs to this conversation was heard beside it: more is likely soon. */
void link_heard(struct link *l);
int link_fd(const struct link *l); /* changes never; do not read or close it */
struct mono link_next(const struct link *l);

/* The next sequence; each is given once. */
uint64_t link_sequence(struct link *l);
/* What link_sequence will give, if no HELLO comes between. */
uint64_t link_sequence_next(const struct link *l);
/* -1: UNREACHABLE_BROKER when not up, BUSY when LINK_QUEUE_MAX messages wait. The frames are
 * copied. */
int link_send(struct link *l, const struct frame_out *f, struct err *e);
int link_send_parts(struct link *l, struct str head, struct str body, struct str payloads,
                    struct err *e);
/* Says HELLO again although nothing is wrong, because what fill_hello says has changed. The link
 * stays up; LINK_UP follows. */
void link_hello_again(struct link *l);
/* True from link_hello_again, or the loss of the broker, until the WELCOME of the last HELLO. */
bool link_is_greeting(const struct link *l);
/* Ends the conversation; only link_destroy may follow. */
void link_bye(struct link *l, const char *text);

bool link_is_up(const struct link *l);
/* Why the broker put our HELLO off (BUSY, STARTING), which is said again later; NULL: it did not.
 */
const struct err *link_not_now(const struct link *l);
/* Why the last handshake of ZeroMQ failed, for people; NULL: it did not. */
const char *link_handshake(const struct link *l);
uint64_t link_epoch(const struct link *l); /* 0 before the first WELCOME */
/* The terms of the last WELCOME; before the first one the usual ones. */
const struct msg_welcome *link_terms(const struct link *l);
const char *link_endpoint_of(const struct link *l);

/* ---- a stream socket beside it -------------------------------------------------------------- */
/* Where the stream socket of the last WELCOME is, as zmq_connect takes it: 1. 0: it names none. A
 * path that is too long for the kernel is reached through a handle of its folder, which stays open
 * until link_destroy. */
int link_stream_endpoint(struct link *l, char out[LINK_ENDPOINT_MAX], struct err *e);
/* Makes a socket beside it use the key that the link uses, before it connects. */
void link_secure(const struct link *l, void *socket);
/* The link's ZeroMQ context: sockets made of it must be closed before link_destroy. */
void *link_context(struct link *l);
