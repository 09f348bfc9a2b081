#include "common/wire/frame.h"

#include "common/base/check.h"

#include <inttypes.h>

/* ---- building ------------------------------------------------------------------------------- */
/* The count of items stands in the long form, so that it can be raised in place. */
#define BODY_HEAD_LEN 5

void frame_destroy(struct frame_out *f) {
    buf_destroy(&f->head);
    buf_destroy(&f->body);
    buf_destroy(&f->payloads);
}

static void store_count(struct frame_out *f) {
    unsigned char *p = (unsigned char *)f->body.at;
    p[0] = 0xdd;
    p[1] = (unsigned char)(f->items >> 24);
    p[2] = (unsigned char)(f->items >> 16);
    p[3] = (unsigned char)(f->items >> 8);
    p[4] = (unsigned char)f->items;
}

void frame_begin(struct frame_out *f, enum verb verb, uint64_t sequence) {
    f->verb = verb_def(verb);
    ASSERT(f->verb);
    f->items = 0;
    f->items_max = f->verb->items_max;
    f->bytes_max = FRAME_BYTES_MAX;
    buf_clear(&f->head);
    buf_clear(&f->body);
    buf_clear(&f->payloads);
    msgpack_put_list(&f->head, 3);
    msgpack_put_uint(&f->head, FRAME_VERSION);
    msgpack_put_uint(&f->head, verb);
    msgpack_put_uint(&f->head, sequence);
    void *count = buf_room(&f->body, BODY_HEAD_LEN);
    ASSERT(count && !f->head.failed);
    buf_took(&f->body, BODY_HEAD_LEN);
    store_count(f);
}

int frame_add(struct frame_out *f, const void *msg) {
    return frame_add_payload(f, msg, (struct str){0}, (struct str){0});
}

static uint64_t size_in(const struct msg_def *def, uint8_t number, const void *msg) {
    uint64_t has, v;
    memcpy(&has, msg, sizeof has);
    if (!number || !(has >> number & 1))
        return 0;
    memcpy(&v, (const char *)msg + msg_field(def, number)->offset, sizeof v);
    return v;
}

static int add(struct frame_out *f, const struct msg_def *def, const void *msg, struct str payload,
               struct str result) {
    ASSERT(size_in(def, def->size_at, msg) == payload.len);
    ASSERT(size_in(def, def->result_size_at, msg) == result.len);
    if (f->items >= f->items_max)
        return -1;
    size_t body_len = f->body.len, payloads_len = f->payloads.len;
    if (codec_put_def(&f->body, def, msg) == 0 && buf_put_str(&f->payloads, payload) == 0 &&
        buf_put_str(&f->payloads, result) == 0 &&
        f->head.len + f->body.len + f->payloads.len <= f->bytes_max) {
        f->items++;
        store_count(f);
        return 0;
    }
    f->body.len = body_len;
    f->payloads.len = payloads_len;
    f->body.failed = f->payloads.failed = false;
    return -1;
}

int frame_add_child(struct frame_out *f, const struct msg_submit *msg, struct str payload) {
    return add(f, msg_def(MSG_submit), msg, payload, (struct str){0});
}

struct frame_mark frame_mark(const struct frame_out *f) {
    return (struct frame_mark){f->items, f->body.len, f->payloads.len};
}

void frame_back(struct frame_out *f, const struct frame_mark *to) {
    ASSERT(to->items <= f->items);
    f->items = to->items;
    f->body.len = to->body_len;
    f->payloads.len = to->payloads_len;
    store_count(f);
}

int frame_add_payload(struct frame_out *f, const void *msg, struct str payload, struct str result) {
    return add(f, msg_def(f->verb->message), msg, payload, result);
}

static int add_encoded(struct frame_out *f, const struct frame_children *k) {
    const struct frame_mark before = frame_mark(f);
    if (k->n > f->items_max - f->items)
        return -1;
    if (buf_put_str(&f->body, k->envelopes) == 0 && buf_put_str(&f->payloads, k->payloads) == 0 &&
        f->head.len + f->body.len + f->payloads.len <= f->bytes_max) {
        f->items += k->n;
        store_count(f);
        return 0;
    }
    frame_back(f, &before);
    f->body.failed = f->payloads.failed = false;
    return -1;
}

int frame_add_family(struct frame_out *f, const void *msg, struct str payload,
                     const struct frame_children *children) {
    const struct frame_mark before = frame_mark(f);
    if (frame_add_payload(f, msg, payload, (struct str){0}) < 0)
        return -1;
    if (add_encoded(f, children) == 0)
        return 0;
    frame_back(f, &before);
    return -1;
}

int frame_add_encoded(struct frame_out *f, const struct frame_children *items) {
    ASSERT(f->verb->message == MSG_submit);
    return add_encoded(f, items);
}

/* ---- reading: where everything lies --------------------------------------------------------- */
/* As much of the head as can be read, so that even a refusal can name its sequence. */
static bool read_head(struct frame_in *in, struct str head, uint64_t *version, uint64_t *verb) {
    struct cursor c = cursor_of(head);
    uint32_t n;
    if (msgpack_get_list(&c, &n) || n == 0 || msgpack_get_uint(&c, version))
        return false;
    return n == 3 && !msgpack_get_uint(&c, verb) && !msgpack_get_uint(&c, &in->sequence) &&
           cursor_left(&c) == 0;
}

static int open_head(struct frame_in *in, struct str head, struct err *e) {
    uint64_t version = FRAME_VERSION, verb = VERB_NONE;
    bool whole = read_head(in, head, &version, &verb);
    if (version != FRAME_VERSION)
        return err_set(e, ERR_BAD_VERSION, "frame 0: version %" PRIu64 ", must be %d", version,
                       FRAME_VERSION);
    if (!whole)
        return err_set(e, ERR_MALFORMED, "frame 0: must be a list of version, verb, sequence");
    in->verb = verb_def(verb);
    if (!in->verb)
        return err_set(e, ERR_UNKNOWN_VERB, "frame 0: no verb %" PRIu64, verb);
    return 0;
}

struct sizes {
    uint64_t payload, result, children;
    bool payload_given, result_given, children_given;
};

/* Which message the next item is, where those before it may have had children. */
static const struct msg_def *item_def(const struct verb_def *verb, uint64_t children_left) {
    return msg_def(children_left ? MSG_submit : verb->message);
}

static int item_error(const struct verb_def *verb, uint32_t index, const char *what,
                      struct err *e) {
    return err_set(e, ERR_MALFORMED, "%s: item %" PRIu32 ": %s", verb->name, index, what);
}

/* One field that measures a payload, or counts children. Where it cannot be read or stands twice,
 * nobody can say where the payloads of the other items begin. */
static const char *read_size(struct cursor *c, uint64_t *size, bool *given) {
    if (*given)
        return "one of its counts is given twice";
    *given = true;
    return msgpack_get_uint(c, size) ? "one of its counts is not a number" : NULL;
}

/* Passes one item; what is wrong with it as far as the others are concerned, or NULL. */
static const char *pass_item(struct cursor *c, const struct msg_def *def, struct sizes *sizes) {
    *sizes = (struct sizes){0};
    uint32_t pairs;
    if ((!def->size_at && !def->children_at) || msgpack_get_map(c, &pairs)) {
        enum msgpack_fault fault = msgpack_skip(c);
        return fault ? msgpack_fault_text(fault) : NULL;
    }
    for (; pairs; pairs--) {
        uint64_t key;
        const char *wrong = NULL;
        if (msgpack_get_uint(c, &key)) {
            enum msgpack_fault fault = msgpack_skip(c);
            if (fault)
                return msgpack_fault_text(fault);
            key = 0;
        }
        if (key && key == def->size_at) {
            wrong = read_size(c, &sizes->payload, &sizes->payload_given);
        } else if (key && key == def->result_size_at) {
            wrong = read_size(c, &sizes->result, &sizes->result_given);
        } else if (key && key == def->children_at) {
            wrong = read_size(c, &sizes->children, &sizes->children_given);
        } else {
            enum msgpack_fault fault = msgpack_skip(c);
            wrong = fault ? msgpack_fault_text(fault) : NULL;
        }
        if (wrong)
            return wrong;
    }
    return NULL;
}

/* Takes the bytes of one item off frame 2. */
static bool take_payloads(struct cursor *payloads, const struct sizes *sizes,
                          struct frame_item *item) {
    if (sizes->payload > cursor_left(payloads))
        return false;
    item->payload = str_make(payloads->at, (size_t)sizes->payload);
    if (sizes->payload)
        payloads->at += sizes->payload;
    if (sizes->result > cursor_left(payloads))
        return false;
    item->result = str_make(payloads->at, (size_t)sizes->result);
    if (sizes->result)
        payloads->at += sizes->result;
    return true;
}

static int check_extents(const struct frame_in *in, struct err *e) {
    struct cursor body = in->body, payloads = in->payloads;
    uint64_t children = 0;
    for (uint32_t i = 0; i < in->items; i++) {
        struct sizes sizes;
        struct frame_item item;
        const char *wrong = pass_item(&body, item_def(in->verb, children), &sizes);
        if (wrong)
            return item_error(in->verb, i, wrong, e);
        children = children ? children - 1 : sizes.children;
        if (children > in->items - i - 1)
            return item_error(in->verb, i, "it has more children than there are items", e);
        if (!take_payloads(&payloads, &sizes, &item))
            return item_error(in->verb, i, "its payload goes beyond frame 2", e);
    }
    if (cursor_left(&body))
        return err_set(e, ERR_MALFORMED, "%s: frame 1: %zu bytes behind its list", in->verb->name,
                       cursor_left(&body));
    if (cursor_left(&payloads))
        return err_set(e, ERR_MALFORMED, "%s: frame 2: %zu bytes that belong to no item",
                       in->verb->name, cursor_left(&payloads));
    return 0;
}

/* Only a listing of the broker may list nothing. */
static bool may_be_empty(const struct verb_def *verb) {
    return verb->roles == ROLE_BIT_BROKER && verb->items_max > 1;
}

int frame_open(struct frame_in *in, struct str head, struct str body, struct str payloads,
               struct err *e) {
    *in = (struct frame_in){.body = cursor_of(body), .payloads = cursor_of(payloads)};
    if (open_head(in, head, e) < 0)
        return -1;
    const struct verb_def *verb = in->verb;
    uint64_t bytes = (uint64_t)head.len + body.len + payloads.len;
    if (bytes > FRAME_BYTES_MAX)
        return err_set(e, ERR_TOO_LARGE, "%s: %" PRIu64 " bytes, at most %u", verb->name, bytes,
                       FRAME_BYTES_MAX);
    enum msgpack_fault fault = msgpack_get_list(&in->body, &in->items);
    if (fault)
        return err_set(e, ERR_MALFORMED, "%s: frame 1: must be a list of items%s%s", verb->name,
                       fault == MSGPACK_WRONG ? "" : ": ",
                       fault == MSGPACK_WRONG ? "" : msgpack_fault_text(fault));
    if (in->items > verb->items_max)
        return err_set(e, ERR_TOO_LARGE, "%s: %" PRIu32 " items, at most %" PRIu32, verb->name,
                       in->items, verb->items_max);
    if (in->items == 0 && !may_be_empty(verb))
        return err_set(e, ERR_MALFORMED, "%s: no item, at least 1", verb->name);
    return check_extents(in, e);
}

/* ---- reading: item by item ------------------------------------------------------------------ */
static void next_children(struct frame_in *in, const struct sizes *sizes, struct frame_item *item) {
    in->children = in->children ? in->children - 1 : sizes->children;
    item->children = item->child ? 0 : (uint32_t)sizes->children;
}

/* The item at `start` could not be read: passes it by what frame_open found there. */
static int pass_bad_item(struct frame_in *in, const struct msg_def *def, struct frame_item *item,
                         struct err *e) {
    struct sizes sizes;
    const char *wrong = pass_item(&in->body, def, &sizes);
    ASSERT(!wrong);
    next_children(in, &sizes, item);
    bool taken = take_payloads(&in->payloads, &sizes, item);
    ASSERT(taken);
    if (sizes.payload_given && sizes.payload > msg_field(def, def->size_at)->max)
        err_set(e, ERR_TOO_LARGE, "%s: a payload of %" PRIu64 " bytes, at most %" PRIu64, def->name,
                sizes.payload, msg_field(def, def->size_at)->max);
    return -1;
}

int frame_next(struct frame_in *in, void *msg, struct arena *arena, struct frame_item *item,
               struct err *e) {
    if (in->taken == in->items)
        return 0;
    const struct msg_def *def = item_def(in->verb, in->children);
    *item = (struct frame_item){.index = in->taken++, .child = in->children > 0};
    if (codec_get_def(&in->body, def, msg, arena, in->lenient ? &in->skipped : NULL, e) < 0)
        return pass_bad_item(in, def, item, e);
    struct sizes sizes = {.payload = size_in(def, def->size_at, msg),
                          .result = size_in(def, def->result_size_at, msg),
                          .children = size_in(def, def->children_at, msg)};
    next_children(in, &sizes, item);
    bool taken = take_payloads(&in->payloads, &sizes, item);
    ASSERT(taken);
    return 1;
}

int frame_check_payload(struct str payload, struct err *e) {
    static const struct msgpack_limits limits = {MSGPACK_DEPTH_MAX, PAYLOAD_VALUES_MAX};
    if (payload.len == 0)
        return 0;
    struct cursor c = cursor_of(payload);
    if (msgpack_peek(&c) != MSGPACK_MAP)
        return err_set(e, ERR_MALFORMED, "payload: %s, must be a map",
                       msgpack_type_name(msgpack_peek(&c)));
    if (msgpack_check(payload, &limits, e) < 0)
        return err_add(e, "payload");
    return 0;
}
