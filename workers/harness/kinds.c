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

const struct worker_kind *worker_kind_named(const struct worker_kinds *kinds, struct str name) {
    for (size_t i = 0; i < kinds->n; i++)
        if (str_eq(name, str_of(kinds->at[i]->name)))
            return kinds->at[i];
    return NULL;
}

uint64_t worker_kinds_declare(const struct worker_kinds *kinds, struct link *link) {
    struct frame_out f __attribute__((cleanup(frame_destroy))) = FRAME_OUT;
    uint64_t sequence = link_sequence(link);
    frame_begin(&f, VERB_declare_kind, sequence);
    for (size_t i = 0; i < kinds->n; i++) {
        struct msg_kind_info m = worker_kind_info(kinds->at[i]);
        if (frame_add(&f, &m) == 0)
            continue;
        link_send(link, &f, NULL);
        sequence = link_sequence(link);
        frame_begin(&f, VERB_declare_kind, sequence);
        frame_add(&f, &m);
    }
    link_send(link, &f, NULL);
    return sequence;
}
