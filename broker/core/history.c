/* Attempts that went wrong: the last few of a job, a line of text each, as its records keep them
 * and as GET_JOB tells them (docs/protocol.md, P-97). They begin anew when the job is run again. */
#include "broker/core/core_int.h"
#include "common/base/mem.h"

#include <stdio.h>

#define WORKER_MAX 64
#define WORDS_MAX  160
#define LINE_MAX   (20 + 10 + WORKER_MAX + WORDS_MAX + 8)

/* Tabs and line ends are what the lines are made of. */
static void flatten(char *text, size_t len) {
    for (size_t k = 0; k < len; k++)
        if ((unsigned char)text[k] < ' ' || text[k] == 0x7F)
            text[k] = text[k] == '\n' ? '|' : ' ';
}

static size_t worker_words(const struct core *c, const struct extra *x, char out[WORKER_MAX]) {
    char where[512];
    if (!x->worker) /* it was not heard since the broker started */
        return 0;
    const struct session *s = session_at(c, worker_at(c, x->worker)->session);
    int n = snprintf(where, sizeof where, STR_FMT " " STR_FMT " %u", STR_ARG(s->name),
                     STR_ARG(s->host), s->pid);
    return text_clip(str_make(where, (size_t)n < sizeof where ? (size_t)n : sizeof where - 1), out,
                     WORKER_MAX);
}

static uint32_t count_lines(const struct history *h) {
    uint32_t n = 0;
    for (uint32_t k = 0; h && k < h->len; k++)
        n += h->text[k] == '\n';
    return n;
}

static uint32_t first_line_len(const struct history *h) {
    uint32_t n = 0;
    while (n < h->len && h->text[n++] != '\n')
        continue;
    return n;
}

void history_add(struct core *c, uint32_t i, enum err_code code, struct str text) {
    struct extra *x = job_need_extra(c, i);
    char line[LINE_MAX], worker[WORKER_MAX], words[WORDS_MAX];
    size_t worker_len = worker_words(c, x, worker), words_len = text_clip(text, words, WORDS_MAX);
    flatten(worker, worker_len);
    flatten(words, words_len);
    int len = snprintf(line, sizeof line, "%llu\t%u\t%.*s\t%.*s\n", (unsigned long long)c->wall.ms,
                       (unsigned)code, (int)worker_len, worker, (int)words_len, words);
    ASSERT(len > 0 && (size_t)len < sizeof line);
    const struct history *old = x->history;
    uint32_t skip = count_lines(old) >= HISTORY_MAX ? first_line_len(old) : 0;
    uint32_t kept = old ? old->len - skip : 0;
    struct history *h = mem_alloc(sizeof *h + kept + (size_t)len);
    h->len = kept + (uint32_t)len;
    if (kept)
        memcpy(h->text, old->text + skip, kept);
    memcpy(h->text + kept, line, (size_t)len);
    mem_free(x->history);
    x->history = h;
}

void history_set(struct core *c, uint32_t i, struct str text) {
    struct extra *x = job_need_extra(c, i);
    mem_free(x->history);
    x->history = mem_alloc(sizeof *x->history + text.len);
    x->history->len = (uint32_t)text.len;
    memcpy(x->history->text, text.at, text.len);
}
