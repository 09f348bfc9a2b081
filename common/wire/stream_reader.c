#include "common/wire/stream_reader.h"

/* Faults that the simulator's build can turn on, to see that they are seen; here there are none. */
#ifndef MUTANT
#define MUTANT(name) 0
#endif

struct stream_reader stream_reader(uint64_t job, struct stream_position known) {
    return (struct stream_reader){.job = job, .at = known, .target = known, .ask_at = MONO_NEVER};
}

struct stream_position stream_reader_position(const struct stream_reader *r) {
    return r->at;
}

/* ---- asking --------------------------------------------------------------------------------- */
static bool is_missing(const struct stream_reader *r) {
    return stream_before(r->at, r->target);
}

static bool asks(const struct stream_reader *r) {
    return !r->over && (r->anew || (is_missing(r) && !r->gone));
}

static void miss(struct stream_reader *r, struct mono now, struct stream_position target) {
    if (!stream_before(r->target, target))
        return;
    bool asked = is_missing(r);
    r->target = target;
    if (!asked && is_missing(r))
        r->ask_at = now;
}

bool stream_reader_wants(struct stream_reader *r, struct mono now, uint64_t retry_ms) {
    if (!asks(r) || !mono_reached(now, r->ask_at))
        return false;
    if (r->anew)
        r->gone = false; /* was said by the broker before */
    r->anew = false; /* ATTACH is a request: whether it arrived is the conversation's business */
    r->retry_ms = retry_ms;
    r->ask_at = MUTANT(reader_asks_once) ? MONO_NEVER : mono_add(now, retry_ms);
    return true;
}

struct mono stream_reader_due(const struct stream_reader *r) {
    return asks(r) ? r->ask_at : MONO_NEVER;
}

void stream_reader_again(struct stream_reader *r, struct mono now) {
    r->gone = false;
    r->anew = true;
    r->ask_at = now;
}

/* ---- taking --------------------------------------------------------------------------------- */
static void enter_epoch(struct stream_reader *r, uint64_t epoch) {
    r->reset |= r->at.epoch != 0 && !MUTANT(reader_reset_untold);
    r->at = (struct stream_position){epoch, 0};
}

static bool is_old(const struct stream_reader *r, uint64_t epoch) {
    return MUTANT(reader_old_epoch) ? false : epoch < r->at.epoch;
}

void stream_reader_take(struct stream_reader *r, struct mono now, const struct stream_frame *f) {
    const struct msg_stream *h = &f->head;
    r->left = 0;
    if (r->over || is_old(r, h->epoch))
        return;
    if (h->gone || (r->finished && h->epoch > r->last.epoch)) {
        r->gone = true; /* the job may run again: that is another stream */
        return;
    }
    r->gone = false;
    uint64_t end = h->count ? h->seq + h->count - 1 : h->seq;
    if (h->epoch != r->at.epoch)
        enter_epoch(r, h->epoch);
    miss(r, now, (struct stream_position){h->epoch, end});
    if (h->count == 0 || (end <= r->at.seq && !MUTANT(reader_double_told)))
        return;
    if (h->seq > r->at.seq + 1 && !MUTANT(reader_gap_ignored))
        return;
    uint64_t known = h->seq <= r->at.seq ? r->at.seq + 1 - h->seq : 0;
    if (MUTANT(reader_double_told) || h->seq > r->at.seq + 1) {
        r->at.seq = h->seq - 1;
        known = 0;
    }
    r->events = stream_skip_events(f->events, known);
    r->left = h->count - known;
    if (r->left)
        r->ask_at = mono_add(now, r->retry_ms); /* what was asked for is on its way */
}

void stream_reader_finished(struct stream_reader *r, struct mono now, struct stream_position last) {
    if (r->over || r->finished)
        return;
    r->finished = true;
    r->last = last;
    if (r->at.epoch < last.epoch)
        enter_epoch(r, last.epoch);
    /* A job that wrote nothing at last has made void what it wrote before. */
    if (last.epoch == 0 && r->at.seq > 0) {
        r->reset = true;
        r->at = (struct stream_position){0, 0};
    }
    if (stream_before(last, r->target))
        r->target = last;
    miss(r, now, last);
}

/* ---- telling -------------------------------------------------------------------------------- */
static enum stream_news tell_end(struct stream_reader *r) {
    bool all = r->last.epoch == 0 || MUTANT(reader_whole_early) ||
               (r->at.epoch == r->last.epoch && r->at.seq == r->last.seq);
    if (!all && !r->gone && !stream_before(r->last, r->at))
        return STREAM_NOTHING;
    r->over = true;
    return all ? STREAM_WHOLE : STREAM_BROKEN;
}

enum stream_news stream_reader_next(struct stream_reader *r, struct stream_event *event) {
    if (r->over)
        return STREAM_NOTHING;
    if (r->reset) {
        r->reset = false;
        return STREAM_RESET;
    }
    if (r->left) {
        bool there = stream_next_event(&r->events, event);
        r->left--;
        r->at.seq++;
        return there ? STREAM_EVENT : STREAM_NOTHING;
    }
    return r->finished ? tell_end(r) : STREAM_NOTHING;
}
