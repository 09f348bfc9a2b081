/* stream_sim [--from N] [--seeds N] [--seed N]: runs seeds; prints the first that breaks a rule. */
#include "tests/sim/seeds.h"
#include "tests/sim/stream_sim.h"

int main(int argc, char **argv) {
    return seeds_main(argc, argv, "stream_sim", 2000, stream_sim_run);
}
