/* A note that shall be set, with its texts: what a slot hands to the host. */
#pragma once

#include "common/base/mem.h"
#include "schemas/messages.h"

struct note_wish {
    struct msg_set_note m; /* its texts are the following */
    char name[NAME_MAX_LEN], value[NOTE_MAX_LEN];
};

/* The texts must be within their bounds. mem_free takes it back. */
static inline struct note_wish *note_wish_new(const struct msg_set_note *m) {
    struct note_wish *w = MEM_NEW(struct note_wish);
    w->m = *m;
    memcpy(w->name, m->name.at, m->name.len);
    if (m->value.len)
        memcpy(w->value, m->value.at, m->value.len);
    w->m.name.at = w->name;
    w->m.value.at = w->value;
    return w;
}
