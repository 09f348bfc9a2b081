/* A worker of two kinds.
 *
 *   words.count   {"path": FILE}: the result is {"words": N, "lines": N, "bytes": N}
 *   words.recite  {"text": TEXT, "ms": 100}: writes the text to the job's stream, a word each `ms`
 *
 *     cc -std=c11 word_count.c $(pkg-config --cflags --libs quern) -o word_count
 *     quern submit words.count --payload '{"path": "/etc/services"}' --wait */
#include <ctype.h>
#include <errno.h>
#include <quern.h>
#include <stdio.h>
#include <string.h>

#define BLOCK 65536

struct counts {
    uint64_t words, lines, bytes;
    bool in_word;
};

static void count(struct counts *c, const char *at, size_t size) {
    for (size_t i = 0; i < size; i++) {
        bool blank = isspace((unsigned char)at[i]) != 0;
        c->words += !blank && !c->in_word;
        c->lines += at[i] == '\n';
        c->in_word = !blank;
    }
    c->bytes += size;
}

static uint64_t size_of(FILE *file) {
    long end = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : 0;
    rewind(file);
    return end > 0 ? (uint64_t)end : 0; /* 0: unknown, of a pipe */
}

static int count_file(struct quern_job *job, FILE *file) {
    struct counts c = {0};
    char block[BLOCK];
    size_t n;
    uint64_t size = size_of(file);
    while ((n = fread(block, 1, sizeof block, file)) > 0) {
        if (quern_job_check(job) < 0)
            return -1;
        count(&c, block, n);
        quern_job_progress(job, c.bytes, size);
    }
    if (ferror(file))
        return quern_job_fail(job, QUERN_TEMP, "cannot be read: %s", strerror(errno));
    quern_job_put_uint(job, "words", c.words);
    quern_job_put_uint(job, "lines", c.lines);
    return quern_job_put_uint(job, "bytes", c.bytes);
}

/* A file that is not there may come: TEMP, another attempt will look again. Everything else will
 * not get better by itself. */
static int words_count(struct quern_job *job, void *user) {
    char path[4096];
    (void)user;
    if (quern_job_text(job, "path", "", path, sizeof path) < 0)
        return -1;
    FILE *file = fopen(path, "r");
    if (!file)
        return quern_job_fail(job, errno == ENOENT && *path ? QUERN_TEMP : QUERN_PERM, "\"%s\": %s",
                              path, strerror(errno));
    int rc = count_file(job, file);
    fclose(file);
    return rc;
}

static int words_recite(struct quern_job *job, void *user) {
    uint64_t ms, words = 0;
    const char *text = quern_job_long_text(job, "text", NULL);
    (void)user;
    if (!text || quern_job_uint(job, "ms", 100, 60000, &ms) < 0)
        return -1;
    while (*text) {
        size_t n = strcspn(text, " ");
        n += strspn(text + n, " ");
        if (quern_job_delta(job, 0, text, n) < 0 || quern_job_wait(job, ms) < 0)
            return -1;
        text += n;
        quern_job_put_uint(job, "words", ++words); /* what a cancelled job leaves */
    }
    return 0;
}

int main(void) {
    struct quern_kind kinds[] = {quern_kind_make("words.count", words_count),
                                 quern_kind_make("words.recite", words_recite)};
    kinds[0].timeout_ms = 60000;
    kinds[0].backoff_ms = 200;
    kinds[1].streams = true;
    return quern_worker_run(NULL, kinds, 2);
}
