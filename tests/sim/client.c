/* Clients: they offer jobs of all sorts, ask again when no answer comes, cancel, revive, and hold
 * the broker to what it told them. Client 0 is an operator, who also pauses queues and changes
 * limits. */
#include "tests/sim/sim.h"

#include <stdio.h>

#define TICK_MS   50
#define RESEND_MS 300
#define BEAT_MS   200

static enum role role_of(uint32_t i) {
    return i == 0 ? ROLE_OPERATOR : ROLE_CLIENT;
}

void client_setup(struct sim *s, uint32_t i) {
    struct client_sim *c = &s->clients[i];
    c->link = ++s->links;
    for (size_t n = 0; n < sizeof c->instance; n++)
        c->instance[n] = (uint8_t)rng_u32(&s->rng);
    sim_at(s, s->now + rng_below(&s->rng, TICK_MS), SIM_CLIENT, i, NULL);
}

static void say(struct sim *s, uint32_t i, enum verb verb, uint64_t sequence, const void *m,
                struct str payload) {
    peer_send(s, s->clients[i].link, role_of(i), verb, sequence, m, payload);
}

static void hello(struct sim *s, uint32_t i) {
    struct client_sim *c = &s->clients[i];
    struct msg_hello m = {0};
    MSG_SET(&m, hello, version_min, 1);
    MSG_SET(&m, hello, version_max, 1);
    MSG_SET(&m, hello, role, (uint64_t)role_of(i));
    MSG_SET(&m, hello, instance, str_make(c->instance, 16));
    c->hello_at = s->now;
    say(s, i, VERB_hello, ++c->sequence, &m, STR(""));
}

/* ---- offers
 * -------------------------------------------------------------------------------------- */
static enum behaviour pick_behaviour(struct sim *s) {
    uint32_t dice = rng_below(&s->rng, 100);
    return dice < 62   ? DO_succeed
           : dice < 76 ? DO_fail
           : dice < 80 ? DO_reject
           : dice < 86 ? DO_hold
           : dice < 91 ? DO_crash
           : dice < 94 ? DO_deaf
                       : DO_succeed;
}

static void fill_place(struct sim *s, uint32_t i, struct msg_submit *m) {
    static const char *const queues[] = {"tight", "slow", "wide"};
    /* More than there is room for. */
    static const char *const passing[] = {"a", "b", "c", "d", "e", "f"};
    static const char *const tenants[] = {"poor", "rich", "other"};
    static const char *const kinds[] = {"plain", "plain", "plain", "quick", "talk"};
    MSG_SET(m, submit, kind, str_of(kinds[rng_below(&s->rng, 5)]));
    if (i == 0 && rng_below(&s->rng, 2))
        MSG_SET(m, submit, attach, true);
    if (rng_below(&s->rng, 100) < 6)
        MSG_SET(m, submit, grace_ms, 1 + rng_below(&s->rng, 4000));
    if (rng_below(&s->rng, 3))
        MSG_SET(m, submit, queue, str_of(queues[rng_below(&s->rng, 3)]));
    if (rng_below(&s->rng, 2))
        MSG_SET(m, submit, priority, rng_below(&s->rng, 7));
    if (sim_few_names(s) && rng_below(&s->rng, 10) == 0)
        MSG_SET(m, submit, queue, str_of(passing[rng_below(&s->rng, 6)]));
    if (i == 0 && rng_below(&s->rng, 2))
        MSG_SET(m, submit, tenant, str_of(tenants[rng_below(&s->rng, 3)]));
}

static void fill_time(struct sim *s, struct msg_submit *m) {
    uint32_t dice = rng_below(&s->rng, 100);
    if (dice < 10)
        MSG_SET(m, submit, delay_ms, rng_below(&s->rng, 8000));
    else if (dice < 14)
        MSG_SET(m, submit, run_at_ms, sim_wall(s).ms + rng_below(&s->rng, 8000));
    if (rng_below(&s->rng, 100) < 4)
        MSG_SET(m, submit, ttl_ms, 1 + rng_below(&s->rng, 5000));
    if (rng_below(&s->rng, 100) < 10)
        MSG_SET(m, submit, attempts_max, 1 + rng_below(&s->rng, 6));
}

static void fill_keys(struct sim *s, struct offer_row *o) {
    struct msg_submit *m = &o->m;
    if (rng_below(&s->rng, 100) < 30) {
        snprintf(o->key, sizeof o->key, "k%u", rng_below(&s->rng, 4));
        MSG_SET(m, submit, key, str_of(o->key));
        if (o->key[1] == '0')
            MSG_SET(m, submit, interval_ms, 700);
    }
    if (rng_below(&s->rng, 100) < 15) {
        snprintf(o->unique, sizeof o->unique, "u%u", rng_below(&s->rng, 4));
        MSG_SET(m, submit, unique, str_of(o->unique));
        if (o->unique[1] == '0')
            MSG_SET(m, submit, window_ms, 1 + rng_below(&s->rng, 6000));
    }
    uint32_t dice = rng_below(&s->rng, 100);
    if (dice < 5 && !MSG_HAS(m, submit, window_ms) && !MSG_HAS(m, submit, run_at_ms))
        MSG_SET(m, submit, durability, DURABLE_NONE);
    else if (dice < 12)
        MSG_SET(m, submit, durability, DURABLE_ASYNC);
}

static void new_offer(struct sim *s, uint32_t i, uint64_t sequence, uint32_t item) {
    struct client_sim *c = &s->clients[i];
    struct offer_row *o = &c->offers[c->n++];
    *o = (struct offer_row){.sequence = sequence,
                            .fate = FATE_sent,
                            .sent_at = s->now,
                            .first_sent = s->now,
                            .epoch = c->epoch};
    o->plan = (struct plan){.client = i,
                            .item = item,
                            .sequence = sequence,
                            .behaviour = pick_behaviour(s),
                            .times = 1 + rng_below(&s->rng, 3),
                            .ms = rng_below(&s->rng, 300)};
    fill_place(s, i, &o->m);
    fill_time(s, &o->m);
    fill_keys(s, o);
    if (o->m.durability != DURABLE_NONE) {
        flow_plan(&s->rng, &o->plan, 3);
        if (o->m.durability == DURABLE_SYNC && rng_below(&s->rng, 20) == 0)
            o->plan.comes_with = 1 + rng_below(&s->rng, BROOD_MAX);
        if (o->plan.comes_with)
            MSG_SET(&o->m, submit, children, o->plan.comes_with);
        if (rng_below(&s->rng, 5) == 0)
            MSG_SET(&o->m, submit, fail_fast, true);
    }
    MSG_SET(&o->m, submit, watch, rng_below(&s->rng, 2));
    MSG_SET(&o->m, submit, size, sizeof o->plan);
}

/* All offers of one sequence in one message, as they were the first time. */
static void send_offers(struct sim *s, uint32_t i, uint64_t sequence) {
    struct client_sim *c = &s->clients[i];
    AUTO_FRAME_OUT f = FRAME_OUT;
    frame_begin(&f, VERB_submit, sequence);
    for (uint32_t n = 0; n < c->n; n++) {
        struct offer_row *o = &c->offers[n];
        if (o->sequence != sequence)
            continue;
        if (frame_add_payload(&f, &o->m, str_make(&o->plan, sizeof o->plan), STR("")) < 0)
            sim_fail(s, "an offer does not fit its frame");
        struct brood b;
        brood_of_offer(&b, &o->plan);
        for (uint32_t k = 0; k < b.n; k++)
            frame_add_child(&f, &b.m[k], str_make(&b.plans[k], sizeof b.plans[k]));
        o->sent_at = s->now;
    }
    net_send(s, packet_new(c->link, true, role_of(i), &f));
}

static void offer_some(struct sim *s, uint32_t i) {
    struct client_sim *c = &s->clients[i];
    uint32_t n = 1 + rng_below(&s->rng, rng_chance(&s->rng, 50000) ? 24 : 3);
    uint64_t sequence = ++c->sequence;
    for (uint32_t k = 0; k < n && c->n < SIM_JOBS_MAX; k++)
        new_offer(s, i, sequence, k);
    send_offers(s, i, sequence);
}

/* No answer: the same sequence again in the same life of the broker; in another one only a unique
 * key makes it safe to ask again, so nothing else is. */
static void ask_again(struct sim *s, uint32_t i) {
    struct client_sim *c = &s->clients[i];
    uint64_t done = 0;
    for (uint32_t n = 0; n < c->n; n++) {
        struct offer_row *o = &c->offers[n];
        if (o->fate != FATE_sent || s->now - o->sent_at < RESEND_MS || o->sequence == done)
            continue;
        if (o->epoch != c->epoch) {
            o->fate = FATE_unknown;
            continue;
        }
        done = o->sequence;
        send_offers(s, i, o->sequence);
    }
}

/* ---- other requests
 * ------------------------------------------------------------------------------ */
static struct offer_row *random_offer(struct sim *s, uint32_t i) {
    struct client_sim *c = &s->clients[i];
    return c->n ? &c->offers[rng_below(&s->rng, c->n)] : NULL;
}

static void watch_some(struct sim *s, uint32_t i) {
    struct client_sim *c = &s->clients[i];
    for (uint32_t n = 0; n < c->n; n++) {
        struct offer_row *o = &c->offers[n];
        if (o->fate != FATE_acked || o->finished || o->m.durability == DURABLE_NONE ||
            rng_below(&s->rng, s->healing ? 2 : 12))
            continue;
        struct msg_get_job m = {0};
        MSG_SET(&m, get_job, id, o->id);
        say(s, i, VERB_watch_job, ++c->sequence, &m, STR(""));
    }
}

/* The operator listens to some, and to some no more. */
static void listen_some(struct sim *s, uint32_t i) {
    struct client_sim *c = &s->clients[i];
    if (s->now - c->beat_at >= BEAT_MS) {
        struct msg_heartbeat m = {0};
        MSG_SET(&m, heartbeat, epoch, c->epoch);
        c->beat_at = s->now;
        say(s, i, VERB_heartbeat, 0, &m, STR(""));
    }
    struct offer_row *o = rng_below(&s->rng, 4) ? NULL : random_offer(s, i);
    if (!o || o->fate != FATE_acked)
        return;
    if (rng_below(&s->rng, 3)) {
        struct msg_attach m = {0};
        MSG_SET(&m, attach, id, o->id);
        say(s, i, VERB_attach, ++c->sequence, &m, STR(""));
    } else {
        struct msg_get_job m = {0};
        MSG_SET(&m, get_job, id, o->id);
        say(s, i, VERB_detach, 0, &m, STR(""));
    }
}

static void send_request(struct sim *s, uint32_t i) {
    struct client_sim *c = &s->clients[i];
    c->request_at = s->now;
    if (c->request == VERB_cancel_job) {
        struct msg_cancel_job m = {0};
        MSG_SET(&m, cancel_job, id, c->request_id);
        say(s, i, c->request, c->request_sequence, &m, STR(""));
    } else if (c->request == VERB_retry_job) {
        struct msg_retry_job m = {0};
        if (c->request_group)
            MSG_SET(&m, retry_job, group, c->request_id);
        else
            MSG_SET(&m, retry_job, id, c->request_id);
        say(s, i, c->request, c->request_sequence, &m, STR(""));
    } else if (c->request == VERB_purge_queue || c->request == VERB_pause_queue ||
               c->request == VERB_resume_queue) {
        struct msg_queue_ref m = {0};
        MSG_SET(&m, queue_ref, queue, STR("wide"));
        say(s, i, c->request, c->request_sequence, &m, STR(""));
    } else if (c->request >= VERB_set_schedule) {
        schedule_request(s, c->link, c->request, c->request_sequence, c->request_offer);
    } else if (c->request == VERB_set_limit) {
        struct msg_set_limit m = {0};
        MSG_SET(&m, set_limit, scope, 1);
        MSG_SET(&m, set_limit, name, STR("tight"));
        MSG_SET(&m, set_limit, concurrency, c->request_id);
        say(s, i, c->request, c->request_sequence, &m, STR(""));
    }
}

static uint64_t any_group(const struct sim *s) {
    const struct core *c = s->broker.core;
    uint32_t i = c ? slab_next(&c->dead_groups, 1) : 0;
    return i ? dead_group_at(c, i)->print : 0;
}

/* Of children, which are nobody's offers. */
static void start_child_request(struct sim *s, uint32_t i) {
    struct client_sim *c = &s->clients[i];
    bool retry = rng_below(&s->rng, 2);
    uint64_t id = some_child(s, retry);
    if (!id)
        return;
    c->request = retry ? VERB_retry_job : VERB_cancel_job;
    c->request_id = id;
    c->request_offer = SIM_JOBS_MAX;
    c->request_sequence = ++c->sequence;
    send_request(s, i);
}

static void watch_flow_some(struct sim *s, uint32_t i) {
    struct client_sim *c = &s->clients[i];
    const struct offer_row *o = random_offer(s, i);
    struct msg_get_job m = {0};
    uint64_t child = rng_below(&s->rng, 3) ? 0 : some_child(s, false);
    if (!child && (!o || o->fate != FATE_acked))
        return;
    MSG_SET(&m, get_job, id, child ? child : o->id);
    say(s, i, VERB_watch_flow, ++c->sequence, &m, STR(""));
}

static void start_request(struct sim *s, uint32_t i) {
    struct client_sim *c = &s->clients[i];
    uint32_t dice = rng_below(&s->rng, 100);
    struct offer_row *o = random_offer(s, i);
    if (!o || o->fate != FATE_acked || o->m.durability == DURABLE_NONE)
        return;
    c->request_offer = (uint32_t)(o - c->offers);
    c->request_id = o->id;
    if (dice < 50) {
        c->request = VERB_cancel_job;
        o->cancel_asked = true;
    } else if (dice < 60 && o->finished && o->state != JOB_done && !o->duplicate) {
        c->request = VERB_retry_job;
        c->request_group = false;
        o->revived = true;
    } else if (i == 0 && dice < 75) {
        c->request = VERB_pause_queue;
    } else if (i == 0 && dice < 80) {
        c->request = VERB_purge_queue;
    } else if (i == 0 && dice < 90) {
        c->request = VERB_set_limit;
        c->request_id = 1 + rng_below(&s->rng, 3);
    } else if (i == 0 && dice < 92 && any_group(s)) {
        c->request = VERB_retry_job;
        c->request_group = s->retried_all = true;
        c->request_id = any_group(s);
    } else {
        return;
    }
    c->request_sequence = ++c->sequence;
    send_request(s, i);
}

/* Whatever goes on for ever has no end to wait for. */
static void schedule_some(struct sim *s, uint32_t i) {
    static const enum verb verbs[] = {VERB_set_schedule, VERB_set_schedule, VERB_run_schedule,
                                      VERB_remove_schedule, VERB_pause_schedule};
    struct client_sim *c = &s->clients[i];
    c->request = s->healing ? VERB_pause_schedule : verbs[rng_below(&s->rng, 5)];
    c->request_offer = s->healing ? SCHEDULES : rng_below(&s->rng, SCHEDULES);
    c->request_sequence = ++c->sequence;
    send_request(s, i);
}

static void resume(struct sim *s, uint32_t i) {
    struct client_sim *c = &s->clients[i];
    c->request = VERB_resume_queue;
    c->request_sequence = ++c->sequence;
    send_request(s, i);
}

void client_tick(struct sim *s, uint32_t i) {
    struct client_sim *c = &s->clients[i];
    sim_at(s, s->now + TICK_MS, SIM_CLIENT, i, NULL);
    if (!c->welcome) {
        if (s->now - c->hello_at > RESEND_MS)
            hello(s, i);
        return;
    }
    if (!s->healing && c->n < SIM_JOBS_MAX / 3 && rng_below(&s->rng, 10) == 0)
        offer_some(s, i);
    ask_again(s, i);
    watch_some(s, i);
    if (rng_below(&s->rng, 20) == 0)
        watch_flow_some(s, i);
    if (i == 0)
        listen_some(s, i);
    if (i == 0 && rng_below(&s->rng, 20) == 0)
        say(s, i, VERB_list_dead, ++c->sequence, &(struct msg_list_dead){0}, STR(""));
    if (i == 0 && rng_below(&s->rng, 20) == 0)
        notes_set_some(s, c->link, ROLE_OPERATOR, &c->sequence);
    if (c->request && s->now - c->request_at > RESEND_MS)
        send_request(s, i);
    if (!c->request && i == 0 && (s->healing ? !c->schedules_paused : rng_below(&s->rng, 30) == 0))
        schedule_some(s, i);
    else if (!c->request && !s->healing && rng_below(&s->rng, 30) == 0)
        rng_below(&s->rng, 3) ? start_request(s, i) : start_child_request(s, i);
    else if (!c->request && i == 0 && rng_below(&s->rng, 20) == 0)
        resume(s, i); /* what was paused must go on, in the end for certain */
    if (!s->healing && rng_below(&s->rng, 400) == 0) { /* reconnects */
        c->link = ++s->links;
        c->welcome = false;
        c->hello_at = 0;
    }
}

/* ---- answers
 * ------------------------------------------------------------------------------------- */
static void on_welcome(struct client_sim *c, const struct msg_welcome *m) {
    c->welcome = true;
    if (c->epoch != m->epoch)
        c->request = VERB_NONE; /* whether it was done is not known */
    c->epoch = m->epoch;
}

static struct offer_row *find_offer(struct client_sim *c, uint64_t sequence, uint32_t item) {
    for (uint32_t n = 0; n < c->n; n++)
        if (c->offers[n].sequence == sequence && c->offers[n].plan.item == item)
            return &c->offers[n];
    return NULL;
}

static void on_submitted(struct sim *s, struct client_sim *c, uint64_t sequence, uint32_t item,
                         const struct msg_submitted *m) {
    struct offer_row *o = find_offer(c, sequence, item);
    if (!o)
        sim_fail(s, "an answer to an offer that was never made (item %u)", item);
    if (o->fate == FATE_acked && m->code == 0 && o->id != m->id)
        sim_fail(s, "one offer was answered with two ids");
    if (o->fate == FATE_acked)
        return;
    o->fate = m->code ? FATE_refused : FATE_acked;
    o->id = m->id;
    o->duplicate = m->duplicate;
    if (!m->code)
        observe_acked(s, o);
}

static void on_finished(struct sim *s, struct client_sim *c, const struct msg_finished *m) {
    for (uint32_t n = 0; n < c->n; n++)
        if (c->offers[n].id == m->id)
            observe_finished(s, &c->offers[n], m->state);
}

static void on_outcome(struct client_sim *c, uint64_t sequence, const struct msg_outcome *m) {
    if (sequence != c->request_sequence)
        return;
    if (c->request == VERB_pause_schedule && c->request_offer == SCHEDULES)
        c->schedules_paused = true;
    if (c->request >= VERB_set_schedule) {
        c->request = VERB_NONE;
        return;
    }
    if (c->request_offer == SIM_JOBS_MAX) {
        c->request = VERB_NONE;
        return;
    }
    struct offer_row *o = &c->offers[c->request_offer];
    bool alone = !o->plan.children && !o->plan.comes_with &&
                 !o->duplicate; /* else its flow may be what was cancelled */
    if (c->request == VERB_cancel_job && m->code == 0 && alone)
        o->cancel_ok = true;
    c->request = VERB_NONE;
}

/* The answer is no longer kept: whether it was accepted cannot be known. */
static void give_up(struct client_sim *c, uint64_t sequence) {
    for (uint32_t n = 0; n < c->n; n++)
        if (c->offers[n].sequence == sequence && c->offers[n].fate == FATE_sent)
            c->offers[n].fate = FATE_unknown;
}

void client_packet(struct sim *s, uint32_t i, struct packet *p) {
    struct client_sim *c = &s->clients[i];
    struct frame_in in;
    struct err e = {0};
    AUTO_ARENA arena = arena_new(1U << 20);
    if (frame_open(&in, str_make(p->bytes, p->head), str_make(p->bytes + p->head, p->body),
                   str_make(p->bytes + p->head + p->body, p->payloads), &e) < 0)
        sim_fail(s, "a client cannot open a frame: %s", e.text);
    union msg_any m;
    struct frame_item item;
    while (frame_next(&in, &m, arena, &item, &e) == 1) {
        switch (in.verb->verb) {
        case VERB_welcome:
            on_welcome(c, &m.welcome);
            break;
        case VERB_submitted:
            on_submitted(s, c, in.sequence, item.index, &m.submitted);
            break;
        case VERB_finished:
            on_finished(s, c, &m.finished);
            break;
        case VERB_outcome:
            on_outcome(c, in.sequence, &m.outcome);
            break;
        case VERB_error:
            if (m.error.code == ERR_NO_HELLO || m.error.code == ERR_STARTING)
                c->welcome = false;
            else if (in.sequence == c->request_sequence)
                c->request = VERB_NONE;
            else if (m.error.code == ERR_OLD_SEQUENCE)
                give_up(c, in.sequence);
            break;
        default:
            break;
        }
    }
}
