/* The producers: offers at random, and what they are told about them. */
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/os/clock.h"
#include "common/wire/msgpack.h"
#include "tests/e2e/crash.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define LIVE_MAX     300U
#define BATCH_MAX    24U
#define REQUESTS_MAX 6U
#define ANSWER_MS    60000
#define STATUS_EVERY 40U

static const char *const kinds[] = {"echo", "sleep", "fail"};

/* ---- ends ----------------------------------------------------------------------------------- */
static struct end *find_end(struct end *ends, uint32_t size, uint64_t id) {
    uint32_t at = (uint32_t)hash_mix(1, id) & (size - 1);
    while (ends[at].id && ends[at].id != id)
        at = (at + 1) & (size - 1);
    return &ends[at];
}

static void grow_ends(struct load *l) {
    uint32_t size = l->size_ends ? 2 * l->size_ends : 1024;
    struct end *ends = mem_zalloc(size * sizeof *ends);
    for (uint32_t i = 0; i < l->size_ends; i++)
        if (l->ends[i].id)
            *find_end(ends, size, l->ends[i].id) = l->ends[i];
    mem_free(l->ends);
    l->ends = ends;
    l->size_ends = size;
}

struct end *load_end(struct load *l, uint64_t id) {
    if (2 * l->n_ends >= l->size_ends)
        grow_ends(l);
    struct end *end = find_end(l->ends, l->size_ends, id);
    if (!end->id) {
        end->id = id;
        l->n_ends++;
    }
    return end;
}

static void on_finished(void *ctx, const struct client_finished *f) {
    struct load *l = ctx;
    struct end *end = load_end(l, f->id);
    l->events++;
    end->notices++;
    if (f->state == 0) {
        crash_wrong(l, "job %llx: its end is not known: %s", (unsigned long long)f->id,
                    f->err.text);
        return;
    }
    if (end->state && end->state != f->state)
        crash_wrong(l, "job %llx: ended as %d and as %d", (unsigned long long)f->id,
                    (int)end->state, (int)f->state);
    if (end->state)
        return;
    end->state = f->state;
    end->result_len = (uint8_t)(f->result.len < CRASH_RESULT ? f->result.len : CRASH_RESULT);
    if (end->result_len)
        memcpy(end->result, f->result.at, end->result_len);
    l->waiting -= end->acked;
}

/* ---- answers -------------------------------------------------------------------------------- */
struct batch {
    struct load *load;
    uint32_t first, n;
};

static void take_answer(struct load *l, struct offer *o, const struct msg_submitted *m) {
    l->events++;
    l->open--;
    if (m->code) {
        o->fate = FATE_REFUSED;
        return;
    }
    struct end *end = load_end(l, m->id);
    o->fate = FATE_ACKED;
    o->id = m->id;
    if (!end->acked && !end->state)
        l->waiting++;
    end->acked = true;
}

/* What was not answered is unknown only if it may have been done. */
static void batch_ended(struct batch *b, const struct err *e) {
    for (uint32_t i = 0; i < b->n; i++) {
        struct offer *o = &b->load->offers[b->first + i];
        if (o->fate != FATE_OPEN)
            continue;
        o->fate = e->code == ERR_UNKNOWN_OUTCOME ? FATE_UNKNOWN : FATE_REFUSED;
        b->load->open--;
    }
    mem_free(b);
}

static void on_answer(void *ctx, const struct client_reply *r) {
    struct batch *b = ctx;
    if (r->end)
        batch_ended(b, r->err);
    else
        take_answer(b->load, &b->load->offers[b->first + r->index], r->message);
}

static void on_link(void *ctx, const struct link_news *news) {
    struct load *l = ctx;
    l->downs += news->what == LINK_DOWN;
}

/* ---- offers --------------------------------------------------------------------------------- */
size_t load_payload(const struct offer *o, char out[CRASH_PAYLOAD]) {
    AUTO_BUF payload = BUF(CRASH_PAYLOAD);
    msgpack_put_map(&payload, o->work == WORK_ECHO ? 1 : 2);
    msgpack_put_text(&payload, STR("n"));
    msgpack_put_uint(&payload, o->number);
    if (o->work != WORK_ECHO) {
        msgpack_put_text(&payload, o->work == WORK_SLEEP ? STR("ms") : STR("times"));
        msgpack_put_uint(&payload, o->detail);
    }
    memcpy(out, payload.at, payload.len);
    return payload.len;
}

/* The number of the first offer with its unique key: all of them have the same payload. */
static uint32_t number_of(const struct load *l, uint32_t unique, uint32_t own) {
    for (uint32_t i = 0; unique && i < l->n_offers; i++)
        if (l->offers[i].unique == unique)
            return l->offers[i].number;
    return own;
}

static struct offer make_offer(struct load *l, bool unique) {
    struct offer o = {.number = l->n_offers};
    if (unique) {
        if (l->n_uniques == 0 || rng_below(&l->rng, 2))
            l->n_uniques++;
        uint32_t back = rng_below(&l->rng, 8);
        o.unique = l->n_uniques > back ? l->n_uniques - back : 1;
        o.number = number_of(l, o.unique, l->n_offers);
        return o;
    }
    uint32_t what = rng_below(&l->rng, 100);
    o.work = what < 60 ? WORK_ECHO : what < 85 ? WORK_SLEEP : WORK_FAIL;
    o.detail = o.work == WORK_SLEEP ? rng_below(&l->rng, 60) : 1 + rng_below(&l->rng, 3);
    if (rng_below(&l->rng, 100) < 30)
        o.key = 1 + rng_below(&l->rng, CRASH_KEYS);
    else if (rng_below(&l->rng, 100) < 20)
        o.delay_ms = 1 + rng_below(&l->rng, 500);
    return o;
}

struct words {
    char payload[CRASH_PAYLOAD], key[24], unique[24];
};

static void fill_submit(const struct offer *o, struct msg_submit *m, struct words *w) {
    MSG_SET(m, submit, kind, str_of(kinds[o->work]));
    MSG_SET(m, submit, watch, true);
    MSG_SET(m, submit, attempts_max, 1000);
    MSG_SET(m, submit, backoff_ms, 10);
    if (o->key) {
        snprintf(w->key, sizeof w->key, "key %u", o->key);
        MSG_SET(m, submit, key, str_of(w->key));
        MSG_SET(m, submit, queue, STR("ordered"));
    }
    if (o->unique) {
        snprintf(w->unique, sizeof w->unique, "unique %u", o->unique);
        MSG_SET(m, submit, unique, str_of(w->unique));
        MSG_SET(m, submit, window_ms, 3600000);
    }
    if (o->delay_ms)
        MSG_SET(m, submit, delay_ms, o->delay_ms);
}

static void keep_offers(struct load *l, const struct offer *offers, uint32_t n) {
    while (l->n_offers + n > l->size_offers) {
        l->size_offers = l->size_offers ? 2 * l->size_offers : 1024;
        l->offers = mem_grow(l->offers, l->size_offers, sizeof *l->offers);
    }
    memcpy(l->offers + l->n_offers, offers, n * sizeof *offers);
    l->n_offers += n;
    l->open += n;
}

/* One message with a few offers. Those with unique keys have messages of their own, since these are
 * said again to a broker that was started anew. */
static void offer_some(struct load *l) {
    struct offer offers[BATCH_MAX];
    struct msg_submit messages[BATCH_MAX] = {0};
    struct words words[BATCH_MAX];
    struct client_item items[BATCH_MAX];
    struct client *c = l->clients[l->next_client++ % CRASH_CLIENTS];
    if (client_outstanding(c) >= REQUESTS_MAX)
        return;
    uint32_t n = 1 + rng_below(&l->rng, BATCH_MAX);
    bool unique = rng_below(&l->rng, 100) < 15;
    uint32_t first = l->n_offers;
    for (uint32_t i = 0; i < n; i++) {
        offers[i] = make_offer(l, unique);
        keep_offers(l, &offers[i], 1);
        fill_submit(&offers[i], &messages[i], &words[i]);
        size_t len = load_payload(&offers[i], words[i].payload);
        items[i] = CLIENT_ITEM(&messages[i], str_make(words[i].payload, len));
    }
    struct batch *batch = MEM_NEW(struct batch);
    *batch = (struct batch){l, first, n};
    struct err e = {0};
    struct mono deadline = mono_add(clock_mono(), ANSWER_MS);
    if (client_request(c, VERB_submit, items, n, on_answer, batch, deadline, &e) < 0)
        batch_ended(batch, &e);
}

/* ---- the status ----------------------------------------------------------------------------- */
static void on_status(void *ctx, const struct client_reply *r) {
    struct load *l = ctx;
    if (r->end) {
        l->asked = false;
        return;
    }
    const struct msg_status_info *m = r->message;
    if (m->epoch != l->epoch)
        l->stale_before += l->stale;
    l->epoch = m->epoch;
    l->stale = m->stale_fences;
    l->unfinished = m->scheduled + m->ready + m->blocked + m->running;
    l->status_news = true;
}

void load_ask_status(struct load *l) {
    static const struct msg_get_status m = {0};
    if (l->asked)
        return;
    l->asked_at = l->events;
    l->asked = client_request(l->operator, VERB_get_status, &CLIENT_ITEM(&m, STR("")), 1, on_status,
                              l, mono_add(clock_mono(), ANSWER_MS), NULL) == 0;
}

/* ---- serving -------------------------------------------------------------------------------- */
static struct client *client_at(const struct load *l, size_t i) {
    return i < CRASH_CLIENTS ? l->clients[i] : l->operator;
}

static uint32_t serve_now(struct load *l) {
    uint32_t calls = 0;
    for (size_t i = 0; i <= CRASH_CLIENTS; i++)
        calls += client_poll(client_at(l, i), MONO_PAST);
    return calls;
}

void load_serve(struct load *l, bool offering, uint64_t ms) {
    struct pollfd fds[CRASH_CLIENTS + 1];
    struct mono now = clock_mono(), until = mono_add(now, ms);
    for (unsigned i = 0; offering && i < CRASH_CLIENTS && l->open + l->waiting < LIVE_MAX; i++)
        offer_some(l);
    if (l->events >= l->asked_at + STATUS_EVERY)
        load_ask_status(l);
    if (serve_now(l))
        return;
    for (size_t i = 0; i <= CRASH_CLIENTS; i++) {
        struct mono next = client_next(client_at(l, i));
        fds[i] = (struct pollfd){.fd = client_fd(client_at(l, i)), .events = POLLIN};
        if (mono_until(now, next) < mono_until(now, until))
            until = next;
    }
    poll(fds, CRASH_CLIENTS + 1, (int)mono_until(clock_mono(), until));
    serve_now(l);
}

/* ---- life ----------------------------------------------------------------------------------- */
static struct client *open_client(struct load *l, const char *run, enum role role) {
    char endpoint[LINK_ENDPOINT_MAX];
    snprintf(endpoint, sizeof endpoint, "ipc://%s/%s.sock", run,
             role == ROLE_CLIENT ? "client" : "operator");
    struct client_config config = {.role = role,
                                   .endpoint = endpoint,
                                   .name = "crash rounds",
                                   .clock = clock_mono,
                                   .ctx = l,
                                   .on_finished = on_finished,
                                   .on_link = on_link};
    struct client *client;
    struct err e = {0};
    random_bytes(config.instance, sizeof config.instance);
    if (client_new(&client, &config, &e) < 0) {
        fprintf(stderr, "no client: %s\n", e.text);
        exit(1);
    }
    if (client_connect(client, mono_add(clock_mono(), ANSWER_MS), &e) < 0)
        crash_wrong(l, "a client is not let in: %s", e.text);
    return client;
}

void load_open(struct load *l, const char *run, uint64_t seed) {
    *l = (struct load){.rng = rng_seed(seed)};
    for (size_t i = 0; i < CRASH_CLIENTS; i++)
        l->clients[i] = open_client(l, run, ROLE_CLIENT);
    l->operator= open_client(l, run, ROLE_OPERATOR);
}

void load_close(struct load *l) {
    for (size_t i = 0; i < CRASH_CLIENTS; i++)
        client_destroy(&l->clients[i]);
    client_destroy(&l->operator);
    mem_free(l->offers);
    mem_free(l->ends);
}
