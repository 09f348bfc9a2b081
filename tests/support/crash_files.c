#include "tests/support/crash_files.h"

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/base/rng.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define SECTOR      512U
#define ENTRIES_MAX 512U
#define CHANGES_MAX 4096U

/* One file's contents: as shown and as kept. */
struct node {
    char *shown, *kept;
    bool *dirty; /* of each sector */
    uint64_t size, kept_size, room;
    unsigned handles;
};

struct slot {
    struct node *node;
};

struct entry {
    char name[FILE_NAME_SIZE];
    struct node *node;
};

struct names {
    struct entry at[ENTRIES_MAX];
    size_t n;
};

/* A change of names that is not synced: `to` becomes node, `from` goes. */
struct change {
    char from[FILE_NAME_SIZE], to[FILE_NAME_SIZE];
    struct node *node;
};

struct crash_disk {
    struct file_layer layer;
    /* Tests of threads call from several; a disk has one queue. */
    pthread_mutex_t lock;
    struct rng rng;
    struct names shown, kept;
    struct change *changes;
    size_t n_changes;
    struct slot *nodes;
    size_t n_nodes, nodes_size;
    struct crash_plan plan;
    uint64_t counted, capacity;
    bool struck, off, locked, short_calls;
    long holder;
};

struct crash_dir {
    struct file_dir base;
    struct crash_disk *disk;
    bool holds_lock;
};

struct crash_file {
    struct file base;
    struct crash_disk *disk;
    struct node *node;
    bool direct;
};

/* ---- contents -------------------------------------------------------------------------------- */

static void node_room(struct node *n, uint64_t bytes) {
    if (bytes <= n->room)
        return;
    uint64_t room = (bytes + SECTOR - 1) / SECTOR * SECTOR;
    n->shown = mem_grow(n->shown, room, 1);
    n->kept = mem_grow(n->kept, room, 1);
    n->dirty = mem_grow(n->dirty, room / SECTOR, sizeof *n->dirty);
    memset(n->shown + n->room, 0, room - n->room);
    memset(n->kept + n->room, 0, room - n->room);
    memset(n->dirty + n->room / SECTOR, 0, (room - n->room) / SECTOR * sizeof *n->dirty);
    n->room = room;
}

static void node_free(struct node *n) {
    mem_free(n->shown);
    mem_free(n->kept);
    mem_free(n->dirty);
    mem_free(n);
}

static void node_write(struct node *n, const void *from, size_t bytes, uint64_t at) {
    node_room(n, at + bytes);
    memcpy(n->shown + at, from, bytes);
    for (uint64_t s = at / SECTOR; bytes && s <= (at + bytes - 1) / SECTOR; s++)
        n->dirty[s] = true;
    if (at + bytes > n->size)
        n->size = at + bytes;
}

/* Of each dirty sector: kept in `of_million` of a million cases; what is shown stays. */
static void node_keep(struct crash_disk *d, struct node *n, uint32_t of_million) {
    for (uint64_t s = 0; s < n->room / SECTOR; s++) {
        if (n->dirty[s] && (of_million == 1000000 || rng_chance(&d->rng, of_million)))
            memcpy(n->kept + s * SECTOR, n->shown + s * SECTOR, SECTOR);
        n->dirty[s] = false;
    }
    if (of_million == 1000000 || rng_chance(&d->rng, of_million))
        n->kept_size = n->size;
}

static void node_show_kept(struct node *n) {
    n->size = n->kept_size;
    memcpy(n->shown, n->kept, n->room);
    memset(n->dirty, 0, n->room / SECTOR * sizeof *n->dirty);
    /* What lies behind the end is not there. */
    memset(n->shown + n->size, 0, n->room - n->size);
    memset(n->kept + n->size, 0, n->room - n->size);
}

static struct node *node_new(struct crash_disk *d) {
    if (d->n_nodes == d->nodes_size) {
        d->nodes_size = d->nodes_size ? 2 * d->nodes_size : 16;
        d->nodes = mem_grow(d->nodes, d->nodes_size, sizeof *d->nodes);
    }
    struct node *n = MEM_NEW(struct node);
    node_room(n, SECTOR);
    d->nodes[d->n_nodes++].node = n;
    return n;
}

/* ---- names ----------------------------------------------------------------------------------- */

static struct entry *find(struct names *names, const char *name) {
    for (size_t i = 0; i < names->n; i++)
        if (strcmp(names->at[i].name, name) == 0)
            return &names->at[i];
    return NULL;
}

static void set_name(struct names *names, const char *name, struct node *node) {
    struct entry *en = find(names, name);
    if (!en) {
        ASSERT(names->n < ENTRIES_MAX);
        en = &names->at[names->n++];
        snprintf(en->name, sizeof en->name, "%s", name);
    }
    en->node = node;
}

static void drop_name(struct names *names, const char *name) {
    struct entry *en = find(names, name);
    if (en)
        *en = names->at[--names->n];
}

static void apply(struct names *names, const struct change *c) {
    if (c->from[0] && c->to[0] && !find(names, c->from))
        return; /* renames what never came to be */
    if (c->from[0])
        drop_name(names, c->from);
    if (c->to[0])
        set_name(names, c->to, c->node);
}

static void change(struct crash_disk *d, const char *from, const char *to, struct node *node) {
    struct change *c = &d->changes[d->n_changes++];
    ASSERT(d->n_changes < CHANGES_MAX);
    *c = (struct change){.node = node};
    snprintf(c->from, sizeof c->from, "%s", from);
    snprintf(c->to, sizeof c->to, "%s", to);
    apply(&d->shown, c);
}

static bool named(struct names *names, const struct node *node) {
    for (size_t i = 0; i < names->n; i++)
        if (names->at[i].node == node)
            return true;
    return false;
}

static void sweep(struct crash_disk *d) {
    size_t left = 0;
    for (size_t i = 0; i < d->n_nodes; i++) {
        struct node *n = d->nodes[i].node;
        if (n->handles || named(&d->shown, n) || named(&d->kept, n))
            d->nodes[left++].node = n;
        else
            node_free(n);
    }
    d->n_nodes = left;
}

/* A journalling file system keeps a prefix of the changes; not all are so kind. */
static void keep_names(struct crash_disk *d) {
    bool prefix = rng_chance(&d->rng, 700000);
    size_t upto = rng_below(&d->rng, (uint32_t)d->n_changes + 1);
    for (size_t i = 0; i < d->n_changes; i++)
        if (prefix ? i < upto : rng_chance(&d->rng, 500000))
            apply(&d->kept, &d->changes[i]);
    d->n_changes = 0;
}

/* ---- faults ---------------------------------------------------------------------------------- */

/* Takes the lock, which leave() gives back; the fault that strikes this call. */
static enum crash_fault enter(struct crash_disk *d, enum crash_call call) {
    pthread_mutex_lock(&d->lock);
    if (d->off)
        return FAULT_EIO;
    if (!d->plan.fault || !(d->plan.calls & call))
        return FAULT_NONE;
    d->counted++;
    if (d->counted < d->plan.at || (d->counted > d->plan.at && !d->plan.stays))
        return FAULT_NONE;
    d->struck = true;
    return d->plan.fault;
}

static int leave(struct crash_disk *d, enum crash_fault fault, int status) {
    if (fault == FAULT_POWER)
        d->off = true;
    if (fault != FAULT_NONE) {
        errno = fault == FAULT_ENOSPC ? ENOSPC : EIO;
        status = -1;
    }
    int saved = errno;
    pthread_mutex_unlock(&d->lock);
    errno = saved;
    return status;
}

/* How much a call takes that may be cut short. */
static size_t some(struct crash_disk *d, size_t n) {
    if (!d->short_calls || n <= SECTOR || !rng_chance(&d->rng, 300000))
        return n;
    return (1 + rng_below(&d->rng, (uint32_t)((n - 1) / SECTOR))) * SECTOR;
}

/* ---- the layer: directories ------------------------------------------------------------------ */

static struct crash_disk *disk_of(struct file_dir *dir) {
    return ((struct crash_dir *)dir)->disk;
}

static int crash_dir_open(const struct file_layer *layer, const char *path, struct file_dir **out) {
    struct crash_disk *d = (struct crash_disk *)(uintptr_t)layer;
    enum crash_fault fault = enter(d, CALL_DIR_OPEN);
    if (fault == FAULT_NONE) {
        struct crash_dir *dir = MEM_NEW(struct crash_dir);
        dir->base.layer = layer;
        snprintf(dir->base.path, sizeof dir->base.path, "%s", path);
        dir->disk = d;
        *out = &dir->base;
    }
    return leave(d, fault, 0);
}

static void crash_dir_close(struct file_dir *dir) {
    struct crash_disk *d = disk_of(dir);
    pthread_mutex_lock(&d->lock);
    if (((struct crash_dir *)dir)->holds_lock)
        d->locked = false;
    pthread_mutex_unlock(&d->lock);
    mem_free(dir);
}

static int crash_lock(struct file_dir *dir, const char *name, long *pid) {
    struct crash_disk *d = disk_of(dir);
    enum crash_fault fault = enter(d, CALL_LOCK);
    int status = 0;
    if (fault == FAULT_NONE && d->locked) {
        *pid = 4711;
        errno = EWOULDBLOCK;
        status = -1;
    } else if (fault == FAULT_NONE) {
        d->locked = ((struct crash_dir *)dir)->holds_lock = true;
        if (!find(&d->shown, name))
            change(d, "", name, node_new(d));
    }
    return leave(d, fault, status);
}

static int crash_list(struct file_dir *dir,
                      void (*each)(void *ctx, const char *name, uint64_t bytes), void *ctx) {
    struct crash_disk *d = disk_of(dir);
    enum crash_fault fault = enter(d, CALL_LIST);
    for (size_t i = 0; fault == FAULT_NONE && i < d->shown.n; i++)
        each(ctx, d->shown.at[i].name, d->shown.at[i].node->size);
    return leave(d, fault, 0);
}

static uint64_t used(struct crash_disk *d) {
    uint64_t sum = 0;
    for (size_t i = 0; i < d->shown.n; i++)
        sum += d->shown.at[i].node->size;
    return sum;
}

static int crash_space(struct file_dir *dir, uint64_t *free_bytes) {
    struct crash_disk *d = disk_of(dir);
    enum crash_fault fault = enter(d, CALL_SPACE);
    uint64_t taken = used(d);
    *free_bytes = !d->capacity ? UINT64_MAX : (taken < d->capacity ? d->capacity - taken : 0);
    return leave(d, fault, 0);
}

static int crash_rename(struct file_dir *dir, const char *from, const char *to) {
    struct crash_disk *d = disk_of(dir);
    enum crash_fault fault = enter(d, CALL_RENAME);
    struct entry *en = find(&d->shown, from);
    int status = 0;
    if (fault == FAULT_POWER && en && rng_chance(&d->rng, 500000))
        change(d, from, to, en->node);
    if (fault == FAULT_NONE && !en) {
        errno = ENOENT;
        status = -1;
    } else if (fault == FAULT_NONE) {
        change(d, from, to, en->node);
    }
    return leave(d, fault, status);
}

static int crash_unlink(struct file_dir *dir, const char *name) {
    struct crash_disk *d = disk_of(dir);
    enum crash_fault fault = enter(d, CALL_UNLINK);
    int status = 0;
    if (fault == FAULT_NONE && !find(&d->shown, name)) {
        errno = ENOENT;
        status = -1;
    } else if (fault == FAULT_NONE || (fault == FAULT_POWER && find(&d->shown, name))) {
        change(d, name, "", NULL);
    }
    return leave(d, fault, status);
}

static int crash_sync_dir(struct file_dir *dir) {
    struct crash_disk *d = disk_of(dir);
    enum crash_fault fault = enter(d, CALL_SYNC_DIR);
    if (fault == FAULT_NONE) {
        d->kept = d->shown;
        d->n_changes = 0;
        sweep(d);
    }
    return leave(d, fault, 0);
}

/* ---- the layer: files ------------------------------------------------------------------------ */

static struct crash_file *file_of(struct file *file) {
    return (struct crash_file *)file;
}

static int crash_open(struct file_dir *dir, const char *name, enum file_how how,
                      struct file **out) {
    struct crash_disk *d = disk_of(dir);
    enum crash_fault fault = enter(d, CALL_OPEN);
    struct entry *en = find(&d->shown, name);
    if (fault == FAULT_NONE && !en && how != FILE_CREATE) {
        errno = ENOENT;
        return leave(d, fault, -1);
    }
    if (fault == FAULT_NONE) {
        if (how == FILE_CREATE) {
            change(d, "", name, node_new(d));
            en = find(&d->shown, name);
        } else if (how == FILE_DIRECT) {
            node_keep(d, en->node, 1000000);
            node_show_kept(en->node);
        }
        struct crash_file *f = MEM_NEW(struct crash_file);
        f->base.layer = dir->layer;
        f->base.dir = dir;
        snprintf(f->base.name, sizeof f->base.name, "%s", name);
        f->disk = d;
        f->node = en->node;
        f->node->handles++;
        f->direct = how == FILE_CREATE || how == FILE_DIRECT;
        *out = &f->base;
    }
    return leave(d, fault, 0);
}

static void crash_close(struct file *file) {
    struct crash_file *f = file_of(file);
    pthread_mutex_lock(&f->disk->lock);
    f->node->handles--;
    pthread_mutex_unlock(&f->disk->lock);
    mem_free(f);
}

/* What direct access asks for; the rest of a call that was cut short begins at any sector. */
static void check_direct(const struct crash_file *f, const void *buf, size_t n, uint64_t at) {
    uint64_t unit = f->disk->short_calls ? SECTOR : FILE_BLOCK;
    ASSERT(!f->direct || (n % unit == 0 && at % unit == 0 && (uintptr_t)buf % unit == 0));
}

static ssize_t crash_read(struct file *file, void *to, size_t n, uint64_t at) {
    struct crash_file *f = file_of(file);
    check_direct(f, to, n, at);
    enum crash_fault fault = enter(f->disk, CALL_READ);
    uint64_t left = at < f->node->size ? f->node->size - at : 0;
    size_t take = some(f->disk, left < n ? (size_t)left : n);
    if (fault == FAULT_NONE)
        memcpy(to, f->node->shown + at, take);
    return leave(f->disk, fault, 0) == 0 ? (ssize_t)take : -1;
}

static ssize_t crash_write(struct file *file, const void *from, size_t n, uint64_t at) {
    struct crash_file *f = file_of(file);
    check_direct(f, from, n, at);
    enum crash_fault fault = enter(f->disk, CALL_WRITE);
    size_t take = some(f->disk, n);
    if (fault != FAULT_NONE)
        take = f->disk->off ? 0 : rng_below(&f->disk->rng, (uint32_t)n + 1);
    node_write(f->node, from, take, at);
    return leave(f->disk, fault, 0) == 0 ? (ssize_t)take : -1;
}

static int crash_sync(struct file *file) {
    struct crash_file *f = file_of(file);
    enum crash_fault fault = enter(f->disk, CALL_SYNC);
    if (fault == FAULT_NONE)
        node_keep(f->disk, f->node, 1000000);
    else if (!f->disk->off)
        node_keep(f->disk, f->node, rng_below(&f->disk->rng, 1000000));
    return leave(f->disk, fault, 0);
}

static int crash_reserve(struct file *file, uint64_t bytes) {
    struct crash_file *f = file_of(file);
    struct crash_disk *d = f->disk;
    enum crash_fault fault = enter(d, CALL_RESERVE);
    uint64_t more = bytes > f->node->size ? bytes - f->node->size : 0;
    if (fault == FAULT_NONE && d->capacity && used(d) + more > d->capacity)
        fault = FAULT_ENOSPC;
    if (fault == FAULT_NONE && more) {
        node_room(f->node, bytes);
        f->node->size = bytes;
    }
    return leave(d, fault, 0);
}

/* ---- life ------------------------------------------------------------------------------------ */

struct crash_disk *crash_disk_new(uint64_t seed) {
    struct crash_disk *d = MEM_NEW(struct crash_disk);
    d->layer = (struct file_layer){
        .dir_open = crash_dir_open,
        .dir_close = crash_dir_close,
        .lock = crash_lock,
        .list = crash_list,
        .space = crash_space,
        .rename = crash_rename,
        .unlink = crash_unlink,
        .sync_dir = crash_sync_dir,
        .open = crash_open,
        .close = crash_close,
        .read = crash_read,
        .write = crash_write,
        .sync = crash_sync,
        .reserve = crash_reserve,
    };
    pthread_mutex_init(&d->lock, NULL);
    d->rng = rng_seed(seed);
    d->changes = mem_grow(NULL, CHANGES_MAX, sizeof *d->changes);
    return d;
}

void crash_disk_destroy(struct crash_disk **d) {
    if (!*d)
        return;
    for (size_t i = 0; i < (*d)->n_nodes; i++)
        node_free((*d)->nodes[i].node);
    mem_free((*d)->nodes);
    mem_free((*d)->changes);
    pthread_mutex_destroy(&(*d)->lock);
    MEM_FREE(*d);
}

const struct file_layer *crash_disk_layer(struct crash_disk *d) {
    return &d->layer;
}

void crash_disk_plan(struct crash_disk *d, struct crash_plan plan) {
    pthread_mutex_lock(&d->lock);
    d->plan = plan;
    d->counted = 0;
    d->struck = false;
    pthread_mutex_unlock(&d->lock);
}

uint64_t crash_disk_counted(struct crash_disk *d) {
    pthread_mutex_lock(&d->lock);
    uint64_t counted = d->counted;
    pthread_mutex_unlock(&d->lock);
    return counted;
}

bool crash_disk_struck(struct crash_disk *d) {
    pthread_mutex_lock(&d->lock);
    bool struck = d->struck;
    pthread_mutex_unlock(&d->lock);
    return struck;
}

void crash_disk_short_calls(struct crash_disk *d, bool on) {
    d->short_calls = on;
}

void crash_disk_capacity(struct crash_disk *d, uint64_t bytes) {
    pthread_mutex_lock(&d->lock);
    d->capacity = bytes;
    pthread_mutex_unlock(&d->lock);
}

void crash_disk_killed(struct crash_disk *d) {
    d->locked = d->off = d->struck = false;
    d->plan = (struct crash_plan){0};
}

void crash_disk_power_up(struct crash_disk *d) {
    static const uint32_t chances[] = {0, 100000, 500000, 900000, 1000000};
    uint32_t chance = chances[rng_below(&d->rng, sizeof chances / sizeof chances[0])];
    for (size_t i = 0; i < d->n_nodes; i++) {
        ASSERT(d->nodes[i].node->handles == 0);
        node_keep(d, d->nodes[i].node, chance);
        node_show_kept(d->nodes[i].node);
    }
    keep_names(d);
    d->shown = d->kept;
    sweep(d);
    crash_disk_killed(d);
}

/* ---- damage ---------------------------------------------------------------------------------- */

static struct node *node_of(struct crash_disk *d, const char *name) {
    struct entry *en = find(&d->shown, name);
    ASSERT(en);
    return en->node;
}

bool crash_disk_exists(struct crash_disk *d, const char *name) {
    return find(&d->shown, name) != NULL;
}

uint64_t crash_disk_size(struct crash_disk *d, const char *name) {
    return node_of(d, name)->size;
}

void crash_disk_flip(struct crash_disk *d, const char *name, uint64_t at, uint8_t mask) {
    struct node *n = node_of(d, name);
    ASSERT(at < n->size);
    n->shown[at] = (char)(n->shown[at] ^ mask);
    n->kept[at] = (char)(n->kept[at] ^ mask);
}

void crash_disk_copy_out(struct crash_disk *d, const char *name, uint64_t at, void *to, size_t n) {
    struct node *node = node_of(d, name);
    ASSERT(at + n <= node->size);
    memcpy(to, node->shown + at, n);
}

void crash_disk_put(struct crash_disk *d, const char *name, const void *bytes, size_t n,
                    uint64_t at) {
    if (!find(&d->shown, name)) {
        struct node *node = node_new(d);
        set_name(&d->shown, name, node);
        set_name(&d->kept, name, node);
    }
    node_write(node_of(d, name), bytes, n, at);
    node_keep(d, node_of(d, name), 1000000);
}

void crash_disk_resize(struct crash_disk *d, const char *name, uint64_t bytes) {
    struct node *n = node_of(d, name);
    node_room(n, bytes);
    n->size = n->kept_size = bytes;
    node_show_kept(n);
}

void crash_disk_remove(struct crash_disk *d, const char *name) {
    drop_name(&d->shown, name);
    drop_name(&d->kept, name);
}

void crash_disk_rename(struct crash_disk *d, const char *from, const char *to) {
    struct node *n = node_of(d, from);
    crash_disk_remove(d, from);
    set_name(&d->shown, to, n);
    set_name(&d->kept, to, n);
}
