/* What the files of the library share: between quern.h and the structs behind it. */
#pragma once

#include "common/wire/client.h"
#include "common/wire/json_bridge.h"
#include "common/wire/stream_client.h"
#include "workers/harness/job.h"
#include "workers/sdk/quern.h"

#define SDK_JSON_MAX (64U << 20) /* bytes of a text that is made of a payload or a result */

/* ---- errors and values ---------------------------------------------------------------------- */
/* `to` may be NULL; code OK clears it. Returns -1. */
int sdk_tell(struct quern_error *to, const struct err *e);
/* Copies a struct that says its size: what the caller's does not have is zero, what ours does not
 * have must be. `least`: what every version had. `what`: its name, for the error. */
int sdk_struct(void *to, size_t to_size, const void *from, size_t least, const char *what,
               struct err *e);
/* One JSON object as a msgpack map, at the end of `out`. */
int sdk_map_of_json(const char *json, const char *what, struct buf *out, struct err *e);
/* JSON text of a msgpack value, at the end of `out`, with a zero byte behind it. */
int sdk_json_of_value(struct str value, struct buf *out, struct err *e);
/* The same of a json_t, which may be NULL: then `e` says why already. */
int sdk_print(const json_t *json, struct buf *out, struct err *e);
/* "NULL" is "". */
const char *sdk_program(const char *name);

/* ---- specs ---------------------------------------------------------------------------------- */
int sdk_spec(const struct quern_spec *given, struct quern_spec *out, struct err *e);
/* Its payload as msgpack, in the arena where it was JSON. */
int sdk_payload(const struct quern_spec *spec, struct arena *arena, struct str *out, struct err *e);
void sdk_message(const struct quern_spec *spec, struct msg_submit *m);
int sdk_child(const struct quern_spec *spec, struct arena *arena, struct job_child *out,
              struct err *e);

/* ---- jobs ----------------------------------------------------------------------------------- */
/* The job_run_fn of every kind; its row's data is a struct quern_kind. */
int sdk_run(struct job *inner, struct err *e);

/* ---- clients -------------------------------------------------------------------------------- */
struct quern_report {
    uint64_t id;
    int state;
    uint32_t attempts;
    struct quern_error error;
    json_t *envelope; /* what was told, as JSON, without payload and result */
    bool has_payload; /* it was asked for */
    struct buf payload, result;
    struct buf result_json, json; /* made when they are asked for */
    bool has_progress;
    uint64_t done, total;
    struct quern_report *next;
};

struct quern_client {
    struct client *client;
    struct stream_client *streams; /* NULL: no stream was opened yet */
    struct quern_stream *open;     /* a list */
    struct quern_report *ends, **ends_last;
    uint64_t timeout_ms;
};

struct quern_report *sdk_report_of_end(const struct client_finished *f);
/* Serves what is under way until `until` or until something was told. */
void sdk_serve(struct quern_client *q, struct mono until);
/* Why nothing came until the deadline. */
int sdk_late(const struct quern_client *q, const char *what, struct err *e);
struct quern_stream *sdk_stream_of(const struct quern_client *q, uint64_t id);
/* Its last word; takes the report. */
void sdk_stream_ended(struct quern_stream *s, struct quern_report *report);
