/* The tables of `quern top`: which columns a part has, and which of them go first. */
#include "cli/top_page.h"
#include "cli/width.h"
#include "common/base/check.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define CELL_MAX    4096
#define COLUMNS_MAX 16
#define GAP         2 /* columns of the screen between two of a table */
#define MARK        2 /* columns in front: the mark and a blank */

/* ---- values --------------------------------------------------------------------------------- */
void top_put_count(struct buf *out, uint64_t n) {
    static const char units[] = {'k', 'M', 'G'};
    if (n < 100000) {
        buf_printf(out, "%" PRIu64, n);
        return;
    }
    double v = (double)n / 1000;
    size_t unit = 0;
    for (; v >= 1000 && unit + 1 < sizeof units; unit++)
        v /= 1000;
    if (v < 100)
        buf_printf(out, "%.1f%c", floor(v * 10) / 10, units[unit]);
    else
        buf_printf(out, "%.0f%c", floor(v), units[unit]);
}

void top_put_rate(struct buf *out, const json_t *row, const char *key) {
    const json_t *v = json_object_get(row, key);
    double rate = json_number_value(v);
    if (!json_is_number(v))
        buf_putc(out, '-');
    else if (rate > 0 && rate < 9.95)
        buf_printf(out, "%.1f", rate < 0.1 ? 0.1 : rate); /* what happens is not shown as nothing */
    else
        top_put_count(out, (uint64_t)(rate + 0.5));
}

static void put_count(struct buf *out, const json_t *row, const char *key) {
    top_put_count(out, out_field(row, key));
}

/* The oldest of those that are ready; it says nothing where there is none. */
static void put_oldest(struct buf *out, const json_t *row, const char *key) {
    if (out_field(row, "ready"))
        out_duration(out, out_field(row, key));
}

/* Most have none, which is best seen by nothing. */
static void put_some(struct buf *out, const json_t *row, const char *key) {
    if (out_field(row, key))
        top_put_count(out, out_field(row, key));
}

static void put_age(struct buf *out, const json_t *row, const char *key) {
    if (json_object_get(row, key))
        out_duration(out, out_field(row, key));
}

static void put_queue_state(struct buf *out, const json_t *row, const char *key) {
    const char *comma = "";
    if (out_text(row, key)[0]) {
        buf_printf(out, "%s", out_text(row, key));
        comma = ", ";
    }
    if (out_field(row, "concurrency")) {
        buf_printf(out, "%smax %" PRIu64, comma, out_field(row, "concurrency"));
        comma = ", ";
    }
    if (out_field(row, "rate_count")) {
        buf_printf(out, "%s", comma);
        out_rate(out, row);
    }
}

static void put_processes(struct buf *out, const json_t *row, const char *key) {
    (void)key;
    buf_printf(out, "%" PRIu64 "/%" PRIu64, out_field(row, "alive"), out_field(row, "processes"));
}

static void put_busy(struct buf *out, const json_t *row, const char *key) {
    (void)key;
    buf_printf(out, "%" PRIu64 "/%" PRIu64, out_field(row, "held"), out_field(row, "slots"));
}

static void put_instance(struct buf *out, const json_t *row, const char *key) {
    buf_printf(out, "%.12s", out_text(row, key));
}

static void put_progress(struct buf *out, const json_t *row, const char *key) {
    uint64_t so_far = out_field(row, key), total = out_field(row, "progress_total");
    if (total)
        buf_printf(out, "%.0f%%", 100.0 * (double)so_far / (double)total);
    else if (so_far)
        top_put_count(out, so_far);
}

static void put_bounds(struct buf *out, const json_t *row, const char *key) {
    (void)key;
    buf_printf(out, "%" PRIu64 "-%" PRIu64, out_field(row, "processes_min"),
               out_field(row, "processes_max"));
}

static void put_error(struct buf *out, const json_t *row, const char *key) {
    buf_printf(out, "%s%s%s", out_text(row, "error"), out_text(row, key)[0] ? ": " : "",
               out_text(row, key));
}

static void put_schedule_state(struct buf *out, const json_t *row, const char *key) {
    buf_printf(out, "%s", out_text(row, "trouble"));
    if (out_text(row, key)[0])
        buf_printf(out, ": %s", out_text(row, key));
}

static void put_last(struct buf *out, const json_t *row, const char *key) {
    buf_printf(out, "%s", out_text(row, key));
}

/* ---- columns -------------------------------------------------------------------------------- */
struct column {
    const char *title;
    bool right;
    unsigned keep; /* 9 always; of the others those with the least go first */
    size_t most;   /* of its width, 0: as it needs */
    void (*put)(struct buf *out, const json_t *row, const char *key);
    const char *key;
};

static const struct column queue_columns[] = {
    {"QUEUE", false, 9, 24, put_text, "name"},
    {"READY", true, 9, 0, put_count, "ready"},
    {"OLDEST", true, 8, 0, put_oldest, "oldest_ms"},
    {"RUN", true, 7, 0, put_count, "running"},
    {"IN/s", true, 4, 0, top_put_rate, "in_rate"},
    {"OUT/s", true, 5, 0, top_put_rate, "out_rate"},
    {"SCHED", true, 2, 0, put_some, "scheduled"},
    {"BLOCK", true, 1, 0, put_some, "blocked"},
    {"DEAD", true, 3, 0, put_some, "dead"},
    {"STATE", false, 6, 0, put_queue_state, "trouble"},
};
static const struct column pool_columns[] = {
    {"POOL", false, 9, 24, put_text, "name"},   {"PROC", true, 9, 0, put_processes, ""},
    {"BUSY", true, 8, 0, put_busy, ""},         {"MEMORY", true, 6, 0, put_size, "rss_bytes"},
    {"BOUNDS", true, 3, 0, put_bounds, ""},     {"RESTARTS", true, 5, 0, put_some, "restarts"},
    {"TROUBLE", false, 7, 0, put_text, "text"},
};
static const struct column worker_columns[] = {
    {"WORKER", false, 9, 0, put_instance, "instance"}, {"POOL", false, 7, 20, put_text, "pool"},
    {"STATE", false, 8, 0, put_text, "state"},         {"BUSY", true, 8, 0, put_busy, ""},
    {"DONE", true, 5, 0, put_count, "done"},           {"HEARD", true, 4, 0, put_age, "silent_ms"},
    {"MEMORY", true, 6, 0, put_size, "rss_bytes"},     {"PID", true, 3, 0, put_number, "pid"},
    {"HOST", false, 2, 0, put_text, "host"},
};
static const struct column running_columns[] = {
    {"RUNNING", false, 9, 0, put_text, "id"},       {"KIND", false, 8, 24, put_text, "kind"},
    {"QUEUE", false, 4, 20, put_text, "queue"},     {"AGE", true, 9, 0, put_age, "age_ms"},
    {"DONE", true, 7, 0, put_progress, "progress"}, {"FAILED", true, 3, 0, put_some, "attempts"},
    {"TENANT", false, 2, 16, put_text, "tenant"},   {"WORKER", false, 5, 0, put_text, "worker"},
};
static const struct column dead_columns[] = {
    {"DEAD", true, 9, 0, put_count, "count"},
    {"KIND", false, 9, 24, put_text, "kind"},
    {"LAST", true, 8, 0, put_age, "last_age_ms"},
    {"WHAT THEY DIED OF", false, 7, 0, put_error, "text"},
};
static const struct column schedule_columns[] = {
    {"SCHEDULE", false, 9, 24, put_text, "name"},
    {"NEXT IN", true, 9, 0, put_age, "next_in_ms"},
    {"KIND", false, 6, 24, put_text, "kind"},
    {"LAST RUN", false, 7, 0, put_last, "last_state"},
    {"RUNS", true, 4, 0, put_count, "runs"},
    {"SKIPPED", true, 3, 0, put_some, "skipped"},
    {"STATE", false, 8, 0, put_schedule_state, "text"},
};

#define COLUMNS(of) of, sizeof(of) / sizeof(of)[0]
static const struct {
    const struct column *columns;
    size_t n;
    const char *none;
} tables[TOP_PARTS] = {
    [TOP_QUEUES] = {COLUMNS(queue_columns), "no queues"},
    [TOP_POOLS] = {COLUMNS(pool_columns), "no pools"},
    [TOP_WORKERS] = {COLUMNS(worker_columns), "no workers"},
    [TOP_RUNNING] = {COLUMNS(running_columns), "nothing runs"},
    [TOP_DEAD] = {COLUMNS(dead_columns), "no dead jobs"},
    [TOP_SCHEDULES] = {COLUMNS(schedule_columns), "no schedules"},
};

/* ---- widths --------------------------------------------------------------------------------- */
struct shape {
    const struct column *columns;
    size_t n;
    size_t widths[COLUMNS_MAX]; /* 0: left out */
};

static size_t total(const struct shape *s) {
    size_t sum = MARK;
    for (size_t i = 0; i < s->n; i++)
        sum += s->widths[i] ? s->widths[i] + GAP : 0;
    return sum > MARK ? sum - GAP : sum;
}

/* The last of those that stay takes what is left: text that may be cut. */
static size_t last_of(const struct shape *s) {
    size_t last = 0;
    for (size_t i = 0; i < s->n; i++)
        if (s->widths[i])
            last = i;
    return last;
}

static void drop_one(struct shape *s) {
    size_t least = 0;
    for (size_t i = 1; i < s->n; i++)
        if (s->widths[i] && s->columns[i].keep < 9 &&
            (!least || s->columns[i].keep < s->columns[least].keep))
            least = i;
    if (least)
        s->widths[least] = 0;
}

/* What a text at the end of a line needs to say anything. */
#define TEXT_LEAST 8
#define NAME_LEAST 4

static void fit(struct shape *s, size_t columns) {
    for (size_t round = 0; round <= s->n && total(s) > columns; round++) {
        size_t last = last_of(s), over = total(s) - columns;
        if (!s->columns[last].right && s->widths[last] >= over + TEXT_LEAST) {
            s->widths[last] -= over;
            return;
        }
        drop_one(s);
    }
    size_t over = total(s) > columns ? total(s) - columns : 0;
    if (over + NAME_LEAST <= s->widths[0]) { /* what is always told is left: the name is cut */
        s->widths[0] -= over;
        return;
    }
    size_t room = columns > MARK ? columns - MARK : columns;
    for (size_t i = 1; over && i < s->n; i++)
        s->widths[i] = 0;
    if (over && s->widths[0] > room)
        s->widths[0] = room;
}

static struct str cell(struct buf *b, const struct column *c, const json_t *row) {
    buf_clear(b);
    c->put(b, row, c->key);
    return buf_str(b);
}

static struct shape shape_of(const json_t *rows, enum top_part part, const struct top_ui *ui) {
    struct shape s = {.columns = tables[part].columns, .n = tables[part].n};
    ASSERT(s.n <= COLUMNS_MAX);
    AUTO_BUF text = BUF(CELL_MAX);
    for (size_t i = 0; i < s.n; i++) {
        const struct column *c = &s.columns[i];
        s.widths[i] = strlen(c->title);
        for (size_t r = 0; r < json_array_size(rows); r++) {
            size_t width = width_of(cell(&text, c, json_array_get(rows, r)), ui->utf8);
            s.widths[i] = width > s.widths[i] ? width : s.widths[i];
        }
        if (c->most && s.widths[i] > c->most)
            s.widths[i] = c->most;
    }
    fit(&s, ui->size.columns);
    return s;
}

/* ---- lines ---------------------------------------------------------------------------------- */
static void put_cells(struct buf *out, const struct shape *s, const json_t *row, bool utf8) {
    AUTO_BUF text = BUF(CELL_MAX);
    size_t last = last_of(s), blanks = 0;
    for (size_t i = 0; i < s->n; i++) {
        const struct column *c = &s->columns[i];
        if (!s->widths[i])
            continue;
        struct str said = row ? cell(&text, c, row) : str_of(c->title);
        while (blanks) {
            buf_putc(out, ' ');
            blanks--;
        }
        if (i == last && !c->right)
            width_put(out, said, s->widths[i], utf8);
        else
            width_pad(out, said, s->widths[i], c->right, utf8);
        blanks = GAP;
    }
}

static void put_row(struct top_page *p, const struct shape *s, const json_t *row, bool cursor,
                    const struct top_ui *ui) {
    enum top_level level = top_level_of(row);
    top_line_begin(p);
    if (ui->size.columns > MARK)
        buf_put_str(&p->text, level == TOP_BAD    ? STR("! ")
                              : level == TOP_WARN ? STR("* ")
                                                  : STR("  "));
    put_cells(&p->text, s, row, ui->utf8);
    top_line_end(p, cursor              ? TOP_CURSOR
                    : level == TOP_BAD  ? TOP_FAILS
                    : level == TOP_WARN ? TOP_WARNS
                                        : TOP_PLAIN);
}

size_t top_rows(const json_t *view, enum top_part part) {
    return json_array_size(json_object_get(view, top_part_names[part]));
}

/* The rows that are shown are those around the cursor. */
static void scroll(struct top_ui *ui, enum top_part part, size_t n, size_t shown) {
    size_t *row = &ui->row[part], *first = &ui->first[part];
    if (*row >= n)
        *row = n ? n - 1 : 0;
    if (*row < *first)
        *first = *row;
    if (shown && *row >= *first + shown)
        *first = *row - shown + 1;
    if (*first + shown > n)
        *first = n > shown ? n - shown : 0;
}

/* How many rows stand above and below those that are shown, at the end of the line of titles. */
static void put_more(struct top_page *p, size_t n, size_t shown, const struct top_ui *ui) {
    if (shown >= n)
        return;
    AUTO_BUF more = BUF(64);
    buf_printf(&more, "%zu of %zu", shown, n);
    size_t from = p->lines[p->n].from;
    size_t width = width_of(str_make(p->text.at + from, p->text.len - from), ui->utf8);
    if (width + more.len + GAP > ui->size.columns)
        return;
    while (width++ + more.len < ui->size.columns)
        buf_putc(&p->text, ' ');
    buf_put_str(&p->text, buf_str(&more));
}

void top_pane_make(struct top_page *p, const json_t *view, enum top_part part, size_t lines,
                   struct top_ui *ui) {
    const json_t *rows = json_object_get(view, top_part_names[part]);
    size_t n = json_array_size(rows), shown = lines ? lines - 1 : 0;
    bool chosen = ui->cursor && ui->focus == part;
    if (shown > n)
        shown = n;
    scroll(ui, part, n, shown);
    if (!lines)
        return;
    struct shape s = shape_of(rows, part, ui);
    top_line_begin(p);
    if (ui->size.columns > MARK)
        buf_put_str(&p->text, chosen ? STR("> ") : STR("  "));
    if (n)
        put_cells(&p->text, &s, NULL, ui->utf8);
    else
        width_put(&p->text, str_of(tables[part].none),
                  ui->size.columns > MARK ? ui->size.columns - MARK : ui->size.columns, ui->utf8);
    put_more(p, n, shown, ui);
    top_line_end(p, chosen ? TOP_CHOSEN : TOP_STRONG);
    for (size_t i = 0; i < shown; i++) {
        size_t at = ui->first[part] + i;
        put_row(p, &s, json_array_get(rows, at), chosen && at == ui->row[part], ui);
    }
}

/* ---- sharing -------------------------------------------------------------------------------- */
#define LINES_LEAST 2 /* a pane of titles alone says nothing */

static size_t give(size_t *lines, size_t want, size_t most, size_t room) {
    size_t more = want > *lines ? want - *lines : 0;
    more = more < most ? more : most;
    more = more < room ? more : room;
    *lines += more;
    return more;
}

void top_share(size_t lines[TOP_PARTS], const size_t want[TOP_PARTS], enum top_part focus,
               size_t room) {
    memset(lines, 0, TOP_PARTS * sizeof *lines);
    room -= give(&lines[focus], want[focus], LINES_LEAST, room);
    for (size_t i = 0; i < TOP_PARTS; i++)
        if (!lines[i] && want[i] && room >= LINES_LEAST)
            room -= give(&lines[i], want[i], LINES_LEAST, room);
    /* Half of what is left is for where the operator looks. */
    room -= give(&lines[focus], want[focus], room / 2, room);
    for (bool more = true; more && room;) {
        more = false;
        for (size_t i = 0; i < TOP_PARTS && room; i++) {
            size_t given = lines[i] ? give(&lines[i], want[i], 1, room) : 0;
            room -= given;
            more = more || given;
        }
    }
}
