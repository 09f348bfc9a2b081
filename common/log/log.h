/* Log events: one line each on standard error, from one table (schemas/log_events.def).
 *
 *     log_event(LOG_broker_ready, log_u64("epoch", 7), log_str("data", dir));
 *
 * As JSON: {"time":"2026-01-31T12:00:00.123Z","level":"info","event":"broker.ready",
 * "program":"quern-broker","pid":17,"text":"the broker serves","epoch":7,"data":"/var/q"}
 * As text: 2026-01-31T12:00:00.123Z info  broker.ready: the broker serves; epoch=7 data=/var/q
 *
 * A line is one write(2) of at most LOG_LINE_MAX bytes, which a pipe takes whole: lines of several
 * processes do not mix. A value that would make it longer is cut and ends with "...". Bytes that
 * are not UTF-8 come out as '?'. What cannot be written at once is lost (common/log/sink.h); how
 * many lines that were is told by the next that can be, as log.lost.
 *
 * Any thread may call anything here. */
#pragma once

#include "common/base/err.h"
#include "common/base/str.h"
#include "common/base/trace.h"

#include <stdbool.h>
#include <stdint.h>

#define LOG_LINE_MAX 4096

enum log_level { LOG_LEVEL_error, LOG_LEVEL_warn, LOG_LEVEL_info, LOG_LEVEL_debug };
enum log_format { LOG_FORMAT_json, LOG_FORMAT_text };

enum log_id {
#define LOG_EVENT(id, name, level, per_second, text, advice) LOG_##id,
#include "schemas/log_events.def"
#undef LOG_EVENT
    LOG_EVENTS
};

enum log_type {
    LOG_TYPE_NONE,
    LOG_TYPE_STR,
    LOG_TYPE_U64,
    LOG_TYPE_I64,
    LOG_TYPE_BOOL,
    LOG_TYPE_ID
};

struct log_field {
    enum log_type type;
    const char *key; /* letters and underscores; stands in the line as it is */
    union {
        struct str text;
        uint64_t u64;
        int64_t i64;
        bool flag;
    };
};

static inline struct log_field log_str(const char *key, struct str v) {
    return (struct log_field){.type = LOG_TYPE_STR, .key = key, .text = v};
}

static inline struct log_field log_text(const char *key, const char *v) {
    return log_str(key, str_of(v));
}

static inline struct log_field log_u64(const char *key, uint64_t v) {
    return (struct log_field){.type = LOG_TYPE_U64, .key = key, .u64 = v};
}

static inline struct log_field log_i64(const char *key, int64_t v) {
    return (struct log_field){.type = LOG_TYPE_I64, .key = key, .i64 = v};
}

static inline struct log_field log_bool(const char *key, bool v) {
    return (struct log_field){.type = LOG_TYPE_BOOL, .key = key, .flag = v};
}

/* A job or a fence, as 13 characters; left out when it is 0. */
static inline struct log_field log_id(const char *key, uint64_t v) {
    return (struct log_field){.type = LOG_TYPE_ID, .key = key, .u64 = v};
}

/* "trace", the trace id of a traceparent; left out where it is none. */
static inline struct log_field log_trace(struct str v) {
    return v.len == TRACE_LEN ? log_str("trace", str_make(v.at + 3, TRACE_ID_LEN))
                              : (struct log_field){.type = LOG_TYPE_NONE};
}

/* What every line about a job has: one search for any of the three finds all of them. */
#define LOG_JOB(job, tenant, trace) log_id("job", job), log_str("tenant", tenant), log_trace(trace)
/* "error": its words, and "code": its name. */
#define LOG_WHY(e) log_text("error", (e)->text), log_text("code", err_code_name((e)->code))

/* log_event(id, field, field, ...) */
#define LOG_FIELDS(...)                                                                            \
    ((const struct log_field[]){{LOG_TYPE_NONE, NULL, {{NULL, 0}}}, ##__VA_ARGS__})
#define log_event(id, ...)                                                                         \
    (log_wanted(id) ? log_write((id), LOG_FIELDS(__VA_ARGS__),                                     \
                                sizeof LOG_FIELDS(__VA_ARGS__) / sizeof(struct log_field))         \
                    : (void)0)

/* The program's name, which must outlive all logging, and where lines go (2 until then). Before
 * there are threads. */
void log_open(const char *program, int fd);
/* Whether another file has the log's name by now; so does each line, once a second. */
void log_look(void);
/* Until then: info, JSON. */
void log_set(enum log_level level, enum log_format format);
bool log_wanted(enum log_id id);
bool log_is_json(void);
void log_write(enum log_id id, const struct log_field *fields, size_t n);
/* A line, with its end, that another program of ours has made. */
void log_pass(struct str line);
/* Why a program does not begin, or cannot go on: to a person as words, to a file as the event. */
void log_refuse(const char *program, enum log_id id, const struct err *e);
uint64_t log_lost(void);

/* A row of the table. */
struct log_row {
    const char *name, *text, *advice;
    enum log_level level;
    uint32_t per_second;
};
const struct log_row *log_row(enum log_id id);
const char *log_event_name(enum log_id id);
const char *log_level_name(enum log_level level);
