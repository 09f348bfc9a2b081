/* Options of ZeroMQ sockets that cannot be refused: a wrong one is our own bug. */
#pragma once

#include <stdint.h>

void socket_set(void *socket, int option, int value);
/* A longer frame closes the connection it came by. */
void socket_set_frame_max(void *socket, int64_t bytes);
/* Readable when there may be something to do; ask the socket then until there is nothing. */
int socket_fd(void *socket);
