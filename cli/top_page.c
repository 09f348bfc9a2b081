#include "cli/top_page.h"

#include "cli/width.h"
#include "common/base/mem.h"

#include <inttypes.h>
#include <string.h>

#define ITEM_MAX   512
#define ITEMS_MAX  24
#define HEAD_LEAST 8  /* on a screen of fewer rows the head has two lines */
#define FOOT_LEAST 10 /* ... and there is no foot */

/* ---- lines ---------------------------------------------------------------------------------- */
void top_page_clear(struct top_page *p) {
    buf_clear(&p->text);
    p->n = 0;
}

void top_page_done(struct top_page *p) {
    buf_destroy(&p->text);
    mem_free(p->lines);
    *p = (struct top_page){0};
}

struct str top_page_line(const struct top_page *p, size_t i) {
    return str_make(p->text.at ? p->text.at + p->lines[i].from : "", p->lines[i].len);
}

void top_line_begin(struct top_page *p) {
    if (p->n == p->size) {
        p->size = p->size ? p->size * 2 : 64;
        p->lines = mem_grow(p->lines, p->size, sizeof *p->lines);
    }
    p->lines[p->n] = (struct top_line){.from = p->text.len};
}

void top_line_end(struct top_page *p, enum top_style style) {
    struct top_line *line = &p->lines[p->n++];
    while (p->text.len > line->from && p->text.at[p->text.len - 1] == ' ')
        p->text.len--;
    line->len = p->text.len - line->from;
    line->style = style;
}

static void put_line(struct top_page *p, struct str text, enum top_style style,
                     const struct top_ui *ui) {
    top_line_begin(p);
    width_put(&p->text, text, ui->size.columns, ui->utf8);
    top_line_end(p, style);
}

/* ---- the head ------------------------------------------------------------------------------- */
/* Said from the left as far as there is room for whole ones: the most important first. */
struct items {
    struct buf text;
    size_t ends[ITEMS_MAX];
    size_t n;
};

static void item_end(struct items *s) {
    if (s->n < ITEMS_MAX)
        s->ends[s->n++] = s->text.len;
}

static void put_items(struct top_page *p, const struct items *s, enum top_style style,
                      const struct top_ui *ui) {
    top_line_begin(p);
    size_t width = 0, from = 0;
    for (size_t i = 0; i < s->n; i++) {
        struct str said = str_make(s->text.at + from, s->ends[i] - from);
        size_t more = width_of(said, ui->utf8) + (i ? 2 : 0);
        from = s->ends[i];
        if (i && width + more > ui->size.columns)
            continue;
        buf_put_str(&p->text, i ? STR("  ") : STR(""));
        width += width_put(&p->text, said, ui->size.columns, ui->utf8) + (i ? 2 : 0);
    }
    top_line_end(p, style);
}

static void put_state(struct items *s, const json_t *broker, const struct top_ui *ui) {
    const char *state = out_text(broker, "state");
    if (ui->lost_ms) {
        buf_put_str(&s->text, STR("cannot reach the broker since "));
        out_duration(&s->text, ui->lost_ms);
        buf_put_str(&s->text, STR(", trying"));
    } else {
        buf_printf(&s->text, "quern: %s",
                   strcmp(state, "read_only") == 0 ? "READ-ONLY"
                   : strcmp(state, "full") == 0    ? "FULL"
                                                   : state);
    }
    item_end(s);
}

static void head_broker(struct top_page *p, const json_t *broker, const struct top_ui *ui) {
    struct items s = {.text = BUF(ITEM_MAX)};
    bool serves = strcmp(out_text(broker, "state"), "serving") == 0;
    put_state(&s, broker, ui);
    if (ui->paused) {
        buf_put_str(&s.text, STR("PAUSED"));
        item_end(&s);
    }
    buf_put_str(&s.text, STR("up "));
    out_duration(&s.text, out_field(broker, "uptime_ms"));
    item_end(&s);
    buf_printf(&s.text, "epoch %" PRIu64, out_field(broker, "epoch"));
    item_end(&s);
    buf_printf(&s.text, "version %s", out_text(broker, "version"));
    item_end(&s);
    if (ui->interval_ms) {
        buf_put_str(&s.text, STR("every "));
        out_duration(&s.text, ui->interval_ms);
        item_end(&s);
    }
    put_items(p, &s, ui->lost_ms || !serves ? TOP_FAILS : TOP_STRONG, ui);
    buf_destroy(&s.text);
}

static void item_rate(struct items *s, const json_t *rates, const char *what, const char *key) {
    buf_printf(&s->text, "%s ", what);
    top_put_rate(&s->text, rates, key);
    buf_put_str(&s->text, STR("/s"));
    item_end(s);
}

static void item_count(struct items *s, const json_t *broker, const char *what, const char *key) {
    buf_printf(&s->text, "%s ", what);
    top_put_count(&s->text, out_field(broker, key));
    item_end(s);
}

static void head_jobs(struct top_page *p, const json_t *broker, const struct top_ui *ui) {
    struct items s = {.text = BUF(ITEM_MAX)};
    const json_t *rates = json_object_get(broker, "rates");
    item_rate(&s, rates, "in", "submitted");
    item_rate(&s, rates, "ended", "ended");
    item_rate(&s, rates, "dead", "dead");
    item_count(&s, broker, "ready", "ready");
    item_count(&s, broker, "running", "running");
    item_count(&s, broker, "scheduled", "scheduled");
    item_count(&s, broker, "blocked", "blocked");
    item_count(&s, broker, "dead kept", "kept_dead");
    put_items(p, &s, TOP_PLAIN, ui);
    buf_destroy(&s.text);
}

static void head_machine(struct top_page *p, const json_t *broker, const struct top_ui *ui) {
    struct items s = {.text = BUF(ITEM_MAX)};
    const json_t *rates = json_object_get(broker, "rates");
    const json_t *cpu = json_object_get(rates, "cpu");
    if (json_is_number(cpu)) {
        buf_printf(&s.text, "cpu %.0f%%", json_number_value(cpu) * 100);
        item_end(&s);
    }
    buf_put_str(&s.text, STR("memory "));
    out_size(&s.text, out_field(broker, "rss_bytes"));
    item_end(&s);
    item_rate(&s, rates, "commits", "commits");
    buf_put_str(&s.text, STR("journal "));
    out_size(&s.text, out_field(broker, "journal_bytes"));
    item_end(&s);
    item_count(&s, broker, "peers", "sessions");
    if (out_field(broker, "waiting"))
        item_count(&s, broker, "questions waiting", "waiting");
    put_items(p, &s, TOP_PLAIN, ui);
    buf_destroy(&s.text);
}

static void head_streams(struct top_page *p, const json_t *broker, const struct top_ui *ui) {
    if (!out_field(broker, "streams"))
        return;
    struct items s = {.text = BUF(ITEM_MAX)};
    const json_t *rates = json_object_get(broker, "rates");
    item_count(&s, broker, "streams", "streams");
    item_rate(&s, rates, "deltas", "stream_events");
    item_count(&s, broker, "readers", "attached");
    item_rate(&s, rates, "dropped", "stream_refused");
    item_rate(&s, rates, "refills", "stream_refills");
    buf_put_str(&s.text, STR("kept "));
    out_size(&s.text, out_field(broker, "stream_bytes"));
    item_end(&s);
    put_items(p, &s, TOP_PLAIN, ui);
    buf_destroy(&s.text);
}

/* ---- what is wrong -------------------------------------------------------------------------- */
/* `n`: how many there are where this line is all that is said of them, else 1. */
static void put_trouble(struct top_page *p, const json_t *t, size_t n, const struct top_ui *ui) {
    AUTO_BUF line = BUF(16384);
    enum top_level level = top_level_of(t);
    buf_printf(&line, "%s ", level == TOP_BAD ? "!" : "*");
    if (n > 1)
        buf_printf(&line, "(1 of %zu) ", n);
    buf_printf(&line, "%s", out_text(t, "what"));
    if (out_text(t, "name")[0])
        buf_printf(&line, " %s", out_text(t, "name"));
    buf_printf(&line, ": %s", out_text(t, "text"));
    put_line(p, buf_str(&line), level == TOP_BAD ? TOP_FAILS : TOP_WARNS, ui);
}

/* Where there is no room for all, the last line says how many are left. */
static void put_troubles(struct top_page *p, const json_t *view, size_t room,
                         const struct top_ui *ui) {
    const json_t *troubles = json_object_get(view, "trouble");
    size_t n = out_field(view, "troubles"), listed = json_array_size(troubles);
    size_t said = n <= room && n <= listed ? n : room > 1 ? room - 1 : 1;
    said = said < listed ? said : listed;
    for (size_t i = 0; i < said; i++)
        put_trouble(p, json_array_get(troubles, i), room == 1 ? n : 1, ui);
    if (n == said || room == 1)
        return;
    AUTO_BUF line = BUF(64);
    buf_printf(&line, "  and %zu more", n - said);
    put_line(p, buf_str(&line), TOP_FAINT, ui);
}

/* ---- the foot ------------------------------------------------------------------------------- */
static void put_foot(struct top_page *p, const json_t *view, const struct top_ui *ui) {
    struct items s = {.text = BUF(ITEM_MAX)};
    static const char *const keys[] = {"q quit", "? help", "Tab pane", "Enter open"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        buf_put_str(&s.text, str_of(keys[i]));
        item_end(&s);
    }
    buf_printf(&s.text, "p %s", ui->paused ? "go on" : "pause");
    item_end(&s);
    buf_printf(&s.text, "s sort: %s", top_sort_names[ui->sort]);
    item_end(&s);
    size_t n = top_rows(view, ui->focus);
    if (n) {
        buf_printf(&s.text, "row %zu of %zu", ui->row[ui->focus] + 1, n);
        item_end(&s);
    }
    put_items(p, &s, TOP_FAINT, ui);
    buf_destroy(&s.text);
}

/* ---- the page ------------------------------------------------------------------------------- */
static size_t rows_left(const struct top_page *p, const struct top_ui *ui, size_t foot) {
    size_t taken = p->n + foot;
    return ui->size.rows > taken ? ui->size.rows - taken : 0;
}

static void put_head(struct top_page *p, const json_t *view, const struct top_ui *ui) {
    const json_t *broker = json_object_get(view, "broker");
    head_broker(p, broker, ui);
    head_jobs(p, broker, ui);
    size_t troubles = 1;
    if (ui->size.rows >= HEAD_LEAST) {
        head_machine(p, broker, ui);
        head_streams(p, broker, ui);
        troubles = ui->size.rows == TOP_ROWS_ALL ? TOP_ROWS_ALL : ui->size.rows / 5 + 1;
    }
    put_troubles(p, view, troubles, ui);
}

/* A blank line stands before each pane but the first where there is room for all of them. */
static void put_panes(struct top_page *p, const json_t *view, size_t room, struct top_ui *ui) {
    size_t want[TOP_PARTS] = {0}, lines[TOP_PARTS], sum = 0, panes = 0;
    for (enum top_part part = TOP_QUEUES; part < TOP_PARTS; part++) {
        bool there = json_is_array(json_object_get(view, top_part_names[part]));
        bool empty = !top_rows(view, part);
        bool always = part == TOP_QUEUES || (ui->cursor && part == ui->focus);
        want[part] = there && (!empty || always) ? top_rows(view, part) + 1 : 0;
        sum += want[part];
        panes += want[part] != 0;
    }
    bool airy = sum + panes <= room;
    top_share(lines, want, ui->focus, airy ? room - panes : room);
    for (enum top_part part = TOP_QUEUES; part < TOP_PARTS; part++) {
        if (lines[part] && airy)
            put_line(p, STR(""), TOP_PLAIN, ui);
        top_pane_make(p, view, part, lines[part], ui);
    }
}

void top_page_make(struct top_page *p, const json_t *view, struct top_ui *ui) {
    size_t foot = ui->cursor && ui->size.rows >= FOOT_LEAST ? 1 : 0;
    top_page_clear(p);
    put_head(p, view, ui);
    put_panes(p, view, rows_left(p, ui, foot), ui);
    while (foot && rows_left(p, ui, foot))
        put_line(p, STR(""), TOP_PLAIN, ui);
    if (foot)
        put_foot(p, view, ui);
    if (p->n > ui->size.rows)
        p->n = ui->size.rows;
}

/* ---- any text ------------------------------------------------------------------------------- */
static size_t count_lines(struct str text) {
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++)
        n += text.at[i] == '\n';
    return n + (text.len && text.at[text.len - 1] != '\n');
}

static struct str take_line(struct str *text) {
    const char *end = text->len ? memchr(text->at, '\n', text->len) : NULL;
    size_t len = end ? (size_t)(end - text->at) : text->len;
    struct str line = str_make(text->at, len);
    *text = str_make(text->at + len + (end != NULL), text->len - len - (end != NULL));
    return line;
}

void top_page_text(struct top_page *p, const char *title, struct str text, size_t *first,
                   const struct top_ui *ui) {
    size_t n = count_lines(text), room = ui->size.rows > 2 ? ui->size.rows - 2 : 1;
    if (*first + room > n)
        *first = n > room ? n - room : 0;
    top_page_clear(p);
    put_line(p, str_of(title), TOP_CHOSEN, ui);
    for (size_t i = 0; i < *first + room && i < n; i++) {
        struct str line = take_line(&text);
        if (i >= *first)
            put_line(p, line, TOP_PLAIN, ui);
    }
    while (p->n + 1 < ui->size.rows)
        put_line(p, STR(""), TOP_PLAIN, ui);
    AUTO_BUF foot = BUF(128);
    buf_printf(&foot, "q back  %s", n > room ? "arrows, PgUp, PgDn: more" : "");
    put_line(p, buf_str(&foot), TOP_FAINT, ui);
    if (p->n > ui->size.rows)
        p->n = ui->size.rows;
}
