#include "cli/parse.h"

#include "common/config/nearest.h"

#include <stdio.h>

struct parse {
    int argc, at;
    char **argv;
    struct arena *arena;
    struct parsed *out;
    size_t words; /* words given so far */
    bool words_only;
    struct err *e;
};

/* ---- where a value goes --------------------------------------------------------------------- */
static bool is_common(const struct cli_row *row) {
    return row->uses != 0;
}

static void *slot_of(struct parse *p, const struct cli_row *row) {
    char *base = is_common(row) ? (char *)&p->out->common : (char *)p->out->args;
    return base + row->offset;
}

static uint64_t *has_of(struct parse *p, const struct cli_row *row) {
    return is_common(row) ? &p->out->common.has : (uint64_t *)p->out->args;
}

/* A list has room for all that argv could hold. */
static void *list_room(struct parse *p, const struct cli_row *row) {
    size_t n = (size_t)p->argc;
    if (row->type == CLI_IDS) {
        struct cli_ids *list = slot_of(p, row);
        if (!list->at)
            list->at = arena_alloc(p->arena, n * sizeof *list->at);
        return &list->at[list->n++];
    }
    struct cli_texts *list = slot_of(p, row);
    if (!list->at)
        list->at = arena_alloc(p->arena, n * sizeof *list->at);
    return &list->at[list->n++];
}

static int put(struct parse *p, const struct cli_row *row, struct str value) {
    void *slot = row->many == SOME ? list_room(p, row) : slot_of(p, row);
    if (cli_value(row, value, slot, p->e) < 0)
        return row->what == CLI_WORD
                   ? err_add(p->e, "%s %s", p->out->command->name, row->shown)
                   : err_add(p->e, "%s --%s", p->out->command->name, cli_row_name(row).at);
    *has_of(p, row) |= 1ULL << row->pos;
    return 0;
}

/* ---- options -------------------------------------------------------------------------------- */
static int no_option(struct parse *p, struct str name) {
    const struct command *c = p->out->command;
    struct nearest near = nearest_start(name);
    struct cli_name names[48];
    const struct cli_row *row;
    size_t begun = 0;
    struct str meant = STR("");
    for (size_t n = 0; n < 48 && (row = command_option_at(c, n)); n++) {
        names[n] = cli_row_name(row);
        nearest_offer(&near, str_of(names[n].at));
        if (name.len && str_starts(str_of(names[n].at), name) && begun++ == 0)
            meant = str_of(names[n].at);
    }
    if (begun == 1)
        near.best = meant;
    if (near.best.len)
        return err_set(p->e, ERR_USAGE,
                       "%s: no option '--" STR_FMT "'; did you mean '--" STR_FMT "'?", c->name,
                       STR_ARG(name), STR_ARG(near.best));
    return err_set(p->e, ERR_USAGE, "%s: no option '--" STR_FMT "'; quern help %s lists them",
                   c->name, STR_ARG(name), c->name);
}

static bool is_known_option(struct parse *p, struct str word) {
    return word.len > 2 && str_starts(word, STR("--")) &&
           command_option(p->out->command, str_make(word.at + 2, word.len - 2));
}

static int option(struct parse *p, struct str word) {
    struct str name = str_make(word.at + 2, word.len - 2), value = STR("");
    const char *is = memchr(name.at, '=', name.len);
    if (is) {
        size_t len = (size_t)(is - name.at);
        value = str_make(is + 1, name.len - len - 1);
        name.len = len;
    }
    const char *command = p->out->command->name;
    const struct cli_row *row = command_option(p->out->command, name);
    if (!row)
        return no_option(p, name);
    if (*has_of(p, row) >> row->pos & 1)
        return err_set(p->e, ERR_USAGE, "%s: --" STR_FMT " is given twice", command, STR_ARG(name));
    if (row->type == CLI_FLAG) {
        if (is)
            return err_set(p->e, ERR_USAGE, "%s: --" STR_FMT " takes no value", command,
                           STR_ARG(name));
        return put(p, row, value);
    }
    if (!is) {
        if (p->at == p->argc || is_known_option(p, str_of(p->argv[p->at])))
            return err_set(p->e, ERR_USAGE, "%s: --" STR_FMT " needs a value: --" STR_FMT " %s",
                           command, STR_ARG(name), STR_ARG(name), row->shown);
        value = str_of(p->argv[p->at++]);
    }
    return put(p, row, value);
}

/* ---- words ---------------------------------------------------------------------------------- */
static int word(struct parse *p, struct str value) {
    const struct command *c = p->out->command;
    const struct cli_row *row = command_word(c, p->words);
    if (!row)
        return err_set(p->e, ERR_USAGE, "%s: '" STR_FMT "' is one word too many", c->name,
                       STR_ARG(value));
    if (row->many != SOME)
        p->words++;
    return put(p, row, value);
}

static int missing(struct parse *p) {
    const struct command *c = p->out->command;
    const struct cli_row *row;
    for (size_t n = 0; (row = command_word(c, n)); n++)
        if (row->many != MAYBE && !(*has_of(p, row) >> row->pos & 1))
            return err_set(p->e, ERR_USAGE, "%s: %s is missing (%s)", c->name, row->shown,
                           row->doc);
    return 0;
}

/* ---- the whole ------------------------------------------------------------------------------ */
int cli_no_command(struct str name, struct err *e) {
    struct nearest near = nearest_start(name);
    for (size_t i = 0; i < COMMANDS; i++)
        nearest_offer(&near, str_of(commands[i].name));
    for (size_t i = 0; i < FAMILIES; i++)
        nearest_offer(&near, str_of(families[i].name));
    if (near.best.len)
        return err_set(e, ERR_USAGE, "no command '" STR_FMT "'; did you mean '" STR_FMT "'?",
                       STR_ARG(name), STR_ARG(near.best));
    return err_set(e, ERR_USAGE, "no command '" STR_FMT "'; quern help lists them", STR_ARG(name));
}

struct str cli_two_words(struct arena *arena, struct str first, struct str second) {
    size_t len = first.len + 1 + second.len;
    char *at = arena_alloc(arena, len + 1);
    snprintf(at, len + 1, STR_FMT " " STR_FMT, STR_ARG(first), STR_ARG(second));
    return str_make(at, len);
}

static int no_part(struct parse *p, const struct family *f) {
    char parts[256] = "";
    size_t at = 0;
    const struct command *c;
    for (size_t n = 0; (c = family_part(f, n)) && at < sizeof parts; n++) {
        const char *between = !n ? "" : family_part(f, n + 1) ? ", " : " or ";
        at +=
            (size_t)snprintf(parts + at, sizeof parts - at, "%s%s", between, command_word_last(c));
    }
    return err_set(p->e, ERR_USAGE, "%s: what to do is missing: %s", f->name, parts);
}

/* The second word of a command that has two. */
static int part(struct parse *p, struct str *name) {
    bool none = p->at == p->argc || p->argv[p->at][0] == '-';
    if (none && p->out->help) {
        p->out->family = family_named(*name);
        return 0;
    }
    if (none)
        return no_part(p, family_named(*name));
    *name = cli_two_words(p->arena, *name, str_of(p->argv[p->at++]));
    return 0;
}

static int command(struct parse *p) {
    struct str name = str_of(p->argv[p->at++]);
    if (str_starts(name, STR("-")))
        return err_set(p->e, ERR_USAGE, "'" STR_FMT "': the command comes first, then its options",
                       STR_ARG(name));
    if (family_named(name) && part(p, &name) < 0)
        return -1;
    if (p->out->family)
        return 0;
    p->out->command = command_named(name);
    if (!p->out->command)
        return cli_no_command(name, p->e);
    size_t size = p->out->command->args_size;
    p->out->args = memset(arena_alloc(p->arena, size), 0, size);
    return 0;
}

static bool asks_help(int argc, char **argv) {
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

static int argument(struct parse *p) {
    struct str s = str_of(p->argv[p->at++]);
    if (p->words_only || s.len < 2 || s.at[0] != '-')
        return word(p, s);
    if (str_eq(s, STR("--"))) {
        p->words_only = true;
        return 0;
    }
    if (str_starts(s, STR("--")))
        return option(p, s);
    return err_set(p->e, ERR_USAGE, "%s: '" STR_FMT "': options begin with --",
                   p->out->command->name, STR_ARG(s));
}

int cli_parse(int argc, char **argv, struct arena *arena, struct parsed *out, struct err *e) {
    struct parse p = {.argc = argc, .argv = argv, .arena = arena, .out = out, .e = e};
    *out = (struct parsed){0};
    if (argc == 0)
        return err_set(e, ERR_USAGE, "a command is missing; quern help lists them");
    out->help = asks_help(argc - 1, argv + 1);
    if (command(&p) < 0)
        return -1;
    if (out->help)
        return 0;
    while (p.at < p.argc)
        if (argument(&p) < 0)
            return -1;
    return missing(&p);
}
