/* The settings: one table (schemas/settings.def), read from a YAML file and the environment.
 *
 * A setting is a row; a section is either plain (`broker: heartbeat: 1s`) or named, that is a list
 * of entries by name (`pools: embed: slots: 8`). A value comes from the environment
 * (QUERN_BROKER_HEARTBEAT, QUERN_POOLS_EMBED_SLOTS), else from the file, else it is the default.
 * Named entries that nobody listed have the section's `usual` values.
 *
 * Always: every value is within its bounds and every relation of the table holds, or nothing was
 * loaded. Sizes are bytes, durations milliseconds with `_ms` behind their key; a duration or size
 * that is "none", and a rate that is "none", is 0. Texts are valid UTF-8 with a NUL behind them.
 * Entries are sorted by name.
 *
 * `struct settings` owns all that it points to and never changes: any thread may read it. */
#pragma once

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/str.h"
#include "common/config/err_list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SETTINGS_FILE_MAX    (256U << 10) /* bytes */
#define SETTINGS_VALUE_MAX   8192U        /* bytes of one value, after ${...} */
#define SETTINGS_ENTRIES_MAX 1024U        /* of one named section */
#define SETTINGS_DEPTH_MAX   16U          /* of the YAML */
#define SETTINGS_NAME_MAX    64U          /* bytes of an entry's name */

struct settings_rate {
    uint64_t count, per_ms; /* `count` in each `per_ms`; 0, 0 is no limit */
};

struct settings_names {
    const struct str *at;
    size_t count;
};

/* clang-format off */
#define CHOICES(type, name)          enum settings_##name {
#define CHOICE(type, constant, text) SETTINGS_##constant,
#define CHOICES_END(name)            };
#include "schemas/settings.def"
/* clang-format on */

/* The types of the table: what each is in C, and the field of a key. */
#define SETTINGS_FIELD_BOOL(key)          bool, key
#define SETTINGS_FIELD_COUNT(key)         uint64_t, key
#define SETTINGS_FIELD_DURATION(key)      uint64_t, key##_ms
#define SETTINGS_FIELD_DURATION_NONE(key) uint64_t, key##_ms
#define SETTINGS_FIELD_SIZE(key)          uint64_t, key
#define SETTINGS_FIELD_SIZE_NONE(key)     uint64_t, key
#define SETTINGS_FIELD_RATE(key)          struct settings_rate, key
#define SETTINGS_FIELD_TEXT(key)          struct str, key
#define SETTINGS_FIELD_NAME(key)          struct str, key
#define SETTINGS_FIELD_NAMES(key)         struct settings_names, key
#define SETTINGS_FIELD_PATH(key)          struct str, key
#define SETTINGS_FIELD_KEY(key)           struct str, key
#define SETTINGS_FIELD_TENANT(key)        struct str, key
#define SETTINGS_FIELD_ENDPOINT(key)      struct str, key
#define SETTINGS_FIELD_LISTEN(key)        struct str, key
#define SETTINGS_FIELD_DURABILITY(key)    enum settings_durability, key
#define SETTINGS_FIELD_KEY_ROLE(key)      enum settings_key_role, key
#define SETTINGS_FIELD_LOG_LEVEL(key)     enum settings_log_level, key
#define SETTINGS_FIELD_LOG_FORMAT(key)    enum settings_log_format, key

enum settings_type {
    SETTINGS_BOOL,
    SETTINGS_COUNT,
    SETTINGS_DURATION,
    SETTINGS_DURATION_NONE,
    SETTINGS_SIZE,
    SETTINGS_SIZE_NONE,
    SETTINGS_RATE,
    SETTINGS_TEXT,
    SETTINGS_NAME,
    SETTINGS_NAMES,
    SETTINGS_PATH,
    SETTINGS_KEY,
    SETTINGS_TENANT,
    SETTINGS_ENDPOINT,
    SETTINGS_LISTEN,
    SETTINGS_DURABILITY,
    SETTINGS_KEY_ROLE,
    SETTINGS_LOG_LEVEL,
    SETTINGS_LOG_FORMAT,
    SETTINGS_TYPES
};

enum settings_from { SETTINGS_FROM_DEFAULT, SETTINGS_FROM_FILE, SETTINGS_FROM_ENV };

/* Where a value came from. */
struct settings_origin {
    enum settings_from from;
    uint32_t line; /* of the file, or 0 */
    bool bad;      /* what was given was refused; never so in loaded settings */
};

/* struct settings_broker, ..., struct settings_queue, ...: one for each section. */
/* clang-format off */
#define SETTINGS_HEAD_PLAIN struct settings_origin *origins;
#define SETTINGS_HEAD_NAMED struct str name; struct settings_origin *origins;
#define SETTINGS_DECLARE(...)              SETTINGS_DECLARE_(__VA_ARGS__)
#define SETTINGS_DECLARE_(type, field)     type field;
#define SECTION(section, item, shape, ...) struct settings_##item { SETTINGS_HEAD_##shape
#define SETTING(section, key, type, ...)   SETTINGS_DECLARE(SETTINGS_FIELD_##type(key))
#define SECTION_END(section, item, shape)  };
#include "schemas/settings.def"
/* clang-format on */

/* s->broker.heartbeat_ms; s->queues.at[i].rate, s->queues.count, s->queues.usual. */
#define SETTINGS_MEMBER_PLAIN(section, item) struct settings_##item section;
#define SETTINGS_MEMBER_NAMED(section, item)                                                       \
    struct {                                                                                       \
        const struct settings_##item *at;                                                          \
        size_t count;                                                                              \
        struct settings_##item usual;                                                              \
    } section;
struct settings {
#define SECTION(section, item, shape, ...) SETTINGS_MEMBER_##shape(section, item)
#include "schemas/settings.def"
    struct arena *arena; /* private */
};

/* SETTING_broker_heartbeat, ...: the index of a row; SETTINGS_SECTION_broker, ... of a section. */
enum setting {
#define SETTING(section, key, ...) SETTING_##section##_##key,
#include "schemas/settings.def"
    SETTINGS_ROWS
};
enum settings_section_id {
#define SECTION(section, ...) SETTINGS_SECTION_##section,
#include "schemas/settings.def"
    SETTINGS_SECTIONS
};

struct settings_section {
    const char *name, *doc;
    bool named;         /* has entries */
    bool live;          /* whether a reload may add and remove entries */
    enum setting first; /* its rows stand together */
    size_t rows;
};

struct settings_row {
    enum settings_section_id section;
    enum settings_type type;
    const char *key, *fallback, *min, *max, *doc;
    bool live;
    size_t offset; /* of the field in its section's struct */
};

/* `path` NULL: only defaults and environment. On failure -1, *out is NULL and `errors` holds what
 * was wrong, all of it up to ERR_LIST_MAX, each as "FILE:LINE: SECTION.KEY: what, and the bound".
 */
int settings_load(const char *path, char *const *envp, struct settings **out,
                  struct err_list *errors);
/* The same of a text in memory, called `path` in errors. */
int settings_parse(struct str yaml, const char *path, char *const *envp, struct settings **out,
                   struct err_list *errors);
/* The text of a file, for settings_parse; begin with a buf of SETTINGS_FILE_BUF. */
#define SETTINGS_FILE_BUF BUF(SETTINGS_FILE_MAX + 8192)
int settings_read(const char *path, struct buf *text, struct err_list *errors);
void settings_destroy(struct settings **s);

/* settings_find_queue(s, name), _tenant, _kind, _pool: the entry, or NULL if it is not listed (what
 * holds then is s->queues.usual). */
#define SETTINGS_FIND_PLAIN(item)
#define SETTINGS_FIND_NAMED(item)                                                                  \
    const struct settings_##item *settings_find_##item(const struct settings *s, struct str name);
#define SECTION(section, item, shape, ...) SETTINGS_FIND_##shape(item)
#include "schemas/settings.def"

/* The table itself. */
const struct settings_row *settings_row(enum setting id);
const struct settings_section *settings_section(enum settings_section_id id);
/* How many entries a section has; 1 for a plain one. */
size_t settings_entries(const struct settings *s, enum settings_section_id id);
/* The name of entry i; empty for a plain section. */
struct str settings_entry_name(const struct settings *s, enum settings_section_id id, size_t i);

/* For `entry` below: the values of entries that nobody listed. */
#define SETTINGS_USUAL SIZE_MAX

struct settings_origin settings_origin(const struct settings *s, enum setting id, size_t entry);
/* Appends the value as text, which is read back to the same value. */
int settings_show(const struct settings *s, enum setting id, size_t entry, struct buf *out);
/* Appends "broker.heartbeat" or "pools.embed.slots". */
int settings_show_key(enum setting id, struct str entry_name, struct buf *out);
/* Appends all settings as a configuration file that loads to the same ones. With `docs`, each key
 * has its sentence above it, and sections without entries stand as examples in comments. */
int settings_show_yaml(const struct settings *s, bool docs, struct buf *out);

enum settings_change_what { SETTINGS_CHANGED, SETTINGS_ADDED, SETTINGS_REMOVED };

struct settings_change {
    enum settings_change_what what;
    bool live; /* a reload applies it; else it needs a restart */
    enum settings_section_id section;
    enum setting id;       /* SETTINGS_ROWS when a whole entry was added or removed */
    struct str name;       /* of the entry; empty in a plain section */
    size_t old_at, new_at; /* the entry in either, for settings_show; SETTINGS_USUAL if not there */
};

/* Tells `visit` of every difference, in the order of the table; returns how many. What an entry
 * takes from `defaults` is told for each entry too. */
size_t settings_diff(const struct settings *old, const struct settings *new,
                     void (*visit)(void *ctx, const struct settings_change *change), void *ctx);
/* Appends "pools.embed.slots", "queues.chat added". */
int settings_change_show(const struct settings_change *change, struct buf *out);

/* Variables QUERN_... that are not settings, as the table has them; NULL at the end. */
struct settings_foreign {
    const char *name, *doc;
};
const struct settings_foreign *settings_foreign(void);
/* What a type looks like, for people: "a duration such as 10s". */
const char *settings_type_words(enum settings_type type);
