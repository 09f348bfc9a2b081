/* quern job --watch. */
#include "cli/family.h"
#include "cli/flow.h"
#include "cli/job_text.h"
#include "cli/out.h"
#include "cli/wait.h"
#include "common/base/id.h"
#include "common/os/clock.h"
#include "schemas/states.h"

#include <unistd.h>

#define REDRAW_MS 1000 /* also without news: what runs may have made progress */

struct flow_view {
    struct cli *c;
    struct client_flow flow; /* as it was told last */
    bool news;
    struct mono drawn;
};

static void on_flow(void *watching, const struct client_flow *f) {
    struct flow_view *v = watching;
    v->flow = *f;
    v->news = true;
}

/* ---- on a terminal -------------------------------------------------------------------------- */
static void draw_lines(struct str text) {
    struct out_size size = out_terminal(STDOUT_FILENO);
    for (size_t row = 1; text.len && row < size.rows; row++) {
        const char *end = memchr(text.at, '\n', text.len);
        size_t len = end ? (size_t)(end - text.at) : text.len;
        size_t shown = out_cut(str_make(text.at, len), size.columns);
        bool rest = end && row + 1 == size.rows && len + 1 < text.len;
        printf("%.*s\033[K\n", rest ? 3 : (int)shown, rest ? "..." : text.at);
        text = str_make(text.at + len + (end != NULL), text.len - len - (end != NULL));
    }
    printf("\033[J");
}

static int draw(struct flow_view *v, bool last, struct err *e) {
    json_auto_t *job = NULL;
    AUTO_BUF text = BUF(JOB_TEXT_MAX);
    bool first = v->drawn.ms == MONO_PAST.ms;
    v->drawn = clock_mono();
    if (!client_is_up(v->c->client))
        return 0;
    if (family_ask(v->c, v->flow.id, false, &job, e) < 0)
        return e->code == ERR_NOT_FOUND ? -1 : 0; /* else the broker went meanwhile */
    job_put(&text, job);
    printf("\033[H%s", first || last ? "\033[J" : "");
    if (last)
        fwrite(text.at, 1, text.len, stdout);
    else
        draw_lines(buf_str(&text));
    return 0;
}

/* ---- elsewhere ------------------------------------------------------------------------------ */
static int print_change(struct flow_view *v, struct err *e) {
    if (v->c->json) {
        json_auto_t *json = flow_json(&v->flow, e);
        if (!json)
            return -1;
        v->c->told = true;
        out_json_part(json);
        putchar('\n');
        return 0;
    }
    AUTO_BUF text = BUF(512);
    flow_put(&text, &v->flow);
    printf("job %s: %s, " STR_FMT "\n", id_show(v->flow.id).at, job_state_name(v->flow.state),
           STR_ARG(buf_str(&text)));
    return 0;
}

/* ---- the whole ------------------------------------------------------------------------------ */
static int show(struct flow_view *v, bool last, struct err *e) {
    bool draws = v->c->terminal && !v->c->json;
    bool due = mono_reached(clock_mono(), mono_add(v->drawn, REDRAW_MS));
    bool news = v->news;
    int rc = 0;
    v->news = false; /* more may come while it is drawn */
    if (draws && (news || due))
        rc = draw(v, last, e);
    else if (!draws && news)
        rc = print_change(v, e);
    fflush(stdout);
    return rc;
}

static int run(struct flow_view *v, struct interrupts *interrupts, struct err *e) {
    for (;;) {
        while (client_poll(v->c->client, MONO_PAST))
            continue;
        if (v->flow.err.code) {
            *e = v->flow.err;
            return -1;
        }
        bool last = v->flow.settled;
        if (show(v, last, e) < 0)
            return -1;
        if (last)
            return 0;
        if (v->news)
            continue;
        cli_tell_link(v->c);
        bool stopped = false, draws = v->c->terminal && !v->c->json;
        struct mono next = client_next(v->c->client);
        struct mono redraw = draws ? mono_add(v->drawn, REDRAW_MS) : MONO_NEVER;
        link_wait(client_link(v->c->client), redraw.ms < next.ms ? redraw : next, &interrupts->fd,
                  &stopped, 1);
        if (stopped)
            interrupts_obey(interrupts, v->c);
    }
}

int flow_watch(struct cli *c, uint64_t id) {
    struct interrupts interrupts;
    struct flow_view v = {.c = c, .flow.id = id, .drawn = MONO_PAST};
    struct err e = {0};
    interrupts_catch(&interrupts);
    c->watching = &v;
    c->on_flow = on_flow;
    int rc = client_watch_flow(c->client, id, &e) < 0 ? -1 : run(&v, &interrupts, &e);
    c->on_flow = NULL;
    interrupts_release(&interrupts);
    if (rc < 0)
        return cli_fail(c, &e);
    return v.flow.state == JOB_done && !flow_has_failed(&v.flow) ? 0 : 1;
}
