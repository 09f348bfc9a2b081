#include "broker/journal/batch.h"

#include "common/base/check.h"
#include "common/base/mem.h"

struct batch *batch_new(size_t bytes_max, uint32_t segment_bytes) {
    struct batch *b = MEM_NEW(struct batch);
    /* Of two neighbouring pieces at least one fills half its segment. */
    b->pieces_max = 2 * (bytes_max / segment_bytes) + 4;
    b->size = bytes_max + b->pieces_max * 3 * (size_t)FORMAT_BLOCK;
    ASSERT(b->size < UINT32_MAX);
    bool grown = blocks_grow(&b->memory, b->size) == 0;
    ASSERT(grown);
    b->image = b->memory.at;
    b->pieces = mem_grow(NULL, b->pieces_max, sizeof *b->pieces);
    return b;
}

void batch_destroy(struct batch **b) {
    if (!*b)
        return;
    blocks_free(&(*b)->memory);
    mem_free((*b)->pieces);
    MEM_FREE(*b);
}

void batch_clear(struct batch *b) {
    b->len = b->n = 0;
    b->flags = 0;
    b->open = false;
}

static struct piece *last_piece(struct batch *b) {
    return &b->pieces[b->n - 1];
}

static void close_piece(struct batch *b, struct cursor *c) {
    struct piece *p = last_piece(b);
    p->used = (uint32_t)b->len - p->head;
    p->bytes = format_block_up((uint32_t)b->len - p->at);
    memset(b->image + b->len, 0, p->at + p->bytes - b->len);
    b->len = p->at + p->bytes;
    c->offset = format_block_up(c->offset);
    b->open = false;
}

static void next_segment(struct cursor *c) {
    ASSERT(c->segment < FORMAT_SEGMENTS_END - 1);
    c->segment++;
    c->before = c->offset;
    c->offset = 0;
    c->bytes = c->next_bytes;
}

static void open_piece(struct batch *b, struct cursor *c, uint32_t n) {
    if (b->open)
        close_piece(b, c);
    if (c->offset != 0 && FORMAT_BATCH_HEAD + n > c->bytes - c->offset)
        next_segment(c);
    bool begins = c->offset == 0;
    uint32_t heads = FORMAT_BATCH_HEAD + (begins ? FORMAT_BLOCK : 0);
    ASSERT(b->n < b->pieces_max && c->offset % FORMAT_BLOCK == 0 && heads <= b->size - b->len);
    b->pieces[b->n++] = (struct piece){.segment = c->segment,
                                       .offset = c->offset,
                                       .at = (uint32_t)b->len,
                                       .head = (uint32_t)b->len + (begins ? FORMAT_BLOCK : 0),
                                       .segment_bytes = begins ? c->bytes : 0,
                                       .before = begins ? c->before : 0};
    b->len += heads;
    c->offset += heads;
    b->open = true;
}

void batch_keep_together(struct batch *b, struct cursor *c, uint32_t n) {
    if (!b->open || n > c->bytes - c->offset)
        open_piece(b, c, n);
}

char *batch_room(struct batch *b, struct cursor *c, uint32_t n, uint64_t *pos) {
    batch_keep_together(b, c, n);
    ASSERT(n <= c->bytes - c->offset && n + FORMAT_BLOCK <= b->size - b->len);
    char *to = b->image + b->len;
    *pos = format_pos(c->segment, c->offset);
    last_piece(b)->records++;
    b->len += n;
    c->offset += n;
    return to;
}

void batch_seal(struct batch *b, struct cursor *c) {
    if (b->n == 0)
        open_piece(b, c, 0);
    if (b->open)
        close_piece(b, c);
}

bool batch_find(const struct batch *b, uint64_t pos, struct journal_record *out) {
    for (size_t i = 0; i < b->n; i++) {
        const struct piece *p = &b->pieces[i];
        uint32_t end = b->open && i == b->n - 1 ? (uint32_t)b->len : p->head + p->used;
        uint64_t start = format_pos(p->segment, p->offset);
        if (pos < start || pos - start >= end - p->at)
            continue;
        const char *at = b->image + p->at + (pos - start);
        uint32_t word = format_load32(at + 4), body = format_word_body(word);
        *out = (struct journal_record){.pos = pos,
                                       .bytes = FORMAT_RECORD_HEAD + body,
                                       .type = format_word_type(word),
                                       .body = str_make(at + FORMAT_RECORD_HEAD, body)};
        return true;
    }
    return false;
}

static uint64_t finish_records(char *at, uint32_t seed, uint32_t offset, uint32_t count) {
    uint64_t digest = FORMAT_DIGEST_START;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t crc = format_record_crc(seed, offset, at);
        uint32_t bytes = FORMAT_RECORD_HEAD + format_word_body(format_load32(at + 4));
        format_store32(at, crc);
        digest = format_digest(digest, crc);
        at += bytes;
        offset += bytes;
    }
    return digest;
}

void batch_finish_piece(struct batch *b, const struct piece *p, uint64_t log_id,
                        uint64_t sequence) {
    uint32_t offset = p->offset + (p->head - p->at);
    char *head = b->image + p->head;
    bool last = p == last_piece(b);
    struct batch_head h = {.log_id = log_id,
                           .sequence = sequence,
                           .durable = format_pos(p->segment, offset),
                           .segment = p->segment,
                           .offset = offset,
                           .bytes = p->used,
                           .records = p->records,
                           .oldest = last ? b->oldest : b->oldest_before,
                           .flags = last ? b->flags : 0};
    h.digest = finish_records(head + FORMAT_BATCH_HEAD, format_seed(log_id, p->segment),
                              offset + FORMAT_BATCH_HEAD, p->records);
    format_put_batch(head, &h);
    if (p->segment_bytes)
        format_put_segment(b->image + p->at, &(struct segment_head){.log_id = log_id,
                                                                    .sequence = sequence,
                                                                    .segment = p->segment,
                                                                    .bytes = p->segment_bytes,
                                                                    .before = p->before,
                                                                    .oldest = b->oldest_before});
}
