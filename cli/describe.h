/* Jobs as they are described in JSON: a line of `submit --batch --lines job`, a child.
 *
 * A description is an object with the keys of the message `submit` and `payload`; that of a job
 * also `children`, a list of descriptions, and `then`, one of the child that waits for all others.
 * What comes of it lies in the arena. */
#pragma once

#include "common/base/arena.h"
#include "common/wire/client.h"

#include <jansson.h>

#define DESCRIBE_CHILDREN_MAX 1000 /* of one job, as in messages.md */

/* A job; what it does not say is as `defaults` has it, an object with the keys of submit. */
int describe_job(const json_t *json, const json_t *defaults, struct arena *arena,
                 struct client_item *out, struct err *e);
/* The children of a job, if any: a list, or NULL, and the then (NULL: none). They get its trace. */
int describe_children(const json_t *list, const json_t *then, struct arena *arena,
                      struct client_item *parent, struct err *e);
