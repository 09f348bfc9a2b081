/* What `quern top` knows: the broker's answers, and what an operator reads from them.
 *
 * A *part* is one question that is asked again and again; its *rows* are the answer's items as
 * JSON. A *sample* is what only grows (jobs that came in, commits, ...), as it was at some time:
 * rates are what lies between now and a sample at least TOP_RATE_MS old, or the oldest that there
 * is. A *view* is one JSON object of all parts, sorted, with rates, and with `trouble`, what is
 * wrong, the worst first; the screen and --json both show it (docs/operations.md).
 *
 * Pure: no clock, no terminal, no broker. One thread. */
#pragma once

#include "common/base/time_types.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define TOP_SAMPLES   4
#define TOP_APART_MS  1000 /* samples are taken no closer: the broker's own figures are no newer */
#define TOP_RATE_MS   3000
#define TOP_WAIT_MS   10000 /* the oldest ready job of a queue waits for so long: look at it */
#define TOP_STUCK_MS  60000 /* ... something is wrong */
#define TOP_RECENT_MS 60000 /* a job died so lately that it is news */
#define TOP_TROUBLES  50    /* told; the others are counted */

enum top_part {
    TOP_BROKER,
    TOP_QUEUES,
    TOP_POOLS,
    TOP_WORKERS,
    TOP_RUNNING,
    TOP_DEAD,
    TOP_SCHEDULES,
    TOP_PARTS
};
extern const char *const top_part_names[TOP_PARTS];

/* How rows are sorted; those of other parts than queues by trouble or by name. */
enum top_sort { TOP_BY_TROUBLE, TOP_BY_READY, TOP_BY_OLDEST, TOP_BY_RATE, TOP_BY_NAME, TOP_SORTS };
extern const char *const top_sort_names[TOP_SORTS];

/* `level` of a row or of a trouble; absent: nothing is wrong. */
enum top_level { TOP_FINE, TOP_NOTE, TOP_WARN, TOP_BAD };
extern const char *const top_level_names[];
enum top_level top_level_of(const json_t *row);

struct top_sample {
    struct mono at;
    json_t *broker; /* STATUS_INFO */
    json_t *queues; /* of each name [entered, ended] */
};

struct top_model {
    json_t *rows[TOP_PARTS]; /* the last answers; NULL: none yet, or not for this role to ask */
    struct mono at;          /* when they were given */
    struct top_sample samples[TOP_SAMPLES]; /* the oldest first */
    size_t n_samples;
};

/* Takes ownership of the rows of a part. */
void top_take(struct top_model *m, enum top_part part, json_t *rows);
/* All parts of one time were taken: the view is of now. */
void top_taken(struct top_model *m, struct mono at);
/* A new object; `now` is for ages. */
json_t *top_view(const struct top_model *m, enum top_sort sort, struct wall now);
void top_done(struct top_model *m);

/* ---- between the files of the model --------------------------------------------------------- */
/* Marks what is wrong with the rows of a view, and lists it as `trouble`. */
void top_judge(json_t *view, struct wall now);
