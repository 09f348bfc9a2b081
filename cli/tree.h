/* The process tree of `quern up`: which runs in a data folder, and how others speak with it.
 *
 * Whoever runs the tree holds a lock on DATA/run/up.lock; the kernel lets go of it when the process
 * ends, however it ends, and says who holds it. So there is no stale state to clean up. A reload is
 * asked for by SIGHUP and answered through DATA/run/reload.fifo, which whoever asks makes and
 * removes. */
#pragma once

#include "common/base/err.h"
#include "common/base/time_types.h"

#include <jansson.h>
#include <sys/types.h>

#define TREE_PATH_MAX 4200
#define TREE_STATE    "up.json"    /* {"config": the operator's file, or null} */
#define TREE_CONFIG   "quern.yaml" /* as the tree has accepted it; missing without a file */

/* The process that runs the tree of a data folder; 0 if none does. */
pid_t tree_pid(const char *data);
/* Becomes it. The lock is this process's until it ends: not a child's, not its parent's. -1 with
 * LOCKED if another one is. Makes the folders that are missing. */
int tree_take(const char *data, struct err *e);
/* Writes a file of the tree as a whole or not at all. */
int tree_write(const char *data, const char *name, const json_t *json, struct err *e);
/* Reads one; NULL if it is not there or no JSON. */
json_t *tree_read(const char *data, const char *name);

/* Before one asks: where the answer will be heard. */
int tree_ask(const char *data, int *fd, struct err *e);
/* The answer; NULL if it did not come in time. */
json_t *tree_hear(int fd, struct mono until);
/* Whether or not it came. */
void tree_forget(const char *data, int *fd);
/* Answers whoever asked; if he does not take it until then he gets none. */
void tree_answer(const char *data, const json_t *json, struct mono until);

/* DATA/run/NAME */
void tree_path(char out[TREE_PATH_MAX], const char *data, const char *name);
