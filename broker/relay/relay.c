#include "broker/relay/relay_int.h"

struct relay_config relay_config_default(void) {
    return (struct relay_config){
        .stream_bytes = 8U << 20,
        .bytes_max = 256U << 20,
        .streams_max = 65536,
        .attached_max = 65536,
        .need_ms = 100,
        .quiet_ms = 200,
        .keep_ms = 60000,
    };
}

struct relay *relay_new(const struct relay_config *config, const struct relay_effects *effects) {
    struct relay *r = MEM_NEW(struct relay);
    r->config = *config;
    r->effects = *effects;
    streams_init(r);
    attach_init(r);
    return r;
}

void relay_destroy(struct relay **r) {
    if (!*r)
        return;
    streams_done(*r);
    attach_done(*r);
    mem_free((*r)->heap);
    MEM_FREE(*r);
}

struct relay_stats relay_stats(const struct relay *r) {
    struct relay_stats stats = r->stats;
    stats.streams = r->streams.used;
    stats.attached = r->subs.used;
    return stats;
}

/* ---- from the core -------------------------------------------------------------------------- */
static void begin_attempt(struct relay *r, struct mono now, uint32_t i, uint64_t fence) {
    struct stream *s = stream_at(r, i);
    s->fence = fence;
    s->closed = s->whole = s->ended = false;
    s->needs = 0;
    s->need_at = (struct mono){0};
    stream_keep(r, i, KEPT_NOT);
    s->target = (struct stream_position){fence, 0};
    log_enter_epoch(r, now, i, fence);
}

void relay_open(struct relay *r, struct mono now, uint64_t job, uint64_t fence, uint64_t token,
                bool heard) {
    uint32_t i = stream_find(r, job);
    if (!i)
        i = stream_make(r, job, true);
    struct stream *s = stream_at(r, i);
    if (fence < s->fence || (fence == s->fence && (s->whole || s->ended)))
        return;
    if (fence > s->fence)
        begin_attempt(r, now, i, fence);
    s->open = true;
    s->token = token;
    s->silent = heard;
    if (heard)
        due_need(r, now, i);
}

static void try_whole(struct relay *r, struct stream *s) {
    if (!s->closed || s->whole ||
        (stream_before(stream_have(s), s->last) && !MUTANT(relay_whole_early)))
        return;
    s->whole = true;
    s->open = false;
    r->effects.whole(r->effects.ctx, s->job, s->fence);
}

static bool is_of_attempt(const struct stream *s, uint64_t epoch) {
    return epoch >= s->fence && epoch - s->fence <= STREAM_RESETS_MAX;
}

void relay_close(struct relay *r, struct mono now, uint64_t job, uint64_t fence,
                 struct stream_position last) {
    uint32_t i = stream_find(r, job);
    struct stream *s = i ? stream_at(r, i) : NULL;
    if (!s || s->fence != fence || s->ended)
        return;
    if (s->whole) {
        r->effects.whole(r->effects.ctx, job, fence);
        return;
    }
    bool missed = stream_is_missing(s);
    s->closed = true;
    s->last = is_of_attempt(s, last.epoch) ? last : (struct stream_position){0, 0};
    if (stream_before(s->target, s->last) && !MUTANT(relay_close_not_asked))
        s->target = s->last;
    try_whole(r, s);
    if (!stream_is_missing(s))
        return;
    /* The report comes by another socket and may have overtaken what was said before it. */
    struct mono later = mono_add(now, r->config.need_ms);
    if (!missed && s->need_at.ms < later.ms)
        s->need_at = later;
    due_need(r, now, i);
}

void relay_end(struct relay *r, struct mono now, uint64_t job) {
    uint32_t i = stream_find(r, job);
    if (!i)
        return;
    struct stream *s = stream_at(r, i);
    if (s->ended)
        return;
    s->open = false;
    s->ended = true;
    bool worth = s->epoch && (s->base == 0 || s->have > s->base);
    s->keep_at = mono_add(now, worth ? r->config.keep_ms : 0);
    stream_keep(r, i, KEPT_ENDED);
    due_set(r, i);
}

/* ---- from workers --------------------------------------------------------------------------- */
/* Further than what is here, but not right behind it. */
static void skipped(struct relay *r, struct mono now, uint32_t i, struct stream_position end) {
    struct stream *s = stream_at(r, i);
    if (stream_before(s->target, end))
        s->target = end;
    r->stats.gaps++;
    due_need(r, now, i);
}

static void take(struct relay *r, struct mono now, uint32_t i, const struct stream_frame *f) {
    struct stream *s = stream_at(r, i);
    const struct msg_stream *h = &f->head;
    struct stream_position end = {h->epoch, h->count ? h->seq + h->count - 1 : h->seq};
    if (h->epoch != s->epoch)
        log_enter_epoch(r, now, i, h->epoch);
    if (s->silent)
        due_came(r, now, i);
    if (end.seq <= s->have) {
        r->stats.doubled += h->count > 0;
        return;
    }
    if (h->count == 0 || (h->seq > s->have + 1 && !MUTANT(relay_gap_ignored))) {
        skipped(r, now, i, end);
        return;
    }
    uint64_t known = h->seq > s->have ? 0 : s->have + 1 - h->seq;
    struct str events = known ? stream_skip_events(f->events, known) : f->events;
    if (!log_append(r, i, h->count - known, events)) {
        s->need_at = mono_add(now, r->config.need_ms); /* after a turn there may be room */
        skipped(r, now, i, end);
        return;
    }
    r->stats.events += h->count - known;
    r->stats.bytes += events.len;
    due_came(r, now, i);
}

void relay_frame(struct relay *r, struct mono now, struct str frame) {
    struct stream_frame f;
    if (stream_read_frame(frame, &f, NULL) < 0 || f.head.gone) {
        r->stats.malformed++;
        return;
    }
    uint32_t i = stream_find(r, f.head.job);
    struct stream *s = i ? stream_at(r, i) : NULL;
    if (!s || !stream_is_fed(s) || !is_of_attempt(s, f.head.epoch) ||
        (f.head.token != s->token && !MUTANT(relay_token_unchecked))) {
        r->stats.strange++;
        return;
    }
    if (f.head.epoch < s->epoch && !MUTANT(relay_old_epoch)) {
        r->stats.doubled++;
        return;
    }
    r->stats.frames++;
    take(r, now, i, &f);
    try_whole(r, s);
}

/* ---- time ----------------------------------------------------------------------------------- */
void relay_turn(struct relay *r, struct mono now) {
    attach_serve(r, now);
    due_run(r, now);
    if (r->queue.head)
        attach_serve(r, now);
    r->full = false;
}

struct mono relay_next(const struct relay *r) {
    if (r->queue.head)
        return (struct mono){0};
    return r->n_heap ? stream_at(r, r->heap[0])->due : MONO_NEVER;
}
