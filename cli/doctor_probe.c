/* quern doctor: a job through each pool.
 *
 * A job is sent to a kind, not to a pool. That a pool ran one shows in its workers' count of ended
 * attempts, if all counts together rose by as many as we sent; else others' jobs ended meanwhile,
 * and only that is said. Where another pool took it, as many jobs as there are workers go out at
 * once, which the broker spreads. What does not come back is asked about, and cancelled: it must
 * not be counted for the next pool. */
#include "cli/doctor.h"
#include "cli/out.h"
#include "common/os/clock.h"

#define PROBE_MS     5000
#define WHY_MS       50  /* then the scheduler is asked what holds it back */
#define ASK_AGAIN_MS 200 /* and again */
#define CANCEL_MS    1000
#define JOBS_MAX     64

/* Harmless ones that Quern's own worker brings; `sleep` lasts long enough for all to get one. */
static const char *const kinds[] = {"echo", "sleep"};
#define SLEEP_100_MS STR("\x81\xa2ms\x64")

/* ---- what the workers' rows say ------------------------------------------------------------- */
static bool runs(const json_t *worker, const char *kind) {
    const json_t *names = json_object_get(worker, "kinds");
    for (size_t i = 0; i < json_array_size(names); i++)
        if (strcmp(json_string_value(json_array_get(names, i)), kind) == 0)
            return true;
    return false;
}

static bool is_of(const json_t *worker, const char *pool) {
    return strcmp(out_text(worker, "pool"), pool) == 0;
}

/* Workers that run it, of one pool or (NULL) of all. */
static uint64_t count(const json_t *workers, const char *pool, const char *kind) {
    uint64_t n = 0;
    for (size_t i = 0; i < json_array_size(workers); i++) {
        const json_t *w = json_array_get(workers, i);
        n += (!pool || is_of(w, pool)) && (!kind || runs(w, kind));
    }
    return n;
}

static const char *kind_of(const json_t *workers, const char *pool) {
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        if (count(workers, pool, kinds[k]))
            return kinds[k];
    return NULL;
}

/* Attempts that ended between two lists, of one pool or (NULL) of all. */
static uint64_t ended_between(const json_t *before, const json_t *after, const char *pool) {
    uint64_t n = 0;
    for (size_t i = 0; i < json_array_size(after); i++) {
        const json_t *w = json_array_get(after, i);
        uint64_t done = 0;
        for (size_t k = 0; k < json_array_size(before); k++) {
            const json_t *b = json_array_get(before, k);
            if (strcmp(out_text(b, "instance"), out_text(w, "instance")) == 0)
                done = out_field(b, "done");
        }
        if (!pool || is_of(w, pool))
            n += out_field(w, "done") - done;
    }
    return n;
}

/* ---- jobs ----------------------------------------------------------------------------------- */
struct probe {
    struct doctor *d;
    const char *pool, *kind;
    size_t n;
    struct client_submitted jobs[JOBS_MAX];
    uint64_t ended[JOBS_MAX];
    size_t n_ended;
    struct err err; /* of the first that failed */
};

/* Of an earlier probe's job that was given up nothing is to be heard any more. */
static void on_finished(void *watching, const struct client_finished *f) {
    struct probe *p = watching;
    if (p->n_ended == JOBS_MAX)
        return;
    p->ended[p->n_ended++] = f->id;
    if (!p->err.code)
        p->err = f->err;
}

static bool has_ended(const struct probe *p, uint64_t id) {
    for (size_t i = 0; i < p->n_ended; i++)
        if (p->ended[i] == id)
            return true;
    return false;
}

/* The first that was accepted and has not come back; 0 if all have. */
static uint64_t missing(const struct probe *p) {
    for (size_t i = 0; i < p->n; i++)
        if (p->jobs[i].id && !has_ended(p, p->jobs[i].id))
            return p->jobs[i].id;
    return 0;
}

static void await(struct probe *p, struct mono until) {
    while (missing(p) && !mono_reached(clock_mono(), until))
        client_poll(p->d->c->client, until);
}

static int send_jobs(struct probe *p, struct mono until) {
    struct client_item items[JOBS_MAX];
    struct msg_submit m = {0};
    struct err e;
    MSG_SET(&m, submit, kind, str_of(p->kind));
    MSG_SET(&m, submit, durability, DURABLE_NONE);
    MSG_SET(&m, submit, ttl_ms, PROBE_MS + CANCEL_MS);
    MSG_SET(&m, submit, priority, 9);
    MSG_SET(&m, submit, watch, true);
    for (size_t i = 0; i < p->n; i++)
        items[i] = CLIENT_ITEM(&m, strcmp(p->kind, "sleep") == 0 ? SLEEP_100_MS : STR(""));
    if (client_submit(p->d->c->client, items, p->n, p->jobs, until, &e) == 0)
        return 0;
    p->err = e;
    return -1;
}

/* ---- those that do not come back ------------------------------------------------------------ */
/* What holds a job back; true if that will not pass by itself. */
static bool ask_why(const struct probe *p, uint64_t id, struct buf *why) {
    static const char *const lasting[] = {"paused", "read_only", "no_worker"};
    struct msg_get_job m = {0};
    struct err e = {0};
    json_auto_t *rows = NULL;
    MSG_SET(&m, get_job, id, id);
    if (cli_ask(p->d->c, VERB_get_why, &m, false, &rows, &e) < 0)
        return false;
    const json_t *first = json_array_get(rows, 0);
    bool lasts = false;
    for (size_t i = 0; i < sizeof lasting / sizeof lasting[0]; i++)
        lasts = lasts || strcmp(out_text(first, "reason"), lasting[i]) == 0;
    buf_clear(why);
    buf_printf(why, "%s%c", out_text(first, "text"), 0);
    return lasts;
}

static void give_up(struct probe *p) {
    struct mono until = cli_deadline(CANCEL_MS);
    for (size_t i = 0; i < p->n; i++) {
        struct msg_cancel_job m = {0};
        struct err e;
        MSG_SET(&m, cancel_job, id, p->jobs[i].id);
        MSG_SET(&m, cancel_job, text, STR("quern doctor has given it up"));
        if (p->jobs[i].id && !has_ended(p, p->jobs[i].id))
            client_change(p->d->c->client, VERB_cancel_job, &m, NULL, until, &e);
    }
    await(p, until);
}

/* False after a finding. */
static bool came_back(struct probe *p) {
    struct mono until = cli_deadline(PROBE_MS);
    AUTO_BUF why = BUF(8192);
    bool lasts = false;
    if (send_jobs(p, until) == 0) {
        await(p, cli_deadline(WHY_MS));
        for (uint64_t id; !lasts && (id = missing(p)) && !mono_reached(clock_mono(), until);) {
            lasts = ask_why(p, id, &why);
            if (!lasts)
                await(p, cli_deadline(ASK_AGAIN_MS));
        }
    }
    struct err failed = p->err;
    bool all = !missing(p);
    give_up(p);
    if (failed.code)
        finding(p->d, VERDICT_BAD, "probe", "", "%s: a job of kind %s failed: %s", p->pool, p->kind,
                failed.text);
    else if (lasts)
        finding(p->d, VERDICT_WARN, "probe", "quern queues and quern status show it",
                "%s: not probed with a job of kind %s: %s", p->pool, p->kind, why.at);
    else if (!all)
        finding(p->d, VERDICT_WARN, "probe", "quern status shows what keeps its workers busy",
                "%s: a job of kind %s did not come back within %d s: %s", p->pool, p->kind,
                PROBE_MS / 1000, why.len ? why.at : "it is not known why");
    return !failed.code && all;
}

/* ---- pools ---------------------------------------------------------------------------------- */
enum tried { TRIED_FAILED, TRIED_ELSEWHERE, TRIED_WELL };

static void tell_well(struct probe *p, uint64_t here, uint64_t everywhere, double ms) {
    if (everywhere != p->n)
        finding(p->d, VERDICT_OK, "probe", "",
                "%s: it ended %llu jobs meanwhile, not only the probe's of kind %s", p->pool,
                (unsigned long long)here, p->kind);
    else if (p->n == 1)
        finding(p->d, VERDICT_OK, "probe", "", "%s: a job of kind %s took %.1f ms", p->pool,
                p->kind, ms);
    else
        finding(p->d, VERDICT_OK, "probe", "", "%s: it ran %llu of %zu jobs of kind %s", p->pool,
                (unsigned long long)here, p->n, p->kind);
}

static enum tried try_once(struct doctor *d, const char *pool, const char *kind, size_t n) {
    json_auto_t *before = NULL, *after = NULL;
    struct probe p = {.d = d, .pool = pool, .kind = kind, .n = n};
    if (!doctor_ask(d, VERB_list_workers, &before))
        return TRIED_FAILED;
    d->c->watching = &p;
    d->c->on_finished = on_finished;
    uint64_t began = clock_mono_ns();
    bool well = came_back(&p);
    double ms = (double)(clock_mono_ns() - began) / 1e6;
    d->c->on_finished = NULL;
    if (!well || !doctor_ask(d, VERB_list_workers, &after))
        return TRIED_FAILED;
    uint64_t here = ended_between(before, after, pool);
    if (!here)
        return TRIED_ELSEWHERE;
    tell_well(&p, here, ended_between(before, after, NULL), ms);
    return TRIED_WELL;
}

static void probe_pool(struct doctor *d, const char *pool, const json_t *workers) {
    const char *kind = kind_of(workers, pool);
    if (!count(workers, pool, NULL)) {
        finding(d, VERDICT_WARN, "probe", "quern pools shows how many it shall have",
                "%s: not probed: it has no worker", pool);
        return;
    }
    if (!kind) {
        finding(d, VERDICT_OK, "probe", "",
                "%s: not probed: its workers run neither echo nor sleep", pool);
        return;
    }
    enum tried tried = try_once(d, pool, kind, 1);
    const char *spread = count(workers, pool, "sleep") ? "sleep" : kind;
    uint64_t all = count(workers, NULL, spread);
    if (tried == TRIED_ELSEWHERE)
        tried = try_once(d, pool, spread, all < JOBS_MAX ? all : JOBS_MAX);
    if (tried == TRIED_ELSEWHERE)
        finding(d, VERDICT_WARN, "probe", "its workers may be busy or draining: quern workers",
                "%s: not probed: workers of other pools took all jobs of kind %s", pool, spread);
}

void doctor_probe(struct doctor *d, const json_t *pools, const json_t *workers) {
    for (size_t i = 0; i < json_array_size(pools); i++)
        probe_pool(d, out_text(json_array_get(pools, i), "name"), workers);
    bool others = false; /* that somebody started by hand */
    for (size_t i = 0; i < json_array_size(workers); i++)
        others = others || is_of(json_array_get(workers, i), "");
    if (others && kind_of(workers, ""))
        probe_pool(d, "", workers);
}
