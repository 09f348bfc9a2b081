#include "broker/journal/recover.h"

#include "broker/journal/scan.h"
#include "broker/journal/spares.h"
#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/os/clock.h"

#include <stdio.h>
#include <stdlib.h>

#define FILES_MAX       (1U << 20)
#define OUT_OF_SEQUENCE "a batch is out of sequence"

struct entry {
    uint32_t segment;
    uint64_t bytes;
};

/* What one look at the directory and at the heads has found. */
struct survey {
    struct file_dir *dir;
    struct entry *entries; /* segment files by number */
    size_t n, size;
    bool unfinished; /* a spare was being made */
    bool begun;      /* the first spare has a batch of its own number, and no head */
    char stranger[ERR_TEXT_MAX / 4];
    struct blocks block;      /* one, to read into */
    size_t last;              /* index of the last segment of the log; n: the log is empty */
    struct segment_head head; /* its head */
};

struct segment_name segment_name(uint32_t segment) {
    struct segment_name name;
    snprintf(name.at, sizeof name.at, "%012u.seg", segment);
    return name;
}

int recover_corrupt(struct err *e, const struct file_dir *dir, uint32_t segment, uint32_t offset,
                    const char *why) {
    return err_set(e, ERR_CORRUPT,
                   "%s/%s: damaged at offset %u (%s): restore the journal from a backup, or see "
                   "\"Damage\" in docs/journal.md",
                   dir->path, segment_name(segment).at, offset, why);
}

/* ---- the directory --------------------------------------------------------------------------- */

static bool parse_name(const char *name, uint32_t *segment) {
    struct str s = str_of(name);
    uint64_t number;
    if (s.len != 16 || memcmp(name + 12, ".seg", 4) != 0 ||
        !str_to_u64(str_make(name, 12), FORMAT_SEGMENTS_END - 1, &number) || number == 0)
        return false;
    *segment = (uint32_t)number;
    return true;
}

static void note_file(void *ctx, const char *name, uint64_t bytes) {
    struct survey *v = ctx;
    uint32_t segment;
    if (str_eq(str_of(name), STR(SEGMENT_LOCK_NAME)) || str_eq(str_of(name), STR("lost+found")))
        return;
    if (str_eq(str_of(name), STR(SEGMENT_SPARE_NAME))) {
        v->unfinished = true;
    } else if (!parse_name(name, &segment)) {
        snprintf(v->stranger, sizeof v->stranger, "%s", name);
    } else if (v->n <= FILES_MAX) {
        if (v->n == v->size) {
            v->size = v->size ? 2 * v->size : 64;
            v->entries = mem_grow(v->entries, v->size, sizeof *v->entries);
        }
        v->entries[v->n++] = (struct entry){segment, bytes};
    }
}

static int by_segment(const void *a, const void *b) {
    uint32_t x = ((const struct entry *)a)->segment, y = ((const struct entry *)b)->segment;
    return x < y ? -1 : x > y;
}

static int list_segments(struct survey *v, struct err *e) {
    if (file_list(v->dir, note_file, v, e) != 0)
        return -1;
    if (v->stranger[0])
        return err_set(e, ERR_CONFLICT, "%s/%s: is no file of the journal: move it away",
                       v->dir->path, v->stranger);
    if (v->n > FILES_MAX)
        return err_set(e, ERR_TOO_LARGE, "%s: more than %u segments", v->dir->path, FILES_MAX);
    if (v->n)
        qsort(v->entries, v->n, sizeof *v->entries, by_segment);
    return v->unfinished ? file_unlink(v->dir, SEGMENT_SPARE_NAME, e) : 0;
}

/* ---- heads ----------------------------------------------------------------------------------- */

/* Good only when it belongs to this very file. BLANK also for the head of a segment that the file
 * was before it was recycled. */
static int read_head(struct survey *v, const struct entry *en, struct file *file,
                     struct segment_head *h, enum format_seen *seen, struct err *e) {
    *seen = FORMAT_BLANK;
    if (en->bytes < FORMAT_BLOCK)
        return recover_corrupt(e, v->dir, en->segment, 0, "the file is too short");
    if (file_read(file, v->block.at, FORMAT_BLOCK, 0, e) != 0)
        return -1;
    *seen = format_get_segment(v->block.at, h);
    if (*seen == FORMAT_NEWER)
        return err_set(e, ERR_BAD_VERSION, "%s/%s: written by a later version of Quern",
                       v->dir->path, file->name);
    if (*seen != FORMAT_GOOD || h->segment == en->segment) {
        if (*seen == FORMAT_GOOD && h->bytes != en->bytes)
            return err_set(e, ERR_CORRUPT, "%s/%s: has %llu bytes, must have %u", v->dir->path,
                           file->name, (unsigned long long)en->bytes, h->bytes);
        return 0;
    }
    if (h->segment > en->segment)
        return err_set(e, ERR_CORRUPT, "%s/%s: holds segment %u: it was renamed", v->dir->path,
                       file->name, h->segment);
    *seen = FORMAT_BLANK;
    return 0;
}

/* A file behind the log's last segment is a spare, or it was the last segment and its head is
 * damaged: then its later batches tell, which were written when the head was durable. The next
 * segment of the log is searched for them in any case, others when they do not look like spares.
 *
 * A first batch alone was lost with its head. A new head would make it part of the log: such a file
 * is not used again. */
static int check_spare(struct survey *v, const struct entry *en, struct file *file,
                       enum format_seen seen, bool next, struct err *e) {
    struct batch_head h;
    if (en->bytes % FORMAT_BLOCK != 0 || en->bytes > FORMAT_SEGMENT_MAX ||
        en->bytes < FORMAT_SEGMENT_MIN)
        return recover_corrupt(e, v->dir, en->segment, 0, "the file has a wrong size");
    if (file_read(file, v->block.at, FORMAT_BLOCK, FORMAT_BLOCK, e) != 0)
        return -1;
    bool begun = format_get_batch(v->block.at, &h) && h.segment == en->segment;
    if (seen == FORMAT_BLANK && !next && !begun)
        return 0;
    v->begun = v->begun || begun;
    struct scan s = {0};
    uint64_t log_id = v->last < v->n ? v->head.log_id : 0;
    scan_start(&s, file, log_id, en->segment, FORMAT_BLOCK, (uint32_t)en->bytes);
    int proof = scan_proof(&s, e);
    scan_end(&s);
    if (proof > 0)
        return recover_corrupt(e, v->dir, en->segment, 0, "the segment's head");
    return proof;
}

/* Direct, here as everywhere in recovery: after a failed sync a cache may show what the disk has
 * not. */
static int open_segment(struct survey *v, uint32_t segment, struct file **out, struct err *e) {
    return file_open(v->dir, segment_name(segment).at, FILE_DIRECT, out, e);
}

/* From the newest file down to the first with a good head. */
static int find_last(struct survey *v, struct err *e) {
    v->last = v->n;
    for (size_t i = v->n; i-- > 0 && v->last == v->n;) {
        struct file *file;
        enum format_seen seen;
        if (open_segment(v, v->entries[i].segment, &file, e) != 0)
            return -1;
        int status = read_head(v, &v->entries[i], file, &v->head, &seen, e);
        file_close(&file);
        if (status != 0)
            return -1;
        if (seen == FORMAT_GOOD)
            v->last = i;
    }
    return 0;
}

static int check_spares(struct survey *v, struct err *e) {
    size_t first = v->last < v->n ? v->last + 1 : 0;
    for (size_t i = first; i < v->n; i++) {
        struct file *file;
        struct segment_head head;
        enum format_seen seen;
        if (open_segment(v, v->entries[i].segment, &file, e) != 0)
            return -1;
        int status = read_head(v, &v->entries[i], file, &head, &seen, e);
        if (status == 0)
            status = check_spare(v, &v->entries[i], file, seen, i == first, e);
        file_close(&file);
        if (status != 0)
            return -1;
    }
    return 0;
}

/* ---- the end of the log ---------------------------------------------------------------------- */

static int cut_tail(struct survey *v, struct scan *s, struct recovered *out, struct err *e) {
    struct batch_head h;
    if (s->at == s->limit)
        return 0;
    int proof = scan_proof(s, e);
    if (proof != 0)
        return proof < 0 ? -1 : recover_corrupt(e, v->dir, s->segment, s->at, s->why);
    if (file_read(s->file, v->block.at, FORMAT_BLOCK, s->at, e) != 0)
        return -1;
    /* How much was lost can only be told if the torn batch's head is there. */
    if (format_get_batch(v->block.at, &h) && h.segment == s->segment && h.offset == s->at)
        out->cut_bytes = h.bytes;
    return 0;
}

static int find_end(struct survey *v, struct recovered *out, uint32_t *oldest, struct err *e) {
    struct entry *en = &v->entries[v->last];
    struct file *file;
    struct scan s = {0};
    struct batch_head h;
    const char *records;
    enum scan_seen seen;
    if (open_segment(v, en->segment, &file, e) != 0)
        return -1;
    scan_start(&s, file, v->head.log_id, en->segment, FORMAT_BLOCK, v->head.bytes);
    *oldest = v->head.oldest;
    out->sequence = v->head.sequence;
    int status = 0;
    while (status == 0 && (seen = scan_batch(&s, &h, &records, e)) == SCAN_BATCH) {
        if (h.sequence != out->sequence)
            status = recover_corrupt(e, v->dir, en->segment, h.offset, OUT_OF_SEQUENCE);
        out->sequence++;
        out->closed = (h.flags & FORMAT_CLOSED) != 0;
        *oldest = h.oldest;
    }
    if (status == 0)
        status = seen == SCAN_ERROR ? -1 : cut_tail(v, &s, out, e);
    out->segments[out->last - out->first].end = s.at;
    scan_end(&s);
    file_close(&file);
    return status;
}

/* ---- the chain ------------------------------------------------------------------------------- */

static int read_chain_head(struct survey *v, const struct entry *en, struct segment_head *h,
                           struct err *e) {
    struct file *file;
    enum format_seen seen;
    if (open_segment(v, en->segment, &file, e) != 0)
        return -1;
    int status = read_head(v, en, file, h, &seen, e);
    file_close(&file);
    if (status != 0)
        return -1;
    if (seen != FORMAT_GOOD)
        return recover_corrupt(e, v->dir, en->segment, 0, "the segment's head");
    if (h->log_id != v->head.log_id)
        return err_set(e, ERR_CORRUPT, "%s/%s: belongs to another journal", v->dir->path,
                       segment_name(en->segment).at);
    return 0;
}

/* Every segment from the oldest to the last is there, and each says where the one before ended. */
static int check_chain(struct survey *v, uint32_t oldest, struct recovered *out, struct err *e) {
    uint32_t before = v->head.before, segment = out->last;
    for (size_t i = v->last; segment > oldest; segment--) {
        struct segment_head h;
        if (i == 0 || v->entries[i - 1].segment != segment - 1)
            return err_set(e, ERR_CORRUPT, "%s/%s: is missing: restore the journal from a backup",
                           v->dir->path, segment_name(segment - 1).at);
        struct entry *en = &v->entries[--i];
        if (read_chain_head(v, en, &h, e) != 0)
            return -1;
        if (before < FORMAT_BLOCK || before > h.bytes)
            return recover_corrupt(e, v->dir, segment, 0, "where the segment before ended");
        out->segments[segment - 1 - out->first] = (struct recovered_segment){before, h.bytes};
        before = h.before;
    }
    return 0;
}

static int remove_released(struct survey *v, uint32_t oldest, struct err *e) {
    bool removed = false;
    for (size_t i = 0; i < v->n && v->entries[i].segment < oldest; i++) {
        if (file_unlink(v->dir, segment_name(v->entries[i].segment).at, e) != 0)
            return -1;
        removed = true;
    }
    return removed ? file_sync_dir(v->dir, e) : 0;
}

/* Keeps the files that follow the log without a gap, have the wanted size and are not begun. */
static int take_spares(struct survey *v, uint32_t segment_bytes, struct recovered *out,
                       struct err *e) {
    size_t i = v->last < v->n ? v->last + 1 : 0;
    out->spares_first = v->last < v->n ? out->last + 1 : (v->n ? v->entries[0].segment : 1);
    bool kept = !v->begun, removed = false;
    for (; i < v->n; i++) {
        const struct entry *en = &v->entries[i];
        kept = kept && out->spares < SPARES_MAX && en->bytes == segment_bytes &&
               en->segment == out->spares_first + out->spares;
        if (kept) {
            out->spares++;
        } else {
            if (file_unlink(v->dir, segment_name(en->segment).at, e) != 0)
                return -1;
            removed = true;
        }
    }
    return removed ? file_sync_dir(v->dir, e) : 0;
}

/* An array for as many segments as there can be; `first` rises when the oldest is known. */
static int read_log(struct survey *v, struct recovered *out, struct err *e) {
    uint32_t oldest;
    out->log_id = v->head.log_id;
    out->first = out->last = v->head.segment;
    out->segments = mem_grow(NULL, 1, sizeof *out->segments);
    out->segments[0] = (struct recovered_segment){FORMAT_BLOCK, v->head.bytes};
    if (find_end(v, out, &oldest, e) != 0)
        return -1;
    uint32_t count = out->last - oldest + 1;
    if (count > v->n)
        count = (uint32_t)v->n + 1; /* some are missing; check_chain meets the gap first */
    struct recovered_segment last = out->segments[0];
    out->segments = mem_grow(out->segments, count, sizeof *out->segments);
    out->first = out->last - (count - 1);
    out->segments[count - 1] = last;
    if (check_chain(v, oldest, out, e) != 0)
        return -1;
    return remove_released(v, oldest, e);
}

int recover(struct file_dir *dir, uint32_t segment_bytes, struct recovered *out, struct err *e) {
    struct survey v = {.dir = dir};
    *out = (struct recovered){0};
    if (blocks_grow(&v.block, FORMAT_BLOCK) != 0)
        return err_set(e, ERR_NO_MEMORY, "no memory to read a journal");
    int status = list_segments(&v, e);
    if (status == 0)
        status = find_last(&v, e);
    if (status == 0)
        status = check_spares(&v, e);
    if (status == 0 && v.last < v.n)
        status = read_log(&v, out, e);
    if (status == 0)
        status = take_spares(&v, segment_bytes, out, e);
    if (status == 0 && out->last == 0) {
        out->sequence = 1;
        while (out->log_id == 0)
            random_bytes(&out->log_id, sizeof out->log_id);
    }
    mem_free(v.entries);
    blocks_free(&v.block);
    if (status != 0)
        recovered_clear(out);
    return status;
}

void recovered_clear(struct recovered *r) {
    MEM_FREE(r->segments);
}

/* ---- reading the log ------------------------------------------------------------------------- */

int recover_each_batch(struct file_dir *dir, const struct recovered *r, uint32_t segment,
                       struct ahead *ahead, uint64_t *sequence,
                       int (*each)(void *ctx, const struct batch_head *h, const char *records,
                                   struct err *e),
                       void *ctx, struct err *e) {
    struct file *file;
    struct scan s = {0};
    struct batch_head h;
    const char *records;
    int status = 0;
    if (file_open(dir, segment_name(segment).at, FILE_DIRECT, &file, e) != 0)
        return -1;
    scan_start(&s, file, r->log_id, segment, FORMAT_BLOCK, r->segments[segment - r->first].end);
    s.ahead = ahead;
    while (status == 0 && s.at < s.limit) {
        enum scan_seen seen = scan_batch(&s, &h, &records, e);
        if (seen == SCAN_ERROR)
            status = -1;
        else if (seen == SCAN_NONE)
            status = recover_corrupt(e, dir, segment, s.at, s.why);
        else if (*sequence && h.sequence != *sequence)
            status = recover_corrupt(e, dir, segment, h.offset, OUT_OF_SEQUENCE);
        else
            status = each(ctx, &h, records, e);
        if (status == 0)
            *sequence = h.sequence + 1;
    }
    scan_end(&s);
    file_close(&file);
    return status;
}
