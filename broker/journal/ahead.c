#include "broker/journal/ahead.h"

#include "common/base/check.h"

static uint32_t end_of(const struct ahead *a, uint32_t segment) {
    return a->log->segments[segment - a->log->first].end;
}

/* ---- reading ahead --------------------------------------------------------------------------- */

static bool all_asked(const struct ahead *a) {
    return a->ask_segment > a->log->last;
}

static struct ahead_chunk *ask(struct ahead *a) {
    struct ahead_chunk *c = &a->chunks[a->asked++ % AHEAD_CHUNKS];
    uint32_t left = end_of(a, a->ask_segment) - a->ask_at;
    c->segment = a->ask_segment;
    c->at = a->ask_at;
    c->bytes = left < AHEAD_BYTES ? left : AHEAD_BYTES;
    c->err = (struct err){0};
    a->ask_at += c->bytes;
    while (!all_asked(a) && a->ask_at == end_of(a, a->ask_segment)) {
        a->ask_segment++;
        a->ask_at = FORMAT_BLOCK;
    }
    return c;
}

static void fill(struct ahead *a, struct ahead_chunk *c, struct file **file, uint32_t *open) {
    if (*open != c->segment) {
        file_close(file);
        *open = c->segment;
    }
    if (!*file && file_open(a->dir, segment_name(c->segment).at, FILE_DIRECT, file, &c->err) != 0)
        return;
    if (blocks_grow(&c->data, c->bytes) != 0)
        err_set(&c->err, ERR_NO_MEMORY, "no memory to read a journal");
    else
        file_read(*file, c->data.at, c->bytes, c->at, &c->err);
}

static void *run(void *ctx) {
    struct ahead *a = ctx;
    struct file *file = NULL;
    uint32_t open = 0;
    pthread_mutex_lock(&a->lock);
    for (;;) {
        while (!a->stop && !all_asked(a) && a->asked - a->taken == AHEAD_CHUNKS)
            pthread_cond_wait(&a->freed, &a->lock);
        if (a->stop || all_asked(a))
            break;
        struct ahead_chunk *c = ask(a);
        pthread_mutex_unlock(&a->lock);
        fill(a, c, &file, &open);
        pthread_mutex_lock(&a->lock);
        c->filled = true;
        pthread_cond_broadcast(&a->filled);
    }
    pthread_mutex_unlock(&a->lock);
    file_close(&file);
    return NULL;
}

/* ---- taking ---------------------------------------------------------------------------------- */

static struct ahead_chunk *wait_for_chunk(struct ahead *a) {
    struct ahead_chunk *c = &a->chunks[a->taken % AHEAD_CHUNKS];
    pthread_mutex_lock(&a->lock);
    while (!c->filled)
        pthread_cond_wait(&a->filled, &a->lock);
    pthread_mutex_unlock(&a->lock);
    return c;
}

static void free_chunk(struct ahead *a, struct ahead_chunk *c) {
    pthread_mutex_lock(&a->lock);
    c->filled = false;
    a->taken++;
    a->used = 0;
    pthread_cond_signal(&a->freed);
    pthread_mutex_unlock(&a->lock);
}

int ahead_read(struct ahead *a, uint32_t segment, uint32_t at, void *to, uint32_t n,
               struct err *e) {
    for (uint32_t done = 0; done < n;) {
        struct ahead_chunk *c = wait_for_chunk(a);
        ASSERT(c->segment == segment && c->at + a->used == at + done);
        if (c->err.code != ERR_OK) {
            *e = c->err;
            return -1;
        }
        uint32_t part = c->bytes - a->used;
        if (part > n - done)
            part = n - done;
        memcpy((char *)to + done, c->data.at + a->used, part);
        a->used += part;
        done += part;
        if (a->used == c->bytes)
            free_chunk(a, c);
    }
    return 0;
}

/* ---- life ------------------------------------------------------------------------------------ */

int ahead_start(struct ahead *a, struct file_dir *dir, const struct recovered *log, struct err *e) {
    *a = (struct ahead){.dir = dir, .log = log, .ask_segment = log->first, .ask_at = FORMAT_BLOCK};
    while (!all_asked(a) && a->ask_at == end_of(a, a->ask_segment))
        a->ask_segment++;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->filled, NULL);
    pthread_cond_init(&a->freed, NULL);
    for (; a->running < AHEAD_THREADS; a->running++) {
        int status = pthread_create(&a->threads[a->running], NULL, run, a);
        if (status != 0) {
            ahead_stop(a);
            return err_set(e, ERR_NO_MEMORY, "cannot start a thread: %d", status);
        }
    }
    return 0;
}

void ahead_stop(struct ahead *a) {
    pthread_mutex_lock(&a->lock);
    a->stop = true;
    pthread_cond_broadcast(&a->freed);
    pthread_mutex_unlock(&a->lock);
    for (uint32_t i = 0; i < a->running; i++)
        pthread_join(a->threads[i], NULL);
    for (size_t i = 0; i < AHEAD_CHUNKS; i++)
        blocks_free(&a->chunks[i].data);
    pthread_cond_destroy(&a->filled);
    pthread_cond_destroy(&a->freed);
    pthread_mutex_destroy(&a->lock);
}
