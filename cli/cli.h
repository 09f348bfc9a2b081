/* What every command of `quern` works with: how it was called, how it prints, the broker.
 *
 * A handler `run_x` does its command and returns the exit status. What went wrong is said once, by
 * cli_fail, on standard error; results go to standard output. One thread. */
#pragma once

#include "cli/parse.h"
#include "common/wire/client.h"
#include "common/wire/json_bridge.h"

#include <jansson.h>
#include <stdio.h>

#define CLI_DATA_DEFAULT ".quern"
#define CLI_CONNECT_MS   5000   /* to reach a broker that should be there */
#define CLI_ANSWER_MS    30000  /* for one answer */
#define CLI_LONG_MS      600000 /* for one that touches any number of jobs */

struct cli {
    const struct args_common *common;
    struct arena *arena;
    const char *data;   /* the data folder */
    const char *broker; /* an endpoint, or NULL */
    const char *config; /* a file, or NULL */
    struct key_places key;
    bool json;
    bool colour;           /* standard output is a terminal that wants colours */
    bool terminal;         /* standard output is a terminal */
    bool terminal_err;     /* standard error is a terminal */
    bool colour_err;       /* ... that wants colours */
    struct client *client; /* NULL until cli_connect */
    uint64_t answer_ms;    /* cli_ask: for one answer; 0: CLI_ANSWER_MS */
    enum role role;        /* as which it speaks with the broker */
    const char *command;   /* its name; NULL until it is known */
    bool told;             /* a JSON document was printed */
    struct err failed;     /* the first one that cli_fail was given */
    bool lost;             /* cli_tell_link said that the broker is gone */
    void *watching;        /* what on_finished is for, while a command waits for jobs */
    void (*on_finished)(void *watching, const struct client_finished *f);
    void (*on_flow)(void *watching, const struct client_flow *f);
};

/* run_submit(cli, args), ... */
#define COMMAND(name, ...) int run_##name(struct cli *c, const struct args_##name *args);
#include "cli/commands.def"

/* Prints "quern: TEXT" and a hint where there is one; the exit status of the error. With --json it
 * is what cli_end prints. */
int cli_fail(struct cli *c, const struct err *e);
/* The same without an exit status, for one of several errors. */
void cli_complain(const struct cli *c, const struct err *e);
/* "quern: ..." on standard error. */
void cli_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A line that stands where standard error is a terminal until something else is said; "" takes it
 * away, which is for those to do who print. */
void cli_progress(const struct cli *c, const char *text);

/* Prints the document of a command that was asked for JSON. */
void cli_json(struct cli *c, const json_t *json);
/* A text that may hold anything, as JSON. */
json_t *cli_json_text(struct str text);
/* At the end of a command that was asked for JSON: one that failed and has printed none prints
 * what went wrong, {"error": {code, class, text, context}}. */
void cli_end(struct cli *c, int status);

/* Connects as operator, or as client where that is all the endpoint is for. */
int cli_connect(struct cli *c, struct err *e);
/* Who waits for a job waits for its broker as well: says it when that goes or is back. */
void cli_tell_link(struct cli *c);
struct mono cli_deadline(uint64_t ms);

/* Asks, and gets the items of the answer as a JSON array. `payloads`: each with its "payload" and
 * "result". An item with an error code is the error of the call. */
int cli_ask(struct cli *c, enum verb verb, const void *message, bool payloads, json_t **items,
            struct err *e);
/* The error that an item of an answer stands for, if it has one. */
void cli_item_error(const json_t *item, struct err *e);
/* Items that change something. `told` (may be NULL) gets what became of each: an array of outcomes.
 * -1 with the first error. */
int cli_change(struct cli *c, enum verb verb, const struct client_item *items, size_t n,
               json_t **told, struct err *e);
