#include "broker/journal/scan.h"

#include "broker/journal/ahead.h"
#include "common/base/check.h"

#define CHUNK (1U << 20)

void scan_start(struct scan *s, struct file *file, uint64_t log_id, uint32_t segment, uint32_t at,
                uint32_t limit) {
    ASSERT(at % FORMAT_BLOCK == 0 && limit % FORMAT_BLOCK == 0 && at <= limit);
    s->file = file;
    s->log_id = log_id;
    s->segment = segment;
    s->seed = format_seed(log_id, segment);
    s->at = at;
    s->limit = limit;
    s->why = "";
    s->from = s->have = 0;
}

void scan_end(struct scan *s) {
    blocks_free(&s->buf);
    s->from = s->have = 0;
}

static int read_blocks(struct scan *s, char *to, uint32_t n, uint32_t at, struct err *e) {
    return s->ahead ? ahead_read(s->ahead, s->segment, at, to, n, e)
                    : file_read(s->file, to, n, at, e);
}

/* Makes bytes [at, at + n) of the file stand in the buffer; reads ahead up to the limit. All that
 * is asked of the file are whole blocks. */
static int fetch(struct scan *s, uint32_t at, uint32_t n, struct err *e) {
    ASSERT(at % FORMAT_BLOCK == 0 && at <= s->limit && n <= s->limit - at);
    if (at >= s->from && at - s->from <= s->have && n <= s->have - (at - s->from))
        return 0;
    uint32_t gone = at - s->from;
    bool some = at >= s->from && gone < s->have;
    if (some)
        memmove(s->buf.at, s->buf.at + gone, s->have - gone);
    s->have = some ? s->have - gone : 0;
    s->from = at;
    uint32_t want = n > CHUNK ? format_block_up(n) : CHUNK;
    if (want > s->limit - at)
        want = s->limit - at;
    if (blocks_grow(&s->buf, want) != 0)
        return err_set(e, ERR_NO_MEMORY, "%s/%s: no memory for a batch of %u bytes",
                       s->file->dir->path, s->file->name, n);
    if (read_blocks(s, s->buf.at + s->have, want - s->have, at + s->have, e) != 0) {
        s->have = 0;
        return -1;
    }
    s->have = want;
    return 0;
}

static enum scan_seen none(struct scan *s, const char *why) {
    s->why = why;
    return SCAN_NONE;
}

/* All records right, and together what the head says. */
static const char *check_records(const struct scan *s, const struct batch_head *h, const char *at) {
    uint32_t offset = h->offset + FORMAT_BATCH_HEAD, end = h->offset + h->bytes;
    uint64_t digest = FORMAT_DIGEST_START;
    for (uint32_t i = 0; i < h->records; i++) {
        if (end - offset < FORMAT_RECORD_HEAD)
            return "a record passes the end of its batch";
        uint32_t body = format_word_body(format_load32(at + 4));
        if (body > end - offset - FORMAT_RECORD_HEAD)
            return "a record passes the end of its batch";
        uint32_t crc = format_load32(at);
        if (crc != format_record_crc(s->seed, offset, at))
            return "a record's checksum is wrong";
        digest = format_digest(digest, crc);
        at += FORMAT_RECORD_HEAD + body;
        offset += FORMAT_RECORD_HEAD + body;
    }
    if (offset != end || digest != h->digest)
        return "a batch's digest is wrong";
    return NULL;
}

static bool ours(const struct scan *s, const struct batch_head *h, uint32_t at) {
    return (s->log_id == 0 || h->log_id == s->log_id) && h->segment == s->segment &&
           h->offset == at;
}

enum scan_seen scan_batch(struct scan *s, struct batch_head *h, const char **records,
                          struct err *e) {
    if (s->limit - s->at < FORMAT_BATCH_HEAD)
        return none(s, "no room for a batch");
    if (fetch(s, s->at, FORMAT_BATCH_HEAD, e) != 0)
        return SCAN_ERROR;
    if (!format_get_batch(s->buf.at + (s->at - s->from), h) || !ours(s, h, s->at))
        return none(s, "no batch begins here");
    if (h->bytes > s->limit - s->at)
        return none(s, "a batch passes the end of its segment");
    if (fetch(s, s->at, h->bytes, e) != 0)
        return SCAN_ERROR;
    *records = s->buf.at + (s->at - s->from) + FORMAT_BATCH_HEAD;
    const char *wrong = check_records(s, h, *records);
    if (wrong)
        return none(s, wrong);
    s->at += format_block_up(h->bytes);
    return SCAN_BATCH;
}

struct scan_walk scan_walk(const struct batch_head *h, const char *records) {
    return (struct scan_walk){records, format_pos(h->segment, h->offset + FORMAT_BATCH_HEAD),
                              h->records};
}

bool scan_walk_next(struct scan_walk *w, struct journal_record *r) {
    if (w->left == 0)
        return false;
    uint32_t word = format_load32(w->at + 4), body = format_word_body(word);
    *r = (struct journal_record){.pos = w->pos,
                                 .bytes = FORMAT_RECORD_HEAD + body,
                                 .type = format_word_type(word),
                                 .body = str_make(w->at + FORMAT_RECORD_HEAD, body)};
    w->left--;
    w->at += r->bytes;
    w->pos += r->bytes;
    return true;
}

int scan_proof(struct scan *s, struct err *e) {
    uint64_t here = format_pos(s->segment, s->at);
    struct batch_head h;
    for (uint64_t at = (uint64_t)s->at + FORMAT_BLOCK; at + FORMAT_BLOCK <= s->limit;
         at += FORMAT_BLOCK) {
        if (fetch(s, (uint32_t)at, FORMAT_BLOCK, e) != 0)
            return -1;
        if (format_get_batch(s->buf.at + (at - s->from), &h) && ours(s, &h, (uint32_t)at) &&
            h.durable > here)
            return 1;
    }
    return 0;
}
