#include "tests/bench/bench_queue_quern.h"

#include "common/os/clock.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEADLINE_MS 60000
#define SLOTS       "1"    /* the kind echo runs inline, without one */
#define PREFETCH    "4096" /* so that a worker never waits */
#define ALIVE_MAX   6144U  /* of both workers: less than they may hold */
#define ASK_MS      2      /* between two looks at what is done */

/* ---- processes ------------------------------------------------------------------------------ */
double quern_again(struct quern *q, const struct bench *b) {
    static const char program[] = QUERN_BIN_DIR "/quern-broker";
    const char *argv[] = {program, "--data", q->data, "--config", q->config, NULL};
    (void)b;
    return process_start(&q->broker, argv, q->log, true);
}

static void start_worker(struct quern *q, unsigned n) {
    static const char program[] = QUERN_BIN_DIR "/quern-worker";
    const char *argv[] = {program,       "--data",  q->data, "--config",   q->config, "--kinds",
                          "echo,stream", "--slots", SLOTS,   "--prefetch", PREFETCH,  NULL};
    process_start(&q->workers[n], argv, q->log, false);
}

static void on_finished(void *ctx, const struct client_finished *f) {
    struct quern *q = ctx;
    if (f->err.code)
        die("a job did not end well: %s", f->err.text);
    q->ended++;
}

void quern_connect(struct quern *q, enum role role) {
    char endpoint[LINK_ENDPOINT_MAX];
    struct err e = {0};
    struct client_config config = {.role = role,
                                   .endpoint = endpoint,
                                   .name = "bench",
                                   .clock = clock_mono,
                                   .ctx = q,
                                   .on_finished = on_finished};
    random_bytes(config.instance, sizeof config.instance);
    if (link_endpoint(endpoint, q->data, NULL, role, &e) < 0 ||
        client_new(&q->client, &config, &e) < 0 ||
        client_connect(q->client, mono_add(clock_mono(), DEADLINE_MS), &e) < 0)
        die("%s", e.text);
}

void quern_disconnect(struct quern *q) {
    client_destroy(&q->client);
}

static void on_status(void *ctx, const struct client_reply *r) {
    uint64_t *workers = ctx;
    const struct msg_status_info *m = r->message;
    if (!r->end)
        *workers = m->workers;
}

static void await_workers(struct quern *q, unsigned n) {
    struct mono deadline = mono_add(clock_mono(), DEADLINE_MS);
    struct err e = {0};
    for (uint64_t there = 0; there < n;) {
        struct msg_get_status m = {0};
        struct client_item item = {.message = &m};
        if (client_call(q->client, VERB_get_status, &item, 1, on_status, &there, deadline, &e) < 0)
            die("%s", e.text);
        if (mono_reached(clock_mono(), deadline))
            die("the workers do not come");
    }
}

void quern_start(struct quern *q, const struct bench *b, const char *settings, unsigned workers,
                 enum role role) {
    *q = (struct quern){0};
    path_in(b, q->data, "data");
    path_in(b, q->config, "quern.yaml");
    path_in(b, q->log, "log");
    int fd = open(q->config, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, settings, strlen(settings)) != (ssize_t)strlen(settings))
        die("%s cannot be written", q->config);
    close(fd);
    quern_again(q, b);
    for (unsigned n = 0; n < workers; n++)
        start_worker(q, n);
    quern_connect(q, role);
    await_workers(q, workers);
}

void quern_workers_stop(struct quern *q) {
    for (unsigned n = 0; n < WORKERS; n++)
        process_stop(&q->workers[n]);
}

void quern_stop(struct quern *q) {
    quern_disconnect(q);
    quern_workers_stop(q);
    process_stop(&q->broker);
    remove_tree(q->data);
}

/* ---- submissions ---------------------------------------------------------------------------- */
void offer_make(struct offer *o, uint64_t durability) {
    static char payload[PAYLOAD_BYTES];
    char head[] = "\x81\xa4text\xda";
    size_t at = sizeof head - 1, left = PAYLOAD_BYTES - at - 2;
    memset(payload, 'x', sizeof payload);
    memcpy(payload, head, at);
    payload[at] = (char)(left >> 8);
    payload[at + 1] = (char)(left & 0xff);
    *o = (struct offer){.payload = str_make(payload, sizeof payload)};
    MSG_SET(&o->message, submit, kind, STR("echo"));
    if (durability)
        MSG_SET(&o->message, submit, durability, durability);
}

static const struct str tenant_names[] = {
    STR("t00"), STR("t01"), STR("t02"), STR("t03"), STR("t04"), STR("t05"), STR("t06"), STR("t07"),
    STR("t08"), STR("t09"), STR("t10"), STR("t11"), STR("t12"), STR("t13"), STR("t14"), STR("t15"),
    STR("t16"), STR("t17"), STR("t18"), STR("t19"), STR("t20"), STR("t21"), STR("t22"), STR("t23"),
    STR("t24"), STR("t25"), STR("t26"), STR("t27"), STR("t28"), STR("t29"), STR("t30"), STR("t31"),
    STR("t32"), STR("t33"), STR("t34"), STR("t35"), STR("t36"), STR("t37"), STR("t38"), STR("t39"),
    STR("t40"), STR("t41"), STR("t42"), STR("t43"), STR("t44"), STR("t45"), STR("t46"), STR("t47"),
    STR("t48"), STR("t49")};

void stream_begin(struct stream *s, struct client *client, size_t batch, size_t window,
                  uint64_t durability, unsigned tenants) {
    *s =
        (struct stream){.client = client, .batch = batch, .window = window, .alive_max = ALIVE_MAX};
    offer_make(&s->offer, durability);
    for (size_t i = 0; i < batch; i++) {
        s->tenants[i] = s->offer.message;
        if (tenants)
            MSG_SET(&s->tenants[i], submit, tenant, tenant_names[i % tenants]);
        s->items[i] = CLIENT_ITEM(&s->tenants[i], s->offer.payload);
    }
}

static void on_submitted(void *ctx, const struct client_reply *r) {
    struct stream *s = ctx;
    if (!r->end) {
        const struct msg_submitted *m = r->message;
        if (m->code)
            die("a job was refused: %.*s", (int)m->text.len, m->text.at);
        return;
    }
    if (r->err->code)
        die("SUBMIT: %s", r->err->text);
    s->open--;
}

static void on_done(void *ctx, const struct client_reply *r) {
    struct stream *s = ctx;
    if (r->end) {
        s->asking = false;
        return;
    }
    const struct msg_status_info *m = r->message;
    s->done = m->done;
}

static void ask(struct stream *s) {
    struct msg_get_status m = {0};
    struct client_item item = {.message = &m};
    struct err e = {0};
    if (client_request(s->client, VERB_get_status, &item, 1, on_done, s, MONO_NEVER, &e) < 0)
        die("GET_STATUS: %s", e.text);
    s->asking = true;
    s->asked = clock_mono();
}

void stream_turn(struct stream *s) {
    struct err e = {0};
    while (s->open < s->window && s->sent + s->batch <= s->done + s->alive_max) {
        if (client_request(s->client, VERB_submit, s->items, s->batch, on_submitted, s, MONO_NEVER,
                           &e) < 0)
            die("SUBMIT: %s", e.text);
        s->sent += s->batch;
        s->open++;
    }
    struct mono next = mono_add(s->asked, ASK_MS);
    if (!s->asking && mono_reached(clock_mono(), next))
        ask(s);
    client_poll(s->client, s->asking ? MONO_NEVER : next);
}

void stream_finish(struct stream *s) {
    s->window = 0;
    while (s->open || s->asking || s->done < s->sent)
        stream_turn(s);
}
