/* The readers: what they submit, what they follow, and their whims. */
#include "common/base/mem.h"
#include "common/os/clock.h"
#include "tests/e2e/stream_crash.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define FOLLOWS_MAX 6U
#define ANSWER_MS   60000
#define MOOD_MS     3000U /* between two whims, at most */
#define DEAF_MS     1500U
#define AWAY_MS     600U
#define QUEUE_MAX   64U /* messages that wait for a reader who goes deaf: the rest is lost */

enum whim { WHIM_NONE, WHIM_DEAF, WHIM_LEAVES, WHIM_BOTH };
static const enum whim whims[READERS] = {WHIM_NONE, WHIM_DEAF, WHIM_LEAVES, WHIM_BOTH};

/* ---- follows -------------------------------------------------------------------------------- */
static void follow_add(struct reader *r, struct follow *f) {
    f->next = r->follows;
    r->follows = f;
    r->n_follows++;
}

static void follow_drop(struct reader *r, struct follow *f) {
    struct follow **at = &r->follows;
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    r->n_follows--;
    follow_free(f);
}

static struct follow *follow_find(const struct reader *r, uint64_t id) {
    struct follow *f = r->follows;
    while (f && f->id != id)
        f = f->next;
    return f;
}

/* ---- what is called back -------------------------------------------------------------------- */
static void stranger(struct reader *r, uint64_t id, const char *what) {
    r->load->counts.other++;
    printf("WRONG: reader %u is told of %s of job %llx, which it does not follow\n", r->number,
           what, (unsigned long long)id);
}

static void on_stream(void *ctx, const struct stream_told *told) {
    struct reader *r = ctx;
    struct follow *f = follow_find(r, told->job);
    if (!f || f != told->job_ctx)
        stranger(r, told->job, "the stream");
    else
        follow_told(f, told);
}

static void on_finished(void *ctx, const struct client_finished *end) {
    struct reader *r = ctx;
    struct follow *f = follow_find(r, end->id);
    if (!f) {
        stranger(r, end->id, "the end");
        return;
    }
    follow_finished(f, end);
    follow_drop(r, f);
}

static void attach(struct reader *r, struct follow *f) {
    struct err e = {0};
    if (stream_client_attach(r->streams, f->id, STR(""), f->at, f, &e) < 0)
        follow_wrong(f, "%s", e.text);
}

/* Now and then somebody else listens, too, from the beginning; not who submitted the same. */
static void invite(struct stream_load *l, const struct follow *f) {
    struct reader *r = &l->readers[rng_below(&l->rng, READERS)];
    if (!r->streams || r->number == f->reader || f->script.unique || rng_below(&l->rng, 4))
        return;
    struct follow *other = follow_new(l, r->number, &f->script);
    other->id = f->id;
    other->broker_kills = f->broker_kills;
    follow_add(r, other);
    attach(r, other);
}

static void on_answer(void *ctx, const struct client_reply *reply) {
    struct follow *f = ctx;
    struct stream_load *l = f->load;
    struct reader *r = &l->readers[f->reader];
    l->news++;
    if (reply->end) {
        if (f->id)
            return;
        l->counts.unknown += reply->err->code == ERR_UNKNOWN_OUTCOME;
        l->counts.refused += reply->err->code != ERR_UNKNOWN_OUTCOME;
        follow_drop(r, f);
        return;
    }
    const struct msg_submitted *m = reply->message;
    if (m->code)
        return; /* and the end follows */
    f->id = m->id;
    follow_note(f, "accepted as %llx%s", (unsigned long long)m->id, m->duplicate ? ", again" : "");
    attach(r, f);
    invite(l, f);
}

/* ---- submissions ---------------------------------------------------------------------------- */
/* Those with a unique key are said again to a broker that was started anew. */
static void submit(struct reader *r, const struct script *script) {
    struct msg_submit m = {0};
    char payload[SCRIPT_PAYLOAD], key[24];
    struct follow *f = follow_new(r->load, r->number, script);
    struct client_item item = CLIENT_ITEM(&m, str_make(payload, script_payload(script, payload)));
    MSG_SET(&m, submit, kind, STR("stream"));
    MSG_SET(&m, submit, attach, true);
    MSG_SET(&m, submit, attempts_max, 1000);
    MSG_SET(&m, submit, backoff_ms, 10);
    if (script->unique) {
        snprintf(key, sizeof key, "unique %u", script->number);
        MSG_SET(&m, submit, unique, str_of(key));
        MSG_SET(&m, submit, window_ms, 3600000);
    }
    follow_add(r, f);
    if (client_request(r->client, VERB_submit, &item, 1, on_answer, f,
                       mono_add(clock_mono(), ANSWER_MS), NULL) < 0) {
        r->load->counts.refused++;
        follow_drop(r, f);
    }
}

/* A unique one is submitted by two readers at once. */
static void offer(struct reader *r) {
    struct stream_load *l = r->load;
    struct script script = script_make(l->n_scripts++, &l->rng);
    struct reader *other = &l->readers[(r->number + 1) % READERS];
    submit(r, &script);
    if (script.unique && other->streams)
        submit(other, &script);
}

/* ---- coming and going ----------------------------------------------------------------------- */
static void die(const struct err *e) {
    fprintf(stderr, "no reader: %s\n", e->text);
    exit(1);
}

/* Somebody else each time, who knows what the one before had heard. */
static void come(struct reader *r) {
    char endpoint[LINK_ENDPOINT_MAX];
    struct err e = {0};
    snprintf(endpoint, sizeof endpoint, "ipc://%s/gateway.sock", r->load->scene->broker.run);
    struct client_config config = {.role = ROLE_GATEWAY,
                                   .endpoint = endpoint,
                                   .name = "stream reader",
                                   .clock = clock_mono,
                                   .ctx = r,
                                   .on_finished = on_finished};
    struct stream_client_config streams = {.ctx = r, .on_stream = on_stream};
    if (whims[r->number] == WHIM_DEAF || whims[r->number] == WHIM_BOTH)
        streams.queue_max = QUEUE_MAX;
    random_bytes(config.instance, sizeof config.instance);
    if (client_new(&r->client, &config, &e) < 0 ||
        stream_client_new(&r->streams, r->client, &streams, &e) < 0)
        die(&e);
    for (struct follow *f = r->follows; f; f = f->next) {
        follow_note(f, "the reader is back");
        attach(r, f);
    }
}

/* What it has submitted and was not told of is nobody's. */
static void leave(struct reader *r) {
    r->load->counts.attaches += stream_client_stats(r->streams).attaches;
    stream_client_destroy(&r->streams);
    client_destroy(&r->client);
    for (struct follow *f = r->follows, *next; f; f = next) {
        next = f->next;
        follow_note(f, "the reader has left");
        if (f->id)
            continue;
        r->load->counts.unknown++;
        follow_drop(r, f);
    }
}

static void have_whim(struct reader *r) {
    struct stream_load *l = r->load;
    enum whim whim = whims[r->number];
    uint32_t ms = 200 + rng_below(&l->rng, MOOD_MS);
    if (!mono_reached(clock_mono(), r->whim_at))
        return;
    if (!r->streams) {
        come(r);
    } else if (r->deaf) {
        r->deaf = false;
    } else if (whim == WHIM_LEAVES || (whim == WHIM_BOTH && rng_below(&l->rng, 2))) {
        leave(r);
        l->counts.left++;
        ms = rng_below(&l->rng, AWAY_MS);
    } else if (whim != WHIM_NONE) {
        r->deaf = true;
        l->counts.deaf++;
        ms = rng_below(&l->rng, DEAF_MS);
    }
    r->whim_at = mono_add(clock_mono(), ms);
}

/* ---- serving -------------------------------------------------------------------------------- */
static bool listens(const struct reader *r) {
    return r->streams && !r->deaf;
}

static uint32_t serve_now(struct stream_load *l) {
    uint32_t calls = 0;
    for (unsigned i = 0; i < READERS; i++)
        if (listens(&l->readers[i]))
            calls += stream_client_poll(l->readers[i].streams, MONO_PAST);
    return calls;
}

void stream_load_serve(struct stream_load *l, bool offering, uint64_t ms) {
    struct pollfd fds[READERS];
    struct mono now = clock_mono(), until = mono_add(now, ms);
    for (unsigned i = 0; i < READERS; i++) {
        struct reader *r = &l->readers[i];
        have_whim(r);
        while (offering && listens(r) && r->n_follows < FOLLOWS_MAX)
            offer(r);
    }
    if (serve_now(l))
        return;
    for (unsigned i = 0; i < READERS; i++) {
        const struct reader *r = &l->readers[i];
        struct mono next = listens(r) ? stream_client_next(r->streams) : MONO_NEVER;
        fds[i] =
            (struct pollfd){.fd = listens(r) ? stream_client_fd(r->streams) : -1, .events = POLLIN};
        if (r->whim_at.ms < next.ms)
            next = r->whim_at;
        if (next.ms < until.ms)
            until = next;
    }
    poll(fds, READERS, (int)mono_until(clock_mono(), until));
    serve_now(l);
}

uint32_t stream_load_live(const struct stream_load *l) {
    uint32_t n = 0;
    for (unsigned i = 0; i < READERS; i++)
        n += l->readers[i].n_follows;
    return n;
}

void stream_load_note(struct stream_load *l, const char *what) {
    for (unsigned i = 0; i < READERS; i++)
        for (struct follow *f = l->readers[i].follows; f; f = f->next)
            follow_note(f, "%s", what);
}

uint32_t stream_load_wrong(const struct stream_load *l) {
    const struct stream_counts *c = &l->counts;
    return (uint32_t)(c->lost + c->doubled + c->unannounced + c->other);
}

void stream_load_open(struct stream_load *l, const struct crash_scene *scene) {
    *l = (struct stream_load){.scene = scene, .rng = rng_seed(scene->seed)};
    for (unsigned i = 0; i < READERS; i++) {
        l->readers[i] = (struct reader){.load = l, .number = i};
        come(&l->readers[i]);
    }
}

void stream_load_close(struct stream_load *l) {
    for (unsigned i = 0; i < READERS; i++) {
        struct reader *r = &l->readers[i];
        if (r->streams)
            leave(r);
        while (r->follows)
            follow_drop(r, r->follows);
    }
}
