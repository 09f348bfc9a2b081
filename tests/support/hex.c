#include "tests/support/hex.h"

#include "common/base/check.h"

#include <ctype.h>
#include <stdio.h>

static int digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void hex_read(const char *hex, struct buf *out) {
    while (*hex) {
        if (isspace((unsigned char)*hex)) {
            hex++;
            continue;
        }
        int high = digit(hex[0]), low = high < 0 ? -1 : digit(hex[1]);
        ASSERT(high >= 0 && low >= 0);
        ASSERT(buf_putc(out, (char)(high << 4 | low)) == 0);
        hex += 2;
    }
}

void hex_show(struct str bytes, struct buf *out) {
    for (size_t i = 0; i < bytes.len; i++)
        buf_printf(out, "%s%02x", i ? " " : "", (unsigned char)bytes.at[i]);
    buf_putc(out, '\0');
}

void file_read(const char *path, struct buf *out) {
    FILE *file = fopen(path, "re");
    if (!file)
        perror(path);
    ASSERT(file);
    char piece[8192];
    for (size_t n; (n = fread(piece, 1, sizeof piece, file)) > 0;)
        ASSERT(buf_put(out, piece, n) == 0);
    fclose(file);
}
