/* YAML events into settings: one function a level of the file (sections, entries, keys, values).
 *
 * Every function is entered with the event that begins its part in r->event and leaves with the
 * last event of that part. It returns -1 only when reading cannot go on, which has then been
 * reported. */
#include "common/config/config_int.h"

#include "common/config/nearest.h"

#include <yaml.h>

struct reader {
    struct loader *l;
    struct str text;
    yaml_parser_t parser;
    yaml_event_t event;
    size_t depth;
    size_t section_lines[SETTINGS_SECTIONS]; /* where each was first given, or 0 */
};

static size_t line_of(const struct reader *r) {
    return r->event.start_mark.line + 1;
}

static struct str scalar(const struct reader *r) {
    return str_make(r->event.data.scalar.value, r->event.data.scalar.length);
}

/* Nothing, ~ or null without quotes. */
static bool is_null(const struct reader *r) {
    if (r->event.type != YAML_SCALAR_EVENT || r->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    struct str s = scalar(r);
    return s.len == 0 || str_eq(s, STR("~")) || str_eq(s, STR("null"));
}

/* ---- events ---- */

static size_t line_at(struct str text, size_t offset) {
    size_t line = 1;
    for (size_t i = 0; i < offset && i < text.len; i++)
        line += text.at[i] == '\n';
    return line;
}

/* Whether the blanks that a line begins with have a tab among them. */
static bool tab_indented(struct str text, size_t line) {
    size_t i = 0;
    for (; line > 1 && i < text.len; i++)
        line -= text.at[i] == '\n';
    while (i < text.len && text.at[i] == ' ')
        i++;
    return i < text.len && text.at[i] == '\t';
}

static int report_syntax(struct reader *r) {
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_READER_ERROR)
        return loader_report(r->l, line_at(r->text, p->problem_offset), "not valid YAML: %s",
                             p->problem);
    if (p->error == YAML_MEMORY_ERROR)
        return loader_report(r->l, 1, "no memory for it");
    size_t line = p->problem_mark.line + 1;
    return loader_report(r->l, line, "not valid YAML: %s%s%s%s", p->context ? p->context : "",
                         p->context ? ", " : "", p->problem ? p->problem : "",
                         tab_indented(r->text, line) ? "; there is a tab: indent with spaces" : "");
}

static int report_shorthand(struct reader *r, const char *what, const yaml_char_t *name) {
    struct clip clip = config_clip(str_of((const char *)name));
    return loader_report(r->l, line_of(r),
                         "%s%s: anchors, aliases and tags are not allowed: write "
                         "the value out",
                         what, clip.at);
}

struct shorthand {
    const yaml_char_t *anchor, *tag;
};

static struct shorthand shorthand_of(const yaml_event_t *event) {
    if (event->type == YAML_SCALAR_EVENT)
        return (struct shorthand){event->data.scalar.anchor, event->data.scalar.tag};
    if (event->type == YAML_SEQUENCE_START_EVENT)
        return (struct shorthand){event->data.sequence_start.anchor,
                                  event->data.sequence_start.tag};
    if (event->type == YAML_MAPPING_START_EVENT)
        return (struct shorthand){event->data.mapping_start.anchor, event->data.mapping_start.tag};
    return (struct shorthand){NULL, NULL};
}

/* Anchors, aliases and tags are reported wherever they stand; their node is then read as if plain,
 * an alias as a node that needs no further error. */
static void refuse_shorthand(struct reader *r) {
    struct shorthand s = shorthand_of(&r->event);
    if (r->event.type == YAML_ALIAS_EVENT)
        report_shorthand(r, "*", r->event.data.alias.anchor);
    if (s.anchor)
        report_shorthand(r, "&", s.anchor);
    if (s.tag)
        report_shorthand(r, "tag ", s.tag);
}

static bool begins(const struct reader *r) {
    return r->event.type == YAML_MAPPING_START_EVENT || r->event.type == YAML_SEQUENCE_START_EVENT;
}

static bool ends(const struct reader *r) {
    return r->event.type == YAML_MAPPING_END_EVENT || r->event.type == YAML_SEQUENCE_END_EVENT;
}

static int next(struct reader *r) {
    yaml_event_delete(&r->event);
    if (!yaml_parser_parse(&r->parser, &r->event))
        return report_syntax(r);
    refuse_shorthand(r);
    r->depth += begins(r);
    r->depth -= ends(r);
    if (r->depth > SETTINGS_DEPTH_MAX)
        return loader_report(r->l, line_of(r), "nested deeper than %u levels", SETTINGS_DEPTH_MAX);
    return 0;
}

/* To the end of the node that begins here. */
static int skip(struct reader *r) {
    if (!begins(r))
        return 0;
    size_t outside = r->depth - 1;
    while (r->depth > outside)
        if (next(r) < 0)
            return -1;
    return 0;
}

/* The next key of a mapping: 1 with the event at the key, 0 at the mapping's end. Keys that are no
 * scalars are reported and skipped with their value. */
static int next_key(struct reader *r, const char *of) {
    while (next(r) == 0) {
        if (r->event.type == YAML_MAPPING_END_EVENT)
            return 0;
        if (r->event.type == YAML_SCALAR_EVENT)
            return 1;
        if (r->event.type != YAML_ALIAS_EVENT)
            loader_report(r->l, line_of(r), "%s: a key must be plain text", of);
        if (skip(r) < 0 || next(r) < 0 || skip(r) < 0)
            return -1;
    }
    return -1;
}

static int skip_value(struct reader *r) {
    return next(r) < 0 ? -1 : skip(r);
}

/* ---- values ---- */

/* Where a value goes. */
struct place {
    enum setting id;
    size_t entry;
    const char *shown; /* "pools.embed.slots" */
};

static int set_value(struct reader *r, const struct place *p, struct str text, size_t line) {
    struct err e;
    struct settings_origin origin = {.from = SETTINGS_FROM_FILE, .line = (uint32_t)line};
    if (loader_set(r->l, p->id, p->entry, text, origin, &e) < 0)
        loader_report(r->l, line, "%s: %s", p->shown, e.text);
    return 0;
}

static void set_bad(struct reader *r, const struct place *p, size_t line) {
    *loader_origin(r->l, p->id, p->entry) =
        (struct settings_origin){.from = SETTINGS_FROM_FILE, .line = (uint32_t)line, .bad = true};
}

static int read_scalar(struct reader *r, const struct place *p, struct buf *out) {
    struct err e;
    if (config_expand(scalar(r), r->l->envp, out, &e) == 0)
        return 0;
    set_bad(r, p, line_of(r));
    loader_report(r->l, line_of(r), "%s: %s", p->shown, e.text);
    return -1;
}

/* [a, b] becomes "a, b", the form that a list has in the environment too. */
static int read_list(struct reader *r, const struct place *p) {
    AUTO_BUF text = BUF(SETTINGS_VALUE_MAX);
    size_t line = line_of(r), items = 0;
    bool good = true;
    for (;;) {
        if (next(r) < 0)
            return -1;
        if (r->event.type == YAML_SEQUENCE_END_EVENT)
            break;
        if (r->event.type != YAML_SCALAR_EVENT) {
            if (r->event.type != YAML_ALIAS_EVENT)
                loader_report(r->l, line_of(r), "%s: each element must be a name", p->shown);
            good = false;
            if (skip(r) < 0)
                return -1;
            continue;
        }
        if (items++)
            buf_putc(&text, ',');
        good = read_scalar(r, p, &text) == 0 && good;
    }
    if (!good)
        set_bad(r, p, line);
    else if (items == 1 && text.len == 0)
        return set_value(r, p, STR(","), line); /* [""] is not the empty list */
    return good ? set_value(r, p, buf_str(&text), line) : 0;
}

static int read_wrong(struct reader *r, const struct place *p, const char *what) {
    const struct settings_row *row = settings_row(p->id);
    set_bad(r, p, line_of(r));
    if (r->event.type != YAML_ALIAS_EVENT)
        loader_report(r->l, line_of(r), "%s: expected a %s, not %s", p->shown,
                      settings_type_words(row->type), what);
    return skip(r);
}

static int read_value(struct reader *r, const struct place *p) {
    const struct settings_row *row = settings_row(p->id);
    if (next(r) < 0)
        return -1;
    if (r->event.type == YAML_SEQUENCE_START_EVENT && row->type == SETTINGS_NAMES)
        return read_list(r, p);
    if (r->event.type != YAML_SCALAR_EVENT)
        return read_wrong(r, p,
                          r->event.type == YAML_SEQUENCE_START_EVENT ? "a list" : "a section");
    if (is_null(r))
        return read_wrong(r, p, "nothing (remove the line for the default)");
    AUTO_BUF text = BUF(SETTINGS_VALUE_MAX);
    if (read_scalar(r, p, &text) < 0)
        return 0;
    return set_value(r, p, buf_str(&text), line_of(r));
}

/* ---- keys ---- */

static int unknown_key(struct reader *r, const struct settings_section *section, const char *of) {
    struct nearest nearest = nearest_start(scalar(r));
    for (size_t i = 0; i < section->rows; i++)
        nearest_offer(&nearest, str_of(settings_row((enum setting)(section->first + i))->key));
    loader_report(r->l, line_of(r), "%s.%s: no such setting%s" STR_FMT, of,
                  config_clip(scalar(r)).at, nearest.best.len ? "; did you mean " : "",
                  STR_ARG(nearest.best));
    return skip_value(r);
}

static int read_key(struct reader *r, enum settings_section_id id, size_t entry, const char *of) {
    enum setting key = config_find_row(id, scalar(r));
    if (key == SETTINGS_ROWS)
        return unknown_key(r, settings_section(id), of);
    char shown[160];
    snprintf(shown, sizeof shown, "%s.%s", of, settings_row(key)->key);
    const struct settings_origin *origin = loader_origin(r->l, key, entry);
    if (origin->from == SETTINGS_FROM_FILE) {
        loader_report(r->l, line_of(r), "%s: given twice, first in line %u", shown, origin->line);
        return skip_value(r);
    }
    return read_value(r, &(struct place){key, entry, shown});
}

/* The mapping from keys to values that begins here; `of` is "broker" or "pools.embed". */
static int read_keys(struct reader *r, enum settings_section_id id, size_t entry, const char *of) {
    if (is_null(r))
        return 0;
    if (r->event.type != YAML_MAPPING_START_EVENT) {
        if (r->event.type != YAML_ALIAS_EVENT)
            loader_report(r->l, line_of(r), "%s: expected lines of KEY: VALUE", of);
        return skip(r);
    }
    int more;
    while ((more = next_key(r, of)) > 0)
        if (read_key(r, id, entry, of) < 0)
            return -1;
    return more;
}

/* ---- entries of named sections ---- */

static int read_entry(struct reader *r, enum settings_section_id id) {
    const char *section = settings_section(id)->name;
    struct str name = scalar(r);
    struct err e = {0};
    size_t entry = SETTINGS_USUAL;
    if (!str_is_name(name, SETTINGS_NAME_MAX))
        err_set(&e, ERR_BAD_CONFIG,
                "is not a name: 1 to %u of A-Z a-z 0-9 . _ : -, not beginning "
                "with . or -",
                SETTINGS_NAME_MAX);
    else if (loader_find(r->l, id, name) != SETTINGS_USUAL)
        err_set(&e, ERR_BAD_CONFIG, "given twice");
    else
        loader_add(r->l, id, name, &entry, &e);
    if (entry == SETTINGS_USUAL) {
        loader_report(r->l, line_of(r), "%s.%s: %s", section, config_clip(name).at, e.text);
        return skip_value(r);
    }
    char of[100];
    snprintf(of, sizeof of, "%s." STR_FMT, section, STR_ARG(name));
    return next(r) < 0 ? -1 : read_keys(r, id, entry, of);
}

static int read_entries(struct reader *r, enum settings_section_id id) {
    const char *section = settings_section(id)->name;
    if (is_null(r))
        return 0;
    if (r->event.type != YAML_MAPPING_START_EVENT) {
        if (r->event.type != YAML_ALIAS_EVENT)
            loader_report(r->l, line_of(r),
                          "%s: expected names, and lines of KEY: VALUE below each", section);
        return skip(r);
    }
    int more;
    while ((more = next_key(r, section)) > 0)
        if (read_entry(r, id) < 0)
            return -1;
    return more;
}

/* ---- sections ---- */

static int unknown_section(struct reader *r) {
    struct nearest nearest = nearest_start(scalar(r));
    for (enum settings_section_id id = 0; id < SETTINGS_SECTIONS; id++)
        nearest_offer(&nearest, str_of(settings_section(id)->name));
    loader_report(r->l, line_of(r), "%s: no such section%s" STR_FMT, config_clip(scalar(r)).at,
                  nearest.best.len ? "; did you mean " : "", STR_ARG(nearest.best));
    return skip_value(r);
}

static int read_section(struct reader *r) {
    enum settings_section_id id = config_find_section(scalar(r));
    if (id == SETTINGS_SECTIONS)
        return unknown_section(r);
    const struct settings_section *section = settings_section(id);
    if (r->section_lines[id]) {
        loader_report(r->l, line_of(r), "%s: given twice, first in line %zu", section->name,
                      r->section_lines[id]);
        return skip_value(r);
    }
    r->section_lines[id] = line_of(r);
    if (next(r) < 0)
        return -1;
    return section->named ? read_entries(r, id) : read_keys(r, id, 0, section->name);
}

static int read_document(struct reader *r) {
    if (next(r) < 0)
        return -1;
    if (r->event.type != YAML_MAPPING_START_EVENT) {
        if (!is_null(r) && r->event.type != YAML_ALIAS_EVENT)
            loader_report(r->l, line_of(r), "expected sections, such as 'broker:'");
        return skip(r);
    }
    int more;
    while ((more = next_key(r, "the file")) > 0)
        if (read_section(r) < 0)
            return -1;
    return more;
}

static int read_stream(struct reader *r) {
    if (next(r) < 0) /* to the stream's start */
        return -1;
    if (next(r) < 0)
        return -1;
    if (r->event.type == YAML_STREAM_END_EVENT)
        return 0;
    if (read_document(r) < 0 || next(r) < 0) /* to the document's end */
        return -1;
    if (next(r) < 0)
        return -1;
    if (r->event.type != YAML_STREAM_END_EVENT)
        return loader_report(r->l, line_of(r), "a second document: only one is allowed");
    return 0;
}

void load_yaml(struct loader *l, struct str text) {
    struct reader r = {.l = l, .text = text};
    if (!yaml_parser_initialize(&r.parser)) {
        loader_report(l, 1, "no memory for it");
        return;
    }
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)(text.len ? text.at : ""),
                                 text.len);
    read_stream(&r);
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
}
