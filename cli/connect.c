/* The way to the broker, and what it is asked. */
#include "cli/cli.h"
#include "cli/out.h"
#include "cli/tree.h"
#include "common/os/clock.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- connecting ----------------------------------------------------------------------------- */
struct mono cli_deadline(uint64_t ms) {
    return mono_add(clock_mono(), ms);
}

/* Whether somebody listens at DATA/run/operator.sock. The folder's own path may be longer than the
 * address of a socket can be. */
static bool is_listening(const char *data) {
    char folder[LINK_ENDPOINT_MAX];
    snprintf(folder, sizeof folder, "%s/run", data);
    int dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return false;
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "/proc/self/fd/%d/operator.sock", dir);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool yes = fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0;
    if (fd >= 0)
        close(fd);
    close(dir);
    return yes;
}

static void on_finished(void *ctx, const struct client_finished *f) {
    const struct cli *c = ctx;
    if (c->on_finished)
        c->on_finished(c->watching, f);
}

static void on_flow(void *ctx, const struct client_flow *f) {
    const struct cli *c = ctx;
    if (c->on_flow)
        c->on_flow(c->watching, f);
}

void cli_tell_link(struct cli *c) {
    bool lost = !client_is_up(c->client);
    if (lost == c->lost)
        return;
    fflush(stdout);
    cli_say(lost ? "the broker is gone; waiting for it to be back" : "the broker is back");
    c->lost = lost;
}

static int connect_as(struct cli *c, enum role role, struct err *e) {
    char endpoint[LINK_ENDPOINT_MAX];
    c->role = role;
    if (link_endpoint(endpoint, c->data, c->broker, role, e) < 0)
        return -1;
    struct key_file key;
    int found = key_for(&key, endpoint, &c->key, e);
    if (found < 0)
        return -1;
    struct client_config config = {.role = role,
                                   .endpoint = endpoint,
                                   .key = found ? &key : NULL,
                                   .name = "quern",
                                   .clock = clock_mono,
                                   .ctx = c,
                                   .on_finished = on_finished,
                                   .on_flow = on_flow};
    random_bytes(config.instance, sizeof config.instance);
    client_destroy(&c->client);
    int rc = client_new(&c->client, &config, e);
    key_file_wipe(&key);
    if (rc < 0)
        return -1;
    return client_connect(c->client, cli_deadline(CLI_CONNECT_MS), e);
}

int cli_connect(struct cli *c, struct err *e) {
    if (c->client)
        return 0;
    if (!c->broker && !is_listening(c->data) && !tree_pid(c->data))
        return err_set(e, ERR_UNREACHABLE_BROKER, "no broker runs in %s", c->data);
    if (connect_as(c, ROLE_OPERATOR, e) == 0)
        return 0;
    if (e->code != ERR_BAD_ROLE || !c->broker)
        return -1;
    if (connect_as(c, ROLE_CLIENT, e) == 0)
        return 0;
    if (e->code == ERR_BAD_ROLE) {
        c->role = ROLE_OPERATOR;
        if (c->key.file)
            return -1; /* the broker says whose key it is */
        err_set(e, ERR_BAD_ROLE, "%s is for neither operators nor clients", c->broker);
    }
    return -1;
}

/* ---- asking --------------------------------------------------------------------------------- */
struct asking {
    json_t *items;
    bool payloads;
    struct err err;
};

static int add_payload(json_t *item, const char *size_key, const char *key, struct str value,
                       struct err *e) {
    json_t *json = value.len ? json_bridge_of_value(value, e) : json_object();
    json_object_del(item, size_key);
    return json && json_object_set_new(item, key, json) == 0 ? 0 : -1;
}

static json_t *item_of(struct asking *a, const struct client_reply *r) {
    const struct msg_def *def = msg_def(verb_def(r->verb)->message);
    json_t *item = json_bridge_of_message(def, r->message, &a->err);
    if (!item || !a->payloads)
        return item;
    bool bad =
        add_payload(item, "size", "payload", r->payload, &a->err) < 0 ||
        (r->result.len && add_payload(item, "result_size", "result", r->result, &a->err) < 0);
    if (bad) {
        json_decref(item);
        return NULL;
    }
    return item;
}

static void on_item(void *ctx, const struct client_reply *r) {
    struct asking *a = ctx;
    if (!r->message || a->err.code)
        return;
    json_t *item = item_of(a, r);
    if (item && json_array_append_new(a->items, item) < 0)
        err_set(&a->err, ERR_NO_MEMORY, "the answer is too large");
}

void cli_item_error(const json_t *item, struct err *e) {
    const char *code = out_text(item, "code");
    if (!code[0] || strcmp(code, "OK") == 0)
        return;
    enum err_code known;
    if (!err_code_from_name(str_of(code), &known))
        known = ERR_INTERNAL;
    const char *text = out_text(item, "text");
    err_set(e, known, "%s", text[0] ? text : err_code_text(known));
}

int cli_ask(struct cli *c, enum verb verb, const void *message, bool payloads, json_t **items,
            struct err *e) {
    struct asking a = {.items = json_array(), .payloads = payloads};
    struct client_item item = {.message = message};
    *items = NULL;
    struct mono until = cli_deadline(c->answer_ms ? c->answer_ms : CLI_ANSWER_MS);
    int rc = client_call(c->client, verb, &item, 1, on_item, &a, until, e);
    if (rc == 0 && a.err.code) {
        *e = a.err;
        rc = -1;
    }
    for (size_t i = 0; rc == 0 && i < json_array_size(a.items); i++) {
        struct err found = {0};
        cli_item_error(json_array_get(a.items, i), &found);
        if (!found.code)
            continue;
        *e = found;
        rc = -1;
    }
    if (rc < 0)
        json_decref(a.items);
    else
        *items = a.items;
    return rc;
}

int cli_change(struct cli *c, enum verb verb, const struct client_item *items, size_t n,
               json_t **told, struct err *e) {
    struct asking a = {.items = json_array()};
    struct err first = {0};
    int rc = client_call(c->client, verb, items, n, on_item, &a, cli_deadline(CLI_LONG_MS), &first);
    if (rc == 0 && a.err.code)
        first = a.err;
    for (size_t i = 0; i < json_array_size(a.items) && !first.code; i++)
        cli_item_error(json_array_get(a.items, i), &first);
    if (told)
        *told = a.items;
    else
        json_decref(a.items);
    *e = first;
    return first.code ? -1 : 0;
}
