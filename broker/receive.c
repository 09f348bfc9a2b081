#include "broker/receive.h"

#include "broker/gate.h"
#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/log/log.h"

#define ARENA_BYTES (1U << 20) /* lists of one message; HELLO has 2 x 10,240 numbers, 256 names */
#define VERSION     1          /* the minor version that this broker speaks */

void receiver_init(struct receiver *r, struct core *core, struct peers *peers,
                   struct outbox *outbox, const struct core_config *config) {
    *r = (struct receiver){.core = core,
                           .peers = peers,
                           .outbox = outbox,
                           .items_max = config->items_max,
                           .bytes_max = config->bytes_max,
                           .arena = arena_new(ARENA_BYTES)};
    waiting_init(&r->waiting, config->outstanding_max);
}

void receiver_done(struct receiver *r) {
    waiting_done(&r->waiting);
    arena_destroy(&r->arena);
    for (unsigned n = 0; n <= PEERS_ROLES; n++)
        MEM_FREE(r->lenient[n]);
}

/* ---- peers of a higher minor version -------------------------------------------------------- */
static bool is_lenient(const struct receiver *r, uint64_t link) {
    const uint64_t *links = r->lenient[peers_role(link)];
    return links && links[link % LENIENT_LINKS] == link;
}

static void set_lenient(struct receiver *r, uint64_t link, bool lenient) {
    uint64_t **links = &r->lenient[peers_role(link)];
    if (!lenient && !is_lenient(r, link))
        return;
    if (!*links)
        *links = mem_zalloc(LENIENT_LINKS * sizeof **links);
    (*links)[link % LENIENT_LINKS] = lenient ? link : 0;
}

/* ---- refusals ------------------------------------------------------------------------------- */
static void log_refusal(const struct parcel *in, const struct err *e) {
    log_event(LOG_message_refused, log_u64("role", in->role),
              log_u64("link", in->link & UINT32_MAX), LOG_WHY(e));
}

static void refuse(struct receiver *r, const struct parcel *in, uint64_t sequence,
                   const struct err *e) {
    core_count_malformed(r->core);
    log_refusal(in, e);
    outbox_error(r->outbox, in->link, sequence, e);
}

/* A routing id that the peer chose outlives its connection, and two peers may choose the same. */
static void refuse_routing(struct receiver *r, struct parcel *in) {
    AUTO_FRAME_OUT frame = FRAME_OUT;
    struct err e = {0};
    err_set(&e, ERR_BAD_VALUE, "the socket has a routing id of its own choice; leave it to ZeroMQ");
    core_count_malformed(r->core);
    log_refusal(in, &e);
    struct msg_error m = {0};
    MSG_SET(&m, error, code, (uint64_t)e.code);
    MSG_SET(&m, error, text, str_of(e.text));
    frame_begin(&frame, VERB_error, 0);
    int rc = frame_add(&frame, &m);
    ASSERT(rc == 0);
    zmq_msg_t parts[PEERS_PARTS];
    unsigned n = peers_parts(NULL, &frame, parts);
    peers_send_back(r->peers, in, parts, n);
}

static int check_bounds(const struct receiver *r, const struct frame_in *frame, size_t bytes,
                        struct err *e) {
    if (bytes > r->bytes_max)
        return err_set(e, ERR_TOO_LARGE, "%s: %zu bytes, at most %u", frame->verb->name, bytes,
                       r->bytes_max);
    if (frame->items > r->items_max)
        return err_set(e, ERR_TOO_LARGE, "%s: %u items, at most %u", frame->verb->name,
                       frame->items, r->items_max);
    return 0;
}

static int check_role(const struct parcel *in, const struct verb_def *verb, struct err *e) {
    static const char *const roles[] = {"", "client", "worker", "gateway", "operator"};
    if (verb->roles & ROLE_BIT(in->role))
        return 0;
    return err_set(e, ERR_BAD_ROLE, "%s: not for the role %s", verb->name, roles[in->role]);
}

/* Who has a key is what that says, wherever he connects. */
static int check_key(const struct keyring_key *key, const struct parcel *in, struct err *e) {
    static const char *const roles[] = {"", "client", "worker", "gateway", "operator"};
    if (!key || key->role == in->role)
        return 0;
    if (key == &keyring_nobody)
        return err_set(e, ERR_BAD_ROLE, "this key is listed no more");
    return err_set(e, ERR_BAD_ROLE, "key '" STR_FMT "' is for the role %s, this endpoint is for %s",
                   STR_ARG(key->rights.name), roles[key->role], roles[in->role]);
}

/* What puts no record, so that one can look in and stay connected while the disk is full. */
static bool puts_nothing(enum role role, enum verb verb) {
    switch (verb) {
    case VERB_hello: /* a worker's settles what it holds */
        return role != ROLE_WORKER;
    case VERB_heartbeat:
    case VERB_get_job:
    case VERB_list_jobs:
    case VERB_list_dead:
    case VERB_get_why:
    case VERB_watch_job:
    case VERB_watch_flow:
    case VERB_detach:
    case VERB_get_status:
    case VERB_list_queues:
    case VERB_list_workers:
    case VERB_list_pools:
    case VERB_list_schedules:
    case VERB_set_note:
    case VERB_list_notes:
    case VERB_progress:
    case VERB_purge_queue: /* what it puts it puts when there is room, and it makes more */
        return true;
    default:
        return false;
    }
}

static bool has_room(struct receiver *r, const struct parcel *in, const struct frame_in *frame) {
    if (!r->full || puts_nothing(in->role, frame->verb->verb))
        return true;
    struct err e = {0};
    err_set(&e, ERR_DISK_FULL, "%s: no space is left for any record", frame->verb->name);
    if (frame->sequence)
        outbox_error(r->outbox, in->link, frame->sequence, &e);
    return false;
}

/* ---- questions that wait -------------------------------------------------------------------- */
/* Those whose answers may be large, and what must not overtake them. */
static bool is_question(enum verb verb, enum waiting_what *what) {
    *what = WAITING_ASKS;
    switch (verb) {
    case VERB_watch_job:
    case VERB_attach:
        *what = WAITING_BEGINS;
        return true;
    case VERB_detach:
        *what = WAITING_ENDS;
        return true;
    case VERB_get_job:
    case VERB_list_jobs:
    case VERB_list_dead:
    case VERB_get_why:
    case VERB_get_status:
    case VERB_list_queues:
    case VERB_list_workers:
    case VERB_list_pools:
    case VERB_list_notes:
        return true;
    default:
        return false;
    }
}

/* What ends something frees, and has no answer that could say that it was dropped. */
static void has_no_room(struct receiver *r, struct conn *c, const struct parcel *in,
                        const struct frame_in *frame, enum waiting_what what, const struct err *e) {
    if (what == WAITING_ENDS)
        peers_give_up(r->peers, c, "more DETACH wait behind its questions than the bound");
    else if (frame->sequence)
        outbox_error(r->outbox, in->link, frame->sequence, e);
}

/* True: it is not worked on now. What was asked before is answered before. */
static bool must_wait(struct receiver *r, struct parcel *in, const struct frame_in *frame) {
    struct conn *c = peers_conn(r->peers, in->link);
    enum waiting_what what;
    if (!c || !(c->waits || conn_is_full(c)))
        return false;
    if (frame->verb->verb == VERB_bye)
        waiting_forget(&r->waiting, c);
    if (!is_question(frame->verb->verb, &what) || (what == WAITING_ENDS && !waiting_begins(c)))
        return false;
    struct err e = {0};
    if (waiting_put(&r->waiting, c, in, what, &e) < 0)
        has_no_room(r, c, in, frame, what, &e);
    return true;
}

/* ---- items ---------------------------------------------------------------------------------- */
/* Who will speak a higher version is known only once his HELLO was read. */
static int read_hello(struct receiver *r, uint64_t link, struct frame_in *frame,
                      union msg_any *message, struct frame_item *item, struct err *e) {
    struct frame_in again = *frame;
    int rc = frame_next(frame, message, r->arena, item, e);
    if (rc < 0 && e->code == ERR_UNKNOWN_FIELD) {
        struct err unused;
        again.lenient = true;
        int more = frame_next(&again, message, r->arena, item, &unused);
        if (more > 0 && message->hello.version_max > VERSION) {
            *frame = again;
            rc = more;
        }
    }
    if (rc > 0)
        set_lenient(r, link, message->hello.version_max > VERSION);
    return rc;
}

/* An item and its children are one: what is wrong with one of them is wrong with all. */
static int read_children(struct receiver *r, struct frame_in *frame, const struct frame_item *item,
                         struct err *e) {
    struct core_child *at = arena_alloc(r->arena, item->children * sizeof *at);
    struct frame_item child;
    struct err why;
    int rc = 0;
    for (uint32_t n = 0; n < item->children; n++) {
        if (frame_next(frame, &at[n].m, r->arena, &child, &why) < 0 && rc == 0)
            rc = err_add(&why, "child %u", n), *e = why;
        at[n].payload = child.payload;
    }
    if (rc == 0)
        core_children(r->core, at, item->children);
    return rc;
}

static uint32_t give_items(struct receiver *r, uint64_t link, struct frame_in *frame) {
    bool hello = frame->verb->verb == VERB_hello;
    uint32_t items = 0;
    if (arena_used(r->arena))
        arena_reset(r->arena);
    for (;; items++) {
        union msg_any message;
        struct frame_item item;
        struct err e;
        int rc = hello && !items ? read_hello(r, link, frame, &message, &item, &e)
                                 : frame_next(frame, &message, r->arena, &item, &e);
        if (rc == 0)
            break;
        struct err unused;
        if (item.children && read_children(r, frame, &item, rc < 0 ? &unused : &e) < 0)
            rc = -1;
        core_item(r->core, &message, item.payload, rc < 0 ? &e : NULL);
    }
    r->fields_skipped += frame->skipped;
    return items;
}

/* `first`: it has not waited yet. */
static uint32_t receive(struct receiver *r, struct parcel *in, bool first) {
    struct frame_in frame;
    struct err e = {0};
    if (!in->link) {
        refuse_routing(r, in);
        return 0;
    }
    if (in->count < 2 || in->count > PEERS_PARTS) {
        err_set(&e, ERR_MALFORMED, "a message of %u frames, must be 2 or 3", in->count);
        refuse(r, in, 0, &e);
        return 0;
    }
    int rc = frame_open(&frame, parcel_part(in, 0), parcel_part(in, 1), parcel_part(in, 2), &e);
    const struct keyring_key *key = peers_key(peers_conn(r->peers, in->link));
    if (rc < 0 || check_bounds(r, &frame, parcel_bytes(in), &e) < 0 || check_key(key, in, &e) < 0 ||
        check_role(in, frame.verb, &e) < 0) {
        refuse(r, in, frame.sequence, &e);
        return 0;
    }
    if (frame.verb->verb == VERB_hello)
        gate_hello(parcel_fd(in));
    core_set_rights(r->core, key ? &key->rights : NULL);
    if (!has_room(r, in, &frame) || (first && must_wait(r, in, &frame)) ||
        !core_request(r->core, in->link, in->role, frame.verb->verb, frame.sequence))
        return 0;
    r->words += frame.verb->verb != VERB_heartbeat;
    r->submits += frame.verb->verb == VERB_submit;
    frame.lenient = is_lenient(r, in->link);
    uint32_t items = give_items(r, in->link, &frame);
    core_request_end(r->core);
    return items;
}

uint32_t receive_message(struct receiver *r, struct parcel *in) {
    return receive(r, in, true);
}

uint32_t receive_waiting(struct receiver *r, struct parcel *in) {
    return receive(r, in, false);
}
