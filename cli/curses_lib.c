#include "cli/curses_lib.h"

#include <dlfcn.h>
#include <string.h>

#define LIBRARY "libncursesw.so.6" /* of the interface that the header declares */

static int find(void *library, const char *name, void *to, struct err *e) {
    void *symbol = dlsym(library, name);
    if (!symbol)
        return err_set(e, ERR_IO, LIBRARY ": has no %s", name);
    memcpy(to, &symbol, sizeof symbol);
    return 0;
}

const struct curses *curses_load(struct err *e) {
    static struct curses curses;
    static bool loaded;
    if (loaded)
        return &curses;
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        err_set(e, ERR_IO, "the screen needs the package libncursesw6 (or use --once): %s",
                dlerror());
        return NULL;
    }
#define CURSES_FIND(name)                                                                          \
    if (find(library, #name, &curses.name, e) < 0)                                                 \
        return NULL;
    CURSES_CALLS(CURSES_FIND)
#undef CURSES_FIND
    loaded = true;
    return &curses;
}
