/* What must hold of keys: each is whole, and what is open to other hosts has some. */
#include "common/config/config_int.h"

/* Where an entry stands: the first of its lines that is known; 0: all is from the environment. */
static size_t line_of(const struct loader *l, size_t entry) {
    const struct settings_section *section = settings_section(SETTINGS_SECTION_keys);
    size_t line = 0;
    for (size_t i = 0; i < section->rows; i++) {
        size_t at = settings_origin(l->settings, (enum setting)(section->first + i), entry).line;
        if (at && (!line || at < line))
            line = at;
    }
    return line;
}

static bool is_bad(const struct loader *l, enum setting id, size_t entry) {
    return settings_origin(l->settings, id, entry).bad;
}

static void report(struct loader *l, enum setting id, size_t entry, const char *what) {
    AUTO_BUF key = BUF(256);
    size_t line = settings_origin(l->settings, id, entry).line;
    settings_show_key(id, settings_entry_name(l->settings, SETTINGS_SECTION_keys, entry), &key);
    if (!line)
        line = line_of(l, entry);
    loader_report(l, line, STR_FMT ": %s", STR_ARG(buf_str(&key)), what);
}

static void check_role(struct loader *l, const struct settings_key *k, size_t entry) {
    bool names_tenant = k->role == SETTINGS_KEY_ROLE_CLIENT || k->role == SETTINGS_KEY_ROLE_GATEWAY;
    bool is_all = !k->tenant.len || str_eq(k->tenant, STR("*"));
    if (is_bad(l, SETTING_keys_role, entry))
        return;
    if (k->role == SETTINGS_KEY_ROLE_NONE) {
        report(l, SETTING_keys_role, entry, "is missing: client, worker, gateway or operator");
        return;
    }
    if (names_tenant && !k->tenant.len && !is_bad(l, SETTING_keys_tenant, entry))
        report(l, SETTING_keys_tenant, entry,
               "is missing: the tenant that it sees and submits for, or * for all");
    if (!names_tenant && !is_all)
        report(l, SETTING_keys_tenant, entry,
               "a worker gets jobs of all tenants, and an operator sees them: leave it out, or "
               "write *");
    if (k->role != SETTINGS_KEY_ROLE_WORKER && k->kinds.count)
        report(l, SETTING_keys_kinds, entry, "only a worker runs kinds: leave it out");
}

static void check_public(struct loader *l, const struct settings_key *k, size_t entry) {
    if (is_bad(l, SETTING_keys_public, entry))
        return;
    if (!k->public.len) {
        report(l, SETTING_keys_public, entry, "is missing: the 64 digits that quern keygen prints");
        return;
    }
    for (size_t i = 0; i < entry; i++) {
        const struct settings_key *other = &l->settings->keys.at[i];
        if (!str_eq(other->public, k->public))
            continue;
        AUTO_BUF text = BUF(256);
        buf_printf(&text, "is that of " STR_FMT " too: a key is one peer's, with one role",
                   STR_ARG(other->name));
        buf_putc(&text, '\0');
        report(l, SETTING_keys_public, entry, text.at);
        return;
    }
}

static void check_endpoint(struct loader *l, enum setting id, struct str endpoint) {
    struct settings_origin origin = settings_origin(l->settings, id, 0);
    if (!endpoint.len || origin.bad || config_is_loopback(endpoint))
        return;
    AUTO_BUF key = BUF(256);
    settings_show_key(id, STR(""), &key);
    loader_report(l, origin.line,
                  STR_FMT ": '%s' can be reached from other hosts, which needs keys: make one with "
                          "quern keygen --server and name its file in broker.key_file, or use "
                          "127.0.0.0/8 or [::1]",
                  STR_ARG(buf_str(&key)), config_clip(endpoint).at);
}

void check_keys(struct loader *l) {
    const struct settings *s = l->settings;
    for (size_t i = 0; i < s->keys.count; i++) {
        const struct settings_key *k = &s->keys.at[i];
        if (!k->public.len && k->role == SETTINGS_KEY_ROLE_NONE)
            continue; /* it lets nobody in */
        check_public(l, k, i);
        check_role(l, k, i);
    }
    if (s->broker.key_file.len)
        return;
    check_endpoint(l, SETTING_broker_tcp_client, s->broker.tcp_client);
    check_endpoint(l, SETTING_broker_tcp_worker, s->broker.tcp_worker);
    check_endpoint(l, SETTING_broker_tcp_gateway, s->broker.tcp_gateway);
    check_endpoint(l, SETTING_broker_tcp_operator, s->broker.tcp_operator);
    check_endpoint(l, SETTING_streams_tcp_worker, s->streams.tcp_worker);
    check_endpoint(l, SETTING_streams_tcp_reader, s->streams.tcp_reader);
}
