#include "tests/unit/core_listen.h"

int listen_set_up(void **state) {
    int rc = world_set_up(state);
    struct world *w = *state;
    w->journaled = true;
    struct msg_kind_info k = {0};
    MSG_SET(&k, kind_info, kind, STR("k"));
    MSG_SET(&k, kind_info, streams, true);
    world_set_kind(w, k);
    struct msg_kind_info plain = {0};
    MSG_SET(&plain, kind_info, kind, STR("plain"));
    world_set_kind(w, plain);
    world_begin(w, 1);
    world_hello(w, LISTENER, ROLE_GATEWAY, 0);
    world_end(w);
    return rc;
}

/* ---- doing ----------------------------------------------------------------------------------- */
struct stream_order orders_last(const struct world *w, enum stream_what what) {
    for (uint32_t k = w->n_orders; k-- > 0;)
        if (w->orders[k].what == what)
            return w->orders[k];
    fail_msg("nothing of that was ordered");
    return (struct stream_order){0};
}

/* The topic of the peer at that link, whose instance is the link's number twice. */
uint64_t topic_of_link(uint64_t link) {
    return __builtin_bswap64(link);
}

struct seen listen_attach(struct world *w, struct msg_attach m, uint64_t id) {
    MSG_SET(&m, attach, id, id);
    world_ask(w, LISTENER, ROLE_GATEWAY, VERB_attach, &m);
    return world_last(w, VERB_attached);
}

void listen_detach(struct world *w, uint64_t id) {
    struct msg_get_job m = {0};
    MSG_SET(&m, get_job, id, id);
    world_ask(w, LISTENER, ROLE_GATEWAY, VERB_detach, &m);
}

void listen_end_job(struct world *w, uint64_t id) {
    world_cancel(w, id);
    world_turn(w, 1);
}

void listen_beat(struct world *w, uint64_t link, enum role role) {
    struct msg_heartbeat m = {0};
    MSG_SET(&m, heartbeat, epoch, core_epoch(w->core));
    world_say(w, link, role, VERB_heartbeat, &m);
}

/* Time passes in steps that are no sleep of the broker; the listener is heard or not. */
void listen_pass(struct world *w, uint64_t ms, bool heard) {
    uint64_t step = w->config.heartbeat_ms / 2;
    while (ms) {
        uint64_t now = ms < step ? ms : step;
        world_begin(w, now);
        core_durable(w->core, w->pos);
        if (heard)
            listen_beat(w, LISTENER, ROLE_GATEWAY);
        world_end(w);
        ms -= now;
    }
}

uint64_t listen_lease(const struct world *w) {
    return w->config.heartbeat_ms * w->config.missed_max;
}
