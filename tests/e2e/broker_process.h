/* A quern-broker of its own for a test: data directory, settings, process. Fails the test if it
 * cannot do what it says; ends only the process that it started. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define BROKER_PATH_MAX 128

struct broker {
    char root[BROKER_PATH_MAX];   /* a temporary directory */
    char data[BROKER_PATH_MAX];   /* root/data */
    char run[BROKER_PATH_MAX];    /* root/data/run */
    char config[BROKER_PATH_MAX]; /* root/quern.yaml */
    char log[BROKER_PATH_MAX];    /* root/log: its standard error, of all its lives */
    unsigned files_max;           /* its limit of open files; 0: as usual */
    const char *preload;          /* a library to load in front, or NULL; see fail_sync.c */
    pid_t pid;                    /* 0: does not run */
    int ready;
};

/* Makes the directories and writes the settings; does not start. */
void broker_make(struct broker *b, const char *yaml);
void broker_write_config(const struct broker *b, const char *yaml);
/* Starts it and waits until it serves. */
void broker_start(struct broker *b);
/* Starts without waiting. */
void broker_launch(struct broker *b);
void broker_signal(const struct broker *b, int signal);
/* Waits for its end; the status as waitpid tells. */
int broker_wait(struct broker *b);
/* SIGKILL, and gone. */
void broker_kill(struct broker *b);
/* SIGTERM; it must exit with 0. */
void broker_stop(struct broker *b);
/* Ends it if it runs, removes all. */
void broker_remove(struct broker *b);

/* Runs the program with these arguments (NULL at the end) to its end; what it said, cut to `size`.
 * Its exit status, or -1 if it was ended by a signal. */
int broker_run(char *said, size_t size, const char *const *arguments);
/* Waits until the log holds `text`. */
void broker_await_log(const struct broker *b, const char *text);
/* All that it holds now; until the next call. */
const char *broker_log_text(const struct broker *b);
bool broker_log_has(const struct broker *b, const char *text);
