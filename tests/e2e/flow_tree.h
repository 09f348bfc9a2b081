/* Flows of the kind `spawn` as tests make them, and what must have become of each job of one. */
#pragma once

#include "common/wire/client.h"

#include <stdbool.h>
#include <stdint.h>

/* As the payload of `spawn`. Its then is of kind `spawn` too, and tells what it was told. */
struct flow_shape {
    uint32_t children, depth;
    bool now, then;
};

struct flow_found {
    uint32_t jobs, thens, crashed; /* crashed: dead, because they were there at each kill */
};

/* An operator, connected to RUN/operator.sock; ends the process if it is not let in. */
struct client *flow_client(const char *run);
/* The payload, as JSON; `number` makes its unique keys. */
void flow_payload(const struct flow_shape *s, uint32_t number, char *out, size_t size);
int flow_json(const char *json, struct buf *out, struct err *e);
/* How many jobs are below one of that shape. */
uint32_t flow_below(const struct flow_shape *s);
int flow_job(struct client *c, uint64_t id, struct msg_job_info *out, struct err *e);
/* The whole of a settled flow: -1 with the first thing that is wrong. */
int flow_check(struct client *c, uint64_t id, const struct flow_shape *s, struct flow_found *found,
               struct err *e);
