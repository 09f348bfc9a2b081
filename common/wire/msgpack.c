#include "common/wire/msgpack.h"

#include "common/base/check.h"

#include <endian.h>
#include <string.h>

/* What the first byte says. `head` is how many bytes come before the content, itself with them;
 * `width` is how many of those are a big-endian number (the value, a length or a count). */
struct lead {
    uint8_t type, head, width, fixed; /* fixed: bytes of content that the lead alone decides */
};

/* Leads c0 to df; the others are computed. */
static const struct lead leads[32] = {
    {MSGPACK_NIL, 1, 0, 0},   {MSGPACK_NONE, 1, 0, 0},  {MSGPACK_BOOL, 1, 0, 0},
    {MSGPACK_BOOL, 1, 0, 0},  {MSGPACK_BYTES, 2, 1, 0}, {MSGPACK_BYTES, 3, 2, 0},
    {MSGPACK_BYTES, 5, 4, 0}, {MSGPACK_EXT, 3, 1, 0},   {MSGPACK_EXT, 4, 2, 0},
    {MSGPACK_EXT, 6, 4, 0},   {MSGPACK_FLOAT, 5, 4, 0}, {MSGPACK_FLOAT, 9, 8, 0},
    {MSGPACK_UINT, 2, 1, 0},  {MSGPACK_UINT, 3, 2, 0},  {MSGPACK_UINT, 5, 4, 0},
    {MSGPACK_UINT, 9, 8, 0},  {MSGPACK_INT, 2, 1, 0},   {MSGPACK_INT, 3, 2, 0},
    {MSGPACK_INT, 5, 4, 0},   {MSGPACK_INT, 9, 8, 0},   {MSGPACK_EXT, 2, 0, 1},
    {MSGPACK_EXT, 2, 0, 2},   {MSGPACK_EXT, 2, 0, 4},   {MSGPACK_EXT, 2, 0, 8},
    {MSGPACK_EXT, 2, 0, 16},  {MSGPACK_TEXT, 2, 1, 0},  {MSGPACK_TEXT, 3, 2, 0},
    {MSGPACK_TEXT, 5, 4, 0},  {MSGPACK_LIST, 3, 2, 0},  {MSGPACK_LIST, 5, 4, 0},
    {MSGPACK_MAP, 3, 2, 0},   {MSGPACK_MAP, 5, 4, 0},
};

static struct lead lead_of(unsigned char b) {
    if (b < 0x80)
        return (struct lead){MSGPACK_UINT, 1, 0, b};
    if (b < 0x90)
        return (struct lead){MSGPACK_MAP, 1, 0, b & 0x0f};
    if (b < 0xa0)
        return (struct lead){MSGPACK_LIST, 1, 0, b & 0x0f};
    if (b < 0xc0)
        return (struct lead){MSGPACK_TEXT, 1, 0, b & 0x1f};
    if (b < 0xe0)
        return leads[b - 0xc0];
    return (struct lead){MSGPACK_INT, 1, 0, 0};
}

static uint64_t load_be(const unsigned char *p, unsigned width) {
    uint64_t v = 0;
    for (unsigned i = 0; i < width; i++)
        v = (v << 8) | p[i];
    return v;
}

const char *msgpack_fault_text(enum msgpack_fault fault) {
    static const char *const texts[] = {
        [MSGPACK_OK] = "no fault",
        [MSGPACK_SHORT] = "the input ends within it",
        [MSGPACK_WRONG] = "a value of another type",
        [MSGPACK_BAD] = "byte c1, which msgpack does not have",
        [MSGPACK_DEEP] = "nested too deep",
        [MSGPACK_MANY] = "too many values",
        [MSGPACK_UTF8] = "text that is not UTF-8",
    };
    return texts[fault];
}

const char *msgpack_type_name(enum msgpack_type type) {
    static const char *const names[] = {
        [MSGPACK_NONE] = "nothing",
        [MSGPACK_NIL] = "nil",
        [MSGPACK_BOOL] = "a boolean",
        [MSGPACK_UINT] = "a number",
        [MSGPACK_INT] = "a negative number",
        [MSGPACK_FLOAT] = "a float",
        [MSGPACK_TEXT] = "text",
        [MSGPACK_BYTES] = "bytes",
        [MSGPACK_LIST] = "a list",
        [MSGPACK_MAP] = "a map",
        [MSGPACK_EXT] = "an extension",
    };
    return names[type];
}

/* ---- reading -------------------------------------------------------------------------------- */
/* A signed form: sign-extends the number of the token, or of the lead itself. */
static void set_signed(struct msgpack_token *t, uint64_t raw, unsigned width) {
    unsigned unused_bits = 64 - 8 * width;
    int64_t v = (int64_t)(raw << unused_bits) >> unused_bits;
    t->type = v < 0 ? MSGPACK_INT : MSGPACK_UINT;
    t->negative = v; /* of the same bits as `number` when it is not negative */
}

static void set_float(struct msgpack_token *t, uint64_t raw, unsigned width) {
    if (width == 4) {
        uint32_t bits = (uint32_t)raw;
        float small;
        memcpy(&small, &bits, sizeof small);
        t->real = (double)small;
    } else {
        memcpy(&t->real, &raw, sizeof raw);
    }
}

/* How many bytes must follow for `count` elements or pairs to be possible. */
static bool count_fits(enum msgpack_type type, uint64_t count, size_t left) {
    return type == MSGPACK_MAP ? count <= left / 2 : count <= left;
}

static enum msgpack_fault next_container(struct cursor *c, struct msgpack_token *t,
                                         const struct lead *l, uint64_t count) {
    if (!count_fits(t->type, count, cursor_left(c) - l->head))
        return MSGPACK_SHORT;
    t->count = (uint32_t)count;
    c->at += l->head;
    return MSGPACK_OK;
}

static enum msgpack_fault next_bytes(struct cursor *c, struct msgpack_token *t,
                                     const struct lead *l, uint64_t len) {
    if (len > cursor_left(c) - l->head)
        return MSGPACK_SHORT;
    if (t->type == MSGPACK_EXT)
        t->ext = (int8_t)c->at[l->head - 1];
    t->bytes = str_make(c->at + l->head, (size_t)len);
    c->at += l->head + len;
    return MSGPACK_OK;
}

enum msgpack_fault msgpack_next(struct cursor *c, struct msgpack_token *t) {
    *t = (struct msgpack_token){0};
    if (c->at == c->end)
        return MSGPACK_SHORT;
    unsigned char b = *c->at;
    struct lead l = lead_of(b);
    t->type = (enum msgpack_type)l.type;
    if (cursor_left(c) < l.head)
        return MSGPACK_SHORT;
    uint64_t raw = l.width ? load_be(c->at + 1, l.width) : l.fixed;
    switch (t->type) {
    case MSGPACK_NONE:
        return MSGPACK_BAD;
    case MSGPACK_LIST:
    case MSGPACK_MAP:
        return next_container(c, t, &l, raw);
    case MSGPACK_TEXT:
    case MSGPACK_BYTES:
    case MSGPACK_EXT:
        return next_bytes(c, t, &l, raw);
    case MSGPACK_BOOL:
        t->flag = b == 0xc3;
        break;
    case MSGPACK_UINT:
        t->number = raw;
        break;
    case MSGPACK_INT:
        set_signed(t, l.width ? raw : b, l.width ? l.width : 1);
        break;
    case MSGPACK_FLOAT:
        set_float(t, raw, l.width);
        break;
    case MSGPACK_NIL:
        break;
    }
    c->at += l.head;
    return MSGPACK_OK;
}

enum msgpack_type msgpack_peek(const struct cursor *c) {
    struct cursor copy = *c;
    struct msgpack_token t;
    (void)msgpack_next(&copy, &t); /* says the type even of a value that is cut */
    return t.type;
}

/* One token of the type `wanted`, or nothing. */
static enum msgpack_fault next_as(struct cursor *c, struct msgpack_token *t,
                                  enum msgpack_type wanted) {
    struct cursor copy = *c;
    enum msgpack_fault fault = msgpack_next(&copy, t);
    if (fault)
        return fault;
    if (t->type != wanted)
        return MSGPACK_WRONG;
    *c = copy;
    return MSGPACK_OK;
}

enum msgpack_fault msgpack_get_uint_any(struct cursor *c, uint64_t *v) {
    /* cc to cf: a number of 1, 2, 4 or 8 bytes. */
    if (c->at < c->end && (*c->at & 0xfc) == 0xcc) {
        unsigned width = 1U << (*c->at & 3);
        if (cursor_left(c) <= width)
            return MSGPACK_SHORT;
        *v = load_be(c->at + 1, width);
        c->at += 1 + width;
        return MSGPACK_OK;
    }
    struct msgpack_token t;
    enum msgpack_fault fault = next_as(c, &t, MSGPACK_UINT);
    if (!fault)
        *v = t.number;
    return fault;
}

enum msgpack_fault msgpack_get_bool(struct cursor *c, bool *v) {
    struct msgpack_token t;
    enum msgpack_fault fault = next_as(c, &t, MSGPACK_BOOL);
    if (!fault)
        *v = t.flag;
    return fault;
}

enum msgpack_fault msgpack_get_bytes(struct cursor *c, struct str *v) {
    size_t left = cursor_left(c);
    if (left && (*c->at & 0xe0) == 0xa0) {
        size_t len = *c->at & 0x1f;
        if (len >= left)
            return MSGPACK_SHORT;
        *v = str_make(c->at + 1, len);
        c->at += 1 + len;
        return MSGPACK_OK;
    }
    struct cursor copy = *c;
    struct msgpack_token t;
    enum msgpack_fault fault = msgpack_next(&copy, &t);
    if (fault)
        return fault;
    if (t.type != MSGPACK_TEXT && t.type != MSGPACK_BYTES)
        return MSGPACK_WRONG;
    *v = t.bytes;
    *c = copy;
    return MSGPACK_OK;
}

enum msgpack_fault msgpack_get_list(struct cursor *c, uint32_t *count) {
    struct msgpack_token t;
    enum msgpack_fault fault = next_as(c, &t, MSGPACK_LIST);
    if (!fault)
        *count = t.count;
    return fault;
}

enum msgpack_fault msgpack_get_map(struct cursor *c, uint32_t *count) {
    if (c->at < c->end && (*c->at & 0xf0) == 0x80) {
        uint32_t n = *c->at & 0x0f;
        if (!count_fits(MSGPACK_MAP, n, cursor_left(c) - 1))
            return MSGPACK_SHORT;
        *count = n;
        c->at++;
        return MSGPACK_OK;
    }
    struct msgpack_token t;
    enum msgpack_fault fault = next_as(c, &t, MSGPACK_MAP);
    if (!fault)
        *count = t.count;
    return fault;
}

/* ---- passing whole values ------------------------------------------------------------------- */
/* The containers that are open: how many values each still waits for. */
struct open {
    uint64_t waits[MSGPACK_DEPTH_MAX];
    uint32_t depth, depth_max;
};

/* `waits` stays as it is: clearing it would cost more than most values. */
static void open_none(struct open *o, uint32_t depth_max) {
    ASSERT(depth_max <= MSGPACK_DEPTH_MAX);
    o->depth = 0;
    o->depth_max = depth_max;
}

static enum msgpack_fault open_container(struct open *o, const struct msgpack_token *t) {
    if (o->depth == o->depth_max)
        return MSGPACK_DEEP;
    o->waits[o->depth++] = t->type == MSGPACK_MAP ? 2 * (uint64_t)t->count : t->count;
    return MSGPACK_OK;
}

/* Closes what is complete; true when nothing is open any more. */
static bool close_complete(struct open *o) {
    while (o->depth && o->waits[o->depth - 1] == 0)
        o->depth--;
    if (o->depth == 0)
        return true;
    o->waits[o->depth - 1]--;
    return false;
}

enum msgpack_fault msgpack_pass(struct cursor *in, const struct msgpack_limits *limits) {
    struct cursor c = *in;
    struct open o;
    open_none(&o, limits->depth_max);
    uint32_t values = 0;
    do {
        struct msgpack_token t;
        enum msgpack_fault fault = msgpack_next(&c, &t);
        if (fault)
            return fault;
        if (++values > limits->values_max)
            return MSGPACK_MANY;
        if (t.type == MSGPACK_TEXT && !str_is_utf8(t.bytes))
            return MSGPACK_UTF8;
        if ((t.type == MSGPACK_LIST || t.type == MSGPACK_MAP) &&
            (fault = open_container(&o, &t)) != MSGPACK_OK)
            return fault;
    } while (!close_complete(&o));
    *in = c;
    return MSGPACK_OK;
}

/* Bytes of a value that its lead alone decides; 0 where more must be read. Short text besides. */
static const uint8_t lead_extents[256] = {
    [0x00 ... 0x7f] = 1, [0xc0] = 1, [0xc2] = 1, [0xc3] = 1, [0xca] = 5,
    [0xcb] = 9,          [0xcc] = 2, [0xcd] = 3, [0xce] = 5, [0xcf] = 9,
    [0xd0] = 2,          [0xd1] = 3, [0xd2] = 5, [0xd3] = 9, [0xe0 ... 0xff] = 1,
};

static bool skip_short(struct cursor *c) {
    if (c->at == c->end)
        return false;
    unsigned char b = *c->at;
    size_t extent = (b & 0xe0) == 0xa0 ? 1U + (b & 0x1f) : lead_extents[b];
    if (!extent || extent > cursor_left(c))
        return false;
    c->at += extent;
    return true;
}

static enum msgpack_fault skip_any(struct cursor *in) {
    struct cursor c = *in;
    struct open o;
    open_none(&o, MSGPACK_DEPTH_MAX);
    do {
        if (skip_short(&c))
            continue;
        struct msgpack_token t;
        enum msgpack_fault fault = msgpack_next(&c, &t);
        if (fault)
            return fault;
        if ((t.type == MSGPACK_LIST || t.type == MSGPACK_MAP) &&
            (fault = open_container(&o, &t)) != MSGPACK_OK)
            return fault;
    } while (!close_complete(&o));
    *in = c;
    return MSGPACK_OK;
}

enum msgpack_fault msgpack_skip(struct cursor *c) {
    return skip_short(c) ? MSGPACK_OK : skip_any(c);
}

int msgpack_check(struct str value, const struct msgpack_limits *limits, struct err *e) {
    struct cursor c = cursor_of(value);
    enum msgpack_fault fault = msgpack_pass(&c, limits);
    switch (fault) {
    case MSGPACK_OK:
        break;
    case MSGPACK_DEEP:
        return err_set(e, ERR_TOO_LARGE, "nested deeper than %u", limits->depth_max);
    case MSGPACK_MANY:
        return err_set(e, ERR_TOO_LARGE, "more than %u values", limits->values_max);
    case MSGPACK_UTF8:
        return err_set(e, ERR_BAD_VALUE, "%s", msgpack_fault_text(fault));
    default:
        return err_set(e, ERR_MALFORMED, "%s", msgpack_fault_text(fault));
    }
    if (cursor_left(&c))
        return err_set(e, ERR_MALFORMED, "%zu bytes behind the value", cursor_left(&c));
    return 0;
}

/* ---- writing -------------------------------------------------------------------------------- */
static inline unsigned char *store_be(unsigned char *p, uint64_t v, unsigned width) {
    uint64_t be = htobe64(v << (64 - 8 * width));
    memcpy(p, &be, width);
    return p + width;
}

/* A lead byte, chosen by how wide the number must be, and the number. */
static unsigned char *write_wide(unsigned char *p, uint64_t v, unsigned char lead8,
                                 unsigned char lead16, unsigned char lead32) {
    if (lead8 && v <= UINT8_MAX) {
        *p = lead8;
        return store_be(p + 1, v, 1);
    }
    if (v <= UINT16_MAX) {
        *p = lead16;
        return store_be(p + 1, v, 2);
    }
    ASSERT(v <= UINT32_MAX);
    *p = lead32;
    return store_be(p + 1, v, 4);
}

unsigned char *msgpack_write_uint_any(unsigned char *p, uint64_t v) {
    if (v < 0x80) {
        *p = (unsigned char)v;
        return p + 1;
    }
    if (v > UINT32_MAX) {
        *p = 0xcf;
        return store_be(p + 1, v, 8);
    }
    return write_wide(p, v, 0xcc, 0xcd, 0xce);
}

unsigned char *msgpack_write_text_head(unsigned char *p, size_t len) {
    if (len < 32) {
        *p = (unsigned char)(0xa0 | len);
        return p + 1;
    }
    return write_wide(p, len, 0xd9, 0xda, 0xdb);
}

unsigned char *msgpack_write_bytes_head(unsigned char *p, size_t len) {
    return write_wide(p, len, 0xc4, 0xc5, 0xc6);
}

unsigned char *msgpack_write_list_head(unsigned char *p, uint32_t count) {
    if (count < 16) {
        *p = (unsigned char)(0x90 | count);
        return p + 1;
    }
    return write_wide(p, count, 0, 0xdc, 0xdd);
}

unsigned char *msgpack_write_map_head(unsigned char *p, uint32_t count) {
    if (count < 16) {
        *p = (unsigned char)(0x80 | count);
        return p + 1;
    }
    return write_wide(p, count, 0, 0xde, 0xdf);
}

static int put_head(struct buf *b, const unsigned char *head, const unsigned char *end) {
    return buf_put(b, head, (size_t)(end - head));
}

/* Head and content, or neither. */
static int put_with_head(struct buf *b, const unsigned char *head, const unsigned char *end,
                         struct str content) {
    size_t n = (size_t)(end - head);
    if (content.len > SIZE_MAX - n || !buf_room(b, n + content.len))
        return -1;
    (void)buf_put(b, head, n);
    return buf_put_str(b, content);
}

int msgpack_put_nil(struct buf *b) {
    return buf_putc(b, (char)0xc0);
}

int msgpack_put_bool(struct buf *b, bool v) {
    return buf_putc(b, (char)(v ? 0xc3 : 0xc2));
}

int msgpack_put_uint(struct buf *b, uint64_t v) {
    unsigned char head[MSGPACK_HEAD_MAX];
    return put_head(b, head, msgpack_write_uint(head, v));
}

int msgpack_put_int(struct buf *b, int64_t v) {
    if (v >= 0)
        return msgpack_put_uint(b, (uint64_t)v);
    if (v >= -32)
        return buf_putc(b, (char)v);
    unsigned width = v >= INT8_MIN ? 1 : v >= INT16_MIN ? 2 : v >= INT32_MIN ? 4 : 8;
    unsigned char head[MSGPACK_HEAD_MAX];
    head[0] = (unsigned char)(width == 1 ? 0xd0 : width == 2 ? 0xd1 : width == 4 ? 0xd2 : 0xd3);
    return put_head(b, head, store_be(head + 1, (uint64_t)v, width));
}

int msgpack_put_double(struct buf *b, double v) {
    unsigned char head[MSGPACK_HEAD_MAX] = {0xcb};
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return put_head(b, head, store_be(head + 1, bits, 8));
}

int msgpack_put_text(struct buf *b, struct str v) {
    unsigned char head[MSGPACK_HEAD_MAX];
    return put_with_head(b, head, msgpack_write_text_head(head, v.len), v);
}

int msgpack_put_bytes(struct buf *b, struct str v) {
    unsigned char head[MSGPACK_HEAD_MAX];
    return put_with_head(b, head, msgpack_write_bytes_head(head, v.len), v);
}

int msgpack_put_ext(struct buf *b, int8_t type, struct str v) {
    unsigned char head[MSGPACK_HEAD_MAX];
    unsigned char *end = head;
    bool fixed = v.len && v.len <= 16 && (v.len & (v.len - 1)) == 0;
    if (fixed)
        *end++ = (unsigned char)(0xd4 + __builtin_ctzll(v.len));
    else
        end = write_wide(head, v.len, 0xc7, 0xc8, 0xc9);
    *end++ = (unsigned char)type;
    return put_with_head(b, head, end, v);
}

int msgpack_put_list(struct buf *b, uint32_t count) {
    unsigned char head[MSGPACK_HEAD_MAX];
    return put_head(b, head, msgpack_write_list_head(head, count));
}

int msgpack_put_map(struct buf *b, uint32_t count) {
    unsigned char head[MSGPACK_HEAD_MAX];
    return put_head(b, head, msgpack_write_map_head(head, count));
}
