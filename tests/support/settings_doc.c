#include "tests/support/settings_doc.h"

#include "common/base/check.h"
#include "common/config/config_int.h"

static const char before[] =
    "# Configuration\n"
    "\n"
    "Generated from `schemas/settings.def` by `settings_doc reference`; do not edit.\n"
    "\n"
    "`quern up --config FILE` reads one YAML file; `config/quern.yaml` is one that holds every\n"
    "default. A value comes from the environment, else from the file, else it is the default.\n"
    "A file is taken as a whole or refused as a whole, with all that is wrong in it (up to 20\n"
    "errors), each as `FILE:LINE: SECTION.KEY: what is wrong, and the bound`.\n"
    "\n"
    "## How values are written\n"
    "\n"
    "| type | looks like |\n"
    "| --- | --- |\n"
    "| true or false | `true`, `false`; also `yes`, `no`, `on`, `off` |\n"
    "| number | `100` |\n"
    "| duration | a whole number and `ms`, `s`, `m`, `h` or `d`: `250ms`, `14d`; without a unit, "
    "seconds |\n"
    "| size | a whole number and `B`, `KiB`, `MiB` or `GiB`: `64MiB`; without a unit, bytes |\n"
    "| rate | a whole number and `/s`, `/m`, `/h` or `/d`: `100/s`, `30/m` |\n"
    "| ... or none | the same, or `none` (also `0`) for no limit |\n"
    "| name | 1 to 64 of `A-Z a-z 0-9 . _ : -`, not beginning with `.` or `-` |\n"
    "| list of names | `[scrape, embed]`; also `scrape, embed` |\n"
    "| text, path | UTF-8 without line breaks |\n"
    "| key | the 64 digits that `quern keygen` prints |\n"
    "| name or * | a name, or `*` for all; in quotes, as YAML has it |\n"
    "| `tcp://ADDRESS:PORT` | a numeric address of this host, IPv6 in brackets; port `*` is any "
    "free "
    "one |\n"
    "| `HOST:PORT` | a host name or address, IPv6 in brackets; port `0` is any free one |\n"
    "\n"
    "`${NAME}` in a value is taken from the environment, `${NAME:-default}` too, with a default\n"
    "for when it is unset or empty; `$${` stands for `${`. A variable that is not set and has no\n"
    "default is an error. Anchors, aliases and tags of YAML are refused, and so are a file over\n"
    "256 KiB, nesting deeper than 16 levels, a second document, a key given twice and more than\n"
    "1024 entries of a section.\n"
    "\n"
    "## The environment\n"
    "\n"
    "`QUERN_<SECTION>_<KEY>` overrides a setting: `QUERN_BROKER_HEARTBEAT=2s`. Of an entry it is\n"
    "`QUERN_<SECTION>_<NAME>_<KEY>`, where what is no letter or digit is written `_`:\n"
    "`QUERN_POOLS_WEB_PAGES_SLOTS=8` is `slots` of the pool `web-pages`. It changes entries that\n"
    "the file lists (and the pool `default`, if it lists none); it adds none. Any other `QUERN_`\n"
    "variable is taken for a mistake and refused, but for these:\n"
    "\n";

static const char between[] =
    "\n"
    "## Reload\n"
    "\n"
    "`quern reload` or SIGHUP reads the file again, and applies all of it or, if anything is "
    "wrong,\n"
    "nothing. Settings marked *live* take effect at once; it lists those that changed and are\n"
    "marked *restart*, which wait for one. Limits, pauses and scales that were set at run time "
    "win\n"
    "over the file until they are reset. Entries of `queues`, `tenants` and `kinds` may come and "
    "go\n"
    "live, those of `pools` by a restart.\n"
    "\n"
    "## Settings\n";

static void put_default(struct buf *out, const struct settings_row *row) {
    if (row->fallback[0] == '@')
        buf_printf(out, "as `%s`", row->fallback + 1);
    else if (row->fallback[0] == '\0')
        buf_put_str(out, STR("empty"));
    else
        buf_printf(out, "`%s`", row->fallback);
}

static void put_row(struct buf *out, const struct settings_row *row) {
    buf_printf(out, "| `%s` | %s | ", row->key, row->doc);
    AUTO_BUF bounds = BUF(256);
    config_bounds_show(row, &bounds);
    buf_printf(out, "%s", settings_type_words(row->type));
    if (bounds.len)
        buf_printf(out, ": " STR_FMT, STR_ARG(buf_str(&bounds)));
    buf_put_str(out, STR(" | "));
    put_default(out, row);
    buf_printf(out, " | %s |\n", row->live ? "live" : "restart");
}

static void put_section(struct buf *out, enum settings_section_id id) {
    const struct settings_section *section = settings_section(id);
    buf_printf(out, "\n### %s%s\n\n%s\n\n", section->name, section->named ? ": NAME" : "",
               section->doc);
    buf_put_str(out, STR("| key | what it does | type and bounds | default | change |\n"
                         "| --- | --- | --- | --- | --- |\n"));
    for (size_t i = 0; i < section->rows; i++)
        put_row(out, settings_row((enum setting)(section->first + i)));
}

static void put_relations(struct buf *out) {
    static const char *const words[] = {
        [RELATION_NOT_OVER] = "is not over",
        [RELATION_NEEDS] = "needs",
    };
    buf_put_str(out, STR("\n### Between settings\n\n"));
    for (size_t i = 0; i < config_relations_count; i++) {
        const struct relation *r = &config_relations[i];
        buf_put_str(out, STR("- `"));
        settings_show_key(r->left, STR(""), out);
        buf_printf(out, "` %s `", words[r->rule]);
        settings_show_key(r->right, STR(""), out);
        buf_printf(out, "`: %s.\n", r->why);
    }
}

static void write_reference(struct buf *out) {
    buf_put_str(out, str_of(before));
    buf_put_str(out, STR("| variable | what it is |\n| --- | --- |\n"));
    for (const struct settings_foreign *f = settings_foreign(); f->name; f++)
        buf_printf(out, "| `%s` | %s |\n", f->name, f->doc);
    buf_put_str(out, str_of(between));
    for (enum settings_section_id id = 0; id < SETTINGS_SECTIONS; id++)
        put_section(out, id);
    put_relations(out);
}

static void write_yaml(struct buf *out) {
    struct settings *s;
    struct err_list errors = {0};
    int rc = settings_load(NULL, NULL, &s, &errors);
    ASSERT(rc == 0);
    buf_put_str(out,
                STR("# Quern's configuration: every setting, with its default.\n"
                    "#\n"
                    "# A file needs only the lines that differ. In parentheses: the bounds, and "
                    "whether a reload\n"
                    "# applies a change or a restart is needed. docs/configuration.md says how "
                    "values are written.\n"
                    "# Generated from schemas/settings.def by `settings_doc yaml`.\n"));
    settings_show_yaml(s, true, out);
    settings_destroy(&s);
}

const struct settings_page *settings_pages(void) {
    static const struct settings_page pages[] = {
        {"reference", "docs/configuration.md", write_reference},
        {"yaml", "config/quern.yaml", write_yaml},
        {NULL, NULL, NULL},
    };
    return pages;
}
