/* Commands that change something, and what is told of it. */
#pragma once

#include "cli/cli.h"

/* A change of one thing; `told` is the caller's. */
int change_one(struct cli *c, enum verb verb, const void *message, json_t **told, struct err *e);
/* The exit status. Answers are given as in the message table: an object for one thing, a list of
 * what became of each for several. One thing that was refused is the failure of the command. `said`
 * is printed for people when all went well; NULL: nothing. Takes `told`. */
int change_finish(struct cli *c, json_t *told, bool many, const struct err *e, const char *said);
/* How many jobs or processes the first one touched. */
uint64_t change_count(const json_t *told);
