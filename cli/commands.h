/* The commands of `quern` as structs, from cli/commands.def.
 *
 * A *row* is a word, an option or an exit status of a command. `struct args_submit` holds what was
 * given to `quern submit`: a field for each of its words and options; what was not given is zero,
 * and ARG_HAS says which were. Text borrows from argv and from the environment. */
#pragma once

#include "common/base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cli_uses { NONE = 0, USES_DATA = 1, USES_BROKER = 2, USES_CONFIG = 4, USES_JSON = 8 };

enum cli_type {
    CLI_FLAG,
    CLI_TEXT,
    CLI_PATH,
    CLI_NAME,
    CLI_ID,
    CLI_COUNT,
    CLI_DURATION,
    CLI_RATE,
    CLI_STATE,
    CLI_TIME,
    CLI_CHOICE,
    CLI_TEXTS,
    CLI_IDS,
};

struct cli_rate {
    uint64_t count, per_ms; /* 0, 0 is "none" */
};

/* Words that may stand there more than once; as they were given. */
struct cli_texts {
    struct str *at;
    size_t n;
};

struct cli_ids {
    uint64_t *at;
    size_t n;
};

#define CLI_CTYPE_FLAG     bool
#define CLI_CTYPE_TEXT     struct str
#define CLI_CTYPE_PATH     struct str
#define CLI_CTYPE_NAME     struct str
#define CLI_CTYPE_ID       uint64_t
#define CLI_CTYPE_COUNT    uint64_t
#define CLI_CTYPE_DURATION uint64_t
#define CLI_CTYPE_RATE     struct cli_rate
#define CLI_CTYPE_STATE    uint64_t
#define CLI_CTYPE_TIME     uint64_t
#define CLI_CTYPE_CHOICE   uint64_t
#define CLI_CTYPE_TEXTS    struct cli_texts
#define CLI_CTYPE_IDS      struct cli_ids

/* clang-format off */
#define COMMAND(name, ...)                                     struct args_##name { uint64_t has;
#define WORD(command, name, type, many, ...)                   CLI_CTYPE_##type name;
#define OPTION(command, name, type, ...)                       CLI_CTYPE_##type name;
#define HIDDEN(command, name, type, ...)                       CLI_CTYPE_##type name;
#define END(name)                                              };
#include "cli/commands.def"

struct args_common {
    uint64_t has;
#define COMMON(name, uses, type, ...) CLI_CTYPE_##type name;
#include "cli/commands.def"
};

/* ARGPOS_submit_queue: the bit of a field in `has`. */
#define COMMAND(command, ...)      enum argpos_##command { ARGPOS_##command##_first = -1,
#define WORD(command, name, ...)   ARGPOS_##command##_##name,
#define OPTION(command, name, ...) ARGPOS_##command##_##name,
#define HIDDEN(command, name, ...) ARGPOS_##command##_##name,
#define END(name)                  };
#include "cli/commands.def"

enum argpos_common {
#define COMMON(name, ...) ARGPOS_common_##name,
#include "cli/commands.def"
};

enum command_id {
#define COMMAND(name, ...) COMMAND_##name,
#include "cli/commands.def"
    COMMANDS
};

enum family_id {
#define FAMILY(name, ...) FAMILY_##name,
#include "cli/commands.def"
    FAMILIES
};

enum command_group {
#define GROUP(name, title) GROUP_##name,
#include "cli/commands.def"
    COMMAND_GROUPS
};
/* clang-format on */

#define ARG_HAS(args, command, name) (((args)->has >> ARGPOS_##command##_##name & 1) != 0)

enum cli_row_what { CLI_WORD, CLI_OPTION, CLI_HIDDEN, CLI_EXIT };
enum cli_many { ONE, MAYBE, SOME };

struct cli_row {
    enum cli_row_what what;
    const char *name; /* as in C: run_at is --run-at */
    enum cli_type type;
    enum cli_many many;
    uint64_t min, max;
    const char *shown, *doc;
    size_t offset; /* of the field in the struct of arguments */
    unsigned pos;  /* its bit in `has` */
    unsigned uses; /* of a common option; or the status of an exit */
};

struct command {
    enum command_id id;
    const char *name, *what, *more;
    enum command_group group;
    unsigned uses;
    const struct cli_row *rows;
    size_t n_rows;
    size_t args_size;
};

/* Commands whose names begin with the same word and a blank. */
struct family {
    const char *name, *what;
};

struct exit_status {
    int number;
    const char *text;
};

/* All commands in the order of the table, and what goes with them. */
extern const struct command commands[COMMANDS];
extern const struct family families[FAMILIES];
extern const char *const command_groups[COMMAND_GROUPS];
extern const struct cli_row common_rows[];
extern const size_t common_rows_n;
extern const struct exit_status exit_statuses[];
extern const size_t exit_statuses_n;

/* NULL if there is none of that name. */
const struct command *command_named(struct str name);
/* The family whose name that is; the one of a command: NULL if there is none. */
const struct family *family_named(struct str name);
const struct family *command_family(const struct command *c);
/* The n-th command of a family, or NULL. */
const struct command *family_part(const struct family *f, size_t n);
/* The last word of a command's name. */
const char *command_word_last(const struct command *c);
/* The option of that name (without its dashes) that this command has; NULL if it has none. */
const struct cli_row *command_option(const struct command *c, struct str name);
/* The n-th word of a command, or NULL. */
const struct cli_row *command_word(const struct command *c, size_t n);
/* Option number n of a command, its own ones first, then the common ones; NULL at the end. */
const struct cli_row *command_option_at(const struct command *c, size_t n);
/* Whether the name is the option's own: "run-at" is that of run_at. */
bool cli_row_is(const struct cli_row *row, struct str name);
/* The option's name as it is written, without dashes in front. A word of C has a `_` behind it in
 * the table. */
struct cli_name {
    char at[32];
};
struct cli_name cli_row_name(const struct cli_row *row);
