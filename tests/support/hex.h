/* Bytes as people write them in test data: hex digits in pairs, white space anywhere between. */
#pragma once

#include "common/base/buf.h"

/* Appends the bytes; ends the test on anything that is not hex. */
void hex_read(const char *hex, struct buf *out);
/* "93 01 0a", for messages of failed tests; the buffer is terminated by NUL. */
void hex_show(struct str bytes, struct buf *out);
/* Appends a whole file; ends the test if it cannot be read. */
void file_read(const char *path, struct buf *out);
