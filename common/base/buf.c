#include "common/base/buf.h"

#include "common/base/mem.h"

#include <stdarg.h>
#include <stdio.h>

void buf_destroy(struct buf *b) {
    mem_free(b->at);
    *b = (struct buf){.bytes_max = b->bytes_max};
}

void buf_clear(struct buf *b) {
    b->len = 0;
    b->failed = false;
}

static int grow(struct buf *b, size_t need) {
    size_t size = b->size ? b->size : 256;
    while (size < need)
        size = size > SIZE_MAX / 2 ? need : size * 2;
    if (size > b->bytes_max)
        size = b->bytes_max;
    char *p = mem_try(size);
    if (!p)
        return -1;
    if (b->at)
        memcpy(p, b->at, b->len);
    mem_free(b->at);
    b->at = p;
    b->size = size;
    return 0;
}

void *buf_grow(struct buf *b, size_t n) {
    if (b->failed || n > b->bytes_max || b->len > b->bytes_max - n ||
        ((!b->at || b->len + n > b->size) && grow(b, b->len + n) < 0)) {
        b->failed = true;
        return NULL;
    }
    return b->at + b->len;
}

int buf_put(struct buf *b, const void *at, size_t n) {
    if (n == 0)
        return b->failed ? -1 : 0;
    void *to = buf_room(b, n);
    if (!to)
        return -1;
    memcpy(to, at, n);
    b->len += n;
    return 0;
}

int buf_put_str(struct buf *b, struct str s) {
    return buf_put(b, s.at, s.len);
}

int buf_putc(struct buf *b, char c) {
    return buf_put(b, &c, 1);
}

/* By way of a copy: vsnprintf wants a byte more, for a NUL that the bound need not allow. */
static int put_long(struct buf *b, size_t n, const char *fmt, va_list ap) {
    bool fits = b->len <= b->bytes_max && n <= b->bytes_max - b->len;
    AUTO_FREE char *text = fits ? mem_try(n + 1) : NULL;
    if (!text) {
        b->failed = true;
        return -1;
    }
    vsnprintf(text, n + 1, fmt, ap);
    return buf_put(b, text, n);
}

int buf_printf(struct buf *b, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    char small[256];
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    int rc = -1;
    if (n < 0)
        b->failed = true;
    else if ((size_t)n < sizeof small)
        rc = buf_put(b, small, (size_t)n);
    else
        rc = put_long(b, (size_t)n, fmt, again);
    va_end(again);
    return rc;
}
