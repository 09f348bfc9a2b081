/* What a command reads: payloads from an argument, a file or standard input. */
#pragma once

#include "common/base/buf.h"
#include "common/base/err.h"

#include <jansson.h>

#define INPUT_JSON_MAX (8U << 20) /* of one payload as JSON */

/* `text` as JSON|@FILE|-, to msgpack appended to `out`; `option` is named in errors. */
int input_payload(struct str text, const char *option, struct buf *out, struct err *e);
/* The same as JSON of any sort; NULL on error. */
json_t *input_value(struct str text, const char *option, struct err *e);
/* One JSON object to msgpack, checked as a payload must be. */
int input_json(struct str text, struct buf *out, struct err *e);
int input_object(const json_t *json, struct buf *out, struct err *e);

/* Lines of a file or, for "-", of standard input. */
struct lines {
    int fd;
    uint64_t number; /* of the line that was read last, from 1 */
    struct buf data;
    size_t at; /* what of `data` was taken */
    bool ended;
};
#define LINES ((struct lines){.fd = -1})
int lines_open(struct lines *l, const char *path, struct err *e);
void lines_close(struct lines *l);
/* The next line that is not blank: 1; no more: 0. It borrows until the next call. */
int lines_next(struct lines *l, struct str *line, struct err *e);
