/* Records of schemas/records.h to bytes and back: what the journal carries for the core.
 *
 * REC_JOB is rec_state, rec_spec, payload, result; REC_STATE is rec_state, result; REC_SCHEDULE is
 * rec_schedule, submit, payload; each other type is its one message. The result's length stands in
 * rec_state.result_size, the payload is the rest.
 */
#pragma once

#include "common/wire/codec.h"
#include "schemas/records.h"

/* The parts of a record's body, for journal_put. Envelopes go to `scratch`, which is cleared first;
 * payload and result are borrowed from `r`. */
#define RECORD_PARTS 3
size_t record_parts(const struct record *r, struct buf *scratch, struct str parts[RECORD_PARTS]);

/* What a decoded record points into; must live as long as the record is used. */
struct record_room {
    struct msg_rec_state state;
    struct msg_rec_spec spec;
    struct msg_submit submit;
    union msg_any other;
};
/* -1 with ERR_CORRUPT if the body is not a record of that type. Text borrows from `body`. */
int record_open(uint8_t type, struct str body, struct record_room *room, struct record *out,
                struct err *e);
