/* Keys of CURVE: the files that hold them, and the sockets that use them.
 *
 * A key is a pair. The public half, 64 hexadecimal digits for people, names its owner and may be
 * seen by everybody; the secret half proves it, and stands in a file of mode 0600:
 *
 *     # comments
 *     public: DIGITS
 *     secret: DIGITS
 *     server: DIGITS       the broker's public half; not in the broker's own file
 *
 * What always holds: a file that anybody but its owner may open is refused, and no error shows
 * what stands in one. Whoever holds a `struct key_file` wipes it. Any thread. */
#pragma once

#include "common/base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define KEY_BYTES      32
#define KEY_DIGITS     64
#define KEY_FRAME_MORE 64 /* bytes that CURVE adds to a frame, at most */
#define KEY_FILE_BYTES 4096

struct key_file {
    uint8_t public_half[KEY_BYTES], secret_half[KEY_BYTES];
    uint8_t server[KEY_BYTES];
    bool has_server;
};

/* -1 with BAD_CONFIG that names the path, and mode, line and what is wrong; then nothing is left in
 * `k`. The halves belong together. */
int key_file_read(struct key_file *k, const char *path, struct err *e);
/* A new file, mode 0600, which must not be there; `who` stands in its first line. */
int key_file_write(const struct key_file *k, const char *path, const char *who, struct err *e);
/* A new pair, without a server. */
int key_file_make(struct key_file *k, struct err *e);
void key_file_wipe(struct key_file *k);

/* ---- peers ---------------------------------------------------------------------------------- */
/* Where a peer's keys are: names of the environment and what the command line says. NULL or "":
 * not said. */
#define KEY_ENV_FILE   "QUERN_KEY_FILE"
#define KEY_ENV_SERVER "QUERN_SERVER_KEY"
struct key_places {
    const char *file, *server;
};

/* Whether anybody else could listen: TCP to another address than this host's loopback. */
bool key_is_needed(const char *endpoint);
/* What to use for `endpoint`: 1 and `k`, or 0: none, as it is a local socket, or loopback and no
 * key is named. -1 with USAGE or BAD_CONFIG where a key is needed, or was named, and is not there.
 */
int key_for(struct key_file *k, const char *endpoint, const struct key_places *at, struct err *e);

/* ---- sockets, before they connect or bind --------------------------------------------------- */
void socket_be_curve_client(void *socket, const struct key_file *k);
/* Whoever connects is asked about by ZAP, in `domain`. */
void socket_be_curve_server(void *socket, const struct key_file *k, const char *domain);
