/* quern notes, quern note: what all workers know of each other. */
#include "cli/change.h"
#include "cli/out.h"

static int set(struct cli *c, const struct msg_set_note *m) {
    struct err e = {0};
    json_t *told = NULL;
    change_one(c, VERB_set_note, m, &told, &e);
    return change_finish(c, told, false, &e, NULL);
}

int run_note_set(struct cli *c, const struct args_note_set *args) {
    struct err e = {0};
    struct msg_set_note m = {0};
    if (!ARG_HAS(args, note_set, for_)) {
        err_set(&e, ERR_USAGE, "note set: --for is missing, which says how long it is there");
        return cli_fail(c, &e);
    }
    MSG_SET(&m, set_note, name, args->name);
    MSG_SET(&m, set_note, value, args->value);
    MSG_SET(&m, set_note, for_ms, args->for_);
    if (args->longer)
        MSG_SET(&m, set_note, longer, true);
    return set(c, &m);
}

int run_note_rm(struct cli *c, const struct args_note_rm *args) {
    struct msg_set_note m = {0};
    MSG_SET(&m, set_note, name, args->name);
    return set(c, &m);
}

/* ---- looking -------------------------------------------------------------------------------- */
static void put_setter(struct buf *out, const json_t *row, const char *key) {
    out_clean(out, str_of(out_text(row, key)));
    if (out_field(row, "pid"))
        buf_printf(out, " %llu", (unsigned long long)out_field(row, "pid"));
}

/* Enough of it to find the worker in `quern workers`. */
static void put_instance(struct buf *out, const json_t *row, const char *key) {
    buf_printf(out, "%.12s", out_text(row, key));
}

static const struct table_column columns[] = {
    {"NOTE", false, put_text, "name"},
    {"VALUE", false, put_text, "value"},
    {"LEFT", true, put_duration, "left_ms"},
    {"SET BY", false, put_setter, "by"},
    {"INSTANCE", false, put_instance, "instance"},
};

int run_notes(struct cli *c, const struct args_notes *args) {
    struct err e = {0};
    json_auto_t *rows = NULL;
    struct msg_get_status m = {0};
    if (args->name.len)
        MSG_SET(&m, get_status, name, args->name);
    if (cli_connect(c, &e) < 0 || cli_ask(c, VERB_list_notes, &m, false, &rows, &e) < 0)
        return cli_fail(c, &e);
    if (args->name.len && !json_array_size(rows)) {
        err_set(&e, ERR_NOT_FOUND, "note '" STR_FMT "': not there", STR_ARG(args->name));
        return cli_fail(c, &e);
    }
    if (c->json)
        cli_json(c, rows);
    else
        TABLE(columns, rows, "no notes", c->colour);
    return 0;
}
