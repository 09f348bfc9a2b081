/* The streams: by job, and in the order in which they may be let go. */
#include "broker/relay/relay_int.h"

static uint64_t job_hash(const void *ctx, uint32_t i) {
    return hash_mix(0, stream_at(ctx, i)->job);
}

static uint32_t *job_link(const void *ctx, uint32_t i) {
    return &stream_at(ctx, i)->hash_next;
}

static bool job_equal(const void *ctx, uint32_t i, const void *key) {
    return stream_at(ctx, i)->job == *(const uint64_t *)key;
}

static const struct lhash_ops job_ops = {job_hash, job_link, job_equal};

void streams_init(struct relay *r) {
    slab_init(&r->streams, sizeof(struct stream));
    lhash_init(&r->by_job, &job_ops, r);
}

void streams_done(struct relay *r) {
    SLAB_EACH(i, &r->streams) {
        buf_destroy(&stream_at(r, i)->log);
        mem_free(stream_at(r, i)->runs);
    }
    lhash_done(&r->by_job);
    slab_done(&r->streams);
}

uint32_t stream_find(const struct relay *r, uint64_t job) {
    return lhash_find(&r->by_job, hash_mix(0, job), &job);
}

uint32_t stream_make(struct relay *r, uint64_t job, bool must) {
    while (r->streams.used >= r->config.streams_max && r->kept[KEPT_ENDED].head) {
        r->stats.evicted++;
        stream_forget(r, r->kept[KEPT_ENDED].head);
    }
    if (r->streams.used >= r->config.streams_max && !must)
        return 0;
    uint32_t i = slab_take(&r->streams);
    struct stream *s = stream_at(r, i);
    s->job = job;
    s->quiet_at = MONO_NEVER;
    lhash_add(&r->by_job, i);
    return i;
}

void stream_keep(struct relay *r, uint32_t i, enum kept where) {
    struct stream *s = stream_at(r, i);
    if (s->kept != KEPT_NOT) {
        struct link_list *l = &r->kept[s->kept];
        *(s->kept_prev ? &stream_at(r, s->kept_prev)->kept_next : &l->head) = s->kept_next;
        *(s->kept_next ? &stream_at(r, s->kept_next)->kept_prev : &l->tail) = s->kept_prev;
        s->kept_next = s->kept_prev = 0;
    }
    s->kept = where;
    if (where == KEPT_NOT)
        return;
    struct link_list *l = &r->kept[where];
    s->kept_prev = l->tail;
    *(l->tail ? &stream_at(r, l->tail)->kept_next : &l->head) = i;
    l->tail = i;
}

static bool lacks(const struct stream *s, const struct sub *u) {
    return s->epoch && !u->lost && stream_before(u->at, stream_have(s));
}

void stream_forget(struct relay *r, uint32_t i) {
    struct stream *s = stream_at(r, i);
    while (s->subs) {
        const struct sub *u = sub_at(r, s->subs);
        if (lacks(s, u))
            attach_tell_gone(r, u->to, s->job, s->epoch);
        attach_end(r, s->subs);
    }
    log_drop(r, i, s->have);
    stream_keep(r, i, KEPT_NOT);
    due_remove(r, i);
    lhash_remove(&r->by_job, i);
    slab_give(&r->streams, i);
}
