/* The client's half: asking, and waiting for ends. */
#include "common/base/mem.h"
#include "common/os/clock.h"
#include "workers/sdk/sdk_int.h"

#include <stddef.h>
#include <stdlib.h>

#define OPTIONS_LEAST  (offsetof(struct quern_client_options, timeout_ms) + sizeof(uint64_t))
#define TIMEOUT_MS     10000
#define ARENA_MAX      (1U << 30) /* of the payloads of one quern_submit_many */
#define DATA_OTHERWISE ".quern"

static struct mono after(uint64_t ms) {
    return mono_add(clock_mono(), ms);
}

static const char *from_environment(const char *name) {
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

/* ---- connecting ----------------------------------------------------------------------------- */
static void on_finished(void *ctx, const struct client_finished *f) {
    struct quern_client *q = ctx;
    struct quern_report *report = sdk_report_of_end(f);
    struct quern_stream *stream = sdk_stream_of(q, f->id);
    if (stream) {
        sdk_stream_ended(stream, report);
        return;
    }
    *q->ends_last = report;
    q->ends_last = &report->next;
}

static int find_broker(const struct quern_client_options *o, enum role role,
                       char endpoint[LINK_ENDPOINT_MAX], struct err *e) {
    const char *data = o->data, *broker = o->broker;
    if (!data && !broker) {
        broker = from_environment("QUERN_BROKER");
        data = from_environment("QUERN_DATA");
    }
    return link_endpoint(endpoint, data ? data : DATA_OTHERWISE, broker, role, e);
}

static int open_client(struct quern_client *q, const struct quern_client_options *o,
                       struct err *e) {
    char endpoint[LINK_ENDPOINT_MAX];
    enum role role = o->role ? (enum role)o->role : ROLE_CLIENT;
    if (role != ROLE_CLIENT && role != ROLE_GATEWAY && role != ROLE_OPERATOR)
        return err_set(e, ERR_USAGE, "quern_client_options.role: %d is none", o->role);
    struct client_config config = {.role = role,
                                   .endpoint = endpoint,
                                   .name = sdk_program(o->name),
                                   .clock = clock_mono,
                                   .ctx = q,
                                   .on_finished = on_finished};
    const struct key_places places = {from_environment(KEY_ENV_FILE),
                                      from_environment(KEY_ENV_SERVER)};
    struct key_file key;
    random_bytes(config.instance, sizeof config.instance);
    q->timeout_ms = o->timeout_ms ? o->timeout_ms : TIMEOUT_MS;
    if (find_broker(o, role, endpoint, e) < 0)
        return -1;
    int found = key_for(&key, endpoint, &places, e);
    config.key = found > 0 ? &key : NULL;
    int rc = found < 0 ? -1 : client_new(&q->client, &config, e);
    key_file_wipe(&key);
    if (rc < 0)
        return -1;
    return client_connect(q->client, after(q->timeout_ms), e);
}

struct quern_client *quern_connect(const struct quern_client_options *options,
                                   struct quern_error *error) {
    struct quern_client_options o = quern_client_options_make();
    struct quern_client *q = MEM_NEW(struct quern_client);
    struct err e = {0};
    q->ends_last = &q->ends;
    int rc =
        options ? sdk_struct(&o, sizeof o, options, OPTIONS_LEAST, "quern_client_options", &e) : 0;
    if (rc == 0)
        rc = open_client(q, &o, &e);
    sdk_tell(error, &e);
    if (rc == 0)
        return q;
    quern_close(q);
    return NULL;
}

void quern_close(struct quern_client *q) {
    if (!q)
        return;
    while (q->open)
        quern_stream_close(q->open);
    stream_client_destroy(&q->streams);
    client_destroy(&q->client);
    while (q->ends) {
        struct quern_report *report = q->ends;
        q->ends = report->next;
        quern_report_free(report);
    }
    mem_free(q);
}

/* ---- submitting ----------------------------------------------------------------------------- */
/* What goes out of one call, in order; what was refused here stays behind. */
struct batch {
    struct arena *arena;
    struct msg_submit *messages;
    struct client_item *items;
    size_t *index; /* of each item, among what the caller gave */
    size_t n;
};

static int take(struct batch *b, const struct quern_spec *given, size_t index, struct err *e) {
    struct quern_spec spec;
    struct str payload;
    if (sdk_spec(given, &spec, e) < 0 || sdk_payload(&spec, b->arena, &payload, e) < 0)
        return -1;
    sdk_message(&spec, &b->messages[b->n]);
    b->items[b->n] = CLIENT_ITEM(&b->messages[b->n], payload);
    b->index[b->n++] = index;
    return 0;
}

/* Of each given one `out` says what became of it. */
static void submit_all(struct quern_client *q, const struct quern_spec *const *jobs, size_t n,
                       struct client_submitted *out) {
    struct batch b = {.arena = arena_new(ARENA_MAX)};
    b.messages = mem_zalloc(n * sizeof *b.messages);
    b.items = mem_zalloc(n * sizeof *b.items);
    b.index = mem_zalloc(n * sizeof *b.index);
    for (size_t i = 0; i < n; i++)
        take(&b, jobs[i], i, &out[i].err);
    struct client_submitted *answers = mem_zalloc((b.n ? b.n : 1) * sizeof *answers);
    struct err e = {0};
    if (b.n)
        client_submit(q->client, b.items, b.n, answers, after(q->timeout_ms), &e);
    for (size_t i = 0; i < b.n; i++)
        out[b.index[i]] = answers[i];
    mem_free(answers);
    mem_free(b.index);
    mem_free(b.items);
    mem_free(b.messages);
    arena_destroy(&b.arena);
}

int quern_submit_many(struct quern_client *q, const struct quern_spec *const *jobs, size_t n,
                      uint64_t *ids, bool *duplicates, struct quern_error *errors) {
    if (!n)
        return 0;
    struct client_submitted *out = mem_zalloc(n * sizeof *out);
    int rc = 0;
    submit_all(q, jobs, n, out);
    for (size_t i = 0; i < n; i++) {
        bool refused = out[i].err.code != ERR_OK;
        ids[i] = refused ? 0 : out[i].id;
        if (duplicates)
            duplicates[i] = out[i].duplicate;
        if (errors)
            sdk_tell(&errors[i], &out[i].err);
        rc = refused ? -1 : rc;
    }
    mem_free(out);
    return rc;
}

uint64_t quern_submit(struct quern_client *q, const struct quern_spec *job,
                      struct quern_error *error) {
    uint64_t id;
    quern_submit_many(q, &job, 1, &id, NULL, error);
    return id;
}

/* ---- changing ------------------------------------------------------------------------------- */
int quern_cancel(struct quern_client *q, uint64_t id, struct quern_error *error) {
    struct msg_cancel_job m = {0};
    struct err e = {0};
    MSG_SET(&m, cancel_job, id, id);
    int rc = client_change(q->client, VERB_cancel_job, &m, NULL, after(q->timeout_ms), &e);
    sdk_tell(error, &e);
    return rc;
}

int quern_retry(struct quern_client *q, uint64_t id, struct quern_error *error) {
    struct msg_retry_job m = {0};
    struct err e = {0};
    MSG_SET(&m, retry_job, id, id);
    int rc = client_change(q->client, VERB_retry_job, &m, NULL, after(q->timeout_ms), &e);
    sdk_tell(error, &e);
    return rc;
}

/* ---- waiting -------------------------------------------------------------------------------- */
void sdk_serve(struct quern_client *q, struct mono until) {
    if (!q->streams) {
        client_poll(q->client, until);
        return;
    }
    if (!stream_client_poll(q->streams, MONO_PAST))
        stream_client_poll(q->streams, until);
}

int sdk_late(const struct quern_client *q, const char *what, struct err *e) {
    const struct err *refused = client_refused(q->client);
    if (refused) {
        *e = *refused;
        return -1;
    }
    if (!client_is_up(q->client))
        return err_set(e, ERR_UNREACHABLE_BROKER, "%s", err_code_text(ERR_UNREACHABLE_BROKER));
    return err_set(e, ERR_WAIT_TIMEOUT, "%s within the time given", what);
}

/* The end of that job, of any with 0; NULL: it was not told yet. */
static struct quern_report *take_end(struct quern_client *q, uint64_t id) {
    struct quern_report **at = &q->ends;
    while (*at && id && (*at)->id != id)
        at = &(*at)->next;
    struct quern_report *found = *at;
    if (!found)
        return NULL;
    *at = found->next;
    if (q->ends_last == &found->next)
        q->ends_last = at;
    found->next = NULL;
    return found;
}

static struct quern_report *await_end(struct quern_client *q, uint64_t id, uint64_t timeout_ms,
                                      struct err *e) {
    struct mono deadline = after(timeout_ms);
    struct quern_report *end = take_end(q, id);
    for (bool late = false; !end && !late && !client_refused(q->client); end = take_end(q, id)) {
        sdk_serve(q, deadline);
        late = mono_reached(clock_mono(), deadline);
    }
    if (!end)
        sdk_late(q, id ? "the job has not ended" : "no job has ended", e);
    return end;
}

static struct quern_report *wait_one(struct quern_client *q, uint64_t id, uint64_t timeout_ms,
                                     struct err *e) {
    struct quern_report *end = take_end(q, id);
    if (!end && sdk_stream_of(q, id)) {
        err_set(e, ERR_USAGE, "the job's stream is open and tells its end");
        return NULL;
    }
    if (!end && client_watch(q->client, id, e) < 0)
        return NULL;
    if (!end)
        end = await_end(q, id, timeout_ms, e);
    if (!end || end->state)
        return end;
    *e = (struct err){.code = (enum err_code)end->error.code}; /* there is no such job */
    err_set(e, e->code, "%s", end->error.text);
    quern_report_free(end);
    return NULL;
}

struct quern_report *quern_wait(struct quern_client *q, uint64_t id, uint64_t timeout_ms,
                                struct quern_error *error) {
    struct err e = {0};
    struct quern_report *report = wait_one(q, id, timeout_ms, &e);
    sdk_tell(error, &e);
    return report;
}

struct quern_report *quern_wait_any(struct quern_client *q, uint64_t timeout_ms,
                                    struct quern_error *error) {
    struct err e = {0};
    struct quern_report *report = await_end(q, 0, timeout_ms, &e);
    sdk_tell(error, &e);
    return report;
}
