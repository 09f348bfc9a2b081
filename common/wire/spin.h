/* Waiting on ZeroMQ sockets by looking before sleeping.
 *
 * Where somebody has just spoken, his next word is often near: a look of some microseconds costs
 * him less than the waking of a thread. It is done while it mostly pays, else tried now and then,
 * so an idle process does not look at all. Between two looks others run (sched_yield): on few cores
 * it is their work that is waited for.
 *
 * One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <zmq.h>

struct spin {
    uint64_t look_ns;  /* for how long: a little more than the answer usually takes */
    uint64_t spoke_ns; /* when somebody spoke last */
    uint32_t credit, skipped;
};

/* Somebody spoke: call when a message was taken. */
void spin_heard(struct spin *s);
/* Looks until something is there or `end_ns` (clock_mono_ns) has come. True: it is. */
bool spin_until(uint64_t end_ns, zmq_pollitem_t *items, int n);
/* zmq_poll, with a look before. */
int spin_poll(struct spin *s, zmq_pollitem_t *items, int n, long ms);
