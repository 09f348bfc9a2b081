#include "common/base/trace.h"

#include "common/base/hash.h"

#include <endian.h>
#include <string.h>

#define AT_ID     3
#define AT_PARENT (AT_ID + TRACE_ID_LEN + 1)
#define AT_FLAGS  (AT_PARENT + 16 + 1)
#define SAMPLED   1

/* The value of a hex digit and 1; 0 of any other byte. Lower case only: so the same trace has one
 * text, which a search finds. Looked up, for each job that is given reads and writes such digits: a
 * branch on random ones is mostly taken wrong. */
static const unsigned char values[256] = {
    ['0'] = 1, ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9, ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
};

static bool get_hex(const char *from, unsigned char *to, size_t n) {
    unsigned wrong = 0;
    for (size_t k = 0; k < n; k++) {
        unsigned high = values[(unsigned char)from[2 * k]] - 1U;
        unsigned low = values[(unsigned char)from[2 * k + 1]] - 1U;
        wrong |= high | low;
        to[k] = (unsigned char)(high << 4 | low);
    }
    return wrong < 16;
}

/* Four bytes become eight digits in one word: each half byte goes to a byte of its own, to which
 * '0' is added, and 39 more where it is above 9. */
static uint64_t digits_of(uint32_t four) {
    uint64_t v = four;
    v = (v << 16 | v) & 0x0000ffff0000ffff;
    v = (v << 8 | v) & 0x00ff00ff00ff00ff;
    v = (v << 4 | v) & 0x0f0f0f0f0f0f0f0f;
    uint64_t letters = ((v + 0x0606060606060606) >> 4) & 0x0101010101010101;
    return v + 0x3030303030303030 + letters * ('a' - '0' - 10);
}

/* `n` is a multiple of 4. */
static void put_hex(char *to, const unsigned char *from, size_t n) {
    for (size_t k = 0; k < n; k += 4) {
        uint32_t four;
        memcpy(&four, from + k, sizeof four);
        uint64_t digits = htobe64(digits_of(be32toh(four)));
        memcpy(to + 2 * k, &digits, sizeof digits);
    }
}

static bool is_zero(const unsigned char *at, size_t n) {
    unsigned char any = 0;
    for (size_t k = 0; k < n; k++)
        any |= at[k];
    return !any;
}

/* What is wrong with it; NULL: nothing. */
static const char *read(struct str s, struct trace *t) {
    if (s.len != TRACE_LEN)
        return "a traceparent of version 00 has 55 bytes";
    if (s.at[0] != '0' || s.at[1] != '0')
        return "the version must be 00";
    if (s.at[AT_ID - 1] != '-' || s.at[AT_PARENT - 1] != '-' || s.at[AT_FLAGS - 1] != '-')
        return "must be version-trace-parent-flags, with '-' between";
    if (!get_hex(s.at + AT_ID, t->id, sizeof t->id))
        return "the trace id must be 32 hex digits in lower case";
    if (!get_hex(s.at + AT_PARENT, t->parent, sizeof t->parent))
        return "the parent id must be 16 hex digits in lower case";
    if (!get_hex(s.at + AT_FLAGS, &t->flags, 1))
        return "the flags must be 2 hex digits in lower case";
    if (is_zero(t->id, sizeof t->id))
        return "the trace id must not be all zeros";
    if (is_zero(t->parent, sizeof t->parent))
        return "the parent id must not be all zeros";
    return NULL;
}

int trace_parse(const char *what, struct str text, struct trace *out, struct err *e) {
    const char *wrong = read(text, out);
    if (!wrong)
        return 0;
    return err_set(e, ERR_BAD_VALUE, "%s: %zu bytes; %s", what, text.len, wrong);
}

bool trace_read(struct str text, struct trace *out) {
    return !read(text, out);
}

struct trace_text trace_show(const struct trace *t) {
    static const char digits[] = "0123456789abcdef";
    struct trace_text text = {"00-"};
    put_hex(text.at + AT_ID, t->id, sizeof t->id);
    text.at[AT_PARENT - 1] = '-';
    put_hex(text.at + AT_PARENT, t->parent, sizeof t->parent);
    text.at[AT_FLAGS - 1] = '-';
    text.at[AT_FLAGS] = digits[t->flags >> 4];
    text.at[AT_FLAGS + 1] = digits[t->flags & 15];
    return text;
}

struct trace_id_text trace_show_id(const struct trace *t) {
    struct trace_id_text text = {""};
    put_hex(text.at, t->id, sizeof t->id);
    return text;
}

static void put_u64(unsigned char to[8], uint64_t v) {
    v = htobe64(v);
    memcpy(to, &v, sizeof v);
}

struct trace trace_of_job(uint64_t seed, uint64_t job) {
    struct trace t = {.flags = SAMPLED};
    uint64_t first = hash_mix(seed, job);
    put_u64(t.id, first);
    put_u64(t.id + 8, hash_mix(~seed, job));
    put_u64(t.parent, hash_mix(first, seed) | 1); /* never zero */
    t.id[15] |= first == 0;
    return t;
}

struct trace trace_pass(const struct trace *from, uint64_t parent) {
    struct trace t = *from;
    put_u64(t.parent, parent ? parent : 1);
    return t;
}
