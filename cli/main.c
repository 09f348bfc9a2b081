/* quern: the command line. */
#include "cli/cli.h"
#include "cli/help.h"
#include "cli/out.h"
#include "common/base/check.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define ARENA_MAX (64U << 20)

/* ---- help ----------------------------------------------------------------------------------- */
static int print(void (*write)(struct buf *out)) {
    AUTO_BUF text = BUF(HELP_MAX);
    write(&text);
    fwrite(text.at, 1, text.len, stdout);
    return 0;
}

static void version(struct buf *out) {
    buf_printf(out, "quern %s\n", QUERN_VERSION);
}

static int print_command(const struct command *command) {
    AUTO_BUF text = BUF(HELP_MAX);
    help_command(command, &text);
    fwrite(text.at, 1, text.len, stdout);
    return 0;
}

static int print_family(const struct family *family) {
    AUTO_BUF text = BUF(HELP_MAX);
    help_family(family, &text);
    fwrite(text.at, 1, text.len, stdout);
    return 0;
}

int run_help(struct cli *c, const struct args_help *args) {
    if (args->bash)
        return print(help_bash);
    if (args->markdown)
        return print(help_markdown);
    if (!ARG_HAS(args, help, command))
        return print(help_overview);
    bool two = ARG_HAS(args, help, part);
    struct str name = two ? cli_two_words(c->arena, args->command, args->part) : args->command;
    const struct command *command = command_named(name);
    const struct family *family = family_named(name);
    struct err e;
    if (command || family)
        return command ? print_command(command) : print_family(family);
    cli_no_command(name, &e);
    return cli_fail(c, &e);
}

/* ---- handlers ------------------------------------------------------------------------------- */
#define COMMAND(name, ...)                                                                         \
    static int handle_##name(struct cli *c, const void *args) {                                    \
        return run_##name(c, args);                                                                \
    }
#include "cli/commands.def"

static int (*const handlers[COMMANDS])(struct cli *c, const void *args) = {
#define COMMAND(name, ...) [COMMAND_##name] = handle_##name,
#include "cli/commands.def"
};

/* ---- how it was called ---------------------------------------------------------------------- */
static const char *chosen(bool given, struct str value, const char *variable, const char *usual) {
    const char *env = getenv(variable);
    return given ? value.at : env && *env ? env : usual;
}

static bool wants_colour(int fd) {
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(fd) && !(no && *no) && !(term && strcmp(term, "dumb") == 0);
}

static int set_up(struct cli *c, const struct parsed *p, struct err *e) {
    const struct args_common *common = c->common = &p->common;
    bool data = ARG_HAS(common, common, data), broker = ARG_HAS(common, common, broker);
    if (data && broker)
        return err_set(e, ERR_USAGE, "%s: give --data or --broker, not both", p->command->name);
    c->data = chosen(data, common->data, "QUERN_DATA", CLI_DATA_DEFAULT);
    c->broker = data ? NULL : chosen(broker, common->broker, "QUERN_BROKER", NULL);
    c->config = chosen(ARG_HAS(common, common, config), common->config, "QUERN_CONFIG", NULL);
    c->key.file = chosen(ARG_HAS(common, common, key_file), common->key_file, KEY_ENV_FILE, NULL);
    c->key.server = getenv(KEY_ENV_SERVER);
    char endpoint[LINK_ENDPOINT_MAX];
    bool checks = c->broker && p->command->uses & USES_BROKER; /* the environment may name one */
    return checks ? link_endpoint(endpoint, c->data, c->broker, ROLE_OPERATOR, e) : 0;
}

/* Also of words that cannot be understood otherwise: whoever asks for JSON reads the error as such.
 */
static bool asks_json(int argc, char **argv) {
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0)
            return true;
    return false;
}

/* A descriptor that is closed would be given to a socket, and what is printed would go there. These
 * can be neither written nor read, as it would be with none. */
static void fill_descriptors(void) {
    int fd;
    do
        fd = open("/dev/null", fcntl(0, F_GETFD) < 0 ? O_WRONLY : O_RDONLY);
    while (fd >= 0 && fd <= 2);
    if (fd > 2)
        close(fd);
}

static int done(struct cli *c, int status) {
    cli_end(c, status);
    client_destroy(&c->client);
    if (out_flush())
        return status;
    cli_say("standard output cannot be written");
    return status ? status : 1;
}

static bool is_word(int argc, char **argv, const char *word) {
    return argc == 2 && strcmp(argv[1], word) == 0;
}

int main(int argc, char **argv) {
    fill_descriptors();
    AUTO_ARENA arena = arena_new(ARENA_MAX);
    struct cli c = {.arena = arena,
                    .data = CLI_DATA_DEFAULT,
                    .json = asks_json(argc, argv),
                    .terminal = isatty(1),
                    .colour = wants_colour(1),
                    .terminal_err = isatty(2),
                    .colour_err = wants_colour(2)};
    struct parsed p;
    struct err e = {0};
    if (is_word(argc, argv, "--help") || is_word(argc, argv, "-h"))
        return done(&c, print(help_overview));
    if (is_word(argc, argv, "--version"))
        return done(&c, print(version));
    bool bad = cli_parse(argc - 1, argv + 1, arena, &p, &e) < 0;
    c.command = p.command ? p.command->name : NULL;
    if (bad)
        return done(&c, cli_fail(&c, &e));
    if (p.family)
        return done(&c, print_family(p.family));
    ASSERT(p.command);
    if (!p.help && set_up(&c, &p, &e) < 0)
        return done(&c, cli_fail(&c, &e));
    return done(&c, p.help ? print_command(p.command) : handlers[p.command->id](&c, p.args));
}
