/* The numbers of quern.h are those of the tables; what stands in a table and not there, or the
 * other way round, does not compile. */
#include "common/base/id.h"
#include "common/base/worker_env.h"
#include "common/log/log.h"
#include "schemas/messages.h"
#include "schemas/states.h"
#include "workers/sdk/sdk_int.h"

#define SAME(theirs, ours) _Static_assert((int)(theirs) == (int)(ours), #theirs)

enum { QUERN_E_OK = QUERN_OK };
#define ERROR(code, number, class, exit, text) SAME(QUERN_E_##code, number);
#include "schemas/errors.def"
#undef ERROR

SAME(QUERN_SCHEDULED, JOB_scheduled);
SAME(QUERN_READY, JOB_ready);
SAME(QUERN_BLOCKED, JOB_blocked);
SAME(QUERN_RUNNING, JOB_running);
SAME(QUERN_CANCELLING, JOB_cancelling);
SAME(QUERN_DONE, JOB_done);
SAME(QUERN_DEAD, JOB_dead);
SAME(QUERN_CANCELLED, JOB_cancelled);
SAME(QUERN_EXPIRED, JOB_expired);
SAME(JOB_STATES, QUERN_EXPIRED + 1);

SAME(QUERN_TEMP, ERR_CLASS_TEMP);
SAME(QUERN_PERM, ERR_CLASS_PERM);
SAME(QUERN_HOLD, ERR_CLASS_HOLD);
SAME(QUERN_BUG, ERR_CLASS_BUG);

SAME(QUERN_SYNC, DURABLE_SYNC);
SAME(QUERN_ASYNC, DURABLE_ASYNC);
SAME(QUERN_NEVER, DURABLE_NONE);
SAME(QUERN_ROLE_CLIENT, ROLE_CLIENT);
SAME(QUERN_ROLE_GATEWAY, ROLE_GATEWAY);
SAME(QUERN_ROLE_OPERATOR, ROLE_OPERATOR);

SAME(QUERN_EXIT_DRAINED, WORKER_EXIT_DRAINED);
SAME(QUERN_EXIT_STOPPED, WORKER_EXIT_STOPPED);
SAME(QUERN_EXIT_USAGE, WORKER_EXIT_USAGE);
SAME(QUERN_EXIT_REFUSED, WORKER_EXIT_REFUSED);
SAME(QUERN_EXIT_RECYCLE, WORKER_EXIT_RECYCLE);
SAME(QUERN_EXIT_UNHEARD, WORKER_EXIT_UNHEARD);
SAME(QUERN_EXIT_TOO_LARGE, WORKER_EXIT_TOO_LARGE);

SAME(QUERN_LOG_ERROR - 1, LOG_LEVEL_error);
SAME(QUERN_LOG_WARN - 1, LOG_LEVEL_warn);
SAME(QUERN_LOG_INFO - 1, LOG_LEVEL_info);
SAME(QUERN_LOG_DEBUG - 1, LOG_LEVEL_debug);

SAME(QUERN_ID_SIZE, sizeof(struct id_text));
SAME(QUERN_VERSION_MAJOR, PROJECT_MAJOR);
SAME(QUERN_VERSION_MINOR, PROJECT_MINOR);
SAME(QUERN_VERSION_PATCH, PROJECT_PATCH);
SAME(sizeof QUERN_VERSION_STRING, sizeof PROJECT_VERSION);

/* What programs that are built already have on their stacks. */
SAME(sizeof(struct quern_error), 512);
SAME(sizeof((struct quern_error *)0)->text >= ERR_TEXT_MAX, 1);

/* The compiler names a case that is missing, or one too many. */
const char *quern_code_name(int code) {
    switch ((enum quern_code)code) {
#define ERROR(name, number, class, exit, text)                                                     \
    case QUERN_E_##name:                                                                           \
        return #name;
#include "schemas/errors.def"
#undef ERROR
    }
    return "UNKNOWN";
}

const char *quern_state_name(int state) {
    switch ((enum quern_state)state) {
    case QUERN_SCHEDULED:
    case QUERN_READY:
    case QUERN_BLOCKED:
    case QUERN_RUNNING:
    case QUERN_CANCELLING:
    case QUERN_DONE:
    case QUERN_DEAD:
    case QUERN_CANCELLED:
    case QUERN_EXPIRED:
        return job_state_name((uint64_t)state);
    }
    return "unknown";
}

const char *quern_version(void) {
    return QUERN_VERSION_STRING;
}

int quern_version_number(void) {
    return QUERN_VERSION_NUMBER;
}
