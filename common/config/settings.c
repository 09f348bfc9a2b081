#include "common/config/config_int.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Far more than the largest file with the largest values needs. */
#define ARENA_MAX (32U << 20)

static struct settings_origin origin_at(const void *instance, const struct settings_row *row,
                                        enum setting id) {
    struct settings_origin **origins = config_origins(row->section, (void *)(uintptr_t)instance);
    return (*origins)[id - settings_section(row->section)->first];
}

static struct settings *settings_new(void) {
    struct arena *arena = arena_new(ARENA_MAX);
    struct settings *s = arena_alloc(arena, sizeof *s);
    *s = (struct settings){.arena = arena};
    return s;
}

void settings_destroy(struct settings **sp) {
    struct settings *s = *sp;
    if (!s)
        return;
    *sp = NULL;
    struct arena *arena = s->arena;
    arena_destroy(&arena);
}

/* A path's end, which tells more than its beginning. */
static const char *shown_path(const char *path) {
    size_t len = strlen(path);
    return len > 120 ? path + len - 120 : path;
}

static bool is_text(struct loader *l, struct str yaml) {
    if (yaml.len > SETTINGS_FILE_MAX) {
        err_list_add(l->errors, ERR_BAD_CONFIG, "%s: is larger than %u KiB", l->path,
                     SETTINGS_FILE_MAX >> 10);
        return false;
    }
    for (size_t line = 1; yaml.len; line++) {
        const char *end = memchr(yaml.at, '\n', yaml.len);
        size_t n = end ? (size_t)(end - yaml.at) + 1 : yaml.len;
        if (!str_is_utf8(str_make(yaml.at, n))) {
            loader_report(l, line, "is not UTF-8");
            return false;
        }
        yaml.at += n;
        yaml.len -= n;
    }
    return true;
}

/* Where no pool is listed there is one: a broker without workers is of no use. */
static void add_default_pool(struct loader *l) {
    size_t entry;
    struct err e;
    if (l->entries[SETTINGS_SECTION_pools].count == 0 &&
        loader_add(l, SETTINGS_SECTION_pools, STR("default"), &entry, &e) < 0)
        err_list_put(l->errors, &e);
}

int settings_parse(struct str yaml, const char *path, char *const *envp, struct settings **out,
                   struct err_list *errors) {
    *out = NULL;
    size_t before = errors->count + errors->dropped;
    struct settings *s = settings_new();
    struct loader l = {
        .arena = s->arena, .settings = s, .envp = envp, .path = shown_path(path), .errors = errors};
    loader_start(&l);
    if (is_text(&l, yaml))
        load_yaml(&l, yaml);
    add_default_pool(&l);
    load_env(&l);
    loader_finish(&l);
    check_relations(&l);
    check_keys(&l);
    if (errors->count + errors->dropped > before) {
        settings_destroy(&s);
        return -1;
    }
    *out = s;
    return 0;
}

static int read_all(int fd, struct buf *text) {
    for (;;) {
        char piece[4096];
        ssize_t n = read(fd, piece, sizeof piece);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return (int)n;
        if (buf_put(text, piece, (size_t)n) < 0)
            return 0; /* over the bound: the text is refused for its size */
    }
}

/* Nobody waits for the other end of a pipe: `quern up` would neither start anything again nor end
 * meanwhile. Nor could it be read a second time. */
static int open_file(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISFIFO(st.st_mode))
        return fd;
    close(fd);
    errno = ESPIPE;
    return -1;
}

/* Leaves room for one piece more than is allowed, so that a larger file is seen to be larger. */
int settings_read(const char *path, struct buf *text, struct err_list *errors) {
    struct err e;
    int fd = open_file(path);
    int rc = fd < 0 ? -1 : read_all(fd, text);
    if (rc < 0) {
        err_set(&e, ERR_BAD_CONFIG, "%s: cannot be read: %s", shown_path(path),
                errno == ESPIPE ? "it is a pipe, and must be a file" : strerror(errno));
        err_list_put(errors, &e);
    }
    if (fd >= 0)
        close(fd);
    return rc;
}

int settings_load(const char *path, char *const *envp, struct settings **out,
                  struct err_list *errors) {
    *out = NULL;
    AUTO_BUF text = SETTINGS_FILE_BUF;
    if (path && settings_read(path, &text, errors) < 0)
        return -1;
    return settings_parse(buf_str(&text), path ? path : "defaults", envp, out, errors);
}

struct settings_origin settings_origin(const struct settings *s, enum setting id, size_t entry) {
    const struct settings_row *row = settings_row(id);
    return origin_at(config_instance(s, row->section, entry), row, id);
}

int settings_show(const struct settings *s, enum setting id, size_t entry, struct buf *out) {
    const struct settings_row *row = settings_row(id);
    config_value_show(row, config_instance(s, row->section, entry), out);
    return out->failed ? -1 : 0;
}

int settings_show_key(enum setting id, struct str entry_name, struct buf *out) {
    const struct settings_row *row = settings_row(id);
    buf_printf(out, "%s.", settings_section(row->section)->name);
    if (entry_name.len)
        buf_printf(out, STR_FMT ".", STR_ARG(entry_name));
    return buf_printf(out, "%s", row->key);
}
