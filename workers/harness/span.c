#include "workers/harness/span.h"

#include "common/log/log.h"

/* The parent id within a traceparent. */
#define SPAN_AT  36
#define SPAN_LEN 16

/* One that came without a trace, from a broker that makes none, begins one. */
static struct trace begin(struct rng *rng) {
    return trace_of_job(rng_u64(rng), rng_u64(rng));
}

static const char *outcome_name(enum result_outcome o) {
    static const char *const names[] = {[OUTCOME_DONE] = "done",
                                        [OUTCOME_FAILED] = "failed",
                                        [OUTCOME_REJECTED] = "rejected",
                                        [OUTCOME_HOLD] = "hold",
                                        [OUTCOME_CANCELLED] = "cancelled"};
    return names[o];
}

void span_begin(struct attempt *a, struct rng *rng) {
    struct trace t;
    if (!trace_read(a->trace, &t))
        t = begin(rng);
    t = trace_pass(&t, rng_u64(rng));
    a->span = trace_show(&t);
    a->trace = str_make(a->span.at, TRACE_LEN);
}

void span_tell_running(const struct attempt *a) {
    log_event(LOG_attempt_running, LOG_JOB(a->job, a->tenant, a->trace), log_id("fence", a->fence),
              log_str("span", str_make(a->span.at + SPAN_AT, SPAN_LEN)), log_str("kind", a->kind),
              log_u64("attempt", a->number));
}

void span_tell_stop(const struct attempt *a) {
    log_event(LOG_attempt_stopped, LOG_JOB(a->job, a->tenant, a->trace), log_id("fence", a->fence),
              log_text("why", err_code_name(a->stop)));
}

void span_tell_over(const struct attempt *a, struct mono now, const struct ending *end) {
    struct log_field none = {.type = LOG_TYPE_NONE};
    bool done = end->outcome == OUTCOME_DONE;
    log_event(LOG_attempt_over, LOG_JOB(a->job, a->tenant, a->trace), log_id("fence", a->fence),
              log_text("outcome", outcome_name(end->outcome)),
              log_u64("ms", mono_until(a->started, now)), done ? none : log_str("error", end->text),
              done ? none : log_text("code", err_code_name(end->error)));
}
