#include "cli/out.h"

#include "common/base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

/* ---- values --------------------------------------------------------------------------------- */
static unsigned char byte_at(struct str text, size_t i) {
    return i < text.len ? (unsigned char)text.at[i] : 0;
}

/* The bytes of the control character that stands there; 0 if there is none. */
static size_t control_at(struct str text, size_t i) {
    unsigned char c = byte_at(text, i), next = byte_at(text, i + 1), last = byte_at(text, i + 2);
    if (c < 0x20 || c == 0x7f)
        return 1;
    /* U+0080 to U+009F are some too, and have two bytes. */
    if (c == 0xc2 && next >= 0x80 && next <= 0x9f)
        return 2;
    /* U+2028 and U+2029 end lines; U+202A to U+202E and U+2066 to U+2069 turn the order of what
     * stands behind them around. */
    bool turns = (next == 0x80 && last >= 0xa8 && last <= 0xae) ||
                 (next == 0x81 && last >= 0xa6 && last <= 0xa9);
    return c == 0xe2 && turns ? 3 : 0;
}

static void clean(struct buf *out, struct str text, const char *stays) {
    for (size_t i = 0; i < text.len;) {
        size_t n = control_at(text, i);
        bool blank = n && !(text.at[i] && strchr(stays, text.at[i]));
        buf_putc(out, blank ? ' ' : text.at[i]);
        i += n ? n : 1;
    }
}

void out_clean(struct buf *out, struct str text) {
    clean(out, text, "");
}

void out_clean_text(struct buf *out, struct str text) {
    clean(out, text, "\n\t");
}

void out_duration(struct buf *out, uint64_t ms) {
    uint64_t s = ms / 1000, m = s / 60, h = m / 60, d = h / 24;
    if (ms < 1000)
        buf_printf(out, "%" PRIu64 "ms", ms);
    else if (s < 10)
        buf_printf(out, "%" PRIu64 ".%" PRIu64 "s", s, ms % 1000 / 100);
    else if (s < 60)
        buf_printf(out, "%" PRIu64 "s", s);
    else if (m < 60)
        buf_printf(out, "%" PRIu64 "m %" PRIu64 "s", m, s % 60);
    else if (h < 24)
        buf_printf(out, "%" PRIu64 "h %" PRIu64 "m", h, m % 60);
    else
        buf_printf(out, "%" PRIu64 "d %" PRIu64 "h", d, h % 24);
}

void out_size(struct buf *out, uint64_t bytes) {
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    if (bytes < 1024) {
        buf_printf(out, "%" PRIu64 "B", bytes);
        return;
    }
    double v = (double)bytes / 1024;
    size_t unit = 0;
    while (v >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
        v /= 1024;
        unit++;
    }
    buf_printf(out, "%.1f%s", v, units[unit]);
}

void out_time(struct buf *out, uint64_t wall_ms) {
    time_t at = (time_t)(wall_ms / 1000);
    struct tm t;
    char day[32], zone[8];
    if (wall_ms / 1000 > INT64_MAX / 1000 || !localtime_r(&at, &t) ||
        !strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &t) ||
        strftime(zone, sizeof zone, "%z", &t) != 5) {
        buf_printf(out, "%" PRIu64 "ms", wall_ms);
        return;
    }
    buf_printf(out, "%s.%03u%.3s:%s", day, (unsigned)(wall_ms % 1000), zone, zone + 3);
}

void out_time_in(struct buf *out, uint64_t wall_ms, const char *zone) {
    const char *ours = getenv("TZ");
    char kept[256];
    snprintf(kept, sizeof kept, "%s", ours ? ours : "");
    setenv("TZ", zone, 1);
    tzset();
    out_time(out, wall_ms);
    if (ours)
        setenv("TZ", kept, 1);
    else
        unsetenv("TZ");
    tzset();
}

void out_age(struct buf *out, uint64_t wall_ms, struct wall now) {
    bool ahead = wall_ms > now.ms;
    buf_put_str(out, ahead ? STR(" (in ") : STR(" ("));
    out_duration(out, ahead ? wall_ms - now.ms : now.ms - wall_ms);
    buf_put_str(out, ahead ? STR(")") : STR(" ago)"));
}

void out_time_and_age(struct buf *out, uint64_t wall_ms, struct wall now) {
    out_time(out, wall_ms);
    out_age(out, wall_ms, now);
}

/* ---- terminals ------------------------------------------------------------------------------ */
struct out_size out_terminal(int fd) {
    struct winsize size = {0};
    if (ioctl(fd, TIOCGWINSZ, &size) < 0 || !size.ws_row || !size.ws_col)
        return (struct out_size){24, 80};
    return (struct out_size){size.ws_row, size.ws_col};
}

/* A character is taken for one column. */
size_t out_cut(struct str line, size_t columns) {
    size_t width = 0;
    for (size_t i = 0; i < line.len; i++) {
        bool begins = ((unsigned char)line.at[i] & 0xc0) != 0x80;
        if (begins && width++ == columns)
            return i;
    }
    return line.len;
}

/* ---- JSON ----------------------------------------------------------------------------------- */
/* A terminal obeys U+0080 to U+009F, which JSON needs not escape. They stand in strings only. */
static int put_json(const char *bytes, size_t n, void *ctx) {
    bool *lead = ctx; /* the first byte of such a character may have been one */
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (*lead && c <= 0x9f)
            printf("\\u00%02x", c);
        else if (*lead)
            printf("\xc2%c", c);
        else if (c == 0x7f)
            printf("\\u007f");
        else if (c != 0xc2)
            putchar(c);
        *lead = !*lead && c == 0xc2;
    }
    return 0;
}

static void dump(const json_t *json, size_t flags) {
    bool lead = false;
    json_dump_callback(json, put_json, &lead, JSON_ENCODE_ANY | flags);
}

void out_json(const json_t *json, bool terminal) {
    dump(json, terminal ? JSON_INDENT(2) : JSON_COMPACT);
    putchar('\n');
}

void out_json_part(const json_t *json) {
    dump(json, JSON_COMPACT);
}

uint64_t out_field(const json_t *row, const char *key) {
    const json_t *v = json_object_get(row, key);
    uint64_t n;
    if (json_is_integer(v))
        return (uint64_t)json_integer_value(v);
    /* Numbers that JSON readers would not carry exactly come as their digits. */
    return json_is_string(v) && str_to_u64(str_of(json_string_value(v)), UINT64_MAX, &n) ? n : 0;
}

bool out_flag(const json_t *row, const char *key) {
    return json_is_true(json_object_get(row, key));
}

const char *out_text(const json_t *row, const char *key) {
    const json_t *v = json_object_get(row, key);
    return json_is_string(v) ? json_string_value(v) : "";
}

/* ---- tables --------------------------------------------------------------------------------- */
void put_text(struct buf *out, const json_t *row, const char *key) {
    out_clean(out, str_of(out_text(row, key)));
}

void put_number(struct buf *out, const json_t *row, const char *key) {
    buf_printf(out, "%" PRIu64, out_field(row, key));
}

void put_duration(struct buf *out, const json_t *row, const char *key) {
    if (out_field(row, key))
        out_duration(out, out_field(row, key));
}

void put_size(struct buf *out, const json_t *row, const char *key) {
    if (out_field(row, key))
        out_size(out, out_field(row, key));
}

void put_list(struct buf *out, const json_t *row, const char *key) {
    const json_t *list = json_object_get(row, key);
    for (size_t i = 0; i < json_array_size(list); i++) {
        buf_put_str(out, i ? STR(" ") : STR(""));
        out_clean(out, str_of(json_string_value(json_array_get(list, i))));
    }
}

void out_rate(struct buf *out, const json_t *row) {
    static const struct {
        uint64_t ms;
        const char *unit;
    } units[] = {{1000, "/s"}, {60000, "/m"}, {3600000, "/h"}, {86400000, "/d"}};
    uint64_t count = out_field(row, "rate_count"), per_ms = out_field(row, "rate_per_ms");
    buf_printf(out, "%" PRIu64, count);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (units[i].ms != per_ms)
            continue;
        buf_printf(out, "%s", units[i].unit);
        return;
    }
    buf_printf(out, "/%" PRIu64 "ms", per_ms);
}

/* Characters, not bytes: those that continue one do not count. */
static size_t width_of(struct str s) {
    size_t width = 0;
    for (size_t i = 0; i < s.len; i++)
        width += ((unsigned char)s.at[i] & 0xc0) != 0x80;
    return width;
}

struct cells {
    struct buf text;
    size_t *starts; /* of each cell, and where the last one ends */
    size_t n;
};

static struct str cell_at(const struct cells *c, size_t i) {
    return str_make(c->text.at + c->starts[i], c->starts[i + 1] - c->starts[i]);
}

static void fill(struct cells *c, const struct table_column *columns, size_t n,
                 const json_t *rows) {
    size_t lines = json_array_size(rows) + 1;
    c->starts = mem_alloc((lines * n + 1) * sizeof *c->starts);
    for (size_t line = 0; line < lines; line++) {
        const json_t *row = line ? json_array_get(rows, line - 1) : NULL;
        for (size_t i = 0; i < n; i++) {
            c->starts[c->n++] = c->text.len;
            if (row)
                columns[i].put(&c->text, row, columns[i].key);
            else
                buf_put_str(&c->text, str_of(columns[i].title));
        }
    }
    c->starts[c->n] = c->text.len;
}

static void print_line(const struct cells *c, const struct table_column *columns, size_t n,
                       size_t first, const size_t *widths) {
    size_t last = n;
    while (last && cell_at(c, first + last - 1).len == 0)
        last--;
    for (size_t i = 0; i < last; i++) {
        struct str cell = cell_at(c, first + i);
        int room = (int)(widths[i] - width_of(cell));
        if (columns[i].right)
            printf("%*s" STR_FMT, room, "", STR_ARG(cell));
        else
            printf(STR_FMT "%*s", STR_ARG(cell), i + 1 < last ? room : 0, "");
        if (i + 1 < last)
            printf("  ");
    }
}

void table_print(const struct table_column *columns, size_t n, const json_t *rows, const char *none,
                 bool colour) {
    if (json_array_size(rows) == 0) {
        printf("%s\n", none);
        return;
    }
    struct cells c = {.text = BUF(256U << 20)};
    fill(&c, columns, n, rows);
    size_t *widths = mem_zalloc(n * sizeof *widths);
    for (size_t i = 0; i < c.n; i++) {
        size_t width = width_of(cell_at(&c, i));
        if (width > widths[i % n])
            widths[i % n] = width;
    }
    for (size_t first = 0; first < c.n; first += n) {
        bool titles = first == 0 && colour;
        printf("%s", titles ? "\033[1m" : "");
        print_line(&c, columns, n, first, widths);
        printf("%s\n", titles ? "\033[0m" : "");
    }
    mem_free(widths);
    mem_free(c.starts);
    buf_destroy(&c.text);
}

bool out_flush(void) {
    return fflush(stdout) == 0 && !ferror(stdout);
}
