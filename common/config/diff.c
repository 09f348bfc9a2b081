#include "common/config/config_int.h"

/* Two settings being compared, and whom to tell. */
struct diff {
    const struct settings *old, *new;
    void (*visit)(void *ctx, const struct settings_change *change);
    void *ctx;
    size_t found;
};

static void tell(struct diff *d, const struct settings_change *change) {
    d->found++;
    if (d->visit)
        d->visit(d->ctx, change);
}

static void diff_entry(struct diff *d, enum settings_section_id id, size_t old_at, size_t new_at) {
    const struct settings_section *section = settings_section(id);
    for (size_t i = 0; i < section->rows; i++) {
        enum setting key = (enum setting)(section->first + i);
        AUTO_BUF before = BUF(2 * SETTINGS_VALUE_MAX);
        AUTO_BUF after = BUF(2 * SETTINGS_VALUE_MAX);
        settings_show(d->old, key, old_at, &before);
        settings_show(d->new, key, new_at, &after);
        if (!str_eq(buf_str(&before), buf_str(&after)))
            tell(d, &(struct settings_change){.what = SETTINGS_CHANGED,
                                              .live = settings_row(key)->live,
                                              .section = id,
                                              .id = key,
                                              .name = settings_entry_name(d->new, id, new_at),
                                              .old_at = old_at,
                                              .new_at = new_at});
    }
}

static void tell_whole(struct diff *d, enum settings_section_id id, enum settings_change_what what,
                       size_t at) {
    bool added = what == SETTINGS_ADDED;
    tell(d, &(struct settings_change){.what = what,
                                      .live = settings_section(id)->live,
                                      .section = id,
                                      .id = SETTINGS_ROWS,
                                      .name = settings_entry_name(added ? d->new : d->old, id, at),
                                      .old_at = added ? SETTINGS_USUAL : at,
                                      .new_at = added ? at : SETTINGS_USUAL});
}

/* Both lists are sorted by name: a merge. A plain section is one entry without a name. */
static void diff_section(struct diff *d, enum settings_section_id id) {
    size_t olds = settings_entries(d->old, id), news = settings_entries(d->new, id);
    size_t i = 0, j = 0;
    while (i < olds || j < news) {
        int order = i == olds   ? 1
                    : j == news ? -1
                                : str_cmp(settings_entry_name(d->old, id, i),
                                          settings_entry_name(d->new, id, j));
        if (order < 0)
            tell_whole(d, id, SETTINGS_REMOVED, i++);
        else if (order > 0)
            tell_whole(d, id, SETTINGS_ADDED, j++);
        else
            diff_entry(d, id, i++, j++);
    }
}

size_t settings_diff(const struct settings *old, const struct settings *new,
                     void (*visit)(void *ctx, const struct settings_change *change), void *ctx) {
    struct diff d = {old, new, visit, ctx, 0};
    for (enum settings_section_id id = 0; id < SETTINGS_SECTIONS; id++)
        diff_section(&d, id);
    return d.found;
}

int settings_change_show(const struct settings_change *change, struct buf *out) {
    static const char *const words[] = {
        [SETTINGS_ADDED] = "added",
        [SETTINGS_REMOVED] = "removed",
    };
    if (change->what == SETTINGS_CHANGED)
        return settings_show_key(change->id, change->name, out);
    return buf_printf(out, "%s." STR_FMT " %s", settings_section(change->section)->name,
                      STR_ARG(change->name), words[change->what]);
}
