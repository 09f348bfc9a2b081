#include "broker/waiting.h"

#include "common/base/mem.h"

struct kept {
    struct kept *next;
    size_t bytes;
    enum waiting_what what;
    struct parcel parcel;
};

struct waiting_line {
    struct waiting_line *next;
    struct conn *conn;
    struct kept *first, *last;
    uint32_t n;
    size_t bytes;
    size_t of[WAITING_ENDS + 1]; /* the same by what it is */
};

void waiting_init(struct waiting *w, uint32_t peer_max) {
    *w = (struct waiting){.peer_max = peer_max};
}

/* ---- one line ------------------------------------------------------------------------------- */
/* The line's conn may be gone if that was the last. */
static void pop(struct waiting *w, struct waiting_line *l) {
    struct kept *k = l->first;
    l->first = k->next;
    l->n--;
    l->bytes -= k->bytes;
    l->of[k->what] -= k->bytes;
    w->requests--;
    w->bytes -= k->bytes;
    mem_free(k);
}

static void move(struct parcel *to, struct parcel *from) {
    *to = (struct parcel){.link = from->link, .role = from->role, .count = from->count};
    zmq_msg_init(&to->routing);
    zmq_msg_move(&to->routing, &from->routing);
    for (unsigned n = 0; n < from->count && n < PEERS_PARTS; n++) {
        zmq_msg_init(&to->parts[n]);
        zmq_msg_move(&to->parts[n], &from->parts[n]);
    }
}

/* ---- the ring ------------------------------------------------------------------------------- */
static void append(struct waiting *w, struct waiting_line *l) {
    l->next = NULL;
    if (w->last)
        w->last->next = l;
    else
        w->first = l;
    w->last = l;
    w->lines++;
}

static struct waiting_line *take_first(struct waiting *w) {
    struct waiting_line *l = w->first;
    w->first = l->next;
    if (!w->first)
        w->last = NULL;
    w->lines--;
    return l;
}

static struct waiting_line *line_of(struct waiting *w, struct conn *c) {
    if (c->waits)
        return c->waits;
    struct waiting_line *l = MEM_NEW(struct waiting_line);
    l->conn = c;
    c->waits = l;
    append(w, l);
    return l;
}

static int check_room(const struct waiting *w, const struct waiting_line *has, size_t bytes,
                      struct err *e) {
    if (has && (has->n >= w->peer_max || has->bytes + bytes > WAITING_PEER_BYTES))
        return err_set(e, ERR_BUSY,
                       "%u requests wait until their answers can be read, at most %u or %u bytes",
                       has->n, w->peer_max, WAITING_PEER_BYTES);
    if (w->bytes + bytes > WAITING_BYTES)
        return err_set(e, ERR_BUSY,
                       "requests of all peers that wait until answers are read have %zu bytes, at "
                       "most %u",
                       w->bytes, WAITING_BYTES);
    return 0;
}

static bool may_end(const struct waiting_line *l, size_t bytes, enum waiting_what what) {
    return l && what == WAITING_ENDS && l->of[WAITING_ENDS] + bytes <= l->of[WAITING_BEGINS];
}

static void keep(struct waiting_line *l, struct kept *k) {
    if (l->first)
        l->last->next = k;
    else
        l->first = k;
    l->last = k;
    l->n++;
    l->bytes += k->bytes;
    l->of[k->what] += k->bytes;
}

int waiting_put(struct waiting *w, struct conn *c, struct parcel *in, enum waiting_what what,
                struct err *e) {
    size_t bytes = sizeof(struct kept) + parcel_bytes(in);
    if (!may_end(c->waits, bytes, what) && check_room(w, c->waits, bytes, e) < 0)
        return -1;
    struct kept *k = MEM_NEW(struct kept);
    k->bytes = bytes;
    k->what = what;
    move(&k->parcel, in);
    keep(line_of(w, c), k);
    w->requests++;
    w->bytes += bytes;
    return 0;
}

bool waiting_begins(const struct conn *c) {
    const struct waiting_line *l = c->waits;
    return l && l->of[WAITING_BEGINS] > 0;
}

static void line_free(struct waiting *w, struct waiting_line *l) {
    while (l->first) {
        parcel_done(&l->first->parcel);
        pop(w, l);
    }
    l->conn->waits = NULL;
    mem_free(l);
}

/* Whoever had his turn goes behind the others, and so does who has no room. Who was closed goes. */
bool waiting_take(struct waiting *w, struct parcel *out) {
    for (uint32_t n = w->lines; n > 0; n--) {
        struct waiting_line *l = take_first(w);
        if (l->conn->closed) {
            line_free(w, l);
            continue;
        }
        bool found = !conn_is_full(l->conn);
        if (found) {
            move(out, &l->first->parcel);
            pop(w, l);
        }
        if (l->first) {
            append(w, l);
        } else {
            l->conn->waits = NULL;
            mem_free(l);
        }
        if (found)
            return true;
    }
    return false;
}

bool waiting_has_room(const struct waiting *w) {
    for (const struct waiting_line *l = w->first; l; l = l->next)
        if (l->conn->closed || !conn_is_full(l->conn))
            return true;
    return false;
}

/* ---- forgetting ----------------------------------------------------------------------------- */

uint32_t waiting_forget(struct waiting *w, struct conn *c) {
    struct waiting_line *mine = c->waits;
    if (!mine)
        return 0;
    uint32_t n = mine->n;
    for (uint32_t i = w->lines; i > 0; i--) {
        struct waiting_line *l = take_first(w);
        if (l != mine)
            append(w, l);
    }
    line_free(w, mine);
    return n;
}

void waiting_done(struct waiting *w) {
    while (w->first)
        line_free(w, take_first(w));
}
