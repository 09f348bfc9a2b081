/* The only readers of the clock and of the system's random numbers. */
#pragma once

#include "common/base/time_types.h"

#include <stddef.h>
#include <stdint.h>

struct mono clock_mono(void);
struct wall clock_wall(void);
uint64_t clock_mono_ns(void); /* for measuring */
/* Random bytes from the kernel; never fails after boot. */
void random_bytes(void *to, size_t n);
