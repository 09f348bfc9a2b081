/* One reader, one job: every event, once, in order. */
#include "common/base/mem.h"
#include "common/os/clock.h"
#include "schemas/states.h"
#include "tests/e2e/stream_crash.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct follow *follow_new(struct stream_load *l, unsigned reader, const struct script *script) {
    struct follow *f = MEM_NEW(struct follow);
    *f = (struct follow){.load = l,
                         .reader = reader,
                         .script = *script,
                         .sum = XXH3_createState(),
                         .broker_kills = l->scene->broker_kills,
                         .story = BUF(STORY_MAX)};
    XXH3_64bits_reset(f->sum);
    follow_note(f,
                "submitted: %u pieces of %u bytes, %u a second, %u channels, %u resets, fails "
                "after %u",
                script->pieces, script->bytes, script->rate, script->channels, script->resets,
                script->fail_after);
    return f;
}

void follow_free(struct follow *f) {
    XXH3_freeState(f->sum);
    buf_destroy(&f->story);
    mem_free(f);
}

/* ---- its story ------------------------------------------------------------------------------ */
static void note(struct follow *f, const char *format, va_list args) {
    char text[200];
    vsnprintf(text, sizeof text, format, args);
    /* A story that is too long keeps its beginning: its end is what is wrong, told by itself. */
    buf_printf(&f->story, "  %8llu ms  at (%llu, %llu): %s\n",
               (unsigned long long)mono_until(f->load->scene->began, clock_mono()),
               (unsigned long long)f->at.epoch, (unsigned long long)f->at.seq, text);
}

void follow_note(struct follow *f, const char *format, ...) {
    va_list args;
    va_start(args, format);
    note(f, format, args);
    va_end(args);
}

/* What is wrong with a stream is told once; what follows from it is not news. */
static void wrong(struct follow *f, uint64_t *count, uint64_t n, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static void wrong(struct follow *f, uint64_t *count, uint64_t n, const char *format, ...) {
    char text[200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (f->wrong)
        return;
    f->wrong = true;
    *count += n;
    printf("WRONG: job %llx, reader %u: %s; it is at (%llu, %llu)\n%.*s", (unsigned long long)f->id,
           f->reader, text, (unsigned long long)f->at.epoch, (unsigned long long)f->at.seq,
           (int)f->story.len, f->story.len ? f->story.at : "");
    fflush(stdout);
}

void follow_wrong(struct follow *f, const char *format, ...) {
    char text[200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    wrong(f, &f->load->counts.other, 1, "%s", text);
}

/* ---- events --------------------------------------------------------------------------------- */
static bool is_piece(const struct script *s, const struct stream_event *e, uint64_t n) {
    char piece[PIECE_MAX];
    if (n == 0 || n > s->pieces || e->bytes.len != s->bytes)
        return false;
    script_piece(s, n, piece);
    return memcmp(e->bytes.at, piece, s->bytes) == 0 && e->channel == script_channel(s, n) &&
           e->type == STREAM_TEXT;
}

/* Which piece of the script it is; 0: none. */
static uint64_t piece_of(const struct script *s, const struct stream_event *e) {
    char digits[24] = {0};
    size_t n = e->bytes.len < sizeof digits - 1 ? e->bytes.len : sizeof digits - 1;
    memcpy(digits, e->bytes.at, n);
    uint64_t number = strtoull(digits, NULL, 10);
    return is_piece(s, e, number) ? number : 0;
}

static void take_event(struct follow *f, const struct stream_told *t) {
    struct stream_counts *c = &f->load->counts;
    uint64_t want = f->at.seq + 1, got = piece_of(&f->script, t->event);
    c->events++;
    if (f->end != STREAM_NOTHING)
        follow_wrong(f, "an event behind the end");
    if (f->at.epoch && t->position.epoch != f->at.epoch)
        wrong(f, &c->unannounced, 1, "epoch %llu began without RESET",
              (unsigned long long)t->position.epoch);
    else if (got == 0)
        follow_wrong(f, "it never writes '%.*s' on channel %u", (int)t->event->bytes.len,
                     t->event->bytes.at, t->event->channel);
    else if (got > want)
        wrong(f, &c->lost, got - want, "piece %llu is told as the next one",
              (unsigned long long)got);
    else if (got < want)
        wrong(f, &c->doubled, 1, "piece %llu is told again", (unsigned long long)got);
    else if (t->position.seq != want)
        follow_wrong(f, "piece %llu is said to be event %llu", (unsigned long long)got,
                     (unsigned long long)t->position.seq);
    XXH3_64bits_update(f->sum, t->event->bytes.at, t->event->bytes.len);
    f->at = t->position;
}

/* Another epoch begins, a later one; or none, which only the end of the job brings. */
static void take_reset(struct follow *f, const struct stream_told *t) {
    f->load->counts.resets++;
    follow_note(f, "RESET to epoch %llu", (unsigned long long)t->position.epoch);
    if (t->position.seq || (t->position.epoch && t->position.epoch <= f->at.epoch))
        follow_wrong(f, "a RESET to (%llu, %llu)", (unsigned long long)t->position.epoch,
                     (unsigned long long)t->position.seq);
    f->at = t->position;
    XXH3_64bits_reset(f->sum);
}

void follow_told(struct follow *f, const struct stream_told *told) {
    f->load->news++;
    if (told->news == STREAM_EVENT) {
        take_event(f, told);
    } else if (told->news == STREAM_RESET) {
        take_reset(f, told);
    } else {
        if (f->end != STREAM_NOTHING)
            follow_wrong(f, "a second end");
        f->end = told->news;
        follow_note(f, told->news == STREAM_WHOLE ? "WHOLE" : "BROKEN");
    }
}

/* ---- the end -------------------------------------------------------------------------------- */
/* Where an attempt wrote nothing, its job ends at no position; its reader may know of an epoch. */
static void check_whole(struct follow *f, const struct client_finished *end, uint64_t sum) {
    struct stream_counts *c = &f->load->counts;
    if (f->at.seq < f->script.pieces)
        wrong(f, &c->lost, f->script.pieces - f->at.seq, "it is WHOLE with %llu of %u pieces",
              (unsigned long long)f->at.seq, f->script.pieces);
    else if (XXH3_64bits_digest(f->sum) != sum)
        follow_wrong(f, "what was heard is not the result's text");
    else if (f->at.seq != end->seq || (end->seq && f->at.epoch != end->epoch))
        follow_wrong(f, "it ended at (%llu, %llu)", (unsigned long long)end->epoch,
                     (unsigned long long)end->seq);
    else
        c->whole++;
}

static void take_broken(struct follow *f) {
    f->load->counts.broken++;
    f->load->counts.broken_there += f->reader == 0;
}

static void check_done(struct follow *f, const struct client_finished *end) {
    uint64_t sum = 0;
    const char *fault = script_check_result(&f->script, buf_str(&end->result), &sum);
    if (*fault)
        follow_wrong(f, "%s", fault);
    else if (f->end == STREAM_WHOLE)
        check_whole(f, end, sum);
    else if (f->load->scene->broker_kills == f->broker_kills)
        follow_wrong(f, "BROKEN, and the broker was not killed");
    else
        take_broken(f);
}

void follow_finished(struct follow *f, const struct client_finished *end) {
    f->load->news++;
    f->load->counts.follows++;
    if (end->state == 0)
        follow_wrong(f, "its end is not known: %s", end->err.text);
    else if (f->end == STREAM_NOTHING)
        follow_wrong(f, "it ended before its stream");
    else if (end->state == JOB_done)
        check_done(f, end);
    else if (end->state != JOB_dead || end->err.code != ERR_CRASHED)
        follow_wrong(f, "state %d: %s", (int)end->state, end->err.text);
    else if (f->end != STREAM_WHOLE || f->at.seq)
        follow_wrong(f, "dead, its last attempt never reported, and yet something of it counts");
    else
        f->load->counts.dead++;
}
