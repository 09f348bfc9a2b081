#include "workers/harness/notes.h"

#include "common/base/mem.h"
#include "common/wire/note_table.h"

#include <pthread.h>

struct job_notes {
    pthread_mutex_t lock;
    struct note_table *table;
};

struct job_notes *job_notes_new(void) {
    struct job_notes *n = MEM_NEW(struct job_notes);
    pthread_mutex_init(&n->lock, NULL);
    n->table = note_table_new();
    return n;
}

void job_notes_destroy(struct job_notes **np) {
    struct job_notes *n = *np;
    if (!n)
        return;
    note_table_destroy(&n->table);
    pthread_mutex_destroy(&n->lock);
    MEM_FREE(*np);
}

void job_notes_take(struct job_notes *n, struct mono now, const struct msg_note_info *m) {
    pthread_mutex_lock(&n->lock);
    note_table_take(n->table, now, m);
    pthread_mutex_unlock(&n->lock);
}

void job_notes_set(struct job_notes *n, struct mono now, const struct msg_set_note *m,
                   uint64_t version) {
    pthread_mutex_lock(&n->lock);
    note_table_set(n->table, now, m, version);
    pthread_mutex_unlock(&n->lock);
}

void job_notes_forget(struct job_notes *n) {
    pthread_mutex_lock(&n->lock);
    note_table_forget(n->table);
    pthread_mutex_unlock(&n->lock);
}

uint64_t job_notes_version(struct job_notes *n) {
    pthread_mutex_lock(&n->lock);
    uint64_t version = note_table_version(n->table);
    pthread_mutex_unlock(&n->lock);
    return version;
}

bool job_notes_find(struct job_notes *n, struct mono now, struct str name, char room[NOTE_MAX_LEN],
                    struct job_note *out) {
    pthread_mutex_lock(&n->lock);
    const struct note_entry *e = note_table_find(n->table, now, name);
    if (e) {
        memcpy(room, e->value.at, e->value.len);
        *out = (struct job_note){.value = {room, e->value.len},
                                 .left_ms = mono_until(now, e->ends),
                                 .version = e->version};
    }
    pthread_mutex_unlock(&n->lock);
    return e != NULL;
}
