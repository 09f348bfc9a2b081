/* A job as people read of it: what happens with it in one sentence, what is known of it a line
 * each, and what is below it. */
#pragma once

#include "common/base/buf.h"

#include <jansson.h>

#define JOB_TEXT_MAX (16U << 20)

/* `job` as family_ask has it. */
void job_put(struct buf *out, const json_t *job);
