/* The program of a simulator: runs seeds, and says which is the first that breaks a rule. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One life. False: a rule was broken, which `words` say. */
typedef bool seed_run(uint64_t seed, bool loud, char *words, size_t words_max);

/* `name [--from N] [--seeds N] [--seed N]`; so many seeds unless told. The exit status. */
int seeds_main(int argc, char **argv, const char *name, uint64_t usual, seed_run *run);
