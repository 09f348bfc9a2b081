/* Where the broker is: the text that ZeroMQ wants. */
#include "common/wire/link.h"

#include <stdio.h>

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
                           "broker: \"%s\": must be tcp://HOST:PORT, ipc://PATH or a folder",
                           broker);
    const char *folder = given.len ? broker : data;
    if (!folder || !*folder)
        return err_set(e, ERR_USAGE, "broker: neither an endpoint nor a data folder is given");
    int n = snprintf(out, LINK_ENDPOINT_MAX, "ipc://%s/run/%s.sock", folder, role_sockets[role]);
    if (n < 0 || n >= LINK_ENDPOINT_MAX)
        return err_set(e, ERR_USAGE, "data folder: %zu bytes, at most %d", strlen(folder),
                       LINK_ENDPOINT_MAX - 32);
    return 0;
}
