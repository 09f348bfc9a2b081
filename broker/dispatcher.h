/* The broker's one thread that owns everything: core, journal, sockets.
 *
 * It lives in turns. A turn takes what waits on the sockets (bounded), hears what the journal has
 * done, lets the core step, sends what may leave and hands the journal what was put. Between turns
 * it waits for sockets, journal and signals, at most until the core wants its next turn.
 *
 * SIGTERM and SIGINT end it: what was acknowledged or is in the journal's hands becomes durable,
 * its answers leave, peers are told BYE; a second signal ends the process at once. SIGHUP reads the
 * settings again. */
#pragma once

#include "common/base/err.h"
#include "common/config/settings.h"

struct dispatcher_options {
    const char *data;           /* the data directory */
    const char *config;         /* the settings' file, or NULL: read again at SIGHUP */
    const char *version;        /* of the program */
    struct settings **settings; /* taken over */
    int ready_fd;               /* gets one byte when the broker serves, and is closed; -1: none */
};

/* Serves until a signal ends it. -1 when it could not begin. */
int dispatcher_run(const struct dispatcher_options *options, struct err *e);
