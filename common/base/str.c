#include "common/base/str.h"

int str_cmp(struct str a, struct str b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n ? memcmp(a.at, b.at, n) : 0;
    if (c)
        return c;
    return (a.len > b.len) - (a.len < b.len);
}

bool str_starts(struct str s, struct str prefix) {
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.at, prefix.at, prefix.len) == 0);
}

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct str str_trim(struct str s) {
    while (s.len && is_space(s.at[0])) {
        s.at++;
        s.len--;
    }
    while (s.len && is_space(s.at[s.len - 1]))
        s.len--;
    return s;
}

/* Bytes that follow the lead byte, and the smallest code point that needs so many. */
static int utf8_tail(unsigned char lead, uint32_t *point, uint32_t *least) {
    if (lead >= 0xC2 && lead <= 0xDF) {
        *point = lead & 0x1FU;
        *least = 0x80;
        return 1;
    }
    if ((lead & 0xF0) == 0xE0) {
        *point = lead & 0x0FU;
        *least = 0x800;
        return 2;
    }
    if (lead >= 0xF0 && lead <= 0xF4) {
        *point = lead & 0x07U;
        *least = 0x10000;
        return 3;
    }
    return -1;
}

bool str_is_utf8(struct str s) {
    size_t i = 0;
    while (i < s.len) {
        uint64_t eight; /* most text is ASCII */
        for (; s.len - i >= sizeof eight; i += sizeof eight) {
            memcpy(&eight, s.at + i, sizeof eight);
            if (eight & 0x8080808080808080ULL)
                break;
        }
        if (i == s.len)
            break;
        unsigned char c = (unsigned char)s.at[i++];
        if (c < 0x80)
            continue;
        uint32_t point = 0, least = 0;
        int tail = utf8_tail(c, &point, &least);
        if (tail < 0 || s.len - i < (size_t)tail)
            return false;
        for (; tail > 0; tail--) {
            unsigned char t = (unsigned char)s.at[i++];
            if ((t & 0xC0) != 0x80)
                return false;
            point = (point << 6) | (t & 0x3FU);
        }
        if (point < least || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF))
            return false;
    }
    return true;
}

static const bool name_char[256] = {
    ['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['0' ... '9'] = true, ['.'] = true,
    ['_'] = true,         [':'] = true,         ['-'] = true,
};

bool str_is_name(struct str s, size_t max) {
    if (s.len == 0 || s.len > max || s.at[0] == '-' || s.at[0] == '.')
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (!name_char[(unsigned char)s.at[i]])
            return false;
    return true;
}

bool str_to_u64(struct str s, uint64_t max, uint64_t *out) {
    if (s.len == 0)
        return false;
    uint64_t v = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.at[i] < '0' || s.at[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(s.at[i] - '0');
        if (v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    if (v > max)
        return false;
    *out = v;
    return true;
}
