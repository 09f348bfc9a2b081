#include "workers/harness/kinds.h"

struct msg_kind_info worker_kind_info(const struct worker_kind *kind) {
    struct msg_kind_info m = {0};
    MSG_SET(&m, kind_info, kind, str_of(kind->name));
    if (kind->timeout_ms)
        MSG_SET(&m, kind_info, timeout_ms, kind->timeout_ms);
    if (kind->attempts_max)
        MSG_SET(&m, kind_info, attempts_max, kind->attempts_max);
    if (kind->backoff_ms)
        MSG_SET(&m, kind_info, backoff_ms, kind->backoff_ms);
    if (kind->speculative)
        MSG_SET(&m, kind_info, speculative, true);
    if (kind->streams)
        MSG_SET(&m, kind_info, streams, true);
    if (kind->schema)
        MSG_SET(&m, kind_info, schema, str_of(kind->schema));
    return m;
}
