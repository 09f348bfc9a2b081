#include "broker/mhd.h"

#include <dlfcn.h>
#include <string.h>

#define LIBRARY "libmicrohttpd.so.12" /* of the interface that the header declares */

static int find(void *library, const char *name, void *to, struct err *e) {
    void *symbol = dlsym(library, name);
    if (!symbol)
        return err_set(e, ERR_IO, LIBRARY ": has no %s", name);
    memcpy(to, &symbol, sizeof symbol);
    return 0;
}

const struct mhd *mhd_load(struct err *e) {
    static struct mhd mhd;
    static bool loaded;
    if (loaded)
        return &mhd;
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        err_set(e, ERR_IO, "%s", dlerror());
        return NULL;
    }
#define MHD_FIND(name)                                                                             \
    if (find(library, #name, &mhd.name, e) < 0)                                                    \
        return NULL;
    MHD_CALLS(MHD_FIND)
#undef MHD_FIND
    loaded = true;
    return &mhd;
}
