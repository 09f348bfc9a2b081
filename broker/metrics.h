/* The pages for monitoring as text, from a snapshot: schemas/metrics.def in the text format 0.0.4
 * of Prometheus, and the state as JSON. Pure functions. */
#pragma once

#include "broker/ops_snapshot.h"
#include "common/base/buf.h"

#define METRICS_PREFIX    "quern_"
#define METRICS_PAGE_MAX  (1U << 20)
#define METRICS_MEDIATYPE "text/plain; version=0.0.4; charset=utf-8"

void metrics_write(struct buf *out, const struct ops_snapshot *s);
/* A label's value between its quotes. */
void metrics_escape(struct buf *out, struct str value);
void health_write(struct buf *out, const struct ops_snapshot *s);

/* The rows, for the reference page. Ends with a row whose name is NULL. */
struct metric_row {
    const char *name, *type, *labels, *doc, *advice;
};
const struct metric_row *metric_rows(void);
