/* Any damage to a journal's files, checksums repaired or not: it opens, or it says what is wrong.
 * What opens can be worked with, and opens again with the same records and one more.
 *
 * An input is a list of six-byte edits of a small log: what, segment, block, place in the block,
 * value. */
#include "broker/journal/format.h"
#include "broker/journal/journal.h"
#include "common/base/check.h"
#include "common/base/mem.h"
#include "tests/support/crash_files.h"

#include <stdio.h>

#define SEGMENT  FORMAT_SEGMENT_MIN
#define SEGMENTS 4U
#define BLOCKS   (SEGMENT / FORMAT_BLOCK)
#define EDITS    64U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *template;

struct replay {
    uint64_t records, bytes, first, last;
    uint32_t first_bytes, last_bytes;
};

static int note(void *ctx, const struct journal_record *r, struct err *e) {
    struct replay *p = ctx;
    uint64_t sum = 0;
    (void)e;
    for (size_t i = 0; i < r->body.len; i++) /* every byte can be read */
        sum += (unsigned char)r->body.at[i];
    ASSERT(r->bytes == r->body.len + FORMAT_RECORD_HEAD && sum <= 255 * r->body.len);
    ASSERT(r->pos > p->last);
    if (p->records++ == 0) {
        p->first = r->pos;
        p->first_bytes = r->bytes;
    }
    p->last = r->pos;
    p->last_bytes = r->bytes;
    p->bytes += r->bytes;
    return 0;
}

static int open_journal(struct crash_disk *d, struct journal **j, struct replay *p, struct err *e) {
    struct journal_options options = {.dir = "disk",
                                      .segment_bytes = SEGMENT,
                                      .fill_bytes_max = 128U << 10,
                                      .turn_bytes_max = 64U << 10,
                                      .spares_reserve = 1,
                                      .loads_max = 4,
                                      .no_threads = true};
    *p = (struct replay){0};
    *e = (struct err){0};
    if (journal_open(j, &options, crash_disk_layer(d), e) != 0)
        return -1;
    return journal_replay(*j, note, p, NULL, e);
}

static const char *name_of(uint32_t segment) {
    static char name[FILE_NAME_SIZE];
    snprintf(name, sizeof name, "%012u.seg", segment);
    return name;
}

/* Two full segments, one begun, one spare. */
static void make_template(void) {
    struct crash_disk *d = crash_disk_new(1);
    struct journal *j;
    struct replay p;
    struct err e;
    char body[3000];
    uint32_t bytes;
    memset(body, 'q', sizeof body);
    int status = open_journal(d, &j, &p, &e);
    ASSERT(status == 0);
    for (uint32_t i = 0; i < 80; i++) {
        struct str part = {body, i * 97 % sizeof body};
        journal_put(j, (uint8_t)i, &part, 1, &bytes);
        if (i % 5 == 0)
            journal_commit(j);
    }
    status = journal_close(&j, &e);
    ASSERT(status == 0);
    template = mem_zalloc((size_t)SEGMENTS * SEGMENT); /* zeros are a spare */
    for (uint32_t s = 0; s < SEGMENTS && crash_disk_exists(d, name_of(s + 1)); s++)
        crash_disk_copy_out(d, name_of(s + 1), 0, template + (size_t)s * SEGMENT, SEGMENT);
    crash_disk_destroy(&d);
}

/* ---- edits ----------------------------------------------------------------------------------- */

static void repair_batch(char *image, uint32_t segment, uint32_t at) {
    char *head = image + at;
    struct batch_head h = {.segment = segment, .offset = at};
    h.bytes = format_load32(head + 8);
    h.records = format_load32(head + 12);
    h.sequence = format_load64(head + 16);
    h.durable = format_load64(head + 24);
    h.log_id = format_load64(head + 32);
    h.oldest = format_load32(head + 56);
    h.flags = format_load32(head + 60);
    h.digest = FORMAT_DIGEST_START;
    uint32_t seed = format_seed(h.log_id, segment);
    uint32_t offset = at + FORMAT_BATCH_HEAD;
    for (uint32_t i = 0; i < h.records && SEGMENT - offset >= FORMAT_RECORD_HEAD; i++) {
        uint32_t body = format_word_body(format_load32(image + offset + 4));
        if (body > SEGMENT - offset - FORMAT_RECORD_HEAD)
            break;
        uint32_t crc = format_record_crc(seed, offset, image + offset);
        format_store32(image + offset, crc);
        h.digest = format_digest(h.digest, crc);
        offset += FORMAT_RECORD_HEAD + body;
    }
    format_put_batch(head, &h);
}

static void repair_segment(char *image, uint32_t segment) {
    struct segment_head h = {.segment = segment};
    h.log_id = format_load64(image + 16);
    h.sequence = format_load64(image + 24);
    h.bytes = format_load32(image + 36);
    h.before = format_load32(image + 40);
    h.oldest = format_load32(image + 44);
    format_put_segment(image, &h);
}

static void edit(char *images, uint32_t *sizes, const uint8_t *e) {
    static const uint32_t values[] = {0,     1,       2,      63,         64,         4095, 4096,
                                      65535, SEGMENT, 131072, 0x00ffffff, 0x7fffffff, ~0U};
    uint32_t s = e[1] % SEGMENTS, block = e[2] % BLOCKS, place = (uint32_t)e[3] * 16 + e[4] % 16;
    char *image = images + (size_t)s * SEGMENT, *at = image + block * FORMAT_BLOCK;
    switch (e[0] % 8) {
    case 0:
        at[place % FORMAT_BLOCK] = (char)e[5];
        break;
    case 1: /* the heads, field by field */
        format_store32(at + e[3] % 16 * 4, values[e[5] % (sizeof values / sizeof values[0])]);
        break;
    case 2:
        format_store32(at + e[3] % 16 * 4, format_load32(at + e[3] % 16 * 4) + e[5] - 128);
        break;
    case 3:
        memset(at, e[5], FORMAT_BLOCK);
        break;
    case 4:
        memmove(images + e[5] % SEGMENTS * SEGMENT + e[3] % BLOCKS * FORMAT_BLOCK, at,
                FORMAT_BLOCK);
        break;
    case 5:
        repair_batch(image, s + 1, block * FORMAT_BLOCK);
        break;
    case 6:
        repair_segment(image, s + 1);
        break;
    default:
        sizes[s] = e[5] == 0 ? 0 : (e[5] < 240 ? SEGMENT : place);
    }
}

static struct crash_disk *edited_disk(const uint8_t *data, size_t size) {
    char *images = mem_alloc((size_t)SEGMENTS * SEGMENT);
    uint32_t sizes[SEGMENTS] = {SEGMENT, SEGMENT, SEGMENT, SEGMENT};
    memcpy(images, template, (size_t)SEGMENTS * SEGMENT);
    for (size_t i = 0; i + 6 <= size && i / 6 < EDITS; i += 6)
        edit(images, sizes, data + i);
    struct crash_disk *d = crash_disk_new(1);
    for (uint32_t s = 0; s < SEGMENTS; s++)
        if (sizes[s])
            crash_disk_put(d, name_of(s + 1), images + (size_t)s * SEGMENT, sizes[s], 0);
    mem_free(images);
    return d;
}

/* ---- use ------------------------------------------------------------------------------------- */

static void check_load(struct journal *j, uint64_t pos, uint32_t bytes) {
    struct journal_load_done done;
    int status = journal_load(j, pos, bytes, 1);
    ASSERT(status == 0);
    bool loaded = journal_loaded(j, &done);
    ASSERT(loaded && done.err.code == ERR_OK && done.record.pos == pos);
}

static void use(struct crash_disk *d, struct journal **j, const struct replay *before) {
    struct replay after;
    struct err e;
    uint32_t bytes;
    struct str body = STR("one more");
    if (before->records) {
        check_load(*j, before->first, before->first_bytes);
        check_load(*j, before->last, before->last_bytes);
    }
    uint64_t pos = journal_put(*j, 1, &body, 1, &bytes);
    ASSERT(pos > before->last);
    int status = journal_close(j, &e);
    ASSERT(status == 0);
    status = open_journal(d, j, &after, &e);
    ASSERT(status == 0 && after.records == before->records + 1 && after.last == pos);
    ASSERT(after.bytes == before->bytes + bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct journal *j = NULL;
    struct replay before;
    struct err e;
    if (!template)
        make_template();
    struct crash_disk *d = edited_disk(data, size);
    if (open_journal(d, &j, &before, &e) == 0)
        use(d, &j, &before);
    else
        ASSERT(e.code != ERR_OK && e.text[0] && e.class != ERR_CLASS_BUG);
    journal_abandon(&j);
    crash_disk_destroy(&d);
    return 0;
}
