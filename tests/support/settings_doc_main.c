/* settings_doc reference|yaml: prints a page that is generated from the settings table. */
#include "tests/support/settings_doc.h"

#include <stdio.h>

int main(int argc, char **argv) {
    for (const struct settings_page *page = settings_pages(); argc == 2 && page->name; page++) {
        if (strcmp(argv[1], page->name) != 0)
            continue;
        AUTO_BUF text = BUF(SETTINGS_PAGE_MAX);
        page->write(&text);
        return fwrite(text.at, 1, text.len, stdout) == text.len && fflush(stdout) == 0 ? 0 : 1;
    }
    fprintf(stderr, "usage: settings_doc reference|yaml\n");
    return 2;
}
