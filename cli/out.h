/* How `quern` prints: JSON, tables, and values as people read them.
 *
 * Whatever comes from a broker, a file or a user passes out_clean before a terminal sees it: no
 * control characters, one line. */
#pragma once

#include "common/base/buf.h"
#include "common/base/time_types.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* ---- values --------------------------------------------------------------------------------- */
/* Appends the text with control characters as blanks. */
void out_clean(struct buf *out, struct str text);
/* The same of a text of several lines: line ends and tabs stay. */
void out_clean_text(struct buf *out, struct str text);
/* "340ms", "12s", "3m 20s", "2h 5m", "3d 4h" */
void out_duration(struct buf *out, uint64_t ms);
/* "512B", "1.5MiB" */
void out_size(struct buf *out, uint64_t bytes);
/* "2027-01-31T09:00:00.000+01:00", local time */
void out_time(struct buf *out, uint64_t wall_ms);
/* As a clock in that zone shows it; UTC where the host does not know the zone. */
void out_time_in(struct buf *out, uint64_t wall_ms, const char *zone);
/* The time, and how long that is from now: "(in 5s)", "(3m 2s ago)". */
void out_age(struct buf *out, uint64_t wall_ms, struct wall now); /* " (in 5s)" alone */
void out_time_and_age(struct buf *out, uint64_t wall_ms, struct wall now);

/* ---- terminals ------------------------------------------------------------------------------ */
struct out_size {
    size_t rows, columns;
};
/* Of a terminal; 24 and 80 where it does not say. */
struct out_size out_terminal(int fd);
/* How many bytes of a line without control characters are shown in so many columns. */
size_t out_cut(struct str line, size_t columns);

/* ---- JSON ----------------------------------------------------------------------------------- */
/* One value and a newline; on a terminal over several lines. No control characters either way. */
void out_json(const json_t *json, bool terminal);
/* The same as a part of a line. */
void out_json_part(const json_t *json);
/* Fields of an object; 0, false or "" where there is none. */
uint64_t out_field(const json_t *row, const char *key);
bool out_flag(const json_t *row, const char *key);
const char *out_text(const json_t *row, const char *key);

/* ---- tables --------------------------------------------------------------------------------- */
struct table_column {
    const char *title;
    bool right;
    void (*put)(struct buf *out, const json_t *row, const char *key);
    const char *key;
};

/* One line for each object of `rows` under a line of titles; `none` if there are no rows. */
void table_print(const struct table_column *columns, size_t n, const json_t *rows, const char *none,
                 bool colour);

/* For columns. */
void put_text(struct buf *out, const json_t *row, const char *key);
void put_number(struct buf *out, const json_t *row, const char *key);
void put_duration(struct buf *out, const json_t *row, const char *key); /* nothing for 0 */
void put_size(struct buf *out, const json_t *row, const char *key);
void put_list(struct buf *out, const json_t *row, const char *key);

/* The limit of a queue's row: "5/s", "100/h" */
void out_rate(struct buf *out, const json_t *row);

#define TABLE(columns, rows, none, colour)                                                         \
    table_print((columns), sizeof(columns) / sizeof(columns)[0], (rows), (none), (colour))

/* ---- the end -------------------------------------------------------------------------------- */
/* Whether all of standard output was taken. */
bool out_flush(void);
