/* Attempts: they write a random stream, say it, say it again when asked, and report their end. */
#include "tests/sim/stream_sim.h"

#include "common/base/hash.h"

#include <stdio.h>

struct stream_event ss_event(uint64_t epoch, uint64_t seq, char room[64]) {
    uint64_t h = hash_mix(epoch, seq);
    struct stream_event e = {.type = h % 8 ? STREAM_TEXT : STREAM_DATA,
                             .channel = (uint32_t)(h >> 8) % (STREAM_CHANNEL_MAX + 1)};
    if (e.type == STREAM_DATA) {
        room[0] = (char)0x81; /* {1: n} */
        room[1] = 1;
        room[2] = (char)(seq & 0x7f);
        e.bytes = str_make(room, 3);
    } else {
        int n = snprintf(room, 64, "%llu.%llu %.*s", (unsigned long long)epoch,
                         (unsigned long long)seq, (int)(h % 24), "abcdefghijklmnopqrstuvwxyz");
        e.bytes = str_make(room, h % 13 ? (size_t)n : 0);
    }
    return e;
}

struct stream_position ss_last_of(const struct ss_attempt *a) {
    uint32_t k = a->epochs - 1;
    if (k == 0 && a->wrote[0] == 0)
        return (struct stream_position){0, 0};
    return (struct stream_position){a->fence + k, a->wrote[k]};
}

void ss_begin_attempt(struct ss *s, struct ss_job *j) {
    uint64_t before = j->n_attempts ? j->attempts[j->n_attempts - 1].fence : 1024 * j->id;
    struct ss_attempt *a = &j->attempts[j->n_attempts++];
    *a = (struct ss_attempt){.job = (uint32_t)(j - s->jobs), .alive = true, .epochs = 1};
    a->fence = before + 256 * (1 + rng_below(&s->rng, 3));
    a->token = j->token = rng_u64(&s->rng);
    a->to_write = rng_below(&s->rng, 6) ? rng_below(&s->rng, 120) : 0;
    a->resets = rng_below(&s->rng, 2) ? 0 : rng_below(&s->rng, SS_EPOCHS);
    a->said_ms = s->now;
    a->position_said = true;
    j->next_ms = 0;
    j->whole = false;
    if (s->relay)
        relay_open(s->relay, ss_now(s), j->id, a->fence, a->token, false);
    else
        j->adopt_ms = s->now;
}

void ss_hear_need(struct ss_attempt *a, const struct ss_packet *p) {
    if (!a->alive || a->over)
        return;
    uint32_t now = a->epochs - 1;
    a->token = p->token;
    a->cursor_epoch = now;
    a->cursor = p->position.epoch == a->fence + now ? (uint32_t)p->position.seq : 0;
    a->position_said = false; /* so that it answers even if it has nothing to say */
    a->said_ms = 0;
}

/* ---- saying --------------------------------------------------------------------------------- */
static void say(struct ss *s, struct ss_attempt *a, uint32_t count) {
    struct msg_stream head = {0};
    AUTO_BUF events = BUF(1U << 20);
    AUTO_BUF frame = BUF(1U << 20);
    char room[64];
    uint64_t epoch = a->fence + a->cursor_epoch;
    for (uint32_t k = 0; k < count; k++) {
        struct stream_event e = ss_event(epoch, a->cursor + k + 1, room);
        SS_RULE(s, stream_put_event(&events, &e, NULL) == 0, "an event was refused");
    }
    MSG_SET(&head, stream, job, s->jobs[a->job].id);
    MSG_SET(&head, stream, epoch, epoch);
    MSG_SET(&head, stream, seq, count ? a->cursor + 1 : a->cursor);
    MSG_SET(&head, stream, count, count);
    MSG_SET(&head, stream, token, a->token);
    stream_put_frame(&frame, STR(""), &head, buf_str(&events));
    struct ss_packet p = {.kind = SS_FRAME,
                          .job = a->job,
                          .attempt = (uint32_t)(a - s->jobs[a->job].attempts),
                          .token = a->token,
                          .position = {epoch, a->cursor + count}};
    ss_send(s, p, buf_str(&frame), true);
    a->cursor += count;
    a->said_ms = s->now;
    a->position_said = count == 0;
}

static void say_new(struct ss *s, struct ss_attempt *a) {
    for (uint32_t frames = rng_below(&s->rng, 4); frames > 0; frames--) {
        uint32_t left = a->wrote[a->cursor_epoch] - a->cursor;
        if (left) {
            uint32_t most = left < 8 ? left : 8;
            say(s, a, 1 + rng_below(&s->rng, most));
        } else if (a->cursor_epoch + 1 < a->epochs) {
            a->cursor_epoch++;
            a->cursor = 0;
        } else {
            return;
        }
    }
}

static bool all_said(const struct ss_attempt *a) {
    return a->cursor_epoch + 1 == a->epochs && a->cursor == a->wrote[a->cursor_epoch];
}

static void produce(struct ss *s, struct ss_attempt *a) {
    uint32_t *wrote = &a->wrote[a->epochs - 1];
    uint32_t n = rng_below(&s->rng, 4) ? 0 : rng_below(&s->rng, 10);
    if (s->healed)
        n = 10;
    for (; n > 0 && a->to_write > 0 && *wrote < SS_EVENTS; n--) {
        (*wrote)++;
        a->to_write--;
    }
    if (*wrote == SS_EVENTS)
        a->to_write = 0;
    if (a->resets && rng_below(&s->rng, 40) == 0) {
        a->resets--;
        a->epochs++;
        if (rng_below(&s->rng, 2)) { /* what is void need not be said */
            a->cursor_epoch = a->epochs - 1;
            a->cursor = 0;
        }
    }
}

void ss_write(struct ss *s, struct ss_attempt *a) {
    if (a->over || (!a->alive && s->now >= a->zombie_until))
        return;
    if (a->to_write || (a->resets && !s->healed))
        produce(s, a);
    say_new(s, a);
    if (all_said(a) && !a->position_said && s->now >= a->said_ms + 100)
        say(s, a, 0);
    if (!a->alive || a->to_write || !all_said(a) || s->now < a->result_ms + 300)
        return;
    a->resets = 0;
    a->result_ms = s->now;
    struct ss_packet p = {.kind = SS_RESULT,
                          .job = a->job,
                          .attempt = (uint32_t)(a - s->jobs[a->job].attempts),
                          .position = ss_last_of(a)};
    ss_send(s, p, STR(""), false);
}

/* ---- forging -------------------------------------------------------------------------------- */
/* Somebody who does not have the token, or who does not speak the protocol at all. */
void ss_forge(struct ss *s) {
    struct ss_job *j = &s->jobs[rng_below(&s->rng, SS_JOBS)];
    if (!j->n_attempts)
        return;
    struct ss_attempt *a = &j->attempts[j->n_attempts - 1];
    AUTO_BUF events = BUF(1U << 20);
    AUTO_BUF frame = BUF(1U << 20);
    struct stream_event e = {STREAM_TEXT, 0, STR("forged")};
    stream_put_event(&events, &e, NULL);
    struct msg_stream head = {0};
    MSG_SET(&head, stream, job, j->id);
    MSG_SET(&head, stream, epoch, a->fence + rng_below(&s->rng, SS_EPOCHS));
    MSG_SET(&head, stream, seq, 1 + rng_below(&s->rng, a->wrote[0] + 2));
    MSG_SET(&head, stream, count, 1);
    MSG_SET(&head, stream, token, a->token + 1);
    stream_put_frame(&frame, STR(""), &head, buf_str(&events));
    struct str bytes = buf_str(&frame);
    if (rng_below(&s->rng, 2))
        bytes.len = rng_below(&s->rng, (uint32_t)bytes.len);
    struct ss_packet p = {.kind = SS_FRAME, .job = a->job, .attempt = UINT32_MAX};
    ss_send(s, p, bytes, true);
}
