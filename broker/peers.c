#include "broker/peers.h"

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/wire/socket.h"

#include <errno.h>
#include <stdio.h>

#define TCP_SIZE     256
#define ROUTING_SIZE 5 /* what ZeroMQ makes: a zero and a number that counts connections */

struct peers {
    void *context;
    void *sockets[PEERS_ROLES + 1];
    char tcp[PEERS_ROLES + 1][TCP_SIZE];
    struct peers_stats stats;
};

static const char *const files[PEERS_ROLES + 1] = {
    [ROLE_CLIENT] = "client.sock",
    [ROLE_WORKER] = "worker.sock",
    [ROLE_GATEWAY] = "gateway.sock",
    [ROLE_OPERATOR] = "operator.sock",
};

/* ---- life ----------------------------------------------------------------------------------- */
static int zmq_failed(struct err *e, const char *what, const char *name) {
    return err_set(e, ERR_IO, "%s %s: %s", what, name, zmq_strerror(zmq_errno()));
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
    if (!o->tcp[role])
        return 0;
    socket_set(s, ZMQ_IPV6, strchr(o->tcp[role], '[') != NULL);
    if (zmq_bind(s, o->tcp[role]) < 0)
        return zmq_failed(e, "cannot listen on", o->tcp[role]);
    size_t size = sizeof p->tcp[role];
    int rc = zmq_getsockopt(s, ZMQ_LAST_ENDPOINT, p->tcp[role], &size);
    ASSERT(rc == 0);
    return 0;
}

int peers_open(struct peers **out, const struct peers_options *options, struct err *e) {
    struct peers *p = MEM_NEW(struct peers);
    p->context = zmq_ctx_new();
    ASSERT(p->context);
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
    while (zmq_ctx_term(p->context) < 0 && zmq_errno() == EINTR)
        continue;
    mem_free(p);
    *pp = NULL;
}

void *peers_context(const struct peers *p) {
    return p->context;
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

/* ---- out ------------------------------------------------------------------------------------ */
static void part_of(zmq_msg_t *part, struct str bytes) {
    int rc = zmq_msg_init_size(part, bytes.len);
    ASSERT(rc == 0);
    if (bytes.len)
        memcpy(zmq_msg_data(part), bytes.at, bytes.len);
}

unsigned peers_parts(const struct frame_out *frame, zmq_msg_t parts[PEERS_PARTS]) {
    part_of(&parts[0], buf_str(&frame->head));
    part_of(&parts[1], buf_str(&frame->body));
    if (!frame->payloads.len)
        return 2;
    part_of(&parts[2], buf_str(&frame->payloads));
    return 3;
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
        p->stats.dropped++;
    for (; i < n; i++)
        zmq_msg_close(&parts[i]);
    return sent;
}

bool peers_send(struct peers *p, uint64_t link, zmq_msg_t *parts, unsigned n) {
    unsigned char routing[ROUTING_SIZE] = {0};
    uint32_t number = (uint32_t)link;
    memcpy(routing + 1, &number, sizeof number);
    return send_to(p, peers_role(link), str_make(routing, sizeof routing), parts, n);
}

bool peers_send_back(struct peers *p, struct parcel *in, zmq_msg_t *parts, unsigned n) {
    struct str routing = str_make(zmq_msg_data(&in->routing), zmq_msg_size(&in->routing));
    return send_to(p, in->role, routing, parts, n);
}
