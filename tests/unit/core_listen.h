/* The core's world with a kind that streams ("k"), one that does not ("plain"), and a gateway that
 * listens: shared by the tests of who is attached. */
#pragma once

#include "tests/unit/core_world.h"

#define LISTENER 3 /* the link of the gateway */

int listen_set_up(void **state);

struct stream_order orders_last(const struct world *w, enum stream_what what);
/* The topic of the peer at that link. */
uint64_t topic_of_link(uint64_t link);

struct seen listen_attach(struct world *w, struct msg_attach m, uint64_t id);
void listen_detach(struct world *w, uint64_t id);
void listen_end_job(struct world *w, uint64_t id);
void listen_beat(struct world *w, uint64_t link, enum role role);
/* Time passes in steps that are no sleep of the broker; the listener is heard or not. */
void listen_pass(struct world *w, uint64_t ms, bool heard);
uint64_t listen_lease(const struct world *w);
