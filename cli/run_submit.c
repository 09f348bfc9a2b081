/* quern submit: one job or many, and their ends. */
#include "cli/cli.h"
#include "cli/describe.h"
#include "cli/follow.h"
#include "cli/input.h"
#include "cli/out.h"
#include "cli/wait.h"
#include "common/base/id.h"
#include "common/base/mem.h"
#include "common/base/trace.h"

#include <stdlib.h>

#define CHUNK_JOBS  8192
#define CHUNK_BYTES (16U << 20)
#define ARENA_MAX   (64U << 20) /* of a chunk, and of one more line */

enum line_is { LINE_PAYLOAD, LINE_JOB }; /* the words of --lines */

struct submitting {
    struct cli *c;
    const struct args_submit *args;
    struct msg_submit message; /* what the options say */
    struct client_item job;    /* that, with its children */
    json_t *defaults;          /* the same for lines that are jobs */
    struct arena *arena;       /* of the chunk: what its items point to */
    size_t n;
    struct client_item items[CHUNK_JOBS];
    struct client_submitted out[CHUNK_JOBS];
    struct lines lines; /* of the batch */
    uint64_t told;      /* jobs printed so far */
    bool prints_ids;    /* else their ends */
    struct waits waits;
    struct follow follow; /* with --stream */
    struct err first;     /* what the exit status says */
};

/* ---- the message ---------------------------------------------------------------------------- */
/* Only one of them can be read from there. */
static int check_inputs(const struct args_submit *a, struct err *e) {
    const struct str from[] = {a->payload, a->batch, a->children, a->then_payload};
    int n = 0;
    for (size_t i = 0; i < sizeof from / sizeof *from; i++)
        n += str_eq(from[i], STR("-"));
    if (n > 1)
        return err_set(e, ERR_USAGE, "submit: only one option can be standard input");
    return 0;
}

static int check_flow(const struct args_submit *a, struct err *e) {
    if (ARG_HAS(a, submit, then_payload) && !ARG_HAS(a, submit, then))
        return err_set(e, ERR_USAGE, "submit: --then-payload needs --then");
    if (ARG_HAS(a, submit, lines) && !ARG_HAS(a, submit, batch))
        return err_set(e, ERR_USAGE, "submit: --lines needs --batch");
    if (a->lines == LINE_JOB && (ARG_HAS(a, submit, children) || ARG_HAS(a, submit, then)))
        return err_set(
            e, ERR_USAGE,
            "submit: --lines job stands without --children and --then, which a line has");
    return check_inputs(a, e);
}

static int check_message(const struct args_submit *a, struct err *e) {
    if (ARG_HAS(a, submit, window) && !ARG_HAS(a, submit, unique))
        return err_set(e, ERR_USAGE, "submit: --window needs --unique");
    if (a->wait && ARG_HAS(a, submit, count) && a->count > WAITS_MAX)
        return err_set(e, ERR_USAGE, "submit: with --wait at most %d jobs", WAITS_MAX);
    if (ARG_HAS(a, submit, interval) && !ARG_HAS(a, submit, key))
        return err_set(e, ERR_USAGE, "submit: --interval needs --key");
    if (ARG_HAS(a, submit, delay) && ARG_HAS(a, submit, run_at))
        return err_set(e, ERR_USAGE, "submit: give --delay or --run-at, not both");
    if (ARG_HAS(a, submit, batch) && (ARG_HAS(a, submit, count) || ARG_HAS(a, submit, payload)))
        return err_set(e, ERR_USAGE, "submit: --batch stands without --count and --payload");
    if (a->stream && (ARG_HAS(a, submit, batch) || ARG_HAS(a, submit, count)))
        return err_set(e, ERR_USAGE, "submit: --stream stands without --batch and --count");
    return check_flow(a, e);
}

#define COPY(m, args, field, from)                                                                 \
    do {                                                                                           \
        if (ARG_HAS(args, submit, from))                                                           \
            MSG_SET(m, submit, field, (args)->from);                                               \
    } while (0)

/* What stands in the environment may be meant for others: a text that is none costs no job. */
static int set_trace(const struct args_submit *a, struct msg_submit *m, struct err *e) {
    const char *env = getenv("TRACEPARENT");
    struct trace trace;
    if (ARG_HAS(a, submit, trace) && trace_parse("submit: --trace", a->trace, &trace, e) < 0) {
        e->code = ERR_USAGE;
        return -1;
    }
    COPY(m, a, trace, trace);
    if (ARG_HAS(a, submit, trace) || !env || !*env)
        return 0;
    struct err wrong = {0};
    if (trace_parse("TRACEPARENT of the environment", str_of(env), &trace, &wrong) == 0)
        MSG_SET(m, submit, trace, str_of(env));
    else
        cli_say("%s; the job gets a trace of its own", wrong.text);
    return 0;
}

static int make_message(const struct args_submit *a, struct msg_submit *m, struct err *e) {
    *m = (struct msg_submit){0};
    MSG_SET(m, submit, kind, a->kind);
    COPY(m, a, queue, queue);
    COPY(m, a, tenant, tenant);
    COPY(m, a, priority, priority);
    COPY(m, a, key, key);
    COPY(m, a, interval_ms, interval);
    COPY(m, a, unique, unique);
    COPY(m, a, window_ms, window);
    COPY(m, a, delay_ms, delay);
    COPY(m, a, run_at_ms, run_at);
    COPY(m, a, ttl_ms, ttl);
    COPY(m, a, timeout_ms, timeout);
    COPY(m, a, attempts_max, attempts);
    COPY(m, a, backoff_ms, backoff);
    COPY(m, a, durability, durability);
    COPY(m, a, grace_ms, grace);
    COPY(m, a, attach, stream);
    COPY(m, a, fail_fast, fail_fast);
    return set_trace(a, m, e) < 0 ? -1 : check_message(a, e);
}

/* ---- what came of it ------------------------------------------------------------------------ */
static bool is_many(const struct args_submit *a) {
    return ARG_HAS(a, submit, batch) || ARG_HAS(a, submit, count);
}

static void tell_json(struct submitting *s, const struct client_submitted *o) {
    struct msg_submitted m = {0};
    MSG_SET(&m, submitted, code, (uint64_t)o->err.code);
    if (o->id)
        MSG_SET(&m, submitted, id, o->id);
    if (o->duplicate)
        MSG_SET(&m, submitted, duplicate, true);
    struct err e;
    json_auto_t *json = json_bridge_of_message(msg_def(MSG_submitted), &m, &e);
    if (o->err.code)
        json_object_set_new(json, "text", cli_json_text(str_of(o->err.text)));
    if (is_many(s->args)) {
        printf("%s", s->told ? "," : "");
        out_json_part(json);
    } else if (!o->err.code) {
        cli_json(s->c, json);
    }
}

/* In the order of the payloads; the place of one that was refused stays marked. */
static void tell(struct submitting *s, size_t i) {
    const struct client_submitted *o = &s->out[i];
    if (s->c->json && s->prints_ids)
        tell_json(s, o);
    else if (s->prints_ids && (!o->err.code || is_many(s->args)))
        printf("%s\n", o->err.code ? "-" : id_show(o->id).at);
    s->told++;
    if (o->err.code && !s->first.code)
        s->first = o->err;
    else if (o->err.code && o->err.code != s->first.code)
        cli_complain(s->c, &o->err);
    if (!s->prints_ids)
        waits_add(&s->waits, o->err.code ? 0 : o->id, o->err.code);
}

static int send_chunk(struct submitting *s) {
    struct err e = {0};
    client_submit(s->c->client, s->items, s->n, s->out, cli_deadline(CLI_ANSWER_MS), &e);
    for (size_t i = 0; i < s->n; i++)
        tell(s, i);
    s->n = 0;
    if (arena_used(s->arena))
        arena_reset(s->arena);
    fflush(stdout); /* whoever reads a long list wants to see it grow */
    /* What the broker as a whole cannot do now it cannot do for the rest either. */
    bool hopeless = e.code == ERR_UNREACHABLE_BROKER || e.code == ERR_UNKNOWN_OUTCOME;
    return hopeless ? -1 : 0;
}

/* There is room for one more job, and in the arena for what it points to. */
static int make_room(struct submitting *s) {
    bool full = s->n == CHUNK_JOBS || arena_used(s->arena) > CHUNK_BYTES;
    return full ? send_chunk(s) : 0;
}

/* ---- many ----------------------------------------------------------------------------------- */
static int submit_count(struct submitting *s) {
    uint64_t count = ARG_HAS(s->args, submit, count) ? s->args->count : 1;
    for (uint64_t i = 0; i < count; i++) {
        if (make_room(s) < 0)
            return -1;
        s->items[s->n++] = s->job;
    }
    return send_chunk(s);
}

static int take_payload(struct submitting *s, struct str line, struct client_item *item,
                        struct err *e) {
    AUTO_BUF payload = BUF(INPUT_JSON_MAX);
    *item = s->job;
    if (input_json(line, &payload, e) < 0)
        return -1;
    item->payload = arena_try_copy(s->arena, buf_str(&payload));
    if (payload.len && !item->payload.at)
        return err_set(e, ERR_NO_MEMORY, "a payload of %zu bytes", payload.len);
    return 0;
}

static int take_line(struct submitting *s, struct str line, struct client_item *item,
                     struct err *e) {
    if (s->args->lines != LINE_JOB)
        return take_payload(s, line, item, e);
    json_auto_t *json = json_bridge_parse(line, e);
    return json ? describe_job(json, s->defaults, s->arena, item, e) : -1;
}

static int submit_lines(struct submitting *s, struct lines *l, struct err *e) {
    struct str line;
    int rc;
    while ((rc = lines_next(l, &line, e)) == 1) {
        if (make_room(s) < 0)
            return 0;
        if (take_line(s, line, &s->items[s->n], e) < 0) {
            err_add(e, "line %llu", (unsigned long long)l->number);
            break;
        }
        s->n++;
        if (!s->prints_ids && s->told + s->n > WAITS_MAX) {
            rc = err_set(e, ERR_USAGE, "with --wait at most %d jobs", WAITS_MAX);
            break;
        }
    }
    if (s->n)
        send_chunk(s);
    return rc == 0 ? 0 : -1;
}

/* A list of what became of each: so far as there is anything that was tried. */
static bool prints_list(const struct submitting *s) {
    return s->c->json && is_many(s->args) && s->prints_ids;
}

static void begin_list(struct submitting *s) {
    s->c->told = prints_list(s);
    if (prints_list(s))
        putchar('[');
}

static int submit_batch(struct submitting *s, struct err *e) {
    begin_list(s);
    int rc = submit_lines(s, &s->lines, e);
    if (rc == 0)
        return 0;
    /* The jobs of the lines before it are accepted. */
    err_add(e, "submit --batch: %s", s->args->batch.at);
    if (prints_list(s))
        tell_json(s, &(struct client_submitted){.err = *e});
    return rc;
}

/* Its payload and its children, all of which stay in the command's arena. */
static int read_job(struct submitting *s, struct err *e) {
    const struct args_submit *a = s->args;
    AUTO_BUF payload = BUF(INPUT_JSON_MAX);
    json_auto_t *list = NULL, *then = NULL;
    if (ARG_HAS(a, submit, payload) &&
        input_payload(a->payload, "submit --payload", &payload, e) < 0)
        return -1;
    s->job = CLIENT_ITEM(&s->message, arena_try_copy(s->c->arena, buf_str(&payload)));
    if (ARG_HAS(a, submit, children) && !(list = input_value(a->children, "submit --children", e)))
        return -1;
    if (ARG_HAS(a, submit, then)) {
        then = json_pack("{s:s%}", "kind", a->then.at, a->then.len);
        json_t *value = ARG_HAS(a, submit, then_payload)
                            ? input_value(a->then_payload, "submit --then-payload", e)
                            : json_object();
        if (!value)
            return -1;
        json_object_set_new(then, "payload", value);
    }
    if (describe_children(list, then, s->c->arena, &s->job, e) < 0)
        return err_add(e, "submit");
    s->defaults = json_bridge_of_message(msg_def(MSG_submit), &s->message, e);
    return s->defaults ? 0 : -1;
}

static int submit_all(struct submitting *s, struct err *e) {
    if (read_job(s, e) < 0)
        return -1;
    if (ARG_HAS(s->args, submit, batch) && lines_open(&s->lines, s->args->batch.at, e) < 0)
        return err_add(e, "submit --batch");
    if (s->args->stream ? follow_open(&s->follow, s->c, e) < 0 : cli_connect(s->c, e) < 0)
        return -1;
    int rc = 0;
    if (ARG_HAS(s->args, submit, batch)) {
        rc = submit_batch(s, e);
    } else {
        begin_list(s);
        submit_count(s);
    }
    if (prints_list(s) && s->c->told)
        printf("]\n");
    return rc;
}

static int wait_for_ends(struct submitting *s) {
    if (!s->args->stream)
        return waits_run(&s->waits);
    s->follow.graced = ARG_HAS(s->args, submit, grace);
    return s->waits.ids[0] ? follow_run(&s->follow, s->waits.ids[0]) : 0;
}

int run_submit(struct cli *c, const struct args_submit *args) {
    struct submitting *s = MEM_NEW(struct submitting);
    s->c = c;
    s->args = args;
    s->prints_ids = !args->wait && !args->stream;
    s->lines = LINES;
    s->arena = arena_new(ARENA_MAX);
    waits_init(&s->waits, c, is_many(args));
    struct err e = {0};
    int status = 0;
    if (make_message(args, &s->message, &e) < 0 || submit_all(s, &e) < 0)
        status = cli_fail(c, &e);
    if (s->first.code) {
        int refused = cli_fail(c, &s->first);
        status = status ? status : refused;
    }
    bool none = c->json && is_many(args) && !s->prints_ids && !status; /* a list all the same */
    if (s->waits.n || none) {
        int ended = wait_for_ends(s);
        status = status ? status : ended;
    }
    if (s->follow.c)
        follow_done(&s->follow);
    waits_done(&s->waits);
    lines_close(&s->lines);
    arena_destroy(&s->arena);
    json_decref(s->defaults);
    mem_free(s);
    return status;
}
