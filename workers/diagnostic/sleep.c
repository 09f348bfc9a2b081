#include "common/os/clock.h"
#include "common/wire/msgpack.h"
#include "workers/diagnostic/diagnostic.h"

#include <poll.h>

#define STEP_MS   100
#define SLEEP_MAX 86400000

struct sleeping {
    uint64_t ms;
    bool stubborn, busy;
};

/* One step; where it is stubborn it does not even look. */
static int step(struct job *job, const struct sleeping *s, struct mono until, struct err *e) {
    uint64_t left = mono_until(clock_mono(), until);
    if (!s->busy && !s->stubborn)
        return job_wait(job, left < STEP_MS ? left : STEP_MS, e);
    if (!s->busy)
        poll(NULL, 0, left < STEP_MS ? (int)left : STEP_MS);
    return s->stubborn ? 0 : job_check(job, e);
}

int run_sleep(struct job *job, struct err *e) {
    struct sleeping s;
    if (job_param_uint(job, "ms", 1000, SLEEP_MAX, &s.ms, e) < 0 ||
        job_param_flag(job, "stubborn", &s.stubborn, e) < 0 ||
        job_param_flag(job, "busy", &s.busy, e) < 0)
        return -1;
    struct mono until = mono_add(clock_mono(), s.ms);
    int rc = 0;
    while (rc == 0 && !mono_reached(clock_mono(), until)) {
        job_progress(job, s.ms - mono_until(clock_mono(), until), s.ms);
        rc = step(job, &s, until, e);
    }
    msgpack_put_map(job_result(job), 1);
    msgpack_put_text(job_result(job), STR("slept_ms"));
    msgpack_put_uint(job_result(job), s.ms - mono_until(clock_mono(), until));
    return rc;
}
