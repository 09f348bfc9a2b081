/* Base64 as RFC 4648 section 4 has it: the standard alphabet, with padding, nothing else between.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/str.h"

int base64_put(struct buf *out, struct str bytes);
/* Appends the bytes; false on anything but whole, padded base64, and when the buffer is full. */
bool base64_read(struct str text, struct buf *out);
