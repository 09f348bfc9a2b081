/* quern-broker: accepts jobs, keeps them, gives them to workers. */
#include "broker/configure.h"
#include "broker/dispatcher.h"
#include "common/base/str.h"
#include "common/log/log.h"

#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXIT_FAILED 1
#define EXIT_USAGE  2

static const char help[] =
    "usage: quern-broker [--data DIR] [--config FILE] [--ready-fd N]\n"
    "\n"
    "Keeps the jobs of DIR and gives them to workers, in the foreground, until SIGTERM or SIGINT.\n"
    "SIGHUP reads FILE again.\n"
    "\n"
    "  --data DIR      where everything is kept; made if missing ($QUERN_DATA, else .quern)\n"
    "  --config FILE   settings in YAML ($QUERN_CONFIG, else only defaults and the environment)\n"
    "  --ready-fd N    write one byte to descriptor N when it serves\n"
    "  --help          print this\n"
    "  --version       print the version\n"
    "\n"
    "Exit status: 0 stopped by a signal, 1 it could not go on, 2 wrong usage or settings.\n";

struct arguments {
    const char *data, *config;
    int ready_fd;
    int status; /* to exit with, or -1: go on */
};

static int usage(const char *what, const char *value) {
    fprintf(stderr, "quern-broker: %s%s; --help says more\n", what, value);
    return EXIT_USAGE;
}

static int read_fd(const char *text, int *fd) {
    uint64_t n;
    if (!str_to_u64(str_of(text), 1 << 20, &n))
        return usage("--ready-fd wants the number of a descriptor, not ", text);
    *fd = (int)n;
    return -1;
}

static struct arguments read_arguments(int argc, char **argv) {
    static const struct option options[] = {
        {"data", required_argument, NULL, 'd'},     {"config", required_argument, NULL, 'c'},
        {"ready-fd", required_argument, NULL, 'r'}, {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},        {NULL, 0, NULL, 0}};
    struct arguments a = {getenv("QUERN_DATA"), getenv("QUERN_CONFIG"), -1, -1};
    int letter;
    while (a.status < 0 && (letter = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        switch (letter) {
        case 'd':
            a.data = optarg;
            break;
        case 'c':
            a.config = optarg;
            break;
        case 'r':
            a.status = read_fd(optarg, &a.ready_fd);
            break;
        case 'h':
            fputs(help, stdout);
            a.status = 0;
            break;
        case 'v':
            puts("quern-broker " QUERN_VERSION);
            a.status = 0;
            break;
        default: /* getopt has said what */
            a.status = EXIT_USAGE;
        }
    }
    if (a.status < 0 && optind < argc)
        a.status = usage("does not know what to do with ", argv[optind]);
    if (!a.data || !*a.data)
        a.data = ".quern";
    if (a.config && !*a.config)
        a.config = NULL;
    return a;
}

static int load_settings(const char *path, struct settings **out) {
    struct err_list errors = {0};
    if (settings_load(path, environ, out, &errors) == 0)
        return 0;
    for (size_t i = 0; i < errors.count; i++)
        log_refuse("quern-broker", LOG_config_refused, &errors.at[i]);
    if (errors.dropped) {
        struct err more = {0};
        err_set(&more, ERR_BAD_CONFIG, "and %zu more", errors.dropped);
        log_refuse("quern-broker", LOG_config_refused, &more);
    }
    return -1;
}

/* The broker works inside its data folder: a relative path would lead elsewhere at a reload. */
static const char *absolute(const char *path) {
    static char whole[PATH_MAX];
    return path && realpath(path, whole) ? whole : path;
}

int main(int argc, char **argv) {
    struct arguments a = read_arguments(argc, argv);
    a.config = absolute(a.config);
    if (a.status >= 0)
        return a.status;
    umask(077);
    log_open("quern-broker", STDERR_FILENO);
    struct settings *settings;
    if (load_settings(a.config, &settings) < 0)
        return EXIT_USAGE;
    configure_log(settings);
    struct dispatcher_options options = {.data = a.data,
                                         .config = a.config,
                                         .version = QUERN_VERSION,
                                         .settings = &settings,
                                         .ready_fd = a.ready_fd};
    struct err e = {0};
    if (dispatcher_run(&options, &e) == 0)
        return 0;
    log_refuse("quern-broker", LOG_program_failed, &e);
    return e.code == ERR_BAD_CONFIG ? EXIT_USAGE : EXIT_FAILED;
}
