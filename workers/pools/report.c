#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/log/log.h"
#include "common/os/clock.h"
#include "workers/pools/supervisor.h"

#include <signal.h>
#include <string.h>

#define ANSWER_MS      60000
#define WORDS_SENT_MAX 1024

/* ---- what the broker says ------------------------------------------------------------------- */
static void on_plan(struct supervisor *s, const struct msg_pool_plan *m) {
    struct pool *pool = pools_find(s, m->pool);
    if (!pool)
        return;
    if (!pool->planned || pool->seats.plan != m->processes)
        log_event(LOG_pools_plan, log_str("pool", pool->name), log_u64("processes", m->processes));
    pool->planned = true;
    if (!s->stops)
        seats_plan(&pool->seats, (uint32_t)m->processes, clock_mono());
}

static void on_kill(struct supervisor *s, const struct msg_kill_worker *m) {
    struct process *p = pools_process(s, m->instance.at);
    if (!p) {
        char hex[2 * PROCESS_INSTANCE_LEN + 1];
        process_hex((const uint8_t *)m->instance.at, hex);
        if (orphans_kill(s, hex))
            log_event(LOG_process_killed, log_text("instance", hex), log_str("why", m->text));
        return;
    }
    log_event(LOG_process_killed, log_str("pool", p->pool->name), log_text("instance", p->hex),
              log_u64("process", (uint64_t)p->child.pid), log_str("why", m->text));
    p->asked = ASKED_KILL;
    child_kill(&p->child);
}

static void on_notice(void *ctx, enum verb verb, const void *message, struct str payload) {
    struct supervisor *s = ctx;
    (void)payload;
    if (verb == VERB_pool_plan)
        on_plan(s, message);
    else if (verb == VERB_kill_worker)
        on_kill(s, message);
}

static void on_link(void *ctx, const struct link_news *news) {
    struct supervisor *s = ctx;
    if (news->what == LINK_UP) {
        log_event(LOG_pools_up, log_u64("epoch", link_epoch(client_link(s->client))));
        if (!s->met)
            orphans_report_gone(s);
        s->met = true;
        orphans_drain(s);
        s->report_at = MONO_PAST; /* it makes us its supervisor, and is answered by the plan */
    } else if (news->what == LINK_DOWN) {
        log_event(LOG_pools_down, LOG_WHY(&news->err));
    } else if (news->what == LINK_REFUSED) {
        log_event(LOG_program_failed, LOG_WHY(&news->err));
    }
}

int report_open(struct supervisor *s, struct err *e) {
    char endpoint[LINK_ENDPOINT_MAX];
    if (link_endpoint(endpoint, s->options->data, s->options->broker, ROLE_OPERATOR, e) < 0)
        return -1;
    struct client_config config = {.role = ROLE_OPERATOR,
                                   .endpoint = endpoint,
                                   .name = "quern-pools",
                                   .clock = clock_mono,
                                   .ctx = s,
                                   .on_notice = on_notice,
                                   .on_link = on_link};
    struct key_file key;
    int found = key_for(&key, endpoint, &s->options->key, e);
    if (found < 0)
        return -1;
    config.key = found ? &key : NULL;
    random_bytes(config.instance, sizeof config.instance);
    int rc = client_new(&s->client, &config, e);
    key_file_wipe(&key);
    return rc;
}

void report_handshake(struct supervisor *s) {
    const char *why = link_handshake(client_link(s->client));
    if (why && why != s->handshake)
        log_event(LOG_pools_handshake, log_text("what", why));
    s->handshake = why;
}

/* ---- what we say ---------------------------------------------------------------------------- */
void report_pools(struct supervisor *s) {
    const size_t most = verb_def(VERB_pool_report)->items_max;
    struct msg_pool_report m[64];
    struct client_item items[64];
    ASSERT(most <= sizeof m / sizeof m[0]);
    for (size_t from = 0; from < s->n_pools; from += most) {
        size_t n = s->n_pools - from < most ? s->n_pools - from : most;
        for (size_t i = 0; i < n; i++) {
            const struct pool *pool = &s->pools[from + i];
            m[i] = (struct msg_pool_report){0};
            MSG_SET(&m[i], pool_report, pool, pool->name);
            MSG_SET(&m[i], pool_report, processes, seats_held(&pool->seats));
            MSG_SET(&m[i], pool_report, restarts, pool->restarts);
            if (pool->trouble[0])
                MSG_SET(&m[i], pool_report, text, codec_clip(str_of(pool->trouble), 255));
            items[i] = (struct client_item){.message = &m[i]};
        }
        client_notify(s->client, VERB_pool_report, items, n, NULL); /* comes again soon */
    }
}

static void on_death_heard(void *ctx, const struct client_reply *r) {
    (void)ctx; /* if nobody heard it, the worker's silence tells the broker the same, later */
    (void)r;
}

void report_death(struct supervisor *s, const struct process *p, bool crashed, const char *how) {
    struct str words = str_make(p->words, p->words_len);
    if (words.len > WORDS_SENT_MAX)
        words = str_make(words.at + words.len - WORDS_SENT_MAX, WORDS_SENT_MAX);
    words = str_trim(words);
    AUTO_BUF text = BUF(TEXT_MAX_LEN);
    buf_printf(&text, "worker %.12s of pool " STR_FMT " %s", p->hex, STR_ARG(p->pool->name), how);
    if (words.len && crashed)
        buf_printf(&text, "; its last words follow\n" STR_FMT, STR_ARG(words));
    struct msg_worker_died m = {0};
    MSG_SET(&m, worker_died, instance, str_make(p->instance, sizeof p->instance));
    MSG_SET(&m, worker_died, crashed, crashed);
    MSG_SET(&m, worker_died, text, buf_str(&text));
    struct client_item item = {.message = &m};
    client_request(s->client, VERB_worker_died, &item, 1, on_death_heard, NULL,
                   mono_add(clock_mono(), ANSWER_MS), NULL);
}

/* ---- letting one finish --------------------------------------------------------------------- */
struct drain_asked {
    struct drain_asked *next;
    struct supervisor *s;
    uint8_t instance[PROCESS_INSTANCE_LEN]; /* it may have ended when the answer comes */
};

static void forget(struct drain_asked *asked) {
    struct drain_asked **at = &asked->s->drains;
    while (*at != asked)
        at = &(*at)->next;
    *at = asked->next;
    mem_free(asked);
}

static void on_drained(void *ctx, const struct client_reply *r) {
    struct drain_asked *asked = ctx;
    const struct msg_outcome *m = r->message;
    struct process *p = pools_process(asked->s, asked->instance);
    bool refused = m ? m->code != 0 : r->err && r->err->code != 0;
    if (refused && p)
        child_signal(&p->child, SIGTERM);
    if (r->end)
        forget(asked);
}

void report_drain(struct supervisor *s, struct process *p) {
    struct drain_asked *asked = MEM_NEW(struct drain_asked);
    *asked = (struct drain_asked){.next = s->drains, .s = s};
    memcpy(asked->instance, p->instance, sizeof asked->instance);
    s->drains = asked;
    struct msg_drain m = {0};
    MSG_SET(&m, drain, name, str_of(p->hex));
    struct client_item item = {.message = &m};
    if (client_request(s->client, VERB_drain, &item, 1, on_drained, asked,
                       mono_add(clock_mono(), ANSWER_MS), NULL) == 0)
        return;
    forget(asked);
    child_signal(&p->child, SIGTERM);
}

void report_close(struct supervisor *s) {
    client_destroy(&s->client);
    while (s->drains)
        forget(s->drains);
}
