#include "common/wire/keys.h"

#include "common/base/buf.h"
#include "common/base/check.h"
#include "common/base/hex.h"
#include "common/wire/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#define Z85_SIZE 41 /* 32 bytes as ZeroMQ writes them, and a NUL */

void key_file_wipe(struct key_file *k) {
    explicit_bzero(k, sizeof *k);
}

/* ---- pairs ---------------------------------------------------------------------------------- */
int key_file_make(struct key_file *k, struct err *e) {
    char public_text[Z85_SIZE], secret_text[Z85_SIZE];
    *k = (struct key_file){0};
    if (zmq_curve_keypair(public_text, secret_text) < 0)
        return err_set(e, ERR_IO, "this build of ZeroMQ has no CURVE: %s",
                       zmq_strerror(zmq_errno()));
    zmq_z85_decode(k->public_half, public_text);
    zmq_z85_decode(k->secret_half, secret_text);
    explicit_bzero(secret_text, sizeof secret_text);
    return 0;
}

static bool is_pair(const struct key_file *k) {
    char public_text[Z85_SIZE], secret_text[Z85_SIZE];
    uint8_t public_half[KEY_BYTES];
    zmq_z85_encode(secret_text, k->secret_half, KEY_BYTES);
    bool yes = zmq_curve_public(public_text, secret_text) == 0 &&
               zmq_z85_decode(public_half, public_text) &&
               memcmp(public_half, k->public_half, KEY_BYTES) == 0;
    explicit_bzero(secret_text, sizeof secret_text);
    return yes;
}

/* ---- reading -------------------------------------------------------------------------------- */
struct key_lines {
    struct key_file *k;
    const char *path;
    size_t lines[3]; /* where each word stood; 0: not yet */
};

static const char *const words[3] = {"public", "secret", "server"};

static uint8_t *half(struct key_file *k, size_t word) {
    return word == 0 ? k->public_half : word == 1 ? k->secret_half : k->server;
}

static int take_line(struct key_lines *r, size_t line, struct str text, struct err *e) {
    text = str_trim(text);
    if (!text.len || text.at[0] == '#')
        return 0;
    for (size_t w = 0; w < 3; w++) {
        size_t len = strlen(words[w]);
        if (!str_starts(text, str_of(words[w])) || text.len == len || text.at[len] != ':')
            continue;
        if (r->lines[w])
            return err_set(e, ERR_BAD_CONFIG, "%s:%zu: %s: given twice, first in line %zu", r->path,
                           line, words[w], r->lines[w]);
        r->lines[w] = line;
        struct str value = str_trim(str_make(text.at + len + 1, text.len - len - 1));
        if (hex_read(value, half(r->k, w), KEY_BYTES))
            return 0;
        return err_set(e, ERR_BAD_CONFIG,
                       "%s:%zu: %s: %zu characters, must be %d digits of 0-9 a-f", r->path, line,
                       words[w], value.len, KEY_DIGITS);
    }
    return err_set(e, ERR_BAD_CONFIG,
                   "%s:%zu: expected public:, secret: or server:, or # and a comment", r->path,
                   line);
}

static int take_lines(struct key_lines *r, struct str text, struct err *e) {
    for (size_t line = 1; text.len; line++) {
        const char *end = memchr(text.at, '\n', text.len);
        size_t n = end ? (size_t)(end - text.at) : text.len;
        if (take_line(r, line, str_make(text.at, n), e) < 0)
            return -1;
        text = str_make(text.at + n, text.len - n);
        if (end)
            text = str_make(text.at + 1, text.len - 1);
    }
    for (size_t w = 0; w < 2; w++)
        if (!r->lines[w])
            return err_set(e, ERR_BAD_CONFIG, "%s: %s: is missing", r->path, words[w]);
    r->k->has_server = r->lines[2] != 0;
    if (!is_pair(r->k))
        return err_set(e, ERR_BAD_CONFIG, "%s: public and secret do not belong together", r->path);
    return 0;
}

static int check_mode(int fd, const char *path, struct err *e) {
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_errno(e, "%s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_BAD_CONFIG, "%s: is no file", path);
    if (st.st_mode & (S_IRWXG | S_IRWXO))
        return err_set(e, ERR_BAD_CONFIG,
                       "%s: has mode %04o: others may open this secret key; chmod 0600 it", path,
                       (unsigned)(st.st_mode & 07777));
    return 0;
}

static int read_text(int fd, const char *path, char text[KEY_FILE_BYTES + 1], size_t *len,
                     struct err *e) {
    *len = 0;
    while (*len <= KEY_FILE_BYTES) {
        ssize_t n = read(fd, text + *len, KEY_FILE_BYTES + 1 - *len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(e, "%s", path);
        if (n == 0)
            return 0;
        *len += (size_t)n;
    }
    return err_set(e, ERR_BAD_CONFIG, "%s: is larger than %d bytes", path, KEY_FILE_BYTES);
}

int key_file_read(struct key_file *k, const char *path, struct err *e) {
    char text[KEY_FILE_BYTES + 1];
    size_t len = 0;
    *k = (struct key_file){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return err_set(e, ERR_BAD_CONFIG, "key file %s: %s", path, strerror(errno));
    struct key_lines r = {.k = k, .path = path};
    int rc = check_mode(fd, path, e);
    if (rc == 0)
        rc = read_text(fd, path, text, &len, e);
    if (rc == 0)
        rc = take_lines(&r, str_make(text, len), e);
    close(fd);
    explicit_bzero(text, sizeof text);
    if (rc < 0)
        key_file_wipe(k);
    return rc;
}

/* ---- writing -------------------------------------------------------------------------------- */
static size_t put(char *text, size_t size, const struct key_file *k, const char *who) {
    char public_half[KEY_DIGITS + 1], secret_half[KEY_DIGITS + 1], server[KEY_DIGITS + 1];
    hex_show(k->public_half, KEY_BYTES, public_half);
    hex_show(k->secret_half, KEY_BYTES, secret_half);
    hex_show(k->server, KEY_BYTES, server);
    int n = snprintf(text, size,
                     "# Quern: the secret key of %s. Who can read this file can speak as it.\n"
                     "public: %s\nsecret: %s\n%s%s%s",
                     who, public_half, secret_half, k->has_server ? "server: " : "",
                     k->has_server ? server : "", k->has_server ? "\n" : "");
    explicit_bzero(secret_half, sizeof secret_half);
    ASSERT(n > 0 && (size_t)n < size);
    return (size_t)n;
}

int key_file_write(const struct key_file *k, const char *path, const char *who, struct err *e) {
    char text[KEY_FILE_BYTES];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST)
        return err_set(e, ERR_CONFLICT, "%s is there already; remove it to make another key", path);
    if (fd < 0)
        return err_errno(e, "cannot write %s", path);
    size_t n = put(text, sizeof text, k, who);
    bool whole = fchmod(fd, 0600) == 0 && write(fd, text, n) == (ssize_t)n && fsync(fd) == 0;
    int saved = errno;
    explicit_bzero(text, sizeof text);
    if (close(fd) == 0 && whole)
        return 0;
    unlink(path);
    errno = saved;
    return err_errno(e, "cannot write %s", path);
}

/* ---- peers ---------------------------------------------------------------------------------- */
static bool is_tcp(const char *endpoint) {
    return str_starts(str_of(endpoint), STR("tcp://"));
}

bool key_is_needed(const char *endpoint) {
    struct str rest = str_of(endpoint);
    if (!is_tcp(endpoint))
        return false;
    rest = str_make(rest.at + 6, rest.len - 6);
    return !str_starts(rest, STR("127.")) && !str_starts(rest, STR("[::1]:")) &&
           !str_starts(rest, STR("localhost:"));
}

static int take_server(struct key_file *k, const struct key_places *at, struct err *e) {
    if (at->server && *at->server) {
        if (!hex_read(str_of(at->server), k->server, KEY_BYTES))
            return err_set(e, ERR_USAGE,
                           "the broker's key ($" KEY_ENV_SERVER
                           "): %zu characters, must be %d digits of 0-9 a-f",
                           strlen(at->server), KEY_DIGITS);
        k->has_server = true;
    }
    if (k->has_server)
        return 0;
    return err_set(e, ERR_USAGE,
                   "key file %s: it has no line server:, and $" KEY_ENV_SERVER
                   " does not name the broker's key either",
                   at->file);
}

int key_for(struct key_file *k, const char *endpoint, const struct key_places *at, struct err *e) {
    *k = (struct key_file){0};
    if (!is_tcp(endpoint))
        return 0;
    if (!at->file || !*at->file) {
        if (!key_is_needed(endpoint))
            return 0;
        return err_set(
            e, ERR_USAGE,
            "%s: beyond this host's loopback a key is needed: --key-file FILE or $" KEY_ENV_FILE
            " (quern keygen makes one)",
            endpoint);
    }
    if (key_file_read(k, at->file, e) < 0)
        return -1;
    if (take_server(k, at, e) == 0)
        return 1;
    key_file_wipe(k);
    return -1;
}

/* ---- sockets -------------------------------------------------------------------------------- */
static void set_key(void *socket, int option, const uint8_t half[KEY_BYTES]) {
    int rc = zmq_setsockopt(socket, option, half, KEY_BYTES);
    ASSERT(rc == 0);
}

void socket_be_curve_client(void *socket, const struct key_file *k) {
    set_key(socket, ZMQ_CURVE_SERVERKEY, k->server);
    set_key(socket, ZMQ_CURVE_PUBLICKEY, k->public_half);
    set_key(socket, ZMQ_CURVE_SECRETKEY, k->secret_half);
}

void socket_be_curve_server(void *socket, const struct key_file *k, const char *domain) {
    socket_set(socket, ZMQ_CURVE_SERVER, 1);
    set_key(socket, ZMQ_CURVE_SECRETKEY, k->secret_half);
    int rc = zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, domain, strlen(domain));
    ASSERT(rc == 0);
}
