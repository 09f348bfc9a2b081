/* A growing run of bytes that knows its maximum.
 *
 * An append beyond `bytes_max` (or beyond memory) changes nothing and returns -1; the buffer is
 * then `failed`, which is sticky until it is cleared, so that a run of appends is checked once at
 * its end. `buf_destroy` frees; AUTO_BUF does it at the end of the scope. Not thread-safe. */
#pragma once

#include "common/base/str.h"

#include <stdbool.h>
#include <stdint.h>

struct buf {
    char *at;
    size_t len, size, bytes_max;
    bool failed;
};

#define BUF(max) ((struct buf){.bytes_max = (max)})
#define AUTO_BUF __attribute__((cleanup(buf_destroy))) struct buf

void buf_destroy(struct buf *b);
void buf_clear(struct buf *b);           /* keeps the memory */
void *buf_grow(struct buf *b, size_t n); /* buf_room where there is none yet */
/* Room for `n` more bytes; where they go, or NULL. Add what was written with buf_took. */
static inline void *buf_room(struct buf *b, size_t n) {
    bool fits = !b->failed && b->at && n <= b->size - b->len;
    return fits ? b->at + b->len : buf_grow(b, n);
}
int buf_put(struct buf *b, const void *at, size_t n);
int buf_put_str(struct buf *b, struct str s);
int buf_putc(struct buf *b, char c);
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static inline void buf_took(struct buf *b, size_t n) {
    b->len += n;
}

static inline struct str buf_str(const struct buf *b) {
    return (struct str){b->at, b->len};
}
