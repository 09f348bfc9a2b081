/* The records of the journal: which messages of schemas/messages.def stand in each. */
#pragma once

#include "schemas/messages.h"

enum record_type {
    REC_EPOCH = 1,     /* rec_epoch */
    REC_JOB = 2,       /* rec_state, rec_spec, payload: a job whole */
    REC_STATE = 3,     /* rec_state, result: what changed in a job */
    REC_WINDOW = 4,    /* rec_window */
    REC_QUEUE = 5,     /* rec_queue */
    REC_TENANT = 6,    /* rec_tenant */
    REC_POOL = 7,      /* rec_pool */
    REC_KIND = 8,      /* rec_kind */
    REC_FLOW = 9,      /* rec_flow */
    REC_SCHEDULE = 10, /* rec_schedule, submit, payload */
    REC_TYPES = 11,
};

/* One record, borrowed. `state` and `spec` are set for REC_JOB, `state` for REC_STATE; the others
 * have their message in `other`. */
struct record {
    enum record_type type;
    const struct msg_rec_state *state;
    const struct msg_rec_spec *spec;
    const void *other;
    struct str payload;              /* REC_JOB, REC_SCHEDULE */
    struct str result;               /* REC_STATE, or REC_JOB written for an ended job */
    const struct msg_submit *submit; /* REC_SCHEDULE */
};
