/* Follows the streams of jobs: a client's SUB socket, and the ATTACHes that keep it filled.
 *
 * Use
 *     struct stream_client_config config = {.ctx = me, .on_stream = on_stream};
 *     stream_client_new(&s, client, &config, &e);        the client's role: gateway or operator
 *     stream_client_attach(s, id, STR(""), (struct stream_position){0}, my_job, &e);
 *     while (...)
 *         stream_client_poll(s, until);                  instead of client_poll
 *
 * A job that was submitted with `attach` is followed from the moment that its SUBMITTED is read;
 * stream_client_attach, called within that answer's callback or later, only names its ctx.
 *
 * What on_stream is told of a job: events in order, each once; STREAM_RESET when what was told is
 * void; at last STREAM_WHOLE or STREAM_BROKEN, and then, by the client's on_finished, how the job
 * ended (it is not followed any more). A job that cannot be followed, because there is none or the
 * broker refuses, is told by on_finished alone, with state 0 and why. A job of a kind without
 * streams is WHOLE when it ends.
 *
 * The socket may lose messages: when more than `queue_max` wait for us, while it is not connected,
 * when the broker is started anew. The readers see that by their numbers and ask (stream_table.h).
 * It is made anew when a WELCOME names another endpoint, and else connects again by itself.
 *
 * What always holds
 *   - nothing is told from within stream_client_attach and stream_client_detach;
 *   - callbacks may attach, detach and make requests, also of the job they are told of, not poll;
 *   - a poll takes at most 256 messages of each socket before it returns to its caller;
 *   - kept are at most `streams_max` readers, each with at most one result that waits for the rest
 *     of its stream.
 *
 * Blocking calls of the client do not serve streams; do not client_wait for a job that is followed.
 * One thread. */
#pragma once

#include "common/wire/client.h"
#include "common/wire/stream_reader.h"

#define STREAM_CLIENT_STREAMS_MAX 65536U
#define STREAM_CLIENT_QUEUE_MAX   4096U

struct stream_client;

struct stream_told {
    uint64_t job;
    void *job_ctx; /* of stream_client_attach; NULL if that was not called */
    enum stream_news news;
    const struct stream_event *event; /* EVENT: valid for the call */
    struct stream_position position;  /* after it */
};

struct stream_client_config {
    uint32_t streams_max; /* followed at a time; 0: STREAM_CLIENT_STREAMS_MAX */
    uint32_t queue_max;   /* messages that wait for us; 0: STREAM_CLIENT_QUEUE_MAX */
    void *ctx;
    void (*on_stream)(void *ctx, const struct stream_told *told);
};

/* The client must outlive it, and have no other. Before or after it is connected. */
int stream_client_new(struct stream_client **out, struct client *c,
                      const struct stream_client_config *config, struct err *e);
/* What is followed is forgotten, without a word to anybody. */
void stream_client_destroy(struct stream_client **s);
#define AUTO_STREAM_CLIENT __attribute__((cleanup(stream_client_destroy))) struct stream_client *

/* Follows a job from behind `known` on ({0, 0}: from the beginning); if it is followed already,
 * only names tenant and ctx. `tenant` "": whoever's it is. -1 with BUSY at `streams_max`. A job
 * submitted with `attach` at that bound is detached and only watched: its end is told. */
int stream_client_attach(struct stream_client *s, uint64_t job, struct str tenant,
                         struct stream_position known, void *job_ctx, struct err *e);
/* Nothing more is told of it, its end neither. */
void stream_client_detach(struct stream_client *s, uint64_t job);

/* Serves the client and the streams until `until`, or until anything was called back; how often
 * that was. */
uint32_t stream_client_poll(struct stream_client *s, struct mono until);
/* As link_wait: until stream_client_poll has work, a fd is readable or `until` has come. */
void stream_client_wait(struct stream_client *s, struct mono until, const int *fds, bool *ready,
                        size_t n);
/* For a loop of one's own, in place of client_fd and client_next. */
int stream_client_fd(const struct stream_client *s);
struct mono stream_client_next(const struct stream_client *s);

struct stream_client_stats {
    uint32_t streams;
    uint64_t messages, malformed;
    uint64_t strange;  /* of a job that is not followed */
    uint64_t attaches; /* items sent */
    uint64_t sockets;  /* made */
};
struct stream_client_stats stream_client_stats(const struct stream_client *s);
