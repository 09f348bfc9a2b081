#include "cli/help.h"

#include <stdio.h>

#define WIDTH       80
#define DOC_COLUMN  26
#define NAME_COLUMN 10

/* ---- laying out ----------------------------------------------------------------------------- */
/* Appends text in lines of at most WIDTH, the first one beginning at `column`, the others at
 * `indent`. */
static void put_wrapped(struct buf *out, size_t column, size_t indent, const char *text) {
    struct str rest = str_of(text);
    bool first = true;
    while (rest.len) {
        const char *blank = memchr(rest.at, ' ', rest.len);
        size_t len = blank ? (size_t)(blank - rest.at) : rest.len;
        if (!first && column + 1 + len > WIDTH) {
            buf_printf(out, "\n%*s", (int)indent, "");
            column = indent;
            first = true;
        }
        buf_printf(out, "%s%.*s", first ? "" : " ", (int)len, rest.at);
        column += len + !first;
        first = false;
        size_t used = len + (blank != NULL);
        rest = str_make(rest.at + used, rest.len - used);
    }
    buf_putc(out, '\n');
}

/* "  NAME      what it is" */
static void put_entry(struct buf *out, const char *name, const char *doc, size_t column) {
    size_t at = out->len;
    buf_printf(out, "  %s", name);
    size_t width = out->len - at;
    if (width + 2 > column) {
        buf_printf(out, "\n%*s", (int)column, "");
    } else {
        buf_printf(out, "%*s", (int)(column - width), "");
    }
    put_wrapped(out, column, column, doc);
}

struct shown {
    char at[128];
};

static struct shown option_shown(const struct cli_row *row) {
    struct shown s;
    snprintf(s.at, sizeof s.at, "--%s%s%s", cli_row_name(row).at, row->shown[0] ? " " : "",
             row->shown);
    return s;
}

static bool has_own_options(const struct command *c) {
    const struct cli_row *first = command_option_at(c, 0);
    return first && !first->uses;
}

void help_usage(const struct command *c, struct buf *out) {
    buf_printf(out, "quern %s", c->name);
    const struct cli_row *row;
    for (size_t n = 0; (row = command_word(c, n)); n++) {
        const char *open = row->many == MAYBE ? " [" : " ", *shut = row->many == MAYBE ? "]" : "";
        buf_printf(out, "%s%s%s%s", open, row->shown, shut, row->many == SOME ? " ..." : "");
    }
    if (command_option_at(c, 0))
        buf_printf(out, " [OPTION ...]");
}

/* ---- exit statuses -------------------------------------------------------------------------- */
static const char *exit_doc(const struct command *c, const struct exit_status *s) {
    for (size_t i = 0; i < c->n_rows; i++)
        if (c->rows[i].what == CLI_EXIT && c->rows[i].uses == (unsigned)s->number)
            return c->rows[i].doc;
    bool always = s->number == 0 || s->number == 2 || (s->number == 3 && (c->uses & USES_BROKER));
    return always ? s->text : NULL;
}

/* ---- text ----------------------------------------------------------------------------------- */
/* A family is listed where its first command stands. */
static bool begins(size_t command) {
    const struct family *f = command_family(&commands[command]);
    return !f || family_part(f, 0) == &commands[command];
}

void help_overview(struct buf *out) {
    buf_printf(out, "usage: quern COMMAND [WORD ...] [OPTION ...]\n");
    for (size_t group = 0; group < COMMAND_GROUPS; group++) {
        buf_printf(out, "\n%s\n", command_groups[group]);
        for (size_t i = 0; i < COMMANDS; i++) {
            const struct family *f = command_family(&commands[i]);
            if (commands[i].group == group && begins(i))
                put_entry(out, f ? f->name : commands[i].name, f ? f->what : commands[i].what,
                          NAME_COLUMN + 2);
        }
    }
    buf_printf(out, "\nquern help COMMAND tells more. Exit status:\n");
    for (size_t i = 0; i < exit_statuses_n; i++)
        buf_printf(out, "  %d  %s\n", exit_statuses[i].number, exit_statuses[i].text);
}

static void put_options(const struct command *c, struct buf *out) {
    const struct cli_row *row;
    bool own = has_own_options(c);
    if (command_option_at(c, 0))
        buf_printf(out, "\noptions\n");
    for (size_t n = 0; (row = command_option_at(c, n)); n++) {
        if (own && row->uses)
            buf_putc(out, '\n');
        own = own && !row->uses;
        put_entry(out, option_shown(row).at, row->doc, DOC_COLUMN);
    }
}

void help_command(const struct command *c, struct buf *out) {
    buf_printf(out, "usage: ");
    help_usage(c, out);
    buf_printf(out, "\n\n");
    AUTO_BUF text = BUF(8192);
    buf_printf(&text, "%c%s.%s%s", c->what[0] & ~0x20, c->what + 1, c->more[0] ? " " : "", c->more);
    buf_putc(&text, 0);
    put_wrapped(out, 0, 0, text.at);
    if (command_word(c, 0))
        buf_putc(out, '\n');
    const struct cli_row *row;
    for (size_t n = 0; (row = command_word(c, n)); n++)
        put_entry(out, row->shown, row->doc, DOC_COLUMN);
    put_options(c, out);
    buf_printf(out, "\nexit status\n");
    for (size_t i = 0; i < exit_statuses_n; i++) {
        const char *doc = exit_doc(c, &exit_statuses[i]);
        if (doc)
            buf_printf(out, "  %d  %s\n", exit_statuses[i].number, doc);
    }
}

void help_family(const struct family *f, struct buf *out) {
    const struct command *c;
    buf_printf(out, "usage: quern %s ", f->name);
    for (size_t n = 0; (c = family_part(f, n)); n++)
        buf_printf(out, "%s%s", n ? "|" : "", command_word_last(c));
    buf_printf(out, " [WORD ...] [OPTION ...]\n\n%c%s.\n\n", f->what[0] & ~0x20, f->what + 1);
    for (size_t n = 0; (c = family_part(f, n)); n++)
        put_entry(out, command_word_last(c), c->what, NAME_COLUMN + 2);
    buf_printf(out, "\nquern help %s %s tells more, and so on.\n", f->name,
               command_word_last(family_part(f, 0)));
}

/* ---- Markdown ------------------------------------------------------------------------------- */
static void put_cell(struct buf *out, const char *text) {
    for (const char *at = text; *at; at++) {
        if (*at == '|')
            buf_putc(out, '\\');
        buf_putc(out, *at);
    }
}

static void put_row(struct buf *out, const char *code, const char *text) {
    buf_printf(out, "| `");
    put_cell(out, code);
    buf_printf(out, "` | ");
    put_cell(out, text);
    buf_printf(out, " |\n");
}

static void markdown_command(const struct command *c, struct buf *out) {
    buf_printf(out, "\n### quern %s\n\n", c->name);
    buf_printf(out, "```\n");
    help_usage(c, out);
    buf_printf(out, "\n```\n\n");
    AUTO_BUF text = BUF(8192);
    buf_printf(&text, "%c%s.%s%s", c->what[0] & ~0x20, c->what + 1, c->more[0] ? " " : "", c->more);
    buf_putc(&text, 0);
    put_wrapped(out, 0, 0, text.at);
    const struct cli_row *row;
    if (command_word(c, 0) || command_option_at(c, 0))
        buf_printf(out, "\n| | |\n| --- | --- |\n");
    for (size_t n = 0; (row = command_word(c, n)); n++)
        put_row(out, row->shown, row->doc);
    for (size_t n = 0; (row = command_option_at(c, n)) && !row->uses; n++)
        put_row(out, option_shown(row).at, row->doc);
    AUTO_BUF common = BUF(1024);
    for (size_t n = 0; (row = command_option_at(c, n)); n++)
        if (row->uses)
            buf_printf(&common, "%s`--%s`", common.len ? ", " : "", cli_row_name(row).at);
    if (common.len)
        buf_printf(out, "\nAlso " STR_FMT ".\n", STR_ARG(buf_str(&common)));
    buf_printf(out, "\nExit status:");
    const char *comma = " ";
    for (size_t i = 0; i < exit_statuses_n; i++) {
        const char *doc = exit_doc(c, &exit_statuses[i]);
        if (!doc)
            continue;
        buf_printf(out, "%s%d %s", comma, exit_statuses[i].number, doc);
        comma = "; ";
    }
    buf_printf(out, ".\n");
}

static const char markdown_head[] =
    "# The command line\n"
    "\n"
    "Every command of `quern`, made from `cli/commands.def` by `quern help --markdown`; a test\n"
    "holds the two together. How they are used day by day is in [operations.md](operations.md).\n"
    "\n"
    "Options and words may stand in any order behind the command; `--name value` and\n"
    "`--name=value` mean the same; what follows `--` is words. Durations are written `250ms`,\n"
    "`10s`, `5m`, `2h`, `14d`; a number alone is seconds.\n"
    "\n"
    "Results go to standard output, errors to standard error as `quern: what is wrong`. Times are\n"
    "local, as RFC 3339 has it. Colours appear on a terminal only, and not where `NO_COLOR` is\n"
    "set.\n"
    "\n"
    "With `--json` a command prints one JSON value, an object or a list, whose keys are those of\n"
    "[messages.md](messages.md); with `--stream` and `--watch` one a line. A command that fails "
    "prints\n"
    "what went wrong instead, unless it has printed what became of each job (a refused one in a "
    "list\n"
    "has another `code` than `OK`) or how its job ended; the exit status is the same as without:\n"
    "\n"
    "```json\n"
    "{\"error\": {\"code\": \"UNKNOWN_QUEUE\", \"class\": \"perm\", \"text\": \"queue 'x': not "
    "known\",\n"
    "           \"context\": {\"status\": 4, \"command\": \"queues\"}}}\n"
    "```\n"
    "\n"
    "`code` and `class` are those of [messages.md](messages.md#errors); `context` has the exit\n"
    "status, the command and, where there are such, a `hint` and `retry_after_ms`.\n"
    "\n"
    "## Exit status\n"
    "\n"
    "| status | meaning |\n"
    "| --- | --- |\n";

void help_markdown(struct buf *out) {
    buf_printf(out, "%s", markdown_head);
    for (size_t i = 0; i < exit_statuses_n; i++)
        buf_printf(out, "| %d | %s |\n", exit_statuses[i].number, exit_statuses[i].text);
    buf_printf(out, "\n## Options of most commands\n\n| | |\n| --- | --- |\n");
    for (size_t i = 0; i < common_rows_n; i++)
        put_row(out, option_shown(&common_rows[i]).at, common_rows[i].doc);
    for (size_t group = 0; group < COMMAND_GROUPS; group++) {
        buf_printf(out, "\n## %s\n", command_groups[group]);
        for (size_t i = 0; i < COMMANDS; i++)
            if (commands[i].group == group)
                markdown_command(&commands[i], out);
    }
}

/* ---- completion ----------------------------------------------------------------------------- */
/* "--queue) COMPREPLY=(...)": what may follow an option that takes a value. */
static void bash_value(struct buf *out, const struct cli_row *row) {
    if (row->type == CLI_PATH)
        buf_printf(out, "    --%s) mapfile -t COMPREPLY < <(compgen -f -- \"$word\"); return ;;\n",
                   cli_row_name(row).at);
    else if (row->type == CLI_CHOICE)
        buf_printf(out,
                   "    --%s) mapfile -t COMPREPLY < <(compgen -W '%s' -- \"$word\"); return ;;\n",
                   cli_row_name(row).at, row->shown);
    else if (row->type != CLI_FLAG)
        buf_printf(out, "    --%s) return ;;\n", cli_row_name(row).at);
}

static bool seen_before(size_t command, const struct cli_row *row) {
    for (size_t i = 0; i < command; i++)
        if (command_option(&commands[i], str_of(cli_row_name(row).at)))
            return true;
    return false;
}

static void bash_commands(struct buf *out) {
    for (size_t i = 0; i < COMMANDS; i++) {
        const struct family *f = command_family(&commands[i]);
        if (begins(i))
            buf_printf(out, "%s ", f ? f->name : commands[i].name);
    }
}

static void bash_command(struct buf *out, const struct command *c) {
    buf_printf(out, "    %s) words='", command_word_last(c));
    const struct cli_row *row = command_word(c, 0);
    if (c->id == COMMAND_help)
        bash_commands(out);
    else if (row && row->type == CLI_CHOICE)
        for (const char *at = row->shown; *at; at++)
            buf_putc(out, *at == '|' ? ' ' : *at);
    buf_printf(out, " --help");
    for (size_t n = 0; (row = command_option_at(c, n)); n++)
        buf_printf(out, " --%s", cli_row_name(row).at);
    buf_printf(out, "' ;;\n");
}

static void bash_family(struct buf *out, const struct family *f) {
    const struct command *c;
    buf_printf(out, "    %s)\n    if [ \"$COMP_CWORD\" -eq 2 ]; then\n        words='--help",
               f->name);
    for (size_t n = 0; (c = family_part(f, n)); n++)
        buf_printf(out, " %s", command_word_last(c));
    buf_printf(out, "'\n    else\n    case ${COMP_WORDS[2]} in\n");
    for (size_t n = 0; (c = family_part(f, n)); n++)
        bash_command(out, c);
    buf_printf(out, "    esac\n    fi ;;\n");
}

void help_bash(struct buf *out) {
    buf_printf(out, "# bash completion for quern, made by `quern help --bash`\n"
                    "_quern() {\n"
                    "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
                    "    local words='' IFS=$' \\t\\n|'\n"
                    "    COMPREPLY=()\n"
                    "    case $before in\n");
    const struct cli_row *row;
    for (size_t i = 0; i < COMMANDS; i++)
        for (size_t n = 0; (row = command_option_at(&commands[i], n)); n++)
            if (!seen_before(i, row))
                bash_value(out, row);
    buf_printf(out, "    esac\n    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        words='--help ");
    bash_commands(out);
    buf_printf(out, "'\n    else\n    case ${COMP_WORDS[1]} in\n");
    for (size_t i = 0; i < COMMANDS; i++)
        if (!command_family(&commands[i]))
            bash_command(out, &commands[i]);
    for (size_t i = 0; i < FAMILIES; i++)
        bash_family(out, &families[i]);
    buf_printf(out, "    esac\n"
                    "    fi\n"
                    "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
                    "}\n"
                    "complete -F _quern quern\n");
}
