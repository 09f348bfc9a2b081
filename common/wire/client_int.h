/* What the parts of the client share: its requests under way and its watches. */
#pragma once

#include "common/base/lhash.h"
#include "common/base/slab.h"
#include "common/wire/client.h"

/* What may be done with an unanswered request when the broker was started anew. */
enum request_effect {
    REQUEST_ASKS,     /* ask again */
    REQUEST_CHANGES,  /* nobody knows */
    REQUEST_HARMLESS, /* do it again: twice is as once */
};

/* When its answer is whole. */
enum request_until {
    UNTIL_COUNT,   /* as many items as the request had */
    UNTIL_MESSAGE, /* one message */
    UNTIL_EMPTY,   /* a message without items */
    UNTIL_NO_ID,   /* an item of JOB_INFO or DEAD_INFO without an id */
};

struct request_rule {
    enum verb verb, answer;
    enum request_until until;
    enum request_effect effect;
};

/* One request under way. */
struct pending {
    const struct request_rule *rule;
    enum request_effect effect; /* the rule's; SUBMIT whose items are all unique is harmless */
    uint64_t sequence;
    struct pending *next, *prev; /* by sequence */
    char *bytes;                 /* its body and payloads, for saying it again */
    size_t body_len, payloads_len;
    uint32_t items;
    uint32_t seen;      /* items of the answer, since it was last sent */
    uint32_t delivered; /* items that the user was shown */
    uint32_t times;     /* it was sent */
    bool said;          /* on the connection of now */
    bool may_be_done;   /* it was sent and nobody said that it was refused unread */
    uint64_t watch[FRAME_ITEMS_MAX / 64];  /* SUBMIT: items with `watch`, children not counted */
    uint64_t attach[FRAME_ITEMS_MAX / 64]; /* SUBMIT: items with `attach` */
    client_reply_fn *fn;
    void *ctx;
    struct mono deadline;
};

/* Who follows streams over this client (stream_client.c); all NULL if nobody does. */
struct client_tap {
    void *ctx;
    void (*up)(void *ctx); /* before requests are said again */
    /* An accepted SUBMIT with `attach`; `again`: it was said on a connection that is no more. */
    void (*submitted)(void *ctx, uint64_t id, bool again);
    /* False: none of its jobs. */
    bool (*finished)(void *ctx, const struct client_finished *f);
};

struct watch {
    uint64_t id;
    uint32_t hash_next;
    bool untold; /* the broker is to be told (again) */
    uint32_t untold_next;
};

/* What is watched of one sort, jobs or flows. */
struct watches {
    enum verb verb; /* that tells the broker */
    struct slab slab;
    struct lhash index;
    uint32_t untold; /* head of a list */
};

struct client {
    struct client_config config;
    char endpoint[LINK_ENDPOINT_MAX];
    struct link *link;
    struct frame_out out;
    struct arena *arena;
    struct err refused; /* code 0 unless the broker will never have us */
    struct client_tap tap;

    struct pending *first, *last;
    struct pending **by_sequence; /* at sequence % n_slots; n_slots is a power of two */
    uint32_t n_slots, n_pending;
    size_t bytes;         /* of all pending */
    struct mono earliest; /* no deadline is before it */
    uint32_t calls;       /* made by the client_poll under way */
    bool behind;          /* some could not be said yet */

    struct watches jobs, flows;
    struct mono watch_again; /* watches were refused for now: all are told anew then */
    uint64_t wait_id;        /* of client_wait */
    struct client_finished *wait_out;
};

/* client_request.c */
const struct request_rule *request_rule(enum verb verb);
/* Takes as many of the items as one message holds, at least `least`; how many, or -1. One that
 * cannot be sent ends the taking. */
int request_make(struct client *c, enum verb verb, const struct client_item *items, size_t n,
                 size_t least, client_reply_fn *fn, void *ctx, struct mono deadline, struct err *e);
struct pending *request_find(const struct client *c, uint64_t sequence);
void request_end(struct client *c, struct pending *p, const struct err *e);
void request_answer(struct client *c, struct pending *p, struct frame_in *in);
void request_error(struct client *c, struct pending *p, const struct msg_error *m);
void requests_flush(struct client *c);
void requests_expire(struct client *c);
void requests_again(struct client *c, bool new_epoch);
void requests_end_all(struct client *c, const struct err *e);
/* Forgets those of `fn` without a call. */
void requests_forget(struct client *c, client_reply_fn *fn);
void requests_drop(struct client *c);

/* client.c */
int client_say_unreachable(const struct client *c, struct err *e);

/* client_watch.c */
void watches_setup(struct client *c);
void watches_done(struct client *c);
/* The broker was told by SUBMIT; `ask`: tell it once more. */
void watch_note(struct client *c, uint64_t id, bool ask);
void watches_again(struct client *c);
void watches_flush(struct client *c);
/* A message of no request was refused: one that told of watches. */
void watch_error(struct client *c, const struct msg_error *m);
/* Tells the end of a job, if somebody waits for it: false if not. */
bool watch_ended(struct client *c, const struct client_finished *f);
void watch_on_finished(struct client *c, struct frame_in *in);
void watch_on_info(struct client *c, struct frame_in *in);
void watch_on_flow(struct client *c, struct frame_in *in);
