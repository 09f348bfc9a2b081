/* The journal: rows that become durable in batches, and what a crash leaves of them. */
#include "tests/sim/sim.h"

#include "common/base/mem.h"

#define SEGMENT_BYTES 8192

uint64_t disk_append(struct sim *s, const struct record *r, uint32_t *bytes) {
    struct disk *d = &s->disk;
    AUTO_BUF scratch = BUF(1U << 20);
    struct str parts[RECORD_PARTS];
    size_t n = record_parts(r, &scratch, parts), len = 0;
    for (size_t k = 0; k < n; k++)
        len += parts[k].len;
    if (d->n == d->size) {
        d->size = d->size ? d->size * 2 : 256;
        d->rows = mem_grow(d->rows, d->size, sizeof *d->rows);
    }
    struct log_row *row = &d->rows[d->n++];
    *row = (struct log_row){.pos = d->next_pos,
                            .bytes = (uint32_t)len + 13,
                            .type = r->type,
                            .body = mem_alloc(len),
                            .len = len};
    char *to = row->body;
    for (size_t k = 0; k < n; k++) {
        memcpy(to, parts[k].at, parts[k].len);
        to += parts[k].len;
    }
    d->next_pos += row->bytes;
    d->live += row->bytes;
    row->goes_on = d->group_bytes > 0;
    d->group_used += row->bytes;
    if (d->group_bytes && d->group_used > d->group_bytes)
        sim_fail(s, "a group has %u bytes, %u were announced", d->group_used, d->group_bytes);
    *bytes = row->bytes;
    return row->pos;
}

void disk_group(struct sim *s, uint32_t bytes) {
    struct disk *d = &s->disk;
    if (bytes && d->group_bytes)
        sim_fail(s, "a group within a group");
    if (!bytes && d->group_used)
        d->rows[d->n - 1].goes_on = false;
    d->group_bytes = bytes;
    d->group_used = 0;
}

struct log_row *disk_find(struct disk *d, uint64_t pos) {
    uint32_t low = 0, high = d->n;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (d->rows[mid].pos < pos)
            low = mid + 1;
        else
            high = mid;
    }
    return low < d->n && d->rows[low].pos == pos ? &d->rows[low] : NULL;
}

void disk_release(struct sim *s, uint64_t pos, uint32_t bytes) {
    struct log_row *row = disk_find(&s->disk, pos);
    if (!row || row->gone)
        sim_fail(s, "a record that is not there was released (position %llu)",
                 (unsigned long long)pos);
    if (row->released)
        sim_fail(s, "a record of type %u was released twice (position %llu)", row->type,
                 (unsigned long long)pos);
    if (row->bytes != bytes)
        sim_fail(s, "a record of type %u was released with %u bytes, it has %u", row->type, bytes,
                 row->bytes);
    row->released = true;
    s->disk.live -= bytes;
    s->disk.dead += bytes;
}

uint64_t disk_durable_pos(const struct disk *d) {
    return d->durable < d->n ? d->rows[d->durable].pos : d->next_pos;
}

void disk_commit(struct sim *s) {
    struct disk *d = &s->disk;
    if (d->busy || d->durable == d->n)
        return;
    d->busy = true;
    d->writing = d->n;
    uint64_t ms = rng_below(&s->rng, 3);
    if (!s->healing && rng_chance(&s->rng, 30000))
        ms += rng_below(&s->rng, 400);
    sim_at(s, s->now + ms, SIM_COMMITTED, d->life, NULL);
}

void disk_committed(struct sim *s, uint64_t life) {
    struct disk *d = &s->disk;
    if (life != d->life || !d->busy)
        return;
    d->busy = false;
    d->durable = d->writing;
    broker_wake(s);
}

static void cut(struct disk *d, uint32_t from) {
    for (uint32_t k = from; k < d->n; k++)
        mem_free(d->rows[k].body);
    d->n = from;
    if (d->durable > from)
        d->durable = from;
}

/* Power is gone: of what was not synced a prefix is left. */
void disk_crash(struct sim *s) {
    struct disk *d = &s->disk;
    d->life++;
    d->busy = false;
    d->cleaning = 0;
    uint32_t unsynced = d->n - d->durable;
    uint32_t left = unsynced ? rng_below(&s->rng, unsynced + 1) : 0;
    if (MUTANT(unsynced_tail_kept) && unsynced > 1) {
        uint32_t hole = d->durable + rng_below(&s->rng, unsynced - 1);
        mem_free(d->rows[hole].body);
        memmove(&d->rows[hole], &d->rows[hole + 1], (d->n - hole - 1) * sizeof *d->rows);
        d->n--;
        left = unsynced - 1;
    }
    while (left && d->rows[d->durable + left - 1].goes_on)
        left--; /* a group is there as a whole or not at all */
    d->cut_pos = d->durable + left < d->n ? d->rows[d->durable + left].pos : d->next_pos;
    cut(d, d->durable + left);
    d->durable = d->n;
}

/* ---- cleaning: the oldest segment first
 * ---------------------------------------------------------- */
static uint32_t segment_end(const struct disk *d) {
    uint64_t end = (d->rows[d->first].pos / SEGMENT_BYTES + 1) * SEGMENT_BYTES;
    uint32_t k = d->first;
    while (k < d->n && d->rows[k].pos < end)
        k++;
    return k;
}

static void drop_segment(struct sim *s) {
    struct disk *d = &s->disk;
    for (uint32_t k = d->first; k < d->cleaning; k++) {
        if (!d->rows[k].released)
            sim_fail(s, "a segment with a record of type %u that is still needed was removed",
                     d->rows[k].type);
        d->dead -= d->rows[k].bytes;
        d->rows[k].gone = true;
    }
    d->first = d->cleaning;
    d->cleaning = 0;
}

void disk_clean(struct sim *s) {
    struct disk *d = &s->disk;
    if (d->cleaning) { /* shown already; gone when all that was moved is durable and nobody reads */
        if (d->durable >= d->clean_durable && s->broker.loads_n == 0)
            drop_segment(s);
        return;
    }
    if (d->first >= d->durable || d->dead <= d->live)
        return;
    uint32_t end = segment_end(d);
    if (end >= d->durable) /* the segment that is being written */
        return;
    for (uint32_t k = d->first; k < end; k++) {
        struct record_room room;
        struct record r;
        struct err e = {0};
        struct log_row row = d->rows[k];
        if (record_open((uint8_t)row.type, str_make(row.body, row.len), &room, &r, &e) < 0)
            sim_fail(s, "a record cannot be read back: %s", e.text);
        core_clean(s->broker.core, row.pos, &r);
    }
    d->cleaning = end;
    d->clean_durable = d->n;
}

void disk_replay(struct sim *s) {
    struct disk *d = &s->disk;
    d->live = d->dead = 0;
    for (uint32_t k = d->first; k < d->n; k++) {
        d->rows[k].released = false;
        d->live += d->rows[k].bytes;
    }
    for (uint32_t k = d->first; k < d->n; k++) {
        struct record_room room;
        struct record r;
        struct err e = {0};
        struct log_row row = d->rows[k];
        if (record_open((uint8_t)row.type, str_make(row.body, row.len), &room, &r, &e) < 0)
            sim_fail(s, "a record cannot be replayed: %s", e.text);
        core_replay(s->broker.core, row.pos, row.bytes, &r);
    }
}

void disk_done(struct disk *d) {
    cut(d, 0);
    mem_free(d->rows);
}
