/* docs/log_events.md, which is generated from schemas/log_events.def: the program log_doc prints
 * it, log_page_test compares it with the committed file. */
#pragma once

#include "common/base/buf.h"

#define LOG_DOC_MAX (1U << 18)

void log_doc_write(struct buf *out);
