/* Messages and msgpack values as JSON, and back, without loss.
 *
 * A message is an object with the names of its fields as keys: ids in base32, instances in hex,
 * bytes in base64, numbers that stand for a word (state, role, code, ...) as that word; where a
 * number has no word, or is more than JSON readers carry exactly, it stands as it is or as a string
 * of its digits. An unknown key is refused by name, with what was probably meant.
 *
 * Any msgpack value is JSON too. What JSON lacks is an object of its own:
 *     bytes                    {"$bin": "base64"}
 *     an extension             {"$ext": 5, "$bin": "base64"}
 *     a number over 2^63 - 1   {"$uint": "18446744073709551615"}
 * A map's own key that looks like one of these ("$bin", "$$bin", ...) gets one more "$" in front.
 * Refused: keys that are not text or stand twice, floats that are no numbers, more than
 * MSGPACK_DEPTH_MAX containers in each other. Errors name the place where it makes sense.
 * json_t is jansson's and counted by reference; what is returned belongs to the caller. */
#pragma once

#include "common/wire/codec.h"

#include <jansson.h>

/* Words that stand for the numbers of a field. */
struct word {
    uint64_t number;
    const char *name;
};

struct words {
    const char *field; /* every UINT of that name */
    const struct word *at;
    size_t n;
};

/* NULL if the field is a plain number. */
const struct words *json_bridge_words(const struct field_def *f);

/* Strict text to JSON: no duplicate keys, nothing behind it. NULL on error. */
json_t *json_bridge_parse(struct str text, struct err *e);
/* On one line, keys in the order they were set. */
int json_bridge_print(const json_t *json, struct buf *out);

json_t *json_bridge_of_value(struct str value, struct err *e);
int json_bridge_to_value(const json_t *json, struct buf *out, struct err *e);

json_t *json_bridge_of_message(const struct msg_def *def, const void *msg, struct err *e);
/* Text and lists lie in the arena: `json` may go. The message is checked as codec_get would. */
int json_bridge_to_message(const struct msg_def *def, const json_t *json, void *msg,
                           struct arena *arena, struct err *e);
