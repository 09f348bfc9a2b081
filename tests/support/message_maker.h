/* Random but valid messages of every kind, made by the table: for tests, fuzzers and benchmarks.
 * Values at the bounds come more often than chance would have them. */
#pragma once

#include "common/base/arena.h"
#include "common/base/rng.h"
#include "common/wire/codec.h"

/* Fills `msg`, a struct of that message. Optional fields are there in `filled_of_million` of a
 * million cases. Text and lists lie in the arena, which must have room. */
void message_make(const struct msg_def *def, struct rng *r, uint32_t filled_of_million,
                  struct arena *arena, void *msg);
/* Random bytes for the message to carry, with its `size` set to them and `result_size` and
 * `children` cleared; nothing where it carries none. */
struct str message_make_payload(const struct msg_def *def, struct rng *r, void *msg,
                                struct arena *arena);
void message_set_children(const struct msg_def *def, uint64_t n, void *msg);
/* Ends the test, naming the field, unless both hold the same. */
void message_assert_equal(const struct msg_def *def, const void *a, const void *b);
