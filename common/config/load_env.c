#include "common/config/config_int.h"

#include "common/config/nearest.h"

#include <stdio.h>

#define PREFIX "QUERN_"
/* QUERN_, a section, a name, a key. */
#define VARIABLE_MAX 160

struct variable {
    char at[VARIABLE_MAX];
};

static char env_char(char c) {
    if (c >= 'a' && c <= 'z')
        return (char)(c - 'a' + 'A');
    bool kept = (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    return kept ? c : '_';
}

/* QUERN_BROKER_HEARTBEAT, QUERN_POOLS_EMBED_SLOTS: what is no letter or digit is '_'. */
static struct variable variable_of(const struct loader *l, enum setting id, size_t entry) {
    const struct settings_row *row = settings_row(id);
    const struct settings_section *section = settings_section(row->section);
    struct variable v;
    if (section->named) {
        struct str name = *(const struct str *)loader_instance(l, row->section, entry);
        snprintf(v.at, sizeof v.at, PREFIX "%s_" STR_FMT "_%s", section->name, STR_ARG(name),
                 row->key);
    } else {
        snprintf(v.at, sizeof v.at, PREFIX "%s_%s", section->name, row->key);
    }
    for (char *c = v.at; *c; c++)
        *c = env_char(*c);
    return v;
}

/* The settings of one variable's name: two entries may be spelled alike. */
struct search {
    struct str name;
    size_t found;
    enum setting id;
    size_t entry;
    struct nearest nearest;
    struct variable nearest_text;
};

static void consider(struct search *s, const struct loader *l, enum setting id, size_t entry) {
    struct variable v = variable_of(l, id, entry);
    struct str text = str_of(v.at);
    if (str_eq(text, s->name)) {
        s->found++;
        s->id = id;
        s->entry = entry;
    }
    nearest_offer(&s->nearest, text);
    if (s->nearest.best.at == v.at) {
        s->nearest_text = v;
        s->nearest.best = str_of(s->nearest_text.at);
    }
}

static void search_settings(struct search *s, const struct loader *l) {
    for (enum setting id = 0; id < SETTINGS_ROWS; id++) {
        enum settings_section_id section = settings_row(id)->section;
        size_t entries = settings_section(section)->named ? l->entries[section].count : 1;
        for (size_t entry = 0; entry < entries; entry++)
            consider(s, l, id, entry);
    }
}

static bool is_foreign(struct str name) {
    for (const struct settings_foreign *f = settings_foreign(); f->name; f++) {
        struct str known = str_of(f->name);
        bool prefix = known.at[known.len - 1] == '*';
        if (prefix ? str_starts(name, str_make(known.at, known.len - 1)) : str_eq(name, known))
            return true;
    }
    return false;
}

static void load_variable(struct loader *l, struct str name, struct str value) {
    struct search s = {.name = name, .nearest = nearest_start(name)};
    search_settings(&s, l);
    if (s.found == 0) {
        loader_report(l, 0, "%s: no such setting%s" STR_FMT, config_clip(name).at,
                      s.nearest.best.len ? "; did you mean " : "", STR_ARG(s.nearest.best));
        return;
    }
    if (s.found > 1) {
        loader_report(l, 0, "%s: names more than one setting: use the file", config_clip(name).at);
        return;
    }
    struct err e;
    struct settings_origin origin = {.from = SETTINGS_FROM_ENV};
    if (loader_set(l, s.id, s.entry, value, origin, &e) < 0)
        loader_report(l, 0, "%s: %s", config_clip(name).at, e.text);
}

void load_env(struct loader *l) {
    for (char *const *at = l->envp; at && *at; at++) {
        struct str line = str_of(*at);
        const char *equals = strchr(*at, '=');
        if (!equals || !str_starts(line, STR(PREFIX)))
            continue;
        struct str name = str_make(*at, (size_t)(equals - *at));
        if (!is_foreign(name))
            load_variable(l, name, str_of(equals + 1));
    }
}
