#include "common/config/handed.h"

#include "common/os/replace.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Without room for a copy the file itself stands in. A copy that is there is not given up for it.
 */
static int put(struct handed *h, struct str text, struct err *e) {
    int rc = file_replace(h->path, text, e);
    h->stands_in = rc < 0 && e->code == ERR_DISK_FULL && h->file[0] && access(h->path, F_OK) < 0;
    return h->stands_in ? 0 : rc;
}

int handed_load(struct handed *h, const char *file, char *const *envp, struct settings **out,
                struct err_list *errors) {
    AUTO_BUF text = SETTINGS_FILE_BUF;
    struct err e;
    *out = NULL;
    h->not_kept = false;
    if (file && settings_read(file, &text, errors) < 0)
        return -1;
    if (settings_parse(buf_str(&text), file ? file : "defaults", envp, out, errors) < 0)
        return -1;
    if (file && !realpath(file, h->file))
        h->file[0] = 0;
    if (file && h->path[0] && put(h, buf_str(&text), &e) < 0) {
        settings_destroy(out);
        h->not_kept = true;
        return err_list_put(errors, &e);
    }
    buf_destroy(&h->text);
    h->text = text;
    h->given = file != NULL;
    text = SETTINGS_FILE_BUF;
    return 0;
}

int handed_open(struct handed *h, const char *path, struct err *e) {
    if (snprintf(h->path, sizeof h->path, "%s", path) >= (int)sizeof h->path)
        return err_set(e, ERR_TOO_LARGE, "the path %.60s...: at most %d bytes", path, PATH_MAX - 1);
    return h->given ? put(h, buf_str(&h->text), e) : 0;
}

int handed_keep(struct handed *h, struct err *e) {
    bool there = !handed_path(h) || (!h->stands_in && access(h->path, R_OK) == 0);
    return there ? 0 : put(h, buf_str(&h->text), e);
}

const char *handed_path(const struct handed *h) {
    if (!h->given || !h->path[0])
        return NULL;
    return h->stands_in ? h->file : h->path;
}

void handed_remove(struct handed *h) {
    if (handed_path(h))
        unlink(h->path);
    h->path[0] = 0;
}

void handed_done(struct handed *h) {
    buf_destroy(&h->text);
    *h = (struct handed){0};
}
