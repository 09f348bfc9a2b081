#include "common/wire/stream_table.h"

#include "common/base/hash.h"

/* ---- the table ------------------------------------------------------------------------------ */
struct stream_follow *stream_table_at(const struct stream_table *t, uint32_t i) {
    return slab_at(&t->follows, i);
}

static uint64_t follow_hash(const void *ctx, uint32_t i) {
    return hash_mix(stream_table_at(ctx, i)->reader.job, 0);
}

static uint32_t *follow_link(const void *ctx, uint32_t i) {
    return &stream_table_at(ctx, i)->hash_next;
}

static bool follow_equal(const void *ctx, uint32_t i, const void *key) {
    return stream_table_at(ctx, i)->reader.job == *(const uint64_t *)key;
}

static const struct lhash_ops follow_ops = {follow_hash, follow_link, follow_equal};

void stream_table_init(struct stream_table *t, uint32_t max) {
    *t = (struct stream_table){.max = max, .earliest = MONO_NEVER};
    slab_init(&t->follows, sizeof(struct stream_follow));
    lhash_init(&t->by_job, &follow_ops, t);
}

void stream_table_done(struct stream_table *t) {
    lhash_done(&t->by_job);
    slab_done(&t->follows);
}

uint32_t stream_table_find(const struct stream_table *t, uint64_t job) {
    return lhash_find(&t->by_job, hash_mix(job, 0), &job);
}

uint32_t stream_table_add(struct stream_table *t, uint64_t job, struct stream_position known) {
    if (t->follows.used >= t->max)
        return 0;
    uint32_t i = slab_take(&t->follows);
    struct stream_follow *f = stream_table_at(t, i);
    f->reader = stream_reader(job, known);
    f->again_at = MONO_NEVER;
    lhash_add(&t->by_job, i);
    return i;
}

/* ---- the list of those that may be due --------------------------------------------------------
 */
static void list_in(struct stream_table *t, uint32_t i) {
    struct stream_follow *f = stream_table_at(t, i);
    f->listed = true;
    f->next = 0;
    f->prev = t->last;
    if (t->last)
        stream_table_at(t, t->last)->next = i;
    else
        t->first = i;
    t->last = i;
}

static void list_out(struct stream_table *t, uint32_t i) {
    struct stream_follow *f = stream_table_at(t, i);
    f->listed = false;
    if (f->prev)
        stream_table_at(t, f->prev)->next = f->next;
    else
        t->first = f->next;
    if (f->next)
        stream_table_at(t, f->next)->prev = f->prev;
    else
        t->last = f->prev;
}

static struct mono due_at(const struct stream_follow *f) {
    struct mono due = stream_reader_due(&f->reader);
    if (f->again_at.ms < due.ms)
        due = f->again_at;
    if (f->asked || due.ms == MONO_NEVER.ms)
        return MONO_NEVER;
    return due.ms > f->not_before.ms ? due : f->not_before;
}

/* After every change of what due_at looks at. */
static void relist(struct stream_table *t, uint32_t i) {
    struct stream_follow *f = stream_table_at(t, i);
    struct mono due = due_at(f);
    bool may_be = due.ms != MONO_NEVER.ms;
    if (may_be && !f->listed)
        list_in(t, i);
    else if (!may_be && f->listed)
        list_out(t, i);
    if (due.ms < t->earliest.ms)
        t->earliest = due;
}

void stream_table_remove(struct stream_table *t, uint32_t i) {
    if (stream_table_at(t, i)->listed)
        list_out(t, i);
    lhash_remove(&t->by_job, i);
    slab_give(&t->follows, i);
}

/* ---- what happens --------------------------------------------------------------------------- */
static uint64_t retry_ms(const struct stream_follow *f) {
    uint64_t ms = STREAM_RETRY_MS;
    for (uint32_t n = 0; n < f->tries && ms < STREAM_RETRY_MAX_MS; n++)
        ms *= 2;
    return ms < STREAM_RETRY_MAX_MS ? ms : STREAM_RETRY_MAX_MS;
}

void stream_table_attach(struct stream_table *t, uint32_t i, struct mono now) {
    struct stream_follow *f = stream_table_at(t, i);
    stream_reader_again(&f->reader, now);
    f->asked = false;
    f->tries = f->silent = 0;
    f->not_before = now;
    f->again_at = MONO_NEVER;
    relist(t, i);
}

void stream_table_again(struct stream_table *t, struct mono now) {
    SLAB_EACH(i, &t->follows)
    stream_table_attach(t, i, now);
}

void stream_table_take(struct stream_table *t, uint32_t i, struct mono now,
                       const struct stream_frame *frame) {
    struct stream_follow *f = stream_table_at(t, i);
    stream_reader_take(&f->reader, now, frame);
    if (f->reader.left)
        f->tries = 0;
    f->again_at = MONO_NEVER;
    f->silent = STREAM_SILENT_MAX;
    relist(t, i);
}

void stream_table_finished(struct stream_table *t, uint32_t i, struct mono now,
                           struct stream_position last) {
    struct stream_follow *f = stream_table_at(t, i);
    bool first = !f->reader.finished;
    stream_reader_finished(&f->reader, now, last);
    if (first) {
        f->tries = 0;
        f->not_before = mono_add(now, STREAM_GRACE_MS);
    }
    relist(t, i);
}

void stream_table_answered(struct stream_table *t, uint32_t i, struct mono now, bool again) {
    struct stream_follow *f = stream_table_at(t, i);
    f->asked = false;
    if (again) {
        stream_reader_again(&f->reader, now);
        f->not_before = mono_add(now, retry_ms(f));
    }
    relist(t, i);
}

/* ---- what is due ----------------------------------------------------------------------------- */
static bool wants(struct stream_follow *f, struct mono now) {
    if (!mono_reached(now, due_at(f)))
        return false;
    if (f->reader.finished && f->tries >= STREAM_TRIES_MAX) {
        f->reader.gone = true;
        f->again_at = MONO_NEVER;
        return true;
    }
    if (mono_reached(now, f->again_at))
        stream_reader_again(&f->reader, now);
    f->again_at = MONO_NEVER;
    bool anew = f->reader.anew;
    if (!stream_reader_wants(&f->reader, now, retry_ms(f)))
        return false;
    if (anew && ++f->silent < STREAM_SILENT_MAX)
        f->again_at = mono_add(now, retry_ms(f));
    f->tries++;
    f->asked = true;
    return true;
}

uint32_t stream_table_due(struct stream_table *t, struct mono now, uint32_t *out, uint32_t max) {
    if (!mono_reached(now, stream_table_next(t)))
        return 0;
    uint32_t n = 0, i = t->first;
    t->earliest = MONO_NEVER;
    for (uint32_t next; i && n < max; i = next) {
        struct stream_follow *f = stream_table_at(t, i);
        next = f->next;
        if (wants(f, now))
            out[n++] = i;
        relist(t, i);
    }
    if (i) /* the rest was not looked at */
        t->earliest = now;
    return n;
}

struct mono stream_table_next(const struct stream_table *t) {
    return t->first ? t->earliest : MONO_NEVER;
}
