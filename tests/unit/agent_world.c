#include "tests/unit/agent_world.h"

#include "common/base/hash.h"
#include "common/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

bool chance(struct world *w, uint32_t of_million) {
    return w->faults && rng_chance(&w->rng, of_million);
}

/* ---- the network ---------------------------------------------------------------------------- */
static bool is_cut(const struct world *w, uint64_t link) {
    for (size_t i = 0; i < WORKERS; i++)
        if (w->peers[i].socket == link && w->now_ms < w->peers[i].cut_until_ms)
            return true;
    return false;
}

void post(struct world *w, uint64_t link, bool to_broker, const struct frame_out *f,
          uint64_t after) {
    if (!link || is_cut(w, link) || chance(w, 20000))
        return;
    uint32_t copies = chance(w, 20000) ? 2 : 1;
    while (copies--) {
        assert_true(w->mail_n < MAIL_MAX);
        struct mail *m = &w->mail[w->mail_n++];
        *m = (struct mail){.link = link,
                           .to_broker = to_broker,
                           .after = after,
                           .head = f->head.len,
                           .body = f->body.len,
                           .payloads = f->payloads.len};
        m->bytes = mem_alloc(m->head + m->body + m->payloads + 1);
        memcpy(m->bytes, f->head.at, m->head);
        memcpy(m->bytes + m->head, f->body.at, m->body);
        if (m->payloads)
            memcpy(m->bytes + m->head + m->body, f->payloads.at, m->payloads);
        /* In order on one connection: never before what went ahead of it. */
        m->at_ms = w->now_ms + rng_below(&w->rng, w->faults ? 40 : 3);
        for (size_t i = 0; i + 1 < w->mail_n; i++)
            if (w->mail[i].link == link && w->mail[i].to_broker == to_broker &&
                w->mail[i].at_ms > m->at_ms)
                m->at_ms = w->mail[i].at_ms;
    }
}

void drop_link(struct world *w, uint64_t link) {
    for (size_t i = 0; i < w->mail_n; i++)
        if (w->mail[i].link == link)
            w->mail[i].link = 0;
}

/* ---- the relay ------------------------------------------------------------------------------ */
static struct heard *find_heard(struct world *w, uint64_t job) {
    for (size_t i = 0; i < NUMBERS; i++)
        if (w->heard[i].job == job)
            return &w->heard[i];
    return NULL;
}

static void on_open(struct world *w, const struct stream_order *o) {
    struct heard *h = find_heard(w, o->job);
    if (!h)
        h = find_heard(w, 0);
    assert_non_null(h);
    if (h->job != o->job || h->fence < o->fence)
        *h = (struct heard){.job = o->job, .fence = o->fence};
    h->token = o->token;
    h->asks |= o->heard;
}

static void on_stream(void *ctx, const struct stream_order *o) {
    struct world *w = ctx;
    struct heard *h = find_heard(w, o->job);
    if (o->what == STREAM_OPEN)
        on_open(w, o);
    else if (h && o->what == STREAM_END)
        *h = (struct heard){0};
    if (!h || o->what != STREAM_CLOSE || h->fence != o->fence)
        return;
    h->closing = true;
    h->last = (struct stream_position){o->epoch, o->seq};
}

static uint64_t on_token(void *ctx, uint64_t fence) {
    const struct world *w = ctx;
    return hash_mix(fence, w->core ? core_epoch(w->core) : 0);
}

void relay_hears(struct world *w, const struct msg_stream *head, struct str events) {
    struct heard *h = find_heard(w, head->job);
    struct stream_event event;
    if (rng_chance(&w->rng, w->faults ? 100000 : 10000)) {
        w->tally.lost_frames++;
        return;
    }
    if (!h || h->token != head->token || head->epoch < h->have.epoch)
        return;
    assert_in_range(head->epoch, h->fence, h->fence + STREAM_RESETS_MAX);
    if (head->epoch > h->have.epoch)
        h->have = (struct stream_position){head->epoch, 0};
    h->asks |= head->count == 0 && head->seq > h->have.seq;
    for (uint64_t seq = head->seq; stream_next_event(&events, &event); seq++) {
        char is[32];
        int len = snprintf(is, sizeof is, "%u ", (unsigned)seq);
        assert_memory_equal(event.bytes.at, is, (size_t)len);
        h->asks |= seq > h->have.seq + 1;
        h->have.seq += seq == h->have.seq + 1;
    }
}

static bool is_whole(const struct heard *h) {
    return h->have.epoch == h->last.epoch && h->have.seq == h->last.seq;
}

void relay_turn(struct world *w) {
    for (size_t i = 0; i < NUMBERS; i++) {
        struct heard *h = &w->heard[i];
        if (!h->job)
            continue;
        if (h->closing && is_whole(h)) {
            h->closing = h->asks = false;
            w->tally.whole++;
            core_stream_whole(w->core, h->job, h->fence);
        } else if ((h->closing || h->asks) && w->now_ms >= h->need_ms) {
            h->need_ms = w->now_ms + NEED_MS;
            h->asks = false;
            w->tally.needs++;
            core_stream_need(w->core, h->job, h->fence, h->have.epoch, h->have.seq);
        }
    }
}

/* ---- the broker ----------------------------------------------------------------------------- */
uint64_t job_number(struct str payload) {
    uint64_t n = 0;
    struct cursor c = cursor_of(payload);
    uint32_t pairs;
    struct str key;
    assert_int_equal(msgpack_get_map(&c, &pairs), MSGPACK_OK);
    assert_int_equal(msgpack_get_bytes(&c, &key), MSGPACK_OK);
    assert_int_equal(msgpack_get_uint(&c, &n), MSGPACK_OK);
    return n;
}

struct str job_payload_of(uint64_t n, char room[16]) {
    struct buf payload __attribute__((cleanup(buf_destroy))) = BUF(16);
    msgpack_put_map(&payload, 1);
    msgpack_put_text(&payload, STR("n"));
    msgpack_put_uint(&payload, n);
    memcpy(room, payload.at, payload.len);
    return str_make(room, payload.len);
}

static void on_group(void *ctx, uint32_t bytes) {
    (void)ctx, (void)bytes;
}

static uint64_t on_append(void *ctx, const struct record *r, uint32_t *bytes) {
    struct world *w = ctx;
    struct str parts[RECORD_PARTS];
    size_t n = record_parts(r, &w->scratch, parts), len = 0;
    for (size_t i = 0; i < n; i++)
        len += parts[i].len;
    assert_true(w->log_n < LOG_MAX);
    struct row *row = &w->log[w->log_n++];
    *row = (struct row){.bytes = mem_alloc(len + 1), .type = (uint8_t)r->type};
    for (size_t i = 0; i < n; i++) {
        memcpy(row->bytes + row->len, parts[i].at, parts[i].len);
        row->len += parts[i].len;
    }
    *bytes = (uint32_t)len;
    return w->log_n;
}

static void on_release(void *ctx, uint64_t position, uint32_t bytes) {
    (void)ctx;
    (void)position;
    (void)bytes;
}

static void on_load(void *ctx, uint64_t position, uint32_t bytes, uint64_t token) {
    struct world *w = ctx;
    (void)bytes;
    assert_true(w->loads_n < 1024);
    w->loads[w->loads_n][0] = position;
    w->loads[w->loads_n++][1] = token;
}

static void on_send(void *ctx, const struct letter *l) {
    struct world *w = ctx;
    frame_begin(&w->out, l->verb, l->sequence);
    if (l->message)
        assert_int_equal(frame_add_payload(&w->out, l->message, l->payload, l->payload2), 0);
    post(w, l->link, false, &w->out, l->after);
}

static void on_event(void *ctx, const struct event *e) {
    (void)ctx;
    (void)e;
}

void open_row(struct world *w, uint64_t position, struct record_room *room, struct record *r) {
    struct err e = {0};
    const struct row *row = &w->log[position - 1];
    assert_int_equal(record_open(row->type, str_make(row->bytes, row->len), room, r, &e), 0);
}

struct mono now_of(const struct world *w) {
    return (struct mono){w->now_ms};
}

static struct wall wall_of(const struct world *w) {
    return (struct wall){w->now_ms + 1700000000000ULL};
}

void start_broker(struct world *w) {
    struct core_config config = core_config_default();
    config.crashes_max = 1000;
    config.attempts_max = 1000;
    config.backoff_ms = 100;
    config.backoff_max_ms = 500;
    config.timeout_ms = 4000;
    struct effects fx = {.ctx = w,
                         .append = on_append,
                         .group = on_group,
                         .release = on_release,
                         .load = on_load,
                         .send = on_send,
                         .event = on_event,
                         .token = on_token,
                         .stream = on_stream};
    memset(w->heard, 0, sizeof w->heard);
    w->core = core_new(&config, &fx);
    struct msg_kind_info kind = {0};
    MSG_SET(&kind, kind_info, kind, STR("k"));
    MSG_SET(&kind, kind_info, streams, true);
    core_set_kind(w->core, &kind);
    struct str may_spawn = STR("k");
    core_set_may_spawn(w->core, STR("k"), &(struct str_list){&may_spawn, 1});
    core_begin(w->core, now_of(w), wall_of(w));
    for (uint64_t p = 1; p <= w->log_n; p++) {
        struct record_room room;
        struct record r;
        open_row(w, p, &room, &r);
        core_replay(w->core, p, (uint32_t)w->log[p - 1].len, &r);
    }
    core_start(w->core, now_of(w), wall_of(w));
    core_end(w->core, true);
}

void kill_broker(struct world *w) {
    core_destroy(&w->core);
    while (w->log_n + 1 > w->durable && w->log_n)
        mem_free(w->log[--w->log_n].bytes);
    w->loads_n = 0;
    for (size_t i = 0; i < w->mail_n; i++)
        w->mail[i].link = 0;
    start_broker(w);
}

void submit(struct world *w) {
    uint64_t n = w->submitted++, client = 999999;
    char room[16];
    struct str payload = job_payload_of(n, room);
    struct msg_hello hello = {.version_min = 1, .version_max = 1, .role = ROLE_OPERATOR};
    hello.instance = STR("client-of-test-1");
    struct msg_submit m = {0};
    MSG_SET(&m, submit, kind, STR("k"));
    MSG_SET(&m, submit, size, payload.len);
    core_begin(w->core, now_of(w), wall_of(w));
    assert_true(core_request(w->core, client, ROLE_OPERATOR, VERB_hello, 2 * n + 1));
    core_item(w->core, &hello, STR(""), NULL);
    core_request_end(w->core);
    assert_true(core_request(w->core, client, ROLE_OPERATOR, VERB_submit, 2 * n + 2));
    core_item(w->core, &m, payload, NULL);
    core_request_end(w->core);
    w->durable = w->log_n + 1;
    core_durable(w->core, w->durable);
    core_end(w->core, true);
}

void broker_hears(struct world *w, struct frame_in *in, uint64_t link, struct arena *arena) {
    if (!core_request(w->core, link, ROLE_WORKER, in->verb->verb, in->sequence))
        return;
    union msg_any m;
    struct frame_item item;
    struct err e = {0};
    for (int got; (got = frame_next(in, &m, arena, &item, &e)) != 0;) {
        assert_int_equal(got, 1);
        struct core_child children[4];
        assert_true(item.children <= 4);
        for (uint32_t k = 0; k < item.children; k++) {
            struct frame_item child;
            assert_int_equal(frame_next(in, &children[k].m, arena, &child, &e), 1);
            children[k].payload = child.payload;
        }
        if (item.children)
            core_children(w->core, children, item.children);
        core_item(w->core, &m, item.payload, NULL);
    }
    core_request_end(w->core);
}

void broker_begin(struct world *w) {
    core_begin(w->core, now_of(w), wall_of(w));
    if (!w->faults || rng_chance(&w->rng, 300000)) {
        w->durable = w->log_n + 1;
        core_durable(w->core, w->durable);
    }
    while (w->loads_n) {
        struct record_room room;
        struct record r;
        w->loads_n--;
        open_row(w, w->loads[w->loads_n][0], &room, &r);
        core_loaded(w->core, w->loads[w->loads_n][1], &r);
    }
}
