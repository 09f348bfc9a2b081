#include "common/wire/base64.h"

static const char alphabet[65] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int base64_put(struct buf *out, struct str bytes) {
    size_t len = (bytes.len + 2) / 3 * 4;
    if (len == 0)
        return 0;
    char *p = buf_room(out, len);
    if (!p)
        return -1;
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t n = bytes.len - i < 3 ? bytes.len - i : 3;
        uint32_t v = 0;
        for (size_t k = 0; k < 3; k++)
            v = v << 8 | (k < n ? (unsigned char)bytes.at[i + k] : 0);
        for (size_t k = 0; k < 4; k++)
            *p++ = k <= n ? alphabet[v >> (18 - 6 * k) & 63] : '=';
    }
    buf_took(out, len);
    return 0;
}

static int digit(char c) {
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Four characters; how many bytes they are, or -1. Bits that belong to no byte must be 0. */
static int read_four(const char *at, bool last, char bytes[3]) {
    int n = at[3] != '=' ? 3 : at[2] != '=' ? 2 : 1;
    if (n < 3 && !last)
        return -1;
    uint32_t v = 0;
    for (int k = 0; k < 4; k++) {
        int d = k <= n ? digit(at[k]) : 0;
        if (d < 0)
            return -1;
        v = v << 6 | (uint32_t)d;
    }
    if (v & ((1U << 8 * (3 - n)) - 1))
        return -1;
    for (int k = 0; k < 3; k++)
        bytes[k] = (char)(v >> (16 - 8 * k));
    return n;
}

bool base64_read(struct str text, struct buf *out) {
    if (text.len % 4)
        return false;
    for (size_t i = 0; i < text.len; i += 4) {
        char bytes[3];
        int n = read_four(text.at + i, i + 4 == text.len, bytes);
        if (n < 0 || buf_put(out, bytes, (size_t)n) < 0)
            return false;
    }
    return true;
}
