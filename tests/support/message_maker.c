#include "tests/support/message_maker.h"

#include "common/base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEN_MAX 600 /* longer text teaches nothing new and costs time */

static uint64_t pick(struct rng *r, uint64_t min, uint64_t max) {
    switch (rng_below(r, 4)) {
    case 0:
        return min;
    case 1:
        return max;
    default:
        break;
    }
    uint64_t span = max - min, v = rng_u64(r) >> rng_below(r, 64);
    return span == UINT64_MAX ? v : min + v % (span + 1);
}

static size_t pick_len(struct rng *r, const struct field_def *f) {
    uint64_t max = f->max < LEN_MAX ? f->max : LEN_MAX;
    return (size_t)pick(r, f->min, max < f->min ? f->min : max);
}

static struct str make_name(struct rng *r, size_t max, struct arena *arena) {
    static const char chars[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:-.";
    size_t len = (size_t)pick(r, 1, max);
    char *at = arena_alloc(arena, len);
    for (size_t i = 0; i < len; i++)
        at[i] = chars[rng_below(r, i ? sizeof chars - 1 : 26)];
    return (struct str){at, len};
}

/* Characters of 1 to 4 bytes, exactly `len` bytes of them. */
static struct str make_text(struct rng *r, size_t len, struct arena *arena) {
    static const char *const chars[] = {"x", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    char *at = arena_alloc(arena, len ? len : 1);
    for (size_t i = 0; i < len;) {
        size_t n = rng_chance(r, 100000) ? 1 + rng_below(r, 4) : 1;
        if (n > len - i)
            n = 1;
        memcpy(at + i, n == 1 ? (rng_chance(r, 10000) ? "\n" : "a") : chars[n - 1], n);
        i += n;
    }
    return (struct str){at, len};
}

static struct str make_bytes(struct rng *r, size_t len, struct arena *arena) {
    char *at = arena_alloc(arena, len ? len : 1);
    for (size_t i = 0; i < len; i++)
        at[i] = (char)rng_u32(r);
    return (struct str){at, len};
}

static struct str_list make_names(struct rng *r, const struct field_def *f, struct arena *arena) {
    size_t n = (size_t)pick(r, f->min, f->max < 40 ? f->max : 40);
    struct str *at = arena_alloc(arena, (n ? n : 1) * sizeof *at);
    for (size_t i = 0; i < n; i++)
        at[i] = make_name(r, NAME_MAX_LEN, arena);
    return (struct str_list){at, n};
}

static struct uint_list make_uints(struct rng *r, const struct field_def *f, struct arena *arena) {
    size_t n = (size_t)pick(r, f->min, f->max < 40 ? f->max : 40);
    uint64_t *at = arena_alloc(arena, (n ? n : 1) * sizeof *at);
    for (size_t i = 0; i < n; i++)
        at[i] = pick(r, 0, UINT64_MAX);
    return (struct uint_list){at, n};
}

static void make_field(const struct field_def *f, struct rng *r, struct arena *arena, char *slot) {
    switch ((enum field_type)f->type) {
    case FIELD_BOOL:
        *(bool *)(void *)slot = rng_chance(r, 500000);
        return;
    case FIELD_UINT:
    case FIELD_ID:
        memcpy(slot, &(uint64_t){pick(r, f->min, f->max)}, sizeof(uint64_t));
        return;
    case FIELD_NAME:
        *(struct str *)(void *)slot = make_name(r, (size_t)f->max, arena);
        return;
    case FIELD_TEXT:
        *(struct str *)(void *)slot = make_text(r, pick_len(r, f), arena);
        return;
    case FIELD_BYTES:
    case FIELD_INSTANCE:
        *(struct str *)(void *)slot = make_bytes(r, pick_len(r, f), arena);
        return;
    case FIELD_MAP:
        *(struct str *)(void *)slot = STR("\x81\xa1k\x93\x01\xc3\xa1v");
        return;
    case FIELD_NAMES:
        *(struct str_list *)(void *)slot = make_names(r, f, arena);
        return;
    case FIELD_UINTS:
        *(struct uint_list *)(void *)slot = make_uints(r, f, arena);
        return;
    }
}

void message_make(const struct msg_def *def, struct rng *r, uint32_t filled_of_million,
                  struct arena *arena, void *msg) {
    memset(msg, 0, def->size);
    uint64_t has = 0;
    for (unsigned i = 0; i < def->n; i++) {
        const struct field_def *f = &def->fields[i];
        if (!f->required && !rng_chance(r, filled_of_million))
            continue;
        make_field(f, r, arena, (char *)msg + f->offset);
        has |= 1ULL << f->number;
    }
    memcpy(msg, &has, sizeof has);
}

static void clear(const struct msg_def *def, uint8_t number, void *msg) {
    uint64_t *has = msg;
    if (!number)
        return;
    *has &= ~(1ULL << number);
    memset((char *)msg + msg_field(def, number)->offset, 0, sizeof(uint64_t));
}

void message_set_children(const struct msg_def *def, uint64_t n, void *msg) {
    uint64_t *has = msg;
    *has |= 1ULL << def->children_at;
    memcpy((char *)msg + msg_field(def, def->children_at)->offset, &n, sizeof n);
}

struct str message_make_payload(const struct msg_def *def, struct rng *r, void *msg,
                                struct arena *arena) {
    uint64_t *has = msg;
    clear(def, def->result_size_at, msg);
    clear(def, def->children_at, msg);
    if (!def->size_at)
        return (struct str){0};
    struct str payload = make_bytes(r, rng_below(r, 100), arena);
    *has |= 1ULL << def->size_at;
    memcpy((char *)msg + msg_field(def, def->size_at)->offset, &(uint64_t){payload.len},
           sizeof(uint64_t));
    return payload;
}

static bool same_names(const struct str_list *a, const struct str_list *b) {
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (!str_eq(a->at[i], b->at[i]))
            return false;
    return true;
}

static bool same_field(const struct field_def *f, const void *a, const void *b) {
    switch ((enum field_type)f->type) {
    case FIELD_BOOL:
        return *(const bool *)a == *(const bool *)b;
    case FIELD_UINT:
    case FIELD_ID:
        return *(const uint64_t *)a == *(const uint64_t *)b;
    case FIELD_NAMES:
        return same_names(a, b);
    case FIELD_UINTS: {
        const struct uint_list *x = a, *y = b;
        return x->n == y->n && (x->n == 0 || memcmp(x->at, y->at, x->n * sizeof *x->at) == 0);
    }
    default:
        return str_eq(*(const struct str *)a, *(const struct str *)b);
    }
}

void message_assert_equal(const struct msg_def *def, const void *a, const void *b) {
    const char *wrong = *(const uint64_t *)a == *(const uint64_t *)b ? NULL : "the fields it has";
    for (unsigned i = 0; i < def->n && !wrong; i++) {
        const struct field_def *f = &def->fields[i];
        if (!same_field(f, (const char *)a + f->offset, (const char *)b + f->offset))
            wrong = f->name;
    }
    if (wrong) {
        fprintf(stderr, "two messages differ: %s.%s\n", def->name, wrong);
        abort();
    }
}
