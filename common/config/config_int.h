/* Shared by the files of common/config: generic access to the structs, values, and the loader.
 *
 * An instance is one struct of a section: a plain section's, an entry's, or an entry section's
 * `usual`. Not for other folders. */
#pragma once

#include "common/config/settings.h"

/* ---- rows.c: the table ---- */

enum relation_rule { RELATION_NOT_OVER, RELATION_NEEDS };
struct relation {
    enum setting left, right;
    enum relation_rule rule;
    const char *why;
};
extern const struct relation config_relations[];
extern const size_t config_relations_count;

size_t config_instance_size(enum settings_section_id id);
/* The plain section's struct, or `usual`. */
void *config_base(struct settings *s, enum settings_section_id id);
const void *config_instance(const struct settings *s, enum settings_section_id id, size_t entry);
/* Where an instance keeps its origins. */
struct settings_origin **config_origins(enum settings_section_id id, void *instance);
/* Makes the entries of a named section those of the array, which the arena holds. */
void config_publish(struct settings *s, enum settings_section_id id, const void *at, size_t count);
/* SETTINGS_SECTIONS or SETTINGS_ROWS when there is none. */
enum settings_section_id config_find_section(struct str name);
enum setting config_find_row(enum settings_section_id id, struct str key);
/* The setting that "@section.key" names; SETTINGS_ROWS for any other text. */
enum setting config_fallback(const char *text);

/* ---- value.c: the types ---- */

struct clip {
    char at[68];
};
/* A text for an error: shortened, with '?' for what a terminal should not see. */
struct clip config_clip(struct str s);
/* Reads a value into the instance's field, or leaves it as it is and says why. */
int config_value_read(const struct settings_row *row, struct str text, struct arena *arena,
                      void *instance, struct err *e);
void config_value_show(const struct settings_row *row, const void *instance, struct buf *out);
/* Takes the value of a row of the same type in another instance. */
void config_value_copy(const struct settings_row *row, void *instance,
                       const struct settings_row *from_row, const void *from);
/* Numbers as they are, rates as their count. */
uint64_t config_value_number(const struct settings_row *row, const void *instance);
/* Appends "10ms to 10m", "error, warn, info, debug"; nothing where a type has no bounds. */
void config_bounds_show(const struct settings_row *row, struct buf *out);
/* Whether YAML wants quotes around it. */
bool config_type_quoted(enum settings_type type);

/* Of a text that is an ENDPOINT. */
bool config_is_loopback(struct str endpoint);

/* ---- expand.c ---- */

const char *config_env(char *const *envp, struct str name); /* NULL if it is not set */
/* ${NAME} and ${NAME:-default} from the environment; $${ stands for ${. */
int config_expand(struct str text, char *const *envp, struct buf *out, struct err *e);

/* ---- loader.c: settings while they are read ---- */

struct loader {
    struct arena *arena;
    struct settings *settings; /* plain sections and `usual` are filled in place */
    struct entries {
        char *at;
        size_t count, room;
    } entries[SETTINGS_SECTIONS];
    char *const *envp;
    const char *path; /* for errors; its end, if it is long */
    struct err_list *errors;
};

void loader_start(struct loader *l);
/* Appends an entry with the usual values; its index, or -1 with `e` filled. */
int loader_add(struct loader *l, enum settings_section_id id, struct str name, size_t *entry,
               struct err *e);
/* SETTINGS_USUAL if there is none. */
size_t loader_find(const struct loader *l, enum settings_section_id id, struct str name);
void *loader_instance(const struct loader *l, enum settings_section_id id, size_t entry);
struct settings_origin *loader_origin(const struct loader *l, enum setting id, size_t entry);
/* Reads a value and notes where it came from. */
int loader_set(struct loader *l, enum setting id, size_t entry, struct str text,
               struct settings_origin origin, struct err *e);
/* Adds "PATH:LINE: text", or "environment: text" for line 0. Returns -1. */
int loader_report(struct loader *l, size_t line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* What nobody gave is taken from where "@..." says, entries are sorted, the settings complete. */
void loader_finish(struct loader *l);

/* ---- load_yaml.c, load_env.c, relations.c, key_rules.c: report to the loader ---- */

void load_yaml(struct loader *l, struct str text);
void load_env(struct loader *l);
void check_relations(struct loader *l);
void check_keys(struct loader *l);
