#include "common/wire/msgpack.h"
#include "workers/diagnostic/diagnostic.h"

#include <inttypes.h>
#include <stdio.h>

#define NOW_MAX    1000000 /* children one by one */
#define DEPTH_MAX  15      /* a then of the lowest is one deeper */
#define WAIT_MAX   86400000
#define UNIQUE_MS  3600000
#define NAME_BYTES 64
#define KEY_BYTES  256

struct spawning {
    uint64_t children, depth, delay_ms;
    bool now, fail_fast;
    struct str kind, payload, unique;
    struct job_child then; /* no kind: none */
};

static int read_then(struct job *job, struct spawning *s, struct err *e) {
    struct str map;
    if (job_param_map(job, "then", &map, e) < 0 ||
        job_map_text(map, "payload.then", "kind", NAME_BYTES, &s->then.kind, e) < 0 ||
        job_map_map(map, "payload.then", "payload", &s->then.payload, e) < 0)
        return -1;
    s->then.then = true;
    if (map.len && !s->then.kind.len)
        return err_set(e, ERR_BAD_VALUE, "payload.then.kind: is missing");
    return 0;
}

static int read_parameters(struct job *job, struct spawning *s, struct err *e) {
    *s = (struct spawning){0};
    if (job_param_flag(job, "now", &s->now, e) < 0 ||
        job_param_flag(job, "fail_fast", &s->fail_fast, e) < 0 ||
        job_param_uint(job, "children", 1, NOW_MAX, &s->children, e) < 0 ||
        job_param_uint(job, "depth", 1, DEPTH_MAX, &s->depth, e) < 0 ||
        job_param_uint(job, "delay_ms", 0, WAIT_MAX, &s->delay_ms, e) < 0 ||
        job_param_text(job, "kind", STR("echo"), NAME_BYTES, &s->kind, e) < 0 ||
        job_param_text(job, "unique", STR(""), KEY_BYTES, &s->unique, e) < 0 ||
        job_param_map(job, "payload", &s->payload, e) < 0)
        return -1;
    return read_then(job, s, e);
}

/* Our own payload for the children below, one level deeper. */
static struct str payload_below(const struct job *job, const struct spawning *s, struct str unique,
                                struct buf *out) {
    struct cursor c = cursor_of(job_payload(job));
    uint32_t pairs = 0, kept = 0;
    struct buf body = BUF(out->bytes_max);
    for (msgpack_get_map(&c, &pairs); pairs; pairs--) {
        struct cursor begin = c;
        struct str name = STR("");
        struct cursor key = c;
        msgpack_get_bytes(&key, &name);
        msgpack_skip(&c);
        msgpack_skip(&c);
        if (str_eq(name, STR("depth")) || str_eq(name, STR("unique")))
            continue;
        buf_put(&body, begin.at, (size_t)(c.at - begin.at));
        kept++;
    }
    buf_clear(out);
    msgpack_put_map(out, kept + 1 + (unique.len ? 1 : 0));
    buf_put_str(out, buf_str(&body));
    msgpack_put_text(out, STR("depth"));
    msgpack_put_uint(out, s->depth - 1);
    if (unique.len) {
        msgpack_put_text(out, STR("unique"));
        msgpack_put_text(out, unique);
    }
    buf_destroy(&body);
    return buf_str(out);
}

static int spawn(struct job *job, const struct spawning *s, const struct job_child *child,
                 struct err *e) {
    return s->now ? job_spawn_now(job, child, e) : job_spawn(job, child, e);
}

static int spawn_child(struct job *job, const struct spawning *s, uint64_t n, struct buf *below,
                       struct err *e) {
    char unique[KEY_BYTES + 24];
    struct job_child child = {
        .kind = s->kind, .payload = s->payload, .delay_ms = s->delay_ms, .fail_fast = s->fail_fast};
    if (s->unique.len) {
        int len = snprintf(unique, sizeof unique, STR_FMT "/%" PRIu64, STR_ARG(s->unique), n);
        child.unique = str_make(unique, (size_t)len);
        child.window_ms = UNIQUE_MS;
    }
    if (s->depth > 1) {
        child.kind = job_kind(job);
        child.payload = payload_below(job, s, child.unique, below);
    }
    if (s->now)
        job_progress(job, n, s->children);
    return spawn(job, s, &child, e);
}

static void put_siblings(struct buf *b, const struct job_siblings *s) {
    const struct {
        const char *name;
        uint32_t n;
    } counts[] = {{"siblings", s->total},      {"done", s->done},       {"dead", s->dead},
                  {"cancelled", s->cancelled}, {"expired", s->expired}, {"broken", s->broken}};
    msgpack_put_text(b, STR("parent_state"));
    msgpack_put_text(b, str_of(job_state_name(s->parent_state)));
    for (size_t n = 0; n < sizeof counts / sizeof *counts; n++) {
        msgpack_put_text(b, str_of(counts[n].name));
        msgpack_put_uint(b, counts[n].n);
    }
}

static void put_result(struct job *job, const struct spawning *s) {
    struct buf *b = job_result(job);
    struct job_siblings siblings;
    bool is_then = job_siblings(job, &siblings);
    msgpack_put_map(b, is_then ? 8 : 1);
    msgpack_put_text(b, STR("spawned"));
    msgpack_put_uint(b, s->children);
    if (is_then)
        put_siblings(b, &siblings);
}

int run_spawn(struct job *job, struct err *e) {
    struct spawning s;
    struct buf below __attribute__((cleanup(buf_destroy))) = BUF(1U << 20);
    if (read_parameters(job, &s, e) < 0)
        return -1;
    for (uint64_t n = 0; n < s.children; n++)
        if (spawn_child(job, &s, n, &below, e) < 0)
            return -1;
    if (s.then.kind.len && spawn(job, &s, &s.then, e) < 0)
        return -1;
    put_result(job, &s);
    return 0;
}
