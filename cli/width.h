/* Text in columns of a terminal: wide characters take two, combining ones none.
 *
 * What comes out is harmless: control characters become blanks, characters that steer (directions
 * of writing, joiners, marks of order) are left out, and of combining characters one base has at
 * most two. What is no UTF-8 becomes '?'; so does all beyond ASCII where the terminal's locale has
 * no UTF-8. How wide a character is the locale (LC_CTYPE) says. */
#pragma once

#include "common/base/buf.h"

/* Whether the process's locale is one of UTF-8: then text may go beyond ASCII. */
bool width_is_utf8(void);

/* Columns that the text takes as width_put writes it. */
size_t width_of(struct str text, bool utf8);
/* Appends as much of the text as so many columns take; the columns that it took. Text that is cut
 * ends with a mark. */
size_t width_put(struct buf *out, struct str text, size_t columns, bool utf8);
/* The same, then blanks, or before it with `right`, so that it takes them all. */
void width_pad(struct buf *out, struct str text, size_t columns, bool right, bool utf8);
