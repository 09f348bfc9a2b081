#include "common/base/fingerprint.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* What is read, and the words that came of it: never more bytes than were read. */
struct words {
    struct str in;
    size_t at;
    char *out;
    size_t len;
    size_t mark; /* what is behind the last '#'; 0: there is none */
};

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_hex(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_blank(char c) {
    return (unsigned char)c <= ' ';
}

static bool is_word(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (unsigned char)c >= 0x80;
}

static bool after_word(const struct words *w) {
    return w->at > 0 && is_word(w->in.at[w->at - 1]);
}

static void put(struct words *w, const char *bytes, size_t n) {
    memcpy(w->out + w->len, bytes, n);
    w->len += n;
}

/* Rows of them, such as times and addresses, are one. */
static void put_number(struct words *w) {
    bool joins = w->mark && w->len - w->mark <= 2;
    for (size_t k = w->mark; joins && k < w->len; k++)
        joins = strchr(" .,:;+-/", w->out[k]) != NULL;
    if (joins)
        w->len = w->mark;
    else
        put(w, "#", 1);
    w->mark = w->len;
}

/* A word is kept, or stands for a number: it has a digit, or is eight hex digits or more. */
static void put_word(struct words *w, struct str word) {
    bool digit = false, hex = word.len >= 8;
    for (size_t k = 0; k < word.len; k++) {
        digit |= is_digit(word.at[k]);
        hex &= is_hex(word.at[k]);
    }
    if (digit || hex)
        put_number(w);
    else
        put(w, word.at, word.len);
}

static void take_blanks(struct words *w) {
    while (w->at < w->in.len && is_blank(w->in.at[w->at]))
        w->at++;
    if (w->len && w->at < w->in.len && w->out[w->len - 1] != ' ')
        put(w, " ", 1);
}

static void take_word(struct words *w) {
    size_t from = w->at;
    const char *s = w->in.at;
    while (w->at < w->in.len && (is_word(s[w->at]) || (s[w->at] == '-' && w->at + 1 < w->in.len &&
                                                       is_word(s[w->at + 1]))))
        w->at++;
    put_word(w, str_make(s + from, w->at - from));
}

static bool take_quoted(struct words *w) {
    char quote = w->in.at[w->at];
    if (!strchr("'\"`", quote) || after_word(w))
        return false;
    const char *from = w->in.at + w->at + 1;
    const char *end = memchr(from, quote, w->in.len - w->at - 1);
    if (!end)
        return false;
    put(w, "\"\"", 2);
    w->at = (size_t)(end + 1 - w->in.at);
    return true;
}

static bool ends_path(char c) {
    return is_blank(c) || strchr("'\"`,;:()[]<>", c) != NULL;
}

/* Of a path, or what follows the colon of an address, only the first part stays. */
static bool take_path(struct words *w) {
    const char *s = w->in.at;
    size_t n = w->in.len, at = w->at;
    if (s[at] != '/' || after_word(w))
        return false;
    while (at < n && s[at] == '/')
        at++;
    size_t first = at;
    while (at < n && s[at] != '/' && !ends_path(s[at]))
        at++;
    if (at == first)
        return false;
    put(w, s + w->at, first - w->at);
    put_word(w, str_make(s + first, at - first));
    if (at + 1 < n && s[at] == '/' && !ends_path(s[at + 1])) {
        put(w, "/*", 2);
        while (at < n && !ends_path(s[at]))
            at++;
    }
    w->at = at;
    return true;
}

static void take_line(struct words *w, struct str line) {
    w->in = str_make(line.at, line.len < FINGERPRINT_TEXT_MAX ? line.len : FINGERPRINT_TEXT_MAX);
    w->at = 0;
    while (w->at < w->in.len) {
        char c = w->in.at[w->at];
        if (is_blank(c))
            take_blanks(w);
        else if (is_word(c))
            take_word(w);
        else if (!take_quoted(w) && !take_path(w))
            put(w, &w->in.at[w->at++], 1);
    }
}

static struct str first_line(struct str text) {
    const char *end = text.len ? memchr(text.at, '\n', text.len) : NULL;
    return str_trim(end ? str_make(text.at, (size_t)(end - text.at)) : text);
}

static struct str last_line(struct str text) {
    size_t from = text.len;
    while (from > 0 && text.at[from - 1] != '\n')
        from--;
    return str_trim(str_make(text.at + from, text.len - from));
}

size_t fingerprint_words(struct str text, char out[2 * FINGERPRINT_TEXT_MAX + 1]) {
    struct words w = {.out = out};
    text = str_trim(text);
    struct str line = first_line(text);
    take_line(&w, line);
    /* "Traceback (most recent call last):" says nothing: what is wrong stands at the end. */
    if (line.len < text.len && line.len && line.at[line.len - 1] == ':')
        take_line(&w, last_line(text));
    out[w.len] = '\0';
    return w.len;
}

/* FNV-1a (Fowler, Noll, Vo). */
static uint64_t add(uint64_t h, const char *bytes, size_t n) {
    for (size_t k = 0; k < n; k++)
        h = (h ^ (unsigned char)bytes[k]) * 0x100000001B3ULL;
    return h;
}

uint64_t fingerprint_of(struct str kind, uint64_t error, struct str text) {
    char words[2 * FINGERPRINT_TEXT_MAX + 1], number[24];
    size_t n = fingerprint_words(text, words);
    int digits = snprintf(number, sizeof number, "%llu", (unsigned long long)error);
    uint64_t h = add(0xCBF29CE484222325ULL, kind.at, kind.len);
    h = add(h, "", 1);
    h = add(h, number, (size_t)digits + 1);
    h = add(h, words, n);
    return h < 2 ? h + 2 : h;
}
