#include "common/os/clock.h"
#include "common/wire/msgpack.h"
#include "workers/diagnostic/diagnostic.h"

#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

#define PIECES_MAX   10000000
#define RATE_MAX     1000000
#define TEXT_MAX     (48U << 10) /* in the result */
#define NUMBER_MAX   20
#define MS_IN_SECOND 1000

struct streaming {
    uint64_t pieces, bytes, rate, resets, channels, fail_after, times;
    char *piece;
    char *text; /* NULL: too long for the result */
    uint64_t written;
    struct mono begun;
    uint64_t since; /* pieces since then */
};

static int read_parameters(struct job *job, struct streaming *s, struct err *e) {
    if (job_param_uint(job, "pieces", 100, PIECES_MAX, &s->pieces, e) < 0 ||
        job_param_uint(job, "bytes", 16, STREAM_PIECE_MAX, &s->bytes, e) < 0 ||
        job_param_uint(job, "rate", 0, RATE_MAX, &s->rate, e) < 0 ||
        job_param_uint(job, "resets", 0, 255, &s->resets, e) < 0 ||
        job_param_uint(job, "channels", 1, 256, &s->channels, e) < 0 ||
        job_param_uint(job, "fail_after", UINT64_MAX, UINT64_MAX, &s->fail_after, e) < 0 ||
        job_param_uint(job, "times", UINT64_MAX, UINT64_MAX, &s->times, e) < 0)
        return -1;
    if (!s->bytes || !s->channels)
        return err_set(e, ERR_BAD_VALUE, "payload.%s: 0, at least 1",
                       s->bytes ? "channels" : "bytes");
    return 0;
}

/* "17......... ": the number, dots, a blank; where it is too short, the end of the number. */
static void write_piece(char *to, uint64_t bytes, uint64_t number) {
    char digits[NUMBER_MAX + 1];
    int n = snprintf(digits, sizeof digits, "%" PRIu64, number);
    uint64_t len = n > 0 ? (uint64_t)n : 0;
    memset(to, '.', bytes);
    if (bytes > len) {
        memcpy(to, digits, len);
        to[bytes - 1] = ' ';
    } else {
        memcpy(to, digits + len - bytes, bytes);
    }
}

static int keep_pace(struct job *job, const struct streaming *s, struct err *e) {
    if (!s->rate)
        return 0;
    struct mono due = mono_add(s->begun, s->since * MS_IN_SECOND / s->rate);
    uint64_t wait_ms = mono_until(clock_mono(), due);
    return wait_ms ? job_wait(job, wait_ms, e) : 0;
}

/* The pieces from the first up to `last`. */
static int write_pieces(struct job *job, struct streaming *s, uint64_t last, XXH3_state_t *sum,
                        struct err *e) {
    for (uint64_t n = 1; n <= last; n++, s->since++) {
        if (s->written == s->fail_after && job_attempt(job) <= s->times)
            return err_set(e, ERR_JOB_FAILED, "it was asked to fail after %" PRIu64 " pieces",
                           s->written);
        if (keep_pace(job, s, e) < 0)
            return -1;
        write_piece(s->piece, s->bytes, n);
        struct str piece = str_make(s->piece, s->bytes);
        if (job_delta(job, (uint32_t)((n - 1) % s->channels), piece, e) < 0)
            return -1;
        s->written++;
        XXH3_64bits_update(sum, piece.at, piece.len);
        if (s->text)
            memcpy(s->text + (n - 1) * s->bytes, piece.at, piece.len);
    }
    return 0;
}

static int write_all(struct job *job, struct streaming *s, XXH3_state_t *sum, struct err *e) {
    for (uint64_t i = 0; i < s->resets; i++)
        if (write_pieces(job, s, (s->pieces + 1) / 2, sum, e) < 0 || job_stream_reset(job, e) < 0)
            return -1;
    XXH3_64bits_reset(sum);
    return write_pieces(job, s, s->pieces, sum, e);
}

static void put_result(struct buf *b, const struct streaming *s, uint64_t sum) {
    char hex[17];
    snprintf(hex, sizeof hex, "%016" PRIx64, sum);
    msgpack_put_map(b, s->text ? 4 : 3);
    msgpack_put_text(b, STR("pieces"));
    msgpack_put_uint(b, s->pieces);
    msgpack_put_text(b, STR("bytes"));
    msgpack_put_uint(b, s->pieces * s->bytes);
    msgpack_put_text(b, STR("xxh3"));
    msgpack_put_text(b, str_of(hex));
    if (s->text) {
        msgpack_put_text(b, STR("text"));
        msgpack_put_text(b, str_make(s->text, s->pieces * s->bytes));
    }
}

static void free_sum(void *sum) {
    XXH3_freeState(sum);
}

int run_stream(struct job *job, struct err *e) {
    struct streaming s = {.begun = clock_mono()};
    if (read_parameters(job, &s, e) < 0)
        return -1;
    XXH3_state_t *sum = XXH3_createState();
    s.piece = arena_try(job_arena(job), s.bytes);
    if (!sum || !s.piece)
        return err_set(e, ERR_NO_MEMORY, "a piece of %" PRIu64 " bytes", s.bytes);
    arena_defer(job_arena(job), free_sum, sum);
    XXH3_64bits_reset(sum);
    if (s.pieces * s.bytes <= TEXT_MAX)
        s.text = arena_try(job_arena(job), s.pieces * s.bytes + 1);
    if (write_all(job, &s, sum, e) < 0)
        return -1;
    put_result(job_result(job), &s, XXH3_64bits_digest(sum));
    return 0;
}
