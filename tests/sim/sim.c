/* The run of one seed: events in order of time, faults, healing, the end. */
#include "tests/sim/sim.h"

#include "common/base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define DAY_MS 86400000

/* ---- events
 * -------------------------------------------------------------------------------------- */
static bool before(const struct event_row *a, const struct event_row *b) {
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

void sim_at(struct sim *s, uint64_t when, enum sim_event what, uint64_t who, struct packet *p) {
    if (s->events_n == s->events_size) {
        s->events_size = s->events_size ? s->events_size * 2 : 1024;
        s->events = mem_grow(s->events, s->events_size, sizeof *s->events);
    }
    struct event_row e = {when, s->order++, what, who, p};
    uint32_t at = s->events_n++;
    while (at && before(&e, &s->events[(at - 1) / 2])) {
        s->events[at] = s->events[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    s->events[at] = e;
}

static struct event_row next_event(struct sim *s) {
    struct event_row first = s->events[0], last = s->events[--s->events_n];
    uint32_t at = 0;
    for (;;) {
        uint32_t child = at * 2 + 1;
        if (child >= s->events_n)
            break;
        if (child + 1 < s->events_n && before(&s->events[child + 1], &s->events[child]))
            child++;
        if (!before(&s->events[child], &last))
            break;
        s->events[at] = s->events[child];
        at = child;
    }
    if (s->events_n)
        s->events[at] = last;
    return first;
}

/* ---- words
 * --------------------------------------------------------------------------------------- */
void sim_fail(struct sim *s, const char *fmt, ...) {
    int n = snprintf(s->words, s->words_size, "at %llu ms: ", (unsigned long long)s->now);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(s->words + n, s->words_size - (size_t)n, fmt, ap);
    va_end(ap);
    longjmp(*s->out, 1);
}

void sim_say(struct sim *s, const char *fmt, ...) {
    if (!s->loud)
        return;
    printf("%8llu  ", (unsigned long long)s->now);
    va_list ap;
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
}

static void step_clock(struct sim *s) {
    s->wall_step += (int64_t)rng_below(&s->rng, 2 * DAY_MS) - DAY_MS;
    if (s->wall_step > s->wall_step_max)
        s->wall_step_max = s->wall_step;
    sim_say(s, "the wall clock steps to %+lld ms", (long long)s->wall_step);
}

struct wall sim_wall(const struct sim *s) {
    return (struct wall){(uint64_t)((int64_t)(1700000000000 + s->now) + s->wall_step)};
}

void peer_send(struct sim *s, uint64_t link, enum role role, enum verb verb, uint64_t sequence,
               const void *msg, struct str payload) {
    AUTO_FRAME_OUT f = FRAME_OUT;
    frame_begin(&f, verb, sequence);
    if (frame_add_payload(&f, msg, payload, STR("")) < 0)
        sim_fail(s, "a message of a peer does not fit its frame");
    net_send(s, packet_new(link, true, role, &f));
}

/* ---- faults
 * -------------------------------------------------------------------------------------- */
static void fault_broker(struct sim *s) {
    struct broker_sim *b = &s->broker;
    if (!b->core || b->frozen)
        return;
    if (rng_below(&s->rng, 3)) {
        broker_crash(s);
        b->down_until = s->now + 1 + rng_below(&s->rng, 2000);
        if (rng_below(&s->rng, 3) == 0) /* the clock steps while we are away */
            step_clock(s);
        sim_at(s, b->down_until, SIM_FAULT, 1, NULL);
    } else {
        b->frozen = true;
        uint64_t until = s->now + rng_below(&s->rng, 3000);
        sim_say(s, "broker freezes");
        observe_freeze(s, true);
        sim_at(s, until, SIM_FAULT, 2, NULL);
        if (rng_below(&s->rng, 2)) /* the whole machine does */
            for (uint32_t i = 0; i < SIM_WORKERS; i++)
                s->workers[i].frozen_until = until + 20;
    }
}

static void fault_worker(struct sim *s) {
    struct worker_sim *w = &s->workers[rng_below(&s->rng, SIM_WORKERS)];
    if (!w->alive)
        return;
    switch (rng_below(&s->rng, 4)) {
    case 0:
        worker_die(s, (uint32_t)(w - s->workers), rng_below(&s->rng, 2));
        return;
    case 1:
        sim_say(s, "worker %u freezes", (unsigned)(w - s->workers));
        w->frozen_until = s->now + rng_below(&s->rng, 2500);
        return;
    case 2:
        sim_say(s, "worker %u is cut off", (unsigned)(w - s->workers));
        w->partition_until = s->now + rng_below(&s->rng, 2500);
        return;
    default:
        sim_say(s, "worker %u reconnects", (unsigned)(w - s->workers));
        w->link = ++s->links;
        w->welcome = false;
        w->hello_at = 0;
        return;
    }
}

static void fault_other(struct sim *s) {
    if (rng_below(&s->rng, 2)) {
        s->clients[rng_below(&s->rng, SIM_CLIENTS)].partition_until =
            s->now + rng_below(&s->rng, 2000);
        return;
    }
    if (rng_below(&s->rng, 2))
        broker_reload(s);
    else
        step_clock(s);
}

static void on_fault(struct sim *s, uint64_t which) {
    struct broker_sim *b = &s->broker;
    if (which == 1) {
        if (!b->core)
            broker_start(s);
        return;
    }
    if (which == 2) {
        if (b->core && b->frozen) {
            b->frozen = false;
            b->turn_due = false;
            observe_freeze(s, false);
            broker_wake(s);
        }
        return;
    }
    if (s->healing)
        return;
    uint32_t dice = rng_below(&s->rng, 10);
    if (dice < 3)
        fault_broker(s);
    else if (dice < 8)
        fault_worker(s);
    else
        fault_other(s);
    sim_at(s, s->now + 1 + rng_below(&s->rng, 4000), SIM_FAULT, 0, NULL);
}

static void heal(struct sim *s) {
    sim_say(s, "the world heals");
    s->healing = true;
    for (uint32_t i = 0; i < SIM_CLIENTS; i++)
        s->clients[i].partition_until = 0;
    for (uint32_t i = 0; i < SIM_WORKERS; i++)
        s->workers[i].partition_until = 0;
    /* The wall clock may be days behind where a run_at was named: that must come while we wait. */
    s->wall_step = s->wall_step_max;
}

/* ---- the run
 * ------------------------------------------------------------------------------------- */
static void on_packet(struct sim *s, struct packet *p) {
    if (p->to_broker) {
        broker_receive(s, p);
        return;
    }
    for (uint32_t i = 0; i < SIM_CLIENTS; i++) {
        if (s->clients[i].link == p->link) {
            client_packet(s, i, p);
            packet_free(p);
            return;
        }
    }
    for (uint32_t i = 0; i < SIM_WORKERS; i++) {
        if (s->workers[i].link == p->link) {
            worker_packet(s, i, p);
            return;
        }
    }
    packet_free(p); /* to a connection that is gone */
}

static void step(struct sim *s) {
    struct event_row e = next_event(s);
    s->now = e.at;
    struct broker_sim *b = &s->broker;
    switch (e.what) {
    case SIM_PACKET:
        on_packet(s, e.packet);
        return;
    case SIM_TURN:
        if (b->core && e.who == b->life && !b->frozen && b->turn_due && b->turn_at == s->now)
            broker_turn(s);
        return;
    case SIM_COMMITTED:
        disk_committed(s, e.who);
        return;
    case SIM_LOADED:
        broker_loaded(s, e.who);
        return;
    case SIM_CLIENT:
        client_tick(s, (uint32_t)e.who);
        return;
    case SIM_WORKER:
        worker_tick(s, (uint32_t)e.who);
        return;
    case SIM_FAULT:
        on_fault(s, e.who);
        return;
    case SIM_RELAY:
        model_says(s, e.who);
        return;
    }
}

static bool settled(const struct sim *s) {
    const struct core *c = s->broker.core;
    if (!c || !c->open)
        return false;
    uint64_t open = 0;
    for (int k = 0; k < JOB_done; k++)
        open += c->stats.by_state[k];
    for (uint32_t i = 0; i < SIM_CLIENTS; i++)
        for (uint32_t n = 0; n < s->clients[i].n; n++)
            open += s->clients[i].offers[n].fate == FATE_sent;
    return open == 0;
}

static void live(struct sim *s) {
    s->loss = rng_below(&s->rng, 3) ? rng_below(&s->rng, 60000) : 0;
    s->twice = rng_below(&s->rng, 40000);
    s->slow_ms = rng_below(&s->rng, 600);
    s->broker.wide_share = 1 + rng_below(&s->rng, 3);
    observe_start(s);
    note_copies_setup(s);
    broker_start(s);
    for (uint32_t i = 0; i < SIM_CLIENTS; i++)
        client_setup(s, i);
    for (uint32_t i = 0; i < SIM_WORKERS; i++) {
        worker_setup(s, i);
        sim_at(s, s->now + 1 + i, SIM_WORKER, i, NULL);
    }
    sim_at(s, 1000, SIM_FAULT, 0, NULL);
    while (s->now < SIM_SPAN_MS)
        step(s);
    heal(s);
    while (s->now < SIM_HEAL_MS && !settled(s))
        step(s);
    if (!settled(s))
        observe_stuck(s);
    for (uint64_t end = s->now + 3000; s->now < end;)
        step(s);
    observe_end(s);
    observe_notes_end(s);
}

static void tear_down(struct sim *s) {
    broker_done(s);
    for (uint32_t k = 0; k < s->events_n; k++)
        if (s->events[k].packet)
            packet_free(s->events[k].packet);
    mem_free(s->events);
    disk_done(&s->disk);
    model_done(s);
    note_copies_done(s);
    observe_done(s);
    mem_free(s);
}

bool sim_run(uint64_t seed, bool loud, char *words, size_t words_size) {
    struct sim *s = MEM_NEW(struct sim);
    jmp_buf out;
    s->seed = seed;
    s->rng = rng_seed(seed);
    s->loud = loud;
    s->out = &out;
    s->words = words;
    s->words_size = words_size;
    s->disk.next_pos = 64;
    s->broker.out = FRAME_OUT;
    words[0] = '\0';
    bool ok = setjmp(out) == 0;
    if (ok)
        live(s);
    tear_down(s);
    return words[0] == '\0';
}
