#include "broker/keyring.h"

#include "common/base/arena.h"
#include "common/base/check.h"
#include "common/base/hex.h"
#include "common/base/mem.h"
#include "common/log/log.h"
#include "common/os/wake.h"
#include "common/wire/socket.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <zmq.h>

#define ZAP_ENDPOINT "inproc://zeromq.zap.01"
#define ZAP_PARTS    7 /* version, request, domain, address, identity, mechanism, key */
#define ZAP_TEXT     256
#define SHOWN_DIGITS 8 /* of a key, in the log */
#define LIST_BYTES   (32U << 20)

struct list {
    struct keyring_key *at; /* sorted by id */
    size_t n;
    struct arena *arena;
};

struct keyring {
    struct key_file own;
    pthread_mutex_t lock; /* of `list`, against the other threads' looks */
    struct list list, before;
    atomic_uint_least64_t generation, refused;
    void *zap;
    struct flag stop;
    pthread_t thread;
    bool running;
};

const struct keyring_key keyring_nobody = {.rights = {.name = {"", 0}}};

/* ---- the list ------------------------------------------------------------------------------- */
static struct str copy(struct arena *a, struct str s) {
    char *at = arena_alloc(a, s.len + 1);
    if (s.len)
        memcpy(at, s.at, s.len);
    at[s.len] = '\0';
    return str_make(at, s.len);
}

static void fill(struct arena *a, struct keyring_key *k, const struct settings_key *from) {
    static const enum role roles[] = {[SETTINGS_KEY_ROLE_CLIENT] = ROLE_CLIENT,
                                      [SETTINGS_KEY_ROLE_WORKER] = ROLE_WORKER,
                                      [SETTINGS_KEY_ROLE_GATEWAY] = ROLE_GATEWAY,
                                      [SETTINGS_KEY_ROLE_OPERATOR] = ROLE_OPERATOR};
    *k = (struct keyring_key){.role = ROLE_CLIENT};
    bool read = hex_read(from->public, k->id, KEY_BYTES);
    ASSERT(read && from->role != SETTINGS_KEY_ROLE_NONE); /* the settings were checked */
    k->role = roles[from->role];
    k->rights = (struct core_rights){.id = k->id, .name = copy(a, from->name)};
    if (!str_eq(from->tenant, STR("*")))
        k->rights.tenant = copy(a, from->tenant);
    struct str *kinds = arena_alloc(a, (from->kinds.count + 1) * sizeof *kinds);
    for (size_t i = 0; i < from->kinds.count; i++)
        kinds[i] = copy(a, from->kinds.at[i]);
    k->rights.kinds = (struct str_list){kinds, from->kinds.count};
}

static int compare(const void *a, const void *b) {
    return memcmp(((const struct keyring_key *)a)->id, ((const struct keyring_key *)b)->id,
                  KEY_BYTES);
}

static struct list make_list(const struct settings *s) {
    struct list l = {.arena = arena_new(LIST_BYTES)};
    l.at = arena_alloc(l.arena, (s->keys.count + 1) * sizeof *l.at);
    for (size_t i = 0; i < s->keys.count; i++)
        if (s->keys.at[i].public.len)
            fill(l.arena, &l.at[l.n++], &s->keys.at[i]);
    qsort(l.at, l.n, sizeof *l.at, compare);
    for (size_t i = 0; i < l.n; i++)
        l.at[i].rights.id = l.at[i].id;
    return l;
}

static const struct keyring_key *find(const struct list *l, const uint8_t id[KEY_BYTES]) {
    size_t low = 0, high = l->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = memcmp(l->at[middle].id, id, KEY_BYTES);
        if (order == 0)
            return &l->at[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return &keyring_nobody;
}

const struct keyring_key *keyring_find(const struct keyring *k, const char *user_id) {
    uint8_t id[KEY_BYTES];
    if (!k || !user_id)
        return NULL;
    return hex_read(str_of(user_id), id, KEY_BYTES) ? find(&k->list, id) : &keyring_nobody;
}

static bool same_kinds(struct str_list a, struct str_list b) {
    bool same = a.n == b.n;
    for (size_t i = 0; same && i < a.n; i++)
        same = str_eq(a.at[i], b.at[i]);
    return same;
}

const struct keyring_key *keyring_renew(const struct keyring *k, const struct keyring_key *old) {
    if (old == &keyring_nobody)
        return old;
    const struct keyring_key *new = find(&k->list, old->id);
    bool same = new != &keyring_nobody &&new->role ==
                    old->role &&str_eq(new->rights.tenant, old->rights.tenant) &&
                same_kinds(new->rights.kinds, old->rights.kinds);
    return same ? new : &keyring_nobody;
}

void keyring_replace(struct keyring *k, const struct settings *s,
                     void (*ended)(void *ctx, const struct keyring_key *key), void *ctx) {
    if (!k)
        return;
    struct list fresh = make_list(s);
    arena_destroy(&k->before.arena);
    pthread_mutex_lock(&k->lock);
    k->before = k->list;
    k->list = fresh;
    pthread_mutex_unlock(&k->lock);
    atomic_fetch_add(&k->generation, 1);
    for (size_t i = 0; i < k->before.n; i++)
        if (keyring_renew(k, &k->before.at[i]) == &keyring_nobody)
            ended(ctx, &k->before.at[i]);
}

/* ---- any thread ----------------------------------------------------------------------------- */
/* NULL: it is admitted. */
static const char *objection(const struct keyring_key *key, struct str domain) {
    if (key == &keyring_nobody)
        return "the key is not listed";
    if (str_eq(domain, STR(KEYRING_STREAM_WORKER)) && key->role != ROLE_WORKER)
        return "only a worker's key may say streams";
    if (str_eq(domain, STR(KEYRING_STREAM_READER)) && key->role != ROLE_GATEWAY &&
        key->role != ROLE_OPERATOR)
        return "only a gateway's or an operator's key may hear streams";
    return NULL;
}

static const char *judge(struct keyring *k, const uint8_t id[KEY_BYTES], struct str domain) {
    pthread_mutex_lock(&k->lock);
    const char *why = objection(find(&k->list, id), domain);
    pthread_mutex_unlock(&k->lock);
    return why;
}

bool keyring_admits(struct keyring *k, const char *user_id, const char *domain) {
    uint8_t id[KEY_BYTES];
    if (!k || !user_id)
        return true;
    return hex_read(str_of(user_id), id, KEY_BYTES) && !judge(k, id, str_of(domain));
}

uint64_t keyring_generation(const struct keyring *k) {
    return k ? atomic_load(&k->generation) : 0;
}

uint64_t keyring_refused(const struct keyring *k) {
    return k ? atomic_load(&k->refused) : 0;
}

/* ---- ZAP ------------------------------------------------------------------------------------ */
struct question {
    char text[ZAP_PARTS][ZAP_TEXT];
    size_t len[ZAP_PARTS];
    unsigned parts;
};

static bool ask(void *zap, struct question *q) {
    int more = 1;
    size_t size = sizeof more;
    *q = (struct question){0};
    while (more) {
        char unused[ZAP_TEXT];
        char *to = q->parts < ZAP_PARTS ? q->text[q->parts] : unused;
        int n = zmq_recv(zap, to, ZAP_TEXT, ZMQ_DONTWAIT);
        if (n < 0)
            return false;
        if (q->parts < ZAP_PARTS)
            q->len[q->parts] = (size_t)n < ZAP_TEXT ? (size_t)n : ZAP_TEXT;
        q->parts++;
        zmq_getsockopt(zap, ZMQ_RCVMORE, &more, &size);
    }
    return true;
}

static struct str part(const struct question *q, unsigned n) {
    return str_make(q->text[n], q->len[n]);
}

static void reply(void *zap, const struct question *q, const char *why, const char *user_id) {
    const struct str parts[] = {
        STR("1.0"),      part(q, 1), why ? STR("400") : STR("200"), str_of(why ? why : "OK"),
        str_of(user_id), STR("")};
    for (size_t i = 0; i < 6; i++)
        zmq_send(zap, parts[i].len ? parts[i].at : "", parts[i].len,
                 ZMQ_DONTWAIT | (i < 5 ? ZMQ_SNDMORE : 0));
}

static void answer(struct keyring *k, const struct question *q) {
    char user_id[KEY_DIGITS + 1] = "";
    const char *why = "the handshake has no key";
    bool whole =
        q->parts == ZAP_PARTS && str_eq(part(q, 5), STR("CURVE")) && q->len[6] == KEY_BYTES;
    if (whole) {
        const uint8_t *id = (const uint8_t *)q->text[6];
        hex_show(id, KEY_BYTES, user_id);
        why = judge(k, id, part(q, 2));
    }
    reply(k->zap, q, why, why ? "" : user_id);
    if (!why)
        return;
    atomic_fetch_add(&k->refused, 1);
    log_event(LOG_key_refused, log_str("address", part(q, 3)), log_str("endpoint", part(q, 2)),
              log_str("key", str_make(user_id, whole ? SHOWN_DIGITS : 0)), log_text("what", why));
}

static void *run(void *ctx) {
    struct keyring *k = ctx;
    zmq_pollitem_t items[] = {{.socket = k->zap, .events = ZMQ_POLLIN},
                              {.fd = k->stop.fd, .events = ZMQ_POLLIN}};
    struct question q;
    while (!items[1].revents) {
        if (zmq_poll(items, 2, -1) < 0)
            continue; /* interrupted */
        while (ask(k->zap, &q))
            answer(k, &q);
    }
    return NULL;
}

/* ---- life ----------------------------------------------------------------------------------- */
int keyring_new(struct keyring **out, const struct settings *s, struct err *e) {
    struct key_file own;
    *out = NULL;
    if (!s->broker.key_file.len)
        return 0;
    if (key_file_read(&own, s->broker.key_file.at, e) < 0)
        return err_add(e, "broker.key_file");
    struct keyring *k = MEM_NEW(struct keyring);
    k->own = own;
    key_file_wipe(&own);
    k->stop.fd = -1;
    k->list = make_list(s);
    pthread_mutex_init(&k->lock, NULL);
    *out = k;
    return 0;
}

int keyring_serve(struct keyring *k, void *context, struct err *e) {
    if (!k)
        return 0;
    if (flag_open(&k->stop) < 0)
        return err_errno(e, "the keyring");
    k->zap = zmq_socket(context, ZMQ_REP);
    if (!k->zap || zmq_bind(k->zap, ZAP_ENDPOINT) < 0)
        return err_set(e, ERR_IO, "the keyring's socket: %s", zmq_strerror(zmq_errno()));
    socket_set(k->zap, ZMQ_LINGER, 0);
    int status = pthread_create(&k->thread, NULL, run, k);
    if (status != 0)
        return err_set(e, ERR_NO_MEMORY, "cannot start a thread: %d", status);
    k->running = true;
    return 0;
}

void keyring_stop(struct keyring *k) {
    if (!k)
        return;
    if (k->running) {
        flag_raise(&k->stop);
        pthread_join(k->thread, NULL);
        k->running = false;
    }
    if (k->zap)
        zmq_close(k->zap);
    k->zap = NULL;
}

void keyring_destroy(struct keyring **kp) {
    struct keyring *k = *kp;
    if (!k)
        return;
    *kp = NULL;
    keyring_stop(k);
    if (k->stop.fd >= 0)
        flag_close(&k->stop);
    pthread_mutex_destroy(&k->lock);
    arena_destroy(&k->list.arena);
    arena_destroy(&k->before.arena);
    key_file_wipe(&k->own);
    mem_free(k);
}

void keyring_secure(const struct keyring *k, void *socket, const char *domain) {
    if (k)
        socket_be_curve_server(socket, &k->own, domain);
}
