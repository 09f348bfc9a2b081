#include "common/config/config_int.h"

const char *config_env(char *const *envp, struct str name) {
    for (; envp && *envp; envp++)
        if (strncmp(*envp, name.at, name.len) == 0 && (*envp)[name.len] == '=')
            return *envp + name.len + 1;
    return NULL;
}

static bool is_variable(struct str name) {
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
        if (!letter && (i == 0 || c < '0' || c > '9'))
            return false;
    }
    return name.len > 0;
}

/* `inside` is what stands between the braces. */
static int expand_one(struct str inside, char *const *envp, struct buf *out, struct err *e) {
    const char *colon = inside.len ? memchr(inside.at, ':', inside.len) : NULL;
    struct str name = inside, usual = {NULL, 0};
    if (colon) {
        name.len = (size_t)(colon - inside.at);
        usual = str_make(colon, inside.len - name.len);
    }
    if (!is_variable(name) || (colon && !str_starts(usual, STR(":-"))))
        return err_set(e, ERR_BAD_CONFIG, "'${%s}' is neither ${NAME} nor ${NAME:-default}",
                       config_clip(inside).at);
    const char *value = config_env(envp, name);
    if (colon && (!value || !*value))
        buf_put(out, usual.at + 2, usual.len - 2);
    else if (!value)
        return err_set(e, ERR_BAD_CONFIG,
                       "the environment has no %s, and ${NAME:-default} is not used",
                       config_clip(name).at);
    else
        buf_put_str(out, str_of(value));
    return 0;
}

int config_expand(struct str text, char *const *envp, struct buf *out, struct err *e) {
    while (text.len && !out->failed) {
        size_t used = 1;
        if (str_starts(text, STR("$${"))) {
            used = 3;
            buf_put_str(out, STR("${"));
        } else if (str_starts(text, STR("${"))) {
            const char *end = memchr(text.at, '}', text.len);
            if (!end)
                return err_set(e, ERR_BAD_CONFIG, "'${' without '}'; write $${ for a plain ${");
            used = (size_t)(end - text.at) + 1;
            if (expand_one(str_make(text.at + 2, used - 3), envp, out, e) < 0)
                return -1;
        } else {
            buf_putc(out, text.at[0]);
        }
        text.at += used;
        text.len -= used;
    }
    if (out->failed)
        return err_set(e, ERR_BAD_CONFIG, "the value is longer than %u bytes", SETTINGS_VALUE_MAX);
    return 0;
}
