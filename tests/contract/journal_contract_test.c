/* The journal's contract over every implementation: files on the system's disk and on one in
 * memory, with threads and without, and the journal that needs no disk. */
#include "broker/journal/file_layer.h"
#include "common/base/mem.h"
#include "tests/contract/journal_contract.h"
#include "tests/support/crash_files.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int open_files(const char *dir, const struct file_layer *layer, bool threads,
                      struct journal **out, struct err *e) {
    struct journal_options options = {.dir = dir,
                                      .segment_bytes = 128U << 10,
                                      .fill_bytes_max = 1U << 20,
                                      .turn_bytes_max = CONTRACT_TURN_BYTES,
                                      .loads_max = 16,
                                      .no_threads = !threads};
    return journal_open(out, &options, layer, e);
}

/* ---- the system's files ---------------------------------------------------------------------- */

static void *make_folder(void) {
    const char *tmp = getenv("TMPDIR");
    char path[512];
    snprintf(path, sizeof path, "%s/journal-contract-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(path))
        abort();
    return mem_strdup(path);
}

static void remove_folder(void *place) {
    DIR *dir = opendir(place);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
    rmdir(place);
    mem_free(place);
}

static int open_folder(void *place, struct journal **out, struct err *e) {
    return open_files(place, &file_layer_real, true, out, e);
}

static int open_folder_without_threads(void *place, struct journal **out, struct err *e) {
    return open_files(place, &file_layer_real, false, out, e);
}

/* ---- the disk in memory ---------------------------------------------------------------------- */

static void *make_disk(void) {
    struct crash_disk *d = crash_disk_new(1);
    crash_disk_short_calls(d, true);
    return d;
}

static void destroy_disk(void *place) {
    struct crash_disk *d = place;
    crash_disk_destroy(&d);
}

static int open_disk(void *place, struct journal **out, struct err *e) {
    return open_files("disk", crash_disk_layer(place), true, out, e);
}

static int open_disk_without_threads(void *place, struct journal **out, struct err *e) {
    return open_files("disk", crash_disk_layer(place), false, out, e);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void *make_memory(void) {
    return journal_memory_new();
}

static void destroy_memory(void *place) {
    struct journal_memory *m = place;
    journal_memory_destroy(&m);
}

static int open_memory(void *place, struct journal **out, struct err *e) {
    return journal_open_memory(out, place, e);
}

int main(void) {
    static const struct journal_maker makers[] = {
        {"files", make_folder, remove_folder, open_folder},
        {"files, no threads", make_folder, remove_folder, open_folder_without_threads},
        {"files on the crash disk", make_disk, destroy_disk, open_disk},
        {"files on the crash disk, no threads", make_disk, destroy_disk, open_disk_without_threads},
        {"memory", make_memory, destroy_memory, open_memory},
    };
    int failed = 0;
    for (size_t i = 0; i < sizeof makers / sizeof makers[0]; i++)
        failed += journal_contract(&makers[i]);
    return failed ? 1 : 0;
}
