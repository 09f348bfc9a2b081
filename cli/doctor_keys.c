/* quern doctor: keys, and whether anybody could do without one. Never shows what is secret. */
#include "cli/doctor.h"
#include "common/base/hex.h"

static void look_at_server(struct doctor *d, const struct settings *s) {
    struct key_file key;
    struct err e = {0};
    if (key_file_read(&key, s->broker.key_file.at, &e) < 0) {
        finding(d, VERDICT_BAD, "keys", "the broker does not start so; quern keygen --server",
                "broker.key_file: %s", e.text);
        return;
    }
    key_file_wipe(&key);
    if (s->keys.count)
        finding(d, VERDICT_OK, "keys", "", "broker.key_file is good, and %zu keys are listed",
                s->keys.count);
    else
        finding(d, VERDICT_WARN, "keys", "quern keygen NAME --role ROLE makes one",
                "broker.key_file is good, but no keys are listed: nobody can connect by TCP");
}

static void look_at_open(struct doctor *d, const struct settings *s) {
    const struct str at[] = {s->broker.tcp_client,   s->broker.tcp_worker,  s->broker.tcp_gateway,
                             s->broker.tcp_operator, s->streams.tcp_worker, s->streams.tcp_reader};
    size_t far = 0, near = 0;
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        far += at[i].len && key_is_needed(at[i].at);
        near += at[i].len && !key_is_needed(at[i].at);
    }
    if (far)
        finding(d, VERDICT_OK, "keys", "",
                "%zu endpoints can be reached from other hosts, and ask for a key", far);
    if (near && !s->broker.key_file.len)
        finding(d, VERDICT_WARN, "keys", "set broker.key_file if others work on this host",
                "%zu TCP endpoints are open without a key to every user of this host", near);
    if (s->keys.count && !s->broker.key_file.len)
        finding(d, VERDICT_WARN, "keys", "set broker.key_file (quern keygen --server)",
                "%zu keys are listed, but nobody is asked for one", s->keys.count);
}

static const struct settings_key *listed(const struct settings *s, const struct key_file *key) {
    char digits[KEY_DIGITS + 1];
    hex_show(key->public_half, KEY_BYTES, digits);
    for (size_t i = 0; i < s->keys.count; i++)
        if (str_eq(s->keys.at[i].public, str_of(digits)))
            return &s->keys.at[i];
    return NULL;
}

/* Of whoever looks. */
static void look_at_own(struct doctor *d) {
    struct key_file key;
    struct err e = {0};
    const char *path = d->c->key.file;
    if (!path)
        return;
    if (key_file_read(&key, path, &e) < 0) {
        finding(d, VERDICT_BAD, "keys", "", "%s", e.text);
        return;
    }
    const struct settings_key *k = d->settings ? listed(d->settings, &key) : NULL;
    if (!key.has_server && !(d->c->key.server && *d->c->key.server))
        finding(d, VERDICT_BAD, "keys", "add a line server:, or set " KEY_ENV_SERVER,
                "%s does not name the broker's public key", path);
    else if (k)
        finding(d, VERDICT_OK, "keys", "", "%s is listed here as " STR_FMT, path, STR_ARG(k->name));
    else
        finding(d, VERDICT_OK, "keys", "", "%s is whole", path);
    key_file_wipe(&key);
}

void doctor_keys(struct doctor *d) {
    const struct settings *s = d->settings;
    if (s && s->broker.key_file.len)
        look_at_server(d, s);
    if (s)
        look_at_open(d, s);
    look_at_own(d);
}
