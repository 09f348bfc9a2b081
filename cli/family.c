#include "cli/family.h"

#include "cli/out.h"
#include "common/base/id.h"
#include "common/base/mem.h"
#include "schemas/states.h"

#include <inttypes.h>
#include <stdlib.h>

#define PAGE_MAX 1024

/* States in the order in which they are looked for and shown. */
static const char *const order[] = {"dead",  "expired",   "running", "cancelling", "cancelled",
                                    "ready", "scheduled", "blocked", "done"};
#define ORDER_N (sizeof order / sizeof *order)

static size_t place_of(const char *state) {
    size_t i = 0;
    while (i < ORDER_N && strcmp(order[i], state) != 0)
        i++;
    return i;
}

static uint64_t failed_below(const json_t *job) {
    return out_field(job, "below_dead") + out_field(job, "below_cancelled") +
           out_field(job, "below_expired");
}

/* A child that is done stands where the worst of what is below it would. */
static size_t rank_of(const json_t *job) {
    size_t own = place_of(out_text(job, "state"));
    size_t failed = place_of("expired"), runs = place_of("running");
    if (own > failed && failed_below(job))
        return failed;
    return own > runs && out_field(job, "below") && !out_flag(job, "settled") ? runs : own;
}

/* ---- choosing ------------------------------------------------------------------------------- */
struct ranked {
    json_t *job;
    size_t rank;
};

static int by_rank(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return strcmp(out_text(x->job, "id"), out_text(y->job, "id"));
}

static void count_left(json_t *more, const json_t *job) {
    const char *state = out_text(job, "state");
    json_object_set_new(more, "count", json_integer((json_int_t)out_field(more, "count") + 1));
    json_object_set_new(more, state, json_integer((json_int_t)out_field(more, state) + 1));
}

void family_choose(json_t *parent, json_t *children) {
    size_t n = json_array_size(children);
    struct ranked *rows = mem_alloc((n + 1) * sizeof *rows);
    json_t *shown = json_array(), *more = json_object(), *then = NULL;
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        json_t *job = json_array_get(children, i);
        if (out_flag(job, "then") && !then)
            then = job;
        else
            rows[k++] = (struct ranked){job, rank_of(job)};
    }
    qsort(rows, k, sizeof *rows, by_rank);
    for (size_t i = 0; i < k; i++) {
        if (i < FAMILY_LEVEL_MAX)
            json_array_append(shown, rows[i].job);
        else
            count_left(more, rows[i].job);
    }
    if (then)
        json_array_append(shown, then);
    json_object_set_new(parent, "children", shown);
    if (json_object_size(more))
        json_object_set(parent, "more", more);
    json_decref(more);
    mem_free(rows);
}

/* ---- asking --------------------------------------------------------------------------------- */
struct asked {
    struct cli *c;
    uint64_t parent;
    json_t *children;
};

/* Children in a state, or in any (0), until there are `limit` of all. */
static int ask_state(struct asked *a, uint64_t state, size_t limit, struct err *e) {
    uint64_t next = 0;
    do {
        struct msg_list_jobs m = {0};
        size_t left = limit - json_array_size(a->children);
        MSG_SET(&m, list_jobs, parent, a->parent);
        MSG_SET(&m, list_jobs, limit, left < PAGE_MAX ? left : PAGE_MAX);
        if (state)
            MSG_SET(&m, list_jobs, state, state);
        if (next)
            MSG_SET(&m, list_jobs, before, next);
        json_auto_t *items = NULL;
        if (cli_ask(a->c, VERB_list_jobs, &m, false, &items, e) < 0)
            return -1;
        next = 0;
        for (size_t i = 0; i < json_array_size(items); i++) {
            json_t *item = json_array_get(items, i);
            json_object_del(item, "code");
            if (out_text(item, "id")[0])
                json_array_append(a->children, item);
            else
                id_parse(str_of(out_text(item, "next")), &next);
        }
    } while (next && json_array_size(a->children) < limit);
    return 0;
}

static uint64_t state_named(const char *name) {
    for (uint64_t state = 1; state < JOB_STATES; state++)
        if (strcmp(job_state_name(state), name) == 0)
            return state;
    return 0;
}

/* Too many to look at each: those that matter most, by state. */
static int ask_some(struct asked *a, struct err *e) {
    for (size_t i = 0; i < ORDER_N && json_array_size(a->children) < FAMILY_LEVEL_MAX; i++)
        if (ask_state(a, state_named(order[i]), FAMILY_LEVEL_MAX, e) < 0)
            return -1;
    return 0;
}

static void set_more(json_t *job, const char *key, uint64_t n) {
    json_t *more = json_object_get(job, "more");
    if (!more) {
        json_object_set_new(job, "more", json_object());
        more = json_object_get(job, "more");
    }
    json_object_set_new(more, key, json_integer((json_int_t)n));
}

static uint64_t without_then(const json_t *children) {
    uint64_t n = 0;
    for (size_t i = 0; i < json_array_size(children); i++)
        n += !out_flag(json_array_get(children, i), "then");
    return n;
}

/* A list does not have why a job ended as it did. One that is past retention meanwhile has ended.
 */
static int ask_errors(struct cli *c, const json_t *children, struct err *e) {
    for (size_t i = 0; i < json_array_size(children); i++) {
        json_t *child = json_array_get(children, i);
        size_t place = place_of(out_text(child, "state"));
        json_auto_t *items = NULL;
        struct msg_get_job m = {0};
        struct err why = {0};
        id_parse(str_of(out_text(child, "id")), &m.id);
        MSG_SET(&m, get_job, id, m.id);
        if (place != place_of("dead") && place != place_of("cancelled"))
            continue;
        if (cli_ask(c, VERB_get_job, &m, false, &items, &why) < 0) {
            if (why.code == ERR_NOT_FOUND)
                continue;
            *e = why;
            return -1;
        }
        const json_t *job = json_array_get(items, 0);
        if (json_object_get(job, "error")) {
            json_object_set(child, "error", json_object_get(job, "error"));
            json_object_set(child, "text", json_object_get(job, "text"));
        }
    }
    return 0;
}

static int ask_children(struct cli *c, json_t *job, struct err *e) {
    struct asked a = {.c = c, .children = json_array()};
    uint64_t spawned = out_field(job, "spawned");
    bool all = spawned <= FAMILY_READ_MAX;
    id_parse(str_of(out_text(job, "id")), &a.parent);
    int rc = all ? ask_state(&a, 0, FAMILY_READ_MAX + 1, e) : ask_some(&a, e);
    if (rc == 0) {
        uint64_t listed = without_then(a.children);
        family_choose(job, a.children);
        if (listed < spawned)
            set_more(job, all ? "gone" : "count", spawned - listed);
        rc = ask_errors(c, json_object_get(job, "children"), e);
    }
    json_decref(a.children);
    return rc;
}

/* Level by level, so that none takes the room of those above it. */
static int ask_below(struct cli *c, json_t *top, struct err *e) {
    json_auto_t *queue = json_array();
    size_t rows = 0;
    json_array_append(queue, top);
    for (size_t i = 0; i < json_array_size(queue) && rows < FAMILY_ROWS_MAX; i++) {
        json_t *job = json_array_get(queue, i);
        if (!out_field(job, "below"))
            continue;
        if (ask_children(c, job, e) < 0)
            return -1;
        const json_t *children = json_object_get(job, "children");
        rows += json_array_size(children);
        for (size_t n = 0; n < json_array_size(children); n++)
            json_array_append(queue, json_array_get(children, n));
    }
    return 0;
}

int family_ask(struct cli *c, uint64_t id, bool payload, json_t **job, struct err *e) {
    json_auto_t *items = NULL;
    struct msg_get_job m = {0};
    MSG_SET(&m, get_job, id, id);
    if (payload)
        MSG_SET(&m, get_job, payload, true);
    if (cli_ask(c, VERB_get_job, &m, payload, &items, e) < 0)
        return -1;
    json_t *top = json_array_get(items, 0);
    if (ask_below(c, top, e) < 0)
        return -1;
    *job = json_incref(top);
    return 0;
}

/* ---- as text -------------------------------------------------------------------------------- */
#define INDENT_MAX 256
#define ERROR_MAX  100

static void put_job_error(struct buf *out, const json_t *job) {
    const char *text = out_text(job, "text");
    if (!json_object_get(job, "error"))
        return;
    size_t len = strlen(text), cut = len < ERROR_MAX ? len : ERROR_MAX;
    while (cut < len && cut && ((unsigned char)text[cut] & 0xc0) == 0x80)
        cut--; /* whole characters */
    buf_put_str(out, STR(", "));
    out_clean(out, str_of(out_text(job, "error")));
    buf_put_str(out, len ? STR(": ") : STR(""));
    out_clean(out, str_make(text, cut));
    buf_put_str(out, cut < len ? STR(" ...") : STR(""));
}

static void put_below(struct buf *out, const json_t *job) {
    uint64_t below = out_field(job, "below"), failed = failed_below(job);
    if (!below)
        return;
    buf_printf(out, "; %" PRIu64 " of %" PRIu64 " below it have ended",
               out_field(job, "below_done") + failed, below);
    if (failed)
        buf_printf(out, ", %" PRIu64 " failed", failed);
}

static void put_job(struct buf *out, const json_t *job) {
    uint64_t done = out_field(job, "progress"), total = out_field(job, "progress_total");
    uint64_t failed = out_field(job, "attempts");
    buf_printf(out, "%s %s ", out_text(job, "id"), out_text(job, "state"));
    out_clean(out, str_of(out_text(job, "kind")));
    buf_put_str(out, out_flag(job, "then") ? STR(" (then)") : STR(""));
    if (total)
        buf_printf(out, ", %" PRIu64 " of %" PRIu64, done, total);
    else if (done)
        buf_printf(out, ", %" PRIu64, done);
    if (failed)
        buf_printf(out, ", failed %" PRIu64 " time%s", failed, failed > 1 ? "s" : "");
    put_job_error(out, job);
    put_below(out, job);
    buf_putc(out, '\n');
}

/* "... and 980 more: 975 done, 5 ready; 3 are past retention" */
static void put_more(struct buf *out, const json_t *more) {
    uint64_t count = out_field(more, "count"), gone = out_field(more, "gone");
    const char *comma = ": ";
    if (count)
        buf_printf(out, "... and %" PRIu64 " more", count);
    for (size_t i = 0; i < ORDER_N; i++) {
        if (!out_field(more, order[i]))
            continue;
        buf_printf(out, "%s%" PRIu64 " %s", comma, out_field(more, order[i]), order[i]);
        comma = ", ";
    }
    if (gone)
        buf_printf(out, "%s%" PRIu64 " past retention", count ? "; " : "... ", gone);
    buf_putc(out, '\n');
}

static void put_level(struct buf *out, const json_t *job, struct buf *indent);

/* One line under the branches that lead to it, and what is below it. */
/* NOLINTNEXTLINE(misc-no-recursion): a flow is at most 16 deep */
static void put_branch(struct buf *out, const json_t *child, bool last, struct buf *indent) {
    size_t before = indent->len;
    buf_put_str(out, buf_str(indent));
    buf_put_str(out, last ? STR("└─ ") : STR("├─ "));
    put_job(out, child);
    buf_put_str(indent, last ? STR("   ") : STR("│  "));
    put_level(out, child, indent);
    indent->len = before;
}

/* NOLINTNEXTLINE(misc-no-recursion): a flow is at most 16 deep */
static void put_level(struct buf *out, const json_t *job, struct buf *indent) {
    const json_t *children = json_object_get(job, "children"), *more = json_object_get(job, "more");
    size_t n = json_array_size(children);
    bool then = n && out_flag(json_array_get(children, n - 1), "then");
    for (size_t i = 0; i < n; i++) {
        if (more && then && i + 1 == n) {
            buf_put_str(out, buf_str(indent));
            buf_put_str(out, STR("├─ "));
            put_more(out, more);
        }
        put_branch(out, json_array_get(children, i), i + 1 == n && (then || !more), indent);
    }
    if (!more || then)
        return;
    buf_put_str(out, buf_str(indent));
    buf_put_str(out, STR("└─ "));
    put_more(out, more);
}

void family_put(struct buf *out, const json_t *job) {
    AUTO_BUF indent = BUF(INDENT_MAX);
    buf_put_str(&indent, STR("  "));
    put_level(out, job, &indent);
}
