/* libmicrohttpd, loaded when pages for monitoring are asked for and not before: with what Debian's
 * build of it is linked against it maps 2.6 MB, which a broker without pages should not have.
 *
 * mhd->MHD_run(...) is MHD_run(...) of <microhttpd.h>. Loaded once, never unloaded. */
#pragma once

#include "common/base/err.h"

#include <microhttpd.h>

#define MHD_CALLS(X)                                                                               \
    X(MHD_start_daemon)                                                                            \
    X(MHD_stop_daemon)                                                                             \
    X(MHD_run)                                                                                     \
    X(MHD_get_timeout)                                                                             \
    X(MHD_get_daemon_info)                                                                         \
    X(MHD_get_connection_info)                                                                     \
    X(MHD_suspend_connection)                                                                      \
    X(MHD_resume_connection)                                                                       \
    X(MHD_lookup_connection_value)                                                                 \
    X(MHD_create_response_from_buffer)                                                             \
    X(MHD_add_response_header)                                                                     \
    X(MHD_queue_response)                                                                          \
    X(MHD_destroy_response)

struct mhd {
#define MHD_CALL(name) __typeof__ (&name)(name);
    MHD_CALLS(MHD_CALL)
#undef MHD_CALL
};

/* NULL when the library is not there or is another one. */
const struct mhd *mhd_load(struct err *e);
