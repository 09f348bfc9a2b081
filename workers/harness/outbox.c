#include "workers/harness/outbox.h"

#include "common/base/check.h"

static const enum verb verbs[OUTBOX_FRAMES] = {VERB_started, VERB_progress, VERB_returned,
                                               VERB_result};

static void begin(struct outbox *o, size_t i) {
    const struct msg_welcome *terms = link_terms(o->link);
    struct frame_out *f = &o->frames[i];
    frame_begin(f, verbs[i], 0);
    if (terms->items_max < f->items_max)
        f->items_max = (uint32_t)terms->items_max;
    if (terms->bytes_max < f->bytes_max)
        f->bytes_max = terms->bytes_max;
}

void outbox_setup(struct outbox *o, struct link *link) {
    o->link = link;
    for (size_t i = 0; i < OUTBOX_FRAMES; i++) {
        o->frames[i] = FRAME_OUT;
        begin(o, i);
    }
}

void outbox_teardown(struct outbox *o) {
    for (size_t i = 0; i < OUTBOX_FRAMES; i++)
        frame_destroy(&o->frames[i]);
}

void outbox_flush(struct outbox *o) {
    for (size_t i = 0; i < OUTBOX_FRAMES; i++) {
        if (!o->frames[i].items)
            continue;
        link_send(o->link, &o->frames[i], NULL);
        begin(o, i);
    }
}

int outbox_put(struct outbox *o, enum verb verb, const void *message, struct str payload,
               const struct children *children) {
    static const struct children none = {0};
    struct frame_children parts = children_parts(children ? children : &none);
    size_t i = 0;
    while (verbs[i] != verb)
        i++;
    if (frame_add_family(&o->frames[i], message, payload, &parts) == 0)
        return 0;
    outbox_flush(o);
    begin(o, i); /* by the terms of now */
    return frame_add_family(&o->frames[i], message, payload, &parts);
}
