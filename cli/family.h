/* A job and what is below it, as one document: JOB_INFO with `children`, a list of such documents,
 * where it has any, and `more`, what of them is not in the list: an object with `count` and, where
 * they were counted, how many are in which state, and `gone`, those that are past retention.
 *
 * Those that failed and those that run come first; a then stands last. */
#pragma once

#include "cli/cli.h"

#define FAMILY_LEVEL_MAX 20   /* children shown of one job, beside its then */
#define FAMILY_ROWS_MAX  200  /* in all; what was begun is shown whole */
#define FAMILY_READ_MAX  2048 /* children of one job that are looked at one by one */

/* `payload`: that job with its payload and result. */
int family_ask(struct cli *c, uint64_t id, bool payload, json_t **job, struct err *e);
/* Of a list of children those that are to be shown, in order; for the others `more` is set in
 * `parent`. */
void family_choose(json_t *parent, json_t *children);
/* What is below a job, a line each. */
void family_put(struct buf *out, const json_t *job);
