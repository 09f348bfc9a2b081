#include "broker/gate.h"

#include "broker/inflow.h"
#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/os/wake.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define START_FILES     32U /* ZeroMQ's and the relay's, which are opened while peers connect */
#define CONNECTIONS_MIN 16U /* with fewer it is no broker */
#define PAUSE_MS        10  /* before a connection is tried again that could not even be closed */

enum place {
    PLACE_FREE,      /* or taken by something that is not watched */
    PLACE_LISTENS,   /* its connections are */
    PLACE_OPERATORS, /* the same, and they may have the last places */
    PLACE_SILENT     /* and how many ticks it was, added */
};

static struct {
    pthread_mutex_t lock;
    bool open;
    bool watching; /* the watched listeners are marked; until then there are no others */
    int reserve;
    uint32_t bound, aside; /* connections are below `bound`; `aside` it at the end */
    uint8_t *places;       /* enum place by descriptor, GATE_FILES_MAX of them */
    uint64_t told;         /* refused, at the last tick */
    atomic_bool awake;     /* written under the lock */
    struct flag flag;
    struct gate_stats stats;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .reserve = -1};

/* ---- in libzmq's thread ---------------------------------------------------------------------- */
/* By its number: the thread sanitizer, which does not see how ZeroMQ closes its descriptors, must
 * not see how it gets them, or it takes a file that gets the same number later for one of them. */
static int system_accept(int listener, struct sockaddr *address, socklen_t *size, int flags) {
    return (int)syscall(SYS_accept4, listener, address, size, flags);
}

static void wake(void) {
    if (!gate.awake)
        flag_raise(&gate.flag);
    gate.awake =
        true; /* before or after: the dispatcher looks again when it has lowered the flag */
}

static void count_refused(void) {
    gate.stats.refused++;
    wake();
}

static void keep_reserve(void) {
    if (gate.reserve < 0)
        gate.reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static int refuse(int fd) {
    close(fd);
    count_refused();
    errno = ECONNABORTED;
    return -1;
}

static int admit(int listener, int fd) {
    uint8_t place = (uint32_t)listener < gate.bound ? gate.places[listener] : PLACE_FREE;
    uint32_t bound = gate.bound - (place == PLACE_OPERATORS ? 0 : GATE_OPERATORS);
    if ((uint32_t)fd >= bound)
        return refuse(fd);
    inflow_begin(fd);
    bool watched = !gate.watching || place == PLACE_LISTENS || place == PLACE_OPERATORS;
    gate.places[fd] = watched ? PLACE_SILENT : PLACE_FREE;
    if (watched)
        wake();
    return fd;
}

/* No file is left: the reserve's is used to take the connection and close it. */
static bool turn_away(int listener) {
    if (gate.reserve < 0) {
        keep_reserve(); /* for the next one */
        return false;
    }
    close(gate.reserve);
    gate.reserve = -1;
    int fd = system_accept(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        refuse(fd);
    keep_reserve();
    return fd >= 0;
}

/* What libzmq takes for "the next one, please"; anything else ends the process. Where the
 * connection is still there and would be tried again at once, `pause` is set. */
static void soften(int listener, bool *pause) {
    switch (errno) {
    case EAGAIN:
    case EINTR:
    case ECONNABORTED:
    case EPROTO: /* those are known to it */
    case EBADF:
    case EFAULT:
    case EINVAL:
    case ENOTSOCK:
    case EOPNOTSUPP: /* bugs */
        return;
    case EMFILE:
    case ENFILE:
        *pause = !turn_away(listener);
        break;
    case ENOBUFS:
    case ENOMEM:
        *pause = true;
        break;
    default: /* what the network had to say about that connection */
        break;
    }
    if (*pause)
        count_refused();
    errno = ECONNABORTED;
}

/* A listener of libzmq blocks, and is only asked when it has something: so that nobody waits for
 * the lock, it is asked for that again. */
static bool has_one(int listener) {
    struct pollfd p = {.fd = listener, .events = POLLIN};
    return poll(&p, 1, 0) != 0;
}

static int take(int listener, struct sockaddr *address, socklen_t *size, int flags, bool *pause) {
    if (!has_one(listener)) {
        errno = EAGAIN;
        return -1;
    }
    int fd = system_accept(listener, address, size, flags);
    if (fd >= 0)
        return admit(listener, fd);
    soften(listener, pause);
    return -1;
}

static int pass(int listener, struct sockaddr *address, socklen_t *size, int flags) {
    bool pause = false;
    pthread_mutex_lock(&gate.lock);
    bool open = gate.open;
    int fd = open ? take(listener, address, size, flags, &pause) : -1;
    int saved = errno;
    pthread_mutex_unlock(&gate.lock);
    if (!open)
        return system_accept(listener, address, size, flags);
    if (pause)
        poll(NULL, 0, PAUSE_MS);
    errno = saved;
    return fd;
}

/* Names and types are the C library's, whose type of addresses is a union of pointers. */
/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): the other one is reserved */
int accept4(int listener, __SOCKADDR_ARG address, socklen_t *size, int flags) {
    return pass(listener, address.__sockaddr__, size, flags);
}

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): the other one is reserved */
int accept(int listener, __SOCKADDR_ARG address, socklen_t *size) {
    return pass(listener, address.__sockaddr__, size, 0);
}

/* ---- life ------------------------------------------------------------------------------------ */
static uint32_t raise_limit(void) {
    struct rlimit l;
    int rc = getrlimit(RLIMIT_NOFILE, &l);
    ASSERT(rc == 0);
    rlim_t most = l.rlim_max < GATE_FILES_MAX ? l.rlim_max : GATE_FILES_MAX;
    if (l.rlim_cur < most) {
        l.rlim_cur = most;
        setrlimit(RLIMIT_NOFILE, &l); /* up to the hard limit everybody may */
    }
    return l.rlim_cur < GATE_FILES_MAX ? (uint32_t)l.rlim_cur : GATE_FILES_MAX;
}

static int too_few(uint32_t needed, struct err *e) {
    return err_set(e, ERR_IO, "the limit of open files is %u, at least %u are needed (ulimit -n)",
                   gate.stats.files, needed);
}

int gate_open(uint32_t files, struct err *e) {
    uint32_t limit = raise_limit();
    gate.stats = (struct gate_stats){.files = limit};
    if (limit < files + START_FILES + CONNECTIONS_MIN)
        return too_few(files + START_FILES + CONNECTIONS_MIN, e);
    if (flag_open(&gate.flag) < 0)
        return err_errno(e, "the gate of connections");
    pthread_mutex_lock(&gate.lock);
    keep_reserve();
    gate.aside = files;
    gate.bound = limit - files - START_FILES;
    gate.places = mem_zalloc(GATE_FILES_MAX);
    gate.told = 0;
    gate.awake = gate.watching = false;
    gate.open = true;
    pthread_mutex_unlock(&gate.lock);
    return 0;
}

static bool listens(int fd) {
    int yes = 0;
    socklen_t size = sizeof yes;
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &size) == 0 && yes;
}

static bool has_path(int fd, const char *path) {
    struct sockaddr_un name = {0};
    socklen_t size = sizeof name;
    return getsockname(fd, (struct sockaddr *)&name, &size) == 0 && name.sun_family == AF_UNIX &&
           strncmp(name.sun_path, path, sizeof name.sun_path) == 0;
}

void gate_watch(const char *operators) {
    pthread_mutex_lock(&gate.lock);
    /* They may stand where connections may not yet: the bound is low while the broker starts. */
    for (uint32_t fd = 0; fd < gate.stats.files; fd++)
        if (listens((int)fd))
            gate.places[fd] = has_path((int)fd, operators) ? PLACE_OPERATORS : PLACE_LISTENS;
    gate.watching = true;
    pthread_mutex_unlock(&gate.lock);
}

/* Connections that came meanwhile are counted for files of ours: a few too many at worst. */
static uint32_t count_files(void) {
    uint32_t n = 0;
    for (uint32_t fd = 0; fd < gate.bound; fd++)
        n += fcntl((int)fd, F_GETFD) >= 0 && gate.places[fd] < PLACE_SILENT;
    return n;
}

int gate_ready(struct err *e) {
    pthread_mutex_lock(&gate.lock);
    gate.bound = gate.stats.files - gate.aside;
    uint32_t own = count_files();
    gate.stats.places = gate.bound > own ? gate.bound - own : 0;
    pthread_mutex_unlock(&gate.lock);
    if (gate.stats.places < CONNECTIONS_MIN)
        return too_few(own + gate.aside + CONNECTIONS_MIN, e);
    return 0;
}

void gate_close(void) {
    pthread_mutex_lock(&gate.lock);
    if (gate.open) {
        gate.open = false;
        if (gate.reserve >= 0)
            close(gate.reserve);
        gate.reserve = -1;
        flag_close(&gate.flag);
        MEM_FREE(gate.places);
    }
    pthread_mutex_unlock(&gate.lock);
}

/* ---- dispatcher ------------------------------------------------------------------------------ */
void gate_hello(int fd) {
    pthread_mutex_lock(&gate.lock);
    if (gate.open && fd >= 0 && (uint32_t)fd < gate.bound && gate.places[fd] >= PLACE_SILENT)
        gate.places[fd] = PLACE_FREE;
    pthread_mutex_unlock(&gate.lock);
}

/* libzmq may have closed it, and the number may be a file's by now; it cannot be another
 * connection, which would have come through the gate. */
static bool is_socket(int fd) {
    int type;
    socklen_t size = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0;
}

/* False if nobody silent has that place any more. libzmq hears the end of the connection, and
 * closes the descriptor itself. */
static bool look_at(uint32_t fd, bool wanted) {
    uint8_t *place = &gate.places[fd];
    if (!is_socket((int)fd)) {
        *place = PLACE_FREE;
        return false;
    }
    if (*place < PLACE_SILENT + GATE_SILENT)
        ++*place;
    if (*place < PLACE_SILENT + GATE_SILENT || !wanted)
        return true;
    shutdown((int)fd, SHUT_RDWR);
    *place = PLACE_FREE;
    gate.stats.silent++;
    return false;
}

void gate_tick(void) {
    pthread_mutex_lock(&gate.lock);
    if (gate.open && gate.awake) {
        bool wanted = gate.stats.refused != gate.told, silent = false;
        gate.told = gate.stats.refused;
        for (uint32_t fd = 0; fd < gate.bound; fd++)
            if (gate.places[fd] >= PLACE_SILENT)
                silent |= look_at(fd, wanted);
        gate.awake = silent || wanted;
    }
    pthread_mutex_unlock(&gate.lock);
}

bool gate_awake(void) {
    return gate.awake;
}

int gate_fd(void) {
    return gate.flag.fd;
}

void gate_seen(void) {
    flag_lower(&gate.flag);
}

struct gate_stats gate_stats(void) {
    pthread_mutex_lock(&gate.lock);
    struct gate_stats s = gate.stats;
    pthread_mutex_unlock(&gate.lock);
    return s;
}
