/* msgpack, written to a buffer and read in place: no objects, no allocation.
 *
 * A `struct cursor` is what is left to read. A reading function either takes one token and answers
 * MSGPACK_OK, or leaves the cursor where it was and answers why not. A *token* is a value without
 * what it contains: of a list or map only its count. Every count is held against the bytes that are
 * left before anybody may believe it, so a count never costs more memory than its sender sent.
 * Writers append to a `struct buf` in the shortest form and return what buf_put does. Text that is
 * read borrows from the input. Thread-safe: nothing is kept. */
#pragma once

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/str.h"

#include <stdbool.h>
#include <stdint.h>

#define MSGPACK_DEPTH_MAX 32 /* containers in containers; other implementations end here too */

enum msgpack_type {
    MSGPACK_NONE, /* the input has ended, or byte c1, which is never valid */
    MSGPACK_NIL,
    MSGPACK_BOOL,
    MSGPACK_UINT, /* a whole number from 0 up, in whatever form it was sent */
    MSGPACK_INT,  /* a negative one */
    MSGPACK_FLOAT,
    MSGPACK_TEXT,
    MSGPACK_BYTES,
    MSGPACK_LIST,
    MSGPACK_MAP,
    MSGPACK_EXT,
};

enum msgpack_fault {
    MSGPACK_OK = 0,
    MSGPACK_SHORT, /* the input ends within the value, or cannot hold what a count announces */
    MSGPACK_WRONG, /* a value of another type */
    MSGPACK_BAD,   /* byte c1 */
    MSGPACK_DEEP,
    MSGPACK_MANY,
    MSGPACK_UTF8,
};

struct cursor {
    const unsigned char *at, *end;
};

struct msgpack_token {
    enum msgpack_type type;
    int8_t ext;     /* EXT: its application type */
    uint32_t count; /* LIST: elements, MAP: pairs, that follow */
    union {
        bool flag;
        uint64_t number;
        int64_t negative;
        double real;
        struct str bytes; /* TEXT, BYTES, EXT */
    };
};

struct msgpack_limits {
    uint32_t depth_max;  /* of containers, at most MSGPACK_DEPTH_MAX */
    uint32_t values_max; /* of all kinds together */
};

static inline struct cursor cursor_of(struct str s) {
    const unsigned char *at = (const unsigned char *)s.at;
    return (struct cursor){at, at ? at + s.len : at};
}

static inline size_t cursor_left(const struct cursor *c) {
    return (size_t)(c->end - c->at);
}

/* "the input ends within it" */
const char *msgpack_fault_text(enum msgpack_fault fault);
/* "a list", with its article */
const char *msgpack_type_name(enum msgpack_type type);

/* ---- reading -------------------------------------------------------------------------------- */
enum msgpack_type msgpack_peek(const struct cursor *c);
enum msgpack_fault msgpack_next(struct cursor *c, struct msgpack_token *t);
enum msgpack_fault msgpack_get_bool(struct cursor *c, bool *v);
/* TEXT or BYTES alike: old writers send one for the other. UTF-8 is not looked at. */
enum msgpack_fault msgpack_get_bytes(struct cursor *c, struct str *v);
enum msgpack_fault msgpack_get_list(struct cursor *c, uint32_t *count);
enum msgpack_fault msgpack_get_map(struct cursor *c, uint32_t *count);
/* Passes one value with all it contains. */
enum msgpack_fault msgpack_skip(struct cursor *c);
/* As msgpack_skip, but text must be UTF-8 and the limits hold. */
enum msgpack_fault msgpack_pass(struct cursor *in, const struct msgpack_limits *limits);
/* Whether `value` is one whole value within the limits and nothing behind it. */
int msgpack_check(struct str value, const struct msgpack_limits *limits, struct err *e);

enum msgpack_fault msgpack_get_uint_any(struct cursor *c, uint64_t *v);

/* Accepts every form of a number that is not negative. */
static inline enum msgpack_fault msgpack_get_uint(struct cursor *c, uint64_t *v) {
    if (c->at < c->end && *c->at < 0x80) {
        *v = *c->at++;
        return MSGPACK_OK;
    }
    return msgpack_get_uint_any(c, v);
}

/* ---- writing -------------------------------------------------------------------------------- */
/* What the longest head of a value takes, and the longest number. */
#define MSGPACK_HEAD_MAX 9

/* These write at `p`, where MSGPACK_HEAD_MAX bytes are free, and answer the byte behind. */
unsigned char *msgpack_write_uint_any(unsigned char *p, uint64_t v);
unsigned char *msgpack_write_text_head(unsigned char *p, size_t len);
unsigned char *msgpack_write_bytes_head(unsigned char *p, size_t len);
unsigned char *msgpack_write_list_head(unsigned char *p, uint32_t count);
unsigned char *msgpack_write_map_head(unsigned char *p, uint32_t count);

static inline unsigned char *msgpack_write_uint(unsigned char *p, uint64_t v) {
    if (v < 0x80) {
        *p = (unsigned char)v;
        return p + 1;
    }
    return msgpack_write_uint_any(p, v);
}

int msgpack_put_nil(struct buf *b);
int msgpack_put_bool(struct buf *b, bool v);
int msgpack_put_uint(struct buf *b, uint64_t v);
int msgpack_put_int(struct buf *b, int64_t v);
int msgpack_put_double(struct buf *b, double v);
int msgpack_put_text(struct buf *b, struct str v); /* at most 4 GiB - 1, as all below */
int msgpack_put_bytes(struct buf *b, struct str v);
int msgpack_put_ext(struct buf *b, int8_t type, struct str v);
int msgpack_put_list(struct buf *b, uint32_t count);
int msgpack_put_map(struct buf *b, uint32_t count);
