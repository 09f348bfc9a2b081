#include "common/wire/schema.h"

#include "common/base/check.h"

#include <inttypes.h>

/* ---- JSON Schema ---------------------------------------------------------------------------- */
static json_t *string_of(const char *pattern) {
    return pattern ? json_pack("{s:s,s:s}", "type", "string", "pattern", pattern)
                   : json_pack("{s:s}", "type", "string");
}

static json_t *integer_of(uint64_t min, uint64_t max) {
    uint64_t shown = max < INT64_MAX ? max : INT64_MAX;
    return json_pack("{s:s,s:I,s:I}", "type", "integer", "minimum", (json_int_t)min, "maximum",
                     (json_int_t)shown);
}

/* A number: an integer, or its digits where it may be too large, or a word that stands for it. */
static json_t *uint_of(const struct field_def *f) {
    const struct words *words = json_bridge_words(f);
    if (!words && f->max <= INT64_MAX)
        return integer_of(f->min, f->max);
    json_t *forms = json_array();
    if (words) {
        json_t *names = json_array();
        for (size_t i = 0; i < words->n; i++)
            if (words->at[i].number >= f->min && words->at[i].number <= f->max)
                json_array_append_new(names, json_string(words->at[i].name));
        json_array_append_new(forms, json_pack("{s:o}", "enum", names));
    }
    json_array_append_new(forms, integer_of(f->min, f->max));
    if (f->max > INT64_MAX)
        json_array_append_new(forms, string_of("^[0-9]{1,20}$"));
    return json_pack("{s:o}", "anyOf", forms);
}

static json_t *text_of(const struct field_def *f) {
    json_t *schema = string_of(NULL);
    if (f->min)
        json_object_set_new(schema, "minLength", json_integer((json_int_t)f->min));
    json_object_set_new(schema, "maxLength", json_integer((json_int_t)f->max));
    return schema;
}

static json_t *name_of(uint64_t max) {
    AUTO_BUF pattern = BUF(128);
    buf_printf(&pattern, "^[A-Za-z0-9_:][A-Za-z0-9._:-]{0,%" PRIu64 "}$%c", max - 1, '\0');
    return string_of(pattern.at);
}

static json_t *list_of(const struct field_def *f, json_t *element) {
    return json_pack("{s:s,s:o,s:I,s:I}", "type", "array", "items", element, "minItems",
                     (json_int_t)f->min, "maxItems", (json_int_t)f->max);
}

static json_t *type_of(const struct field_def *f) {
    switch ((enum field_type)f->type) {
    case FIELD_BOOL:
        return json_pack("{s:s}", "type", "boolean");
    case FIELD_UINT:
        return uint_of(f);
    case FIELD_ID:
        return string_of("^[0-9a-f][0-9a-hjkmnp-tv-z]{12}$");
    case FIELD_TEXT:
        return text_of(f);
    case FIELD_NAME:
        return name_of(f->max);
    case FIELD_BYTES:
        return json_pack("{s:s,s:s}", "type", "string", "contentEncoding", "base64");
    case FIELD_INSTANCE:
        return string_of("^[0-9a-f]{32}$");
    case FIELD_MAP:
        return json_pack("{s:s}", "type", "object");
    case FIELD_NAMES:
        return list_of(f, name_of(NAME_MAX_LEN));
    case FIELD_UINTS:
        return list_of(
            f, uint_of(&(struct field_def){.name = "", .type = FIELD_UINT, .max = UINT64_MAX}));
    }
    UNREACHABLE();
}

json_t *schema_of_message(const struct msg_def *def) {
    json_t *properties = json_object(), *required = json_array();
    for (unsigned i = 0; i < def->n; i++) {
        const struct field_def *f = &def->fields[i];
        json_t *schema = type_of(f);
        if (f->doc[0])
            json_object_set_new(schema, "description", json_string(f->doc));
        json_object_set_new(schema, "x-field", json_integer(f->number));
        json_object_set_new(properties, f->name, schema);
        if (f->required)
            json_array_append_new(required, json_string(f->name));
    }
    return json_pack("{s:s,s:s+,s:s,s:s,s:s,s:o,s:o,s:b}", "$schema",
                     "https://json-schema.org/draft/2020-12/schema", "$id",
                     "urn:quern:qjp:1:", def->name, "title", def->name, "description", def->doc,
                     "type", "object", "properties", properties, "required", required,
                     "additionalProperties", 0);
}

/* ---- the page ------------------------------------------------------------------------------- */
static const char *const type_names[] = {
    [FIELD_BOOL] = "BOOL",         [FIELD_UINT] = "UINT", [FIELD_ID] = "ID",
    [FIELD_TEXT] = "TEXT",         [FIELD_NAME] = "NAME", [FIELD_BYTES] = "BYTES",
    [FIELD_INSTANCE] = "INSTANCE", [FIELD_MAP] = "MAP",   [FIELD_NAMES] = "NAMES",
    [FIELD_UINTS] = "UINTS",
};

static void put_intro(struct buf *out) {
    buf_put_str(
        out,
        STR("# Messages\n\n"
            "Every verb, message and field of QJP/1, and the records of the journal. How they\n"
            "travel and what they mean is in [protocol.md](protocol.md); what the types are\n"
            "is there too. Each message as JSON has a schema in [schemas/](schemas/).\n\n"
            "This page is made from `schemas/messages.def` by `schema_export`; a test holds\n"
            "the two together.\n\n"));
}

/* "client, worker" */
static void put_roles(struct buf *out, unsigned roles) {
    static const char *const names[] = {"broker", "client", "worker", "gateway", "operator"};
    const char *comma = "";
    for (unsigned role = 0; role < sizeof names / sizeof names[0]; role++) {
        if (!(roles & ROLE_BIT(role)))
            continue;
        buf_printf(out, "%s%s", comma, names[role]);
        comma = ", ";
    }
}

static void put_verbs(struct buf *out) {
    buf_put_str(out,
                STR("## Verbs\n\n| verb | number | sent by | message | items at most | meaning "
                    "|\n| --- | --- | --- | --- | --- | --- |\n"));
    for (uint64_t number = 0; number <= UINT8_MAX; number++) {
        const struct verb_def *verb = verb_def(number);
        if (!verb)
            continue;
        buf_printf(out, "| `%s` | %" PRIu64 " | ", verb->name, number);
        put_roles(out, verb->roles);
        const char *message = msg_def(verb->message)->name;
        buf_printf(out, " | [%s](#%s) | %" PRIu32 " | %s |\n", message, message, verb->items_max,
                   verb->doc);
    }
    buf_putc(out, '\n');
}

/* Large bounds as people know them. */
static void put_number(struct buf *out, uint64_t v) {
    if (v == UINT64_MAX)
        buf_put_str(out, STR("2^64 - 1"));
    else if (v == UINT32_MAX)
        buf_put_str(out, STR("2^32 - 1"));
    else
        buf_printf(out, "%" PRIu64, v);
}

static void put_bounds(struct buf *out, const struct field_def *f) {
    if (f->type == FIELD_BOOL)
        return;
    put_number(out, f->min);
    if (f->min != f->max) {
        buf_put_str(out, STR(" to "));
        put_number(out, f->max);
    }
    if (f->type == FIELD_NAMES || f->type == FIELD_UINTS)
        buf_put_str(out, STR(" elements"));
    else if (f->type != FIELD_UINT && f->type != FIELD_ID)
        buf_put_str(out, STR(" bytes"));
}

static void put_message(struct buf *out, const struct msg_def *def) {
    buf_printf(out, "### %s\n%c%s.\n\n", def->name, (def->doc[0] & ~0x20), def->doc + 1);
    buf_put_str(out, STR("| field | number | type | | bounds | meaning |\n"
                         "| --- | --- | --- | --- | --- | --- |\n"));
    for (unsigned i = 0; i < def->n; i++) {
        const struct field_def *f = &def->fields[i];
        buf_printf(out, "| `%s` | %u | %s | %s | ", f->name, f->number, type_names[f->type],
                   f->required ? "required" : "");
        put_bounds(out, f);
        buf_printf(out, " | %s |\n", f->doc);
    }
    buf_putc(out, '\n');
}

static bool is_on_the_wire(enum msg_id id) {
    for (uint64_t number = 0; number <= UINT8_MAX; number++)
        if (verb_def(number) && verb_def(number)->message == id)
            return true;
    return false;
}

static void put_messages(struct buf *out, const char *title, bool on_the_wire) {
    buf_printf(out, "## %s\n\n", title);
    for (unsigned id = 0; id < MSG_COUNT; id++)
        if (is_on_the_wire((enum msg_id)id) == on_the_wire)
            put_message(out, msg_def((enum msg_id)id));
}

/* Numbers and their words. */
static void put_words(struct buf *out) {
    buf_put_str(out, STR("## Words\n\nJSON has a word where the wire has a number.\n\n"
                         "| fields | words |\n| --- | --- |\n"));
    static const char *const fields[] = {"role", "state", "durability", "outcome", "scope"};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        const struct words *words =
            json_bridge_words(&(struct field_def){.name = fields[i], .type = FIELD_UINT});
        buf_printf(out, "| `%s` | ", fields[i]);
        for (size_t k = 0; k < words->n; k++)
            buf_printf(out, "%s%" PRIu64 " %s", k ? ", " : "", words->at[k].number,
                       words->at[k].name);
        buf_put_str(out, STR(" |\n"));
    }
    buf_put_str(out, STR("| `code`, `error` | those of the table of [errors](#errors) |\n\n"));
}

static void put_errors(struct buf *out) {
    const struct words *words =
        json_bridge_words(&(struct field_def){.name = "code", .type = FIELD_UINT});
    buf_put_str(out, STR("## Errors\n\nWhat a class means for who gets the error is in "
                         "[protocol.md](protocol.md#11-errors).\n\n"
                         "| number | error | class | meaning |\n| --- | --- | --- | --- |\n"));
    for (size_t i = 0; i < words->n; i++) {
        enum err_code code = (enum err_code)words->at[i].number;
        buf_printf(out, "| %" PRIu64 " | %s | %s | %s |\n", words->at[i].number, words->at[i].name,
                   code ? err_class_name(err_code_class(code)) : "", err_code_text(code));
    }
}

int schema_put_page(struct buf *out) {
    put_intro(out);
    put_verbs(out);
    put_messages(out, "Messages on the wire", true);
    put_messages(out, "Records of the journal", false);
    put_words(out);
    put_errors(out);
    return out->failed ? -1 : 0;
}
