/* The log of one stream: events end to end, and where its runs begin. */
#include "broker/relay/relay_int.h"

static void let_go(struct relay *r, uint32_t i) {
    struct stream *s = stream_at(r, i);
    r->stats.log_bytes -= s->log.len;
    buf_destroy(&s->log);
    MEM_FREE(s->runs);
    s->n_runs = s->size_runs = 0;
    attach_forget_offsets(r, s);
    if (s->kept == KEPT_LIVE)
        stream_keep(r, i, KEPT_NOT);
}

void log_drop(struct relay *r, uint32_t i, uint64_t have) {
    struct stream *s = stream_at(r, i);
    let_go(r, i);
    s->base = s->have = have;
}

void log_enter_epoch(struct relay *r, struct mono now, uint32_t i, uint64_t epoch) {
    struct stream *s = stream_at(r, i);
    log_drop(r, i, 0);
    s->epoch = epoch;
    if (s->target.epoch < epoch)
        s->target = (struct stream_position){epoch, 0};
    s->quiets = 0;
    s->quiet_at = mono_add(now, r->config.quiet_ms);
    attach_queue_all(r, s);
    due_set(r, i);
}

void log_rewind(struct relay *r, uint32_t i, uint64_t have) {
    struct stream *s = stream_at(r, i);
    if (stream_before(s->target, stream_have(s)))
        s->target = stream_have(s);
    r->stats.evicted += s->log.len > 0;
    if (!MUTANT(relay_rewind_forgotten))
        log_drop(r, i, have);
}

/* ---- room ----------------------------------------------------------------------------------- */
static bool fits(const struct relay *r, size_t n) {
    return r->stats.log_bytes + n <= r->config.bytes_max;
}

/* Lets go what costs least; a second time in one turn nothing more would be found. */
static bool make_room(struct relay *r, uint32_t keep, size_t n) {
    while (!fits(r, n) && r->kept[KEPT_ENDED].head) {
        r->stats.evicted++;
        stream_forget(r, r->kept[KEPT_ENDED].head);
    }
    if (fits(r, n) || r->full)
        return fits(r, n);
    for (uint32_t i = r->kept[KEPT_LIVE].head, next; i && !fits(r, n); i = next) {
        struct stream *s = stream_at(r, i);
        next = s->kept_next;
        if (i == keep || !attach_all_served(r, s))
            continue;
        r->stats.evicted++;
        log_drop(r, i, s->have);
    }
    struct stream *own = stream_at(r, keep);
    if (!fits(r, n) && own->log.len && attach_all_served(r, own)) {
        r->stats.evicted++;
        log_drop(r, keep, own->have);
    }
    r->full = !fits(r, n);
    return !r->full;
}

static bool has_room(struct relay *r, uint32_t i, size_t n) {
    struct stream *s = stream_at(r, i);
    if (s->log.len && s->log.len + n > r->config.stream_bytes) {
        if (!attach_all_served(r, s))
            return false;
        r->stats.evicted++;
        log_drop(r, i, s->have);
    }
    return fits(r, n) || make_room(r, i, n);
}

/* ---- writing and finding -------------------------------------------------------------------- */
static void index_run(struct stream *s, size_t n) {
    if (s->n_runs && s->log.len + n - s->runs[s->n_runs - 1].at <= STREAM_RUN_BYTES)
        return;
    if (s->n_runs == s->size_runs) {
        s->size_runs = s->size_runs ? s->size_runs * 2 : 4;
        s->runs = mem_grow(s->runs, s->size_runs, sizeof *s->runs);
    }
    s->runs[s->n_runs++] = (struct run){s->have + 1, s->log.len};
}

bool log_append(struct relay *r, uint32_t i, uint64_t count, struct str events) {
    struct stream *s = stream_at(r, i);
    if (!has_room(r, i, events.len))
        return false;
    s->log.bytes_max = r->config.stream_bytes + events.len; /* one message always has its place */
    if (!buf_room(&s->log, events.len)) {
        s->log.failed = false; /* memory is short: as if the bound were reached */
        return false;
    }
    index_run(s, events.len);
    buf_put_str(&s->log, events);
    r->stats.log_bytes += events.len;
    s->have += count;
    if (s->kept == KEPT_NOT)
        stream_keep(r, i, KEPT_LIVE);
    attach_queue_all(r, s);
    return true;
}

uint32_t log_run_of(const struct stream *s, uint64_t seq) {
    ASSERT(s->n_runs && seq > s->base && seq <= s->have);
    uint32_t low = 0, high = s->n_runs - 1;
    while (low < high) {
        uint32_t mid = high - (high - low) / 2;
        if (s->runs[mid].seq <= seq)
            low = mid;
        else
            high = mid - 1;
    }
    return low;
}

struct run log_run_end(const struct stream *s, uint32_t run) {
    return run + 1 < s->n_runs ? s->runs[run + 1] : (struct run){s->have + 1, s->log.len};
}

size_t log_offset_of(const struct stream *s, uint64_t seq) {
    const struct run *run = &s->runs[log_run_of(s, seq)];
    struct str from = str_make(s->log.at + run->at, s->log.len - (size_t)run->at);
    return s->log.len - stream_skip_events(from, seq - run->seq).len;
}
