#include "cli/history.h"

#include "cli/out.h"
#include "common/base/err.h"
#include "common/os/clock.h"

/* Up to the next tab; the last one has the rest. */
static struct str take_field(struct str *line) {
    const char *tab = line->len ? memchr(line->at, '\t', line->len) : NULL;
    size_t len = tab ? (size_t)(tab - line->at) : line->len, skip = tab ? len + 1 : len;
    struct str field = str_make(line->at, len);
    *line = str_make(line->at + skip, line->len - skip);
    return field;
}

static json_t *text_of(struct str s) {
    return json_stringn(s.len ? s.at : "", s.len);
}

static json_t *attempt_of(struct str line) {
    struct str when = take_field(&line), error = take_field(&line), worker = take_field(&line);
    uint64_t ended_ms = 0, code = 0;
    if (!str_to_u64(when, INT64_MAX, &ended_ms) || !str_to_u64(error, INT64_MAX, &code))
        return NULL;
    json_t *attempt = json_pack("{s:I}", "ended_ms", (json_int_t)ended_ms);
    json_object_set_new(attempt, "error",
                        err_code_known(code) ? json_string(err_code_name((enum err_code)code))
                                             : json_integer((json_int_t)code));
    json_object_set_new(attempt, "worker", text_of(worker));
    json_object_set_new(attempt, "text", text_of(line));
    return attempt;
}

void history_to_list(json_t *job) {
    const json_t *text = json_object_get(job, "history");
    if (!json_is_string(text))
        return;
    json_t *list = json_array();
    struct str rest = str_make(json_string_value(text), json_string_length(text));
    while (rest.len) {
        const char *end = memchr(rest.at, '\n', rest.len);
        size_t len = end ? (size_t)(end - rest.at) : rest.len, skip = end ? len + 1 : len;
        json_t *attempt = attempt_of(str_make(rest.at, len));
        if (attempt)
            json_array_append_new(list, attempt);
        rest = str_make(rest.at + skip, rest.len - skip);
    }
    json_object_set_new(job, "history", list);
}

void history_print(struct buf *out, const json_t *job) {
    const json_t *list = json_object_get(job, "history");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *attempt = json_array_get(list, i);
        const char *worker = out_text(attempt, "worker");
        buf_printf(out, "  %-11s ", i ? "" : "attempts");
        out_time_and_age(out, out_field(attempt, "ended_ms"), clock_wall());
        buf_printf(out, " %s", out_text(attempt, "error"));
        if (worker[0]) {
            buf_put_str(out, STR(" on "));
            out_clean(out, str_of(worker));
        }
        buf_put_str(out, out_text(attempt, "text")[0] ? STR(": ") : STR(""));
        out_clean(out, str_of(out_text(attempt, "text")));
        buf_putc(out, '\n');
    }
}
