#include "broker/journal/writer.h"

#include "broker/journal/recover.h"
#include "common/base/check.h"
#include "common/os/clock.h"

static int go_to_segment(struct writer *w, const struct piece *p, struct err *e) {
    if (p->offset != 0) {
        ASSERT(w->file && w->segment == p->segment);
        return 0;
    }
    file_close(&w->file);
    w->segment = p->segment;
    return keeper_take_spare(w->keeper, p->segment, &w->file, e);
}

/* What a piece says of all before it is true because the piece before is synced by now. */
static int write_piece(struct writer *w, struct batch *b, const struct piece *p, struct err *e) {
    if (go_to_segment(w, p, e) != 0)
        return -1;
    batch_finish_piece(b, p, w->log_id, w->sequence++);
    const struct piece *last = &b->pieces[b->n - 1];
    w->doubt_end = format_pos(last->segment, last->offset + last->bytes);
    if (file_write(w->file, b->image + p->at, p->bytes, p->offset, e) != 0)
        return -1;
    if (file_sync(w->file, e) != 0)
        return -1;
    atomic_fetch_add_explicit(&w->syncs, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&w->bytes, p->bytes, memory_order_relaxed);
    atomic_store_explicit(&w->durable, format_pos(p->segment, p->offset + p->bytes),
                          memory_order_release);
    return 0;
}

static void measure(struct writer *w, const struct batch *b) {
    uint64_t us = (clock_mono_ns() - b->sealed_ns) / 1000;
    atomic_fetch_add_explicit(&w->commits, 1, memory_order_relaxed);
    atomic_store_explicit(&w->last_us, us, memory_order_relaxed);
    atomic_fetch_add_explicit(&w->commit_counts[histogram_place(us)], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&w->commit_sum_us, us, memory_order_relaxed);
    if (us > atomic_load_explicit(&w->max_us, memory_order_relaxed))
        atomic_store_explicit(&w->max_us, us, memory_order_relaxed);
}

static void write_batch(struct writer *w, struct batch *b) {
    ASSERT(!b->open && b->n > 0 && !writer_failed(w));
    for (size_t i = 0; i < b->n; i++) {
        if (write_piece(w, b, &b->pieces[i], &w->err) != 0) {
            atomic_store_explicit(&w->failed, true, memory_order_release);
            return;
        }
    }
    measure(w, b);
}

/* ---- the thread ------------------------------------------------------------------------------ */

static bool work_waiting(void *ctx) {
    struct writer *w = ctx;
    return atomic_load(&w->flight) != NULL || atomic_load(&w->stop);
}

static void wait_for_batch(struct writer *w) {
    uint64_t end_ns = clock_mono_ns() + w->spin_ns;
    while (clock_mono_ns() < end_ns) {
        if (work_waiting(w))
            return;
        __builtin_ia32_pause();
    }
    bell_wait(&w->bell, -1, work_waiting, w);
}

static void *run(void *ctx) {
    struct writer *w = ctx;
    for (;;) {
        struct batch *b = atomic_load(&w->flight);
        if (b) {
            write_batch(w, b);
            atomic_store(&w->flight, NULL);
            flag_raise(w->flag);
        } else if (atomic_load(&w->stop)) {
            return NULL;
        }
        wait_for_batch(w);
    }
}

void writer_hand(struct writer *w, struct batch *b) {
    ASSERT(!writer_busy(w));
    if (!w->threads) {
        writer_inline(w, b);
        return;
    }
    atomic_store(&w->flight, b);
    bell_ring(&w->bell);
}

void writer_inline(struct writer *w, struct batch *b) {
    ASSERT(!writer_busy(w));
    write_batch(w, b);
    flag_raise(w->flag);
}

/* ---- life ------------------------------------------------------------------------------------ */

int writer_init(struct writer *w, const struct writer_options *options, struct err *e) {
    *w = (struct writer){.dir = options->dir,
                         .keeper = options->keeper,
                         .flag = options->flag,
                         .log_id = options->log_id,
                         .spin_ns = (uint64_t)options->spin_us * 1000,
                         .threads = options->threads,
                         .segment = options->segment,
                         .sequence = options->sequence,
                         .bell.fd = -1};
    atomic_init(&w->durable, options->durable);
    w->doubt_end = options->durable;
    if (bell_open(&w->bell) != 0)
        return err_errno(e, "%s: no descriptor left", w->dir->path);
    if (w->segment && file_open(w->dir, segment_name(w->segment).at, FILE_DIRECT, &w->file, e))
        return -1;
    if (!w->threads)
        return 0;
    int status = pthread_create(&w->thread, NULL, run, w);
    if (status != 0)
        return err_set(e, ERR_NO_MEMORY, "cannot start a thread: %d", status);
    w->running = true;
    return 0;
}

void writer_clear(struct writer *w) {
    if (w->running) {
        atomic_store(&w->stop, true);
        bell_ring(&w->bell);
        pthread_join(w->thread, NULL);
        w->running = false;
    }
    file_close(&w->file);
    bell_close(&w->bell);
}

void writer_stats(const struct writer *w, struct journal_stats *out) {
    out->commits = atomic_load_explicit(&w->commits, memory_order_relaxed);
    out->syncs = atomic_load_explicit(&w->syncs, memory_order_relaxed);
    out->bytes_written = atomic_load_explicit(&w->bytes, memory_order_relaxed);
    out->commit_last_us = atomic_load_explicit(&w->last_us, memory_order_relaxed);
    out->commit_max_us = atomic_load_explicit(&w->max_us, memory_order_relaxed);
    for (unsigned n = 0; n < HISTOGRAM_PLACES; n++)
        out->commit_us.counts[n] = atomic_load_explicit(&w->commit_counts[n], memory_order_relaxed);
    out->commit_us.sum_us = atomic_load_explicit(&w->commit_sum_us, memory_order_relaxed);
}
