/* What the core says, on its way to the peers: letters become messages, and messages that speak of
 * something that is not on disk yet wait here.
 *
 * The letters that answer one request become one message as long as it has room, and it leaves when
 * the last record that it speaks of is durable. The notices (sequence 0) of one turn for the same
 * link and verb share messages too, those that wait and those that do not apart. Within a turn
 * answers leave before notices: nobody is told the end of a job whose id he does not know yet.
 *
 * What always holds: a message leaves only when all that its letters wait for is durable; items of
 * one answer leave in the order of their letters, and so do those messages that wait.
 *
 * Bounds: beyond OUTBOX_TURN_BYTES in one turn, or OUTBOX_HELD_MAX messages or OUTBOX_HELD_BYTES
 * that wait, outbox_full says so, and whoever takes requests in stops until it no longer does.
 *
 * One thread. */
#pragma once

#include "broker/core/core.h"
#include "broker/peers.h"

struct outbox;

#define OUTBOX_TURN_BYTES (32U << 20)
#define OUTBOX_HELD_BYTES (64U << 20)
#define OUTBOX_HELD_MAX   65536U

/* What WELCOME says of messages holds for the broker's own. */
struct outbox *outbox_new(struct peers *peers, uint32_t items_max, uint32_t bytes_max);
void outbox_destroy(struct outbox **o);

void outbox_put(struct outbox *o, const struct letter *l);
void outbox_error(struct outbox *o, uint64_t link, uint64_t sequence, const struct err *e);
/* The answer is complete: what follows, even of the same sequence, is another one. */
void outbox_cut(struct outbox *o);
bool outbox_full(const struct outbox *o);

/* The end of a turn: what may leave leaves, the rest is held. */
void outbox_flush(struct outbox *o);
/* All records before `position` are durable: what was held for them leaves. */
void outbox_durable(struct outbox *o, uint64_t position);
/* Nothing further becomes durable: what is held, and will be, is refused with `why`. That is
 * READ_ONLY, nothing was done, unless a change may be found in the journal by the next life: the
 * records before `doubt_end` may be there, and of what was put in parts some are. Then it is
 * UNKNOWN_OUTCOME. */
void outbox_failed(struct outbox *o, const struct err *why, uint64_t doubt_end);
/* Messages that wait for the disk. */
size_t outbox_held(const struct outbox *o);
