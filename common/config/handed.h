/* The settings that a program holds, as a file for the programs that it starts.
 *
 * A child that is started again must not depend on what an operator is just writing: it is given a
 * copy of the file as its parent has accepted it. The copy is replaced as a whole, and only by what
 * was found valid. It is the text and not the values: what the text takes from the environment
 * (${NAME}), children inherit, and secrets stay off the disk. Only where the disk is so full that
 * there is room for no copy, and none is there from before, the file itself *stands in* for it.
 *
 * Begin with `struct handed h = {0}`. Without a file nothing is handed down. One thread. */
#pragma once

#include "common/config/settings.h"

#include <limits.h>

struct handed {
    char path[PATH_MAX]; /* of the copy; "" until it is opened */
    char file[PATH_MAX]; /* that was last loaded, absolute */
    struct buf text;     /* as last accepted */
    bool given;          /* there is a file */
    bool stands_in;      /* the file does, for the copy */
    bool not_kept;       /* what was last loaded was valid, but could not be handed down */
};

/* As settings_load of `file`, which may be NULL. What is valid is held from then on, and handed
 * down if the copy is open; where that cannot be written nothing has changed. */
int handed_load(struct handed *h, const char *file, char *const *envp, struct settings **out,
                struct err_list *errors);
/* From now on the copy is at `path`; writes it, or lets the file stand in. */
int handed_open(struct handed *h, const char *path, struct err *e);
/* Writes it where somebody has removed it, or where there was no room for it. Call it before a
 * child is started. */
int handed_keep(struct handed *h, struct err *e);
/* What a child is told; NULL if there is nothing. */
const char *handed_path(const struct handed *h);
/* Removes the copy. */
void handed_remove(struct handed *h);
void handed_done(struct handed *h);
