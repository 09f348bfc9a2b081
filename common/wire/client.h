/* The client of a broker: asks and gets answers, over a link.
 *
 * Use
 *     struct client_config config = {.role = ROLE_CLIENT, .endpoint = endpoint,
 *                                    .name = "quern", .clock = clock_mono};
 *     random_bytes(config.instance, sizeof config.instance);
 *     AUTO_CLIENT client = NULL;
 *     if (client_new(&client, &config, &e) < 0 || client_connect(client, deadline, &e) < 0)
 *         return err_code_exit(e.code);
 *     struct msg_submit m = {0};
 *     MSG_SET(&m, submit, kind, STR("echo"));
 *     struct client_submitted out;
 *     client_submit(client, &(struct client_item){&m, payload}, 1, &out, deadline, &e);
 *     struct client_finished end = CLIENT_FINISHED;
 *     client_wait(client, out.id, deadline, &end, &e);        then client_finished_done(&end)
 *
 * Blocking: client_call and what is built on it. Pipelined: client_request, any number of times (up
 * to `outstanding_max` of the broker and `bytes_max`; one more is BUSY), and client_poll, which
 * calls back. Both may be mixed: blocking calls serve what else is under way.
 *
 * A *request* is one message of one verb with 1 to 1024 items. Its `client_reply_fn` is called once
 * for each item of the answer and then exactly once with the end, whatever happens; never from
 * within client_request. What it is shown borrows for the call. It may make requests, not poll.
 *
 * What becomes of an unanswered request when the broker is lost
 *   - the same broker answers again: it is sent again with its sequence, and is done only once;
 *   - the broker was started anew: a question (GET, LIST) is asked again; a SUBMIT whose items all
 *     have `unique`, a DECLARE_KIND or a SET_SCHEDULE is sent again; anything else that may have
 *     reached the old broker ends with UNKNOWN_OUTCOME: it may have been accepted or not;
 *   - nobody answers until its deadline: UNREACHABLE_BROKER if it was never sent, UNKNOWN_OUTCOME
 * if it was sent and changes something, WAIT_TIMEOUT if it only asks. All of these have the exit
 * status of schemas/errors.def: err_code_exit(e.code).
 *
 * Watched jobs (client_watch, or `watch` or `attach` in a SUBMIT) are watched again after every
 * reconnection. Each end is told once. So are flows (client_watch_flow), whose counts are told
 * again and again until the last time, with `settled` or an error.
 *
 * Deadlines are times of the caller's clock; MONO_NEVER waits for ever. One thread. */
#pragma once

#include "common/wire/link.h"
#include "common/wire/note_table.h"

#define CLIENT_BYTES_MAX   (64U << 20) /* of unanswered requests, if the config has 0 */
#define CLIENT_WATCHES_MAX (1U << 20)

struct client;

/* One item of a request: a struct of the verb's message; its `size` is set from the payload. What a
 * SUBMIT has children for goes out in one message with them, or not at all; they are items of
 * SUBMIT without children of their own, and `children` of the parent is set from their number. The
 * answer is for the parent alone. So it is with the job of a SET_SCHEDULE, its one child. */
struct client_item {
    const void *message;
    struct str payload;
    const struct client_item *children;
    uint32_t n_children;
};
#define CLIENT_ITEM(m, ...) ((struct client_item){.message = (m), .payload = __VA_ARGS__})

struct client_reply {
    bool end;            /* no more will come: `err` says how it ended (code 0: well) */
    enum verb verb;      /* of the answer */
    uint32_t index;      /* of the answer's item; where answers have items, of the request's */
    const void *message; /* struct of the answer's message; NULL at the end */
    struct str payload, result;
    const struct err *err; /* at the end; else NULL */
};
typedef void client_reply_fn(void *ctx, const struct client_reply *r);

/* How a watched job ended. */
struct client_finished {
    uint64_t id;
    uint64_t state; /* enum job_state; 0: it is not known (any more), as `err` says */
    uint32_t attempts;
    uint64_t epoch, seq; /* the last event of its stream; 0, 0: it wrote none */
    bool flow;           /* jobs are below it: client_watch_flow tells how they end */
    struct err err;    /* code 0: done; else why not, with the words of the worker or the broker */
    struct buf result; /* one msgpack map, or empty */
};
#define CLIENT_FINISHED ((struct client_finished){.result = BUF(FRAME_BYTES_MAX)})
void client_finished_done(struct client_finished *f);
/* As FINISHED, without its result. Borrows the text of `f`. */
void client_finished_message(const struct client_finished *f, struct msg_finished *out);

/* How a flow goes: a job and all below it. */
struct client_flow {
    uint64_t id;
    struct err err; /* code 0; else why nothing more is told of it: it is not known (any more) */
    uint64_t state; /* enum job_state of the job itself; 0: not told */
    uint32_t total; /* jobs below it */
    uint32_t done, dead, cancelled, expired; /* of those, ended so */
    bool settled;       /* it and all below it have ended: nothing more will come */
    enum err_code doom; /* why the rest is or was cancelled; ERR_OK: it is not */
};

struct client_config {
    enum role role;             /* CLIENT, GATEWAY or OPERATOR */
    const char *endpoint;       /* of link_endpoint */
    const struct key_file *key; /* as link_config has it */
    const char *name;           /* for people */
    uint8_t instance[LINK_INSTANCE_LEN];
    struct mono (*clock)(void);
    size_t bytes_max; /* 0: CLIENT_BYTES_MAX */
    /* What the broker tells of notes comes in here, at most a heartbeat late; the caller's, to be
     * read between calls. NULL: nothing is asked for. Not for the role CLIENT. */
    struct note_table *notes;
    void *ctx;
    /* All may be NULL. */
    void (*on_finished)(void *ctx, const struct client_finished *f);
    void (*on_flow)(void *ctx, const struct client_flow *f);
    /* What the broker says unasked beside that: POOL_PLAN, KILL_WORKER. */
    void (*on_notice)(void *ctx, enum verb verb, const void *message, struct str payload);
    /* LINK_UP, LINK_DOWN, LINK_REFUSED, LINK_UNREADABLE as link.h has them. */
    void (*on_link)(void *ctx, const struct link_news *news);
};

int client_new(struct client **out, const struct client_config *config, struct err *e);
/* Says BYE; what is under way is forgotten without a call. */
void client_destroy(struct client **c);
#define AUTO_CLIENT __attribute__((cleanup(client_destroy))) struct client *

/* Waits for the broker: -1 with why it refused us, at once, or at the deadline with
 * UNREACHABLE_BROKER or why it puts us off (BUSY, STARTING). */
int client_connect(struct client *c, struct mono deadline, struct err *e);
/* Why the broker will never have us; NULL: it may. */
const struct err *client_refused(const struct client *c);
bool client_is_up(const struct client *c);
const struct msg_welcome *client_terms(const struct client *c);

/* ---- pipelined ------------------------------------------------------------------------------ */
/* 0: `fn` will be called. -1: it will not; BUSY: poll, then try again; TOO_LARGE: fewer items. */
int client_request(struct client *c, enum verb verb, const struct client_item *items, size_t n,
                   client_reply_fn *fn, void *ctx, struct mono deadline, struct err *e);
/* Something that has no answer: POOL_REPORT. -1 if it could not be sent now. */
int client_notify(struct client *c, enum verb verb, const struct client_item *items, size_t n,
                  struct err *e);
/* Serves the link until `until`, or until anything was called back or told of notes; how often that
 * was. */
uint32_t client_poll(struct client *c, struct mono until);
/* Requests under way. */
uint32_t client_outstanding(const struct client *c);
/* For a loop of one's own, as in link.h; client_poll with MONO_PAST until it answers 0. */
int client_fd(const struct client *c);
struct mono client_next(const struct client *c);
/* The link underneath, for link_wait. */
struct link *client_link(struct client *c);

/* ---- blocking ------------------------------------------------------------------------------- */
/* As client_request, and waits for the end: 0, or -1 with what the end said. `fn` may be NULL and
 * is called for items only. */
int client_call(struct client *c, enum verb verb, const struct client_item *items, size_t n,
                client_reply_fn *fn, void *ctx, struct mono deadline, struct err *e);
/* A request of one item whose answer's items say by a `code` whether it was done: an error of the
 * first item is the error of the call. `count` (may be NULL) gets OUTCOME's count. For CANCEL_JOB,
 * RETRY_JOB, PAUSE_QUEUE, RESUME_QUEUE, PURGE_QUEUE, SET_LIMIT, SCALE_POOL, DRAIN, DECLARE_KIND,
 * REMOVE_SCHEDULE, PAUSE_SCHEDULE, SET_NOTE. */
int client_change(struct client *c, enum verb verb, const void *message, uint64_t *count,
                  struct mono deadline, struct err *e);

struct client_submitted {
    struct err err; /* code 0: accepted */
    uint64_t id;
    bool duplicate;
};
/* Any number of jobs, in as many messages as they need. Every out[i] is filled. 0 if all were
 * accepted, else -1 with the first error. */
int client_submit(struct client *c, const struct client_item *jobs, size_t n,
                  struct client_submitted *out, struct mono deadline, struct err *e);

/* ---- ends of jobs --------------------------------------------------------------------------- */
/* on_finished tells its end, at once if it has ended already. */
int client_watch(struct client *c, uint64_t id, struct err *e);
void client_unwatch(struct client *c, uint64_t id);
/* Waits for the end of one job; -1 with WAIT_TIMEOUT or NOT_FOUND. A job that failed is 0: `out`
 * says how it ended. */
int client_wait(struct client *c, uint64_t id, struct mono deadline, struct client_finished *out,
                struct err *e);

/* ---- flows ---------------------------------------------------------------------------------- */
/* on_flow tells its counts at once, and again when they have changed, until it has settled. */
int client_watch_flow(struct client *c, uint64_t id, struct err *e);
void client_unwatch_flow(struct client *c, uint64_t id);
