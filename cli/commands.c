#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

/* clang-format off */
#define FIELD_AT(args, name) offsetof(struct args, name)
#define COMMAND(name, ...) static const struct cli_row rows_##name[] = {
#define WORD(command, name, type, many, min, max, shown, doc)                                      \
    {CLI_WORD, #name, CLI_##type, many, min, max, shown, doc, FIELD_AT(args_##command, name),      \
     ARGPOS_##command##_##name, 0},
#define OPTION(command, name, type, min, max, shown, doc)                                          \
    {CLI_OPTION, #name, CLI_##type, MAYBE, min, max, shown, doc,                                   \
     FIELD_AT(args_##command, name), ARGPOS_##command##_##name, 0},
#define HIDDEN(command, name, type, min, max, shown, doc)                                          \
    {CLI_HIDDEN, #name, CLI_##type, MAYBE, min, max, shown, doc,                                   \
     FIELD_AT(args_##command, name), ARGPOS_##command##_##name, 0},
#define EXIT(command, status, doc)                                                                 \
    {CLI_EXIT, "", CLI_FLAG, MAYBE, 0, 0, "", doc, 0, 0, status},
#define END(name) {CLI_EXIT, "", CLI_FLAG, MAYBE, 0, 0, "", NULL, 0, 0, 0}};
#include "cli/commands.def"

const struct cli_row common_rows[] = {
#define COMMON(name, uses, type, min, max, shown, doc)                                             \
    {CLI_OPTION, #name, CLI_##type, MAYBE, min, max, shown, doc, FIELD_AT(args_common, name),      \
     ARGPOS_common_##name, uses},
#include "cli/commands.def"
};
const size_t common_rows_n = sizeof common_rows / sizeof common_rows[0];

/* The last row of each command only ends the list. */
#define ROW(name, text, group, uses, what, more)                                                   \
    {COMMAND_##name, text, what, more, GROUP_##group, uses, rows_##name,                           \
     sizeof rows_##name / sizeof rows_##name[0] - 1, sizeof(struct args_##name)},
const struct command commands[COMMANDS] = {
#define COMMAND(name, ...)      ROW(name, #name, __VA_ARGS__)
#define PART(family, name, ...) ROW(family##_##name, #family " " #name, __VA_ARGS__)
#include "cli/commands.def"
};

const struct family families[FAMILIES] = {
#define FAMILY(name, group, what) {#name, what},
#include "cli/commands.def"
};

const char *const command_groups[COMMAND_GROUPS] = {
#define GROUP(name, title) title,
#include "cli/commands.def"
};

const struct exit_status exit_statuses[] = {
#define EXIT_STATUS(number, text) {number, text},
#include "cli/commands.def"
};
const size_t exit_statuses_n = sizeof exit_statuses / sizeof exit_statuses[0];
/* clang-format on */

const struct command *command_named(struct str name) {
    for (size_t i = 0; i < COMMANDS; i++)
        if (str_eq(name, str_of(commands[i].name)))
            return &commands[i];
    return NULL;
}

const struct family *family_named(struct str name) {
    for (size_t i = 0; i < FAMILIES; i++)
        if (str_eq(name, str_of(families[i].name)))
            return &families[i];
    return NULL;
}

const struct family *command_family(const struct command *c) {
    const char *blank = strchr(c->name, ' ');
    return blank ? family_named(str_make(c->name, (size_t)(blank - c->name))) : NULL;
}

const struct command *family_part(const struct family *f, size_t n) {
    for (size_t i = 0; i < COMMANDS; i++)
        if (command_family(&commands[i]) == f && n-- == 0)
            return &commands[i];
    return NULL;
}

const char *command_word_last(const struct command *c) {
    const char *blank = strchr(c->name, ' ');
    return blank ? blank + 1 : c->name;
}

bool cli_row_is(const struct cli_row *row, struct str name) {
    return str_eq(name, str_of(cli_row_name(row).at));
}

struct cli_name cli_row_name(const struct cli_row *row) {
    struct cli_name name;
    snprintf(name.at, sizeof name.at, "%s", row->name);
    for (char *c = name.at; *c; c++)
        if (*c == '_')
            *c = c[1] ? '-' : '\0';
    return name;
}

const struct cli_row *command_word(const struct command *c, size_t n) {
    for (size_t i = 0; i < c->n_rows; i++)
        if (c->rows[i].what == CLI_WORD && n-- == 0)
            return &c->rows[i];
    return NULL;
}

const struct cli_row *command_option_at(const struct command *c, size_t n) {
    for (size_t i = 0; i < c->n_rows; i++)
        if (c->rows[i].what == CLI_OPTION && n-- == 0)
            return &c->rows[i];
    for (size_t i = 0; i < common_rows_n; i++)
        if ((common_rows[i].uses & c->uses) && n-- == 0)
            return &common_rows[i];
    return NULL;
}

const struct cli_row *command_option(const struct command *c, struct str name) {
    for (size_t i = 0; i < c->n_rows; i++)
        if (c->rows[i].what != CLI_WORD && c->rows[i].what != CLI_EXIT &&
            cli_row_is(&c->rows[i], name))
            return &c->rows[i];
    for (size_t i = 0; i < common_rows_n; i++)
        if ((common_rows[i].uses & c->uses) && cli_row_is(&common_rows[i], name))
            return &common_rows[i];
    return NULL;
}
