/* The pages that are generated from the settings table: docs/configuration.md and
 * config/quern.yaml.
 *
 * The program settings_doc prints them; settings_test compares them with the committed files. A
 * page is a pure function of the table. */
#pragma once

#include "common/base/buf.h"

struct settings_page {
    const char *name; /* what the program is asked for */
    const char *path; /* where it is committed, from the top of the tree */
    void (*write)(struct buf *out);
};

#define SETTINGS_PAGE_MAX (1U << 20)

/* Ends with a row whose name is NULL. */
const struct settings_page *settings_pages(void);
