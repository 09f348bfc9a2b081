/* The journal in files: open, replay, close. */
#include "broker/journal/files_int.h"

#include "broker/journal/ahead.h"
#include "broker/journal/scan.h"
#include "common/base/check.h"
#include "common/base/mem.h"

#define DEFAULT_SEGMENT_BYTES (64U << 20)
#define DEFAULT_FILL_MAX      (8U << 20)
#define DEFAULT_RESERVE       2U
#define DEFAULT_LOADS_MAX     256U
#define DEFAULT_SPIN_US       20U
#define FILL_MAX_MAX          (256U << 20)
#define LOADS_MAX_MAX         (64U << 10)
#define RESERVE_MAX           64U

/* ---- options --------------------------------------------------------------------------------- */

static uint32_t turn_segments(const struct journal_options *o) {
    return (uint32_t)journal_turn_segments(o->turn_bytes_max, o->segment_bytes);
}

static uint32_t or_default(uint32_t value, uint32_t instead) {
    return value ? value : instead;
}

static int check_options(const struct journal_options *given, struct journal_options *o,
                         struct err *e) {
    *o = *given;
    o->segment_bytes = o->segment_bytes ? o->segment_bytes : DEFAULT_SEGMENT_BYTES;
    o->fill_bytes_max = o->fill_bytes_max ? o->fill_bytes_max : DEFAULT_FILL_MAX;
    o->turn_bytes_max = o->turn_bytes_max ? o->turn_bytes_max : JOURNAL_TURN_MAX;
    o->spares_reserve = or_default(o->spares_reserve, DEFAULT_RESERVE);
    o->loads_max = or_default(o->loads_max, DEFAULT_LOADS_MAX);
    o->spin_us = or_default(o->spin_us, DEFAULT_SPIN_US);
    if (o->segment_bytes < FORMAT_SEGMENT_MIN || o->segment_bytes > FORMAT_SEGMENT_MAX ||
        o->segment_bytes % FORMAT_BLOCK != 0)
        return err_set(e, ERR_BAD_CONFIG, "a segment has %u bytes to %u, a multiple of %u",
                       FORMAT_SEGMENT_MIN, FORMAT_SEGMENT_MAX, FORMAT_BLOCK);
    if (o->fill_bytes_max > FILL_MAX_MAX || o->turn_bytes_max > FILL_MAX_MAX)
        return err_set(e, ERR_BAD_CONFIG, "the filling batch and a turn have at most %u bytes",
                       FILL_MAX_MAX);
    if (o->spares_reserve > RESERVE_MAX)
        return err_set(e, ERR_BAD_CONFIG, "at most %u segments in reserve", RESERVE_MAX);
    if (turn_segments(o) > SPARES_MAX - RESERVE_MAX - JOURNAL_CLEAN_SEGMENTS - 1)
        return err_set(e, ERR_BAD_CONFIG, "a turn of %llu bytes fills too many segments",
                       (unsigned long long)o->turn_bytes_max);
    if (o->loads_max > LOADS_MAX_MAX)
        return err_set(e, ERR_BAD_CONFIG, "at most %u loads under way", LOADS_MAX_MAX);
    return 0;
}

/* ---- open ------------------------------------------------------------------------------------ */

static uint64_t disk_bytes(const struct recovered *log, uint64_t segment_bytes) {
    uint64_t sum = log->spares * segment_bytes;
    for (uint32_t s = log->first; log->last && s <= log->last; s++)
        sum += log->segments[s - log->first].bytes;
    return sum;
}

static int start_keeper(struct files *f, const struct journal_options *o, struct err *e) {
    uint32_t clean_bytes = (uint32_t)o->segment_bytes / 4;
    struct keeper_options k = {
        .dir = f->dir,
        .log_id = f->log.log_id,
        .clean_bytes = clean_bytes < CLEAN_BYTES_MAX ? clean_bytes : CLEAN_BYTES_MAX,
        .spares = {.segment_bytes = (uint32_t)o->segment_bytes,
                   .low = f->low,
                   .target = f->low + 2,
                   .disk_min_free = o->disk_min_free,
                   .bytes_max = o->bytes_max},
        .spares_next = f->log.spares_first + f->log.spares,
        .spares_ready = f->log.spares,
        .loads_max = o->loads_max,
        .disk_bytes = disk_bytes(&f->log, o->segment_bytes),
        .empty = f->log.last == 0,
        .threads = !o->no_threads,
        .flag = &f->flag,
    };
    return keeper_init(&f->keeper, &k, e);
}

static int start_writer(struct files *f, const struct journal_options *o, struct err *e) {
    struct writer_options w = {
        .dir = f->dir,
        .keeper = &f->keeper,
        .flag = &f->flag,
        .log_id = f->log.log_id,
        .sequence = f->log.sequence,
        .segment = f->log.last,
        .durable = f->durable,
        .spin_us = o->spin_us,
        .threads = !o->no_threads,
    };
    return writer_init(&f->writer, &w, e);
}

/* Where the log goes on. */
static void set_cursor(struct files *f, uint32_t segment_bytes) {
    const struct recovered *log = &f->log;
    f->cursor = (struct cursor){.segment = log->spares_first, .next_bytes = segment_bytes};
    f->cursor.bytes = segment_bytes;
    tally_init(&f->tally, log->last ? log->first : log->spares_first);
    if (log->last) {
        const struct recovered_segment *last = &log->segments[log->last - log->first];
        f->cursor.segment = log->last;
        f->cursor.offset = last->end;
        f->cursor.bytes = last->bytes;
    }
    f->durable = format_pos(f->cursor.segment, f->cursor.offset);
    f->oldest_said = f->tally.first;
    f->sealed = log->closed || log->last == 0;
    f->handed_settled = true;
}

static void set_bounds(struct files *f, const struct journal_options *o) {
    uint32_t segment_bytes = (uint32_t)o->segment_bytes;
    uint32_t fits = segment_bytes - FORMAT_BLOCK - FORMAT_BATCH_HEAD - FORMAT_RECORD_HEAD;
    f->body_max = fits < JOURNAL_BODY_MAX ? fits : JOURNAL_BODY_MAX;
    f->fill_max = o->fill_bytes_max;
    f->turn_bytes = journal_turn_bytes(o->turn_bytes_max);
    f->clean_reserve = o->segment_bytes + o->segment_bytes / 2;
    f->stirred = f->clean_reserve;
    f->low = (uint32_t)journal_spares_low(o->spares_reserve, o->turn_bytes_max, o->segment_bytes);
    size_t batch_bytes = f->fill_max + o->turn_bytes_max + f->body_max + FORMAT_RECORD_HEAD;
    f->filling = batch_new(batch_bytes, segment_bytes);
    f->handed = batch_new(batch_bytes, segment_bytes);
}

static int open_files(struct files *f, const struct journal_options *given,
                      const struct file_layer *layer, struct err *e) {
    struct journal_options o;
    if (check_options(given, &o, e) != 0)
        return -1;
    if (file_dir_open(layer, o.dir, &f->dir, e) != 0)
        return -1;
    if (file_lock(f->dir, SEGMENT_LOCK_NAME, e) != 0)
        return -1;
    if (recover(f->dir, (uint32_t)o.segment_bytes, &f->log, e) != 0)
        return -1;
    set_cursor(f, (uint32_t)o.segment_bytes);
    set_bounds(f, &o);
    if (flag_open(&f->flag) != 0)
        return err_errno(e, "%s: no descriptor left", f->dir->path);
    if (start_keeper(f, &o, e) != 0)
        return -1;
    return start_writer(f, &o, e);
}

int journal_open(struct journal **out, const struct journal_options *options,
                 const struct file_layer *layer, struct err *e) {
    struct files *f = MEM_NEW(struct files);
    f->base.ops = &files_ops;
    f->flag.fd = f->writer.bell.fd = f->keeper.bell.fd = f->keeper.writer_bell.fd = -1;
    *out = &f->base;
    if (open_files(f, options, layer, e) == 0)
        return 0;
    journal_abandon(out);
    return err_add(e, "journal");
}

/* ---- replay ---------------------------------------------------------------------------------- */

struct replay {
    struct files *f;
    int (*each)(void *ctx, const struct journal_record *r, struct err *e);
    void *ctx;
    struct journal_replayed stats;
};

static int replay_batch(void *ctx, const struct batch_head *h, const char *records, struct err *e) {
    struct replay *r = ctx;
    struct scan_walk walk = scan_walk(h, records);
    struct journal_record record;
    while (scan_walk_next(&walk, &record)) {
        tally_put(&r->f->tally, h->segment, record.bytes);
        r->stats.records++;
        r->stats.bytes += record.bytes;
        if (r->each(r->ctx, &record, e) != 0)
            return -1;
    }
    return 0;
}

static int replay_segments(struct files *f, struct replay *r, struct ahead *ahead, struct err *e) {
    const struct recovered *log = &f->log;
    uint64_t sequence = 0;
    for (uint32_t s = log->first; log->last && s <= log->last; s++) {
        const struct recovered_segment *segment = &log->segments[s - log->first];
        uint32_t before = s > log->first ? segment[-1].end : 0;
        tally_open(&f->tally, s, segment->bytes, before);
        if (recover_each_batch(f->dir, log, s, ahead, &sequence, replay_batch, r, e) != 0)
            return err_add(e, "journal");
    }
    return 0;
}

int files_replay(struct journal *j,
                 int (*each)(void *ctx, const struct journal_record *r, struct err *e), void *ctx,
                 struct journal_replayed *stats, struct err *e) {
    struct files *f = files_of(j);
    struct replay r = {f, each, ctx, {.cut_bytes = f->log.cut_bytes, .closed = f->log.closed}};
    struct ahead ahead;
    int status;
    ASSERT(!f->replayed);
    if (f->writer.threads && f->log.last) {
        if (ahead_start(&ahead, f->dir, &f->log, e) != 0)
            return -1;
        status = replay_segments(f, &r, &ahead, e);
        ahead_stop(&ahead);
    } else {
        status = replay_segments(f, &r, NULL, e);
    }
    if (status != 0)
        return -1;
    recovered_clear(&f->log);
    f->replayed = true;
    if (stats)
        *stats = r.stats;
    return 0;
}

/* ---- close ----------------------------------------------------------------------------------- */

/* The writer first: its last batch may need a spare. */
void files_abandon(struct journal *j) {
    struct files *f = files_of(j);
    if (f->writer.bell.fd >= 0)
        writer_clear(&f->writer);
    if (f->keeper.dir)
        keeper_clear(&f->keeper);
    batch_destroy(&f->filling);
    batch_destroy(&f->handed);
    tally_clear(&f->tally);
    recovered_clear(&f->log);
    flag_close(&f->flag);
    file_dir_close(&f->dir);
    mem_free(f);
}

int files_close(struct journal *j, struct err *e) {
    struct files *f = files_of(j);
    int status = 0;
    if (f->replayed) {
        status = journal_flush(j, e);
        if (status == 0 && !f->sealed) {
            files_seal_log(f);
            status = journal_flush(j, e);
        }
    }
    files_abandon(j);
    return status;
}
