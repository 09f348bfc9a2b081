/* docs/metrics.md, which is generated from schemas/metrics.def: the program metrics_doc prints it,
 * metrics_test compares it with the committed file. */
#pragma once

#include "common/base/buf.h"

#define METRICS_DOC_MAX (1U << 18)

void metrics_doc_write(struct buf *out);
