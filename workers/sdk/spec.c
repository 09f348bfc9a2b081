/* What a job shall be: from quern_spec to what a client sends and a job spawns. */
#include "workers/harness/job_int.h"
#include "workers/sdk/sdk_int.h"

#include <stddef.h>

#define SPEC_LEAST (offsetof(struct quern_spec, fail_fast) + sizeof(bool))

int sdk_spec(const struct quern_spec *given, struct quern_spec *out, struct err *e) {
    if (sdk_struct(out, sizeof *out, given, SPEC_LEAST, "quern_spec", e) < 0)
        return -1;
    if (!out->kind)
        return err_set(e, ERR_MISSING_FIELD, "quern_spec.kind: must be set");
    if (out->payload && out->payload_json)
        return err_set(e, ERR_USAGE, "quern_spec: either payload or payload_json");
    if (out->priority > 9 || out->priority < QUERN_PRIORITY_LOWEST)
        return err_set(e, ERR_BAD_VALUE,
                       "quern_spec.priority: %d, must be 1 to 9 or QUERN_PRIORITY_LOWEST",
                       out->priority);
    if (out->durability < QUERN_SYNC || out->durability > QUERN_NEVER)
        return err_set(e, ERR_BAD_VALUE, "quern_spec.durability: %d, must be 0 to 2",
                       out->durability);
    return 0;
}

int sdk_payload(const struct quern_spec *spec, struct arena *arena, struct str *out,
                struct err *e) {
    *out = str_make(spec->payload, spec->payload ? spec->payload_size : 0);
    if (!spec->payload_json)
        return job_payload_check(*out, e);
    AUTO_BUF map = BUF(BODY_MAX_LEN);
    if (sdk_map_of_json(spec->payload_json, "payload", &map, e) < 0)
        return -1;
    *out = arena_try_copy(arena, buf_str(&map));
    if (!out->at)
        return err_set(e, ERR_NO_MEMORY, "a payload of %zu bytes", map.len);
    return job_payload_check(*out, e);
}

static uint64_t wire_priority(const struct quern_spec *spec) {
    return spec->priority == QUERN_PRIORITY_LOWEST ? 0 : (uint64_t)spec->priority;
}

static uint64_t wire_backoff(const struct quern_spec *spec) {
    return spec->backoff_ms == QUERN_NO_BACKOFF ? 0 : spec->backoff_ms;
}

#define SET_TEXT(name)                                                                             \
    if (spec->name)                                                                                \
    MSG_SET(m, submit, name, str_of(spec->name))
#define SET_ABOVE_0(name)                                                                          \
    if (spec->name)                                                                                \
    MSG_SET(m, submit, name, spec->name)

void sdk_message(const struct quern_spec *spec, struct msg_submit *m) {
    *m = (struct msg_submit){0};
    SET_TEXT(kind);
    SET_TEXT(queue);
    SET_TEXT(tenant);
    SET_TEXT(key);
    SET_TEXT(unique);
    SET_TEXT(trace);
    SET_ABOVE_0(interval_ms);
    SET_ABOVE_0(window_ms);
    SET_ABOVE_0(delay_ms);
    SET_ABOVE_0(run_at_ms);
    SET_ABOVE_0(ttl_ms);
    SET_ABOVE_0(timeout_ms);
    SET_ABOVE_0(attempts_max);
    SET_ABOVE_0(backoff_max_ms);
    SET_ABOVE_0(grace_ms);
    SET_ABOVE_0(watch);
    SET_ABOVE_0(fail_fast);
    if (spec->priority)
        MSG_SET(m, submit, priority, wire_priority(spec));
    if (spec->durability)
        MSG_SET(m, submit, durability, (uint64_t)spec->durability);
    if (spec->backoff_ms)
        MSG_SET(m, submit, backoff_ms, wire_backoff(spec));
}

int sdk_child(const struct quern_spec *spec, struct arena *arena, struct job_child *out,
              struct err *e) {
    if (spec->tenant || spec->durability || spec->watch || spec->grace_ms)
        return err_set(e, ERR_BAD_VALUE,
                       "a child cannot have tenant, durability, watch or grace_ms");
    *out = (struct job_child){.kind = str_of(spec->kind),
                              .queue = str_of(spec->queue),
                              .has_priority = spec->priority != 0,
                              .priority = wire_priority(spec),
                              .key = str_of(spec->key),
                              .interval_ms = spec->interval_ms,
                              .unique = str_of(spec->unique),
                              .window_ms = spec->window_ms,
                              .delay_ms = spec->delay_ms,
                              .run_at_ms = spec->run_at_ms,
                              .ttl_ms = spec->ttl_ms,
                              .timeout_ms = spec->timeout_ms,
                              .attempts_max = spec->attempts_max,
                              .has_backoff = spec->backoff_ms != 0,
                              .backoff_ms = wire_backoff(spec),
                              .backoff_max_ms = spec->backoff_max_ms,
                              .fail_fast = spec->fail_fast,
                              .trace = str_of(spec->trace)};
    return sdk_payload(spec, arena, &out->payload, e);
}
