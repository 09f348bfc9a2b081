/* What stands in a segment file. docs/journal.md has the layout byte by byte.
 *
 * A segment is a head of one block, then batches, each beginning at a block: once a block is
 * durable it is never written again, so that a later write cannot tear it. A batch is a head and
 * records end to end, then zeros up to the next block. Numbers are little-endian and written one by
 * one.
 *
 * A record's CRC starts from the log's id, the segment and the offset: bytes left from another log,
 * in a recycled file, or moved to another place, never pass. The batch's digest is over the CRCs of
 * its records in order: a batch is whole or it is not there, and one torn over an older one never
 * passes. */
#pragma once

#include "common/base/crc.h"
#include "common/base/str.h"

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define FORMAT_VERSION      1U
#define FORMAT_BLOCK        4096U
#define FORMAT_BATCH_HEAD   64U
#define FORMAT_RECORD_HEAD  8U
#define FORMAT_BODY_MAX     ((1U << 24) - 1)
#define FORMAT_SEGMENT_MIN  (64U << 10)
#define FORMAT_SEGMENT_MAX  (1U << 30)
#define FORMAT_SEGMENTS_END UINT32_MAX

/* The log was closed in order: nothing follows this batch. */
#define FORMAT_CLOSED 1U

struct segment_head {
    uint64_t log_id;
    uint64_t sequence; /* of its first batch */
    uint32_t segment;
    uint32_t bytes;  /* size of the file */
    uint32_t before; /* where the log left the segment before; 0: there was none */
    uint32_t oldest; /* first segment of the log when this one was begun */
};

struct batch_head {
    uint64_t log_id;
    uint64_t sequence; /* one more than the batch before */
    uint64_t durable;  /* every record before this position was durable when this was written */
    uint64_t digest;
    uint32_t segment, offset;
    uint32_t bytes; /* without the zeros behind */
    uint32_t records;
    uint32_t oldest; /* first segment of the log: those before it are released */
    uint32_t flags;
};

enum format_seen {
    FORMAT_GOOD,
    FORMAT_BLANK,  /* all zeros */
    FORMAT_BROKEN, /* anything else */
    FORMAT_NEWER   /* a segment head of a later version */
};

void format_put_segment(char *block, const struct segment_head *h);
enum format_seen format_get_segment(const char *block, struct segment_head *h);
void format_put_batch(char *to, const struct batch_head *h);
/* Good only when its CRC is and the head could belong to some segment; the caller compares which.
 */
bool format_get_batch(const char *at, struct batch_head *h);

/* What the CRCs of a segment's records start from. */
uint32_t format_seed(uint64_t log_id, uint32_t segment);

static inline void format_store32(char *to, uint32_t v) {
    v = htole32(v);
    memcpy(to, &v, sizeof v);
}

static inline uint32_t format_load32(const char *at) {
    uint32_t v;
    memcpy(&v, at, sizeof v);
    return le32toh(v);
}

static inline void format_store64(char *to, uint64_t v) {
    v = htole64(v);
    memcpy(to, &v, sizeof v);
}

static inline uint64_t format_load64(const char *at) {
    uint64_t v;
    memcpy(&v, at, sizeof v);
    return le64toh(v);
}

static inline uint64_t format_pos(uint32_t segment, uint32_t offset) {
    return (uint64_t)segment << 32 | offset;
}

static inline uint32_t format_segment_of(uint64_t pos) {
    return (uint32_t)(pos >> 32);
}

static inline uint32_t format_offset_of(uint64_t pos) {
    return (uint32_t)pos;
}

static inline uint32_t format_block_up(uint32_t n) {
    return (n + FORMAT_BLOCK - 1) & ~(FORMAT_BLOCK - 1);
}

/* ---- records: CRC, then one word of type << 24 | body length, then the body ------------------ */

static inline uint32_t format_word(uint8_t type, uint32_t body) {
    return (uint32_t)type << 24 | body;
}

static inline uint8_t format_word_type(uint32_t word) {
    return (uint8_t)(word >> 24);
}

static inline uint32_t format_word_body(uint32_t word) {
    return word & FORMAT_BODY_MAX;
}

static inline uint32_t format_record_crc(uint32_t seed, uint32_t offset, const char *record) {
    uint32_t body = format_word_body(format_load32(record + 4));
    return crc32c(seed ^ offset, str_make(record + 4, body + 4));
}

#define FORMAT_DIGEST_START 0xcbf29ce484222325ULL
static inline uint64_t format_digest(uint64_t digest, uint32_t crc) {
    return (digest ^ crc) * 0x100000001b3ULL;
}
