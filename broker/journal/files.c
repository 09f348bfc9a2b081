/* The journal in files, running. Everything here is the dispatcher's and waits for nothing but
 * files_flush and files_commit_inline. */
#include "broker/journal/files_int.h"

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/os/clock.h"

#define PURGE_PADDING (4U * FORMAT_BLOCK)
/* Of a segment: so much must have died before cleaning goes round again where space is short. */
#define LAP_SHARE 4U

/* ---- put ------------------------------------------------------------------------------------- */

static void follow_cursor(struct files *f) {
    if (f->cursor.segment != f->tally.last)
        tally_open(&f->tally, f->cursor.segment, f->cursor.bytes, f->cursor.before);
}

static uint64_t files_put(struct journal *j, uint8_t type, const struct str *parts, size_t n,
                          uint32_t *bytes) {
    struct files *f = files_of(j);
    uint64_t pos, body = 0;
    for (size_t i = 0; i < n; i++)
        body += parts[i].len;
    ASSERT(body <= f->body_max && f->replayed);
    *bytes = FORMAT_RECORD_HEAD + (uint32_t)body;
    char *to = batch_room(f->filling, &f->cursor, *bytes, &pos);
    follow_cursor(f);
    tally_put(&f->tally, f->cursor.segment, *bytes);
    f->records++;
    format_store32(to + 4, format_word(type, (uint32_t)body));
    to += FORMAT_RECORD_HEAD;
    for (size_t i = 0; i < n; i++) {
        if (parts[i].len)
            memcpy(to, parts[i].at, parts[i].len);
        to += parts[i].len;
    }
    return pos;
}

static void files_keep_together(struct journal *j, uint32_t bytes) {
    struct files *f = files_of(j);
    ASSERT(bytes <= journal_together_max(j) && f->replayed);
    batch_keep_together(f->filling, &f->cursor, bytes);
    follow_cursor(f);
}

/* What does not fit in what is left of this segment fits in the next. */
static uint32_t files_together_max(const struct journal *j) {
    const struct files *f = files_of_const(j);
    return f->cursor.next_bytes - 2 * FORMAT_BLOCK;
}

static uint32_t files_body_max(const struct journal *j) {
    return files_of_const(j)->body_max;
}

/* What can still be put into segments whose files are there. */
static uint64_t room_left(const struct files *f, int64_t ahead) {
    uint64_t here = f->cursor.bytes - f->cursor.offset;
    return ahead < 0 ? 0 : here + (uint64_t)ahead * f->cursor.next_bytes;
}

static int64_t spares_ahead(const struct files *f) {
    return (int64_t)atomic_load_explicit(&f->keeper.spares.ready_through, memory_order_relaxed) -
           f->cursor.segment;
}

/* What only cleaning may put. A log of one segment has nothing to clean. */
static uint64_t reserve_of(const struct files *f) {
    return f->tally.first < f->tally.last ? f->clean_reserve : 0;
}

/* A turn never goes over into a segment without a file: it would be learned too late that there is
 * no space for one. While the keeper makes it, or finds that it cannot, the answer is BUSY. */
static enum journal_room files_room(const struct journal *j) {
    const struct files *f = files_of_const(j);
    if (writer_failed(&f->writer))
        return JOURNAL_READ_ONLY;
    if (f->filling->len > f->fill_max)
        return JOURNAL_BUSY;
    bool no_space = atomic_load_explicit(&f->keeper.spares.no_space, memory_order_relaxed);
    int64_t ahead = spares_ahead(f);
    if (room_left(f, ahead) < f->turn_bytes + reserve_of(f))
        return no_space ? JOURNAL_NONE : JOURNAL_BUSY;
    return no_space && ahead <= f->low ? JOURNAL_RESERVE : JOURNAL_ROOM;
}

static bool files_may_purge(const struct journal *j) {
    const struct files *f = files_of_const(j);
    return !writer_failed(&f->writer) &&
           room_left(f, spares_ahead(f)) >= reserve_of(f) + JOURNAL_PURGE_MAX + PURGE_PADDING;
}

/* ---- commit ---------------------------------------------------------------------------------- */

/* The last batch is durable: what it says is released may go. */
static void settle(struct files *f) {
    f->handed_settled = true;
    while (f->tally.kept < f->handed->oldest) {
        if (!keeper_drop(&f->keeper, f->tally.kept, tally_at(&f->tally, f->tally.kept)->bytes)) {
            f->handed_settled = false;
            return;
        }
        tally_forget(&f->tally);
    }
}

static void drop_dead(struct files *f) {
    while (!f->cleaning && tally_oldest_dead(&f->tally))
        tally_drop_oldest(&f->tally);
}

/* Ready to hand a batch over, or false. After a failure what was put is forgotten here. */
static bool may_hand(struct files *f) {
    if (writer_failed(&f->writer)) {
        batch_clear(f->filling);
        f->cursor.offset = format_block_up(f->cursor.offset);
        return false;
    }
    if (!f->handed_settled)
        settle(f);
    drop_dead(f);
    return true;
}

static struct batch *swap(struct files *f) {
    struct batch *b = f->filling;
    batch_seal(b, &f->cursor);
    follow_cursor(f);
    b->oldest = f->tally.first;
    b->oldest_before = f->oldest_said;
    b->sealed_ns = clock_mono_ns();
    f->oldest_said = b->oldest;
    f->filling = f->handed;
    f->handed = b;
    f->handed_settled = false;
    f->sealed = (b->flags & FORMAT_CLOSED) != 0;
    if (!f->cleaning)
        f->stirred += FORMAT_BLOCK; /* of padding, at most */
    batch_clear(f->filling);
    int64_t ahead = spares_ahead(f);
    if (ahead <= 0 && room_left(f, ahead) < 2 * f->turn_bytes + reserve_of(f))
        keeper_press(&f->keeper);
    return b;
}

/* That segments are released is said by itself only where there is room for it. */
static bool something_to_say(const struct files *f) {
    return f->filling->n > 0 || (f->tally.first > f->oldest_said &&
                                 room_left(f, spares_ahead(f)) >= (size_t)2 * FORMAT_BLOCK);
}

static bool files_commit(struct journal *j) {
    struct files *f = files_of(j);
    if (writer_busy(&f->writer))
        return true;
    if (may_hand(f) && something_to_say(f))
        writer_hand(&f->writer, swap(f));
    return writer_busy(&f->writer);
}

static bool files_commit_inline(struct journal *j) {
    struct files *f = files_of(j);
    if (writer_busy(&f->writer) || !may_hand(f) || !something_to_say(f))
        return false;
    writer_inline(&f->writer, swap(f));
    return true;
}

/* A log that has no room left for its seal is whole without. */
void files_seal_log(struct files *f) {
    ASSERT(!writer_busy(&f->writer) && f->filling->n == 0);
    if (!may_hand(f) || room_left(f, spares_ahead(f)) < FORMAT_BLOCK)
        return;
    f->filling->flags = FORMAT_CLOSED;
    writer_inline(&f->writer, swap(f));
}

static int files_flush(struct journal *j, struct err *e) {
    struct files *f = files_of(j);
    for (;;) {
        if (writer_busy(&f->writer)) {
            flag_wait(&f->flag);
            flag_lower(&f->flag);
        } else if (writer_failed(&f->writer)) {
            if (e)
                *e = f->writer.err;
            break;
        } else if (f->filling->n > 0) {
            files_commit_inline(j);
        } else {
            break;
        }
    }
    flag_raise(&f->flag); /* what was lowered here may have told of more than commits */
    return writer_failed(&f->writer) ? -1 : 0;
}

static int files_fd(const struct journal *j) {
    return files_of_const(j)->flag.fd;
}

static bool files_poll(struct journal *j, uint64_t *durable) {
    struct files *f = files_of(j);
    flag_lower(&f->flag);
    *durable = atomic_load_explicit(&f->writer.durable, memory_order_acquire);
    if (!f->handed_settled && !writer_busy(&f->writer) && !writer_failed(&f->writer))
        settle(f);
    keeper_work(&f->keeper);
    bool grown = *durable > f->durable;
    f->durable = *durable;
    return grown;
}

static const struct err *files_error(const struct journal *j) {
    const struct files *f = files_of_const(j);
    return writer_failed(&f->writer) ? &f->writer.err : NULL;
}

static uint64_t files_doubt_end(const struct journal *j) {
    return files_of_const(j)->writer.doubt_end;
}

/* ---- loads ----------------------------------------------------------------------------------- */

static int files_load(struct journal *j, uint64_t pos, uint32_t bytes, uint64_t token) {
    struct files *f = files_of(j);
    struct loads *l = &f->keeper.loads;
    struct journal_record r;
    bool taken;
    if (batch_find(f->filling, pos, &r) || batch_find(f->handed, pos, &r)) {
        ASSERT(r.bytes == bytes);
        taken = loads_know(l, token, &r, NULL);
    } else if (pos >= atomic_load_explicit(&f->writer.durable, memory_order_acquire)) {
        ASSERT(writer_failed(&f->writer));
        struct err gone = {0};
        err_set(&gone, ERR_READ_ONLY, "this record was put after the journal had failed");
        taken = loads_know(l, token, NULL, &gone);
    } else {
        ASSERT(tally_has(&f->tally, format_segment_of(pos)));
        bool closed = format_segment_of(pos) < format_segment_of(f->durable);
        taken = loads_ask(l, &(struct load_request){pos, token, bytes, closed});
        keeper_ring(&f->keeper);
        keeper_work(&f->keeper);
        return taken ? 0 : -1;
    }
    if (taken)
        flag_raise(&f->flag);
    return taken ? 0 : -1;
}

static bool files_loaded(struct journal *j, struct journal_load_done *out) {
    return loads_take(&files_of(j)->keeper.loads, out);
}

static void files_release(struct journal *j, uint64_t pos, uint32_t bytes) {
    struct files *f = files_of(j);
    tally_release(&f->tally, format_segment_of(pos), bytes);
    if (!f->showing)
        f->stirred += bytes;
}

/* ---- cleaning -------------------------------------------------------------------------------- */

/* Whether what is left to move of the oldest segment certainly fits. In more than one whole segment
 * it does, for it fitted into one; where it goes over into another one, the largest record may
 * leave a gap before that. */
static bool clean_fits(const struct files *f) {
    const struct tally_segment *s = tally_at(&f->tally, f->tally.first);
    uint64_t here = f->cursor.bytes - f->cursor.offset;
    uint64_t batches = s->live / f->keeper.clean_bytes + 2;
    uint64_t need =
        s->live + FORMAT_BLOCK + batches * (FORMAT_BLOCK + FORMAT_BATCH_HEAD + FORMAT_RECORD_HEAD);
    int64_t ahead = spares_ahead(f);
    return need <= here || ahead > 1 || (ahead == 1 && need + s->largest <= room_left(f, ahead));
}

/* Oldest first, so all of the log is gone over to get at what is dead. Where space is short that is
 * done for little; gaps that no cleaning can close must not make it go round for ever. */
static bool lap_pays(const struct files *f) {
    return f->tally.first <= f->lap_last || f->stirred >= f->cursor.next_bytes / LAP_SHARE;
}

static bool files_clean_want(const struct journal *j) {
    static const uint32_t shares[] = {
        [JOURNAL_ROOM] = 1, [JOURNAL_BUSY] = 1, [JOURNAL_RESERVE] = 4, [JOURNAL_NONE] = 16};
    const struct files *f = files_of_const(j);
    enum journal_room room = files_room(j);
    if (room == JOURNAL_READ_ONLY)
        return false;
    if (f->cleaning)
        return true;
    bool written = f->tally.first < format_segment_of(f->durable);
    if (!written || tally_oldest_dead(&f->tally) || f->clean_blocked == f->tally.first ||
        !tally_clean_pays(&f->tally, shares[room]))
        return false;
    return room < JOURNAL_RESERVE || (lap_pays(f) && clean_fits(f));
}

static void clean_begin(struct files *f, enum journal_room room) {
    f->cleaning = true;
    if (room >= JOURNAL_RESERVE && f->tally.first > f->lap_last) {
        f->lap_last = f->tally.last - 1;
        f->stirred = 0;
    }
    clean_start(&f->keeper.clean, f->tally.first, tally_at(&f->tally, f->tally.first)->end);
    keeper_ring(&f->keeper);
}

static enum journal_clean clean_failed(struct files *f, struct clean_piece *piece) {
    f->clean_blocked = f->tally.first;
    f->clean_err = piece->err;
    f->cleaning = false;
    clean_give_back(&f->keeper.clean, piece);
    return JOURNAL_CLEAN_IDLE;
}

static enum journal_clean files_clean_next(struct journal *j,
                                           void (*each)(void *ctx, const struct journal_record *r),
                                           void *ctx) {
    struct files *f = files_of(j);
    enum journal_room room = files_room(j);
    if (!files_clean_want(j))
        return JOURNAL_CLEAN_IDLE;
    if (room == JOURNAL_BUSY || (room == JOURNAL_NONE && !clean_fits(f)))
        return JOURNAL_CLEAN_WAIT;
    if (!f->cleaning)
        clean_begin(f, room);
    const struct tally_segment *oldest = tally_at(&f->tally, f->tally.first);
    if (oldest->live == 0)
        clean_cancel(&f->keeper.clean);
    keeper_work(&f->keeper);
    struct clean_piece *piece = clean_take(&f->keeper.clean);
    if (!piece)
        return JOURNAL_CLEAN_WAIT;
    if (piece->err.code != ERR_OK)
        return clean_failed(f, piece);
    f->showing = true;
    for (uint32_t i = 0; i < piece->n && tally_at(&f->tally, f->tally.first)->live; i++) {
        f->moved++;
        each(ctx, &piece->records[i]);
    }
    f->showing = false;
    bool last = piece->last;
    clean_give_back(&f->keeper.clean, piece);
    keeper_ring(&f->keeper);
    if (!last)
        return JOURNAL_CLEAN_MORE;
    f->cleaning = false;
    ASSERT(tally_at(&f->tally, f->tally.first)->live == 0);
    return JOURNAL_CLEAN_DONE;
}

/* ---- settings -------------------------------------------------------------------------------- */

static void files_set_disk_min_free(struct journal *j, uint64_t bytes) {
    keeper_set_disk_min_free(&files_of(j)->keeper, bytes);
}

/* ---- figures --------------------------------------------------------------------------------- */

static void files_stats(const struct journal *j, struct journal_stats *out) {
    const struct files *f = files_of_const(j);
    *out = (struct journal_stats){.id = f->log.log_id,
                                  .live_bytes = f->tally.live,
                                  .segments = f->tally.last + 1 - f->tally.first,
                                  .first_segment = f->tally.kept,
                                  .records = f->records,
                                  .records_moved = f->moved,
                                  .room = files_room(j)};
    writer_stats(&f->writer, out);
    keeper_stats((struct keeper *)(uintptr_t)&f->keeper, out);
    out->files_max += 2; /* the segment that is written, and its successor */
    if (f->clean_blocked) {
        out->upkeep = f->clean_err;
        out->upkeep_count++;
    }
}

const struct journal_ops files_ops = {
    .replay = files_replay,
    .put = files_put,
    .body_max = files_body_max,
    .keep_together = files_keep_together,
    .together_max = files_together_max,
    .room = files_room,
    .may_purge = files_may_purge,
    .commit = files_commit,
    .commit_inline = files_commit_inline,
    .flush = files_flush,
    .fd = files_fd,
    .poll = files_poll,
    .error = files_error,
    .doubt_end = files_doubt_end,
    .load = files_load,
    .loaded = files_loaded,
    .release = files_release,
    .clean_want = files_clean_want,
    .clean_next = files_clean_next,
    .set_disk_min_free = files_set_disk_min_free,
    .stats = files_stats,
    .close = files_close,
    .abandon = files_abandon,
};
