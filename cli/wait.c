#include "cli/wait.h"

#include "cli/flow.h"
#include "cli/out.h"
#include "common/base/id.h"
#include "common/base/mem.h"
#include "schemas/states.h"

#include <errno.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define WINDOW 512 /* jobs watched at a time */

void waits_init(struct waits *w, struct cli *c, bool many) {
    *w = (struct waits){.c = c, .many = many};
}

void waits_add(struct waits *w, uint64_t id, enum err_code refused) {
    if (w->n == w->size) {
        w->size = w->size ? w->size * 2 : 64;
        w->ids = mem_grow(w->ids, w->size, sizeof *w->ids);
        w->refused = mem_grow(w->refused, w->size, sizeof *w->refused);
    }
    w->refused[w->n] = refused;
    w->ids[w->n++] = id;
}

void waits_done(struct waits *w) {
    for (size_t i = 0; w->window && i < WINDOW; i++)
        client_finished_done(&w->window[i].end);
    mem_free(w->window);
    mem_free(w->ids);
    mem_free(w->refused);
}

/* ---- what is printed ------------------------------------------------------------------------ */
static json_t *result_of(const struct client_finished *f, struct err *e) {
    return f->result.len ? json_bridge_of_value(buf_str(&f->result), e) : json_object();
}

json_t *finished_json(const struct client_finished *f, struct err *e) {
    struct msg_finished m;
    client_finished_message(f, &m);
    json_t *json = json_bridge_of_message(msg_def(MSG_finished), &m, e);
    json_t *result = f->result.len ? result_of(f, e) : NULL;
    if (json && result)
        json_object_set_new(json, "result", result);
    return json;
}

/* With its flow, if it has one. */
static json_t *end_json(const struct wait_end *end, struct err *e) {
    json_t *json = finished_json(&end->end, e);
    json_t *flow = json && end->end.flow ? flow_json(&end->flow, e) : NULL;
    if (flow)
        json_object_set_new(json, "flow", flow);
    return json;
}

static void print_result(struct waits *w, const struct wait_end *end) {
    const struct client_finished *f = &end->end;
    struct err e = {0};
    bool bare = !w->c->json;
    if (bare && f->err.code && !f->result.len) {
        if (w->many)
            printf("null\n");
        return;
    }
    json_auto_t *json = bare ? result_of(f, &e) : end_json(end, &e);
    if (!json) {
        w->status = cli_fail(w->c, &e);
        if (!w->many)
            return;
        json = json_null(); /* its place in the list stays */
    }
    if (w->many) {
        out_json_part(json);
        printf("%s", w->c->json ? (w->printed + 1 < w->n ? "," : "") : "\n");
    } else {
        cli_json(w->c, json);
    }
}

/* The place of a job that was not accepted. */
static void print_refused(const struct waits *w, enum err_code code) {
    if (!w->c->json) {
        printf("null\n");
        return;
    }
    json_auto_t *json =
        json_pack("{s:s, s:s}", "error", err_code_name(code), "text", err_code_text(code));
    out_json_part(json);
    printf("%s", w->printed + 1 < w->n ? "," : "");
}

static void fail(struct waits *w, int status) {
    if (!w->status)
        w->status = status;
}

static void complain_of_flow(struct waits *w, const struct client_flow *flow) {
    struct id_text id = id_show(flow->id);
    if (flow->err.code) {
        fail(w, err_code_exit(flow->err.code));
        cli_say("job %s: how its flow ended is not known: %s", id.at, flow->err.text);
    } else if (flow_has_failed(flow)) {
        AUTO_BUF text = BUF(256);
        flow_put(&text, flow);
        buf_putc(&text, '\0');
        fail(w, 1);
        cli_say("job %s: %s; see: quern job %s", id.at, text.at, id.at);
    }
}

static void print_end(struct waits *w, const struct wait_end *end) {
    const struct client_finished *f = &end->end;
    print_result(w, end);
    if (f->err.code) {
        fail(w, f->state ? 1 : err_code_exit(f->err.code));
        cli_say("job %s: %s: %s", id_show(f->id).at,
                f->state ? job_state_name(f->state) : err_code_name(f->err.code), f->err.text);
    }
    if (f->flow)
        complain_of_flow(w, &end->flow);
}

/* ---- waiting -------------------------------------------------------------------------------- */
/* What is waited for now under that id, one after the other; a duplicate is there twice. */
static struct wait_end *next_of(struct waits *w, uint64_t id, size_t *i) {
    for (; *i < w->watched; ++*i)
        if (w->ids[*i] == id)
            return &w->window[(*i)++ % WINDOW];
    return NULL;
}

static void set_flow(struct wait_end *end, const struct client_flow *f) {
    end->flow = *f;
    end->settled = f->settled || f->err.code;
}

static void on_flow(void *watching, const struct client_flow *f) {
    struct waits *w = watching;
    struct wait_end *end;
    for (size_t i = w->printed; (end = next_of(w, f->id, &i));)
        set_flow(end, f);
}

/* Where jobs are below it, its end is not all. */
static void watch_flow(struct waits *w, struct wait_end *end, uint64_t id) {
    struct client_flow none = {.id = id};
    if (end->settled || client_watch_flow(w->c->client, id, &none.err) == 0)
        return;
    set_flow(end, &none);
}

static void on_finished(void *watching, const struct client_finished *f) {
    struct waits *w = watching;
    struct wait_end *end;
    for (size_t i = w->printed; (end = next_of(w, f->id, &i));) {
        struct client_finished *slot = &end->end;
        if (slot->id)
            continue;
        slot->id = f->id;
        slot->state = f->state;
        slot->attempts = f->attempts;
        slot->flow = f->flow;
        slot->err = f->err;
        if (f->result.len)
            buf_put(&slot->result, f->result.at, f->result.len);
        if (f->flow)
            watch_flow(w, end, f->id);
    }
}

static void watch_more(struct waits *w) {
    while (w->watched < w->n && w->watched < w->printed + WINDOW) {
        size_t i = w->watched;
        struct err e = {0};
        w->window[i % WINDOW] = (struct wait_end){.end = CLIENT_FINISHED};
        if (w->ids[i] && client_watch(w->c->client, w->ids[i], &e) < 0) {
            if (e.code == ERR_BUSY)
                return;
            w->watched++;
            on_finished(w, &(struct client_finished){.id = w->ids[i], .err = e});
            continue;
        }
        w->watched++;
        /* One alone is followed from the beginning, for whoever looks on. */
        if (w->ids[i] && w->c->terminal_err && !w->many)
            client_watch_flow(w->c->client, w->ids[i], NULL);
    }
}

static void show_progress(struct waits *w) {
    const struct wait_end *next = &w->window[w->printed % WINDOW];
    AUTO_BUF text = BUF(512);
    if (!next->flow.total || w->printed == w->watched)
        return;
    buf_printf(&text, "job %s: ", id_show(w->ids[w->printed]).at);
    if (next->flow.state)
        buf_printf(&text, "%s, ", job_state_name(next->flow.state));
    flow_put(&text, &next->flow);
    buf_putc(&text, '\0');
    cli_progress(w->c, text.at);
}

static bool is_ready(const struct wait_end *end) {
    return end->end.id && (!end->end.flow || end->settled);
}

static void print_ready(struct waits *w) {
    while (w->printed < w->watched) {
        struct wait_end *next = &w->window[w->printed % WINDOW];
        if (w->ids[w->printed] && !is_ready(next))
            return;
        cli_progress(w->c, "");
        if (w->ids[w->printed])
            print_end(w, next);
        else if (w->many)
            print_refused(w, w->refused[w->printed]);
        client_unwatch_flow(w->c->client, w->ids[w->printed]);
        client_finished_done(&next->end);
        w->printed++;
    }
}

void interrupts_catch(struct interrupts *s) {
    sigset_t stops;
    sigemptyset(&stops);
    sigaddset(&stops, SIGINT);
    sigaddset(&stops, SIGTERM);
    sigprocmask(SIG_BLOCK, &stops, &s->old);
    s->fd = signalfd(-1, &stops, SFD_CLOEXEC);
}

void interrupts_release(struct interrupts *s) {
    close(s->fd);
    sigprocmask(SIG_SETMASK, &s->old, NULL);
}

void interrupts_obey(struct interrupts *s, struct cli *c) {
    struct signalfd_siginfo info;
    int number = read(s->fd, &info, sizeof info) == sizeof info ? (int)info.ssi_signo : SIGTERM;
    fflush(stdout);
    client_destroy(&c->client);
    signal(number, SIG_DFL);
    raise(number); /* as whoever called us expects of a program that was interrupted */
    sigprocmask(SIG_SETMASK, &s->old, NULL);
}

static void give_up(struct waits *w, struct interrupts *by) {
    if (w->n == 1)
        cli_say("job %s goes on; see: quern job %s", id_show(w->ids[0]).at, id_show(w->ids[0]).at);
    else
        cli_say("%zu jobs go on, the first of them %s", w->n - w->printed,
                id_show(w->ids[w->printed]).at);
    interrupts_obey(by, w->c);
}

int waits_run(struct waits *w) {
    struct interrupts interrupts;
    interrupts_catch(&interrupts);
    w->window = mem_zalloc(WINDOW * sizeof *w->window);
    w->c->watching = w;
    w->c->on_finished = on_finished;
    w->c->on_flow = on_flow;
    if (w->many && w->c->json) {
        w->c->told = true;
        putchar('[');
    }
    for (;;) {
        watch_more(w);
        while (client_poll(w->c->client, MONO_PAST))
            continue;
        size_t before = w->printed;
        print_ready(w);
        if (w->printed == w->n)
            break;
        if (w->printed != before)
            continue;
        fflush(stdout);
        const struct err *refused = client_refused(w->c->client);
        if (refused) {
            w->status = cli_fail(w->c, refused);
            break;
        }
        cli_tell_link(w->c);
        show_progress(w);
        bool stopped = false;
        link_wait(client_link(w->c->client), client_next(w->c->client), &interrupts.fd, &stopped,
                  1);
        if (stopped)
            give_up(w, &interrupts);
    }
    if (w->many && w->c->json)
        printf("]\n");
    w->c->on_finished = NULL;
    w->c->on_flow = NULL;
    interrupts_release(&interrupts);
    return w->status;
}
