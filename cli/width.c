#include "cli/width.h"

#include <langinfo.h>
#include <string.h>
#include <wchar.h>

#define MARKS_MAX 2 /* combining characters on one base */

bool width_is_utf8(void) {
    return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

/* ---- characters ----------------------------------------------------------------------------- */
struct glyph {
    struct str bytes; /* as they are written; empty: nothing is */
    size_t from;      /* bytes that were read for it */
    int columns;
};

/* Characters without a shape that change how others are shown. */
static bool steers(uint32_t c) {
    return c == 0xad || c == 0x61c || (c >= 0x200b && c <= 0x200f) ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) ||
           (c >= 0xfe00 && c <= 0xfe0f) || c == 0xfeff || (c >= 0xfff0 && c <= 0xfffb) ||
           c >= 0xe0000;
}

/* The bytes of the character that stands there, and what it is; 0: it is no UTF-8. */
static size_t decode(struct str s, uint32_t *c) {
    unsigned char lead = (unsigned char)s.at[0];
    size_t n = lead < 0x80 ? 1 : lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
    if (!n || n > s.len || !str_is_utf8(str_make(s.at, n)))
        return 0;
    static const unsigned char masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    *c = lead & masks[n];
    for (size_t i = 1; i < n; i++)
        *c = *c << 6 | ((unsigned char)s.at[i] & 0x3f);
    return n;
}

static struct glyph glyph_at(struct str s, bool utf8) {
    uint32_t c = 0;
    size_t n = decode(s, &c);
    if (!n)
        return (struct glyph){STR("?"), 1, 1};
    if (c < 0x20 || (c >= 0x7f && c <= 0x9f))
        return (struct glyph){STR(" "), n, 1};
    if (c < 0x80)
        return (struct glyph){str_make(s.at, n), n, 1};
    if (steers(c))
        return (struct glyph){STR(""), n, 0};
    int columns = wcwidth((wchar_t)c);
    if (!utf8 || columns < 0)
        return (struct glyph){STR("?"), n, 1};
    return (struct glyph){str_make(s.at, n), n, columns};
}

/* The next one that is written; false at the end. `marks`: combining characters since the base. */
static bool next(struct str *s, size_t *marks, struct glyph *g, bool utf8) {
    while (s->len) {
        *g = glyph_at(*s, utf8);
        *s = str_make(s->at + g->from, s->len - g->from);
        bool mark = g->bytes.len && g->columns == 0;
        if (!g->bytes.len || (mark && *marks >= MARKS_MAX))
            continue;
        *marks = mark ? *marks + 1 : 0;
        return true;
    }
    return false;
}

/* ---- lines ---------------------------------------------------------------------------------- */
size_t width_of(struct str text, bool utf8) {
    struct glyph g;
    size_t width = 0, marks = MARKS_MAX; /* none in front of the first base */
    while (next(&text, &marks, &g, utf8))
        width += (size_t)g.columns;
    return width;
}

size_t width_put(struct buf *out, struct str text, size_t columns, bool utf8) {
    struct glyph g;
    bool cut = width_of(text, utf8) > columns;
    size_t room = cut && columns ? columns - 1 : columns; /* the mark has one */
    size_t width = 0, marks = MARKS_MAX;
    while (next(&text, &marks, &g, utf8) && width + (size_t)g.columns <= room) {
        buf_put_str(out, g.bytes);
        width += (size_t)g.columns;
    }
    if (!cut || !columns)
        return width;
    buf_put_str(out, utf8 ? STR("\xe2\x80\xa6") : STR("~"));
    return width + 1;
}

static void blanks(struct buf *out, size_t n) {
    while (n--)
        buf_putc(out, ' ');
}

void width_pad(struct buf *out, struct str text, size_t columns, bool right, bool utf8) {
    size_t width = width_of(text, utf8);
    size_t room = width < columns ? columns - width : 0;
    if (right)
        blanks(out, room);
    width = width_put(out, text, columns, utf8);
    if (!right)
        blanks(out, columns - width);
}
