/* A Quern of its own for one run: broker, workers, and this process as its client. */
#pragma once

#include "common/wire/client.h"
#include "tests/bench/bench_queue.h"

#define WORKERS 2U

struct quern {
    struct process broker, workers[WORKERS];
    char data[PATH_SIZE], config[PATH_SIZE], log[PATH_SIZE];
    struct client *client;
    uint64_t ended; /* watched jobs whose end was told */
};

/* Starts a broker with these settings and `workers` processes of quern-worker; connects as `role`.
 */
void quern_start(struct quern *q, const struct bench *b, const char *settings, unsigned workers,
                 enum role role);
/* The broker again, over the same data; how many milliseconds until it served. */
double quern_again(struct quern *q, const struct bench *b);
void quern_connect(struct quern *q, enum role role);
void quern_disconnect(struct quern *q);
/* Ends all and removes the data. */
void quern_stop(struct quern *q);
void quern_workers_stop(struct quern *q);

/* What stands behind a submission. */
struct offer {
    struct msg_submit message;
    struct str payload; /* one map of PAYLOAD_BYTES */
};
void offer_make(struct offer *o, uint64_t durability);

/* A stream of submissions that keeps `window` messages of `batch` jobs unanswered, and as many jobs
 * alive as keep the workers busy. */
struct stream {
    struct client *client;
    struct offer offer;
    struct client_item items[1024];
    struct msg_submit tenants[1024];
    size_t batch, window;
    size_t alive_max; /* jobs that were sent and are not done */
    uint64_t sent, done;
    uint32_t open; /* messages without an answer */
    bool asking;
    struct mono asked;
};
void stream_begin(struct stream *s, struct client *client, size_t batch, size_t window,
                  uint64_t durability, unsigned tenants);
/* Sends what may be sent and hears what has come; the number that are done is at most some
 * milliseconds old. */
void stream_turn(struct stream *s);
/* Until all that was sent is done. */
void stream_finish(struct stream *s);
