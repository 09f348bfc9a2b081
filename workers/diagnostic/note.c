#include "common/wire/msgpack.h"
#include "workers/diagnostic/diagnostic.h"

#define LOOK_MS  20
#define WAIT_MAX 86400000

struct noting {
    struct str name, value, await;
    uint64_t for_ms, wait_ms;
    bool remove, absent, longer, awaits, gone;
};

static int read_parameters(struct job *job, struct noting *n, struct err *e) {
    *n = (struct noting){0};
    if (job_param_text(job, "name", STR("note"), 256, &n->name, e) < 0 ||
        job_param_text(job, "value", STR(""), 1024, &n->value, e) < 0 ||
        job_param_text(job, "await", STR(""), 256, &n->await, e) < 0 ||
        job_param_uint(job, "for_ms", 10000, UINT64_MAX, &n->for_ms, e) < 0 ||
        job_param_uint(job, "wait_ms", 10000, WAIT_MAX, &n->wait_ms, e) < 0)
        return -1;
    return job_param_flag(job, "remove", &n->remove, e) < 0 ||
                   job_param_flag(job, "absent", &n->absent, e) < 0 ||
                   job_param_flag(job, "longer", &n->longer, e) < 0 ||
                   job_param_flag(job, "gone", &n->gone, e) < 0
               ? -1
               : 0;
}

/* Until it has the value, or is gone, that is waited for. */
static int await(struct job *job, const struct noting *n, struct job_note *seen, uint64_t *waited,
                 struct err *e) {
    for (*waited = 0;; *waited += LOOK_MS) {
        bool there = job_note_get(job, n->name, seen);
        if (n->await.len ? there && str_eq(seen->value, n->await) : !n->gone || !there)
            return 0;
        if (*waited >= n->wait_ms)
            return err_set(e, ERR_NOT_FOUND, "note '" STR_FMT "': '" STR_FMT "' after %llu ms",
                           STR_ARG(n->name), STR_ARG(seen->value), (unsigned long long)*waited);
        if (job_wait(job, LOOK_MS, e) < 0)
            return -1;
    }
}

int run_note(struct job *job, struct err *e) {
    struct noting n;
    struct job_note seen;
    bool changed = false;
    uint64_t waited_ms;
    if (read_parameters(job, &n, e) < 0)
        return -1;
    const struct job_note_change change = {.name = n.name,
                                           .value = n.value,
                                           .for_ms = n.remove ? 0 : n.for_ms,
                                           .longer = n.longer,
                                           .conditional = n.absent};
    if ((n.value.len || n.remove) && job_note_set(job, &change, &changed, e) < 0)
        return -1;
    if (await(job, &n, &seen, &waited_ms, e) < 0)
        return -1;
    struct buf *b = job_result(job);
    msgpack_put_map(b, 5);
    msgpack_put_text(b, STR("changed"));
    msgpack_put_bool(b, changed);
    msgpack_put_text(b, STR("value"));
    msgpack_put_text(b, seen.value);
    msgpack_put_text(b, STR("left_ms"));
    msgpack_put_uint(b, seen.left_ms);
    msgpack_put_text(b, STR("version"));
    msgpack_put_uint(b, seen.version);
    msgpack_put_text(b, STR("waited_ms"));
    msgpack_put_uint(b, waited_ms);
    return 0;
}
