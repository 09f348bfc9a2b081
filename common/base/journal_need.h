/* What the journal needs of its disk before jobs are accepted: the broker goes by it, and `quern
 * doctor` must say the same.
 *
 * Words: a *turn* is what may be put after the journal was asked for room once. */
#pragma once

#include <stdint.h>

#define JOURNAL_TURN_MAX       (8U << 20)
#define JOURNAL_CLEAN_SEGMENTS 1U           /* of the spares: for cleaning alone */
#define JOURNAL_BESIDE         (256U << 10) /* what else lies in the data folder */

/* What a turn takes in the log, with heads and padding; and a little that a purge can begin with,
 * whatever the last turn took. */
static inline uint64_t journal_turn_bytes(uint64_t turn_max) {
    return turn_max + turn_max / 8 + turn_max / 32;
}

static inline uint64_t journal_turn_segments(uint64_t turn_max, uint64_t segment_bytes) {
    return (journal_turn_bytes(turn_max) + segment_bytes - 1) / segment_bytes;
}

/* With so many spares left no more jobs are accepted, unless others can be made. */
static inline uint64_t journal_spares_low(uint64_t reserve, uint64_t turn_max,
                                          uint64_t segment_bytes) {
    return reserve + JOURNAL_CLEAN_SEGMENTS + journal_turn_segments(turn_max, segment_bytes) - 1;
}

/* The smallest disk on which a job is ever accepted: one spare beyond those, the segment that is
 * written, and what must stay free. */
static inline uint64_t journal_disk_least(uint64_t reserve, uint64_t segment_bytes,
                                          uint64_t disk_min_free) {
    uint64_t segments = journal_spares_low(reserve, JOURNAL_TURN_MAX, segment_bytes) + 2;
    return segments * segment_bytes + disk_min_free + JOURNAL_BESIDE;
}
