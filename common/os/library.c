#include "common/os/library.h"

#include <dlfcn.h>
#include <string.h>

void *library_open(const char *file, struct err *e) {
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        err_set(e, ERR_IO, "%s", dlerror());
    return library;
}

int library_find(void *library, const char *file, const char *name, void *to, struct err *e) {
    void *symbol = dlsym(library, name);
    if (!symbol)
        return err_set(e, ERR_IO, "%s: has no %s", file, name);
    memcpy(to, &symbol, sizeof symbol);
    return 0;
}
