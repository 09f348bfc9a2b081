#include "workers/pools/output.h"

#include "common/log/log.h"

#include <jansson.h>

enum line_is { LINE_OTHER, LINE_OURS, LINE_OURS_TROUBLE };

static bool is_trouble(struct str level) {
    return str_eq(level, STR("error")) || str_eq(level, STR("warn"));
}

/* {"time":"...","level":"...","event":"...", as log.c writes it, or a worker in another language.
 */
static enum line_is as_json(struct str line) {
    if (!str_starts(line, STR("{")))
        return LINE_OTHER;
    json_auto_t *row = json_loadb(line.at, line.len, 0, NULL);
    const char *level = json_string_value(json_object_get(row, "level"));
    if (!level || !json_is_string(json_object_get(row, "time")) ||
        !json_is_string(json_object_get(row, "event")))
        return LINE_OTHER;
    return is_trouble(str_of(level)) ? LINE_OURS_TROUBLE : LINE_OURS;
}

/* 2026-01-31T12:00:00.123Z info  ... */
static enum line_is as_text(struct str line) {
    static const char form[] = "dddd-dd-ddTdd:dd:dd.dddZ ";
    const size_t n = sizeof form - 1;
    if (line.len < n + 6 || !str_is_utf8(line))
        return LINE_OTHER;
    for (size_t k = 0; k < n; k++)
        if (form[k] == 'd' ? line.at[k] < '0' || line.at[k] > '9' : line.at[k] != form[k])
            return LINE_OTHER;
    for (size_t k = n; k + 1 < line.len; k++)
        if ((unsigned char)line.at[k] < ' ' || line.at[k] == 0x7f)
            return LINE_OTHER;
    return is_trouble(str_trim(str_make(line.at + n, 5))) ? LINE_OURS_TROUBLE : LINE_OURS;
}

bool output_pass(struct str pool, const char *instance, struct str line) {
    enum line_is is = log_is_json() ? as_json(line) : as_text(line);
    if (is == LINE_OTHER && str_trim(line).len)
        log_event(LOG_process_said, log_str("pool", pool), log_text("instance", instance),
                  log_str("line", str_make(line.at, line.len - 1)));
    else if (is != LINE_OTHER)
        log_pass(line);
    return is != LINE_OURS;
}
