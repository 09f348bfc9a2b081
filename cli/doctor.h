/* What `quern doctor` looks at. A *finding* is one line: verdict, about what, what was seen, and
 * what to do about it. */
#pragma once

#include "cli/cli.h"
#include "common/config/settings.h"

enum verdict { VERDICT_OK, VERDICT_WARN, VERDICT_BAD };

struct doctor {
    struct cli *c;
    json_t *findings;
    struct settings *settings; /* of the tree that runs here, else as we are told; NULL if bad */
    bool bad;
};

/* `advice` may be "". */
void finding(struct doctor *d, enum verdict v, const char *about, const char *advice,
             const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* ---- doctor_config.c: the settings ---- */
void doctor_config(struct doctor *d);
/* ---- doctor_keys.c: keys, and who could listen ---- */
void doctor_keys(struct doctor *d);
/* ---- doctor_host.c: this host ---- */
void doctor_folder(struct doctor *d);
void doctor_processes(struct doctor *d);
void doctor_limits(struct doctor *d);
void doctor_clock(struct doctor *d);
/* ---- doctor_broker.c: the broker and what is behind it ---- */
void doctor_broker(struct doctor *d);
/* False after a finding: it did not answer. The caller frees the rows. */
bool doctor_ask(struct doctor *d, enum verb verb, json_t **rows);
/* ---- doctor_probe.c: a job through each pool ---- */
void doctor_probe(struct doctor *d, const json_t *pools, const json_t *workers);
