/* The world: the core's part, faults, and time. */
#include "tests/sim/stream_sim.h"

#include "common/base/mem.h"

#include <stdio.h>

/* ---- effects of the relay ------------------------------------------------------------------- */
static void on_publish(void *ctx, relay_peer to, const struct msg_stream *head, struct str events) {
    struct ss *s = ctx;
    uint32_t peer = (uint32_t)to - 1;
    ss_see_publish(s, peer, head, events);
    AUTO_BUF frame = BUF(1U << 20);
    struct stream_topic *topic = &s->peers[peer].topic;
    stream_put_frame(&frame, (struct str){topic->at, STREAM_TOPIC_LEN}, head, events);
    struct ss_packet p = {.kind = SS_PUBLISHED, .peer = peer};
    ss_send(s, p, buf_str(&frame), true);
}

static struct ss_job *job_named(struct ss *s, uint64_t id) {
    return &s->jobs[id - 1];
}

static void on_need(void *ctx, uint64_t job, uint64_t fence, struct stream_position have) {
    struct ss *s = ctx;
    struct ss_job *j = job_named(s, job);
    for (uint32_t k = 0; k < j->n_attempts; k++) {
        if (j->attempts[k].fence != fence)
            continue;
        struct stream_position *needed = &j->attempts[k].needed;
        SS_RULE(s, s->tight || !stream_before(have, *needed),
                "the relay had room and forgot what it had");
        *needed = have;
        struct ss_packet p = {.kind = SS_NEED,
                              .job = (uint32_t)(j - s->jobs),
                              .attempt = k,
                              .token = j->token,
                              .position = have};
        ss_send(s, p, STR(""), true);
        return;
    }
    SS_BROKEN(s, "a need of an attempt that there is not");
}

static void on_whole(void *ctx, uint64_t job, uint64_t fence) {
    struct ss *s = ctx;
    struct ss_job *j = job_named(s, job);
    ss_see_whole(s, j, fence);
    if (j->attempts[j->n_attempts - 1].fence == fence && !j->next_ms && !j->ended)
        j->whole = true;
}

/* ---- the core's part ------------------------------------------------------------------------ */
static void tell_finished(struct ss *s, uint32_t peer, uint32_t job) {
    struct ss_packet p = {
        .kind = SS_FINISHED, .peer = peer, .job = job, .position = s->jobs[job].last};
    ss_send(s, p, STR(""), false);
}

static void another_attempt(struct ss *s, struct ss_job *j) {
    j->next_ms = s->now + 1 + rng_below(&s->rng, 150);
    j->adopt_ms = 0;
}

/* The result is taken: the worker forgets, and the job ends or is tried again. */
static void take_result(struct ss *s, struct ss_job *j) {
    uint32_t job = (uint32_t)(j - s->jobs);
    struct ss_attempt *a = &j->attempts[j->n_attempts - 1];
    j->whole = false;
    a->over = true;
    if (j->n_attempts < SS_ATTEMPTS && ss_chance(s, 250000)) {
        another_attempt(s, j);
        return;
    }
    j->ended = true;
    j->last = ss_last_of(a);
    relay_end(s->relay, ss_now(s), j->id);
    for (uint32_t p = 0; p < SS_PEERS; p++)
        if (s->peers[p].told[job].attached)
            tell_finished(s, p, job);
}

static void run_job(struct ss *s, struct ss_job *j) {
    if (j->ended)
        return;
    if (j->next_ms && s->now >= j->next_ms)
        ss_begin_attempt(s, j);
    if (j->next_ms)
        return;
    struct ss_attempt *a = &j->attempts[j->n_attempts - 1];
    if (j->adopt_ms && s->relay && s->now >= j->adopt_ms) {
        j->adopt_ms = 0;
        j->token = rng_u64(&s->rng);
        relay_open(s->relay, ss_now(s), j->id, a->fence, j->token, true);
    }
    if (j->n_attempts < SS_ATTEMPTS && ss_chance(s, 4000)) {
        a->alive = false;
        a->zombie_until = s->now + rng_below(&s->rng, 2) * 400;
        another_attempt(s, j);
    }
}

static void hear_attach(struct ss *s, const struct ss_packet *p) {
    struct ss_job *j = &s->jobs[p->job];
    struct ss_told *t = &s->peers[p->peer].told[p->job];
    t->attached = true;
    t->sent = p->position;
    relay_attach(s->relay, ss_now(s), j->id, p->peer + 1, p->position, j->ended);
    if (j->ended)
        tell_finished(s, p->peer, p->job);
}

static void hear_result(struct ss *s, const struct ss_packet *p) {
    struct ss_job *j = &s->jobs[p->job];
    struct ss_attempt *a = &j->attempts[p->attempt];
    if (!a->alive || a->over || j->next_ms || j->adopt_ms)
        return;
    relay_close(s->relay, ss_now(s), j->id, a->fence, p->position);
}

/* ---- what arrives --------------------------------------------------------------------------- */
static void hear_published(struct ss *s, const struct ss_packet *p) {
    struct str frame = str_make(p->bytes, p->len);
    struct stream_frame f;
    SS_RULE(s, stream_take_topic(&frame, &s->peers[p->peer].topic), "another's topic");
    SS_RULE(s, stream_read_frame(frame, &f, NULL) == 0, "the relay sent what cannot be read");
    uint32_t job = (uint32_t)(f.head.job - 1);
    struct ss_told *t = &s->peers[p->peer].told[job];
    if (!t->here)
        return;
    stream_reader_take(&t->reader, ss_now(s), &f);
    ss_hear(s, p->peer, job);
}

static void hear_finished(struct ss *s, const struct ss_packet *p) {
    struct ss_told *t = &s->peers[p->peer].told[p->job];
    stream_reader_finished(&t->reader, ss_now(s), p->position);
    ss_hear(s, p->peer, p->job);
}

static void hear_packet(struct ss *s, const struct ss_packet *p) {
    bool same_life = s->relay && p->life == s->life;
    if (p->kind == SS_PUBLISHED) {
        hear_published(s, p);
    } else if (p->kind == SS_FRAME && s->relay) {
        ss_mark_got(s, p);
        relay_frame(s->relay, ss_now(s), str_make(p->bytes, p->len));
    } else if (p->kind == SS_NEED && same_life) {
        ss_hear_need(&s->jobs[p->job].attempts[p->attempt], p);
    } else if (p->kind == SS_ATTACH && same_life) {
        hear_attach(s, p);
    } else if (p->kind == SS_FINISHED && same_life) {
        hear_finished(s, p);
    } else if (p->kind == SS_RESULT && same_life) {
        hear_result(s, p);
    }
}

static void deliver(struct ss *s) {
    struct ss_packet p;
    while (ss_arrived(s, &p)) {
        struct ss_peer *peer = &s->peers[p.peer];
        if (p.kind == SS_PUBLISHED && s->now < peer->slow_until && !s->healed) {
            if (rng_below(&s->rng, 10)) { /* what waits for a slow reader is bounded */
                ss_put_back(s, p, peer->slow_until);
                continue;
            }
        } else {
            hear_packet(s, &p);
        }
        mem_free(p.bytes);
    }
}

/* ---- readers -------------------------------------------------------------------------------- */
static void ask(struct ss *s, uint32_t peer, uint32_t job) {
    struct ss_packet p = {.kind = SS_ATTACH, .peer = peer, .job = job};
    p.position = stream_reader_position(&s->peers[peer].told[job].reader);
    ss_send(s, p, STR(""), false);
}

/* Leaves and comes back with what he has, as a program that was started again. */
static void resume(struct ss *s, uint32_t peer, uint32_t job) {
    struct ss_told *t = &s->peers[peer].told[job];
    if (s->relay)
        relay_detach(s->relay, s->jobs[job].id, peer + 1);
    t->attached = false;
    t->reader = stream_reader(s->jobs[job].id, stream_reader_position(&t->reader));
    if (s->relay)
        ask(s, peer, job);
    else
        stream_reader_again(&t->reader, ss_now(s));
}

static void run_reader(struct ss *s, uint32_t peer, uint32_t job) {
    struct ss_told *t = &s->peers[peer].told[job];
    if (t->end != STREAM_NOTHING || !s->relay)
        return;
    if (!t->here) {
        t->here = s->healed || rng_below(&s->rng, 60) == 0;
        if (!t->here)
            return;
        t->reader = stream_reader(s->jobs[job].id, (struct stream_position){0, 0});
        ask(s, peer, job);
    }
    if (stream_reader_wants(&t->reader, ss_now(s), SS_RETRY_MS))
        ask(s, peer, job);
    if (ss_chance(s, 2000))
        resume(s, peer, job);
}

/* ---- faults --------------------------------------------------------------------------------- */
static void start_relay(struct ss *s) {
    struct relay_effects effects = {s, on_publish, on_need, on_whole};
    s->relay = relay_new(&s->config, &effects);
    s->life++;
    for (uint32_t k = 0; k < SS_JOBS; k++) {
        struct ss_job *j = &s->jobs[k];
        if (j->n_attempts && !j->next_ms && !j->ended)
            j->adopt_ms = s->now + rng_below(&s->rng, 100);
        for (uint32_t p = 0; p < SS_PEERS; p++)
            if (s->peers[p].told[k].here)
                stream_reader_again(&s->peers[p].told[k].reader, ss_now(s));
    }
}

static void stop_relay(struct ss *s) {
    relay_destroy(&s->relay);
    s->restarts++;
    s->down_until = s->now + 10 + rng_below(&s->rng, 200);
    for (uint32_t k = 0; k < SS_JOBS; k++) {
        s->jobs[k].whole = false;
        s->jobs[k].sent_epoch = 0;
        for (uint32_t a = 0; a < s->jobs[k].n_attempts; a++) {
            struct ss_attempt *attempt = &s->jobs[k].attempts[a];
            memset(attempt->got, 0, sizeof attempt->got);
            attempt->needed = (struct stream_position){0, 0};
        }
        for (uint32_t p = 0; p < SS_PEERS; p++)
            s->peers[p].told[k].attached = false;
    }
}

static void faults(struct ss *s) {
    if (!s->relay) {
        if (s->now >= s->down_until)
            start_relay(s);
    } else if (ss_chance(s, 1500)) {
        stop_relay(s);
    }
    if (ss_chance(s, 10000))
        s->peers[rng_below(&s->rng, SS_PEERS)].slow_until = s->now + rng_below(&s->rng, 400);
    if (ss_chance(s, 100000))
        ss_forge(s);
}

/* ---- a life --------------------------------------------------------------------------------- */
static void begin(struct ss *s, uint64_t seed) {
    s->rng = rng_seed(seed);
    s->loss = rng_below(&s->rng, 3) * rng_below(&s->rng, 200000);
    s->doubling = rng_below(&s->rng, 2) * rng_below(&s->rng, 200000);
    s->tight = rng_below(&s->rng, 3) == 0;
    s->config = relay_config_default();
    s->config.need_ms = 40 + rng_below(&s->rng, 80);
    s->config.keep_ms = 10U * SS_HEAL_MS;
    if (s->tight) {
        s->config.stream_bytes = 600 + rng_below(&s->rng, 4000);
        s->config.bytes_max = 1200 + rng_below(&s->rng, 4000);
        s->config.streams_max = 1 + rng_below(&s->rng, 5);
        s->config.attached_max = 2 + rng_below(&s->rng, 10);
        s->config.keep_ms = rng_below(&s->rng, 2000);
    }
    for (uint32_t k = 0; k < SS_JOBS; k++) {
        s->jobs[k].id = k + 1;
        s->jobs[k].next_ms = 1 + rng_below(&s->rng, 600);
    }
    for (uint32_t k = 0; k < SS_PEERS; k++)
        s->peers[k].topic = stream_topic((const uint8_t[16]){(uint8_t)(k + 1)});
    start_relay(s);
}

static bool is_over(const struct ss *s) {
    for (uint32_t k = 0; k < SS_JOBS; k++)
        for (uint32_t p = 0; p < SS_PEERS; p++)
            if (!s->jobs[k].ended || s->peers[p].told[k].end == STREAM_NOTHING)
                return false;
    return true;
}

static void step(struct ss *s) {
    s->now += SS_STEP_MS;
    s->healed = s->now >= SS_SPAN_MS;
    faults(s);
    deliver(s);
    for (uint32_t k = 0; k < SS_JOBS; k++) {
        struct ss_job *j = &s->jobs[k];
        run_job(s, j);
        for (uint32_t a = 0; a < j->n_attempts; a++)
            ss_write(s, &j->attempts[a]);
        for (uint32_t p = 0; p < SS_PEERS; p++)
            run_reader(s, p, k);
    }
    if (!s->relay)
        return;
    relay_check(s->relay);
    if (!s->healed && rng_below(&s->rng, 4) == 0)
        return; /* a turn comes late */
    relay_turn(s->relay, ss_now(s));
    relay_check(s->relay);
    for (uint32_t k = 0; k < SS_JOBS; k++)
        if (s->jobs[k].whole)
            take_result(s, &s->jobs[k]);
}

bool stream_sim_run(uint64_t seed, bool loud, char *words, size_t max) {
    struct ss *s = MEM_NEW(struct ss);
    s->words = words;
    s->words_max = max;
    s->loud = loud;
    bool kept = setjmp(s->broken) == 0;
    if (kept) {
        begin(s, seed);
        while (!is_over(s) && s->now < SS_HEAL_MS)
            step(s);
        ss_check_end(s);
    }
    if (loud && s->relay) {
        struct relay_stats t = relay_stats(s->relay);
        printf("%llu ms, %u restarts; events %llu gaps %llu needs %llu published %llu gone %llu "
               "evicted %llu strange %llu doubled %llu\n",
               (unsigned long long)s->now, s->restarts, (unsigned long long)t.events,
               (unsigned long long)t.gaps, (unsigned long long)t.needs,
               (unsigned long long)t.published, (unsigned long long)t.gone,
               (unsigned long long)t.evicted, (unsigned long long)t.strange,
               (unsigned long long)t.doubled);
    }
    relay_destroy(&s->relay);
    ss_drop_all(s);
    mem_free(s);
    return kept;
}
