#include "broker/conns.h"

#include "broker/peers.h"
#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/base/mem.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SWEEP_MIN 256U

/* What is freed when ZeroMQ is done with a message. */
struct counted {
    atomic_bool sent; /* what stands here was written before: for who can see only our own locks */
    struct conn *conn;
    size_t of;
    char bytes[];
};

/* ---- the table ------------------------------------------------------------------------------ */
static struct conn *conn_at(const struct conns *t, uint32_t i) {
    return slab_at(&t->items, i);
}

static uint64_t link_hash(const void *ctx, uint32_t i) {
    return hash_mix(conn_at(ctx, i)->link, 0);
}

static uint32_t *link_next(const void *ctx, uint32_t i) {
    return &conn_at(ctx, i)->hash_next;
}

static bool link_equal(const void *ctx, uint32_t i, const void *key) {
    return conn_at(ctx, i)->link == *(const uint64_t *)key;
}

static const struct lhash_ops link_ops = {link_hash, link_next, link_equal};

int conns_init(struct conns *t, struct err *e) {
    *t = (struct conns){.sweep_at = SWEEP_MIN};
    slab_init(&t->items, sizeof(struct conn));
    lhash_init(&t->by_link, &link_ops, t);
    if (flag_open(&t->wake) == 0)
        return 0;
    err_errno(e, "a wake-up");
    t->wake.fd = -1;
    return -1;
}

void conns_done(struct conns *t) {
    lhash_done(&t->by_link);
    slab_done(&t->items);
    if (t->wake.fd >= 0)
        flag_close(&t->wake);
}

struct conn *conns_find(struct conns *t, uint64_t link) {
    if (t->last && t->last->link == link)
        return t->last;
    uint32_t i = lhash_find(&t->by_link, hash_mix(link, 0), &link);
    if (!i)
        return NULL;
    return t->last = conn_at(t, i);
}

static bool is_worker(const struct conn *c) {
    return peers_role(c->link) == ROLE_WORKER;
}

/* The inode tells whether a descriptor is still that of the same socket. */
static ino_t inode_of(int fd) {
    struct stat st;
    return fd >= 0 && fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode) ? st.st_ino : 0;
}

/* What waits for connections that were closed: it is about to be freed. */
static uint64_t leaving(struct conns *t) {
    uint64_t bytes = 0;
    for (struct conn **at = &t->leaving; *at;) {
        struct conn *c = *at;
        uint64_t unread = atomic_load(&c->unread);
        if (!is_worker(c))
            bytes += unread;
        if (unread) {
            at = &c->leaving_next;
        } else {
            *at = c->leaving_next;
            c->leaves = false;
        }
    }
    return bytes;
}

/* Nobody tells when a connection ends. */
static void sweep(struct conns *t) {
    leaving(t);
    SLAB_EACH(i, &t->items) {
        struct conn *c = conn_at(t, i);
        if (c->waits || c->reserved || c->leaves || atomic_load(&c->unread))
            continue;
        if (c->inode && inode_of(c->fd) == c->inode)
            continue;
        lhash_remove(&t->by_link, i);
        slab_give(&t->items, i);
    }
    t->last = NULL;
    t->sweep_at = t->items.used * 2 > SWEEP_MIN ? t->items.used * 2 : SWEEP_MIN;
}

struct conn *conns_note(struct conns *t, uint64_t link, int fd) {
    if (t->items.used >= t->sweep_at)
        sweep(t);
    uint32_t i = slab_take(&t->items);
    struct conn *c = conn_at(t, i);
    c->link = link;
    c->index = i;
    c->table = t;
    c->fd = fd;
    c->inode = inode_of(fd);
    c->key = NULL;
    lhash_add(&t->by_link, i);
    return t->last = c;
}

struct conn *conns_next(const struct conns *t, const struct conn *after) {
    uint32_t i = slab_next(&t->items, after ? after->index + 1 : 1);
    return i ? conn_at(t, i) : NULL;
}

/* ---- counting ------------------------------------------------------------------------------- */
static _Atomic uint64_t *unread_of(struct conn *c) {
    return is_worker(c) ? &c->table->workers : &c->table->all;
}

uint64_t conns_unread(const struct conns *t) {
    return atomic_load(&t->all) + atomic_load(&t->workers);
}

/* In ZeroMQ's I/O thread, mostly. */
static void on_free(void *data, void *hint) {
    struct counted *m = hint;
    (void)data;
    ASSERT(atomic_load(&m->sent));
    struct conns *t = m->conn->table;
    atomic_fetch_sub(unread_of(m->conn), m->of);
    atomic_fetch_add(&m->conn->read, 1);
    atomic_fetch_sub(&m->conn->unread, m->of);
    mem_free(m);
    if (atomic_load(&t->wake_wanted) && atomic_exchange(&t->wake_wanted, false))
        flag_raise(&t->wake);
}

void conn_part(struct conn *c, zmq_msg_t *part, struct str bytes, size_t of) {
    int rc;
    if (!c || c->closed) {
        rc = zmq_msg_init_size(part, bytes.len);
        ASSERT(rc == 0);
        if (bytes.len)
            memcpy(zmq_msg_data(part), bytes.at, bytes.len);
        return;
    }
    struct counted *m = mem_alloc(sizeof *m + bytes.len);
    m->conn = c;
    m->of = of + CONN_MESSAGE;
    if (bytes.len)
        memcpy(m->bytes, bytes.at, bytes.len);
    atomic_fetch_add(&c->unread, m->of);
    atomic_fetch_add(unread_of(c), m->of);
    atomic_store(&m->sent, true);
    rc = zmq_msg_init_data(part, m->bytes, bytes.len, on_free, m);
    ASSERT(rc == 0);
}

void conn_reserve(struct conn *c, size_t bytes) {
    if (!c)
        return;
    c->reserved += bytes;
    if (!is_worker(c))
        c->table->reserved += bytes;
}

void conn_release(struct conn *c, size_t bytes) {
    if (!c)
        return;
    ASSERT(c->reserved >= bytes);
    c->reserved -= bytes;
    if (!is_worker(c))
        c->table->reserved -= bytes;
}

/* ---- bounds --------------------------------------------------------------------------------- */
bool conn_is_full(const struct conn *c) {
    if (!c || is_worker(c))
        return false;
    uint64_t own = atomic_load(&c->unread) + c->reserved;
    uint64_t all = atomic_load(&c->table->all) + c->table->reserved;
    return own >= CONN_BYTES || (own && all >= CONNS_BYTES) || all >= CONNS_BYTES_MAX;
}

static struct conn *largest(struct conns *t) {
    struct conn *most = NULL;
    uint64_t bytes = 0;
    SLAB_EACH(i, &t->items) {
        struct conn *c = conn_at(t, i);
        uint64_t unread = atomic_load(&c->unread);
        if (!is_worker(c) && !c->closed && unread > bytes) {
            most = c;
            bytes = unread;
        }
    }
    return most;
}

/* Not whoever is just sent something when all together are over: he may read as he should. */
struct conn *conns_over(struct conns *t, struct conn *c) {
    if (c && !is_worker(c) && !c->closed && atomic_load(&c->unread) > CONN_BYTES_MAX)
        return c;
    if (atomic_load(&t->all) <= CONNS_BYTES_MAX)
        return NULL;
    uint64_t gone = leaving(t); /* first: what is freed meanwhile counts for nobody */
    return atomic_load(&t->all) > CONNS_BYTES_MAX + gone ? largest(t) : NULL;
}

/* ZeroMQ may close the socket at any time and somebody else get its number: a descriptor of our own
 * stays what it is while we look. */
void conn_close(struct conn *c) {
    int own = c->fd >= 0 ? dup(c->fd) : -1;
    if (own >= 0 && c->inode && inode_of(own) == c->inode)
        shutdown(own, SHUT_RDWR);
    if (own >= 0)
        close(own);
    if (c->closed)
        return;
    c->closed = c->leaves = true;
    c->leaving_next = c->table->leaving;
    c->table->leaving = c;
}

struct conn *conns_stalled(struct conns *t, struct mono now, uint32_t from) {
    for (uint32_t i = slab_next(&t->items, from); i; i = slab_next(&t->items, i + 1)) {
        struct conn *c = conn_at(t, i);
        uint64_t read = atomic_load(&c->read);
        bool idle = !atomic_load(&c->unread);
        if (idle || read != c->read_seen || !c->since.ms) {
            c->read_seen = read;
            c->since = now;
        }
        if (!idle && !c->closed && conn_is_full(c) && mono_until(c->since, now) >= CONN_STALL_MS)
            return c;
    }
    return NULL;
}

/* ---- the wake-up ---------------------------------------------------------------------------- */
void conns_want_wake(struct conns *t) {
    atomic_store(&t->wake_wanted, true);
}

void conns_woken(struct conns *t) {
    flag_lower(&t->wake);
}
