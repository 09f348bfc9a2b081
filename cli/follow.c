#include "cli/follow.h"

#include "cli/out.h"
#include "cli/wait.h"
#include "common/base/id.h"
#include "schemas/states.h"

/* ---- as text -------------------------------------------------------------------------------- */
static void end_line(struct follow *f) {
    if (f->within_line)
        putchar('\n');
    f->within_line = false;
}

static void put(struct follow *f, struct str text) {
    if (!text.len)
        return;
    AUTO_BUF clean = BUF(STREAM_EVENT_MAX);
    if (f->c->terminal) {
        out_clean_text(&clean, text);
        text = buf_str(&clean);
    }
    fwrite(text.at, 1, text.len, stdout);
    f->within_line = text.at[text.len - 1] != '\n';
    f->any = true;
}

static void print_text(struct follow *f, const struct stream_event *event) {
    if (event->type != STREAM_TEXT)
        return;
    if (event->channel != f->channel) {
        end_line(f);
        printf("[%u] ", event->channel);
        f->within_line = true;
    }
    f->channel = event->channel;
    put(f, event->bytes);
}

/* What is void stays where it was printed: nobody can take it back from a file or a pipe. */
static void print_reset(struct follow *f) {
    if (f->any && f->c->terminal)
        end_line(f);
    fflush(stdout);
    if (f->any)
        cli_say("stream begins anew: what was printed before this is void");
    f->any = false;
    f->channel = 0;
}

/* ---- as JSON -------------------------------------------------------------------------------- */
static void print_object(json_t *object) {
    out_json_part(object);
    putchar('\n');
    json_decref(object);
}

static json_t *event_object(const char *name) {
    json_t *object = json_object();
    json_object_set_new(object, "event", json_string(name));
    return object;
}

static void print_event(struct follow *f, const struct stream_event *event,
                        struct stream_position at) {
    struct err e = {0};
    bool text = event->type == STREAM_TEXT;
    json_t *value = text ? json_stringn(event->bytes.at ? event->bytes.at : "", event->bytes.len)
                         : json_bridge_of_value(event->bytes, &e);
    if (!value) {
        cli_complain(f->c, &e);
        value = json_null();
    }
    json_t *object = event_object(text ? "text" : "data");
    json_object_set_new(object, "channel", json_integer(event->channel));
    json_object_set_new(object, text ? "text" : "data", value);
    json_object_set_new(object, "epoch", json_integer((json_int_t)at.epoch));
    json_object_set_new(object, "seq", json_integer((json_int_t)at.seq));
    print_object(object);
}

static void print_finished(struct follow *f) {
    struct err e = {0};
    json_t *finished = finished_json(&f->end, &e);
    if (!finished) {
        cli_fail(f->c, &e);
        return;
    }
    f->c->told = true;
    json_t *object = event_object("finished");
    json_object_set_new(object, "whole", json_boolean(!f->broken));
    json_object_update(object, finished);
    json_decref(finished);
    print_object(object);
}

/* ---- what is told --------------------------------------------------------------------------- */
static void on_stream(void *ctx, const struct stream_told *told) {
    struct follow *f = ctx;
    bool json = f->c->json;
    if (told->news == STREAM_EVENT && json)
        print_event(f, told->event, told->position);
    else if (told->news == STREAM_EVENT)
        print_text(f, told->event);
    else if (told->news == STREAM_RESET && json)
        print_object(event_object("reset"));
    else if (told->news == STREAM_RESET)
        print_reset(f);
    f->broken |= told->news == STREAM_BROKEN;
}

static void on_finished(void *watching, const struct client_finished *end) {
    struct follow *f = watching;
    struct buf kept = f->end.result;
    buf_clear(&kept);
    if (end->result.len)
        buf_put_str(&kept, buf_str(&end->result));
    f->end = *end;
    f->end.result = kept;
    f->ended = true;
}

/* ---- the end -------------------------------------------------------------------------------- */
/* A job that wrote nothing, or is of a kind that never does, has a result all the same. */
static int print_result(struct follow *f) {
    struct err e = {0};
    if (f->end.epoch || (f->end.err.code && !f->end.result.len))
        return 0;
    json_auto_t *json =
        f->end.result.len ? json_bridge_of_value(buf_str(&f->end.result), &e) : json_object();
    if (!json)
        return cli_fail(f->c, &e);
    cli_json(f->c, json);
    return 0;
}

static int print_end(struct follow *f) {
    struct id_text id = id_show(f->id);
    int status = 0;
    if (!f->end.state)
        return cli_fail(f->c, &f->end.err);
    if (f->c->json)
        print_finished(f);
    else if (!f->broken)
        status = print_result(f);
    if (f->c->terminal && !f->c->json)
        end_line(f);
    fflush(stdout);
    if (f->broken)
        cli_say("the rest of the stream is not kept; see the result: quern job %s --payload",
                id.at);
    if (f->end.flow)
        cli_say("job %s: jobs are below it; how they go: quern job %s", id.at, id.at);
    if (!f->end.err.code)
        return status;
    cli_say("job %s: %s: %s", id.at, job_state_name(f->end.state), f->end.err.text);
    return 1;
}

static void give_up(struct follow *f, struct interrupts *by) {
    struct id_text id = id_show(f->id);
    end_line(f);
    if (f->graced)
        cli_say("job %s is cancelled when its grace is over; see: quern job %s --stream", id.at,
                id.at);
    else
        cli_say("job %s goes on; see: quern job %s --stream", id.at, id.at);
    stream_client_destroy(&f->streams);
    interrupts_obey(by, f->c);
}

int follow_run(struct follow *f, uint64_t id) {
    struct interrupts interrupts;
    interrupts_catch(&interrupts);
    f->id = id;
    while (!f->ended) {
        uint32_t calls = stream_client_poll(f->streams, MONO_PAST);
        bool stopped = false;
        fflush(stdout);
        if (f->ended)
            break;
        const struct err *refused = client_refused(f->c->client);
        if (refused) {
            end_line(f);
            interrupts_release(&interrupts);
            return cli_fail(f->c, refused);
        }
        cli_tell_link(f->c);
        stream_client_wait(f->streams, calls ? MONO_PAST : MONO_NEVER, &interrupts.fd, &stopped, 1);
        if (stopped)
            give_up(f, &interrupts);
    }
    interrupts_release(&interrupts);
    return print_end(f);
}

int follow_job(struct follow *f, uint64_t id) {
    struct err e = {0};
    if (stream_client_attach(f->streams, id, STR(""), (struct stream_position){0}, NULL, &e) < 0)
        return cli_fail(f->c, &e);
    return follow_run(f, id);
}

/* ---- coming and going ----------------------------------------------------------------------- */
int follow_open(struct follow *f, struct cli *c, struct err *e) {
    *f = (struct follow){.c = c, .end = CLIENT_FINISHED};
    struct stream_client_config config = {.streams_max = 1, .ctx = f, .on_stream = on_stream};
    if (cli_connect(c, e) < 0 || stream_client_new(&f->streams, c->client, &config, e) < 0)
        return -1;
    c->watching = f;
    c->on_finished = on_finished;
    return 0;
}

void follow_done(struct follow *f) {
    stream_client_destroy(&f->streams);
    client_finished_done(&f->end);
    f->c->on_finished = NULL;
}
