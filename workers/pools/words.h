/* A pool's command as a list of arguments: words between blanks, '...' as it stands, "..." and
 * outside of quotes \ before a character. No variables, no patterns: for those say sh -c "...". */
#pragma once

#include "common/base/arena.h"
#include "common/base/err.h"

/* `argv` has a NULL at its end and lies in the arena, like the words. */
int words_split(struct str command, struct arena *arena, char ***argv, struct err *e);
