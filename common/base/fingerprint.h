/* What failures have in common: the same kind of job, the same error, the same words but for what
 * differs from one time to the next. docs/protocol.md (P-95) defines it, so that others can make
 * it; it must never change, for it is on disk. */
#pragma once

#include "common/base/str.h"

#include <stdint.h>

#define FINGERPRINT_OTHER    1   /* of no failure: of what has no place of its own */
#define FINGERPRINT_TEXT_MAX 256 /* bytes of a line that count */

/* At least 2. `text` may have several lines. */
uint64_t fingerprint_of(struct str kind, uint64_t error, struct str text);

/* The words that count, at most 2 * FINGERPRINT_TEXT_MAX bytes: what a test looks at. Returns how
 * many there are. */
size_t fingerprint_words(struct str text, char out[2 * FINGERPRINT_TEXT_MAX + 1]);
