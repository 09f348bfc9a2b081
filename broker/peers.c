#include "broker/peers.h"

#include "broker/inflow.h"
#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/log/log.h"
#include "common/wire/socket.h"

#include <errno.h>
#include <stdio.h>

#define TCP_SIZE     256
#define ROUTING_SIZE 5 /* what ZeroMQ makes: a zero and a number that counts connections */

struct peers {
    void *context;
    void *sockets[PEERS_ROLES + 1];
    char tcp[PEERS_ROLES + 1][TCP_SIZE];
    struct conns conns;
    struct keyring *keyring;
    struct peers_stats stats;
};

static const char *const files[PEERS_ROLES + 1] = {
    [ROLE_CLIENT] = "client.sock",
    [ROLE_WORKER] = "worker.sock",
    [ROLE_GATEWAY] = "gateway.sock",
    [ROLE_OPERATOR] = "operator.sock",
};

static const char *const domains[PEERS_ROLES + 1] = {
    [ROLE_CLIENT] = "client",
    [ROLE_WORKER] = "worker",
    [ROLE_GATEWAY] = "gateway",
    [ROLE_OPERATOR] = "operator",
};

/* ---- life ----------------------------------------------------------------------------------- */
static int zmq_failed(struct err *e, const char *what, const char *name) {
    return err_set(e, ERR_IO, "%s %s: %s", what, name, zmq_strerror(zmq_errno()));
}

/* After the local socket, which needs no keys: each takes the options of the moment it is bound. */
static int bind_tcp(struct peers *p, enum role role, const struct peers_options *o, struct err *e) {
    void *s = p->sockets[role];
    socket_set(s, ZMQ_IPV6, strchr(o->tcp[role], '[') != NULL);
    if (p->keyring)
        socket_set_frame_max(s, (int64_t)o->bytes_max + KEY_FRAME_MORE);
    keyring_secure(p->keyring, s, domains[role]);
    if (zmq_bind(s, o->tcp[role]) < 0)
        return zmq_failed(e, "cannot listen on", o->tcp[role]);
    size_t size = sizeof p->tcp[role];
    int rc = zmq_getsockopt(s, ZMQ_LAST_ENDPOINT, p->tcp[role], &size);
    ASSERT(rc == 0);
    return 0;
}

static int bind_role(struct peers *p, enum role role, const struct peers_options *o,
                     struct err *e) {
    void *s = p->sockets[role] = zmq_socket(p->context, ZMQ_ROUTER);
    if (!s)
        return zmq_failed(e, "cannot make the socket for", files[role]);
    socket_set_frame_max(s, (int64_t)o->bytes_max);
    socket_set(s, ZMQ_ROUTER_MANDATORY, 1);
    socket_set(s, ZMQ_SNDHWM, PEERS_QUEUE_MAX);
    socket_set(s, ZMQ_RCVHWM, PEERS_READ_MAX);
    socket_set(s, ZMQ_LINGER, o->linger_ms);
    socket_set(s, ZMQ_BACKLOG, 1024);
    socket_set(s, ZMQ_HANDSHAKE_IVL, PEERS_HANDSHAKE_MS);
    char endpoint[64];
    snprintf(endpoint, sizeof endpoint, "ipc://%s", files[role]);
    if (zmq_bind(s, endpoint) < 0)
        return zmq_failed(e, "cannot listen on", endpoint);
    return o->tcp[role] ? bind_tcp(p, role, o, e) : 0;
}

int peers_open(struct peers **out, const struct peers_options *options, struct err *e) {
    struct peers *p = MEM_NEW(struct peers);
    p->context = zmq_ctx_new();
    ASSERT(p->context);
    p->keyring = options->keyring;
    if (conns_init(&p->conns, e) < 0 || keyring_serve(p->keyring, p->context, e) < 0) {
        peers_close(&p);
        return -1;
    }
    for (enum role role = ROLE_CLIENT; role <= ROLE_OPERATOR; role++) {
        if (bind_role(p, role, options, e) < 0) {
            peers_close(&p);
            return -1;
        }
    }
    *out = p;
    return 0;
}

void peers_close(struct peers **pp) {
    struct peers *p = *pp;
    if (!p)
        return;
    for (enum role role = ROLE_CLIENT; role <= ROLE_OPERATOR; role++)
        if (p->sockets[role])
            zmq_close(p->sockets[role]);
    keyring_stop(p->keyring);
    while (zmq_ctx_term(p->context) < 0 && zmq_errno() == EINTR)
        continue;
    conns_done(&p->conns); /* ZeroMQ has freed all that was sent */
    mem_free(p);
    *pp = NULL;
}

void *peers_context(const struct peers *p) {
    return p->context;
}

struct conns *peers_conns(struct peers *p) {
    return &p->conns;
}

struct conn *peers_conn(struct peers *p, uint64_t link) {
    return conns_find(&p->conns, link);
}

void *peers_socket(const struct peers *p, enum role role) {
    return p->sockets[role];
}

const char *peers_file(enum role role) {
    return files[role];
}

const char *peers_tcp(const struct peers *p, enum role role) {
    return p->tcp[role];
}

struct peers_stats peers_stats(const struct peers *p) {
    return p->stats;
}

/* ---- in ------------------------------------------------------------------------------------- */
static uint64_t link_of(enum role role, zmq_msg_t *routing) {
    const unsigned char *id = zmq_msg_data(routing);
    uint32_t number;
    if (zmq_msg_size(routing) != ROUTING_SIZE || id[0] != 0)
        return 0;
    memcpy(&number, id + 1, sizeof number);
    return (uint64_t)role << 32 | number;
}

static bool receive(void *socket, zmq_msg_t *part) {
    zmq_msg_init(part);
    int rc;
    do {
        rc = zmq_msg_recv(part, socket, ZMQ_DONTWAIT);
    } while (rc < 0 && zmq_errno() == EINTR);
    return rc >= 0;
}

/* Its socket is the only way to end a connection. */
static void note_conn(struct peers *p, struct parcel *in) {
    if (!in->link || conns_find(&p->conns, in->link))
        return;
    struct conn *c = conns_note(&p->conns, in->link, parcel_fd(in));
    c->key = keyring_find(p->keyring, in->count ? zmq_msg_gets(&in->parts[0], "User-Id") : NULL);
}

bool peers_take(struct peers *p, enum role role, struct parcel *in) {
    void *s = p->sockets[role];
    if (!receive(s, &in->routing))
        return false;
    in->role = role;
    in->link = link_of(role, &in->routing);
    in->count = 0;
    bool more = zmq_msg_more(&in->routing);
    while (more) { /* a message arrives whole */
        zmq_msg_t rest;
        zmq_msg_t *part = in->count < PEERS_PARTS ? &in->parts[in->count] : &rest;
        bool came = receive(s, part);
        ASSERT(came);
        more = zmq_msg_more(part);
        if (in->count++ >= PEERS_PARTS)
            zmq_msg_close(&rest);
    }
    note_conn(p, in);
    if (p->keyring)
        inflow_taken(parcel_fd(in));
    p->stats.received++;
    return true;
}

struct str parcel_part(struct parcel *in, unsigned n) {
    if (n >= in->count || n >= PEERS_PARTS)
        return STR("");
    return str_make(zmq_msg_data(&in->parts[n]), zmq_msg_size(&in->parts[n]));
}

size_t parcel_bytes(struct parcel *in) {
    size_t bytes = 0;
    for (unsigned n = 0; n < PEERS_PARTS; n++)
        bytes += parcel_part(in, n).len;
    return bytes;
}

int parcel_fd(const struct parcel *in) {
    return in->count ? zmq_msg_get(&in->parts[0], ZMQ_SRCFD) : -1;
}

void parcel_done(struct parcel *in) {
    zmq_msg_close(&in->routing);
    for (unsigned n = 0; n < in->count && n < PEERS_PARTS; n++)
        zmq_msg_close(&in->parts[n]);
}

/* ---- keys ----------------------------------------------------------------------------------- */
const struct keyring_key *peers_key(const struct conn *c) {
    return c ? c->key : NULL;
}

void peers_renew_keys(struct peers *p) {
    struct conn *c = NULL;
    while ((c = conns_next(&p->conns, c))) {
        const struct keyring_key *old = c->key;
        if (!old)
            continue;
        c->key = keyring_renew(p->keyring, old);
        if (c->key == &keyring_nobody)
            conn_close(c);
    }
}

/* ---- out ------------------------------------------------------------------------------------ */
/* ZeroMQ frees the last part last. */
unsigned peers_parts(struct conn *to, const struct frame_out *frame, zmq_msg_t parts[PEERS_PARTS]) {
    size_t bytes = frame->head.len + frame->body.len + frame->payloads.len;
    bool paid = frame->payloads.len > 0;
    conn_part(NULL, &parts[0], buf_str(&frame->head), 0);
    conn_part(paid ? NULL : to, &parts[1], buf_str(&frame->body), bytes);
    if (!paid)
        return 2;
    conn_part(to, &parts[2], buf_str(&frame->payloads), bytes);
    return 3;
}

void peers_give_up(struct peers *p, struct conn *c, const char *why) {
    log_event(LOG_peer_closed, log_u64("role", peers_role(c->link)),
              log_u64("link", c->link & UINT32_MAX), log_u64("unread", c->unread),
              log_text("what", why));
    conn_close(c);
    p->stats.closed++;
}

static void drop(struct peers *p, zmq_msg_t *parts, unsigned n) {
    p->stats.dropped++;
    for (unsigned i = 0; i < n; i++)
        zmq_msg_close(&parts[i]);
}

/* Once the routing id was taken, the rest of the message is taken too. */
static bool send_to(struct peers *p, enum role role, struct str routing, zmq_msg_t *parts,
                    unsigned n) {
    void *s = p->sockets[role];
    unsigned i = 0;
    if (zmq_send(s, routing.at, routing.len, ZMQ_DONTWAIT | ZMQ_SNDMORE) >= 0)
        while (i < n &&
               zmq_msg_send(&parts[i], s, ZMQ_DONTWAIT | (i + 1 < n ? ZMQ_SNDMORE : 0)) >= 0)
            i++;
    bool sent = n > 0 && i == n;
    if (sent)
        p->stats.sent++;
    else
        drop(p, parts + i, n - i);
    return sent;
}

static void close_over(struct peers *p, struct conn *c) {
    for (struct conn *o = conns_over(&p->conns, c); o; o = conns_over(&p->conns, c))
        peers_give_up(p, o,
                      o == c ? "more waits to be read than the bound"
                             : "more waits for all than the bound, and most for this one");
}

bool peers_send(struct peers *p, uint64_t link, zmq_msg_t *parts, unsigned n) {
    unsigned char routing[ROUTING_SIZE] = {0};
    uint32_t number = (uint32_t)link;
    memcpy(routing + 1, &number, sizeof number);
    struct conn *c = conns_find(&p->conns, link);
    close_over(p, c);
    if (c && c->closed) {
        drop(p, parts, n);
        return false;
    }
    return send_to(p, peers_role(link), str_make(routing, sizeof routing), parts, n);
}

bool peers_send_back(struct peers *p, struct parcel *in, zmq_msg_t *parts, unsigned n) {
    struct str routing = str_make(zmq_msg_data(&in->routing), zmq_msg_size(&in->routing));
    return send_to(p, in->role, routing, parts, n);
}
