/* How a flow goes, as `quern` tells it. */
#pragma once

#include "cli/cli.h"

/* As --json shows it. */
json_t *flow_json(const struct client_flow *f, struct err *e);
/* "12 of 40 jobs below it have ended, 1 dead" */
void flow_put(struct buf *out, const struct client_flow *f);
/* Some that have ended did not end well. */
bool flow_has_failed(const struct client_flow *f);

/* Shows how a job and all below it go on until all of it has ended: drawn anew on a terminal, else
 * a line or an object for each change. The exit status. Ctrl-C and SIGTERM end the watching. */
int flow_watch(struct cli *c, uint64_t id);
