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
static json_t *of_next(struct cursor *c, struct err *e);

static json_t *no_memory(struct err *e) {
    err_set(e, ERR_NO_MEMORY, "no memory for JSON");
    return NULL;
}

/* A key as JSON has it. */
static int read_key(struct cursor *c, struct buf *key, struct err *e) {
    struct str s;
    if (msgpack_get_bytes(c, &s))
        return err_set(e, ERR_BAD_VALUE, "%s as a key of a map, JSON has text only",
                       msgpack_type_name(msgpack_peek(c)));
    if (!str_is_utf8(s) || (s.len && memchr(s.at, '\0', s.len)))
        return err_set(e, ERR_BAD_VALUE, "a key of a map that is not text for JSON");
    buf_clear(key);
    if (tag_signs(s) && buf_putc(key, '$') < 0)
        return no_memory(e), -1;
    return buf_put_str(key, s) == 0 ? 0 : (no_memory(e), -1);
}

static json_t *of_map(struct cursor *c, uint32_t pairs, struct err *e) {
    json_auto_t *object = json_object();
    AUTO_BUF key = BUF(BYTES_MAX);
    for (; pairs; pairs--) {
        if (read_key(c, &key, e) < 0)
            return NULL;
        const char *at = key.len ? key.at : "";
        if (json_object_getn(object, at, key.len)) {
            err_set(e, ERR_BAD_VALUE, "key '" STR_FMT "' of a map stands twice",
                    STR_ARG(buf_str(&key)));
            return NULL;
        }
        json_t *value = of_next(c, e);
        if (!value)
            return NULL;
        if (json_object_setn_new(object, at, key.len, value) < 0)
            return no_memory(e);
    }
    return json_incref(object);
}

static json_t *of_list(struct cursor *c, uint32_t n, struct err *e) {
    json_auto_t *list = json_array();
    for (; n; n--) {
        json_t *value = of_next(c, e);
        if (!value)
            return NULL;
        if (json_array_append_new(list, value) < 0)
            return no_memory(e);
    }
    return json_incref(list);
}

static json_t *of_scalar(const struct msgpack_token *t) {
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
    default:
        UNREACHABLE();
    }
}

/* The value at the cursor, which msgpack_check has passed: so deep and no deeper. */
static json_t *of_next(struct cursor *c, struct err *e) {
    struct msgpack_token t;
    enum msgpack_fault fault = msgpack_next(c, &t);
    ASSERT(!fault);
    if (t.type == MSGPACK_MAP)
        return of_map(c, t.count, e);
    if (t.type == MSGPACK_LIST)
        return of_list(c, t.count, e);
    if (t.type == MSGPACK_FLOAT && !isfinite(t.real)) {
        err_set(e, ERR_BAD_VALUE, "a float that is infinite or not a number, JSON has none");
        return NULL;
    }
    json_t *json = of_scalar(&t);
    return json ? json : no_memory(e);
}

json_t *json_bridge_of_value(struct str value, struct err *e) {
    static const struct msgpack_limits limits = {MSGPACK_DEPTH_MAX, UINT32_MAX};
    if (msgpack_check(value, &limits, e) < 0)
        return NULL;
    struct cursor c = cursor_of(value);
    return of_next(&c, e);
}

/* ---- JSON to msgpack ------------------------------------------------------------------------ */
static int put_json(struct buf *out, const json_t *json, unsigned depth, struct err *e);

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

static int put_object(struct buf *out, const json_t *json, unsigned depth, struct err *e) {
    if (is_tagged(json))
        return put_tagged(out, json, e);
    if (depth == MSGPACK_DEPTH_MAX)
        return err_set(e, ERR_TOO_LARGE, "nested deeper than %d", MSGPACK_DEPTH_MAX);
    if (json_object_size(json) > UINT32_MAX ||
        msgpack_put_map(out, (uint32_t)json_object_size(json)) < 0)
        return full(e);
    json_t *object = (json_t *)(uintptr_t)json; /* jansson's iterators take no const */
    for (void *at = json_object_iter(object); at; at = json_object_iter_next(object, at)) {
        struct str key = {json_object_iter_key(at), json_object_iter_key_len(at)};
        if (tag_signs(key) > 1)
            key = (struct str){key.at + 1, key.len - 1};
        if (msgpack_put_text(out, key) < 0)
            return full(e);
        if (put_json(out, json_object_iter_value(at), depth + 1, e) < 0)
            return -1;
    }
    return 0;
}

static int put_array(struct buf *out, const json_t *json, unsigned depth, struct err *e) {
    if (depth == MSGPACK_DEPTH_MAX)
        return err_set(e, ERR_TOO_LARGE, "nested deeper than %d", MSGPACK_DEPTH_MAX);
    size_t n = json_array_size(json);
    if (n > UINT32_MAX || msgpack_put_list(out, (uint32_t)n) < 0)
        return full(e);
    for (size_t i = 0; i < n; i++)
        if (put_json(out, json_array_get(json, i), depth + 1, e) < 0)
            return -1;
    return 0;
}

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

static int put_json(struct buf *out, const json_t *json, unsigned depth, struct err *e) {
    if (json_is_object(json))
        return put_object(out, json, depth, e);
    if (json_is_array(json))
        return put_array(out, json, depth, e);
    return put_scalar(out, json) == 0 ? 0 : full(e);
}

int json_bridge_to_value(const json_t *json, struct buf *out, struct err *e) {
    size_t start = out->len;
    if (put_json(out, json, 0, e) == 0)
        return 0;
    out->len = start;
    return -1;
}
