#include "broker/journal/format.h"

#define BATCH_MAGIC 0x54414251U /* "QBAT" */

static const char segment_magic[8] = {'Q', 'U', 'E', 'R', 'N', 'S', 'E', 'G'};

/* Offsets of the fields; the CRC covers all that stands behind it. */
enum { SEG_MAGIC = 0, SEG_CRC = 8, SEG_VERSION = 12, SEG_LOG_ID = 16, SEG_SEQUENCE = 24 };
enum { SEG_SEGMENT = 32, SEG_BYTES = 36, SEG_BEFORE = 40, SEG_OLDEST = 44, SEG_END = 48 };
enum { BAT_MAGIC = 0, BAT_CRC = 4, BAT_BYTES = 8, BAT_RECORDS = 12, BAT_SEQUENCE = 16 };
enum { BAT_DURABLE = 24, BAT_LOG_ID = 32, BAT_DIGEST = 40, BAT_SEGMENT = 48, BAT_OFFSET = 52 };
enum { BAT_OLDEST = 56, BAT_FLAGS = 60 };

_Static_assert(BAT_FLAGS + 4 == FORMAT_BATCH_HEAD, "the last field ends the head");
_Static_assert(SEG_END <= FORMAT_BLOCK, "a segment's head is one block");

static uint32_t segment_crc(const char *block) {
    return crc32c(0, str_make(block + SEG_VERSION, FORMAT_BLOCK - SEG_VERSION));
}

void format_put_segment(char *block, const struct segment_head *h) {
    memset(block, 0, FORMAT_BLOCK);
    memcpy(block + SEG_MAGIC, segment_magic, sizeof segment_magic);
    format_store32(block + SEG_VERSION, FORMAT_VERSION);
    format_store64(block + SEG_LOG_ID, h->log_id);
    format_store64(block + SEG_SEQUENCE, h->sequence);
    format_store32(block + SEG_SEGMENT, h->segment);
    format_store32(block + SEG_BYTES, h->bytes);
    format_store32(block + SEG_BEFORE, h->before);
    format_store32(block + SEG_OLDEST, h->oldest);
    format_store32(block + SEG_CRC, segment_crc(block));
}

static bool all_zero(const char *at, size_t n) {
    return at[0] == 0 && memcmp(at, at + 1, n - 1) == 0;
}

static bool segment_plausible(const struct segment_head *h) {
    bool first = h->before == 0;
    return h->segment > 0 && h->bytes >= FORMAT_SEGMENT_MIN && h->bytes <= FORMAT_SEGMENT_MAX &&
           h->bytes % FORMAT_BLOCK == 0 && h->before % FORMAT_BLOCK == 0 &&
           h->before <= FORMAT_SEGMENT_MAX && h->oldest > 0 && h->oldest <= h->segment &&
           (!first || h->oldest == h->segment);
}

enum format_seen format_get_segment(const char *block, struct segment_head *h) {
    if (all_zero(block, FORMAT_BLOCK))
        return FORMAT_BLANK;
    if (memcmp(block + SEG_MAGIC, segment_magic, sizeof segment_magic) != 0 ||
        format_load32(block + SEG_CRC) != segment_crc(block))
        return FORMAT_BROKEN;
    if (format_load32(block + SEG_VERSION) > FORMAT_VERSION)
        return FORMAT_NEWER;
    *h = (struct segment_head){
        .log_id = format_load64(block + SEG_LOG_ID),
        .sequence = format_load64(block + SEG_SEQUENCE),
        .segment = format_load32(block + SEG_SEGMENT),
        .bytes = format_load32(block + SEG_BYTES),
        .before = format_load32(block + SEG_BEFORE),
        .oldest = format_load32(block + SEG_OLDEST),
    };
    return format_load32(block + SEG_VERSION) == FORMAT_VERSION && segment_plausible(h)
               ? FORMAT_GOOD
               : FORMAT_BROKEN;
}

static uint32_t batch_crc(const char *at) {
    return crc32c(0, str_make(at + BAT_BYTES, FORMAT_BATCH_HEAD - BAT_BYTES));
}

void format_put_batch(char *to, const struct batch_head *h) {
    format_store32(to + BAT_MAGIC, BATCH_MAGIC);
    format_store32(to + BAT_BYTES, h->bytes);
    format_store32(to + BAT_RECORDS, h->records);
    format_store64(to + BAT_SEQUENCE, h->sequence);
    format_store64(to + BAT_DURABLE, h->durable);
    format_store64(to + BAT_LOG_ID, h->log_id);
    format_store64(to + BAT_DIGEST, h->digest);
    format_store32(to + BAT_SEGMENT, h->segment);
    format_store32(to + BAT_OFFSET, h->offset);
    format_store32(to + BAT_OLDEST, h->oldest);
    format_store32(to + BAT_FLAGS, h->flags);
    format_store32(to + BAT_CRC, batch_crc(to));
}

static bool batch_plausible(const struct batch_head *h) {
    return h->segment > 0 && h->offset >= FORMAT_BLOCK && h->offset % FORMAT_BLOCK == 0 &&
           h->bytes >= FORMAT_BATCH_HEAD && h->bytes <= FORMAT_SEGMENT_MAX - h->offset &&
           h->records <= (h->bytes - FORMAT_BATCH_HEAD) / FORMAT_RECORD_HEAD &&
           h->durable <= format_pos(h->segment, h->offset) && h->oldest > 0 &&
           h->oldest <= h->segment && (h->flags & ~FORMAT_CLOSED) == 0;
}

bool format_get_batch(const char *at, struct batch_head *h) {
    if (format_load32(at + BAT_MAGIC) != BATCH_MAGIC ||
        format_load32(at + BAT_CRC) != batch_crc(at))
        return false;
    *h = (struct batch_head){
        .log_id = format_load64(at + BAT_LOG_ID),
        .sequence = format_load64(at + BAT_SEQUENCE),
        .durable = format_load64(at + BAT_DURABLE),
        .digest = format_load64(at + BAT_DIGEST),
        .segment = format_load32(at + BAT_SEGMENT),
        .offset = format_load32(at + BAT_OFFSET),
        .bytes = format_load32(at + BAT_BYTES),
        .records = format_load32(at + BAT_RECORDS),
        .oldest = format_load32(at + BAT_OLDEST),
        .flags = format_load32(at + BAT_FLAGS),
    };
    return batch_plausible(h);
}

uint32_t format_seed(uint64_t log_id, uint32_t segment) {
    char bytes[12];
    format_store64(bytes, log_id);
    format_store32(bytes + 8, segment);
    return crc32c(0, str_make(bytes, sizeof bytes));
}
