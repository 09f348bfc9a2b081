#include "common/wire/note_table.h"

#include "common/base/mem.h"

struct note_table {
    uint64_t version;
    struct note_entry **at; /* by name; each with its texts in one piece */
    uint32_t n, size;
};

struct note_table *note_table_new(void) {
    return MEM_NEW(struct note_table);
}

void note_table_destroy(struct note_table **tp) {
    if (!*tp)
        return;
    note_table_forget(*tp);
    mem_free((*tp)->at);
    MEM_FREE(*tp);
}

void note_table_forget(struct note_table *t) {
    while (t->n)
        mem_free(t->at[--t->n]);
    t->version = 0;
}

uint64_t note_table_version(const struct note_table *t) {
    return t->version;
}

uint32_t note_table_count(const struct note_table *t) {
    return t->n;
}

const struct note_entry *note_table_at(const struct note_table *t, uint32_t n) {
    return t->at[n];
}

/* Where the name stands, or would. */
static uint32_t place_of(const struct note_table *t, struct str name, bool *found) {
    uint32_t low = 0, high = t->n;
    *found = false;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = str_cmp(t->at[middle]->name, name);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct note_entry *note_table_find(const struct note_table *t, struct mono now,
                                         struct str name) {
    bool found;
    uint32_t at = place_of(t, name, &found);
    return found && !mono_reached(now, t->at[at]->ends) ? t->at[at] : NULL;
}

/* ---- changing ------------------------------------------------------------------------------- */
static void remove_at(struct note_table *t, uint32_t at) {
    mem_free(t->at[at]);
    t->n--;
    memmove(&t->at[at], &t->at[at + 1], (t->n - at) * sizeof(struct note_entry *));
}

/* Those that are over go; if there is none, the one that will be first: the broker has no more than
 * so many, so that it must be one whose end or removal is on its way. */
static void make_room(struct note_table *t, struct mono now) {
    uint32_t first = 0;
    for (uint32_t n = t->n; n-- > 0;)
        if (mono_reached(now, t->at[n]->ends))
            remove_at(t, n);
    if (t->n < NOTES_MAX)
        return;
    for (uint32_t n = 1; n < t->n; n++)
        if (t->at[n]->ends.ms < t->at[first]->ends.ms)
            first = n;
    remove_at(t, first);
}

static struct note_entry *entry_new(struct str name, struct str value) {
    struct note_entry *e = mem_alloc(sizeof *e + name.len + value.len);
    char *text = (char *)(e + 1);
    memcpy(text, name.at, name.len);
    memcpy(text + name.len, value.at, value.len);
    *e = (struct note_entry){.name = {text, name.len}, .value = {text + name.len, value.len}};
    return e;
}

static void put(struct note_table *t, struct mono now, struct str name, struct str value,
                uint64_t left_ms, uint64_t version) {
    if (t->n >= NOTES_MAX)
        make_room(t, now);
    bool found;
    uint32_t at = place_of(t, name, &found);
    struct note_entry *e = entry_new(name, value);
    e->version = version;
    e->ends = mono_add(now, left_ms);
    if (found) {
        mem_free(t->at[at]);
    } else {
        if (t->n == t->size) {
            t->size = t->size ? t->size * 2 : 16;
            t->at = mem_grow(t->at, t->size, sizeof(struct note_entry *));
        }
        memmove(&t->at[at + 1], &t->at[at], (t->n - at) * sizeof(struct note_entry *));
        t->n++;
    }
    t->at[at] = e;
}

static void change(struct note_table *t, struct mono now, struct str name, struct str value,
                   uint64_t left_ms, uint64_t version) {
    bool found;
    uint32_t at = place_of(t, name, &found);
    if (found && t->at[at]->version > version)
        return; /* what we have set ourselves since */
    if (value.len && left_ms)
        put(t, now, name, value, left_ms, version);
    else if (found)
        remove_at(t, at);
}

void note_table_take(struct note_table *t, struct mono now, const struct msg_note_info *m) {
    if (m->behind && (m->version <= t->version || m->behind > t->version))
        return;
    for (uint32_t n = t->n; n-- > 0 && !m->behind;)
        if (t->at[n]->version <= t->version) /* else we have set it since */
            remove_at(t, n);
    t->version = m->version;
    change(t, now, m->name, m->value, m->left_ms, m->version);
}

void note_table_set(struct note_table *t, struct mono now, const struct msg_set_note *m,
                    uint64_t version) {
    change(t, now, m->name, version ? m->value : STR(""), m->for_ms,
           version ? version : UINT64_MAX);
}
