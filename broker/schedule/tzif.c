/* TZif files (RFC 8536). Version 1 has 32-bit times; later versions repeat all with 64-bit times
 * behind that, and end with a rule. */
#include "broker/schedule/zone_int.h"
#include "common/base/mem.h"

#define HEADER_BYTES 44
#define TYPE_BYTES   6
#define TYPES_MAX    256
#define RULE_MAX     128

/* A header's counts, in the order of the file. */
struct head {
    uint32_t isut, isstd, leaps, times, types, chars;
    char version;
};

/* The places of one data block. */
struct block {
    const uint8_t *times, *indexes, *types;
    size_t time_bytes, bytes;
};

static uint64_t big_endian(const uint8_t *at, size_t bytes) {
    uint64_t v = 0;
    for (size_t i = 0; i < bytes; i++)
        v = v << 8 | at[i];
    return v;
}

static int64_t signed_at(const uint8_t *at, size_t bytes) {
    uint64_t v = big_endian(at, bytes);
    return bytes == 8 ? (int64_t)v : (int32_t)(uint32_t)v;
}

static int read_head(struct str s, struct head *h, struct err *e) {
    if (s.len < HEADER_BYTES)
        return err_set(e, ERR_CORRUPT, "a header of %zu bytes, %d are needed", s.len, HEADER_BYTES);
    if (memcmp(s.at, "TZif", 4) != 0)
        return err_set(e, ERR_CORRUPT, "it does not begin with 'TZif'");
    const uint8_t *at = (const uint8_t *)s.at;
    uint32_t counts[6];
    for (size_t i = 0; i < 6; i++)
        counts[i] = (uint32_t)big_endian(at + 20 + 4 * i, 4);
    *h = (struct head){counts[0], counts[1], counts[2], counts[3], counts[4], counts[5], s.at[4]};
    /* Later versions may add to what is known, not change it. */
    if (h->version != '\0' && (h->version < '2' || h->version > '9'))
        return err_set(e, ERR_CORRUPT, "its version is %d, not 0 or '2' to '9'", h->version);
    return 0;
}

/* Places the block that follows a header. */
static int read_block(const struct head *h, struct str s, size_t time_bytes, struct block *b,
                      struct err *e) {
    uint64_t bytes = (uint64_t)h->times * (time_bytes + 1) + (uint64_t)h->types * TYPE_BYTES +
                     h->chars + (uint64_t)h->leaps * (time_bytes + 4) + h->isstd + h->isut;
    if (bytes > s.len)
        return err_set(e, ERR_CORRUPT, "its header names %llu bytes of data, there are %zu",
                       (unsigned long long)bytes, s.len);
    b->bytes = (size_t)bytes;
    b->time_bytes = time_bytes;
    b->times = (const uint8_t *)s.at;
    b->indexes = b->times + h->times * time_bytes;
    b->types = b->indexes + h->times;
    return 0;
}

static int check_counts(const struct head *h, struct err *e) {
    if (h->leaps)
        return err_set(e, ERR_CORRUPT, "it counts %u leap seconds, which UTC here does not",
                       h->leaps);
    if (h->types == 0 || h->types > TYPES_MAX)
        return err_set(e, ERR_CORRUPT, "%u types of local time, 1 to %d are possible", h->types,
                       TYPES_MAX);
    return 0;
}

static int read_offset(const struct head *h, const struct block *b, size_t type, int32_t *out,
                       struct err *e) {
    if (type >= h->types)
        return err_set(e, ERR_CORRUPT, "type %zu of local time is named, there are %u", type,
                       h->types);
    int64_t offset = signed_at(b->types + type * TYPE_BYTES, 4);
    if (offset < ZONE_OFFSET_MIN || offset > ZONE_OFFSET_MAX)
        return err_set(e, ERR_CORRUPT, "a local time is %lld s from UTC, %d to %d are possible",
                       (long long)offset, ZONE_OFFSET_MIN, ZONE_OFFSET_MAX);
    *out = (int32_t)offset;
    return 0;
}

static int read_transitions(const struct head *h, const struct block *b, struct zone *z,
                            struct err *e) {
    if (read_offset(h, b, 0, &z->first_s, e) < 0)
        return -1;
    for (size_t i = 0; i < h->times; i++) {
        struct zone_transition *t = &z->transitions[i];
        t->at_s = signed_at(b->times + i * b->time_bytes, b->time_bytes);
        if (read_offset(h, b, b->indexes[i], &t->offset_s, e) < 0)
            return -1;
        if (i && t->at_s <= t[-1].at_s)
            return err_set(e, ERR_CORRUPT, "transition %zu is not after the one before", i);
    }
    z->count = h->times;
    return 0;
}

/* What is behind the last block: a line end, the rule or nothing, a line end. */
static int read_rule(struct str s, struct zone *z, struct err *e) {
    const char *end = s.len > 1 ? memchr(s.at + 1, '\n', s.len - 1) : NULL;
    if (!end || s.at[0] != '\n')
        return err_set(e, ERR_CORRUPT, "it does not end with a rule between two line ends");
    struct str rule = str_make(s.at + 1, (size_t)(end - s.at) - 1);
    if (rule.len > RULE_MAX)
        return err_set(e, ERR_CORRUPT, "its rule has %zu bytes, at most %d", rule.len, RULE_MAX);
    z->has_rule = rule.len > 0;
    return z->has_rule ? posix_zone_parse(rule, &z->rule, e) : 0;
}

static struct str from(struct str s, size_t n) {
    return str_make(s.at + n, s.len - n);
}

int zone_parse(struct str bytes, struct zone **out, struct err *e) {
    struct head h;
    struct block b = {0};
    struct str rest = bytes;
    if (bytes.len > ZONE_FILE_MAX)
        return err_set(e, ERR_CORRUPT, "%zu bytes, at most %u", bytes.len, ZONE_FILE_MAX);
    if (read_head(rest, &h, e) < 0)
        return -1;
    rest = from(rest, HEADER_BYTES);
    if (read_block(&h, rest, 4, &b, e) < 0)
        return -1;
    bool old = h.version == '\0';
    if (!old) {
        rest = from(rest, b.bytes);
        if (read_head(rest, &h, e) < 0)
            return -1;
        rest = from(rest, HEADER_BYTES);
        if (read_block(&h, rest, 8, &b, e) < 0)
            return -1;
    }
    if (check_counts(&h, e) < 0)
        return -1;
    struct zone *z = mem_try(sizeof *z + h.times * sizeof z->transitions[0]);
    if (!z)
        return err_set(e, ERR_NO_MEMORY, "no memory for %u transitions", h.times);
    *z = (struct zone){0};
    if (read_transitions(&h, &b, z, e) < 0 || (!old && read_rule(from(rest, b.bytes), z, e) < 0)) {
        zone_destroy(&z);
        return -1;
    }
    *out = z;
    return 0;
}
