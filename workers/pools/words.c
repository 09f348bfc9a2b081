#include "workers/pools/words.h"

#define WORDS_MAX 256

struct split {
    struct str in;
    size_t at;
    char *to; /* where the next character goes */
};

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\n';
}

static char next(struct split *s) {
    return s->in.at[s->at++];
}

/* Copies until the quote ends. */
static int quoted(struct split *s, char quote, struct err *e) {
    while (s->at < s->in.len) {
        char c = next(s);
        if (c == quote)
            return 0;
        if (c == '\\' && quote == '"' && s->at < s->in.len)
            c = next(s);
        *s->to++ = c;
    }
    return err_set(e, ERR_BAD_CONFIG, "command: a %c is not closed", quote);
}

static int word(struct split *s, struct err *e) {
    while (s->at < s->in.len && !is_blank(s->in.at[s->at])) {
        char c = next(s);
        if (c == '\'' || c == '"') {
            if (quoted(s, c, e) < 0)
                return -1;
            continue;
        }
        if (c == '\\' && s->at < s->in.len)
            c = next(s);
        *s->to++ = c;
    }
    *s->to++ = 0;
    return 0;
}

int words_split(struct str command, struct arena *arena, char ***argv, struct err *e) {
    size_t n = 0;
    struct split s = {.in = command, .to = arena_alloc(arena, 2 * command.len + 2)};
    *argv = arena_alloc(arena, (WORDS_MAX + 1) * sizeof **argv);
    for (;;) {
        while (s.at < s.in.len && is_blank(s.in.at[s.at]))
            s.at++;
        if (s.at == s.in.len)
            break;
        if (n == WORDS_MAX)
            return err_set(e, ERR_BAD_CONFIG, "command: at most %d words", WORDS_MAX);
        (*argv)[n++] = s.to;
        if (word(&s, e) < 0)
            return -1;
    }
    (*argv)[n] = NULL;
    return n ? 0 : err_set(e, ERR_BAD_CONFIG, "command: there is no word in it");
}
