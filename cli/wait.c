#include "cli/wait.h"

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
        client_finished_done(&w->window[i]);
    mem_free(w->window);
    mem_free(w->ids);
    mem_free(w->refused);
}

/* ---- what is printed ------------------------------------------------------------------------ */
static json_t *result_of(const struct client_finished *f, struct err *e) {
    return f->result.len ? json_bridge_of_value(buf_str(&f->result), e) : json_object();
}

json_t *finished_json(const struct client_finished *f, struct err *e) {
    struct msg_finished m = {0};
    MSG_SET(&m, finished, id, f->id);
    if (f->state)
        MSG_SET(&m, finished, state, f->state);
    MSG_SET(&m, finished, attempts, f->attempts);
    if (f->err.code) {
        MSG_SET(&m, finished, error, (uint64_t)f->err.code);
        MSG_SET(&m, finished, text, str_of(f->err.text));
    }
    json_t *json = json_bridge_of_message(msg_def(MSG_finished), &m, e);
    json_t *result = f->result.len ? result_of(f, e) : NULL;
    if (json && result)
        json_object_set_new(json, "result", result);
    return json;
}

static void print_result(struct waits *w, const struct client_finished *f) {
    struct err e = {0};
    bool bare = !w->c->json;
    if (bare && f->err.code && !f->result.len) {
        if (w->many)
            printf("null\n");
        return;
    }
    json_auto_t *json = bare ? result_of(f, &e) : finished_json(f, &e);
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

static void print_end(struct waits *w, const struct client_finished *f) {
    print_result(w, f);
    if (!f->err.code)
        return;
    if (!w->status)
        w->status = f->state ? 1 : err_code_exit(f->err.code);
    cli_say("job %s: %s: %s", id_show(f->id).at,
            f->state ? job_state_name(f->state) : err_code_name(f->err.code), f->err.text);
}

/* ---- waiting -------------------------------------------------------------------------------- */
static void on_finished(void *watching, const struct client_finished *f) {
    struct waits *w = watching;
    for (size_t i = w->printed; i < w->watched; i++) {
        struct client_finished *slot = &w->window[i % WINDOW];
        if (w->ids[i] != f->id || slot->id)
            continue;
        slot->id = f->id;
        slot->state = f->state;
        slot->attempts = f->attempts;
        slot->err = f->err;
        if (f->result.len)
            buf_put(&slot->result, f->result.at, f->result.len);
    }
}

static void watch_more(struct waits *w) {
    while (w->watched < w->n && w->watched < w->printed + WINDOW) {
        size_t i = w->watched;
        struct err e = {0};
        w->window[i % WINDOW] = CLIENT_FINISHED;
        if (w->ids[i] && client_watch(w->c->client, w->ids[i], &e) < 0) {
            if (e.code == ERR_BUSY)
                return;
            w->watched++;
            on_finished(w, &(struct client_finished){.id = w->ids[i], .err = e});
            continue;
        }
        w->watched++;
    }
}

static void print_ready(struct waits *w) {
    while (w->printed < w->watched) {
        struct client_finished *slot = &w->window[w->printed % WINDOW];
        if (w->ids[w->printed] && !slot->id)
            return;
        if (slot->id)
            print_end(w, slot);
        else if (w->many)
            print_refused(w, w->refused[w->printed]);
        client_finished_done(slot);
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
        bool stopped = false;
        link_wait(client_link(w->c->client), client_next(w->c->client), &interrupts.fd, &stopped,
                  1);
        if (stopped)
            give_up(w, &interrupts);
    }
    if (w->many && w->c->json)
        printf("]\n");
    w->c->on_finished = NULL;
    interrupts_release(&interrupts);
    return w->status;
}
