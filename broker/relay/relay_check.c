/* The invariants of the relay, walked. Called after every input in simulations and tests. */
#include "broker/relay/relay_int.h"

/* 1. The log has exactly (base, have], and its index says where. */
static void check_log(const struct stream *s) {
    ASSERT(s->base <= s->have);
    ASSERT((s->base == s->have) == (s->log.len == 0));
    ASSERT((s->n_runs == 0) == (s->log.len == 0));
    uint64_t seq = s->base + 1;
    size_t at = 0;
    for (uint32_t k = 0; k < s->n_runs; k++) {
        struct run end = log_run_end(s, k);
        ASSERT(s->runs[k].seq == seq && s->runs[k].at == at && end.at > at && end.seq > seq);
        ASSERT(end.at - at <= STREAM_RUN_BYTES);
        struct str run = str_make(s->log.at + at, (size_t)end.at - at);
        ASSERT(stream_skip_events(run, end.seq - seq).len == 0);
        seq = end.seq;
        at = (size_t)end.at;
    }
}

/* 2. What is said of an attempt hangs together. */
static void check_attempt(const struct relay *r, uint32_t i) {
    const struct stream *s = stream_at(r, i);
    ASSERT(stream_find(r, s->job) == i);
    ASSERT(s->fence || (!s->epoch && (s->subs || s->ended)));
    ASSERT(!s->fence || (s->epoch >= s->fence && s->epoch - s->fence <= STREAM_RESETS_MAX));
    ASSERT(!s->open || (!s->whole && !s->ended));
    ASSERT(!s->whole || s->closed);
    ASSERT(s->kept == (s->ended ? KEPT_ENDED : s->log.len ? KEPT_LIVE : KEPT_NOT));
}

/* 3. Everybody who lacks what is here is queued. */
static uint32_t check_subs(const struct relay *r, uint32_t stream) {
    const struct stream *s = stream_at(r, stream);
    uint32_t n = 0, prev = 0;
    for (uint32_t i = s->subs; i; prev = i, i = sub_at(r, i)->next) {
        const struct sub *u = sub_at(r, i);
        ASSERT(u->stream == stream && u->prev == prev);
        ASSERT(!s->epoch || u->queued || u->at.epoch >= s->epoch);
        ASSERT(!s->epoch || u->queued || u->at.epoch > s->epoch || u->at.seq >= s->have);
        ASSERT(!s->queued_all || u->queued);
        ASSERT(u->offset == SIZE_MAX || u->at.seq == s->have ||
               u->offset == log_offset_of(s, u->at.seq + 1));
        n++;
    }
    return n;
}

static void check_list(const struct relay *r, enum kept kept, uint32_t wanted) {
    uint32_t n = 0, prev = 0;
    for (uint32_t i = r->kept[kept].head; i; prev = i, i = stream_at(r, i)->kept_next) {
        ASSERT(stream_at(r, i)->kept == kept && stream_at(r, i)->kept_prev == prev);
        n++;
    }
    ASSERT(r->kept[kept].tail == prev && n == wanted);
}

void relay_check(const struct relay *r) {
    uint64_t bytes = 0;
    uint32_t subs = 0, queued = 0, lists[KEPT_ENDED + 1] = {0};
    SLAB_EACH(i, &r->streams) {
        check_log(stream_at(r, i));
        check_attempt(r, i);
        subs += check_subs(r, i);
        bytes += stream_at(r, i)->log.len;
        lists[stream_at(r, i)->kept]++;
    }
    ASSERT(subs == r->subs.used && subs <= r->config.attached_max);
    ASSERT(bytes == r->stats.log_bytes && bytes <= r->config.bytes_max);
    for (uint32_t i = r->queue.head; i; i = sub_at(r, i)->queue_next) {
        ASSERT(sub_at(r, i)->queued);
        queued++;
    }
    SLAB_EACH(i, &r->subs)
    queued -= sub_at(r, i)->queued;
    ASSERT(queued == 0);
    check_list(r, KEPT_LIVE, lists[KEPT_LIVE]);
    check_list(r, KEPT_ENDED, lists[KEPT_ENDED]);
    due_check(r);
}
