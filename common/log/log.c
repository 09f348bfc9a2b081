#include "common/log/log.h"

#include "common/base/check.h"
#include "common/base/id.h"
#include "common/log/sink.h"
#include "common/os/clock.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static const struct log_row defs[LOG_EVENTS] = {
#define LOG_EVENT(id, name, level, per_second, text, advice)                                       \
    [LOG_##id] = {name, text, advice, LOG_LEVEL_##level, per_second},
#include "schemas/log_events.def"
#undef LOG_EVENT
};

static const char *const level_names[] = {
    [LOG_LEVEL_error] = "error",
    [LOG_LEVEL_warn] = "warn",
    [LOG_LEVEL_info] = "info",
    [LOG_LEVEL_debug] = "debug",
};

/* The one state of a process that all its threads share; each part stands for itself. */
static struct {
    _Atomic(const char *) program;
    atomic_int level, format;
    atomic_uint_fast64_t lost, lost_told;
    /* What each event wrote in its running second: second << 24 | lines. */
    atomic_uint_fast64_t spent[LOG_EVENTS];
    atomic_uint_fast64_t suppressed[LOG_EVENTS];
} log_state = {.level = LOG_LEVEL_info, .format = LOG_FORMAT_json};

/* The last line of a program that has met a bug of its own. */
static void tell_bug(const char *file, int line, const char *func, const char *what) {
    log_event(LOG_program_bug, log_text("file", file), log_u64("line", (uint64_t)line),
              log_text("function", func), log_text("what", what));
}

void log_open(const char *program, int fd) {
    atomic_store(&log_state.program, program);
    sink_open(fd);
    check_tell(tell_bug);
}

void log_look(void) {
    sink_look();
}

void log_set(enum log_level level, enum log_format format) {
    atomic_store(&log_state.level, (int)level);
    atomic_store(&log_state.format, (int)format);
}

bool log_wanted(enum log_id id) {
    return (int)defs[id].level <= atomic_load_explicit(&log_state.level, memory_order_relaxed);
}

bool log_is_json(void) {
    return atomic_load(&log_state.format) == LOG_FORMAT_json;
}

uint64_t log_lost(void) {
    return atomic_load(&log_state.lost);
}

const struct log_row *log_row(enum log_id id) {
    return &defs[id];
}

const char *log_level_name(enum log_level level) {
    return level_names[level];
}

const char *log_event_name(enum log_id id) {
    return defs[id].name;
}

/* ---- one line ------------------------------------------------------------------------------- */
/* Room is kept for what ends a line, so that a value that is cut leaves it well-formed. */
#define LINE_TAIL 8

struct line {
    char at[LOG_LINE_MAX];
    size_t len;
    bool full; /* a value was cut: nothing more goes in */
};

static size_t line_room(const struct line *l) {
    return sizeof l->at - LINE_TAIL - l->len;
}

static bool put(struct line *l, struct str s) {
    if (s.len > line_room(l))
        return false;
    memcpy(l->at + l->len, s.at, s.len);
    l->len += s.len;
    return true;
}

/* One character of `s` as it stands in a line, into `to`; moves on. */
static size_t one_character(struct str *s, char to[8], bool json) {
    unsigned char c = (unsigned char)s->at[0];
    size_t n = 1;
    if (c >= 0x80) {
        while (n < 4 && n < s->len && !str_is_utf8(str_make(s->at, n)))
            n++;
        if (!str_is_utf8(str_make(s->at, n))) {
            n = 1;
            to[0] = '?';
        } else {
            memcpy(to, s->at, n);
        }
        s->at += n;
        s->len -= n;
        return n;
    }
    s->at++;
    s->len--;
    if (json && (c == '"' || c == '\\')) {
        to[0] = '\\';
        to[1] = (char)c;
        return 2;
    }
    if (c < 0x20 || c == 0x7f) {
        if (json && c) /* many readers of JSON refuse a zero in any form */
            return (size_t)snprintf(to, 8, "\\u%04x", c);
        to[0] = c ? ' ' : '?';
        return 1;
    }
    to[0] = (char)c;
    return 1;
}

static void put_text(struct line *l, struct str s, bool json) {
    while (s.len && !l->full) {
        char c[8];
        size_t n = one_character(&s, c, json);
        if (n + 3 > line_room(l)) {
            put(l, STR("..."));
            l->full = true;
        } else {
            put(l, str_make(c, n));
        }
    }
}

static struct str show_number(char to[24], const struct log_field *f) {
    int n = f->type == LOG_TYPE_U64   ? snprintf(to, 24, "%" PRIu64, f->u64)
            : f->type == LOG_TYPE_I64 ? snprintf(to, 24, "%" PRId64, f->i64)
                                      : snprintf(to, 24, "%s", f->flag ? "true" : "false");
    return str_make(to, (size_t)n);
}

static void put_field(struct line *l, const struct log_field *f, bool json) {
    char number[24];
    bool is_text = f->type == LOG_TYPE_STR || f->type == LOG_TYPE_ID;
    struct id_text id;
    struct str v = f->type == LOG_TYPE_STR ? f->text : STR("");
    if (f->type == LOG_TYPE_ID) {
        id = id_show(f->u64);
        v = str_of(id.at);
    } else if (!is_text) {
        v = show_number(number, f);
    }
    size_t need = strlen(f->key) + (is_text ? 12 : 8 + v.len);
    if (l->full || need > line_room(l)) {
        l->full = true;
        return;
    }
    put(l, json ? STR(",\"") : STR(" "));
    put(l, str_of(f->key));
    put(l, json ? is_text ? STR("\":\"") : STR("\":") : STR("="));
    put_text(l, v, json);
    if (json && is_text) { /* within the tail that is kept free, if need be */
        l->at[l->len++] = '"';
    }
}

static struct str show_time(char to[40]) {
    uint64_t ms = clock_wall().ms;
    time_t seconds = (time_t)(ms / 1000);
    struct tm t;
    gmtime_r(&seconds, &t);
    size_t n = strftime(to, 32, "%Y-%m-%dT%H:%M:%S", &t);
    n += (size_t)snprintf(to + n, 8, ".%03uZ", (unsigned)(ms % 1000));
    return str_make(to, n);
}

static void put_head(struct line *l, const struct log_row *d, bool json) {
    char when[40];
    struct str now = show_time(when);
    const char *program = atomic_load(&log_state.program);
    if (!program)
        program = "";
    int n =
        json ? snprintf(l->at, sizeof l->at,
                        "{\"time\":\"%.*s\",\"level\":\"%s\",\"event\":\"%s\",\"program\":\"%s\","
                        "\"pid\":%ld,\"text\":\"%s\"",
                        (int)now.len, now.at, level_names[d->level], d->name, program,
                        (long)getpid(), d->text)
             : snprintf(l->at, sizeof l->at, "%.*s %-5s %s[%ld] %s: %s;", (int)now.len, now.at,
                        level_names[d->level], program, (long)getpid(), d->name, d->text);
    ASSERT(n > 0 && (size_t)n < sizeof l->at / 4);
    l->len = (size_t)n;
}

static bool write_line(const char *at, size_t len) {
    bool written = sink_write(at, len);
    if (!written)
        atomic_fetch_add(&log_state.lost, 1);
    return written;
}

/* Whether this second has room for one more line of the event. */
static bool may_write(enum log_id id) {
    uint32_t most = defs[id].per_second;
    if (!most)
        return true;
    uint64_t second = clock_mono().ms / 1000 + 1;
    uint64_t old = atomic_load(&log_state.spent[id]), new;
    do {
        uint64_t lines = old >> 24 == second ? old & 0xffffff : 0;
        if (lines >= most) {
            atomic_fetch_add(&log_state.suppressed[id], 1);
            return false;
        }
        new = second << 24 | (lines + 1);
    } while (!atomic_compare_exchange_weak(&log_state.spent[id], &old, new));
    return true;
}

static bool write_event(enum log_id id, const struct log_field *fields, size_t n) {
    if (!log_wanted(id) || !may_write(id))
        return false;
    bool json = atomic_load(&log_state.format) == LOG_FORMAT_json;
    struct line l = {.len = 0};
    put_head(&l, &defs[id], json);
    for (size_t i = 0; i < n; i++)
        if (fields[i].type != LOG_TYPE_NONE && !(fields[i].type == LOG_TYPE_ID && !fields[i].u64))
            put_field(&l, &fields[i], json);
    uint64_t suppressed = atomic_exchange(&log_state.suppressed[id], 0);
    struct log_field more = log_u64("suppressed", suppressed);
    if (suppressed)
        put_field(&l, &more, json);
    if (json)
        l.at[l.len++] = '}';
    l.at[l.len++] = '\n';
    return write_line(l.at, l.len);
}

/* Lines can be written again: how many could not. */
static void tell_lost(void) {
    uint64_t lost = atomic_load(&log_state.lost), told = atomic_load(&log_state.lost_told);
    if (lost == told || !atomic_compare_exchange_strong(&log_state.lost_told, &told, lost))
        return;
    struct log_field n = log_u64("lines", lost - told);
    if (!write_event(LOG_log_lost, &n, 1))
        atomic_fetch_sub(&log_state.lost_told, lost - told);
}

void log_write(enum log_id id, const struct log_field *fields, size_t n) {
    if (write_event(id, fields, n))
        tell_lost();
}

void log_pass(struct str line) {
    if (line.len && line.len <= LOG_LINE_MAX && write_line(line.at, line.len))
        tell_lost();
}

void log_refuse(const char *program, enum log_id id, const struct err *e) {
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "%s: %s\n", program, e->text);
    else
        log_event(id, LOG_WHY(e));
}
