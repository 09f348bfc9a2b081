#include "common/config/config_int.h"

#include "common/base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static struct settings_origin *new_origins(struct loader *l, enum settings_section_id id) {
    size_t n = settings_section(id)->rows;
    struct settings_origin *origins = arena_try_array(l->arena, n, sizeof *origins);
    if (origins)
        memset(origins, 0, n * sizeof *origins);
    return origins;
}

static void set_defaults(struct loader *l, enum settings_section_id id) {
    const struct settings_section *section = settings_section(id);
    void *base = config_base(l->settings, id);
    *config_origins(id, base) = new_origins(l, id);
    for (size_t i = 0; i < section->rows; i++) {
        const struct settings_row *row = settings_row((enum setting)(section->first + i));
        if (row->fallback[0] == '@')
            continue;
        int rc = config_value_read(row, str_of(row->fallback), l->arena, base, NULL);
        ASSERT(rc == 0);
    }
}

void loader_start(struct loader *l) {
    for (enum settings_section_id id = 0; id < SETTINGS_SECTIONS; id++)
        set_defaults(l, id);
}

static int make_room(struct loader *l, enum settings_section_id id) {
    struct entries *entries = &l->entries[id];
    if (entries->count < entries->room)
        return 0;
    size_t size = config_instance_size(id), room = entries->room ? entries->room * 2 : 8;
    char *at = arena_try_array(l->arena, room, size);
    if (!at)
        return -1;
    if (entries->count)
        memcpy(at, entries->at, entries->count * size);
    entries->at = at;
    entries->room = room;
    return 0;
}

int loader_add(struct loader *l, enum settings_section_id id, struct str name, size_t *entry,
               struct err *e) {
    struct entries *entries = &l->entries[id];
    if (entries->count == SETTINGS_ENTRIES_MAX)
        return err_set(e, ERR_BAD_CONFIG, "is one too many: at most %u are allowed",
                       SETTINGS_ENTRIES_MAX);
    struct str copy = arena_try_copy(l->arena, name);
    struct settings_origin *origins = new_origins(l, id);
    if (!copy.at || !origins || make_room(l, id) < 0)
        return err_set(e, ERR_NO_MEMORY, "no memory for it");
    *entry = entries->count++;
    void *instance = loader_instance(l, id, *entry);
    memcpy(instance, config_base(l->settings, id), config_instance_size(id));
    *(struct str *)instance = copy;
    *config_origins(id, instance) = origins;
    return 0;
}

void *loader_instance(const struct loader *l, enum settings_section_id id, size_t entry) {
    if (!settings_section(id)->named || entry == SETTINGS_USUAL)
        return config_base(l->settings, id);
    ASSERT(entry < l->entries[id].count);
    return l->entries[id].at + entry * config_instance_size(id);
}

size_t loader_find(const struct loader *l, enum settings_section_id id, struct str name) {
    for (size_t i = 0; i < l->entries[id].count; i++)
        if (str_eq(*(const struct str *)loader_instance(l, id, i), name))
            return i;
    return SETTINGS_USUAL;
}

struct settings_origin *loader_origin(const struct loader *l, enum setting id, size_t entry) {
    enum settings_section_id section = settings_row(id)->section;
    void *instance = loader_instance(l, section, entry);
    return &(*config_origins(section, instance))[id - settings_section(section)->first];
}

int loader_set(struct loader *l, enum setting id, size_t entry, struct str text,
               struct settings_origin origin, struct err *e) {
    const struct settings_row *row = settings_row(id);
    void *instance = loader_instance(l, row->section, entry);
    int rc = config_value_read(row, text, l->arena, instance, e);
    origin.bad = rc < 0;
    *loader_origin(l, id, entry) = origin;
    return rc;
}

int loader_report(struct loader *l, size_t line, const char *fmt, ...) {
    char text[ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (line == 0)
        return err_list_add(l->errors, ERR_BAD_CONFIG, "environment: %s", text);
    return err_list_add(l->errors, ERR_BAD_CONFIG, "%s:%zu: %s", l->path, line, text);
}

/* What an instance was not given is taken from the setting that its row names. */
static void inherit(struct loader *l, enum settings_section_id id, size_t entry) {
    const struct settings_section *section = settings_section(id);
    for (size_t i = 0; i < section->rows; i++) {
        enum setting key = (enum setting)(section->first + i);
        const struct settings_row *row = settings_row(key);
        enum setting from = config_fallback(row->fallback);
        struct settings_origin *origin = loader_origin(l, key, entry);
        if (from == SETTINGS_ROWS || origin->from != SETTINGS_FROM_DEFAULT)
            continue;
        origin->bad = loader_origin(l, from, SETTINGS_USUAL)->bad;
        const struct settings_row *from_row = settings_row(from);
        config_value_copy(row, loader_instance(l, id, entry), from_row,
                          loader_instance(l, from_row->section, SETTINGS_USUAL));
    }
}

static int compare_names(const void *a, const void *b) {
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

void loader_finish(struct loader *l) {
    for (enum settings_section_id id = 0; id < SETTINGS_SECTIONS; id++) {
        inherit(l, id, SETTINGS_USUAL);
        if (!settings_section(id)->named)
            continue;
        struct entries *entries = &l->entries[id];
        for (size_t i = 0; i < entries->count; i++)
            inherit(l, id, i);
        if (entries->count)
            qsort(entries->at, entries->count, config_instance_size(id), compare_names);
        config_publish(l->settings, id, entries->at, entries->count);
    }
}
