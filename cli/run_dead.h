/* Dead letters, for the commands that show them and those that run them again. */
#pragma once

#include "cli/cli.h"

/* Each appends to `all`; -1 with why not. */
int dead_groups(struct cli *c, json_t *all, struct err *e);
/* At most `limit` jobs of a group, behind `before` if that is not 0; then that is where the next
 * page begins, 0 at the end. */
int dead_jobs(struct cli *c, uint64_t group, uint64_t limit, uint64_t *before, json_t *all,
              struct err *e);
/* Some of what RETRY_JOB would run: jobs of the group or of the queue; of neither, the groups. */
int dead_sample(struct cli *c, uint64_t group, struct str queue, json_t *all, struct err *e);
void dead_print_groups(const struct cli *c, const json_t *groups);
void dead_print_jobs(const struct cli *c, const json_t *jobs);
