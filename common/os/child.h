/* Child processes: starting them, knowing their end, ending them.
 *
 * A child leads a process group of its own, so that a Ctrl-C at the terminal is its parent's
 * business, and so that what it started itself can be ended with it. It inherits standard input
 * (nothing), output and error, and no other descriptor but the one that it is given. `death_signal`
 * is what it gets when the thread that started it ends, however that ends: so a tree of processes
 * cannot outlive its root. Its descriptor `pidfd` is readable when it has ended; it stays a zombie,
 * and its pid its own, until child_reap.
 *
 * Owned by whoever started it. Start children from one thread that lives as long as they shall. */
#pragma once

#include "common/base/err.h"

#include <stdbool.h>
#include <sys/types.h>

#define CHILD_PASS 3

struct child_spec {
    const char *program;   /* a path, or a name that is looked for in PATH */
    char *const *argv;     /* NULL at the end */
    char *const *envp;     /* NULL at the end */
    const char *directory; /* where it starts; NULL: here */
    int output;            /* becomes its standard output and error; -1: ours */
    int pass;              /* becomes its descriptor CHILD_PASS; -1: it has none */
    int death_signal;      /* 0: none */
};

struct child {
    pid_t pid; /* 0: none */
    int pidfd;
};

struct child_end {
    int status; /* of exit; 0 when a signal ended it */
    int signal; /* 0 when it exited */
};

/* -1 when the program cannot be started, for whatever reason: then there is no child. */
int child_start(const struct child_spec *spec, struct child *out, struct err *e);
/* To the child alone; nothing if it has ended. */
void child_signal(const struct child *c, int number);
/* To the child and all that it started, as far as they stayed in its group. */
void child_kill(const struct child *c);
/* True if it had ended: `end` says how, what was left of its group was killed, and *c is empty. */
bool child_reap(struct child *c, struct child_end *end);
/* "ended with status 3", "was ended by signal 9 (SIGKILL)" */
struct child_words {
    char at[96];
};
struct child_words child_end_words(const struct child_end *end);
