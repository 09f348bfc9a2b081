/* What Enter opens in `quern top`: a row of a pane, with what the broker knows of it beyond. */
#pragma once

#include "cli/cli.h"
#include "cli/job_text.h"
#include "cli/top_model.h"

#define TOP_DETAIL_MAX JOB_TEXT_MAX

/* Appends the text; `title` of what. -1: the broker did not say. */
int top_detail(struct cli *c, enum top_part part, const json_t *row, struct buf *title,
               struct buf *out, struct err *e);
