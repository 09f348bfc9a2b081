/* What must hold, seen from outside. */
#include "tests/sim/stream_sim.h"

#include <stdio.h>

#define U(x) ((unsigned long long)(x))

/* ---- what the relay does -------------------------------------------------------------------- */
static uint32_t job_of(struct ss *s, uint64_t id) {
    for (uint32_t k = 0; k < SS_JOBS; k++)
        if (s->jobs[k].id == id)
            return k;
    SS_BROKEN(s, "there is no job %llu", U(id));
    return 0;
}

/* A subscriber is sent each event in order from the position he named. */
void ss_see_publish(struct ss *s, uint32_t peer, const struct msg_stream *head, struct str events) {
    struct ss_told *t = &s->peers[peer].told[job_of(s, head->job)];
    SS_RULE(s, !MSG_HAS(head, stream, token), "the relay tells a subscriber a token");
    SS_RULE(s, head->count <= 1 || events.len <= STREAM_RUN_BYTES, "the relay sent %zu bytes",
            events.len);
    if (head->gone) {
        t->gone = true;
        SS_RULE(s, s->tight || s->restarts, "'gone' although there was room");
        return;
    }
    SS_RULE(s, t->attached, "peer %u is sent a stream that it is not attached to", peer);
    SS_RULE(s, head->epoch >= t->sent.epoch, "peer %u was sent epoch %llu after %llu", peer,
            U(head->epoch), U(t->sent.epoch));
    struct ss_job *j = &s->jobs[job_of(s, head->job)];
    SS_RULE(s, head->epoch >= j->sent_epoch, "epoch %llu was sent after somebody had %llu",
            U(head->epoch), U(j->sent_epoch));
    j->sent_epoch = head->epoch;
    if (head->epoch > t->sent.epoch)
        t->sent = (struct stream_position){head->epoch, 0};
    if (head->count == 0)
        return;
    SS_RULE(s, head->seq == t->sent.seq + 1, "peer %u has %llu.%llu and was sent %llu on", peer,
            U(t->sent.epoch), U(t->sent.seq), U(head->seq));
    t->sent.seq += head->count;
}

static const struct ss_attempt *attempt_of(const struct ss_job *j, uint64_t epoch) {
    for (uint32_t k = 0; k < j->n_attempts; k++)
        if (epoch >= j->attempts[k].fence && epoch - j->attempts[k].fence < SS_EPOCHS)
            return &j->attempts[k];
    return NULL;
}

void ss_mark_got(struct ss *s, const struct ss_packet *p) {
    struct ss_job *j = &s->jobs[p->job];
    if (p->attempt == UINT32_MAX || p->token != j->token)
        return;
    struct ss_attempt *a = &j->attempts[p->attempt];
    struct stream_frame f;
    if (stream_read_frame(str_make(p->bytes, p->len), &f, NULL) < 0)
        SS_BROKEN(s, "a frame of ours cannot be read");
    for (uint64_t k = 0; k < f.head.count; k++)
        a->got[f.head.epoch - a->fence][f.head.seq + k - 1] = true;
}

void ss_see_whole(struct ss *s, const struct ss_job *j, uint64_t fence) {
    const struct ss_attempt *a = attempt_of(j, fence);
    SS_RULE(s, a && a->result_ms, "whole before the end was reported");
    for (uint32_t k = 0; k < a->wrote[a->epochs - 1]; k++)
        SS_RULE(s, a->got[a->epochs - 1][k], "whole, but event %u of %u was never here", k + 1,
                a->wrote[a->epochs - 1]);
}

/* ---- what readers are told ------------------------------------------------------------------ */
static void hear_event(struct ss *s, uint32_t peer, uint32_t job, const struct stream_event *e) {
    struct ss_told *t = &s->peers[peer].told[job];
    struct stream_position at = stream_reader_position(&t->reader);
    const struct ss_attempt *a = attempt_of(&s->jobs[job], at.epoch);
    SS_RULE(s, a && at.seq && at.seq <= a->wrote[at.epoch - a->fence],
            "peer %u was told %llu.%llu, which nobody wrote", peer, U(at.epoch), U(at.seq));
    SS_RULE(s, at.epoch >= t->floor, "peer %u was told epoch %llu after %llu", peer, U(at.epoch),
            U(t->floor));
    SS_RULE(s, t->at.epoch == 0 || t->at.epoch == at.epoch,
            "peer %u was told of epoch %llu after %llu without a reset", peer, U(at.epoch),
            U(t->at.epoch));
    SS_RULE(s, at.seq == t->at.seq + 1, "peer %u was told %llu.%llu after seq %llu", peer,
            U(at.epoch), U(at.seq), U(t->at.seq));
    char room[64];
    struct stream_event wanted = ss_event(at.epoch, at.seq, room);
    SS_RULE(
        s, e->type == wanted.type && e->channel == wanted.channel && str_eq(e->bytes, wanted.bytes),
        "peer %u was told another text at %llu.%llu", peer, U(at.epoch), U(at.seq));
    t->at = at;
    t->floor = at.epoch;
}

static void hear_end(struct ss *s, uint32_t peer, uint32_t job, enum stream_news news) {
    struct ss_told *t = &s->peers[peer].told[job];
    const struct ss_job *j = &s->jobs[job];
    SS_RULE(s, j->ended && t->end == STREAM_NOTHING, "peer %u was told an end too many", peer);
    t->end = news;
    if (news == STREAM_BROKEN) {
        SS_RULE(s, t->gone, "peer %u: broken, but the relay did not say so", peer);
        return;
    }
    SS_RULE(s, t->at.seq == j->last.seq && (!t->at.seq || t->at.epoch == j->last.epoch),
            "peer %u: whole with %llu.%llu, last is %llu.%llu", peer, U(t->at.epoch), U(t->at.seq),
            U(j->last.epoch), U(j->last.seq));
}

void ss_hear(struct ss *s, uint32_t peer, uint32_t job) {
    struct ss_told *t = &s->peers[peer].told[job];
    struct stream_event e;
    enum stream_news news;
    while ((news = stream_reader_next(&t->reader, &e)) != STREAM_NOTHING) {
        if (news == STREAM_EVENT)
            hear_event(s, peer, job, &e);
        else if (news == STREAM_RESET)
            t->at = (struct stream_position){0, 0};
        else
            hear_end(s, peer, job, news);
    }
}

void ss_check_end(struct ss *s) {
    for (uint32_t k = 0; k < SS_JOBS; k++) {
        SS_RULE(s, s->jobs[k].ended, "job %u has not ended", k);
        for (uint32_t p = 0; p < SS_PEERS; p++)
            SS_RULE(s, s->peers[p].told[k].end,
                    "peer %u has %llu.%llu of job %u and waits for %llu.%llu", p,
                    U(s->peers[p].told[k].at.epoch), U(s->peers[p].told[k].at.seq), k,
                    U(s->jobs[k].last.epoch), U(s->jobs[k].last.seq));
    }
}
