/* The connections by which streams are heard with a key, so that they can be ended when the key is
 * taken out: a reader sends nothing after it has subscribed. The relay's thread. */
#pragma once

#include "broker/keyring.h"

#include <stddef.h>
#include <sys/types.h>

struct reader;

struct readers {
    struct reader *at;
    size_t n, size;
    uint64_t generation; /* of the list that all of them were held against */
};

void readers_done(struct readers *r);
/* One who subscribed; `fd` is ZeroMQ's. */
void readers_note(struct readers *r, int fd, const char *user_id);
/* If the keyring has another list: ends those who are not admitted any more. */
void readers_judge(struct readers *r, struct keyring *k);
