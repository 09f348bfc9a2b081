#include "broker/effects.h"

#include "broker/records.h"
#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/log/log.h"
#include "common/os/clock.h"

#include <sodium.h>

#define SCRATCH_BYTES (64U << 10) /* more than the largest envelopes of a record */

/* ---- records -------------------------------------------------------------------------------- */
static uint64_t append(void *ctx, const struct record *r, uint32_t *bytes) {
    struct effects_context *x = ctx;
    struct str parts[RECORD_PARTS];
    size_t n = record_parts(r, &x->scratch, parts);
    x->records++;
    return journal_put(x->journal, (uint8_t)r->type, parts, n, bytes);
}

static void group(void *ctx, uint32_t bytes) {
    const struct effects_context *x = ctx;
    if (bytes)
        journal_keep_together(x->journal, bytes);
}

static struct load_ask *ask_at(const struct effects_context *x, uint32_t n) {
    return &x->asks[(x->asks_first + n) & (x->asks_size - 1)];
}

static uint32_t *mark_of(struct effects_context *x, uint64_t position) {
    return &x->marks[hash_mix(0, position) & (EFFECTS_MARKS - 1)];
}

static void release(void *ctx, uint64_t position, uint32_t bytes) {
    struct effects_context *x = ctx;
    if (x->asks_n && *mark_of(x, position)) {
        for (uint32_t n = x->asks_n; n-- > 0;) { /* the last ask for it releases it */
            if (ask_at(x, n)->position != position)
                continue;
            ask_at(x, n)->released = true;
            return;
        }
    }
    journal_release(x->journal, position, bytes);
}

/* ---- loads ---------------------------------------------------------------------------------- */
static void ask_later(struct effects_context *x, const struct load_ask *ask) {
    if (x->asks_n == x->asks_size) {
        uint32_t size = x->asks_size ? x->asks_size * 2 : 64;
        struct load_ask *ring = mem_grow(NULL, size, sizeof *ring);
        for (uint32_t n = 0; n < x->asks_n; n++)
            ring[n] = *ask_at(x, n);
        mem_free(x->asks);
        x->asks = ring;
        x->asks_size = size;
        x->asks_first = 0;
    }
    *ask_at(x, x->asks_n++) = *ask;
    ++*mark_of(x, ask->position);
}

static struct reading *reading_of(struct effects_context *x, uint64_t token) {
    if (token >= x->readings_size) {
        uint32_t size = x->readings_size ? x->readings_size : 64;
        while (size <= token)
            size *= 2;
        x->readings = mem_grow(x->readings, size, sizeof *x->readings);
        memset(x->readings + x->readings_size, 0, (size - x->readings_size) * sizeof *x->readings);
        x->readings_size = size;
    }
    return &x->readings[token];
}

static void reserve(struct effects_context *x, uint64_t token, uint32_t bytes) {
    struct reading *r = reading_of(x, token);
    *r = (struct reading){.bytes = bytes,
                          .reserved = bytes > EFFECTS_READ_COST ? bytes : EFFECTS_READ_COST};
    uint64_t link = x->peers ? core_load_link(x->core, token) : 0;
    r->asker = link ? peers_conn(x->peers, link) : NULL;
    conn_reserve(r->asker, r->reserved);
}

static int ask_journal(struct effects_context *x, uint64_t position, uint32_t bytes,
                       uint64_t token) {
    if (x->reading_bytes && x->reading_bytes + bytes > EFFECTS_READING_BYTES)
        return -1;
    if (journal_load(x->journal, position, bytes, token) < 0)
        return -1;
    reading_of(x, token)->asked = true;
    x->reading_bytes += bytes;
    return 0;
}

void effects_loaded(struct effects_context *x, uint64_t token) {
    struct reading *r = reading_of(x, token);
    conn_release(r->asker, r->reserved);
    if (r->asked)
        x->reading_bytes -= r->bytes;
    *r = (struct reading){0};
}

static void load(void *ctx, uint64_t position, uint32_t bytes, uint64_t token) {
    struct effects_context *x = ctx;
    reserve(x, token, bytes);
    if (x->asks_n || ask_journal(x, position, bytes, token) < 0)
        ask_later(x, &(struct load_ask){.position = position, .token = token, .bytes = bytes});
}

bool effects_loads_wait(const struct effects_context *x) {
    return x->asks_n > 0;
}

void effects_ask(struct effects_context *x) {
    while (x->asks_n) {
        const struct load_ask *a = ask_at(x, 0);
        if (ask_journal(x, a->position, a->bytes, a->token) < 0)
            return;
        if (a->released)
            journal_release(x->journal, a->position, a->bytes);
        --*mark_of(x, a->position);
        x->asks_first = (x->asks_first + 1) & (x->asks_size - 1);
        x->asks_n--;
    }
}

/* ---- letters and events --------------------------------------------------------------------- */
static void send(void *ctx, const struct letter *l) {
    struct effects_context *x = ctx;
    x->dispatches += l->verb == VERB_dispatch;
    outbox_put(x->outbox, l);
}

static const struct {
    enum log_id id;
    const char *key; /* of its text */
} log_rows[CORE_EVENTS] = {
    [EVENT_job_ended] = {LOG_job_ended, "what"},
    [EVENT_attempt_failed] = {LOG_attempt_failed, "what"},
    [EVENT_worker_joined] = {LOG_worker_joined, "what"},
    [EVENT_worker_lost] = {LOG_worker_lost, "what"},
    [EVENT_stale_report] = {LOG_stale_report, "what"},
    [EVENT_read_only] = {LOG_journal_read_only, "what"},
    [EVENT_load_failed] = {LOG_journal_record, "what"},
    [EVENT_bad_record] = {LOG_journal_record, "what"},
    [EVENT_stream_incomplete] = {LOG_stream_incomplete, "what"},
    [EVENT_schedule_refused] = {LOG_schedule_refused, "what"},
    [EVENT_job_accepted] = {LOG_job_accepted, "kind"},
    [EVENT_attempt_started] = {LOG_attempt_started, "worker"},
    [EVENT_attempt_held] = {LOG_attempt_held, "what"},
    [EVENT_attempt_requeued] = {LOG_attempt_requeued, "what"},
};

static struct log_field maybe(const char *key, struct str text) {
    return text.len ? log_str(key, text) : (struct log_field){.type = LOG_TYPE_NONE};
}

static bool traces(void *ctx, enum core_event what) {
    (void)ctx;
    return log_wanted(log_rows[what].id);
}

static void event(void *ctx, const struct event *e) {
    struct effects_context *x = ctx;
    x->ended += e->what == EVENT_job_ended;
    enum log_id id = log_rows[e->what].id;
    if (!log_wanted(id))
        return;
    struct trace_id_text trace = {""};
    if (e->trace)
        trace = trace_show_id(e->trace);
    log_event(id, log_id("job", e->job), maybe("tenant", e->tenant),
              maybe("trace", str_of(trace.at)), log_id("fence", e->fence),
              maybe(log_rows[e->what].key, e->text));
}

/* ---- streams -------------------------------------------------------------------------------- */
/* SipHash-2-4 (Aumasson, Bernstein 2012): whoever knows the tokens of his attempts does not know
 * those of others. */
static uint64_t token(void *ctx, uint64_t fence) {
    const struct effects_context *x = ctx;
    unsigned char in[8], out[crypto_shorthash_BYTES];
    uint64_t value;
    memcpy(in, &fence, sizeof in);
    crypto_shorthash(out, in, sizeof in, x->token_key);
    memcpy(&value, out, sizeof value);
    return value;
}

static void stream(void *ctx, const struct stream_order *o) {
    struct effects_context *x = ctx;
    relay_thread_order(x->relay, o);
}

/* ---- schedules ------------------------------------------------------------------------------ */
static int due(void *ctx, const struct due_rule *rule, uint64_t after_ms, uint64_t *due_ms,
               struct err *e) {
    struct effects_context *x = ctx;
    struct calendar_rule r = {0};
    struct str zone = rule->zone.len ? rule->zone : STR("UTC");
    if (cron_parse(rule->cron, &r.cron, e) < 0 || zones_get(x->zones, zone, &r.zone, e) < 0)
        return -1;
    struct wall next = calendar_next(&r, (struct wall){after_ms});
    *due_ms = next.ms == CALENDAR_NEVER.ms ? 0 : next.ms;
    return 0;
}

/* ---- life ----------------------------------------------------------------------------------- */
void effects_init(struct effects_context *x, struct journal *journal, struct outbox *outbox,
                  struct relay_thread *relay) {
    *x = (struct effects_context){
        .journal = journal, .outbox = outbox, .relay = relay, .scratch = BUF(SCRATCH_BYTES)};
    x->zones = zones_new(ZONE_FOLDER);
    random_bytes(x->token_key, sizeof x->token_key);
}

void effects_done(struct effects_context *x) {
    zones_destroy(&x->zones);
    buf_destroy(&x->scratch);
    MEM_FREE(x->asks);
    MEM_FREE(x->readings);
}

struct effects effects_of(struct effects_context *x) {
    return (struct effects){.ctx = x,
                            .append = append,
                            .group = group,
                            .release = release,
                            .load = load,
                            .send = send,
                            .event = event,
                            .traces = traces,
                            .token = token,
                            .stream = stream,
                            .due = due};
}
