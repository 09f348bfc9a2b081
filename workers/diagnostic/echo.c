#include "workers/diagnostic/diagnostic.h"

int run_echo(struct job *job, struct err *e) {
    (void)e;
    job_result_is_payload(job);
    return 0;
}
