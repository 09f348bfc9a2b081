#include "common/wire/socket.h"

#include "common/base/check.h"

#include <stddef.h>
#include <zmq.h>

void socket_set(void *socket, int option, int value) {
    int rc = zmq_setsockopt(socket, option, &value, sizeof value);
    ASSERT(rc == 0);
}

void socket_set_frame_max(void *socket, int64_t bytes) {
    int rc = zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &bytes, sizeof bytes);
    ASSERT(rc == 0);
}

int socket_fd(void *socket) {
    int fd = -1;
    size_t len = sizeof fd;
    int rc = zmq_getsockopt(socket, ZMQ_FD, &fd, &len);
    ASSERT(rc == 0);
    return fd;
}
