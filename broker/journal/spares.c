#include "broker/journal/spares.h"

#include "broker/journal/format.h"
#include "broker/journal/recover.h"
#include "common/base/check.h"

#define FILL_BYTES (1U << 20)

/* Never written. */
static char zeros[FILL_BYTES] __attribute__((aligned(FILE_BLOCK)));

static uint32_t count_ready(const struct spares *s) {
    return atomic_load(&s->head) - atomic_load(&s->tail);
}

static void push(struct spares *s, struct file *file) {
    unsigned head = atomic_load(&s->head);
    ASSERT(head - atomic_load(&s->tail) < SPARES_MAX);
    s->ring[head % SPARES_MAX] = (struct spare){file, s->next};
    atomic_store(&s->ready_through, s->next);
    atomic_store(&s->head, head + 1);
    s->next++;
}

int spares_init(struct spares *s, struct file_dir *dir, const struct spares_options *options,
                uint32_t next, uint32_t ready, uint64_t disk_bytes, struct err *e) {
    ASSERT(ready <= SPARES_MAX && options->target <= SPARES_MAX);
    *s = (struct spares){.dir = dir, .options = *options, .next = next - ready};
    atomic_init(&s->ready_through, s->next - 1);
    atomic_init(&s->disk_bytes, disk_bytes);
    atomic_init(&s->disk_min_free, options->disk_min_free);
    for (uint32_t i = 0; i < ready; i++) {
        struct file *file;
        if (file_open(dir, segment_name(s->next).at, FILE_DIRECT, &file, e) != 0)
            return -1;
        push(s, file);
    }
    return 0;
}

void spares_clear(struct spares *s) {
    struct spare spare;
    while (spares_take(s, &spare))
        file_close(&spare.file);
    file_close(&s->file);
}

void spares_set_disk_min_free(struct spares *s, uint64_t bytes) {
    atomic_store(&s->disk_min_free, bytes);
}

bool spares_wanted(const struct spares *s) {
    return s->file || count_ready(s) < s->options.target;
}

bool spares_needed(const struct spares *s) {
    return count_ready(s) <= s->options.low;
}

/* ---- making one ------------------------------------------------------------------------------ */

static int check_bounds(struct spares *s, struct err *e) {
    uint64_t free_bytes, bytes = s->options.segment_bytes;
    uint64_t used = atomic_load(&s->disk_bytes);
    if (s->options.bytes_max && used + bytes > s->options.bytes_max)
        return err_set(e, ERR_DISK_FULL, "%s: %llu bytes of at most %llu are in use", s->dir->path,
                       (unsigned long long)used, (unsigned long long)s->options.bytes_max);
    uint64_t least = atomic_load(&s->disk_min_free);
    if (!least)
        return 0;
    if (file_space(s->dir, &free_bytes, e) != 0)
        return -1;
    if (free_bytes < bytes || free_bytes - bytes < least)
        return err_set(e, ERR_DISK_FULL, "%s: %llu bytes are free, %llu must stay so", s->dir->path,
                       (unsigned long long)free_bytes, (unsigned long long)least);
    return 0;
}

void spares_look(struct spares *s) {
    struct err e = {0};
    if (spares_wanted(s) && check_bounds(s, &e) != 0)
        atomic_store(&s->no_space, true);
}

/* Leaves nothing of the attempt; what cannot be removed is written over by the next one. */
static enum spares_step give_up(struct spares *s, const char *name, const struct err *e) {
    file_close(&s->file);
    if (name)
        (void)file_unlink(s->dir, name, NULL);
    atomic_store(&s->no_space, true);
    return e->code == ERR_DISK_FULL ? SPARE_NO_SPACE : SPARE_FAILED;
}

static enum spares_step begin(struct spares *s, enum spares_how how, struct err *e) {
    if (how != SPARE_AT_ANY_PRICE && check_bounds(s, e) != 0)
        return give_up(s, NULL, e);
    if (file_open(s->dir, SEGMENT_SPARE_NAME, FILE_CREATE, &s->file, e) != 0)
        return give_up(s, NULL, e);
    if (file_reserve(s->file, s->options.segment_bytes, e) != 0)
        return give_up(s, SEGMENT_SPARE_NAME, e);
    s->filled = 0;
    return SPARE_MORE;
}

static enum spares_step fill(struct spares *s, struct err *e) {
    uint32_t n = s->options.segment_bytes - s->filled;
    if (n > FILL_BYTES)
        n = FILL_BYTES;
    if (file_write(s->file, zeros, n, s->filled, e) != 0)
        return give_up(s, SEGMENT_SPARE_NAME, e);
    s->filled += n;
    return SPARE_MORE;
}

static int name_it(struct spares *s, const char *from, struct err *e) {
    struct segment_name name = segment_name(s->next);
    if (file_rename(s->dir, from, name.at, e) != 0)
        return -1;
    if (file_sync_dir(s->dir, e) == 0)
        return 0;
    (void)file_unlink(s->dir, name.at, NULL);
    return -1;
}

static enum spares_step finish(struct spares *s, struct err *e) {
    if (file_sync(s->file, e) != 0 || name_it(s, SEGMENT_SPARE_NAME, e) != 0)
        return give_up(s, SEGMENT_SPARE_NAME, e);
    atomic_fetch_add(&s->disk_bytes, s->options.segment_bytes);
    atomic_fetch_add(&s->made, 1);
    atomic_store(&s->no_space, false);
    struct file *file = s->file;
    s->file = NULL;
    push(s, file);
    return SPARE_READY;
}

enum spares_step spares_step(struct spares *s, enum spares_how how, struct err *e) {
    if (!s->file)
        return begin(s, how, e);
    if (how == SPARE_FILLED && s->filled < s->options.segment_bytes)
        return fill(s, e);
    return finish(s, e);
}

/* ---- released files -------------------------------------------------------------------------- */

/* Its old contents never pass for new ones: heads and checksums are bound to the segment's number.
 */
static int recycle(struct spares *s, uint32_t segment, struct err *e) {
    struct file *file;
    if (name_it(s, segment_name(segment).at, e) != 0 ||
        file_open(s->dir, segment_name(s->next).at, FILE_DIRECT, &file, e) != 0)
        return -1;
    atomic_fetch_add(&s->recycled, 1);
    push(s, file);
    if (!spares_wanted(s)) /* else a file that was there says nothing of space for another one */
        atomic_store(&s->no_space, false);
    return 0;
}

static uint32_t recycled_max(const struct spares_options *o) {
    uint64_t fit = SPARES_RECYCLED_BYTES / o->segment_bytes;
    uint32_t most = fit < SPARES_RECYCLED ? (uint32_t)fit : SPARES_RECYCLED;
    return o->target > most ? o->target : most;
}

int spares_drop(struct spares *s, uint32_t segment, uint32_t bytes, struct err *e) {
    atomic_fetch_add(&s->dropped, 1);
    if (bytes == s->options.segment_bytes && count_ready(s) < recycled_max(&s->options) &&
        recycle(s, segment, e) == 0)
        return 0;
    atomic_fetch_sub(&s->disk_bytes, bytes);
    if (file_unlink(s->dir, segment_name(segment).at, e) != 0)
        return -1;
    return file_sync_dir(s->dir, e);
}

uint32_t spares_files_max(const struct spares *s) {
    return recycled_max(&s->options) + 1; /* and the one that is being made */
}

/* ---- writer ---------------------------------------------------------------------------------- */

bool spares_ready(const struct spares *s) {
    return count_ready(s) > 0;
}

bool spares_take(struct spares *s, struct spare *out) {
    unsigned tail = atomic_load(&s->tail);
    if (atomic_load(&s->head) == tail)
        return false;
    *out = s->ring[tail % SPARES_MAX];
    atomic_store(&s->tail, tail + 1);
    return true;
}
