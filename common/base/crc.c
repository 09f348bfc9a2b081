#include "common/base/crc.h"

#include <isa-l/crc.h>

/* isa-l takes an int length and a pointer to non-const; it inverts neither before nor after. */
#define PIECE (1U << 30)

uint32_t crc32c(uint32_t crc, struct str bytes) {
    uint32_t state = ~crc;
    while (bytes.len) {
        size_t n = bytes.len < PIECE ? bytes.len : PIECE;
        state = crc32_iscsi((unsigned char *)(uintptr_t)bytes.at, (int)n, state);
        bytes.at += n;
        bytes.len -= n;
    }
    return ~state;
}
