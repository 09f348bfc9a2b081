#include "common/wire/msgpack.h"
#include "workers/diagnostic/diagnostic.h"

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#define NO_EXIT 256

static void end_process(int number, uint64_t status) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none); /* it is no bug: no core */
    if (status < NO_EXIT)
        _exit((int)status);
    signal(number, SIG_DFL);
    kill(getpid(), number);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    for (;;)
        pause();
}

int run_crash(struct job *job, struct err *e) {
    uint64_t number, status, times;
    if (job_param_uint(job, "signal", SIGABRT, 31, &number, e) < 0 ||
        job_param_uint(job, "exit", NO_EXIT, 255, &status, e) < 0 ||
        job_param_uint(job, "times", UINT64_MAX, UINT64_MAX, &times, e) < 0)
        return -1;
    bool ends = number == SIGABRT || number == SIGKILL || number == SIGSEGV || number == SIGBUS ||
                number == SIGFPE || number == SIGILL;
    if (!ends)
        return err_set(e, ERR_BAD_VALUE, "payload.signal: must be 4, 6, 7, 8, 9 or 11");
    if (job_attempt(job) <= times)
        end_process((int)number, status);
    msgpack_put_map(job_result(job), 1);
    msgpack_put_text(job_result(job), STR("attempt"));
    msgpack_put_uint(job_result(job), job_attempt(job));
    return 0;
}
