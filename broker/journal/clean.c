#include "broker/journal/clean.h"

#include "broker/journal/recover.h"
#include "common/base/check.h"
#include "common/base/mem.h"

static void stop(struct clean *c) {
    scan_end(&c->scan);
    file_close(&c->file);
}

void clean_clear(struct clean *c) {
    stop(c);
    for (size_t i = 0; i < 2; i++) {
        MEM_FREE(c->pieces[i].records);
        MEM_FREE(c->pieces[i].bodies);
    }
}

/* ---- dispatcher ------------------------------------------------------------------------------ */

void clean_start(struct clean *c, uint32_t segment, uint32_t end) {
    ASSERT(!atomic_load(&c->active));
    c->segment = segment;
    c->end = end;
    atomic_store(&c->cancel, false);
    atomic_store(&c->active, true);
}

void clean_cancel(struct clean *c) {
    atomic_store(&c->cancel, true);
}

struct clean_piece *clean_take(struct clean *c) {
    struct clean_piece *piece = &c->pieces[c->shown];
    return atomic_load(&piece->ready) ? piece : NULL;
}

void clean_give_back(struct clean *c, struct clean_piece *piece) {
    ASSERT(piece == &c->pieces[c->shown]);
    c->shown ^= 1;
    atomic_store(&piece->ready, false);
}

/* ---- keeper ---------------------------------------------------------------------------------- */

bool clean_waiting(const struct clean *c) {
    return atomic_load(&c->active) && !atomic_load(&c->pieces[c->filled].ready);
}

static bool append(struct clean_piece *p, const struct journal_record *r, uint32_t bytes) {
    if (p->n > 0 && p->used + r->body.len > bytes)
        return false;
    if (p->n == p->size) {
        p->size = p->size ? 2 * p->size : 256;
        p->records = mem_grow(p->records, p->size, sizeof *p->records);
    }
    if (p->used + r->body.len > p->bodies_size) {
        ASSERT(p->n == 0); /* the first record alone may pass the usual size */
        uint32_t size = r->body.len > bytes ? FORMAT_BODY_MAX : bytes;
        mem_free(p->bodies);
        p->bodies = mem_alloc(size);
        p->bodies_size = size;
    }
    struct journal_record *to = &p->records[p->n++];
    *to = *r;
    to->body.at = p->bodies + p->used;
    memcpy(p->bodies + p->used, r->body.at, r->body.len);
    p->used += (uint32_t)r->body.len;
    return true;
}

/* 1: the piece is full; 0: the segment has ended. */
static int fill(struct clean *c, struct clean_piece *p, struct file_dir *dir, uint64_t log_id,
                struct err *e) {
    if (!c->file) {
        if (file_open(dir, segment_name(c->segment).at, FILE_DIRECT, &c->file, e) != 0)
            return -1;
        scan_start(&c->scan, c->file, log_id, c->segment, FORMAT_BLOCK, c->end);
        c->walk.left = 0;
    }
    for (;;) {
        struct scan_walk here = c->walk;
        struct journal_record r;
        const char *records;
        while (scan_walk_next(&c->walk, &r)) {
            if (!append(p, &r, c->piece_bytes)) {
                c->walk = here;
                return 1;
            }
            here = c->walk;
        }
        if (c->scan.at == c->scan.limit)
            return 0;
        enum scan_seen seen = scan_batch(&c->scan, &c->head, &records, e);
        if (seen == SCAN_NONE)
            return recover_corrupt(e, dir, c->segment, c->scan.at, c->scan.why);
        if (seen == SCAN_ERROR)
            return -1;
        c->walk = scan_walk(&c->head, records);
    }
}

void clean_fill(struct clean *c, struct file_dir *dir, uint64_t log_id, uint32_t bytes) {
    struct clean_piece *p = &c->pieces[c->filled];
    ASSERT(clean_waiting(c));
    c->piece_bytes = bytes;
    p->n = p->used = 0;
    p->err = (struct err){0};
    int status = atomic_load(&c->cancel) ? 0 : fill(c, p, dir, log_id, &p->err);
    p->last = status <= 0;
    if (p->last) {
        stop(c);
        atomic_store(&c->active, false);
    }
    c->filled ^= 1;
    atomic_store(&p->ready, true);
}
