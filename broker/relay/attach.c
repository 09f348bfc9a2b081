/* Who is attached, and what each is sent: in turn, one run at a time. */
#include "broker/relay/relay_int.h"

struct sub_key {
    uint32_t stream;
    relay_peer to;
};

static uint64_t hash_of(uint32_t stream, relay_peer to) {
    return hash_mix(stream, to);
}

static uint64_t sub_hash(const void *ctx, uint32_t i) {
    const struct sub *u = sub_at(ctx, i);
    return hash_of(u->stream, u->to);
}

static uint32_t *sub_link(const void *ctx, uint32_t i) {
    return &sub_at(ctx, i)->hash_next;
}

static bool sub_equal(const void *ctx, uint32_t i, const void *key) {
    const struct sub *u = sub_at(ctx, i);
    const struct sub_key *k = key;
    return u->stream == k->stream && u->to == k->to;
}

static const struct lhash_ops sub_ops = {sub_hash, sub_link, sub_equal};

void attach_init(struct relay *r) {
    slab_init(&r->subs, sizeof(struct sub));
    lhash_init(&r->by_peer, &sub_ops, r);
}

void attach_done(struct relay *r) {
    lhash_done(&r->by_peer);
    slab_done(&r->subs);
}

/* ---- the queue of who is to be served ------------------------------------------------------- */
void attach_queue(struct relay *r, uint32_t i) {
    struct sub *u = sub_at(r, i);
    if (u->queued)
        return;
    u->queued = true;
    u->queue_prev = r->queue.tail;
    u->queue_next = 0;
    *(r->queue.tail ? &sub_at(r, r->queue.tail)->queue_next : &r->queue.head) = i;
    r->queue.tail = i;
}

void attach_queue_all(struct relay *r, struct stream *s) {
    if (s->queued_all)
        return;
    s->queued_all = true;
    for (uint32_t i = s->subs; i; i = sub_at(r, i)->next)
        attach_queue(r, i);
}

static void leave_queue(struct relay *r, uint32_t i) {
    struct sub *u = sub_at(r, i);
    if (!u->queued)
        return;
    *(u->queue_prev ? &sub_at(r, u->queue_prev)->queue_next : &r->queue.head) = u->queue_next;
    *(u->queue_next ? &sub_at(r, u->queue_next)->queue_prev : &r->queue.tail) = u->queue_prev;
    u->queued = false;
    stream_at(r, u->stream)->queued_all = false;
}

/* ---- attaching ------------------------------------------------------------------------------ */
void attach_tell_gone(struct relay *r, relay_peer to, uint64_t job, uint64_t epoch) {
    struct msg_stream head = {0};
    MSG_SET(&head, stream, job, job);
    MSG_SET(&head, stream, epoch, epoch ? epoch : 1);
    MSG_SET(&head, stream, seq, 0);
    MSG_SET(&head, stream, count, 0);
    MSG_SET(&head, stream, gone, true);
    r->stats.gone++;
    r->effects.publish(r->effects.ctx, to, &head, STR(""));
}

static uint32_t sub_find(const struct relay *r, uint32_t stream, relay_peer to) {
    struct sub_key key = {stream, to};
    return lhash_find(&r->by_peer, hash_of(stream, to), &key);
}

static uint32_t sub_make(struct relay *r, uint32_t stream, relay_peer to) {
    if (r->subs.used >= r->config.attached_max)
        return 0;
    uint32_t i = slab_take(&r->subs);
    struct sub *u = sub_at(r, i);
    struct stream *s = stream_at(r, stream);
    u->to = to;
    u->stream = stream;
    u->next = s->subs;
    if (s->subs)
        sub_at(r, s->subs)->prev = i;
    s->subs = i;
    lhash_add(&r->by_peer, i);
    return i;
}

/* A stream that only subscribers wait for goes with the last of them. */
static void forget_unwanted(struct relay *r, uint32_t stream) {
    const struct stream *s = stream_at(r, stream);
    if (!s->subs && !s->fence)
        stream_forget(r, stream);
}

void relay_attach(struct relay *r, struct mono now, uint64_t job, relay_peer to,
                  struct stream_position known, bool ended) {
    uint32_t stream = stream_find(r, job);
    if (!stream && !ended)
        stream = stream_make(r, job, false);
    if (!stream) {
        attach_tell_gone(r, to, job, known.epoch);
        return;
    }
    struct stream *s = stream_at(r, stream);
    uint32_t i = sub_find(r, stream, to);
    if (!i)
        i = sub_make(r, stream, to);
    if (!i) {
        attach_tell_gone(r, to, job, known.epoch);
        forget_unwanted(r, stream);
        return;
    }
    struct sub *u = sub_at(r, i);
    u->at = MUTANT(relay_attach_at_end) ? stream_have(s) : known;
    u->offset = SIZE_MAX;
    u->announce = true;
    u->lost = false;
    s->quiets = 0;
    s->quiet_at = mono_add(now, r->config.quiet_ms);
    attach_queue(r, i);
    due_set(r, stream);
}

void relay_attach_again(struct relay *r, struct mono now, uint64_t job, relay_peer to,
                        struct stream_position known) {
    uint32_t stream = stream_find(r, job);
    if (stream && sub_find(r, stream, to))
        relay_attach(r, now, job, to, known, true);
    else
        attach_tell_gone(r, to, job, known.epoch);
}

void attach_end(struct relay *r, uint32_t i) {
    struct sub *u = sub_at(r, i);
    leave_queue(r, i);
    *(u->prev ? &sub_at(r, u->prev)->next : &stream_at(r, u->stream)->subs) = u->next;
    if (u->next)
        sub_at(r, u->next)->prev = u->prev;
    lhash_remove(&r->by_peer, i);
    slab_give(&r->subs, i);
}

void relay_detach(struct relay *r, uint64_t job, relay_peer to) {
    uint32_t stream = stream_find(r, job);
    uint32_t i = stream ? sub_find(r, stream, to) : 0;
    if (!i)
        return;
    attach_end(r, i);
    forget_unwanted(r, stream);
}

void attach_forget_offsets(struct relay *r, const struct stream *s) {
    for (uint32_t i = s->subs; i; i = sub_at(r, i)->next)
        sub_at(r, i)->offset = SIZE_MAX;
}

bool attach_all_served(const struct relay *r, const struct stream *s) {
    for (uint32_t i = s->subs; i; i = sub_at(r, i)->next) {
        const struct sub *u = sub_at(r, i);
        if (!u->lost && stream_before(u->at, stream_have(s)))
            return false;
    }
    return true;
}

/* ---- serving -------------------------------------------------------------------------------- */
static size_t send(struct relay *r, struct sub *u, uint64_t count, struct str events) {
    const struct stream *s = stream_at(r, u->stream);
    struct msg_stream head = {0};
    MSG_SET(&head, stream, job, s->job);
    MSG_SET(&head, stream, epoch, s->epoch);
    MSG_SET(&head, stream, seq, count ? u->at.seq + 1 : s->have);
    MSG_SET(&head, stream, count, count);
    u->announce = false;
    u->at.seq += MUTANT(relay_published_twice) && count > 1 ? count - 1 : count;
    r->stats.published++;
    r->stats.published_events += count;
    r->effects.publish(r->effects.ctx, u->to, &head, events);
    return events.len;
}

/* The rest of the run that is next. */
static size_t send_run(struct relay *r, struct sub *u) {
    const struct stream *s = stream_at(r, u->stream);
    uint64_t seq = u->at.seq + 1;
    struct run end = log_run_end(s, log_run_of(s, seq));
    size_t from = u->offset != SIZE_MAX ? u->offset : log_offset_of(s, seq);
    u->offset = MUTANT(relay_published_twice) ? SIZE_MAX : (size_t)end.at;
    return send(r, u, end.seq - seq, str_make(s->log.at + from, (size_t)end.at - from));
}

/* What he lacks was let go: it is asked for, or nobody has it any more. */
static void fetch(struct relay *r, struct mono now, struct sub *u) {
    struct stream *s = stream_at(r, u->stream);
    if (stream_is_fed(s)) {
        log_rewind(r, u->stream, u->at.seq);
        due_need(r, now, u->stream);
        return;
    }
    attach_tell_gone(r, u->to, s->job, s->epoch);
    u->lost = true;
    u->announce = false;
    u->at.seq = s->have;
}

/* Bytes that were sent. */
static size_t serve(struct relay *r, struct mono now, uint32_t i) {
    struct sub *u = sub_at(r, i);
    struct stream *s = stream_at(r, u->stream);
    if (!s->epoch || u->at.epoch > s->epoch)
        return 0; /* nothing yet, or not yet what he has */
    if (u->at.epoch < s->epoch) {
        u->at = (struct stream_position){s->epoch, 0};
        u->offset = SIZE_MAX;
        u->lost = false;
        u->announce = true;
    }
    if (u->at.seq < s->base)
        fetch(r, now, u);
    size_t sent = 0;
    if (u->at.seq < s->have)
        sent = send_run(r, u);
    else if (u->announce)
        send(r, u, 0, STR(""));
    if (u->at.seq < s->have)
        attach_queue(r, i);
    return sent;
}

void attach_serve(struct relay *r, struct mono now) {
    size_t sent = 0;
    while (r->queue.head && sent < TURN_BYTES) {
        uint32_t i = r->queue.head;
        leave_queue(r, i);
        sent += serve(r, now, i);
    }
}
