#include "common/config/config_int.h"

static bool is_over(uint64_t left, uint64_t right) {
    return left > right;
}

static bool is_missing(uint64_t left, uint64_t right) {
    return left != 0 && right == 0;
}

static const struct rule {
    bool (*broken)(uint64_t left, uint64_t right);
    const char *words;
} rules[] = {
    [RELATION_NOT_OVER] = {is_over, "is over"},
    [RELATION_NEEDS] = {is_missing, "is of no use with"},
};

static void put_side(struct buf *out, const struct loader *l, enum setting id, size_t entry) {
    enum settings_section_id section = settings_row(id)->section;
    settings_show_key(id, settings_entry_name(l->settings, section, entry), out);
    buf_put_str(out, STR(" ("));
    settings_show(l->settings, id, entry, out);
    buf_put_str(out, STR(")"));
}

static void check_entry(struct loader *l, const struct relation *r, size_t entry) {
    const struct settings_row *left = settings_row(r->left), *right = settings_row(r->right);
    struct settings_origin from = settings_origin(l->settings, r->left, entry);
    struct settings_origin other = settings_origin(l->settings, r->right, entry);
    const struct rule *rule = &rules[r->rule];
    const void *left_at = config_instance(l->settings, left->section, entry);
    const void *right_at = config_instance(l->settings, right->section, entry);
    /* What an entry only inherits was checked where it stands. */
    bool given = from.from != SETTINGS_FROM_DEFAULT || other.from != SETTINGS_FROM_DEFAULT;
    if (!given || from.bad || other.bad ||
        !rule->broken(config_value_number(left, left_at), config_value_number(right, right_at)))
        return;
    AUTO_BUF text = BUF(ERR_TEXT_MAX);
    put_side(&text, l, r->left, entry);
    buf_printf(&text, " %s ", rule->words);
    put_side(&text, l, r->right, entry);
    loader_report(l, from.line > other.line ? from.line : other.line, STR_FMT ": %s",
                  STR_ARG(buf_str(&text)), r->why);
}

void check_relations(struct loader *l) {
    for (size_t i = 0; i < config_relations_count; i++) {
        const struct relation *r = &config_relations[i];
        size_t entries = settings_entries(l->settings, settings_row(r->left)->section);
        for (size_t entry = 0; entry < entries; entry++)
            check_entry(l, r, entry);
    }
}
