/* What is said when a command ends badly: a line for people, and an object where JSON was asked
 * for. */
#include "cli/cli.h"
#include "cli/out.h"

#include <stdarg.h>
#include <unistd.h>

/* ---- text ----------------------------------------------------------------------------------- */
static void hint(const struct cli *c, enum err_code code, struct buf *out) {
    switch (code) {
    case ERR_UNREACHABLE_BROKER:
        if (!c->broker)
            buf_printf(out, "start it with: quern up --data %s", c->data);
        return;
    case ERR_UNKNOWN_KIND:
        buf_printf(out, "a worker that runs it declares it, or the configuration under kinds");
        return;
    case ERR_BAD_ROLE:
        if (c->role == ROLE_CLIENT)
            buf_printf(out, "%s is for clients only", c->broker ? c->broker : c->data);
        return;
    default:
        return;
    }
}

/* Standard error is one for the whole process, and so is the line that stands on it. */
static bool progress_stands;

void cli_progress(const struct cli *c, const char *text) {
    if (!c->terminal_err || (!progress_stands && !*text))
        return;
    AUTO_BUF line = BUF(4096);
    out_clean(&line, str_of(text));
    size_t columns = out_terminal(STDERR_FILENO).columns;
    size_t len =
        out_cut(buf_str(&line), columns > 1 ? columns - 1 : 1); /* one that is full wraps */
    fprintf(stderr, "\r%.*s\033[K", (int)len, len ? line.at : "");
    fflush(stderr);
    progress_stands = *text;
}

/* What is said now takes its place. */
static void clear_progress(void) {
    if (progress_stands)
        fputs("\r\033[K", stderr);
    progress_stands = false;
}

void cli_complain(const struct cli *c, const struct err *e) {
    AUTO_BUF line = BUF(16384);
    AUTO_BUF more = BUF(8192);
    if (e->code == ERR_UNKNOWN_OUTCOME)
        buf_printf(&line, "%s: ", err_code_text(e->code));
    out_clean(&line, str_of(e->text[0] ? e->text : err_code_text(e->code)));
    hint(c, e->code, &more);
    if (more.len) {
        buf_put_str(&line, STR("; "));
        out_clean(&line, buf_str(&more));
    }
    clear_progress();
    const char *on = c->colour_err ? "\033[31m" : "", *off = c->colour_err ? "\033[0m" : "";
    fprintf(stderr, "%squern:%s " STR_FMT "\n", on, off, STR_ARG(buf_str(&line)));
}

int cli_fail(struct cli *c, const struct err *e) {
    if (!c->failed.code)
        c->failed = *e;
    cli_complain(c, e);
    return err_code_exit(e->code);
}

void cli_say(const char *fmt, ...) {
    char text[4096];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    AUTO_BUF line = BUF(sizeof text);
    out_clean(&line, str_of(text));
    clear_progress();
    fprintf(stderr, "quern: " STR_FMT "\n", STR_ARG(buf_str(&line)));
}

/* ---- JSON ----------------------------------------------------------------------------------- */
void cli_json(struct cli *c, const json_t *json) {
    c->told = true;
    out_json(json, c->terminal);
}

/* What an argument held may be no text that JSON can carry. */
json_t *cli_json_text(struct str text) {
    json_t *json = text.len ? json_stringn(text.at, text.len) : json_string("");
    if (json)
        return json;
    AUTO_BUF clean = BUF(16384);
    for (size_t i = 0; i < text.len; i++)
        buf_putc(&clean, (unsigned char)text.at[i] < 0x80 ? text.at[i] : '?');
    return json_stringn(clean.at, clean.len);
}

static json_t *concli_json_text(const struct cli *c, const struct err *e, int status) {
    json_t *context = json_pack("{s:i}", "status", status);
    AUTO_BUF more = BUF(8192);
    hint(c, e->code, &more);
    if (c->command)
        json_object_set_new(context, "command", json_string(c->command));
    if (more.len)
        json_object_set_new(context, "hint", cli_json_text(buf_str(&more)));
    if (e->retry_after_ms)
        json_object_set_new(context, "retry_after_ms", json_integer((json_int_t)e->retry_after_ms));
    return context;
}

void cli_end(struct cli *c, int status) {
    const struct err *e = &c->failed;
    if (!c->json || c->told || !e->code)
        return;
    const char *text = e->text[0] ? e->text : err_code_text(e->code);
    json_auto_t *json =
        json_pack("{s:{s:s, s:s, s:o, s:o}}", "error", "code", err_code_name(e->code), "class",
                  err_class_name(err_code_class(e->code)), "text", cli_json_text(str_of(text)),
                  "context", concli_json_text(c, e, status));
    cli_json(c, json);
}
