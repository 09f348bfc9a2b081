/* quern doctor: the settings.
 *
 * Where a tree runs, what it holds counts: it has read its file with its own environment, perhaps
 * long ago. The file itself is looked at beside it, as the next reload would. */
#include "cli/doctor.h"
#include "cli/tree.h"
#include "common/base/mem.h"
#include "common/os/proc_env.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#define ADVICE "docs/configuration.md has all settings"

/* ---- where no tree runs --------------------------------------------------------------------- */
static void refused(struct doctor *d, enum verdict v, const char *advice,
                    const struct err_list *errors) {
    for (size_t i = 0; i < errors->count; i++)
        finding(d, v, "config", advice, "%s", errors->at[i].text);
}

static void look_at_own(struct doctor *d) {
    struct err_list errors = {0};
    const char *path = d->c->config;
    if (settings_load(path, environ, &d->settings, &errors) == 0)
        finding(d, VERDICT_OK, "config", "", "%s is valid",
                path ? path : "what the environment sets");
    else
        refused(d, VERDICT_BAD, ADVICE, &errors);
}

/* ---- the tree's ----------------------------------------------------------------------------- */
/* Pointers to the variables of "A=1\0B=2\0", NULL at the end. The caller frees it. */
static char **variables_of(struct buf *environment) {
    size_t n = 0;
    for (size_t i = 0; i < environment->len; i++)
        n += environment->at[i] == 0;
    char **all = mem_alloc((n + 1) * sizeof *all), *at = environment->at;
    for (size_t i = 0; i < n; i++) {
        all[i] = at;
        at += strlen(at) + 1;
    }
    all[n] = NULL;
    return all;
}

/* The tree goes on; what is wrong would show at its next start. Another file than the tree's is
 * looked at because somebody asked for it. */
static void look_at_file(struct doctor *d, const char *path, bool is_its_own, char *const *envp) {
    struct err_list errors = {0};
    struct settings *now;
    const char *what = path ? path : "what the environment sets";
    if (settings_load(path, envp, &now, &errors) < 0) {
        if (is_its_own)
            refused(d, VERDICT_WARN,
                    "mend it, then: quern reload; what runs keeps the settings that it has",
                    &errors);
        else
            refused(d, VERDICT_BAD, ADVICE, &errors);
        return;
    }
    size_t n = settings_diff(d->settings, now, NULL, NULL);
    if (!n)
        finding(d, VERDICT_OK, "config", "", "%s is valid, and is what runs", what);
    else
        finding(d, VERDICT_WARN, "config", is_its_own ? "quern reload" : "",
                "%s is valid, but %zu of its settings are not as in what runs", what, n);
    settings_destroy(&now);
}

static bool is_same(const char *path, const char *other) {
    char a[PATH_MAX], b[PATH_MAX];
    return !path || (other && realpath(path, a) && realpath(other, b) && strcmp(a, b) == 0);
}

/* False if the tree does not say what it holds. */
static bool look_at_tree(struct doctor *d, pid_t pid) {
    char held[TREE_PATH_MAX];
    json_auto_t *state = tree_read(d->c->data, TREE_STATE);
    const char *path = json_string_value(json_object_get(state, "config"));
    struct err_list errors = {0};
    AUTO_BUF environment = BUF(PROC_ENV_MAX);
    if (!state || proc_env_read(pid, &environment) < 0)
        return false;
    AUTO_FREE char **envp = variables_of(&environment);
    tree_path(held, d->c->data, TREE_CONFIG);
    if (settings_load(path ? held : NULL, envp, &d->settings, &errors) < 0)
        return false;
    bool is_its_own = is_same(d->c->config, path);
    look_at_file(d, is_its_own ? path : d->c->config, is_its_own, envp);
    return true;
}

void doctor_config(struct doctor *d) {
    pid_t pid = d->c->broker ? 0 : tree_pid(d->c->data);
    if (!pid || !look_at_tree(d, pid))
        look_at_own(d);
}
