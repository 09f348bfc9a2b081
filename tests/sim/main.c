/* sim [--from N] [--seeds N] [--seed N]: runs seeds; prints the first that breaks a rule. */
#include "tests/sim/seeds.h"
#include "tests/sim/sim.h"

int main(int argc, char **argv) {
    return seeds_main(argc, argv, "sim", 300, sim_run);
}
