/* quern keygen, quern keys: who may connect by TCP. */
#include "cli/cli.h"
#include "cli/out.h"
#include "common/base/hex.h"
#include "common/config/settings.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SERVER_FILE "server.key"
#define ENTRY_MAX   16384U

/* ---- where ---------------------------------------------------------------------------------- */
static int make_folder(const char *path, struct err *e) {
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return 0;
    return err_errno(e, "cannot make the folder %s", path);
}

/* The whole path: the broker may start in another folder than this command. */
static int folder_of(const struct cli *c, const struct args_keygen *args, char out[PATH_MAX],
                     struct err *e) {
    char path[PATH_MAX];
    bool given = ARG_HAS(args, keygen, out);
    int n =
        snprintf(path, sizeof path, "%s%s", given ? args->out.at : c->data, given ? "" : "/keys");
    if (n < 0 || (size_t)n >= sizeof path)
        return err_set(e, ERR_USAGE, "keygen: a path of %d bytes, at most %zu", n, sizeof path - 1);
    if ((!given && make_folder(c->data, e) < 0) || make_folder(path, e) < 0)
        return -1;
    return realpath(path, out) ? 0 : err_errno(e, "%s", path);
}

static int join(char out[PATH_MAX], const char *folder, const char *name, const char *end,
                struct err *e) {
    int n = snprintf(out, PATH_MAX, "%s/%s%s", folder, name, end);
    if (n > 0 && n < PATH_MAX)
        return 0;
    return err_set(e, ERR_USAGE, "keygen: a path of %d bytes, at most %d", n, PATH_MAX - 1);
}

/* ---- what the configuration wants ----------------------------------------------------------- */
static void put_entry(struct buf *out, const struct args_keygen *args, const char *public_half) {
    static const char *const roles[] = {"client", "worker", "gateway", "operator"};
    buf_printf(out, "  " STR_FMT ":\n    public: \"%s\"\n", STR_ARG(args->name), public_half);
    if (ARG_HAS(args, keygen, role))
        buf_printf(out, "    role: %s\n", roles[args->role]);
    if (ARG_HAS(args, keygen, tenant))
        buf_printf(out, "    tenant: \"" STR_FMT "\"\n", STR_ARG(args->tenant));
    if (ARG_HAS(args, keygen, kinds))
        buf_printf(out, "    kinds: \"" STR_FMT "\"\n", STR_ARG(args->kinds));
}

/* As the broker will read it. */
static int check_entry(struct str entry, struct err *e) {
    AUTO_BUF yaml = BUF(2 * ENTRY_MAX);
    struct err_list errors = {0};
    struct settings *s;
    buf_put_str(&yaml, STR("keys:\n"));
    buf_put_str(&yaml, entry);
    if (settings_parse(buf_str(&yaml), "keygen", NULL, &s, &errors) < 0) {
        const char *key = strstr(errors.at[0].text, ": ");
        return err_set(e, ERR_USAGE, "keygen: %s", key ? key + 2 : errors.at[0].text);
    }
    settings_destroy(&s);
    return 0;
}

/* ---- making one ----------------------------------------------------------------------------- */
static int find_server(struct key_file *key, const char *folder, struct err *e) {
    char path[PATH_MAX];
    struct key_file server;
    const char *text = getenv(KEY_ENV_SERVER);
    if (join(path, folder, SERVER_FILE, "", e) < 0)
        return -1;
    if (access(path, F_OK) == 0) {
        if (key_file_read(&server, path, e) < 0)
            return -1;
        memcpy(key->server, server.public_half, KEY_BYTES);
        key_file_wipe(&server);
        key->has_server = true;
    } else if (text && *text) {
        if (!hex_read(str_of(text), key->server, KEY_BYTES))
            return err_set(e, ERR_USAGE, "$" KEY_ENV_SERVER ": must be %d digits of 0-9 a-f",
                           KEY_DIGITS);
        key->has_server = true;
    }
    return 0;
}

static int make_peer(struct cli *c, const struct args_keygen *args, const char *folder,
                     struct key_file *key, struct err *e) {
    char path[PATH_MAX], digits[KEY_DIGITS + 1];
    AUTO_BUF entry = BUF(ENTRY_MAX);
    hex_show(key->public_half, KEY_BYTES, digits);
    put_entry(&entry, args, digits);
    if (!ARG_HAS(args, keygen, role))
        return err_set(e, ERR_USAGE, "keygen: --role is missing: what may it connect as?");
    if (check_entry(buf_str(&entry), e) < 0 || find_server(key, folder, e) < 0 ||
        join(path, folder, args->name.at, ".key", e) < 0 ||
        key_file_write(key, path, args->name.at, e) < 0)
        return -1;
    if (c->json) {
        json_auto_t *told = json_pack("{s:s, s:s, s:s, s:b}", "name", args->name.at, "public",
                                      digits, "file", path, "server", key->has_server);
        cli_json(c, told);
        return 0;
    }
    printf(STR_FMT, STR_ARG(buf_str(&entry)));
    cli_say("the secret key is in %s; add the lines above to the section `keys:` of the broker's "
            "configuration and quern reload",
            path);
    if (!key->has_server)
        cli_say("there is no %s/" SERVER_FILE
                ": whoever uses this key must be told the broker's public key by " KEY_ENV_SERVER,
                folder);
    return 0;
}

static int make_server(struct cli *c, const char *folder, const struct key_file *key,
                       struct err *e) {
    char path[PATH_MAX], digits[KEY_DIGITS + 1];
    if (join(path, folder, SERVER_FILE, "", e) < 0 ||
        key_file_write(key, path, "the broker", e) < 0)
        return -1;
    hex_show(key->public_half, KEY_BYTES, digits);
    if (c->json) {
        json_auto_t *told = json_pack("{s:s, s:s}", "public", digits, "file", path);
        cli_json(c, told);
        return 0;
    }
    printf("broker:\n  key_file: \"%s\"\n", path);
    cli_say("the broker's public key, for " KEY_ENV_SERVER ": %s", digits);
    return 0;
}

int run_keygen(struct cli *c, const struct args_keygen *args) {
    char folder[PATH_MAX];
    struct key_file key;
    struct err e = {0};
    bool named = ARG_HAS(args, keygen, name);
    if (named == args->server) {
        err_set(&e, ERR_USAGE, "keygen: give either a NAME or --server");
        return cli_fail(c, &e);
    }
    if (args->server && (ARG_HAS(args, keygen, role) || ARG_HAS(args, keygen, tenant) ||
                         ARG_HAS(args, keygen, kinds))) {
        err_set(&e, ERR_USAGE, "keygen: --role, --tenant and --kinds are of a peer's key");
        return cli_fail(c, &e);
    }
    if (key_file_make(&key, &e) < 0)
        return cli_fail(c, &e);
    int rc = folder_of(c, args, folder, &e);
    if (rc == 0)
        rc = args->server ? make_server(c, folder, &key, &e) : make_peer(c, args, folder, &key, &e);
    key_file_wipe(&key);
    return rc < 0 ? cli_fail(c, &e) : 0;
}

/* ---- listing -------------------------------------------------------------------------------- */
static json_t *row_of(const struct settings_key *k) {
    static const char *const roles[] = {[SETTINGS_KEY_ROLE_NONE] = "none",
                                        [SETTINGS_KEY_ROLE_CLIENT] = "client",
                                        [SETTINGS_KEY_ROLE_WORKER] = "worker",
                                        [SETTINGS_KEY_ROLE_GATEWAY] = "gateway",
                                        [SETTINGS_KEY_ROLE_OPERATOR] = "operator"};
    json_t *kinds = json_array();
    for (size_t i = 0; i < k->kinds.count; i++)
        json_array_append_new(kinds, json_stringn(k->kinds.at[i].at, k->kinds.at[i].len));
    return json_pack("{s:s%, s:s, s:s, s:o, s:s%}", "name", k->name.at, k->name.len, "role",
                     roles[k->role], "tenant", k->tenant.len ? k->tenant.at : "*", "kinds", kinds,
                     "public", k->public.len ? k->public.at : "", k->public.len);
}

static void put_kinds(struct buf *out, const json_t *row, const char *key) {
    if (json_array_size(json_object_get(row, key)))
        put_list(out, row, key);
    else
        buf_put_str(out, str_of(strcmp(json_string_value(json_object_get(row, "role")), "worker")
                                    ? "-"
                                    : "all"));
}

static void put_short(struct buf *out, const json_t *row, const char *key) {
    buf_printf(out, "%.16s", json_string_value(json_object_get(row, key)));
}

int run_keys(struct cli *c, const struct args_keys *args) {
    static const struct table_column columns[] = {{"NAME", false, put_text, "name"},
                                                  {"ROLE", false, put_text, "role"},
                                                  {"TENANT", false, put_text, "tenant"},
                                                  {"KINDS", false, put_kinds, "kinds"},
                                                  {"PUBLIC", false, put_short, "public"}};
    struct err_list errors = {0};
    struct settings *s;
    (void)args;
    if (settings_load(c->config, environ, &s, &errors) < 0) {
        for (size_t i = 1; i < errors.count; i++)
            cli_complain(c, &errors.at[i]);
        return cli_fail(c, &errors.at[0]);
    }
    json_auto_t *rows = json_array();
    for (size_t i = 0; i < s->keys.count; i++)
        json_array_append_new(rows, row_of(&s->keys.at[i]));
    settings_destroy(&s);
    if (c->json)
        cli_json(c, rows);
    else
        TABLE(columns, rows, "no keys are listed", c->colour);
    return 0;
}
