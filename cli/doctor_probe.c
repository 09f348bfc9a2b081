/* quern doctor: a job through each pool.
 *
 * A job is sent to a kind, not to a pool. That a pool ran one shows in its workers' count of ended
 * attempts; where another pool took it, as many jobs as there are workers go out at once, which the
 * broker spreads. */
#include "cli/doctor.h"
#include "cli/out.h"
#include "common/os/clock.h"

#define PROBE_MS 5000
#define JOBS_MAX 64

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

/* Whether a worker of the pool has ended something that it had not in `before`. */
static bool has_worked(const json_t *before, const json_t *after, const char *pool) {
    for (size_t i = 0; i < json_array_size(after); i++) {
        const json_t *w = json_array_get(after, i);
        uint64_t done = 0;
        for (size_t k = 0; k < json_array_size(before); k++) {
            const json_t *b = json_array_get(before, k);
            if (strcmp(out_text(b, "instance"), out_text(w, "instance")) == 0)
                done = out_field(b, "done");
        }
        if (is_of(w, pool) && out_field(w, "done") > done)
            return true;
    }
    return false;
}

/* ---- jobs ----------------------------------------------------------------------------------- */
struct probe {
    size_t ended;
    struct err err; /* of the first that failed */
};

static void on_finished(void *watching, const struct client_finished *f) {
    struct probe *p = watching;
    p->ended++;
    if (!p->err.code)
        p->err = f->err;
}

static int send_jobs(struct doctor *d, const char *kind, size_t n, struct mono until,
                     struct err *e) {
    struct client_submitted out[JOBS_MAX];
    struct client_item items[JOBS_MAX];
    struct msg_submit m = {0};
    MSG_SET(&m, submit, kind, str_of(kind));
    MSG_SET(&m, submit, durability, DURABLE_NONE);
    MSG_SET(&m, submit, ttl_ms, PROBE_MS);
    MSG_SET(&m, submit, priority, 9);
    MSG_SET(&m, submit, watch, true);
    for (size_t i = 0; i < n; i++)
        items[i] = (struct client_item){&m, strcmp(kind, "sleep") == 0 ? SLEEP_100_MS : STR("")};
    return client_submit(d->c->client, items, n, out, until, e);
}

/* False after a finding. */
static bool await_jobs(struct doctor *d, const char *pool, const char *kind, size_t n) {
    struct probe probe = {0};
    struct mono until = cli_deadline(PROBE_MS);
    d->c->watching = &probe;
    d->c->on_finished = on_finished;
    if (send_jobs(d, kind, n, until, &probe.err) == 0)
        while (probe.ended < n && !mono_reached(clock_mono(), until))
            client_poll(d->c->client, until);
    d->c->on_finished = NULL;
    if (probe.err.code)
        finding(d, VERDICT_BAD, "probe", "", "%s: a job of kind %s failed: %s", pool, kind,
                probe.err.text);
    else if (probe.ended < n)
        finding(d, VERDICT_WARN, "probe", "all workers may be busy: quern status",
                "%s: a job of kind %s did not come back within %d s", pool, kind, PROBE_MS / 1000);
    return !probe.err.code && probe.ended == n;
}

/* ---- pools ---------------------------------------------------------------------------------- */
enum tried { TRIED_FAILED, TRIED_ELSEWHERE, TRIED_WELL };

static enum tried try_once(struct doctor *d, const char *pool, const char *kind, size_t n) {
    json_auto_t *before = NULL, *after = NULL;
    if (!doctor_ask(d, VERB_list_workers, &before))
        return TRIED_FAILED;
    uint64_t began = clock_mono_ns();
    if (!await_jobs(d, pool, kind, n))
        return TRIED_FAILED;
    double ms = (double)(clock_mono_ns() - began) / 1e6;
    if (!doctor_ask(d, VERB_list_workers, &after))
        return TRIED_FAILED;
    if (!has_worked(before, after, pool))
        return TRIED_ELSEWHERE;
    if (n == 1)
        finding(d, VERDICT_OK, "probe", "", "%s: a job of kind %s took %.1f ms", pool, kind, ms);
    else
        finding(d, VERDICT_OK, "probe", "", "%s: it ran at least one of %zu jobs of kind %s", pool,
                n, kind);
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
