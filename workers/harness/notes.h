/* The process's copy of the broker's notes: the host thread writes it, jobs in all slots read it.
 *
 * All functions may be called from any thread. */
#pragma once

#include "common/base/time_types.h"
#include "schemas/messages.h"
#include "workers/harness/job.h"

struct job_notes;

struct job_notes *job_notes_new(void);
void job_notes_destroy(struct job_notes **n);
/* As the functions of note_table.h. */
void job_notes_take(struct job_notes *n, struct mono now, const struct msg_note_info *m);
void job_notes_set(struct job_notes *n, struct mono now, const struct msg_set_note *m,
                   uint64_t version);
void job_notes_forget(struct job_notes *n);
uint64_t job_notes_version(struct job_notes *n);
/* False: it is not there. The value is copied to `room`. */
bool job_notes_find(struct job_notes *n, struct mono now, struct str name, char room[NOTE_MAX_LEN],
                    struct job_note *out);
