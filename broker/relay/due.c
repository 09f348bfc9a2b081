/* What happens without an input: asking again, saying how far a stream is, forgetting it.
 *
 * A heap has for each stream the earliest time at which something of it may be due. Times that move
 * away (they do with each event) leave it as it is: a stream that comes up too early is put back.
 */
#include "broker/relay/relay_int.h"

/* ---- the heap ------------------------------------------------------------------------------- */
static bool earlier(const struct relay *r, uint32_t a, uint32_t b) {
    return stream_at(r, a)->due.ms < stream_at(r, b)->due.ms;
}

static void put_at(struct relay *r, uint32_t place, uint32_t stream) {
    r->heap[place] = stream;
    stream_at(r, stream)->heap_at = place + 1;
}

static void sift_up(struct relay *r, uint32_t place) {
    uint32_t stream = r->heap[place];
    while (place > 0 && earlier(r, stream, r->heap[(place - 1) / 2])) {
        put_at(r, place, r->heap[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    put_at(r, place, stream);
}

static void sift_down(struct relay *r, uint32_t place) {
    uint32_t stream = r->heap[place];
    for (;;) {
        uint32_t child = 2 * place + 1;
        if (child + 1 < r->n_heap && earlier(r, r->heap[child + 1], r->heap[child]))
            child++;
        if (child >= r->n_heap || !earlier(r, r->heap[child], stream))
            break;
        put_at(r, place, r->heap[child]);
        place = child;
    }
    put_at(r, place, stream);
}

void due_remove(struct relay *r, uint32_t stream) {
    struct stream *s = stream_at(r, stream);
    if (!s->heap_at)
        return;
    uint32_t place = s->heap_at - 1, moved = r->heap[--r->n_heap];
    s->heap_at = 0;
    if (moved == stream)
        return;
    put_at(r, place, moved);
    sift_up(r, place);
    sift_down(r, stream_at(r, moved)->heap_at - 1);
}

/* ---- what is due ---------------------------------------------------------------------------- */
static struct mono due_of(const struct stream *s) {
    struct mono due = MONO_NEVER;
    if (stream_is_missing(s) && s->need_at.ms < due.ms)
        due = s->need_at;
    if (s->subs && s->epoch && s->quiet_at.ms < due.ms)
        due = s->quiet_at;
    if (s->ended && s->keep_at.ms < due.ms)
        due = s->keep_at;
    return due;
}

void due_set(struct relay *r, uint32_t stream) {
    struct stream *s = stream_at(r, stream);
    struct mono due = due_of(s);
    if (due.ms == MONO_NEVER.ms || (s->heap_at && s->due.ms <= due.ms))
        return;
    s->due = due;
    if (!s->heap_at) {
        if (r->n_heap == r->size_heap) {
            r->size_heap = r->size_heap ? r->size_heap * 2 : 64;
            r->heap = mem_grow(r->heap, r->size_heap, sizeof *r->heap);
        }
        put_at(r, r->n_heap++, stream);
    }
    sift_up(r, s->heap_at - 1);
}

void due_need(struct relay *r, struct mono now, uint32_t stream) {
    struct stream *s = stream_at(r, stream);
    if (s->need_at.ms < now.ms)
        s->need_at = now;
    due_set(r, stream);
}

void due_came(struct relay *r, struct mono now, uint32_t stream) {
    struct stream *s = stream_at(r, stream);
    s->silent = false;
    s->needs = s->quiets = 0;
    struct mono from = stream_is_missing(s) ? now : s->needed_at;
    s->need_at = mono_add(from, r->config.need_ms);
    s->quiet_at = mono_add(now, r->config.quiet_ms);
    due_set(r, stream);
}

static uint64_t backed_off(uint64_t ms, uint32_t *times) {
    uint32_t bits = *times < BACKOFF_BITS ? (*times)++ : BACKOFF_BITS;
    return ms << bits;
}

static void say_need(struct relay *r, struct mono now, struct stream *s) {
    s->needed_at = now;
    s->need_at = mono_add(now, backed_off(r->config.need_ms, &s->needs));
    if (MUTANT(relay_need_once))
        s->need_at = MONO_NEVER;
    r->stats.needs++;
    r->effects.need(r->effects.ctx, s->job, s->fence, stream_have(s));
}

static void say_position(struct relay *r, struct mono now, struct stream *s) {
    s->quiet_at = mono_add(now, backed_off(r->config.quiet_ms, &s->quiets));
    for (uint32_t i = s->subs; i; i = sub_at(r, i)->next) {
        struct sub *u = sub_at(r, i);
        if (!u->lost && u->at.epoch == s->epoch && u->at.seq == s->have) {
            u->announce = true;
            attach_queue(r, i);
        }
    }
}

void due_run(struct relay *r, struct mono now) {
    while (r->n_heap && mono_reached(now, stream_at(r, r->heap[0])->due)) {
        uint32_t i = r->heap[0];
        struct stream *s = stream_at(r, i);
        due_remove(r, i);
        if (s->ended && mono_reached(now, s->keep_at)) {
            stream_forget(r, i);
            continue;
        }
        if (stream_is_missing(s) && mono_reached(now, s->need_at))
            say_need(r, now, s);
        if (s->subs && s->epoch && mono_reached(now, s->quiet_at))
            say_position(r, now, s);
        due_set(r, i);
    }
}

void due_check(const struct relay *r) {
    SLAB_EACH(i, &r->streams) {
        const struct stream *s = stream_at(r, i);
        struct mono due = due_of(s);
        ASSERT(due.ms == MONO_NEVER.ms || (s->heap_at && s->due.ms <= due.ms));
    }
    for (uint32_t k = 0; k < r->n_heap; k++) {
        ASSERT(stream_at(r, r->heap[k])->heap_at == k + 1);
        ASSERT(k == 0 || !earlier(r, r->heap[k], r->heap[(k - 1) / 2]));
    }
}
