/* CRC32C (Castagnoli; RFC 3720 appendix B.4): what the journal's records are checked with. */
#pragma once

#include "common/base/str.h"

#include <stdint.h>

/* `crc` is 0 to begin with, or what an earlier call returned to go on. */
uint32_t crc32c(uint32_t crc, struct str bytes);
