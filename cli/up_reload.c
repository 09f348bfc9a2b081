#include "cli/tree.h"
#include "cli/up.h"
#include "common/log/log.h"

#include <signal.h>
#include <unistd.h>

#define ANSWER_MS 1000 /* for whoever asked to take it */

int up_load(struct up *u, struct settings **out, struct err_list *errors) {
    return handed_load(&u->handed, u->config, environ, out, errors);
}

static void tell_stands_in(const struct up *u) {
    if (u->handed.stands_in)
        log_event(LOG_config_stands_in, log_text("file", handed_path(&u->handed)));
}

int up_hand_down(struct up *u, struct err *e) {
    char path[TREE_PATH_MAX];
    tree_path(path, u->data, TREE_CONFIG);
    json_auto_t *json = json_pack("{s:s?}", "config", u->config);
    if (tree_write(u->data, TREE_STATE, json, e) < 0) /* for quern doctor only */
        log_event(LOG_tree_file, LOG_WHY(e));
    if (handed_open(&u->handed, path, e) < 0)
        return -1;
    tell_stands_in(u);
    return 0;
}

/* ---- what has changed ----------------------------------------------------------------------- */
struct changes {
    const struct settings *old, *new;
    json_t *list;
    bool live; /* which ones are wanted */
};

static void show_value(const struct settings *s, const struct settings_change *change, size_t at,
                       struct buf *out) {
    size_t before = out->len;
    settings_show(s, change->id, at, out);
    if (out->len == before)
        buf_put_str(out, STR("\"\""));
}

static void visit(void *ctx, const struct settings_change *change) {
    struct changes *c = ctx;
    if (change->live != c->live)
        return;
    AUTO_BUF text = BUF(65536);
    settings_change_show(change, &text);
    if (change->what == SETTINGS_CHANGED) {
        buf_put_str(&text, STR(": "));
        show_value(c->old, change, change->old_at, &text);
        buf_put_str(&text, STR(" -> "));
        show_value(c->new, change, change->new_at, &text);
    }
    json_array_append_new(c->list, json_stringn(text.at, text.len));
}

static json_t *changes_of(const struct settings *old, const struct settings *new, bool live) {
    struct changes c = {.old = old, .new = new, .list = json_array(), .live = live};
    settings_diff(old, new, visit, &c);
    return c.list;
}

static json_t *errors_of(const struct err_list *errors) {
    json_t *list = json_array();
    for (size_t i = 0; i < errors->count; i++)
        json_array_append_new(list, json_string(errors->at[i].text));
    return list;
}

/* ---- the answer ----------------------------------------------------------------------------- */
static void answer(const struct up *u, json_t *applied, json_t *restart, json_t *errors,
                   enum err_code code) {
    json_auto_t *json =
        json_pack("{s:o, s:o, s:o}", "applied", applied, "restart", restart, "errors", errors);
    if (code)
        json_object_set_new(json, "code", json_string(err_code_name(code)));
    tree_answer(u->data, json, cli_deadline(ANSWER_MS));
}

static void refuse(const struct up *u, const struct err_list *errors) {
    enum err_code code = u->handed.not_kept ? errors->at[0].code : ERR_BAD_CONFIG;
    if (u->handed.not_kept)
        log_event(LOG_config_not_kept, LOG_WHY(&errors->at[0]));
    else
        log_event(LOG_config_refused, log_text("error", errors->at[0].text));
    answer(u, json_array(), json_array(), errors_of(errors), code);
}

void up_reload(struct up *u) {
    struct err_list errors = {0};
    struct settings *new;
    if (up_load(u, &new, &errors) < 0) {
        refuse(u, &errors);
        return;
    }
    tell_stands_in(u);
    for (size_t i = 0; i < PARTS; i++)
        child_signal(&u->parts[i].child, SIGHUP);
    json_t *applied = changes_of(u->now, new, true), *restart = changes_of(u->boot, new, false);
    log_event(LOG_config_reloaded, log_u64("applied", json_array_size(applied)),
              log_u64("restart", json_array_size(restart)));
    answer(u, applied, restart, json_array(), 0);
    if (u->now != u->boot)
        settings_destroy(&u->now);
    u->now = new;
    log_set((enum log_level) new->log.level, (enum log_format) new->log.format);
}
