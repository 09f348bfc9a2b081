/* From argv to a command and its arguments, by the table of commands.
 *
 * Options and words may stand in any order behind the command; `--name value` and `--name=value`
 * mean the same; what follows `--` is words. Nothing may be given twice. An error says what is
 * wrong, and what was probably meant. */
#pragma once

#include "cli/commands.h"
#include "common/base/arena.h"
#include "common/base/err.h"

struct parsed {
    const struct command *command; /* set as soon as it is known, even on error */
    const struct family *family;   /* set where only the first of two words is known */
    struct args_common common;
    void *args; /* struct args_<command>, in the arena */
    bool
        help; /* --help was among them: the rest was not looked at; then of a command or a family */
};

/* `argv` begins behind the program's name. */
int cli_parse(int argc, char **argv, struct arena *arena, struct parsed *out, struct err *e);
/* As one error tells of a command: "no command 'sumbit'; did you mean 'submit'?" */
int cli_no_command(struct str name, struct err *e);
/* A command of two words as one text, in the arena. */
struct str cli_two_words(struct arena *arena, struct str first, struct str second);
/* One value of a row's type into `slot`, as it stands in the struct of arguments. */
int cli_value(const struct cli_row *row, struct str value, void *slot, struct err *e);
/* "2027-01-31T09:00:00.000+01:00"; the zone may be missing (local time) or Z. */
int cli_time(struct str text, uint64_t *ms, struct err *e);
