/* Any msgpack value to JSON and back. */
#include "common/wire/json_bridge.h"

#include "common/base/check.h"
#include "common/wire/base64.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#define BYTES_MAX (8U << 20) /* of one key, string or blob on its way */

json_t *json_bridge_parse(struct str text, struct err *e) {
    json_error_t why;
    json_t *json = json_loadb(text.len ? text.at : "", text.len,
                              JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    if (!json)
        err_set(e, ERR_MALFORMED, "JSON, line %d, column %d: %s", why.line, why.column, why.text);
    return json;
}

static int print_piece(const char *at, size_t n, void *out) {
    return buf_put(out, at, n);
}

int json_bridge_print(const json_t *json, struct buf *out) {
    size_t start = out->len;
    if (json_dump_callback(json, print_piece, out, JSON_COMPACT | JSON_ENCODE_ANY) == 0)
        return 0;
    out->len = start;
    return -1;
}

/* ---- objects that stand for what JSON lacks ------------------------------------------------- */
/* How many "$" a key has in front of "bin", "ext" or "uint"; 0 for every other key. */
static size_t tag_signs(struct str key) {
    size_t n = 0;
    while (n < key.len && key.at[n] == '$')
        n++;
    struct str rest = {key.at + n, key.len - n};
    bool tag = str_eq(rest, STR("bin")) || str_eq(rest, STR("ext")) || str_eq(rest, STR("uint"));
    return tag ? n : 0;
}

static json_t *tag_bytes(struct str bytes) {
    AUTO_BUF text = BUF(BYTES_MAX);
    if (base64_put(&text, bytes) < 0)
        return NULL;
    return json_pack("{s:s%}", "$bin", text.len ? text.at : "", text.len);
}

static json_t *tag_ext(int8_t type, struct str bytes) {
    AUTO_BUF text = BUF(BYTES_MAX);
    if (base64_put(&text, bytes) < 0)
        return NULL;
    return json_pack("{s:i,s:s%}", "$ext", (int)type, "$bin", text.len ? text.at : "", text.len);
}

static json_t *tag_uint(uint64_t v) {
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRIu64, v);
    return json_pack("{s:s}", "$uint", digits);
}

/* ---- msgpack to JSON ------------------------------------------------------------------------ */
/* A value on its way: the containers that are open, each already in the one around it. */
struct showing {
    struct cursor c;
    struct buf key; /* of the next value, in a map */
    json_t *root;
    struct {
        json_t *json;
        uint32_t left; /* elements or pairs to come */
    } open[MSGPACK_DEPTH_MAX];
    uint32_t depth;
};

static int no_memory(struct err *e) {
    return err_set(e, ERR_NO_MEMORY, "no memory for JSON");
}

static int read_key(struct showing *s, struct err *e) {
    struct str key;
    if (msgpack_get_bytes(&s->c, &key))
        return err_set(e, ERR_BAD_VALUE, "%s as a key of a map, JSON has text only",
                       msgpack_type_name(msgpack_peek(&s->c)));
    if (!str_is_utf8(key) || (key.len && memchr(key.at, '\0', key.len)))
        return err_set(e, ERR_BAD_VALUE, "a key of a map that is not text for JSON");
    buf_clear(&s->key);
    if ((tag_signs(key) && buf_putc(&s->key, '$') < 0) || buf_put_str(&s->key, key) < 0)
        return no_memory(e);
    return 0;
}

/* Takes the value, in every case, and puts it where it belongs. */
static int place(struct showing *s, json_t *value, struct err *e) {
    if (!value)
        return no_memory(e);
    if (s->depth == 0) {
        s->root = value;
        return 0;
    }
    json_t *around = s->open[s->depth - 1].json;
    if (json_is_array(around))
        return json_array_append_new(around, value) == 0 ? 0 : no_memory(e);
    const char *at = s->key.len ? s->key.at : "";
    if (json_object_getn(around, at, s->key.len)) {
        json_decref(value);
        return err_set(e, ERR_BAD_VALUE, "key '" STR_FMT "' of a map stands twice",
                       STR_ARG(buf_str(&s->key)));
    }
    return json_object_setn_new(around, at, s->key.len, value) == 0 ? 0 : no_memory(e);
}

static json_t *of_token(const struct msgpack_token *t) {
    switch (t->type) {
    case MSGPACK_NIL:
        return json_null();
    case MSGPACK_BOOL:
        return json_boolean(t->flag);
    case MSGPACK_UINT:
        return t->number <= INT64_MAX ? json_integer((json_int_t)t->number) : tag_uint(t->number);
    case MSGPACK_INT:
        return json_integer((json_int_t)t->negative);
    case MSGPACK_FLOAT:
        return json_real(t->real);
    case MSGPACK_TEXT:
        return json_stringn(t->bytes.len ? t->bytes.at : "", t->bytes.len);
    case MSGPACK_BYTES:
        return tag_bytes(t->bytes);
    case MSGPACK_EXT:
        return tag_ext(t->ext, t->bytes);
    case MSGPACK_LIST:
        return json_array();
    case MSGPACK_MAP:
        return json_object();
    case MSGPACK_NONE:
        break;
    }
    UNREACHABLE();
}

/* The next value, which msgpack_check has passed: it is whole, and not too deep. */
static int show_next(struct showing *s, struct err *e) {
    if (s->depth) {
        s->open[s->depth - 1].left--;
        if (json_is_object(s->open[s->depth - 1].json) && read_key(s, e) < 0)
            return -1;
    }
    struct msgpack_token t;
    enum msgpack_fault fault = msgpack_next(&s->c, &t);
    ASSERT(!fault);
    if (t.type == MSGPACK_FLOAT && !isfinite(t.real))
        return err_set(e, ERR_BAD_VALUE, "a float that is infinite or not a number, JSON has none");
    json_t *json = of_token(&t);
    if (place(s, json, e) < 0)
        return -1;
    if (t.type == MSGPACK_LIST || t.type == MSGPACK_MAP) {
        ASSERT(s->depth < MSGPACK_DEPTH_MAX);
        s->open[s->depth].json = json;
        s->open[s->depth++].left = t.count;
    }
    return 0;
}

json_t *json_bridge_of_value(struct str value, struct err *e) {
    static const struct msgpack_limits limits = {MSGPACK_DEPTH_MAX, UINT32_MAX};
    if (msgpack_check(value, &limits, e) < 0)
        return NULL;
    struct showing s = {.c = cursor_of(value), .key = BUF(BYTES_MAX)};
    int rc;
    do {
        rc = show_next(&s, e);
        while (s.depth && s.open[s.depth - 1].left == 0)
            s.depth--;
    } while (rc == 0 && s.depth);
    buf_destroy(&s.key);
    if (rc == 0)
        return s.root;
    json_decref(s.root);
    return NULL;
}

/* ---- JSON to msgpack ------------------------------------------------------------------------ */
static int full(struct err *e) {
    return err_set(e, ERR_TOO_LARGE, "more than fits");
}

static struct str text_of(const json_t *string) {
    return str_make(json_string_value(string), json_string_length(string));
}

static int put_tagged_bytes(struct buf *out, const json_t *object, struct err *e) {
    const json_t *text = json_object_get(object, "$bin"), *type = json_object_get(object, "$ext");
    AUTO_BUF bytes = BUF(BYTES_MAX);
    if (!json_is_string(text) || !base64_read(text_of(text), &bytes))
        return err_set(e, ERR_BAD_VALUE, "\"$bin\" must be base64 with padding");
    if (!type)
        return msgpack_put_bytes(out, buf_str(&bytes)) == 0 ? 0 : full(e);
    json_int_t number = json_integer_value(type);
    if (!json_is_integer(type) || number < INT8_MIN || number > INT8_MAX)
        return err_set(e, ERR_BAD_VALUE, "\"$ext\" must be a number from -128 to 127");
    return msgpack_put_ext(out, (int8_t)number, buf_str(&bytes)) == 0 ? 0 : full(e);
}

/* An object with a key "$bin", "$ext" or "$uint" must be exactly what that stands for. */
static int put_tagged(struct buf *out, const json_t *object, struct err *e) {
    const json_t *number = json_object_get(object, "$uint");
    size_t keys = json_object_size(object);
    uint64_t v;
    if (number && keys == 1) {
        if (!json_is_string(number) || !str_to_u64(text_of(number), UINT64_MAX, &v))
            return err_set(e, ERR_BAD_VALUE, "\"$uint\" must be a string of digits below 2^64");
        return msgpack_put_uint(out, v) == 0 ? 0 : full(e);
    }
    if (json_object_get(object, "$bin") &&
        (keys == 1 || (keys == 2 && json_object_get(object, "$ext"))))
        return put_tagged_bytes(out, object, e);
    return err_set(e, ERR_BAD_VALUE,
                   "\"$bin\", \"$ext\" and \"$uint\" stand for values: as a key of a map of "
                   "your own, write one more \"$\" in front");
}

static bool is_tagged(const json_t *object) {
    return json_object_get(object, "$bin") || json_object_get(object, "$ext") ||
           json_object_get(object, "$uint");
}

/* The containers that are open, and what of each comes next. */
struct writing {
    struct buf *out;
    struct {
        json_t *json;
        void *pair;   /* of an object; NULL behind its last */
        size_t index; /* of an array */
    } open[MSGPACK_DEPTH_MAX];
    uint32_t depth;
};

static int put_scalar(struct buf *out, const json_t *json) {
    switch (json_typeof(json)) {
    case JSON_STRING:
        return msgpack_put_text(out, text_of(json));
    case JSON_INTEGER:
        return msgpack_put_int(out, json_integer_value(json));
    case JSON_REAL:
        return msgpack_put_double(out, json_real_value(json));
    case JSON_NULL:
        return msgpack_put_nil(out);
    default:
        return msgpack_put_bool(out, json_is_true(json));
    }
}

static int put_container(struct writing *w, json_t *json, struct err *e) {
    bool map = json_is_object(json);
    size_t n = map ? json_object_size(json) : json_array_size(json);
    if (w->depth == MSGPACK_DEPTH_MAX)
        return err_set(e, ERR_TOO_LARGE, "nested deeper than %d", MSGPACK_DEPTH_MAX);
    if (n > UINT32_MAX ||
        (map ? msgpack_put_map(w->out, (uint32_t)n) : msgpack_put_list(w->out, (uint32_t)n)) < 0)
        return full(e);
    w->open[w->depth].json = json;
    w->open[w->depth].pair = map ? json_object_iter(json) : NULL;
    w->open[w->depth++].index = 0;
    return 0;
}

static int put_next(struct writing *w, json_t *json, struct err *e) {
    if (json_is_object(json) && is_tagged(json))
        return put_tagged(w->out, json, e);
    if (json_is_object(json) || json_is_array(json))
        return put_container(w, json, e);
    return put_scalar(w->out, json) == 0 ? 0 : full(e);
}

static int put_key(struct buf *out, void *pair, struct err *e) {
    struct str key = {json_object_iter_key(pair), json_object_iter_key_len(pair)};
    if (tag_signs(key) > 1)
        key = (struct str){key.at + 1, key.len - 1};
    return msgpack_put_text(out, key) == 0 ? 0 : full(e);
}

/* What comes next in the innermost container, its key written; NULL at its end and on errors. */
static json_t *take_next(struct writing *w, int *rc, struct err *e) {
    json_t *json = w->open[w->depth - 1].json;
    if (json_is_array(json))
        return json_array_get(json, w->open[w->depth - 1].index++);
    void *pair = w->open[w->depth - 1].pair;
    if (!pair)
        return NULL;
    w->open[w->depth - 1].pair = json_object_iter_next(json, pair);
    *rc = put_key(w->out, pair, e);
    return *rc == 0 ? json_object_iter_value(pair) : NULL;
}

int json_bridge_to_value(const json_t *json, struct buf *out, struct err *e) {
    size_t start = out->len;
    struct writing w = {.out = out};
    int rc = put_next(&w, (json_t *)(uintptr_t)json, e); /* jansson's iterators take no const */
    while (rc == 0 && w.depth) {
        json_t *next = take_next(&w, &rc, e);
        if (next)
            rc = put_next(&w, next, e);
        else
            w.depth--;
    }
    if (rc < 0)
        out->len = start;
    return rc;
}
