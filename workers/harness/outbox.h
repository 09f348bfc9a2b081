/* What a worker says, gathered into few messages: all results that are ready leave in one.
 *
 * What is put here leaves at the next outbox_flush, or before when a message is full. Reports of
 * one attempt leave in the order STARTED, PROGRESS, RETURNED, RESULT, since the broker takes one
 * that comes behind the RESULT for a stale one. What cannot be sent is dropped: the agent says
 * again what matters. One thread. */
#pragma once

#include "common/wire/link.h"
#include "workers/harness/children.h"

#define OUTBOX_FRAMES 4

struct outbox {
    struct link *link;
    struct frame_out frames[OUTBOX_FRAMES];
};

void outbox_setup(struct outbox *o, struct link *link);
void outbox_teardown(struct outbox *o);
/* `children`: of a result, or NULL. -1: it is too large for a message by the terms of now. */
int outbox_put(struct outbox *o, enum verb verb, const void *message, struct str payload,
               const struct children *children);
void outbox_flush(struct outbox *o);
