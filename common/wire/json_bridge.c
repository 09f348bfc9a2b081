/* Messages to JSON and back, by the table. */
#include "common/wire/json_bridge.h"

#include "common/base/check.h"
#include "common/base/id.h"
#include "common/wire/base64.h"
#include "schemas/states.h"

#include <inttypes.h>
#include <stdio.h>

#define MAP_MAX (4U << 20)

/* ---- words ---------------------------------------------------------------------------------- */
static const struct word states[] = {
#define STATE(name, number, terminal, meaning) {number, #name},
#include "schemas/states.def"
#undef STATE
};
static const struct word errors[] = {
#define ERROR(code, number, class, exit, text) {number, #code},
#include "schemas/errors.def"
#undef ERROR
};
static const struct word roles[] = {{ROLE_CLIENT, "client"},
                                    {ROLE_WORKER, "worker"},
                                    {ROLE_GATEWAY, "gateway"},
                                    {ROLE_OPERATOR, "operator"}};
static const struct word durabilities[] = {
    {DURABLE_SYNC, "sync"}, {DURABLE_ASYNC, "async"}, {DURABLE_NONE, "none"}};
static const struct word outcomes[] = {{OUTCOME_DONE, "done"},
                                       {OUTCOME_FAILED, "failed"},
                                       {OUTCOME_REJECTED, "rejected"},
                                       {OUTCOME_HOLD, "hold"},
                                       {OUTCOME_CANCELLED, "cancelled"}};
static const struct word scopes[] = {{1, "queue"}, {2, "tenant"}};
static const struct word overlaps[] = {{0, "skip"}, {1, "queue"}, {2, "replace"}};
static const struct word missed[] = {{0, "once"}, {1, "none"}};

#define WORDS(field, rows)                                                                         \
    { field, rows, sizeof(rows) / sizeof(rows)[0] }

static const struct words vocabularies[] = {WORDS("state", states),
                                            WORDS("code", errors),
                                            WORDS("error", errors),
                                            WORDS("role", roles),
                                            WORDS("outcome", outcomes),
                                            WORDS("scope", scopes),
                                            WORDS("durability", durabilities),
                                            WORDS("parent_state", states),
                                            WORDS("flow_error", errors),
                                            WORDS("last_state", states),
                                            WORDS("overlap", overlaps),
                                            WORDS("missed", missed)};

const struct words *json_bridge_words(const struct field_def *f) {
    if (f->type != FIELD_UINT)
        return NULL;
    for (size_t i = 0; i < sizeof vocabularies / sizeof vocabularies[0]; i++)
        if (strcmp(vocabularies[i].field, f->name) == 0)
            return &vocabularies[i];
    return NULL;
}

static const char *word_of(const struct words *words, uint64_t number) {
    for (size_t i = 0; words && i < words->n; i++)
        if (words->at[i].number == number)
            return words->at[i].name;
    return NULL;
}

static bool number_of(const struct words *words, struct str name, uint64_t *out) {
    for (size_t i = 0; words && i < words->n; i++) {
        if (str_eq(name, str_of(words->at[i].name))) {
            *out = words->at[i].number;
            return true;
        }
    }
    return false;
}

/* ---- to JSON -------------------------------------------------------------------------------- */
static json_t *of_number(uint64_t v) {
    char digits[24];
    if (v <= INT64_MAX)
        return json_integer((json_int_t)v);
    snprintf(digits, sizeof digits, "%" PRIu64, v);
    return json_string(digits);
}

static json_t *of_uint(const struct field_def *f, uint64_t v) {
    if (f->type == FIELD_ID)
        return json_string(id_show(v).at);
    const char *word = word_of(json_bridge_words(f), v);
    return word ? json_string(word) : of_number(v);
}

static json_t *of_hex(struct str bytes) {
    AUTO_BUF hex = BUF(256);
    for (size_t i = 0; i < bytes.len; i++)
        buf_printf(&hex, "%02x", (unsigned char)bytes.at[i]);
    return hex.failed ? NULL : json_stringn(hex.len ? hex.at : "", hex.len);
}

static json_t *of_base64(struct str bytes) {
    AUTO_BUF text = BUF(MAP_MAX * 2);
    if (base64_put(&text, bytes) < 0)
        return NULL;
    return json_stringn(text.len ? text.at : "", text.len);
}

static json_t *of_text(struct str s) {
    return json_stringn(s.len ? s.at : "", s.len);
}

static json_t *of_names(const struct str_list *list) {
    json_auto_t *json = json_array();
    for (size_t i = 0; i < list->n; i++)
        if (json_array_append_new(json, of_text(list->at[i])) < 0)
            return NULL;
    return json_incref(json);
}

static json_t *of_uints(const struct uint_list *list) {
    json_auto_t *json = json_array();
    for (size_t i = 0; i < list->n; i++)
        if (json_array_append_new(json, of_number(list->at[i])) < 0)
            return NULL;
    return json_incref(json);
}

static json_t *of_field(const struct field_def *f, const void *slot, struct err *e) {
    switch ((enum field_type)f->type) {
    case FIELD_BOOL:
        return json_boolean(*(const bool *)slot);
    case FIELD_UINT:
    case FIELD_ID:
        return of_uint(f, *(const uint64_t *)slot);
    case FIELD_TEXT:
    case FIELD_NAME:
        return of_text(*(const struct str *)slot);
    case FIELD_BYTES:
        return of_base64(*(const struct str *)slot);
    case FIELD_INSTANCE:
        return of_hex(*(const struct str *)slot);
    case FIELD_MAP:
        return json_bridge_of_value(*(const struct str *)slot, e);
    case FIELD_NAMES:
        return of_names(slot);
    case FIELD_UINTS:
        return of_uints(slot);
    }
    UNREACHABLE();
}

json_t *json_bridge_of_message(const struct msg_def *def, const void *msg, struct err *e) {
    json_auto_t *object = json_object();
    uint64_t has;
    memcpy(&has, msg, sizeof has);
    for (unsigned i = 0; i < def->n; i++) {
        const struct field_def *f = &def->fields[i];
        if (!(has >> f->number & 1))
            continue;
        struct err why = {0};
        json_t *value = of_field(f, (const char *)msg + f->offset, &why);
        if (!value || json_object_set_new(object, f->name, value) < 0) {
            err_set(e, ERR_BAD_VALUE, "%s.%s: %s", def->name, f->name,
                    why.code ? why.text : "cannot be shown as JSON");
            return NULL;
        }
    }
    return json_incref(object);
}

/* ---- what was probably meant ---------------------------------------------------------------- */
#define NAME_LEN_MAX 40

static size_t least(size_t a, size_t b, size_t c) {
    size_t m = a < b ? a : b;
    return m < c ? m : c;
}

/* Characters to change, add or drop until one is the other. */
static size_t distance(struct str a, struct str b) {
    size_t row[NAME_LEN_MAX + 1];
    if (a.len > NAME_LEN_MAX || b.len > NAME_LEN_MAX)
        return NAME_LEN_MAX;
    for (size_t j = 0; j <= b.len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t above = row[j];
            row[j] = least(above + 1, row[j - 1] + 1, corner + (a.at[i - 1] != b.at[j - 1]));
            corner = above;
        }
    }
    return row[b.len];
}

static int unknown_key(const struct msg_def *def, struct str key, struct err *e) {
    const char *meant = NULL;
    size_t best = 1 + key.len / 3;
    for (unsigned i = 0; i < def->n; i++) {
        size_t d = distance(key, str_of(def->fields[i].name));
        if (d <= best && d < key.len) {
            best = d - (d > 0);
            meant = def->fields[i].name;
        }
    }
    struct str shown = codec_clip(key, NAME_LEN_MAX);
    if (meant)
        return err_set(e, ERR_UNKNOWN_FIELD, "%s: no field '" STR_FMT "'; did you mean '%s'?",
                       def->name, STR_ARG(shown), meant);
    return err_set(e, ERR_UNKNOWN_FIELD, "%s: no field '" STR_FMT "'", def->name, STR_ARG(shown));
}

/* ---- from JSON ------------------------------------------------------------------------------ */
struct reading {
    const struct msg_def *def;
    const struct field_def *f;
    struct arena *arena;
    struct err *e;
};

static const char *json_type_name(const json_t *json) {
    static const char *const names[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list", [JSON_STRING] = "text",
        [JSON_INTEGER] = "a number", [JSON_REAL] = "a float", [JSON_TRUE] = "a boolean",
        [JSON_FALSE] = "a boolean",  [JSON_NULL] = "null",
    };
    return names[json_typeof(json)];
}

static int wrong(struct reading *r, const json_t *json, const char *wanted) {
    return err_set(r->e, ERR_BAD_VALUE, "%s.%s: %s, must be %s", r->def->name, r->f->name,
                   json_type_name(json), wanted);
}

static int no_room(struct reading *r) {
    return err_set(r->e, ERR_NO_MEMORY, "%s.%s: no memory for it", r->def->name, r->f->name);
}

static struct str text_of(const json_t *json) {
    return str_make(json_string_value(json), json_string_length(json));
}

/* A number, or its digits where it may be too large for JSON. */
static int to_number(struct reading *r, const json_t *json, uint64_t *v) {
    if (json_is_integer(json) && json_integer_value(json) >= 0) {
        *v = (uint64_t)json_integer_value(json);
        return 0;
    }
    if (json_is_integer(json))
        return err_set(r->e, ERR_BAD_VALUE, "%s.%s: a negative number", r->def->name, r->f->name);
    if (json_is_string(json) && str_to_u64(text_of(json), UINT64_MAX, v))
        return 0;
    return wrong(r, json, "a number that is not negative");
}

static int to_uint(struct reading *r, const json_t *json, uint64_t *v) {
    const struct words *words = json_bridge_words(r->f);
    if (!words || !json_is_string(json))
        return to_number(r, json, v);
    if (number_of(words, text_of(json), v))
        return 0;
    struct str shown = codec_clip(text_of(json), NAME_LEN_MAX);
    return err_set(r->e, ERR_BAD_VALUE, "%s.%s: no %s '" STR_FMT "'", r->def->name, r->f->name,
                   r->f->name, STR_ARG(shown));
}

static int to_id(struct reading *r, const json_t *json, uint64_t *v) {
    *v = 0;
    if (!json_is_string(json))
        return wrong(r, json, "an id (13 characters)");
    struct str s = text_of(json);
    if (str_eq(s, STR("0000000000000")) || id_parse(s, v))
        return 0;
    return err_set(r->e, ERR_BAD_VALUE, "%s.%s: not an id (13 characters of base32)", r->def->name,
                   r->f->name);
}

static int copy_text(struct reading *r, struct str s, struct str *out) {
    *out = arena_try_copy(r->arena, s);
    return out->at ? 0 : no_room(r);
}

static int to_text(struct reading *r, const json_t *json, struct str *out) {
    return json_is_string(json) ? copy_text(r, text_of(json), out) : wrong(r, json, "text");
}

static int to_base64(struct reading *r, const json_t *json, struct str *out) {
    AUTO_BUF bytes = BUF(MAP_MAX);
    if (!json_is_string(json) || !base64_read(text_of(json), &bytes))
        return wrong(r, json, "base64 with padding");
    return copy_text(r, buf_str(&bytes), out);
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int to_hex(struct reading *r, const json_t *json, struct str *out) {
    if (!json_is_string(json))
        return wrong(r, json, "32 hex digits");
    char bytes[16] = {0};
    struct str s = text_of(json);
    bool good = s.len == 2 * sizeof bytes;
    for (size_t i = 0; good && i < sizeof bytes; i++) {
        int high = hex_digit(s.at[2 * i]), low = hex_digit(s.at[2 * i + 1]);
        good = high >= 0 && low >= 0;
        if (good)
            bytes[i] = (char)(high << 4 | low);
    }
    if (!good)
        return err_set(r->e, ERR_BAD_VALUE, "%s.%s: must be 32 hex digits", r->def->name,
                       r->f->name);
    return copy_text(r, str_make(bytes, sizeof bytes), out);
}

static int to_map(struct reading *r, const json_t *json, struct str *out) {
    AUTO_BUF value = BUF(MAP_MAX);
    if (!json_is_object(json))
        return wrong(r, json, "an object");
    if (json_bridge_to_value(json, &value, r->e) < 0)
        return err_add(r->e, "%s.%s", r->def->name, r->f->name);
    return copy_text(r, buf_str(&value), out);
}

/* Memory for the elements of a list; NULL on error only. */
static void *list_room(struct reading *r, const json_t *json, size_t size) {
    if (!json_is_array(json)) {
        wrong(r, json, "a list");
        return NULL;
    }
    size_t n = json_array_size(json);
    if (n > r->f->max) {
        err_set(r->e, ERR_BAD_VALUE, "%s.%s: %zu elements, at most %" PRIu64, r->def->name,
                r->f->name, n, r->f->max);
        return NULL;
    }
    void *room = arena_try_array(r->arena, n + 1, size);
    if (!room)
        no_room(r);
    return room;
}

static int to_names(struct reading *r, const json_t *json, struct str_list *out) {
    struct str *at = list_room(r, json, sizeof *at);
    if (!at)
        return -1;
    size_t n = json_array_size(json);
    for (size_t i = 0; i < n; i++)
        if (to_text(r, json_array_get(json, i), &at[i]) < 0)
            return -1;
    *out = (struct str_list){at, n};
    return 0;
}

static int to_uints(struct reading *r, const json_t *json, struct uint_list *out) {
    uint64_t *at = list_room(r, json, sizeof *at);
    if (!at)
        return -1;
    size_t n = json_array_size(json);
    for (size_t i = 0; i < n; i++)
        if (to_number(r, json_array_get(json, i), &at[i]) < 0)
            return -1;
    *out = (struct uint_list){at, n};
    return 0;
}

static int to_field(struct reading *r, const json_t *json, void *slot) {
    switch ((enum field_type)r->f->type) {
    case FIELD_BOOL:
        if (!json_is_boolean(json))
            return wrong(r, json, "a boolean");
        *(bool *)slot = json_is_true(json);
        return 0;
    case FIELD_UINT:
        return to_uint(r, json, slot);
    case FIELD_ID:
        return to_id(r, json, slot);
    case FIELD_TEXT:
    case FIELD_NAME:
        return to_text(r, json, slot);
    case FIELD_BYTES:
        return to_base64(r, json, slot);
    case FIELD_INSTANCE:
        return to_hex(r, json, slot);
    case FIELD_MAP:
        return to_map(r, json, slot);
    case FIELD_NAMES:
        return to_names(r, json, slot);
    case FIELD_UINTS:
        return to_uints(r, json, slot);
    }
    UNREACHABLE();
}

int json_bridge_to_message(const struct msg_def *def, const json_t *json, void *msg,
                           struct arena *arena, struct err *e) {
    if (!json_is_object(json))
        return err_set(e, ERR_BAD_VALUE, "%s: %s, must be an object", def->name,
                       json_type_name(json));
    memset(msg, 0, def->size);
    uint64_t has = 0;
    json_t *object = (json_t *)(uintptr_t)json; /* jansson's iterators take no const */
    for (void *at = json_object_iter(object); at; at = json_object_iter_next(object, at)) {
        struct str key = {json_object_iter_key(at), json_object_iter_key_len(at)};
        struct reading r = {def, msg_field_named(def, key), arena, e};
        if (!r.f)
            return unknown_key(def, key, e);
        if (to_field(&r, json_object_iter_value(at), (char *)msg + r.f->offset) < 0)
            return -1;
        has |= 1ULL << r.f->number;
    }
    memcpy(msg, &has, sizeof has);
    return codec_check(def, msg, e);
}
