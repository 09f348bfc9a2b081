/* A borrowed run of bytes, text or not: never owned, not NUL-terminated, lives as long as whatever
 * it points into. The empty run may have a NULL pointer. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *at;
    size_t len;
};

#define STR(literal) ((struct str){("" literal), sizeof(literal) - 1})
#define STR_FMT      "%.*s"
#define STR_ARG(s)   (int)(s).len, (s).len ? (s).at : ""

static inline struct str str_of(const char *text) {
    return (struct str){text, text ? strlen(text) : 0};
}

static inline struct str str_make(const void *at, size_t len) {
    return (struct str){(const char *)at, len};
}

static inline bool str_eq(struct str a, struct str b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

/* By bytes, the shorter first when one begins the other. */
int str_cmp(struct str a, struct str b);
bool str_starts(struct str s, struct str prefix);
struct str str_trim(struct str s);
/* Valid UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing over U+10FFFF. */
bool str_is_utf8(struct str s);
/* A name: 1 to `max` bytes of [A-Za-z0-9._:-], not beginning with '-' or '.'. */
bool str_is_name(struct str s, size_t max);
/* Decimal digits only; false on anything else or over `max`. */
bool str_to_u64(struct str s, uint64_t max, uint64_t *out);
