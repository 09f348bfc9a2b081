#include "common/config/config_int.h"

#include "common/base/check.h"

#include <stdlib.h>

/* clang-format off */
#define CHANGE_LIVE    true
#define CHANGE_RESTART false
#define SHAPE_PLAIN    false
#define SHAPE_NAMED    true

#define FIELD(...)             FIELD_(__VA_ARGS__)
#define FIELD_(type, field)    field
#define OFFSET(section, field) OFFSET_(section, field)

/* The struct of a section by the section's name. */
#define SECTION(section, item, ...) typedef struct settings_##item section##_struct;
#include "schemas/settings.def"

static const struct settings_row rows[] = {
#define SETTING(section_, key_, type_, fallback_, min_, max_, change, doc_)                        \
    {.section = SETTINGS_SECTION_##section_, .type = SETTINGS_##type_, .key = #key_,               \
     .fallback = (fallback_), .min = (min_), .max = (max_), .doc = (doc_),                         \
     .live = CHANGE_##change,                                                                      \
     .offset = offsetof(section_##_struct, FIELD(SETTINGS_FIELD_##type_(key_)))},
#include "schemas/settings.def"
};

/* How many rows a section has: the last value of an enum of its keys. */
#define SECTION(section, ...)     enum section##_keys {
#define SETTING(section, key, ...) section##_has_##key,
#define SECTION_END(section, ...) section##_rows };
#include "schemas/settings.def"

/* The first row of a section: rows stand together, so a running sum. */
enum starts {
#define SECTION(section, ...)     section##_starts,
#define SECTION_END(section, ...) section##_ends = (int)section##_starts + (int)section##_rows - 1,
#include "schemas/settings.def"
};

static const struct settings_section sections[] = {
#define SECTION(section, item, shape, change, doc_)                                                \
    {.name = #section, .doc = (doc_), .named = SHAPE_##shape, .live = CHANGE_##change,             \
     .first = (enum setting)section##_starts, .rows = section##_rows},
#include "schemas/settings.def"
};

const struct relation config_relations[] = {
#define RELATION(a, left_, rule_, b, right_, why_)                                                 \
    {.left = SETTING_##a##_##left_, .right = SETTING_##b##_##right_, .rule = RELATION_##rule_,     \
     .why = (why_)},
#include "schemas/settings.def"
};
const size_t config_relations_count = sizeof config_relations / sizeof config_relations[0];

static const struct settings_foreign foreign[] = {
#define FOREIGN(name, doc) {name, doc},
#include "schemas/settings.def"
    {NULL, NULL},
};

/* ---- access to the structs, by section ---- */

#define ACCESS_PLAIN(section)                                                                      \
    static void *base_##section(struct settings *s) {                                              \
        return &s->section;                                                                        \
    }                                                                                              \
    static const void *at_##section(const struct settings *s, size_t entry) {                      \
        (void)entry;                                                                               \
        return &s->section;                                                                        \
    }                                                                                              \
    static size_t count_##section(const struct settings *s) {                                      \
        (void)s;                                                                                   \
        return 1;                                                                                  \
    }                                                                                              \
    static void publish_##section(struct settings *s, const void *at, size_t count) {              \
        (void)s;                                                                                   \
        (void)at;                                                                                  \
        (void)count;                                                                               \
        UNREACHABLE();                                                                             \
    }
#define ACCESS_NAMED(section)                                                                      \
    static void *base_##section(struct settings *s) {                                              \
        return &s->section.usual;                                                                  \
    }                                                                                              \
    static const void *at_##section(const struct settings *s, size_t entry) {                      \
        if (entry == SETTINGS_USUAL)                                                               \
            return &s->section.usual;                                                              \
        ASSERT(entry < s->section.count);                                                          \
        return &s->section.at[entry];                                                              \
    }                                                                                              \
    static size_t count_##section(const struct settings *s) {                                      \
        return s->section.count;                                                                   \
    }                                                                                              \
    static void publish_##section(struct settings *s, const void *at, size_t count) {              \
        s->section.at = at;                                                                        \
        s->section.count = count;                                                                  \
    }
#define SECTION(section, item, shape, ...) ACCESS_##shape(section)
#include "schemas/settings.def"

static const struct access {
    size_t size, origins;
    void *(*base)(struct settings *s);
    const void *(*at)(const struct settings *s, size_t entry);
    size_t (*count)(const struct settings *s);
    void (*publish)(struct settings *s, const void *at, size_t count);
} accesses[] = {
#define SECTION(section, item, ...)                                                                \
    {sizeof(struct settings_##item), offsetof(struct settings_##item, origins), base_##section,    \
     at_##section, count_##section, publish_##section},
#include "schemas/settings.def"
};

#define NAME_FIRST_PLAIN(item)
#define NAME_FIRST_NAMED(item)                                                                     \
    _Static_assert(offsetof(struct settings_##item, name) == 0, "an entry begins with its name");
#define SECTION(section, item, shape, ...) NAME_FIRST_##shape(item)
#include "schemas/settings.def"

static int compare_to_name(const void *key, const void *entry) {
    return str_cmp(*(const struct str *)key, *(const struct str *)entry);
}

#define FIND_PLAIN(section, item)
#define FIND_NAMED(section, item)                                                                  \
    const struct settings_##item *settings_find_##item(const struct settings *s,                   \
                                                       struct str name) {                          \
        if (s->section.count == 0)                                                                 \
            return NULL;                                                                           \
        return bsearch(&name, s->section.at, s->section.count, sizeof s->section.at[0],            \
                       compare_to_name);                                                           \
    }
#define SECTION(section, item, shape, ...) FIND_##shape(section, item)
#include "schemas/settings.def"
/* clang-format on */

const struct settings_row *settings_row(enum setting id) {
    ASSERT(id < SETTINGS_ROWS);
    return &rows[id];
}

const struct settings_section *settings_section(enum settings_section_id id) {
    ASSERT(id < SETTINGS_SECTIONS);
    return &sections[id];
}

const struct settings_foreign *settings_foreign(void) {
    return foreign;
}

size_t settings_entries(const struct settings *s, enum settings_section_id id) {
    return accesses[id].count(s);
}

struct str settings_entry_name(const struct settings *s, enum settings_section_id id, size_t i) {
    if (!sections[id].named || i == SETTINGS_USUAL)
        return STR("");
    return *(const struct str *)accesses[id].at(s, i);
}

size_t config_instance_size(enum settings_section_id id) {
    return accesses[id].size;
}

void *config_base(struct settings *s, enum settings_section_id id) {
    return accesses[id].base(s);
}

const void *config_instance(const struct settings *s, enum settings_section_id id, size_t entry) {
    return accesses[id].at(s, entry);
}

struct settings_origin **config_origins(enum settings_section_id id, void *instance) {
    return (struct settings_origin **)(void *)((char *)instance + accesses[id].origins);
}

void config_publish(struct settings *s, enum settings_section_id id, const void *at, size_t count) {
    accesses[id].publish(s, at, count);
}

enum settings_section_id config_find_section(struct str name) {
    enum settings_section_id id = 0;
    while (id < SETTINGS_SECTIONS && !str_eq(name, str_of(sections[id].name)))
        id++;
    return id;
}

enum setting config_find_row(enum settings_section_id id, struct str key) {
    const struct settings_section *section = settings_section(id);
    for (size_t i = 0; i < section->rows; i++)
        if (str_eq(key, str_of(rows[section->first + i].key)))
            return (enum setting)(section->first + i);
    return SETTINGS_ROWS;
}

enum setting config_fallback(const char *text) {
    if (text[0] != '@')
        return SETTINGS_ROWS;
    const char *dot = strchr(text, '.');
    ASSERT(dot);
    enum settings_section_id id = config_find_section(str_make(text + 1, (size_t)(dot - text - 1)));
    return config_find_row(id, str_of(dot + 1));
}
