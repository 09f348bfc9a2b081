/* Who may connect by TCP: the keys of the settings, and ZeroMQ's question about each handshake.
 *
 * Where broker.key_file is set every TCP endpoint is a CURVE server. ZeroMQ asks about each
 * handshake by ZAP (RFC 27), inside the process; a thread of the keyring answers, so that nobody
 * waits for the dispatcher. Who is let in has the digits of his public key as the "User-Id" of all
 * that he sends.
 *
 * Vocabulary
 *   domain   the endpoint that was connected to: a role, or one of the sockets of streams
 *   admitted the key is listed, and may be there: any role at an endpoint of roles, where HELLO is
 *            told what is wrong (BAD_ROLE), only the right ones at the sockets of streams
 *
 * What always holds: the list is exchanged as a whole. The dispatcher alone exchanges it, and may
 * keep what keyring_find returns until then; keyring_admits is for any thread. */
#pragma once

#include "broker/core/core.h"
#include "common/config/settings.h"
#include "common/wire/keys.h"

#define KEYRING_STREAM_WORKER "stream-worker"
#define KEYRING_STREAM_READER "stream-reader"

struct keyring;

struct keyring_key {
    uint8_t id[KEY_BYTES]; /* the public half */
    enum role role;
    struct core_rights rights;
};

/* Of a connection whose key is listed no more. */
extern const struct keyring_key keyring_nobody;

/* Reads broker.key_file; *out is NULL if none is set. Relative paths are of the current folder. */
int keyring_new(struct keyring **out, const struct settings *s, struct err *e);
/* Answers ZAP in that context; to be stopped before it is terminated. NULL does nothing in all of
 * the following. */
int keyring_serve(struct keyring *k, void *context, struct err *e);
void keyring_stop(struct keyring *k);
void keyring_destroy(struct keyring **k);

/* Makes what the socket binds from now on a CURVE server. */
void keyring_secure(const struct keyring *k, void *socket, const char *domain);

/* ---- dispatcher ------------------------------------------------------------------------------ */
/* Takes the list of these settings. Tells of each key that is not in it as it was. Those of the
 * list before stay readable until the next exchange: who holds some renews them before that. */
void keyring_replace(struct keyring *k, const struct settings *s,
                     void (*ended)(void *ctx, const struct keyring_key *key), void *ctx);
/* The key with that User-Id; NULL for NULL, keyring_nobody if it is not listed. */
const struct keyring_key *keyring_find(const struct keyring *k, const char *user_id);
/* The same key with the same rights, of the list that holds now, or keyring_nobody. */
const struct keyring_key *keyring_renew(const struct keyring *k, const struct keyring_key *old);

/* ---- any thread ------------------------------------------------------------------------------ */
/* `user_id` NULL: a local socket, or loopback without keys. */
bool keyring_admits(struct keyring *k, const char *user_id, const char *domain);
/* Rises with every exchange of the list. */
uint64_t keyring_generation(const struct keyring *k);
/* Handshakes that were turned down. */
uint64_t keyring_refused(const struct keyring *k);
