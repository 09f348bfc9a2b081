#include "common/config/config_int.h"

#define WIDTH 100

struct writer {
    const struct settings *s;
    bool docs;
    const char *margin; /* "# " where the section is only an example */
    struct buf *out;
};

/* A comment, broken into lines. */
static void put_comment(struct writer *w, size_t indent, struct str text) {
    size_t column = 0;
    while (text.len) {
        const char *blank = memchr(text.at, ' ', text.len);
        struct str word = {text.at, blank ? (size_t)(blank - text.at) : text.len};
        if (column == 0 || column + 1 + word.len > WIDTH) {
            buf_printf(w->out, "%s%s%*s#", column ? "\n" : "", w->margin, (int)indent, "");
            column = strlen(w->margin) + indent + 1;
        }
        buf_printf(w->out, " " STR_FMT, STR_ARG(word));
        column += 1 + word.len;
        size_t used = word.len + (blank != NULL);
        text = str_make(text.at + used, text.len - used);
    }
    buf_putc(w->out, '\n');
}

static void put_key_doc(struct writer *w, const struct settings_row *row, size_t indent) {
    AUTO_BUF text = BUF(4096);
    buf_printf(&text, "%s (", row->doc);
    if (row->fallback[0] == '@')
        buf_printf(&text, "%s unless given; ", row->fallback + 1);
    size_t before = text.len;
    config_bounds_show(row, &text);
    buf_printf(&text, "%s%s)", text.len > before ? "; " : "", row->live ? "live" : "restart");
    put_comment(w, indent, buf_str(&text));
}

/* Double quotes; ${ is written so that it is not taken for a variable. */
static void put_quoted(struct buf *out, struct str s) {
    buf_putc(out, '"');
    for (size_t i = 0; i < s.len; i++) {
        if (s.at[i] == '"' || s.at[i] == '\\')
            buf_putc(out, '\\');
        if (s.at[i] == '$' && i + 1 < s.len && s.at[i + 1] == '{')
            buf_putc(out, '$');
        buf_putc(out, s.at[i]);
    }
    buf_putc(out, '"');
}

static bool is_plain(struct str name) {
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && (i == 0 || ((c < '0' || c > '9') && c != '-')))
            return false;
    }
    return true;
}

/* A name needs no quotes but where YAML or a person might read something else. */
static void put_name(struct buf *out, struct str name) {
    if (is_plain(name) && !str_eq(name, STR("null")))
        buf_put_str(out, name);
    else
        put_quoted(out, name);
}

static void put_names(struct buf *out, struct str list) {
    buf_putc(out, '[');
    while (list.len) {
        const char *comma = memchr(list.at, ',', list.len);
        size_t n = comma ? (size_t)(comma - list.at) : list.len;
        put_name(out, str_make(list.at, n));
        size_t used = comma ? n + 2 : n;
        list = str_make(list.at + used, list.len - used);
        if (list.len)
            buf_put_str(out, STR(", "));
    }
    buf_putc(out, ']');
}

static void put_value(struct writer *w, enum setting id, size_t entry) {
    const struct settings_row *row = settings_row(id);
    AUTO_BUF text = BUF(4 * SETTINGS_VALUE_MAX);
    settings_show(w->s, id, entry, &text);
    if (row->type == SETTINGS_NAMES)
        put_names(w->out, buf_str(&text));
    else if (config_type_quoted(row->type))
        put_quoted(w->out, buf_str(&text));
    else
        buf_put_str(w->out, buf_str(&text));
}

static void put_keys(struct writer *w, enum settings_section_id id, size_t entry, size_t indent,
                     bool docs) {
    const struct settings_section *section = settings_section(id);
    for (size_t i = 0; i < section->rows; i++) {
        enum setting key = (enum setting)(section->first + i);
        const struct settings_row *row = settings_row(key);
        if (docs)
            put_key_doc(w, row, indent);
        buf_printf(w->out, "%s%*s%s: ", w->margin, (int)indent, "", row->key);
        put_value(w, key, entry);
        buf_putc(w->out, '\n');
    }
}

static void put_entries(struct writer *w, enum settings_section_id id) {
    size_t entries = settings_entries(w->s, id);
    for (size_t i = 0; i < entries; i++) {
        buf_printf(w->out, "  ");
        put_name(w->out, settings_entry_name(w->s, id, i));
        buf_put_str(w->out, STR(":\n"));
        put_keys(w, id, i, 4, w->docs && i == 0);
    }
    if (entries == 0) {
        buf_printf(w->out, "%s  example:\n", w->margin);
        put_keys(w, id, SETTINGS_USUAL, 4, w->docs);
    }
}

static void put_section(struct writer *w, enum settings_section_id id) {
    const struct settings_section *section = settings_section(id);
    bool example = settings_entries(w->s, id) == 0;
    if (example && !w->docs)
        return;
    w->margin = "";
    if (w->docs) {
        if (w->out->len)
            buf_putc(w->out, '\n');
        put_comment(w, 0, str_of(section->doc));
    }
    w->margin = example ? "# " : "";
    buf_printf(w->out, "%s%s:\n", w->margin, section->name);
    if (section->named)
        put_entries(w, id);
    else
        put_keys(w, id, 0, 2, w->docs);
}

int settings_show_yaml(const struct settings *s, bool docs, struct buf *out) {
    struct writer w = {.s = s, .docs = docs, .margin = "", .out = out};
    for (enum settings_section_id id = 0; id < SETTINGS_SECTIONS; id++)
        put_section(&w, id);
    return out->failed ? -1 : 0;
}
