#include "broker/outbox.h"

#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/base/mem.h"

#define OPEN_SLOTS  4096U /* of the table of messages being filled; a power of two */
#define OPEN_MAX    (OPEN_SLOTS / 2)
#define KEPT_FRAMES 256U         /* whose buffers stay for the next turn */
#define KEPT_BYTES  (128U << 10) /* of one such buffer */

/* A message that is being filled. */
struct draft {
    uint64_t link, sequence, after;
    bool changes;    /* it tells what became of a change */
    bool in_parts;   /* as in struct letter */
    struct conn *to; /* NULL: gone */
    size_t bytes;    /* reserved for it */
    struct frame_out frame;
};

struct drafts {
    struct draft **at;
    uint32_t n, size, made; /* at[0..made) exist */
};

/* The notices that are being filled: by link, verb and whether they wait. */
struct slot {
    uint64_t link;
    uint64_t round; /* of the table; another one means that the slot is free */
    uint16_t verb;
    bool waits;
    struct draft *draft;
};

/* A message that waits for the disk. */
struct held {
    uint64_t link, sequence, after;
    bool changes, in_parts;
    size_t bytes;
    zmq_msg_t parts[PEERS_PARTS];
    unsigned n;
};

struct outbox {
    struct peers *peers;
    uint32_t items_max, bytes_max;
    struct drafts answers, notices;
    size_t turn_bytes;
    struct slot slots[OPEN_SLOTS];
    uint64_t round;
    uint32_t open;
    struct slot *last;    /* where the last notice went: the next one mostly goes there too */
    struct draft *answer; /* the answer that is being filled, if any */

    struct held *held; /* a ring */
    uint32_t held_size, held_first, held_n;
    size_t held_bytes;
    uint64_t durable;
    bool failed;
    struct err why;
    uint64_t doubt_end;
};

struct outbox *outbox_new(struct peers *peers, uint32_t items_max, uint32_t bytes_max) {
    struct outbox *o = MEM_NEW(struct outbox);
    o->peers = peers;
    o->items_max = items_max;
    o->bytes_max = bytes_max;
    o->round = 1;
    return o;
}

static struct held *held_at(const struct outbox *o, uint32_t n) {
    return &o->held[(o->held_first + n) & (o->held_size - 1)];
}

static void drafts_destroy(struct drafts *d) {
    for (uint32_t i = 0; i < d->made; i++) {
        frame_destroy(&d->at[i]->frame);
        mem_free(d->at[i]);
    }
    mem_free(d->at);
}

void outbox_destroy(struct outbox **op) {
    struct outbox *o = *op;
    if (!o)
        return;
    for (uint32_t i = 0; i < o->held_n; i++)
        for (unsigned n = 0; n < held_at(o, i)->n; n++)
            zmq_msg_close(&held_at(o, i)->parts[n]);
    drafts_destroy(&o->answers);
    drafts_destroy(&o->notices);
    mem_free(o->held);
    mem_free(o);
    *op = NULL;
}

/* ---- letters in ----------------------------------------------------------------------------- */
static struct draft *draft_new(struct drafts *d) {
    if (d->n == d->size) {
        d->size = d->size ? d->size * 2 : 64;
        d->at = mem_grow(d->at, d->size, sizeof(struct draft *));
    }
    if (d->n == d->made) {
        d->at[d->made] = MEM_NEW(struct draft);
        d->at[d->made++]->frame = FRAME_OUT;
    }
    return d->at[d->n++];
}

static struct draft *draft_begin(struct outbox *o, const struct letter *l, uint64_t after) {
    struct draft *d = draft_new(l->sequence ? &o->answers : &o->notices);
    d->link = l->link;
    d->sequence = l->sequence;
    d->after = after;
    d->changes = l->verb == VERB_submitted || l->verb == VERB_outcome;
    d->in_parts = l->in_parts;
    d->to = peers_conn(o->peers, l->link);
    d->bytes = CONN_MESSAGE; /* so that `to` stays, also of a message without items */
    conn_reserve(d->to, d->bytes);
    frame_begin(&d->frame, l->verb, l->sequence);
    if (d->frame.items_max > o->items_max)
        d->frame.items_max = o->items_max;
    d->frame.bytes_max = o->bytes_max;
    return d;
}

static bool slot_is(const struct slot *s, const struct outbox *o, const struct letter *l,
                    bool waits) {
    return s->round == o->round && s->link == l->link && s->verb == (uint16_t)l->verb &&
           s->waits == waits;
}

/* Where the notice goes; its draft is NULL if there is none yet. */
static struct slot *slot_find(struct outbox *o, const struct letter *l, bool waits) {
    if (o->last && slot_is(o->last, o, l, waits))
        return o->last;
    if (o->open >= OPEN_MAX) { /* what is open stays as it is and leaves with the turn */
        o->round++;
        o->open = 0;
    }
    uint64_t h = hash_mix(l->link, (uint64_t)l->verb << 1 | waits);
    for (uint32_t i = (uint32_t)h & (OPEN_SLOTS - 1);; i = (i + 1) & (OPEN_SLOTS - 1)) {
        struct slot *s = &o->slots[i];
        if (slot_is(s, o, l, waits))
            return o->last = s;
        if (s->round == o->round)
            continue;
        *s = (struct slot){l->link, o->round, (uint16_t)l->verb, waits, NULL};
        o->open++;
        return o->last = s;
    }
}

/* Where the draft stands that the letter belongs to. */
static struct draft **draft_place(struct outbox *o, const struct letter *l, uint64_t after) {
    if (!l->sequence)
        return &slot_find(o, l, after != 0)->draft;
    struct draft *d = o->answer;
    if (d && (d->link != l->link || d->sequence != l->sequence || d->frame.verb->verb != l->verb))
        o->answer = NULL;
    return &o->answer;
}

static int add(struct outbox *o, struct draft *d, const struct letter *l) {
    size_t before = d->frame.body.len + d->frame.payloads.len;
    int rc = frame_add_payload(&d->frame, l->message, l->payload, l->payload2);
    size_t more = d->frame.body.len + d->frame.payloads.len - before;
    o->turn_bytes += more;
    d->bytes += more;
    conn_reserve(d->to, more);
    return rc;
}

void outbox_put(struct outbox *o, const struct letter *l) {
    uint64_t after = l->after < o->durable ? 0 : l->after;
    struct draft **place = draft_place(o, l, after);
    struct draft *d = *place;
    if (!d || !l->message) /* without items: a message of its own, which ends a list */
        d = *place = draft_begin(o, l, d ? d->after : 0);
    if (after > d->after)
        d->after = after;
    if (!l->message || add(o, d, l) == 0)
        return;
    if (d->frame.items) {
        d = *place = draft_begin(o, l, d->after);
        if (add(o, d, l) == 0)
            return;
    }
    d->frame.bytes_max = FRAME_BYTES_MAX; /* larger alone than the bound that was agreed */
    int rc = add(o, d, l);
    ASSERT(rc == 0);
    d->frame.items_max = 1;
}

void outbox_cut(struct outbox *o) {
    o->answer = NULL;
}

void outbox_error(struct outbox *o, uint64_t link, uint64_t sequence, const struct err *e) {
    struct msg_error m = {0};
    MSG_SET(&m, error, code, (uint64_t)e->code);
    MSG_SET(&m, error, text, str_of(e->text));
    if (e->retry_after_ms)
        MSG_SET(&m, error, retry_after_ms, e->retry_after_ms);
    outbox_put(
        o, &(struct letter){.link = link, .verb = VERB_error, .sequence = sequence, .message = &m});
}

bool outbox_full(const struct outbox *o) {
    return o->turn_bytes > OUTBOX_TURN_BYTES || o->held_bytes > OUTBOX_HELD_BYTES ||
           o->held_n > OUTBOX_HELD_MAX;
}

size_t outbox_held(const struct outbox *o) {
    return o->held_n;
}

/* ---- messages out --------------------------------------------------------------------------- */
static void held_grow(struct outbox *o) {
    uint32_t size = o->held_size ? o->held_size * 2 : 256;
    struct held *ring = mem_grow(NULL, size, sizeof *ring);
    for (uint32_t i = 0; i < o->held_n; i++) {
        struct held *from = held_at(o, i), *to = &ring[i];
        *to = (struct held){.link = from->link,
                            .sequence = from->sequence,
                            .after = from->after,
                            .changes = from->changes,
                            .in_parts = from->in_parts,
                            .bytes = from->bytes,
                            .n = from->n};
        for (unsigned n = 0; n < from->n; n++) {
            zmq_msg_init(&to->parts[n]);
            zmq_msg_move(&to->parts[n], &from->parts[n]);
        }
    }
    mem_free(o->held);
    o->held = ring;
    o->held_size = size;
    o->held_first = 0;
}

static void hold(struct outbox *o, const struct draft *d) {
    if (o->held_n == o->held_size)
        held_grow(o);
    struct held *h = held_at(o, o->held_n++);
    h->link = d->link;
    h->sequence = d->sequence;
    h->after = d->after;
    h->changes = d->changes;
    h->in_parts = d->in_parts;
    h->bytes = d->frame.head.len + d->frame.body.len + d->frame.payloads.len + sizeof *h;
    h->n = peers_parts(d->to, &d->frame, h->parts);
    o->held_bytes += h->bytes;
}

/* What was put between two commits is in doubt as a whole or not at all, so the last record tells.
 */
static void send_error(struct outbox *o, const struct held *h) {
    AUTO_FRAME_OUT frame = FRAME_OUT;
    struct msg_error m = {0};
    bool doubt = h->changes && (h->in_parts || h->after < o->doubt_end);
    struct err e = {0};
    err_set(&e, doubt ? ERR_UNKNOWN_OUTCOME : ERR_READ_ONLY, "%s%s", o->why.text,
            doubt ? ": it may have been accepted, which shows when the broker has been started "
                    "again; jobs with the same unique key are accepted once"
                  : "");
    MSG_SET(&m, error, code, (uint64_t)e.code);
    MSG_SET(&m, error, text, str_of(e.text));
    frame_begin(&frame, VERB_error, h->sequence);
    int rc = frame_add(&frame, &m);
    ASSERT(rc == 0);
    zmq_msg_t parts[PEERS_PARTS];
    unsigned n = peers_parts(peers_conn(o->peers, h->link), &frame, parts);
    peers_send(o->peers, h->link, parts, n);
}

static void leave(struct outbox *o, const struct draft *d) {
    conn_release(d->to, d->bytes);
    if (d->after < o->durable || d->after == 0) {
        zmq_msg_t parts[PEERS_PARTS];
        unsigned n = peers_parts(d->to, &d->frame, parts);
        peers_send(o->peers, d->link, parts, n);
    } else if (!o->failed) {
        hold(o, d);
    } else if (d->sequence) {
        send_error(o, &(struct held){.link = d->link,
                                     .sequence = d->sequence,
                                     .after = d->after,
                                     .changes = d->changes,
                                     .in_parts = d->in_parts});
    }
}

/* Large buffers go back at once, and most frames after a burst. */
static void drafts_clear(struct drafts *d) {
    for (uint32_t i = 0; i < d->n; i++) {
        struct frame_out *f = &d->at[i]->frame;
        if (f->body.size > KEPT_BYTES || f->payloads.size > KEPT_BYTES) {
            frame_destroy(f);
            *f = FRAME_OUT;
        }
    }
    while (d->made > KEPT_FRAMES) {
        frame_destroy(&d->at[--d->made]->frame);
        mem_free(d->at[d->made]);
    }
    d->n = 0;
}

void outbox_flush(struct outbox *o) {
    for (uint32_t i = 0; i < o->answers.n; i++)
        leave(o, o->answers.at[i]);
    for (uint32_t i = 0; i < o->notices.n; i++)
        leave(o, o->notices.at[i]);
    drafts_clear(&o->answers);
    drafts_clear(&o->notices);
    o->turn_bytes = 0;
    o->round++;
    o->open = 0;
    o->last = NULL;
    o->answer = NULL;
}

static void held_pop(struct outbox *o) {
    o->held_bytes -= held_at(o, 0)->bytes;
    o->held_first = (o->held_first + 1) & (o->held_size - 1);
    o->held_n--;
}

void outbox_durable(struct outbox *o, uint64_t position) {
    o->durable = position;
    while (o->held_n && held_at(o, 0)->after < position) {
        struct held *h = held_at(o, 0);
        peers_send(o->peers, h->link, h->parts, h->n);
        held_pop(o);
    }
}

void outbox_failed(struct outbox *o, const struct err *why, uint64_t doubt_end) {
    o->failed = true;
    o->doubt_end = doubt_end;
    o->why = *why;
    for (; o->held_n; held_pop(o)) {
        struct held *h = held_at(o, 0);
        for (unsigned n = 0; n < h->n; n++)
            zmq_msg_close(&h->parts[n]);
        if (h->sequence)
            send_error(o, h);
    }
}
