#include "broker/mhd.h"

#include "common/os/library.h"

#include <stddef.h>

#define LIBRARY "libmicrohttpd.so.12" /* of the interface that the header declares */

const struct mhd *mhd_load(struct err *e) {
    static struct mhd mhd;
    static bool loaded;
    if (loaded)
        return &mhd;
    void *library = library_open(LIBRARY, e);
    if (!library)
        return NULL;
#define MHD_FIND(name)                                                                             \
    if (library_find(library, LIBRARY, #name, &mhd.name, e) < 0)                                   \
        return NULL;
    MHD_CALLS(MHD_FIND)
#undef MHD_FIND
    loaded = true;
    return &mhd;
}
