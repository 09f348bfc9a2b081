#include "common/wire/codec.h"

#include "common/base/check.h"

#include <inttypes.h>

/* ---- what both ways share ------------------------------------------------------------------- */
/* Most text is ASCII: eight bytes at a time find out. */
static bool is_ascii(struct str s) {
    size_t i = 0;
    uint64_t all = 0;
    for (; i + 8 <= s.len; i += 8) {
        uint64_t word;
        memcpy(&word, s.at + i, 8);
        all |= word;
    }
    for (; i < s.len; i++)
        all |= (unsigned char)s.at[i];
    return (all & 0x8080808080808080ULL) == 0;
}

static bool is_text(struct str s) {
    return is_ascii(s) || str_is_utf8(s);
}

static uint64_t load_uint(const void *slot) {
    uint64_t v;
    memcpy(&v, slot, sizeof v);
    return v;
}

static struct str load_str(const void *slot) {
    struct str s;
    memcpy(&s, slot, sizeof s);
    return s;
}

/* A limit of a value, a length or a count that does not hold. */
static int bound_error(const struct msg_def *def, const struct field_def *f, uint64_t value,
                       struct err *e) {
    const char *unit = f->type == FIELD_UINT || f->type == FIELD_ID       ? ""
                       : f->type == FIELD_NAMES || f->type == FIELD_UINTS ? " elements"
                                                                          : " bytes";
    bool low = value < f->min;
    if (f->min == f->max)
        return err_set(e, ERR_BAD_VALUE, "%s.%s: %" PRIu64 "%s, must be %" PRIu64, def->name,
                       f->name, value, unit, f->min);
    return err_set(e, ERR_BAD_VALUE, "%s.%s: %" PRIu64 "%s, at %s %" PRIu64, def->name, f->name,
                   value, unit, low ? "least" : "most", low ? f->min : f->max);
}

static int name_error(const struct msg_def *def, const struct field_def *f, struct err *e) {
    return err_set(
        e, ERR_BAD_VALUE,
        "%s.%s: not a name (letters, digits and . _ : - only, and neither . nor - first)",
        def->name, f->name);
}

static int text_error(const struct msg_def *def, const struct field_def *f, struct err *e) {
    return err_set(e, ERR_BAD_VALUE, "%s.%s: text that is not UTF-8", def->name, f->name);
}

static bool in_bounds(const struct field_def *f, uint64_t v) {
    return v >= f->min && v <= f->max;
}

struct str codec_clip(struct str text, size_t max) {
    if (text.len <= max)
        return text;
    while (max && ((unsigned char)text.at[max] & 0xC0) == 0x80)
        max--;
    return (struct str){text.at, max};
}

/* ---- checking ------------------------------------------------------------------------------- */
static int check_names(const struct msg_def *def, const struct field_def *f, struct str_list list,
                       struct err *e) {
    if (!in_bounds(f, list.n))
        return bound_error(def, f, list.n, e);
    for (size_t i = 0; i < list.n; i++)
        if (!str_is_name(list.at[i], NAME_MAX_LEN))
            return name_error(def, f, e);
    return 0;
}

static int check_field(const struct msg_def *def, const struct field_def *f, const void *slot,
                       struct err *e) {
    struct str s;
    struct str_list names;
    struct uint_list uints;
    switch ((enum field_type)f->type) {
    case FIELD_BOOL:
        return 0;
    case FIELD_UINT:
    case FIELD_ID:
        return in_bounds(f, load_uint(slot)) ? 0 : bound_error(def, f, load_uint(slot), e);
    case FIELD_NAMES:
        memcpy(&names, slot, sizeof names);
        return check_names(def, f, names, e);
    case FIELD_UINTS:
        memcpy(&uints, slot, sizeof uints);
        return in_bounds(f, uints.n) ? 0 : bound_error(def, f, uints.n, e);
    default:
        break;
    }
    s = load_str(slot);
    if (!in_bounds(f, s.len))
        return bound_error(def, f, s.len, e);
    if (f->type == FIELD_TEXT && !is_text(s))
        return text_error(def, f, e);
    if (f->type == FIELD_NAME && !str_is_name(s, (size_t)f->max))
        return name_error(def, f, e);
    return 0;
}

static int missing_error(const struct msg_def *def, uint64_t missing, struct err *e) {
    const struct field_def *f = msg_field(def, (uint64_t)__builtin_ctzll(missing));
    ASSERT(f);
    return err_set(e, ERR_MISSING_FIELD, "%s.%s: must be there", def->name, f->name);
}

int codec_check(const struct msg_def *def, const void *msg, struct err *e) {
    uint64_t has = load_uint(msg);
    for (unsigned i = 0; i < def->n; i++) {
        const struct field_def *f = &def->fields[i];
        if ((has >> f->number & 1) && check_field(def, f, (const char *)msg + f->offset, e) < 0)
            return -1;
    }
    uint64_t missing = def->required & ~has;
    return missing ? missing_error(def, missing, e) : 0;
}

/* ---- writing -------------------------------------------------------------------------------- */
struct writer {
    struct buf *out;
    unsigned char *p, *end; /* what of its memory is free */
    bool failed;
};

static void writer_sync(struct writer *w) {
    if (w->p)
        w->out->len = (size_t)(w->p - (unsigned char *)w->out->at);
}

/* Room for `n` bytes at w->p, or the writer has failed. */
static bool make_room(struct writer *w, size_t n) {
    writer_sync(w);
    unsigned char *p = buf_room(w->out, n);
    if (!p) {
        w->failed = true;
        return false;
    }
    w->p = p;
    w->end = (unsigned char *)w->out->at + w->out->size;
    return true;
}

static inline bool has_room(struct writer *w, size_t n) {
    return __builtin_expect((size_t)(w->end - w->p) >= n, 1) || make_room(w, n);
}

/* Near the end of the buffer: exactly what it takes and not a byte more. */
static void write_uint_tight(struct writer *w, uint64_t v) {
    unsigned char head[MSGPACK_HEAD_MAX];
    size_t n = (size_t)(msgpack_write_uint(head, v) - head);
    if (has_room(w, n)) {
        memcpy(w->p, head, n);
        w->p += n;
    }
}

static inline void write_uint(struct writer *w, uint64_t v) {
    if (__builtin_expect((size_t)(w->end - w->p) >= MSGPACK_HEAD_MAX, 1))
        w->p = msgpack_write_uint(w->p, v);
    else
        write_uint_tight(w, v);
}

static void write_bytes(struct writer *w, struct str s, bool text) {
    unsigned char head[MSGPACK_HEAD_MAX];
    unsigned char *end =
        text ? msgpack_write_text_head(head, s.len) : msgpack_write_bytes_head(head, s.len);
    size_t n = (size_t)(end - head);
    if (!has_room(w, n + s.len))
        return;
    memcpy(w->p, head, n);
    if (s.len)
        memcpy(w->p + n, s.at, s.len);
    w->p += n + s.len;
}

static void write_raw(struct writer *w, const void *at, size_t n) {
    if (has_room(w, n)) {
        memcpy(w->p, at, n);
        w->p += n;
    }
}

/* What remains valid stays, every other byte becomes '?': the length is the same. */
static void write_repaired(struct writer *w, struct str s) {
    write_bytes(w, s, true);
    if (w->failed)
        return;
    char *at = (char *)w->p - s.len;
    for (size_t i = 0; i < s.len;) {
        size_t n = 1;
        while (n < 4 && n < s.len - i && !str_is_utf8(str_make(at + i, n)))
            n++;
        if (str_is_utf8(str_make(at + i, n))) {
            i += n;
        } else {
            at[i] = '?';
            i++;
        }
    }
}

static void write_names(struct writer *w, const struct field_def *f, struct str_list list) {
    unsigned char head[MSGPACK_HEAD_MAX];
    ASSERT(in_bounds(f, list.n));
    write_raw(w, head, (size_t)(msgpack_write_list_head(head, (uint32_t)list.n) - head));
    for (size_t i = 0; i < list.n && !w->failed; i++) {
        ASSERT(str_is_name(list.at[i], NAME_MAX_LEN));
        write_bytes(w, list.at[i], true);
    }
}

static void write_uints(struct writer *w, const struct field_def *f, struct uint_list list) {
    unsigned char head[MSGPACK_HEAD_MAX];
    ASSERT(in_bounds(f, list.n));
    write_raw(w, head, (size_t)(msgpack_write_list_head(head, (uint32_t)list.n) - head));
    for (size_t i = 0; i < list.n && !w->failed; i++)
        write_uint(w, list.at[i]);
}

static void write_list(struct writer *w, const struct field_def *f, const void *slot) {
    struct str_list names;
    struct uint_list uints;
    if (f->type == FIELD_NAMES) {
        memcpy(&names, slot, sizeof names);
        write_names(w, f, names);
    } else {
        memcpy(&uints, slot, sizeof uints);
        write_uints(w, f, uints);
    }
}

static void write_value(struct writer *w, const struct field_def *f, const char *slot) {
    switch ((enum field_type)f->type) {
    case FIELD_UINT:
    case FIELD_ID:
        ASSERT(in_bounds(f, load_uint(slot)));
        write_uint(w, load_uint(slot));
        return;
    case FIELD_BOOL:
        write_raw(w, *(const bool *)slot ? "\xc3" : "\xc2", 1);
        return;
    case FIELD_NAMES:
    case FIELD_UINTS:
        write_list(w, f, slot);
        return;
    default:
        break;
    }
    struct str s = load_str(slot);
    ASSERT(in_bounds(f, s.len));
    switch ((enum field_type)f->type) {
    case FIELD_NAME:
        ASSERT(str_is_name(s, (size_t)f->max));
        write_bytes(w, s, true);
        return;
    case FIELD_TEXT:
        if (__builtin_expect(is_text(s), 1))
            write_bytes(w, s, true);
        else
            write_repaired(w, s);
        return;
    case FIELD_MAP:
        write_raw(w, s.at, s.len);
        return;
    default:
        write_bytes(w, s, false);
        return;
    }
}

int codec_put_def(struct buf *out, const struct msg_def *def, const void *msg) {
    uint64_t has = load_uint(msg);
    ASSERT((def->required & ~has) == 0);
    size_t start = out->len;
    struct writer w = {.out = out};
    unsigned char head[MSGPACK_HEAD_MAX];
    size_t n = (size_t)(msgpack_write_map_head(head, (uint32_t)__builtin_popcountll(has)) - head);
    if (!make_room(&w, n))
        return -1;
    memcpy(w.p, head, n);
    w.p += n;
    for (; has && !w.failed; has &= has - 1) {
        unsigned number = (unsigned)__builtin_ctzll(has); /* one byte, as the highest is 63 */
        ASSERT(def->at[number]);
        const struct field_def *f = &def->fields[def->at[number] - 1];
        if (has_room(&w, 1)) {
            *w.p++ = (unsigned char)number;
            write_value(&w, f, (const char *)msg + f->offset);
        }
    }
    if (w.failed) {
        out->len = start;
        return -1;
    }
    writer_sync(&w);
    return 0;
}

int codec_put(struct buf *out, enum msg_id id, const void *msg) {
    return codec_put_def(out, msg_def(id), msg);
}

/* ---- reading -------------------------------------------------------------------------------- */
struct reader {
    struct cursor c;
    const struct msg_def *def;
    struct arena *arena;
    struct err *e;
};

/* Why a field could not be read, in words. */
static int fault_error(struct reader *r, const struct field_def *f, enum msgpack_fault fault) {
    static const char *const wanted[] = {
        [FIELD_BOOL] = "a boolean",
        [FIELD_UINT] = "a number that is not negative",
        [FIELD_ID] = "an id (a number)",
        [FIELD_TEXT] = "text",
        [FIELD_NAME] = "text",
        [FIELD_BYTES] = "bytes",
        [FIELD_INSTANCE] = "16 bytes",
        [FIELD_MAP] = "a map",
        [FIELD_NAMES] = "a list of text",
        [FIELD_UINTS] = "a list of numbers that are not negative",
    };
    if (fault == MSGPACK_WRONG)
        return err_set(r->e, ERR_BAD_VALUE, "%s.%s: %s, must be %s", r->def->name, f->name,
                       msgpack_type_name(msgpack_peek(&r->c)), wanted[f->type]);
    return err_set(r->e, ERR_MALFORMED, "%s.%s: %s", r->def->name, f->name,
                   msgpack_fault_text(fault));
}

static int read_uint(struct reader *r, const struct field_def *f, void *slot) {
    uint64_t v;
    enum msgpack_fault fault = msgpack_get_uint(&r->c, &v);
    if (__builtin_expect(fault != MSGPACK_OK, 0))
        return fault_error(r, f, fault);
    if (__builtin_expect(!in_bounds(f, v), 0))
        return bound_error(r->def, f, v, r->e);
    memcpy(slot, &v, sizeof v);
    return 0;
}

static int read_bytes(struct reader *r, const struct field_def *f, void *slot) {
    struct str s;
    enum msgpack_fault fault = msgpack_get_bytes(&r->c, &s);
    if (__builtin_expect(fault != MSGPACK_OK, 0))
        return fault_error(r, f, fault);
    if (__builtin_expect(!in_bounds(f, s.len), 0))
        return bound_error(r->def, f, s.len, r->e);
    if (f->type == FIELD_NAME) {
        if (!str_is_name(s, (size_t)f->max))
            return name_error(r->def, f, r->e);
    } else if (f->type == FIELD_TEXT && !is_text(s)) {
        return text_error(r->def, f, r->e);
    }
    memcpy(slot, &s, sizeof s);
    return 0;
}

static int read_map(struct reader *r, const struct field_def *f, void *slot) {
    static const struct msgpack_limits limits = {MSGPACK_DEPTH_MAX, UINT32_MAX};
    const unsigned char *start = r->c.at;
    enum msgpack_fault fault =
        msgpack_peek(&r->c) == MSGPACK_MAP ? msgpack_pass(&r->c, &limits) : MSGPACK_WRONG;
    if (fault)
        return fault_error(r, f, fault);
    struct str s = str_make(start, (size_t)(r->c.at - start));
    if (!in_bounds(f, s.len))
        return bound_error(r->def, f, s.len, r->e);
    memcpy(slot, &s, sizeof s);
    return 0;
}

/* The head of a list and memory for its elements, which are bounded before any is reserved.
 * NULL on error only. */
static void *read_list(struct reader *r, const struct field_def *f, size_t size, uint32_t *n) {
    enum msgpack_fault fault = msgpack_get_list(&r->c, n);
    if (fault) {
        fault_error(r, f, fault);
        return NULL;
    }
    if (!in_bounds(f, *n)) {
        bound_error(r->def, f, *n, r->e);
        return NULL;
    }
    ASSERT(r->arena);
    void *elements = arena_try_array(r->arena, *n + 1U, size);
    if (!elements)
        err_set(r->e, ERR_NO_MEMORY, "%s.%s: no memory for %" PRIu32 " elements", r->def->name,
                f->name, *n);
    return elements;
}

static int read_names(struct reader *r, const struct field_def *f, void *slot) {
    uint32_t n;
    struct str *at = read_list(r, f, sizeof *at, &n);
    if (!at)
        return -1;
    for (uint32_t i = 0; i < n; i++) {
        enum msgpack_fault fault = msgpack_get_bytes(&r->c, &at[i]);
        if (fault)
            return fault_error(r, f, fault);
        if (!str_is_name(at[i], NAME_MAX_LEN))
            return name_error(r->def, f, r->e);
    }
    struct str_list list = {at, n};
    memcpy(slot, &list, sizeof list);
    return 0;
}

static int read_uints(struct reader *r, const struct field_def *f, void *slot) {
    uint32_t n;
    uint64_t *at = read_list(r, f, sizeof *at, &n);
    if (!at)
        return -1;
    for (uint32_t i = 0; i < n; i++) {
        enum msgpack_fault fault = msgpack_get_uint(&r->c, &at[i]);
        if (fault)
            return fault_error(r, f, fault);
    }
    struct uint_list list = {at, n};
    memcpy(slot, &list, sizeof list);
    return 0;
}

static int read_bool(struct reader *r, const struct field_def *f, void *slot) {
    enum msgpack_fault fault = msgpack_get_bool(&r->c, slot);
    return fault ? fault_error(r, f, fault) : 0;
}

static inline int read_value(struct reader *r, const struct field_def *f, void *slot) {
    switch ((enum field_type)f->type) {
    case FIELD_UINT:
    case FIELD_ID:
        return read_uint(r, f, slot);
    case FIELD_TEXT:
    case FIELD_NAME:
    case FIELD_BYTES:
    case FIELD_INSTANCE:
        return read_bytes(r, f, slot);
    case FIELD_BOOL:
        return read_bool(r, f, slot);
    case FIELD_MAP:
        return read_map(r, f, slot);
    case FIELD_NAMES:
        return read_names(r, f, slot);
    case FIELD_UINTS:
        return read_uints(r, f, slot);
    }
    UNREACHABLE();
}

static int read_unknown(struct reader *r, uint64_t number, uint32_t *skipped) {
    if (!skipped)
        return err_set(r->e, ERR_UNKNOWN_FIELD, "%s: no field %" PRIu64, r->def->name, number);
    enum msgpack_fault fault = msgpack_skip(&r->c);
    if (fault)
        return err_set(r->e, ERR_MALFORMED, "%s: field %" PRIu64 ": %s", r->def->name, number,
                       msgpack_fault_text(fault));
    (*skipped)++;
    return 0;
}

static int head_error(struct reader *r, enum msgpack_fault fault) {
    if (fault == MSGPACK_WRONG)
        return err_set(r->e, ERR_MALFORMED, "%s: %s, must be a map", r->def->name,
                       msgpack_type_name(msgpack_peek(&r->c)));
    return err_set(r->e, ERR_MALFORMED, "%s: %s", r->def->name, msgpack_fault_text(fault));
}

static int key_error(struct reader *r, enum msgpack_fault fault) {
    if (fault == MSGPACK_WRONG)
        return err_set(r->e, ERR_MALFORMED, "%s: %s as a key, must be a field number", r->def->name,
                       msgpack_type_name(msgpack_peek(&r->c)));
    return err_set(r->e, ERR_MALFORMED, "%s: %s", r->def->name, msgpack_fault_text(fault));
}

int codec_get_def(struct cursor *in, const struct msg_def *def, void *msg, struct arena *arena,
                  uint32_t *skipped, struct err *e) {
    struct reader r = {*in, def, arena, e};
    uint32_t pairs;
    enum msgpack_fault fault = msgpack_get_map(&r.c, &pairs);
    if (fault)
        return head_error(&r, fault);
    memset(msg, 0, def->size);
    uint64_t has = 0;
    for (; pairs; pairs--) {
        uint64_t number;
        if ((fault = msgpack_get_uint(&r.c, &number)) != MSGPACK_OK)
            return key_error(&r, fault);
        if (number > CODEC_FIELD_MAX || !def->at[number]) {
            if (read_unknown(&r, number, skipped) < 0)
                return -1;
            continue;
        }
        const struct field_def *f = &def->fields[def->at[number] - 1];
        if (has >> number & 1)
            return err_set(e, ERR_MALFORMED, "%s.%s: given twice", def->name, f->name);
        if (read_value(&r, f, (char *)msg + f->offset) < 0)
            return -1;
        has |= 1ULL << number;
    }
    if (def->required & ~has)
        return missing_error(def, def->required & ~has, e);
    memcpy(msg, &has, sizeof has);
    *in = r.c;
    return 0;
}

int codec_get(struct cursor *in, enum msg_id id, void *msg, struct arena *arena, uint32_t *skipped,
              struct err *e) {
    return codec_get_def(in, msg_def(id), msg, arena, skipped, e);
}
