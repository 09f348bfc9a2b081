/* quern top: what happens now, drawn anew again and again. */
#include "cli/top_ask.h"
#include "cli/top_detail.h"
#include "cli/top_screen.h"
#include "cli/width.h"
#include "common/base/mem.h"
#include "common/os/clock.h"

#include <locale.h>
#include <string.h>
#include <unistd.h>

#define INTERVAL_MS   1000
#define SILENT_MS     3000 /* no answer for so long is told */
#define DETAIL_MS     3000 /* for an answer that somebody waits for */
#define PIPED_COLUMNS 200  /* of lines that no terminal shows */
#define DETAIL_TITLE  300

enum overlay { OVERLAY_NONE, OVERLAY_HELP, OVERLAY_DETAIL };

struct top {
    struct cli *c;
    struct top_model model;
    struct top_asks asks;
    struct top_screen screen;
    struct top_page page;
    struct top_ui ui;
    json_t *view; /* NULL until the first answers */
    bool asking, dirty;
    struct mono begun; /* the last round */
    struct mono lost;  /* since when the link is down; MONO_NEVER: it is up */
    enum overlay overlay;
    struct buf title, detail;
    size_t detail_first;
};

static const char help_text[] =
    "A line with ! is wrong, one with * may be; the worst stand first.\n"
    "\n"
    "q          leave, or back\n"
    "Tab        the next pane; Shift-Tab the one before it\n"
    "arrows     up and down in it; so do j and k, PgUp, PgDn, Home, End\n"
    "Enter      open: a queue with its oldest jobs and why they wait, a job, a worker\n"
    "s          sort queues by trouble, ready, oldest, rate or name\n"
    "p          stop the picture; again: go on\n"
    "Ctrl-L     draw anew\n"
    "\n"
    "Rates are those of the last seconds, - is not known yet.\n"
    "queues     OLDEST is how long the oldest ready job has waited\n"
    "           stands still: jobs are ready and none runs; behind: some run, but too few;\n"
    "           at its limit: they wait as a limit of the queue says so\n"
    "pools      PROC is processes that are there / wanted, BUSY jobs / slots\n"
    "running    the longest first; DONE is what the job says of its progress\n"
    "dead       by what jobs died of, the last first; Enter opens the last one of a group\n"
    "\n"
    "What to do about it: quern why JOB, quern dead, quern doctor; docs/operations.md.\n";

/* ---- asking --------------------------------------------------------------------------------- */
static void begin(struct top *t) {
    struct err e = {0};
    t->begun = clock_mono();
    t->asking = true;
    if (top_asks_begin(&t->asks, &e) < 0) {
        t->asks.failed = true;
        t->asks.err = e;
    }
}

static const char *id_of(const json_t *row) {
    static const char *const keys[] = {"id", "instance", "name"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (out_text(row, keys[i])[0])
            return out_text(row, keys[i]);
    return "";
}

/* The cursor stays with its row where the order changes, but for the first one: that is where the
 * worst stands. */
static void follow_row(struct top_ui *ui, enum top_part part, const json_t *old,
                       const json_t *new) {
    const char *name = top_part_names[part];
    const json_t *was = json_object_get(old, name), *is = json_object_get(new, name);
    const json_t *row = ui->row[part] ? json_array_get(was, ui->row[part]) : NULL;
    for (size_t i = 0; row && i < json_array_size(is); i++)
        if (strcmp(id_of(json_array_get(is, i)), id_of(row)) == 0) {
            ui->row[part] = i;
            return;
        }
}

static void look(struct top *t) {
    json_t *view = top_view(&t->model, t->ui.sort, clock_wall());
    for (enum top_part part = TOP_QUEUES; part < TOP_PARTS; part++)
        follow_row(&t->ui, part, t->view, view);
    json_decref(t->view);
    t->view = view;
    t->dirty = true;
}

/* What has come, and what is due. */
static void step(struct top *t) {
    while (client_poll(t->c->client, MONO_PAST))
        continue;
    bool up = client_is_up(t->c->client);
    t->lost = up ? MONO_NEVER : t->lost.ms == MONO_NEVER.ms ? clock_mono() : t->lost;
    if (t->asking && top_asks_over(&t->asks)) {
        struct err e = {0};
        t->asking = false;
        if (top_asks_take(&t->asks, &t->model, &e) == 0)
            look(t);
    }
    struct mono due = mono_add(t->begun, t->ui.interval_ms);
    if (!t->asking && top_asks_over(&t->asks) && !t->ui.paused && mono_reached(clock_mono(), due))
        begin(t);
}

/* ---- drawing -------------------------------------------------------------------------------- */
/* For how long nobody has answered. */
static uint64_t lost_for(const struct top *t) {
    struct mono now = clock_mono();
    if (t->lost.ms != MONO_NEVER.ms)
        return mono_until(t->lost, now) + 1;
    bool silent = t->asking && mono_reached(now, mono_add(t->begun, SILENT_MS));
    return silent ? mono_until(t->begun, now) : 0;
}

static void draw(struct top *t) {
    t->ui.size = top_screen_size();
    t->ui.lost_ms = lost_for(t);
    if (t->overlay == OVERLAY_HELP)
        top_page_text(&t->page, "quern top: help", str_of(help_text), &t->detail_first, &t->ui);
    else if (t->overlay == OVERLAY_DETAIL)
        top_page_text(&t->page, t->title.at, buf_str(&t->detail), &t->detail_first, &t->ui);
    else
        top_page_make(&t->page, t->view, &t->ui);
    top_screen_draw(&t->screen, &t->page);
    t->dirty = false;
}

/* ---- keys ----------------------------------------------------------------------------------- */
static void open_row(struct top *t) {
    struct err e = {0};
    enum top_part part = t->ui.focus;
    const json_t *rows = json_object_get(t->view, top_part_names[part]);
    const json_t *row = json_array_get(rows, t->ui.row[part]);
    if (!row)
        return;
    buf_clear(&t->title);
    buf_clear(&t->detail);
    if (!client_is_up(t->c->client))
        err_set(&e, ERR_UNREACHABLE_BROKER, "the broker cannot be reached");
    if (e.code || top_detail(t->c, part, row, &t->title, &t->detail, &e) < 0)
        buf_printf(&t->detail, "%s\n", e.text[0] ? e.text : err_code_text(e.code));
    buf_putc(&t->title, '\0');
    t->overlay = OVERLAY_DETAIL;
    t->detail_first = 0;
}

static size_t moved(size_t at, enum top_key key, size_t page) {
    switch (key) {
    case TOP_KEY_UP:
        return at ? at - 1 : 0;
    case TOP_KEY_DOWN:
        return at + 1;
    case TOP_KEY_PAGE_UP:
        return at > page ? at - page : 0;
    case TOP_KEY_PAGE_DOWN:
        return at + page;
    case TOP_KEY_HOME:
        return 0;
    case TOP_KEY_END:
        return SIZE_MAX / 2;
    default:
        return at;
    }
}

static void turn_pane(struct top_ui *ui, const json_t *view, bool back) {
    for (size_t i = 0; i < TOP_PARTS; i++) {
        size_t step = back ? TOP_PARTS - 1 : 1;
        ui->focus = (enum top_part)((ui->focus + step) % TOP_PARTS);
        if (ui->focus == TOP_QUEUES || (ui->focus != TOP_BROKER && top_rows(view, ui->focus)))
            return;
    }
}

static void on_page_key(struct top *t, enum top_key key) {
    struct top_ui *ui = &t->ui;
    if (key == TOP_KEY_NEXT || key == TOP_KEY_PREVIOUS)
        turn_pane(ui, t->view, key == TOP_KEY_PREVIOUS);
    else if (key == TOP_KEY_SORT)
        ui->sort = (ui->sort + 1) % TOP_SORTS;
    else if (key == TOP_KEY_PAUSE)
        ui->paused = !ui->paused;
    else if (key == TOP_KEY_OPEN)
        open_row(t);
    else
        ui->row[ui->focus] = moved(ui->row[ui->focus], key, ui->size.rows / 2 + 1);
    if (key == TOP_KEY_SORT)
        look(t);
}

/* False: the operator leaves. */
static bool on_key(struct top *t, enum top_key key) {
    bool back = key == TOP_KEY_QUIT || key == TOP_KEY_BACK;
    t->dirty = true;
    if (key == TOP_KEY_REDRAW)
        top_screen_renew(&t->screen);
    else if (t->overlay && (back || key == TOP_KEY_HELP || key == TOP_KEY_OPEN))
        t->overlay = OVERLAY_NONE;
    else if (t->overlay)
        t->detail_first = moved(t->detail_first, key, t->ui.size.rows / 2 + 1);
    else if (key == TOP_KEY_QUIT)
        return false;
    else if (key == TOP_KEY_HELP)
        t->overlay = OVERLAY_HELP;
    else
        on_page_key(t, key);
    if (key == TOP_KEY_HELP)
        t->detail_first = 0;
    return true;
}

static bool hear_keys(struct top *t) {
    enum top_key key;
    bool any = false;
    while ((key = top_screen_key(&t->screen)) != TOP_KEY_NONE) {
        any = true;
        if (!on_key(t, key))
            return false;
        if (t->dirty)
            draw(t); /* what the next one moves is what is seen */
    }
    return any || top_screen_lives();
}

/* ---- the loop ------------------------------------------------------------------------------- */
/* While nobody answers the time that it takes is told every second. */
static struct mono wake_at(const struct top *t) {
    struct mono next = client_next(t->c->client), due = mono_add(t->begun, t->ui.interval_ms);
    if (t->ui.paused && !t->asking)
        due = MONO_NEVER;
    if (t->asking || t->lost.ms != MONO_NEVER.ms)
        due = mono_add(clock_mono(), INTERVAL_MS);
    return due.ms < next.ms ? due : next;
}

/* 0: the operator left; a signal that ends this program; or -1. */
static int run(struct top *t, struct err *e) {
    enum { KEYS, SIGNALS, FDS };
    const int fds[FDS] = {[KEYS] = STDIN_FILENO, [SIGNALS] = t->screen.signals};
    for (;;) {
        step(t);
        if (client_refused(t->c->client)) {
            *e = *client_refused(t->c->client);
            return -1;
        }
        if (t->view && (t->dirty || lost_for(t) || t->ui.lost_ms))
            draw(t);
        bool ready[FDS] = {false};
        link_wait(client_link(t->c->client), wake_at(t), fds, ready, FDS);
        if (ready[SIGNALS]) {
            int number = top_screen_signal(&t->screen);
            if (number)
                return number;
            t->dirty = true;
        }
        if (ready[KEYS] && !hear_keys(t))
            return 0;
    }
}

/* As whoever called us expects of a program that was interrupted. */
static int end_by(struct top *t, int number) {
    client_destroy(&t->c->client);
    signal(number, SIG_DFL);
    raise(number);
    return 1;
}

/* The first answers come before the screen is taken: what fails then is said as ever. */
static int first_round(struct top *t, struct err *e) {
    struct mono until = cli_deadline(TOP_ANSWER_MS);
    begin(t);
    while (!top_asks_over(&t->asks) && !mono_reached(clock_mono(), until))
        client_poll(t->c->client, until);
    t->asking = false;
    return top_asks_take(&t->asks, &t->model, e);
}

static int on_screen(struct top *t) {
    struct err e = {0};
    if (top_screen_open(&t->screen, t->c->colour, &e) < 0)
        return cli_fail(t->c, &e);
    t->c->answer_ms = DETAIL_MS;
    look(t);
    int rc = run(t, &e);
    top_screen_close(&t->screen);
    if (rc < 0)
        return cli_fail(t->c, &e);
    return rc ? end_by(t, rc) : 0;
}

/* ---- once ----------------------------------------------------------------------------------- */
static void print_page(struct top *t) {
    t->ui.cursor = false;
    t->ui.interval_ms = 0;
    t->ui.size.columns = t->c->terminal ? top_screen_size().columns : PIPED_COLUMNS;
    t->ui.size.rows = TOP_ROWS_ALL;
    top_page_make(&t->page, t->view, &t->ui);
    for (size_t i = 0; i < t->page.n; i++) {
        struct str line = top_page_line(&t->page, i);
        printf(STR_FMT "\n", STR_ARG(line));
    }
}

/* Rates lie between two answers. */
static int once(struct top *t) {
    struct err e = {0};
    struct mono until = mono_add(t->begun, t->ui.interval_ms);
    while (!mono_reached(clock_mono(), until))
        client_poll(t->c->client, until);
    if (first_round(t, &e) < 0)
        return cli_fail(t->c, &e);
    look(t);
    if (t->c->json)
        cli_json(t->c, t->view);
    else
        print_page(t);
    return 0;
}

/* ---- the command ---------------------------------------------------------------------------- */
static int check(const struct cli *c, const struct args_top *args, struct err *e) {
    if (c->json && !args->once)
        return err_set(e, ERR_USAGE, "top: --json stands with --once");
    return args->once ? 0 : top_screen_check(e);
}

static void done(struct top *t) {
    top_asks_done(&t->asks);
    top_done(&t->model);
    top_page_done(&t->page);
    json_decref(t->view);
    buf_destroy(&t->title);
    buf_destroy(&t->detail);
}

int run_top(struct cli *c, const struct args_top *args) {
    struct err e = {0};
    if (check(c, args, &e) < 0 || cli_connect(c, &e) < 0)
        return cli_fail(c, &e);
    setlocale(LC_CTYPE, "");
    struct top t = {.c = c,
                    .page = TOP_PAGE,
                    .title = BUF(DETAIL_TITLE),
                    .detail = BUF(TOP_DETAIL_MAX),
                    .lost = MONO_NEVER};
    t.ui = (struct top_ui){.focus = TOP_QUEUES,
                           .cursor = true,
                           .interval_ms = args->interval ? args->interval : INTERVAL_MS,
                           .utf8 = width_is_utf8()};
    top_asks_init(&t.asks, c);
    int status;
    if (first_round(&t, &e) < 0)
        status = cli_fail(c, &e);
    else
        status = args->once ? once(&t) : on_screen(&t);
    client_destroy(&c->client); /* before what its requests would call back */
    done(&t);
    return status;
}
