/* What a peer knows of the broker's notes (docs/protocol.md, section "Notes"): its copy of a small
 * table, made of the changes that the broker tells.
 *
 * What always holds
 *   - there are at most NOTES_MAX entries, whatever the broker says;
 *   - `version` is the last change up to which nothing was missed: what HELLO and HEARTBEAT say. An
 *     entry that this peer has set itself may be ahead of it;
 *   - an entry is shown until its time is over, heard from the broker or not.
 *
 * No lock: who shares a table among threads brings one. */
#pragma once

#include "common/base/str.h"
#include "common/base/time_types.h"
#include "schemas/messages.h"

struct note_entry {
    uint64_t version;
    struct mono ends;
    struct str name, value; /* as long as the entry stays */
};

struct note_table;

struct note_table *note_table_new(void);
void note_table_destroy(struct note_table **t);

/* One change, as the broker told it; what is old, or behind a gap, is passed over. */
void note_table_take(struct note_table *t, struct mono now, const struct msg_note_info *m);
/* What this peer has set: the broker said that it has this version now, or, with 0, that it is
 * gone.
 */
void note_table_set(struct note_table *t, struct mono now, const struct msg_set_note *m,
                    uint64_t version);
/* Another life of the broker, which knows no notes. */
void note_table_forget(struct note_table *t);
uint64_t note_table_version(const struct note_table *t);

/* NULL: it is not there. Valid until the table changes. */
const struct note_entry *note_table_find(const struct note_table *t, struct mono now,
                                         struct str name);
/* Entries in the order of their names; some may be over: compare `ends`. */
uint32_t note_table_count(const struct note_table *t);
const struct note_entry *note_table_at(const struct note_table *t, uint32_t n);
