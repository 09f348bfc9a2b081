#include "broker/records.h"

#include "common/base/check.h"

static const enum msg_id message_of[REC_TYPES] = {
    [REC_EPOCH] = MSG_rec_epoch,   [REC_WINDOW] = MSG_rec_window,     [REC_QUEUE] = MSG_rec_queue,
    [REC_TENANT] = MSG_rec_tenant, [REC_POOL] = MSG_rec_pool,         [REC_KIND] = MSG_rec_kind,
    [REC_FLOW] = MSG_rec_flow,     [REC_SCHEDULE] = MSG_rec_schedule,
};

size_t record_parts(const struct record *r, struct buf *scratch, struct str parts[RECORD_PARTS]) {
    buf_clear(scratch);
    int rc = 0;
    if (r->state) {
        rc |= codec_put(scratch, MSG_rec_state, r->state);
        if (r->spec)
            rc |= codec_put(scratch, MSG_rec_spec, r->spec);
    } else {
        rc |= codec_put(scratch, message_of[r->type], r->other);
        if (r->submit)
            rc |= codec_put(scratch, MSG_submit, r->submit);
    }
    ASSERT(rc == 0); /* scratch is as large as the largest envelope */
    parts[0] = buf_str(scratch);
    size_t n = 1;
    if (r->payload.len)
        parts[n++] = r->payload;
    if (r->result.len)
        parts[n++] = r->result;
    return n;
}

static int bad(struct err *e, const char *what) {
    return err_set(e, ERR_CORRUPT, "record: %s", what);
}

static int open_job(uint8_t type, struct cursor *in, struct record_room *room, struct record *out,
                    struct err *e) {
    if (codec_get(in, MSG_rec_state, &room->state, NULL, NULL, e) < 0)
        return -1;
    out->state = &room->state;
    if (type == REC_JOB) {
        if (codec_get(in, MSG_rec_spec, &room->spec, NULL, NULL, e) < 0)
            return -1;
        out->spec = &room->spec;
    }
    size_t left = cursor_left(in);
    if (room->state.result_size > left)
        return bad(e, "its result is longer than the record");
    size_t payload = left - room->state.result_size;
    if (type == REC_STATE && payload)
        return bad(e, "bytes behind the result");
    out->payload = str_make(in->at, payload);
    out->result = str_make(in->at + payload, room->state.result_size);
    return 0;
}

/* One that was removed has no job. */
static int open_schedule(struct cursor *in, struct record_room *room, struct record *out,
                         struct err *e) {
    if (room->other.rec_schedule.removed)
        return cursor_left(in) ? bad(e, "bytes behind its message") : 0;
    if (codec_get(in, MSG_submit, &room->submit, NULL, NULL, e) < 0)
        return -1;
    out->submit = &room->submit;
    if (room->submit.size != cursor_left(in))
        return bad(e, "its payload has another length than its submit says");
    out->payload = str_make(in->at, cursor_left(in));
    return 0;
}

int record_open(uint8_t type, struct str body, struct record_room *room, struct record *out,
                struct err *e) {
    struct cursor in = cursor_of(body);
    *out = (struct record){.type = (enum record_type)type};
    if (type == REC_JOB || type == REC_STATE)
        return open_job(type, &in, room, out, e);
    if (type == 0 || type >= REC_TYPES)
        return bad(e, "unknown type");
    if (codec_get(&in, message_of[type], &room->other, NULL, NULL, e) < 0)
        return -1;
    out->other = &room->other;
    if (type == REC_SCHEDULE)
        return open_schedule(&in, room, out, e);
    if (cursor_left(&in))
        return bad(e, "bytes behind its message");
    return 0;
}
