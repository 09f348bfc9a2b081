/* Bytes as hexadecimal digits, two for each. Pure. */
#pragma once

#include "common/base/str.h"

/* False unless `text` is exactly the digits of `n` bytes, of either case. */
bool hex_read(struct str text, uint8_t *bytes, size_t n);
/* Writes 2 `n` digits in lower case and a NUL. */
void hex_show(const uint8_t *bytes, size_t n, char *text);
