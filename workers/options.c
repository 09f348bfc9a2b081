#include "workers/options.h"

#include "common/base/hex.h"
#include "common/base/id.h"
#include "common/base/worker_env.h"
#include "common/os/clock.h"
#include "workers/harness/agent.h"

#include <getopt.h>

#define ARENA_BYTES (64U << 10)

static const char help[] =
    "usage: quern-worker [--data DIR | --broker ENDPOINT [--key-file FILE]] [--config FILE]\n"
    "                    [--pool NAME] [--kinds A,B] [--slots N] [--prefetch N]\n"
    "\n"
    "Runs jobs in N slots, in the foreground. The first SIGTERM or SIGINT lets it finish what "
    "runs,\n"
    "a second one stops it at once.\n"
    "\n"
    "  --data DIR          the broker's data folder ($QUERN_DATA, else .quern)\n"
    "  --broker ENDPOINT   tcp://HOST:PORT, ipc://PATH, or the path of a socket or a data folder\n"
    "                      that is there ($QUERN_BROKER)\n"
    "  --key-file FILE     its key, for tcp ($QUERN_KEY_FILE); the broker's public key stands "
    "there\n"
    "                      too, or in $QUERN_SERVER_KEY\n"
    "  --config FILE       settings in YAML ($QUERN_CONFIG); those of its pool count\n"
    "  --pool NAME         the pool it belongs to ($QUERN_WORKER_POOL); the broker drains what is\n"
    "                      beyond the processes of a pool. Without one it stays, with the "
    "settings\n"
    "                      of pool default\n"
    "  --kinds A,B         the kinds it runs ($QUERN_WORKER_KINDS, else all)\n"
    "  --slots N           jobs at a time ($QUERN_WORKER_SLOTS)\n"
    "  --prefetch N        jobs it takes beyond that ($QUERN_WORKER_PREFETCH)\n"
    "  --help              print this\n"
    "  --version           print the version\n"
    "\n"
    "Exit status: 0 drained, 1 stopped at once, 2 wrong usage or settings, 3 refused by the "
    "broker,\n"
    "75 to be started again (memory, age or number of jobs), 76 left without hearing the broker,\n"
    "77 over its memory ceiling at rest.\n";

const char *worker_options_help(void) {
    return help;
}

static const char *env(char *const *envp, const char *name) {
    size_t len = strlen(name);
    for (; envp && *envp; envp++)
        if (strncmp(*envp, name, len) == 0 && (*envp)[len] == '=')
            return (*envp)[len + 1] ? *envp + len + 1 : NULL;
    return NULL;
}

struct worker_given worker_given_by(char *const *envp) {
    return (struct worker_given){.key = {env(envp, KEY_ENV_FILE), env(envp, KEY_ENV_SERVER)},
                                 .data = env(envp, "QUERN_DATA"),
                                 .broker = env(envp, "QUERN_BROKER"),
                                 .config = env(envp, "QUERN_CONFIG"),
                                 .pool = env(envp, WORKER_ENV_POOL),
                                 .kinds = env(envp, WORKER_ENV_KINDS),
                                 .slots = env(envp, WORKER_ENV_SLOTS),
                                 .prefetch = env(envp, WORKER_ENV_PREFETCH),
                                 .memory_max = env(envp, WORKER_ENV_MEMORY_MAX),
                                 .instance = env(envp, WORKER_ENV_INSTANCE)};
}

static int take_option(struct worker_options *o, struct worker_given *g, int letter,
                       const char *value) {
    const char **to[] = {
        ['b'] = &g->broker, ['c'] = &g->config, ['k'] = &g->kinds,   ['f'] = &g->key.file,
        ['n'] = &g->slots,  ['p'] = &g->pool,   ['q'] = &g->prefetch};
    switch (letter) {
    case 'd':
        g->data = value;
        g->broker = NULL; /* the command line is stronger than $QUERN_BROKER */
        return 0;
    case 'h':
        o->help = true;
        return 0;
    case 'v':
        o->version = true;
        return 0;
    case 'b':
    case 'c':
    case 'f':
    case 'k':
    case 'n':
    case 'p':
    case 'q':
        *to[letter] = value;
        return 0;
    default:
        return -1;
    }
}

static int from_command_line(struct worker_options *o, struct worker_given *g, int argc,
                             char *const *argv, struct err *e) {
    static const struct option options[] = {{"data", required_argument, NULL, 'd'},
                                            {"broker", required_argument, NULL, 'b'},
                                            {"config", required_argument, NULL, 'c'},
                                            {"pool", required_argument, NULL, 'p'},
                                            {"key-file", required_argument, NULL, 'f'},
                                            {"kinds", required_argument, NULL, 'k'},
                                            {"slots", required_argument, NULL, 'n'},
                                            {"prefetch", required_argument, NULL, 'q'},
                                            {"help", no_argument, NULL, 'h'},
                                            {"version", no_argument, NULL, 'v'},
                                            {NULL, 0, NULL, 0}};
    int letter;
    opterr = 0;
    optind = 1;
    while ((letter = getopt_long(argc, argv, ":", options, NULL)) >= 0) {
        if (letter == ':')
            return err_set(e, ERR_USAGE, "%s wants a value", argv[optind - 1]);
        if (take_option(o, g, letter, optarg) < 0)
            return err_set(e, ERR_USAGE, "no option %s", argv[optind - 1]);
    }
    if (optind < argc)
        return err_set(e, ERR_USAGE, "nothing is expected behind the options, not %s",
                       argv[optind]);
    return 0;
}

static int take_count(const char *text, const char *what, uint64_t least, uint64_t most,
                      uint64_t *to, struct err *e) {
    if (!text)
        return 0;
    if (!str_to_u64(str_of(text), most, to) || *to < least)
        return err_set(e, ERR_USAGE, "%s: \"%s\", must be %llu to %llu", what, text,
                       (unsigned long long)least, (unsigned long long)most);
    return 0;
}

static int take_instance(struct worker_options *o, const char *text, struct err *e) {
    if (!text) {
        random_bytes(o->instance, sizeof o->instance);
        return 0;
    }
    if (hex_read(str_of(text), o->instance, sizeof o->instance))
        return 0;
    return err_set(e, ERR_USAGE, "%s: must be %zu hex digits", WORKER_ENV_INSTANCE,
                   2 * sizeof o->instance);
}

/* "a,b,c" of what the settings list. */
static struct str join(struct arena *arena, struct settings_names names) {
    size_t len = 0;
    for (size_t i = 0; i < names.count; i++)
        len += names.at[i].len + 1;
    char *to = arena_alloc(arena, len + 1);
    size_t at = 0;
    for (size_t i = 0; i < names.count; i++) {
        memcpy(to + at, names.at[i].at, names.at[i].len);
        at += names.at[i].len;
        to[at++] = ',';
    }
    return (struct str){to, at ? at - 1 : 0};
}

static int from_settings(struct worker_options *o, const struct worker_given *g, char *const *envp,
                         struct err *e) {
    struct err_list errors = {0};
    if (settings_load(g->config, envp, &o->settings, &errors) < 0) {
        if (e)
            *e = errors.at[0];
        return errors.count > 1 ? err_add(e, "the first of %zu", errors.count + errors.dropped)
                                : -1;
    }
    const struct settings_pool *pool =
        settings_find_pool(o->settings, g->pool ? o->pool : STR("default"));
    /* A supervisor keeps pools that a reload took out of the file until it is started anew. */
    if (!pool && g->pool && g->config && !g->instance)
        return err_set(e, ERR_USAGE, "the settings have no pool %s", g->pool);
    if (!pool)
        pool = &o->settings->pools.usual;
    o->kinds = join(o->arena, pool->kinds);
    o->slots = pool->slots;
    o->prefetch = pool->prefetch;
    o->memory_max = pool->memory_max;
    o->recycle_jobs = pool->recycle_jobs;
    o->recycle_age_ms = pool->recycle_age_ms;
    o->log_level = (enum log_level)o->settings->log.level;
    o->log_format = (enum log_format)o->settings->log.format;
    return 0;
}

int worker_options_resolve(struct worker_options *o, const struct worker_given *g,
                           char *const *envp, struct err *e) {
    *o = (struct worker_options){.arena = arena_new(ARENA_BYTES), .pool = str_of(g->pool)};
    if (g->pool && !str_is_name(o->pool, NAME_MAX_LEN))
        return err_set(e, ERR_USAGE, "pool: \"%s\" is not a name", g->pool);
    if (from_settings(o, g, envp, e) < 0)
        return -1;
    if (g->kinds)
        o->kinds = str_of(g->kinds);
    if (take_count(g->slots, "slots", 1, AGENT_SLOTS_MAX, &o->slots, e) < 0 ||
        take_count(g->prefetch, "prefetch", 0, AGENT_PREFETCH_MAX, &o->prefetch, e) < 0 ||
        take_count(g->memory_max, WORKER_ENV_MEMORY_MAX, 0, UINT64_MAX, &o->memory_max, e) < 0 ||
        take_instance(o, g->instance, e) < 0)
        return -1;
    if (link_endpoint(o->endpoint, g->data ? g->data : ".quern", g->broker, ROLE_WORKER, e) < 0)
        return -1;
    int found = key_for(&o->key, o->endpoint, &g->key, e);
    o->has_key = found > 0;
    return found < 0 ? -1 : 0;
}

int worker_options_read(struct worker_options *o, int argc, char *const *argv, char *const *envp,
                        struct err *e) {
    *o = (struct worker_options){0};
    struct worker_given g = worker_given_by(envp);
    if (from_command_line(o, &g, argc, argv, e) < 0)
        return -1;
    return o->help || o->version ? 0 : worker_options_resolve(o, &g, envp, e);
}

void worker_options_release(struct worker_options *o) {
    key_file_wipe(&o->key);
    settings_destroy(&o->settings);
    arena_destroy(&o->arena);
}
