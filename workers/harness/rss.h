/* The resident memory of this process. */
#pragma once

#include <stdint.h>

/* 0 where the system does not say. */
uint64_t rss_bytes(void);
