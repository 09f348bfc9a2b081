/* The thread of the pages for monitoring: HTTP on one loopback address, /metrics, /healthz,
 * /health.
 *
 * It owns the HTTP server (libmicrohttpd, docs/decisions) and shares nothing with the dispatcher
 * but one snapshot, which belongs to either: it is handed over empty (a question) and comes back
 * filled (the answer), each time through a ring of one place. So the dispatcher is asked at most
 * once at a time, however many ask here; who asks meanwhile waits for the next answer.
 *
 * Bounds: OPS_CONNECTIONS connections, further ones wait in the kernel; one request a connection,
 * OPS_REQUEST_BYTES with all headers and without a body; OPS_LIFE_MS from accept to the end;
 * OPS_ASK_MS for the dispatcher's answer, then 503. */
#pragma once

#include "broker/ops_snapshot.h"

#define OPS_CONNECTIONS   32U
#define OPS_REQUEST_BYTES 8192U
#define OPS_LIFE_MS       10000U
#define OPS_ASK_MS        2000U

struct ops;

/* `listen` is HOST:PORT as the setting broker.ops_listen has it. Anything but a loopback address is
 * refused (BAD_CONFIG): the pages ask for no password. */
int ops_new(struct ops **out, struct str listen, struct err *e);
/* Ends the thread; who waits for an answer is cut off. */
void ops_destroy(struct ops **o);
/* HOST:PORT, where it really listens. */
const char *ops_address(const struct ops *o);

/* ---- dispatcher ------------------------------------------------------------------------------ */
/* Readable when there may be a question. */
int ops_fd(const struct ops *o);
/* What shall be filled and given back by ops_answer, soon; or NULL. */
struct ops_snapshot *ops_asked(struct ops *o);
void ops_answer(struct ops *o, struct ops_snapshot *s);
