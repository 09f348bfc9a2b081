#include "broker/inflow.h"

#include "broker/gate.h"
#include "common/log/log.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The greeting of ZMTP: 0xFF, eight bytes of padding, 0x7F, and the version decides of the rest. */
#define SIGNATURE_LAST 9
#define REVISION       10
#define GREETING_HEAD  11
#define GREETING_2     12 /* with the type of the socket */
#define GREETING_3     64
#define REVISION_2     1
#define MECHANISM_HEAD 6 /* the minor version, and as much of the name as CURVE has letters */

/* The flags of a frame, then its length in one byte or eight. */
#define FLAG_MORE    1U
#define FLAG_LONG    2U
#define FLAG_COMMAND 4U
#define HEAD_SHORT   2U
#define HEAD_LONG    9U

static struct inflow flows[GATE_FILES_MAX];
static _Atomic uint32_t taken[GATE_FILES_MAX];
static _Atomic uint64_t bound_bytes = UINT64_MAX;

/* ---- counting ------------------------------------------------------------------------------- */
static bool greeting(struct inflow *f) {
    const unsigned char *h = f->head;
    bool known = h[0] == 0xFF && (h[SIGNATURE_LAST] & 1) && h[REVISION] >= REVISION_2;
    bool is_2 = h[REVISION] == REVISION_2;
    f->state = is_2 ? INFLOW_FRAME : INFLOW_MECHANISM;
    f->skip = is_2 ? GREETING_2 - GREETING_HEAD : 0;
    return known;
}

static bool mechanism(struct inflow *f) {
    f->state = memcmp(f->head + 1, "CURVE", 5) == 0 ? INFLOW_CURVE : INFLOW_FRAME;
    f->skip = GREETING_3 - GREETING_HEAD - MECHANISM_HEAD;
    return true;
}

static uint64_t length(const unsigned char *head) {
    uint64_t n = 0;
    if (!(head[0] & FLAG_LONG))
        return head[1];
    for (unsigned i = 1; i < HEAD_LONG; i++)
        n = n << 8 | head[i];
    return n;
}

/* A command goes between the frames of a message and ends none. The last frame counts too while it
 * comes: the next one begins anew. */
static bool frame(struct inflow *f, uint64_t bound) {
    unsigned flags = f->head[0];
    f->skip = length(f->head);
    if ((flags & FLAG_COMMAND) && !(flags & FLAG_MORE))
        return true;
    bool alone = !(flags & FLAG_MORE) && f->frames == 0; /* ZMQ_MAXMSGSIZE is its bound */
    bool fits = alone || (f->skip <= bound && f->bytes <= bound - f->skip);
    f->bytes += f->skip;
    f->frames++;
    fits = fits && f->frames <= INFLOW_FRAMES;
    if (!(flags & FLAG_MORE)) {
        f->bytes = 0;
        f->frames = 0;
    }
    return fits;
}

/* Each frame looks like the last one of its message. */
static bool hidden_frame(struct inflow *f, uint64_t bound) {
    f->skip = length(f->head);
    if (f->head[0] & FLAG_COMMAND)
        return true;
    uint64_t most = bound < UINT64_MAX / INFLOW_WAITING ? bound * INFLOW_WAITING : UINT64_MAX;
    bool fits = f->skip <= most && f->bytes <= most - f->skip;
    f->bytes += f->skip;
    f->frames++;
    return fits && f->frames <= INFLOW_FRAMES * INFLOW_WAITING;
}

static bool take_head(struct inflow *f, uint64_t bound) {
    switch (f->state) {
    case INFLOW_GREETING:
        return greeting(f);
    case INFLOW_MECHANISM:
        return mechanism(f);
    case INFLOW_CURVE:
        return hidden_frame(f, bound);
    default:
        return frame(f, bound);
    }
}

static unsigned head_size(const struct inflow *f) {
    if (f->state == INFLOW_GREETING)
        return GREETING_HEAD;
    if (f->state == INFLOW_MECHANISM)
        return MECHANISM_HEAD;
    return f->have && (f->head[0] & FLAG_LONG) ? HEAD_LONG : HEAD_SHORT;
}

bool inflow_pass(struct inflow *f, const void *bytes, size_t n, uint64_t bound) {
    const unsigned char *at = bytes;
    while (n) {
        if (f->skip) {
            size_t some = f->skip < n ? (size_t)f->skip : n;
            f->skip -= some;
            at += some;
            n -= some;
            continue;
        }
        f->head[f->have++] = *at++;
        n--;
        if (f->have < head_size(f))
            continue;
        f->have = 0;
        if (!take_head(f, bound))
            return false;
    }
    return true;
}

void inflow_note_taken(struct inflow *f, uint32_t now) {
    if (f->state != INFLOW_CURVE || f->seen == now)
        return;
    f->seen = now;
    f->bytes = 0;
    f->frames = 0;
}

/* ---- in libzmq's thread ---------------------------------------------------------------------- */
/* Past the thread sanitizer too: it would take what libzmq hands over to us for a race as soon as
 * its bytes are written by a call of ours (tests/support/tsan.supp). */
static ssize_t system_recv(int fd, void *bytes, size_t n, int flags) {
    return syscall(SYS_recvfrom, fd, bytes, n, flags, NULL, NULL);
}

static ssize_t end(int fd, struct inflow *f) {
    log_event(LOG_peer_endless, log_u64("frames", f->frames), log_u64("bytes", f->bytes),
              log_u64("bytes_max", bound_bytes));
    *f = (struct inflow){0};
    shutdown(fd, SHUT_RDWR);
    errno = ECONNRESET;
    return -1;
}

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): the other one is reserved */
ssize_t recv(int fd, void *bytes, size_t n, int flags) {
    ssize_t got = system_recv(fd, bytes, n, flags);
    if (got <= 0 || (flags & MSG_PEEK) || fd < 0 || (uint32_t)fd >= GATE_FILES_MAX)
        return got;
    struct inflow *f = &flows[fd];
    inflow_note_taken(f, atomic_load(&taken[fd]));
    if (f->state == INFLOW_NONE || inflow_pass(f, bytes, (size_t)got, bound_bytes))
        return got;
    return end(fd, f);
}

/* ---- life ------------------------------------------------------------------------------------ */
void inflow_set_bound(uint64_t bytes) {
    bound_bytes = bytes;
}

void inflow_begin(int fd) {
    flows[fd] = (struct inflow){.state = INFLOW_GREETING, .seen = atomic_load(&taken[fd])};
}

void inflow_taken(int fd) {
    if (fd >= 0 && (uint32_t)fd < GATE_FILES_MAX)
        atomic_fetch_add(&taken[fd], 1);
}

void inflow_leave(int fd) {
    flows[fd] = (struct inflow){.state = INFLOW_NONE};
}
