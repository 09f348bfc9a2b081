/* Notes, as a job's code sees them. */
#include "common/os/clock.h"
#include "common/wire/codec.h"
#include "workers/harness/job_int.h"
#include "workers/harness/notes.h"

bool job_note_get(struct job *job, struct str name, struct job_note *out) {
    char *room = job->notes ? arena_try(job->arena, NOTE_MAX_LEN) : NULL;
    *out = (struct job_note){.value = STR("")};
    return room && job_notes_find(job->notes, clock_mono(), name, room, out);
}

static int fill(const struct job_note_change *c, struct msg_set_note *m, struct err *e) {
    *m = (struct msg_set_note){0};
    MSG_SET(m, set_note, name, c->name);
    if (c->value.len && c->for_ms) {
        MSG_SET(m, set_note, value, c->value);
        MSG_SET(m, set_note, for_ms, c->for_ms);
    }
    if (c->longer)
        MSG_SET(m, set_note, longer, true);
    if (c->conditional)
        MSG_SET(m, set_note, if_version, c->if_version);
    return codec_check(msg_def(MSG_set_note), m, e);
}

int job_note_set(struct job *job, const struct job_note_change *change, bool *changed,
                 struct err *e) {
    struct msg_set_note m;
    struct err why = {0};
    *changed = false;
    if (!job->hand_over_note)
        return err_set(e, ERR_INTERNAL,
                       "kind " STR_FMT " runs inline and would wait for the broker",
                       STR_ARG(job->attempt->kind));
    if (job_check(job, e) < 0 || fill(change, &m, e) < 0)
        return -1;
    job_await(job);
    job->hand_over_note(job, note_wish_new(&m));
    *changed = job_awaited(job, &why) == 0;
    if (*changed || why.code == ERR_CONFLICT || why.code == ERR_NOT_FOUND)
        return 0;
    *e = why;
    return job_refused(e);
}
