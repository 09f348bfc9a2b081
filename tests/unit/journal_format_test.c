/* The bytes on disk. A change of any of them needs a new FORMAT_VERSION and a way to read the old
 * one. */
#include "broker/journal/batch.h"
#include "common/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void assert_hex(struct str bytes, const char *want) {
    char text[2 * FORMAT_BATCH_HEAD + 1] = "";
    assert_true(bytes.len <= FORMAT_BATCH_HEAD);
    for (size_t i = 0; i < bytes.len; i++)
        snprintf(text + 2 * i, 3, "%02x", (unsigned char)bytes.at[i]);
    assert_string_equal(text, want);
}

static struct segment_head a_segment(void) {
    return (struct segment_head){.log_id = 0x1122334455667788,
                                 .sequence = 7,
                                 .segment = 3,
                                 .bytes = 64U << 20,
                                 .before = 0x2000,
                                 .oldest = 2};
}

static struct batch_head a_batch(void) {
    return (struct batch_head){.log_id = 0x1122334455667788,
                               .sequence = 8,
                               .durable = format_pos(3, 0x1000),
                               .digest = 0xaabbccddeeff0011,
                               .segment = 3,
                               .offset = 0x1000,
                               .bytes = 100,
                               .records = 2,
                               .oldest = 2,
                               .flags = FORMAT_CLOSED};
}

static void the_bytes_of_heads_are_these(void **state) {
    (void)state;
    char block[FORMAT_BLOCK], head[FORMAT_BATCH_HEAD];
    struct segment_head segment = a_segment();
    struct batch_head batch = a_batch();
    format_put_segment(block, &segment);
    assert_hex(str_make(block, 48), "515545524e534547738810bc01000000"
                                    "88776655443322110700000000000000"
                                    "03000000000000040020000002000000");
    format_put_batch(head, &batch);
    assert_hex(str_make(head, sizeof head), "514241545c6779c46400000002000000"
                                            "08000000000000000010000003000000"
                                            "88776655443322111100ffeeddccbbaa"
                                            "03000000001000000200000001000000");
}

static void heads_come_back(void **state) {
    (void)state;
    char block[FORMAT_BLOCK], head[FORMAT_BATCH_HEAD];
    struct segment_head segment = a_segment(), segment_back;
    struct batch_head batch = a_batch(), batch_back;
    format_put_segment(block, &segment);
    assert_int_equal(format_get_segment(block, &segment_back), FORMAT_GOOD);
    assert_memory_equal(&segment, &segment_back, sizeof segment);
    format_put_batch(head, &batch);
    assert_true(format_get_batch(head, &batch_back));
    assert_memory_equal(&batch, &batch_back, sizeof batch);
}

static void a_head_with_any_flipped_bit_is_refused(void **state) {
    (void)state;
    char block[FORMAT_BLOCK], head[FORMAT_BATCH_HEAD];
    struct segment_head segment = a_segment();
    struct batch_head batch = a_batch();
    format_put_segment(block, &segment);
    format_put_batch(head, &batch);
    for (size_t bit = 0; bit < 8 * sizeof block; bit++) {
        block[bit / 8] = (char)(block[bit / 8] ^ 1 << bit % 8);
        assert_int_equal(format_get_segment(block, &segment), FORMAT_BROKEN);
        block[bit / 8] = (char)(block[bit / 8] ^ 1 << bit % 8);
    }
    for (size_t bit = 0; bit < 8 * sizeof head; bit++) {
        head[bit / 8] = (char)(head[bit / 8] ^ 1 << bit % 8);
        assert_false(format_get_batch(head, &batch));
        head[bit / 8] = (char)(head[bit / 8] ^ 1 << bit % 8);
    }
}

static void heads_that_cannot_be_are_refused(void **state) {
    (void)state;
    char block[FORMAT_BLOCK] = "", head[FORMAT_BATCH_HEAD];
    struct segment_head s;
    struct batch_head b;
    assert_int_equal(format_get_segment(block, &s), FORMAT_BLANK);
    struct segment_head wrong_segments[] = {a_segment(), a_segment(), a_segment(), a_segment(),
                                            a_segment(), a_segment(), a_segment()};
    wrong_segments[0].segment = 0;
    wrong_segments[1].bytes = 4096;
    wrong_segments[2].bytes = (64U << 20) + 512;
    wrong_segments[3].before = 100;
    wrong_segments[4].oldest = 0;
    wrong_segments[5].oldest = 4;
    wrong_segments[6].before = 0; /* the first of a log, but not its oldest */
    for (size_t i = 0; i < sizeof wrong_segments / sizeof wrong_segments[0]; i++) {
        format_put_segment(block, &wrong_segments[i]);
        assert_int_equal(format_get_segment(block, &s), FORMAT_BROKEN);
    }
    struct batch_head wrong_batches[] = {a_batch(), a_batch(), a_batch(), a_batch(), a_batch(),
                                         a_batch(), a_batch(), a_batch(), a_batch()};
    wrong_batches[0].segment = 0;
    wrong_batches[1].offset = 0;
    wrong_batches[2].offset = 5000;
    wrong_batches[3].bytes = 63;
    wrong_batches[4].bytes = UINT32_MAX;
    wrong_batches[5].records = 5;
    wrong_batches[6].durable = format_pos(3, 0x1001);
    wrong_batches[7].oldest = 4;
    wrong_batches[8].flags = 2;
    for (size_t i = 0; i < sizeof wrong_batches / sizeof wrong_batches[0]; i++) {
        format_put_batch(head, &wrong_batches[i]);
        assert_false(format_get_batch(head, &b));
    }
}

static void a_records_checksum_covers_its_place(void **state) {
    (void)state;
    char record[17] = "........the body";
    uint32_t seed = format_seed(1, 2);
    format_store32(record + 4, format_word(9, 8));
    uint32_t crc = format_record_crc(seed, 4160, record);
    assert_int_not_equal(crc, format_record_crc(seed, 4161, record));
    assert_int_not_equal(crc, format_record_crc(format_seed(1, 3), 4160, record));
    assert_int_not_equal(crc, format_record_crc(format_seed(2, 2), 4160, record));
    format_store32(record + 4, format_word(8, 8));
    assert_int_not_equal(crc, format_record_crc(seed, 4160, record));
    assert_int_equal(format_word_type(format_word(255, FORMAT_BODY_MAX)), 255);
    assert_int_equal(format_word_body(format_word(255, FORMAT_BODY_MAX)), FORMAT_BODY_MAX);
}

/* ---- batches --------------------------------------------------------------------------------- */

static uint64_t put(struct batch *b, struct cursor *c, uint8_t type, struct str body) {
    uint64_t pos;
    char *to = batch_room(b, c, FORMAT_RECORD_HEAD + (uint32_t)body.len, &pos);
    format_store32(to + 4, format_word(type, (uint32_t)body.len));
    if (body.len)
        memcpy(to + FORMAT_RECORD_HEAD, body.at, body.len);
    return pos;
}

static void the_bytes_of_a_batch_are_these(void **state) {
    (void)state;
    struct cursor c = {.segment = 5, .offset = 8192, .bytes = 65536, .next_bytes = 65536};
    struct batch *b = batch_new(100000, 65536);
    assert_int_equal(put(b, &c, 1, STR("abc")), format_pos(5, 8192 + 64));
    assert_int_equal(put(b, &c, 2, STR("")), format_pos(5, 8192 + 64 + 11));
    b->oldest = 4;
    b->oldest_before = 3;
    batch_seal(b, &c);
    assert_int_equal(c.offset, 12288);
    assert_int_equal(b->n, 1);
    batch_finish_piece(b, &b->pieces[0], 0x1122334455667788, 9);
    assert_int_equal(b->pieces[0].bytes, FORMAT_BLOCK);
    assert_hex(str_make(b->image + 64, 19), "7c5318950300000161626395ae6f3b00000002");
    struct batch_head h;
    assert_true(format_get_batch(b->image, &h));
    assert_int_equal(h.bytes, 64 + 19);
    assert_int_equal(h.records, 2);
    assert_int_equal(h.sequence, 9);
    assert_int_equal(h.oldest, 4);
    assert_int_equal(h.durable, format_pos(5, 8192));
    for (size_t i = 64 + 19; i < FORMAT_BLOCK; i++)
        assert_int_equal(b->image[i], 0);
    batch_destroy(&b);
}

static void a_batch_goes_over_into_the_next_segment(void **state) {
    (void)state;
    struct cursor c = {.segment = 5, .offset = 65536 - 8192, .bytes = 65536, .next_bytes = 131072};
    struct batch *b = batch_new(300000, 65536);
    char *body = mem_zalloc(6000);
    struct str s = {body, 6000};
    uint64_t a = put(b, &c, 1, s), n = put(b, &c, 2, s);
    b->oldest = 5;
    b->oldest_before = 4;
    assert_int_equal(a, format_pos(5, 65536 - 8192 + 64));
    assert_int_equal(n, format_pos(6, FORMAT_BLOCK + 64));
    assert_int_equal(c.bytes, 131072);
    struct journal_record r;
    assert_true(batch_find(b, a, &r) && r.type == 1 && r.body.len == 6000);
    assert_true(batch_find(b, n, &r) && r.type == 2); /* in the piece that is still open */
    batch_seal(b, &c);
    assert_true(batch_find(b, n, &r) && r.bytes == 6008);
    assert_false(batch_find(b, format_pos(6, 0x4000), &r));
    assert_false(batch_find(b, format_pos(7, FORMAT_BLOCK + 64), &r));
    assert_int_equal(b->n, 2);
    batch_finish_piece(b, &b->pieces[0], 1, 1);
    batch_finish_piece(b, &b->pieces[1], 1, 2);
    struct segment_head head;
    struct batch_head first, second;
    assert_true(format_get_batch(b->image, &first));
    const char *next = b->image + b->pieces[1].at;
    assert_int_equal(format_get_segment(next, &head), FORMAT_GOOD);
    assert_true(format_get_batch(next + FORMAT_BLOCK, &second));
    assert_int_equal(head.before, 65536);
    assert_int_equal(head.bytes, 131072);
    /* Only the last piece says what is released: the others may be all that reaches the disk. */
    assert_int_equal(first.oldest, 4);
    assert_int_equal(head.oldest, 4);
    assert_int_equal(second.oldest, 5);
    mem_free(body);
    batch_destroy(&b);
}

static void an_empty_batch_is_one_block(void **state) {
    (void)state;
    struct cursor c = {.segment = 1, .bytes = 65536, .next_bytes = 65536};
    struct batch *b = batch_new(100000, 65536);
    batch_seal(b, &c);
    assert_int_equal(b->n, 1);
    assert_int_equal(b->pieces[0].bytes, 2 * FORMAT_BLOCK); /* with the segment's head */
    batch_clear(b);
    batch_seal(b, &c);
    assert_int_equal(b->pieces[0].bytes, FORMAT_BLOCK);
    assert_int_equal(c.offset, 3 * FORMAT_BLOCK);
    batch_destroy(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_of_heads_are_these),
        cmocka_unit_test(heads_come_back),
        cmocka_unit_test(a_head_with_any_flipped_bit_is_refused),
        cmocka_unit_test(heads_that_cannot_be_are_refused),
        cmocka_unit_test(a_records_checksum_covers_its_place),
        cmocka_unit_test(the_bytes_of_a_batch_are_these),
        cmocka_unit_test(a_batch_goes_over_into_the_next_segment),
        cmocka_unit_test(an_empty_batch_is_one_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
