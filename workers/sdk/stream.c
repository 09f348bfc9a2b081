/* Streams as something to read: what comes is kept until the caller asks for it.
 *
 * Polling for one stream serves all of the client. One that is not read lets go of its job when too
 * much is kept, and takes it up again from there when all of that was read. */
#include "common/base/mem.h"
#include "common/os/clock.h"
#include "workers/sdk/sdk_int.h"

#define KEPT_BYTES (4U << 20)

struct kept {
    struct kept *next;
    struct quern_event event;
    char bytes[];
};

struct quern_stream {
    struct quern_client *client;
    struct quern_stream *next; /* of the client's list */
    uint64_t id;
    struct kept *first, **last;
    struct kept *shown; /* what the caller has borrowed */
    size_t bytes;       /* kept */
    bool paused;        /* let go at `position` */
    bool lost;          /* there was no memory for an event */
    struct stream_position position;
    struct quern_report *report; /* the job has ended */
};

struct quern_stream *sdk_stream_of(const struct quern_client *q, uint64_t id) {
    struct quern_stream *s = q->open;
    while (s && s->id != id)
        s = s->next;
    return s;
}

void sdk_stream_ended(struct quern_stream *s, struct quern_report *report) {
    quern_report_free(s->report);
    s->report = report;
}

/* ---- what comes ----------------------------------------------------------------------------- */
static bool keep(struct quern_stream *s, int type, const struct stream_event *event,
                 struct stream_position at) {
    struct str bytes = event ? event->bytes : STR("");
    struct kept *k = mem_try(sizeof *k + bytes.len + 1);
    if (!k)
        return false;
    k->next = NULL;
    k->event = (struct quern_event){.type = type,
                                    .channel = event ? event->channel : 0,
                                    .bytes = k->bytes,
                                    .size = bytes.len,
                                    .epoch = at.epoch,
                                    .seq = at.seq};
    if (bytes.len)
        memcpy(k->bytes, bytes.at, bytes.len);
    k->bytes[bytes.len] = 0;
    *s->last = k;
    s->last = &k->next;
    s->bytes += sizeof *k + bytes.len;
    return true;
}

static int type_of(const struct stream_told *told) {
    switch (told->news) {
    case STREAM_EVENT:
        return told->event->type == STREAM_TEXT ? QUERN_EVENT_TEXT : QUERN_EVENT_DATA;
    case STREAM_RESET:
        return QUERN_EVENT_RESET;
    case STREAM_BROKEN:
        return QUERN_EVENT_BROKEN;
    default:
        return 0;
    }
}

static void on_stream(void *ctx, const struct stream_told *told) {
    struct quern_client *q = ctx;
    struct quern_stream *s = told->job_ctx;
    int type = type_of(told);
    if (!s || !type || s->lost)
        return;
    const struct stream_event *event = told->news == STREAM_EVENT ? told->event : NULL;
    s->lost = !keep(s, type, event, told->position);
    if (!event || (s->bytes <= KEPT_BYTES && !s->lost))
        return;
    s->paused = true;
    s->position = told->position;
    stream_client_detach(q->streams, s->id);
}

/* ---- reading -------------------------------------------------------------------------------- */
static int follow(struct quern_stream *s, struct err *e) {
    s->paused = false;
    return stream_client_attach(s->client->streams, s->id, STR(""), s->position, s, e);
}

static int next_kept(struct quern_stream *s, const struct quern_event **event) {
    struct kept *k = s->first;
    s->first = k->next;
    if (!s->first)
        s->last = &s->first;
    s->bytes -= sizeof *k + k->event.size;
    s->shown = k;
    *event = &k->event;
    return 1;
}

/* Nothing more will come. */
static int the_end(const struct quern_stream *s, struct err *e) {
    const struct quern_error *why = &s->report->error;
    if (s->report->state)
        return 0;
    return err_set(e, (enum err_code)why->code, "%s", why->text);
}

static int next_event(struct quern_stream *s, uint64_t timeout_ms, const struct quern_event **event,
                      struct err *e) {
    struct mono deadline = mono_add(clock_mono(), timeout_ms);
    MEM_FREE(s->shown);
    for (bool late = false;; late = mono_reached(clock_mono(), deadline)) {
        if (s->first)
            return next_kept(s, event);
        if (s->report)
            return the_end(s, e);
        if (s->lost)
            return err_set(e, ERR_NO_MEMORY, "an event of the stream");
        if (s->paused && follow(s, e) < 0)
            return -1;
        if (late || client_refused(s->client->client))
            return sdk_late(s->client, "no event", e);
        sdk_serve(s->client, deadline);
    }
}

int quern_stream_next(struct quern_stream *s, uint64_t timeout_ms, const struct quern_event **event,
                      struct quern_error *error) {
    struct err e = {0};
    *event = NULL;
    int rc = next_event(s, timeout_ms, event, &e);
    sdk_tell(error, &e);
    return rc;
}

struct quern_report *quern_stream_report(struct quern_stream *s) {
    return s->report;
}

/* ---- coming and going ----------------------------------------------------------------------- */
static int open_streams(struct quern_client *q, struct err *e) {
    struct stream_client_config config = {.ctx = q, .on_stream = on_stream};
    return q->streams ? 0 : stream_client_new(&q->streams, q->client, &config, e);
}

static struct quern_stream *stream_open(struct quern_client *q, uint64_t id, struct err *e) {
    if (sdk_stream_of(q, id)) {
        err_set(e, ERR_USAGE, "the job's stream is open already");
        return NULL;
    }
    if (open_streams(q, e) < 0)
        return NULL;
    struct quern_stream *s = MEM_NEW(struct quern_stream);
    s->client = q;
    s->id = id;
    s->last = &s->first;
    if (follow(s, e) < 0) {
        mem_free(s);
        return NULL;
    }
    s->next = q->open;
    q->open = s;
    return s;
}

struct quern_stream *quern_stream_open(struct quern_client *q, uint64_t id,
                                       struct quern_error *error) {
    struct err e = {0};
    struct quern_stream *s = stream_open(q, id, &e);
    sdk_tell(error, &e);
    return s;
}

void quern_stream_close(struct quern_stream *s) {
    if (!s)
        return;
    struct quern_stream **at = &s->client->open;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    stream_client_detach(s->client->streams, s->id);
    while (s->first) {
        struct kept *k = s->first;
        s->first = k->next;
        mem_free(k);
    }
    mem_free(s->shown);
    quern_report_free(s->report);
    mem_free(s);
}
