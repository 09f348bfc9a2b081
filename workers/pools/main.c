/* quern-pools: starts, restarts, scales and ends the worker processes of this host. */
#include "common/log/log.h"
#include "workers/pools/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXIT_FAILED 1
#define EXIT_USAGE  2

static const char help[] =
    "usage: quern-pools [--data DIR | --broker ENDPOINT --workers ENDPOINT] [--config FILE]\n"
    "\n"
    "Keeps the worker processes of this host as the configuration's pools and the broker say.\n"
    "The first SIGTERM or SIGINT lets them finish what they run, for pools.stop_grace; a second\n"
    "one ends them at once. SIGHUP reads FILE again.\n"
    "\n"
    "  --data DIR          the broker's data folder ($QUERN_DATA, else .quern)\n"
    "  --broker ENDPOINT   the broker's operator endpoint: tcp://HOST:PORT or ipc://PATH\n"
    "  --workers ENDPOINT  the one that workers are given, with --broker\n"
    "  --key-file FILE     its own key, an operator's, for tcp ($QUERN_KEY_FILE)\n"
    "  --worker-key-file FILE\n"
    "                      the key that workers are given ($QUERN_WORKER_KEY_FILE); the broker's\n"
    "                      public key stands in both files, or in $QUERN_SERVER_KEY\n"
    "  --config FILE       settings in YAML ($QUERN_CONFIG, else only defaults)\n"
    "  --help              print this\n"
    "  --version           print the version\n"
    "\n"
    "Exit status: 0 stopped by a signal, 1 it could not go on, 2 wrong usage or settings.\n";

static int usage(const char *what) {
    fprintf(stderr, "quern-pools: %s; --help says more\n", what);
    return EXIT_USAGE;
}

/* -1: go on; else the status to exit with. */
static int read_arguments(struct supervisor_options *o, int argc, char **argv) {
    static const struct option options[] = {{"data", required_argument, NULL, 'd'},
                                            {"broker", required_argument, NULL, 'b'},
                                            {"workers", required_argument, NULL, 'w'},
                                            {"key-file", required_argument, NULL, 'k'},
                                            {"worker-key-file", required_argument, NULL, 'W'},
                                            {"config", required_argument, NULL, 'c'},
                                            {"help", no_argument, NULL, 'h'},
                                            {"version", no_argument, NULL, 'v'},
                                            {NULL, 0, NULL, 0}};
    int letter;
    while ((letter = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        switch (letter) {
        case 'd':
            o->data = optarg;
            break;
        case 'b':
            o->broker = optarg;
            break;
        case 'w':
            o->workers = optarg;
            break;
        case 'k':
            o->key.file = optarg;
            break;
        case 'W':
            o->worker_key = optarg;
            break;
        case 'c':
            o->config = optarg;
            break;
        case 'h':
            fputs(help, stdout);
            return 0;
        case 'v':
            puts("quern-pools " QUERN_VERSION);
            return 0;
        default: /* getopt has said what */
            return EXIT_USAGE;
        }
    }
    if (optind < argc)
        return usage("it takes no words");
    if (o->data && o->broker)
        return usage("give --data or --broker, not both");
    if ((o->broker != NULL) != (o->workers != NULL))
        return usage("--broker and --workers go together: each role has its own endpoint");
    return -1;
}

static const char *variable(const char *name) {
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/* Workers may start in another folder: what they are told must not depend on ours. */
static int make_absolute(const char **path, char room[PATH_MAX], struct err *e) {
    if (!*path)
        return 0;
    if (!realpath(*path, room))
        return err_errno(e, "%s", *path);
    *path = room;
    return 0;
}

static int load(struct supervisor_options *o) {
    struct err_list errors = {0};
    if (handed_load(o->handed, o->config, environ, &o->settings, &errors) == 0)
        return 0;
    for (size_t i = 0; i < errors.count; i++)
        log_refuse("quern-pools", LOG_config_refused, &errors.at[i]);
    return -1;
}

/* One supervisor a data folder: two would start twice as many processes as the broker wants. The
 * lock ends with the process that holds it. */
static int take_lock(const char *data, struct err *e) {
    char path[PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/run", data);
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return err_errno(e, "cannot make the folder %s", path);
    snprintf(path, sizeof path, "%s/run/pools.lock", data);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(e, "cannot open %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno != EWOULDBLOCK)
        return err_errno(e, "cannot lock %s", path);
    return err_set(e, ERR_LOCKED, "another quern-pools runs for %s", data);
}

/* Far from the broker there is no data folder: then in one that is removed at the end. */
static int hand_down(const struct supervisor_options *o, char folder[PATH_MAX], struct err *e) {
    char path[PATH_MAX + 32];
    if (o->data) {
        snprintf(path, sizeof path, "%s/run/pools.yaml", o->data);
        return handed_open(o->handed, path, e);
    }
    const char *usual = variable("TMPDIR") ? variable("TMPDIR") : "/tmp";
    if (snprintf(folder, PATH_MAX, "%s/quern-pools-XXXXXX", usual) >= PATH_MAX)
        folder[0] = 0;
    if (!mkdtemp(folder))
        return err_errno(e, "cannot make a folder in %s", usual);
    snprintf(path, sizeof path, "%s/pools.yaml", folder);
    return handed_open(o->handed, path, e);
}

/* Rather now than as the end of every process. */
static int check_worker_key(const struct supervisor_options *o, struct err *e) {
    struct key_file key;
    const struct key_places at = {o->worker_key, o->key.server};
    if (!o->workers)
        return 0;
    int found = key_for(&key, o->workers, &at, e);
    key_file_wipe(&key);
    return found < 0 ? err_add(e, "the workers' key (--worker-key-file)") : 0;
}

static int prepare(struct supervisor_options *o, char rooms[3][PATH_MAX], struct err *e) {
    umask(077);
    if (o->data && mkdir(o->data, 0700) < 0 && errno != EEXIST)
        return err_errno(e, "cannot make the folder %s", o->data);
    if (make_absolute(&o->data, rooms[0], e) < 0 || make_absolute(&o->config, rooms[1], e) < 0 ||
        make_absolute(&o->worker_key, rooms[2], e) < 0 || check_worker_key(o, e) < 0)
        return -1;
    return o->data ? take_lock(o->data, e) : 0;
}

static int run(struct supervisor_options *o, struct err *e) {
    static char rooms[3][PATH_MAX], folder[PATH_MAX];
    if (prepare(o, rooms, e) < 0)
        return -1;
    int rc = !o->config ? 0 : hand_down(o, folder, e);
    if (rc == 0 && o->handed->stands_in)
        log_event(LOG_config_stands_in, log_text("file", handed_path(o->handed)));
    if (rc == 0)
        rc = supervisor_run(o, e);
    handed_remove(o->handed);
    if (folder[0])
        rmdir(folder);
    return rc;
}

int main(int argc, char **argv) {
    struct handed handed = {0};
    struct supervisor_options o = {.config = variable("QUERN_CONFIG"),
                                   .key = {variable(KEY_ENV_FILE), variable(KEY_ENV_SERVER)},
                                   .worker_key = variable("QUERN_WORKER_KEY_FILE"),
                                   .handed = &handed};
    int status = read_arguments(&o, argc, argv);
    if (status >= 0)
        return status;
    if (!o.data && !o.broker)
        o.data = variable("QUERN_DATA") ? variable("QUERN_DATA") : ".quern";
    log_open("quern-pools", STDERR_FILENO);
    unsetenv("TRACEPARENT"); /* whose it was, is not what the jobs of its workers are about */
    unsetenv("TRACESTATE");
    if (load(&o) < 0)
        return EXIT_USAGE;
    supervisor_set_log(o.settings);
    struct err e = {0};
    if (run(&o, &e) == 0)
        status = 0;
    else
        status = e.code == ERR_BAD_CONFIG || e.code == ERR_USAGE ? EXIT_USAGE : EXIT_FAILED;
    if (e.code)
        log_refuse("quern-pools", LOG_program_failed, &e);
    settings_destroy(&o.settings);
    handed_done(&handed);
    return status;
}
