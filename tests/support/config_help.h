/* Loading small configurations in tests: text in, settings or errors out. */
#pragma once

#include "common/config/settings.h"

/* Loads `yaml`, called q.yaml in errors; the test fails with the errors if it is refused. */
struct settings *config_good(const char *yaml, char *const *envp);
/* Expects exactly these errors, NULL at the end. */
void config_refused(const char *yaml, char *const *envp, const char *const *expected);
/* Compares a setting's text; `entry` as for settings_show. */
void config_expect(const struct settings *s, enum setting id, size_t entry, const char *text);
/* Appends a whole file; the test fails if it cannot be read. */
void config_read_file(const char *path, struct buf *out);

static inline void config_auto_destroy(struct settings **s) {
    settings_destroy(s);
}
#define AUTO_SETTINGS __attribute__((cleanup(config_auto_destroy))) struct settings *
