/* Where the broker is: the text that ZeroMQ wants. */
#include "common/wire/link.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#define LINK_FILE_MAX 107 /* of a name: more than a path of the kernel has is of no use */

static const char *const role_sockets[] = {
    [ROLE_CLIENT] = "client",
    [ROLE_WORKER] = "worker",
    [ROLE_GATEWAY] = "gateway",
    [ROLE_OPERATOR] = "operator",
};

static int copy(char out[LINK_ENDPOINT_MAX], struct str text, struct err *e) {
    if (text.len >= LINK_ENDPOINT_MAX)
        return err_set(e, ERR_USAGE, "broker: %zu bytes, at most %d", text.len,
                       LINK_ENDPOINT_MAX - 1);
    memcpy(out, text.at, text.len);
    out[text.len] = 0;
    return 0;
}

static int check_tcp(struct str rest, const char *whole, struct err *e) {
    size_t colon = rest.at ? rest.len : 0;
    while (colon && rest.at[colon - 1] != ':')
        colon--;
    uint64_t port;
    if (colon < 2 || !str_to_u64(str_make(rest.at + colon, rest.len - colon), 65535, &port) ||
        port == 0)
        return err_set(e, ERR_USAGE, "broker: \"%s\": must be tcp://HOST:PORT", whole);
    return 0;
}

static int beside_role(char out[LINK_ENDPOINT_MAX], const char *folder, enum role role,
                       struct err *e) {
    int n = snprintf(out, LINK_ENDPOINT_MAX, "ipc://%s/run/%s.sock", folder, role_sockets[role]);
    if (n < 0 || n >= LINK_ENDPOINT_MAX)
        return err_set(e, ERR_USAGE, "data folder: %zu bytes, at most %d", strlen(folder),
                       LINK_ENDPOINT_MAX - 32);
    return 0;
}

/* A path must be there: else a misspelt address would be waited for as a folder nobody serves. */
static int from_path(char out[LINK_ENDPOINT_MAX], const char *path, enum role role, struct err *e) {
    static const char forms[] =
        "write tcp://HOST:PORT, ipc://PATH, or the path of a data folder or "
        "of a socket that is there";
    struct stat at;
    if (stat(path, &at) < 0)
        return err_set(e, ERR_USAGE, "broker: \"%s\" is no address and no path that is there; %s",
                       path, forms);
    if (S_ISDIR(at.st_mode))
        return beside_role(out, path, role, e);
    if (!S_ISSOCK(at.st_mode))
        return err_set(e, ERR_USAGE, "broker: \"%s\" is neither a folder nor a socket; %s", path,
                       forms);
    int n = snprintf(out, LINK_ENDPOINT_MAX, "ipc://%s", path);
    if (n < 0 || n >= LINK_ENDPOINT_MAX)
        return err_set(e, ERR_USAGE, "broker: %zu bytes, at most %d", strlen(path),
                       LINK_ENDPOINT_MAX - 7);
    return 0;
}

int link_endpoint(char out[LINK_ENDPOINT_MAX], const char *data, const char *broker, enum role role,
                  struct err *e) {
    struct str given = str_of(broker);
    if (str_starts(given, STR("ipc://")) && given.len > 6)
        return copy(out, given, e);
    if (str_starts(given, STR("tcp://"))) {
        struct str rest = str_make(given.at + 6, given.len - 6);
        return check_tcp(rest, broker, e) < 0 ? -1 : copy(out, given, e);
    }
    for (size_t i = 0; i + 3 <= given.len; i++)
        if (memcmp(given.at + i, "://", 3) == 0)
            return err_set(e, ERR_USAGE,
                           "broker: \"%s\": must be tcp://HOST:PORT, ipc://PATH, or the path of a "
                           "data folder or of a socket",
                           broker);
    if (given.len)
        return from_path(out, broker, role, e);
    if (!data || !*data)
        return err_set(e, ERR_USAGE, "broker: neither an endpoint nor a data folder is given");
    return beside_role(out, data, role, e);
}

/* Nothing but the broker's own word: a name that leads elsewhere is not believed. */
static int check_beside(const char *endpoint, bool is_file, struct str file, struct err *e) {
    if (is_file && !str_is_name(file, LINK_FILE_MAX))
        return err_set(e, ERR_BAD_VALUE, "stream socket \"" STR_FMT "\": must be a file beside %s",
                       STR_ARG(file), endpoint);
    return 0;
}

int link_beside(char out[LINK_ENDPOINT_MAX], const char *endpoint, struct str file, uint64_t port,
                struct err *e) {
    bool is_file = str_starts(str_of(endpoint), STR("ipc://"));
    if (is_file ? !file.len : !port)
        return 0;
    if (check_beside(endpoint, is_file, file, e) < 0)
        return -1;
    const char *last = strrchr(endpoint, is_file ? '/' : ':'); /* "ipc://" has some */
    int cut = (int)(last + 1 - endpoint);
    int n = is_file ? snprintf(out, LINK_ENDPOINT_MAX, "%.*s" STR_FMT, cut, endpoint, STR_ARG(file))
                    : snprintf(out, LINK_ENDPOINT_MAX, "%.*s%" PRIu64, cut, endpoint, port);
    if (n < 0 || n >= LINK_ENDPOINT_MAX)
        return err_set(e, ERR_BAD_VALUE,
                       "stream socket beside %s: endpoint of %d bytes, at most %d", endpoint, n,
                       LINK_ENDPOINT_MAX - 1);
    return 1;
}
