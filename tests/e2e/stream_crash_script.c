/* What the kind `stream` must say: as workers/diagnostic/stream.c, written a second time. */
#include "common/wire/msgpack.h"
#include "tests/e2e/stream_crash.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LENGTHS   61U /* prime to CHANNELS: no two of so many scripts in a row are alike */
#define CHANNELS  251U
#define BYTES_MIN 16U
#define TEXT_MAX  (48U << 10) /* that a result has */

struct script script_make(uint32_t number, struct rng *rng) {
    struct script s = {
        .number = number, .bytes = BYTES_MIN + number % LENGTHS, .channels = 1 + number % CHANNELS};
    uint32_t what = rng_below(rng, 100);
    if (what < 35) {
        s.pieces = rng_below(rng, 60);
    } else if (what < 65) {
        s.pieces = 500 + rng_below(rng, 6000);
    } else {
        s.pieces = 20 + rng_below(rng, 300);
        s.rate = 100 + rng_below(rng, 400);
    }
    if (rng_below(rng, 100) < 35)
        s.resets = 1 + rng_below(rng, 4);
    if (rng_below(rng, 100) < 15)
        s.fail_after = 1 + rng_below(rng, s.pieces + 1);
    s.unique = rng_below(rng, 3) == 0;
    return s;
}

static void put(struct buf *b, const char *name, uint64_t value) {
    msgpack_put_text(b, str_of(name));
    msgpack_put_uint(b, value);
}

size_t script_payload(const struct script *s, char out[SCRIPT_PAYLOAD]) {
    AUTO_BUF b = BUF(SCRIPT_PAYLOAD);
    msgpack_put_map(&b, s->fail_after ? 7 : 5);
    put(&b, "pieces", s->pieces);
    put(&b, "bytes", s->bytes);
    put(&b, "channels", s->channels);
    put(&b, "rate", s->rate);
    put(&b, "resets", s->resets);
    if (s->fail_after) {
        put(&b, "fail_after", s->fail_after);
        put(&b, "times", 1);
    }
    memcpy(out, b.at, b.len);
    return b.len;
}

void script_piece(const struct script *s, uint64_t n, char out[PIECE_MAX]) {
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%" PRIu64, n);
    memset(out, '.', s->bytes);
    memcpy(out, digits, (size_t)len);
    out[s->bytes - 1] = ' ';
}

uint32_t script_channel(const struct script *s, uint64_t n) {
    return (uint32_t)((n - 1) % s->channels);
}

/* ---- its result ----------------------------------------------------------------------------- */
struct said {
    uint64_t pieces, bytes;
    struct str xxh3, text;
};

static bool read_result(struct str result, struct said *said) {
    struct cursor c = cursor_of(result);
    uint32_t n;
    if (msgpack_get_map(&c, &n) != MSGPACK_OK)
        return false;
    for (; n; n--) {
        struct str key;
        if (msgpack_get_bytes(&c, &key) != MSGPACK_OK)
            return false;
        enum msgpack_fault fault = str_eq(key, STR("pieces"))  ? msgpack_get_uint(&c, &said->pieces)
                                   : str_eq(key, STR("bytes")) ? msgpack_get_uint(&c, &said->bytes)
                                   : str_eq(key, STR("xxh3"))  ? msgpack_get_bytes(&c, &said->xxh3)
                                                               : msgpack_get_bytes(&c, &said->text);
        if (fault != MSGPACK_OK)
            return false;
    }
    return true;
}

/* Its text must be there if it is short; `sum` is of all that the script says. */
static bool text_is_right(const struct script *s, struct str text, uint64_t *sum) {
    char piece[PIECE_MAX];
    XXH3_state_t *state = XXH3_createState();
    uint64_t all = (uint64_t)s->pieces * s->bytes;
    bool right = text.len == (all <= TEXT_MAX ? all : 0);
    XXH3_64bits_reset(state);
    for (uint64_t n = 1; n <= s->pieces; n++) {
        script_piece(s, n, piece);
        XXH3_64bits_update(state, piece, s->bytes);
        if (right && text.len)
            right = memcmp(text.at + (n - 1) * s->bytes, piece, s->bytes) == 0;
    }
    *sum = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return right;
}

const char *script_check_result(const struct script *s, struct str result, uint64_t *sum) {
    struct said said = {0};
    char hex[17];
    if (!read_result(result, &said))
        return "its result cannot be read";
    if (said.pieces != s->pieces || said.bytes != (uint64_t)s->pieces * s->bytes)
        return "its result has other counts";
    if (!text_is_right(s, said.text, sum))
        return "its result has another text";
    snprintf(hex, sizeof hex, "%016" PRIx64, *sum);
    return str_eq(said.xxh3, str_of(hex)) ? "" : "its result has another hash";
}
