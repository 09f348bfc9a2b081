/* Streams of running attempts on their way to the broker: the process's one PUB socket, and for
 * each attempt its log (stream_log.h) with a lock.
 *
 * The thread of a slot writes, and says at once what it wrote if its stream has been quiet for
 * STREAM_GATHER_US or STREAM_GATHER_BYTES have gathered; so a first piece waits for nobody, and
 * many small ones leave in few messages. What gathers and is not followed by more is said by the
 * host thread, which `stream_socket_fd` wakes once; it also says again what the broker misses, and
 * after a quiet moment how far the stream is.
 *
 * Locks. Two threads meet in a stream: its slot writes while the host says again from further back;
 * the stream's lock makes them take turns, so that messages leave in the order of their numbers.
 * All streams share the socket: one connection keeps them in order and costs the broker little; its
 * lock is held for one copy. Order: a stream's lock, then the socket's. Neither is held while
 * anything waits: a PUB socket drops what it cannot send. */
#pragma once

#include "common/wire/keys.h"
#include "workers/harness/stream_log.h"

#define STREAM_GATHER_US     1000
#define STREAM_GATHER_BYTES  (16U << 10)
#define STREAM_QUIET_MS      100
#define STREAM_QUEUE_MAX     1000       /* messages that wait in the socket; more are dropped */
#define STREAM_BYTES_DEFAULT (4U << 20) /* of one stream, where WELCOME does not say */

struct stream_socket;
struct stream_out;

/* ---- the socket: the host's thread ---------------------------------------------------------- */
struct stream_socket *stream_socket_new(void);
/* All streams must be gone. */
void stream_socket_destroy(struct stream_socket **s);
/* Connects anew, to an endpoint as zmq_connect takes it. */
/* `key`: as link_config has it. */
int stream_socket_open(struct stream_socket *s, void *context, const char *endpoint,
                       const struct key_file *key, struct err *e);
/* What is said from now on is dropped; the context may be ended. Slots may go on writing. */
void stream_socket_close(struct stream_socket *s);
/* Readable when a stream has something that waits for its moment. */
int stream_socket_fd(const struct stream_socket *s);
/* It was readable. */
void stream_socket_heard(struct stream_socket *s);
/* Whether stream_out_turn is wanted for each stream within STREAM_GATHER_US. */
bool stream_socket_wants(const struct stream_socket *s);
/* The same, and forgets it: those calls follow. */
bool stream_socket_begin(struct stream_socket *s);

/* ---- one stream ----------------------------------------------------------------------------- */
struct stream_config {
    uint64_t job, fence, token;
    size_t bytes_max;
    bool mute; /* the broker did not ask for it: it is written and never said */
};

struct stream_out *stream_out_new(struct stream_socket *s, const struct stream_config *config);
/* Its slot must have ended it. */
void stream_out_destroy(struct stream_out **o);

/* From the slot's thread; as the calls of stream_log.h. */
int stream_out_text(struct stream_out *o, uint32_t channel, struct str text, struct err *e);
int stream_out_data(struct stream_out *o, uint32_t channel, struct str map, struct err *e);
int stream_out_reset(struct stream_out *o, struct err *e);
/* Nothing more comes: all is said. -1 with TOO_LARGE if something did not fit. */
int stream_out_end(struct stream_out *o, struct stream_position *last, struct err *e);

/* From the host's thread. */
void stream_out_again(struct stream_out *o, uint64_t token, struct stream_position have);
/* Nothing of it is wanted any more. */
void stream_out_mute(struct stream_out *o);
/* Says what has gathered, and how far it is: STREAM_QUIET_MS after the last event, then every
 * `beat_ms`. */
void stream_out_turn(struct stream_out *o, uint64_t now_ns, uint64_t beat_ms);
