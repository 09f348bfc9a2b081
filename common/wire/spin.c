#include "common/wire/spin.h"

#include "common/os/clock.h"

#include <sched.h>

#define TALK_NS    1000000U /* somebody spoke so short a time ago */
#define CREDIT_MAX 16U
#define RETRY      32U /* without credit, one chance of so many is taken */

void spin_heard(struct spin *s) {
    s->spoke_ns = clock_mono_ns();
}

bool spin_until(uint64_t end_ns, zmq_pollitem_t *items, int n) {
    do {
        if (zmq_poll(items, n, 0) > 0)
            return true;
        sched_yield();
    } while (clock_mono_ns() < end_ns);
    return false;
}

static bool look(struct spin *s, zmq_pollitem_t *items, int n) {
    uint64_t now = clock_mono_ns();
    if (now - s->spoke_ns > TALK_NS || (!s->credit && ++s->skipped % RETRY != 0))
        return false;
    if (spin_until(now + s->look_ns, items, n)) {
        s->credit += s->credit < CREDIT_MAX ? 2 : 0;
        return true;
    }
    s->credit -= s->credit > 0;
    return false;
}

int spin_poll(struct spin *s, zmq_pollitem_t *items, int n, long ms) {
    if (ms != 0 && look(s, items, n))
        return 1;
    return zmq_poll(items, n, ms);
}
