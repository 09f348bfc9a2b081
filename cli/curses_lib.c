#include "cli/curses_lib.h"

#include "common/os/library.h"

#include <stddef.h>

#define LIBRARY "libncursesw.so.6" /* of the interface that the header declares */

const struct curses *curses_load(struct err *e) {
    static struct curses curses;
    static bool loaded;
    if (loaded)
        return &curses;
    void *library = library_open(LIBRARY, e);
    if (!library) {
        err_add(e, "the screen needs the package libncursesw6 (or use --once)");
        return NULL;
    }
#define CURSES_FIND(name)                                                                          \
    if (library_find(library, LIBRARY, #name, &curses.name, e) < 0)                                \
        return NULL;
    CURSES_CALLS(CURSES_FIND)
#undef CURSES_FIND
    loaded = true;
    return &curses;
}
