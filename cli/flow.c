#include "cli/flow.h"

#include <inttypes.h>

json_t *flow_json(const struct client_flow *f, struct err *e) {
    struct msg_flow_info m = {0};
    MSG_SET(&m, flow_info, code, (uint64_t)f->err.code);
    MSG_SET(&m, flow_info, id, f->id);
    if (f->err.code) {
        MSG_SET(&m, flow_info, text, str_of(f->err.text));
        return json_bridge_of_message(msg_def(MSG_flow_info), &m, e);
    }
    MSG_SET(&m, flow_info, total, f->total);
    MSG_SET(&m, flow_info, done, f->done);
    MSG_SET(&m, flow_info, dead, f->dead);
    MSG_SET(&m, flow_info, cancelled, f->cancelled);
    MSG_SET(&m, flow_info, expired, f->expired);
    if (f->state)
        MSG_SET(&m, flow_info, state, f->state);
    MSG_SET(&m, flow_info, settled, f->settled);
    if (f->doom)
        MSG_SET(&m, flow_info, error, (uint64_t)f->doom);
    return json_bridge_of_message(msg_def(MSG_flow_info), &m, e);
}

void flow_put(struct buf *out, const struct client_flow *f) {
    const struct {
        uint32_t n;
        const char *name;
    } failed[] = {{f->dead, "dead"}, {f->cancelled, "cancelled"}, {f->expired, "expired"}};
    uint32_t ended = f->done + f->dead + f->cancelled + f->expired;
    buf_printf(out, "%" PRIu32 " of %" PRIu32 " jobs below it have ended", ended, f->total);
    for (size_t i = 0; i < sizeof failed / sizeof *failed; i++)
        if (failed[i].n)
            buf_printf(out, ", %" PRIu32 " %s", failed[i].n, failed[i].name);
}

bool flow_has_failed(const struct client_flow *f) {
    return f->dead || f->cancelled || f->expired;
}
