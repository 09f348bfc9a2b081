#include "cli/doctor.h"
#include "cli/out.h"

#include <inttypes.h>

#define SILENT_MS 5000

bool doctor_ask(struct doctor *d, enum verb verb, json_t **rows) {
    struct msg_get_status m = {0};
    struct err e = {0};
    if (cli_ask(d->c, verb, &m, false, rows, &e) == 0)
        return true;
    finding(d, VERDICT_BAD, "broker", "its log says more", "%s", e.text);
    return false;
}

/* ---- the broker ----------------------------------------------------------------------------- */
static bool look_at_status(struct doctor *d) {
    json_auto_t *rows = NULL;
    if (!doctor_ask(d, VERB_get_status, &rows))
        return false;
    const json_t *s = json_array_get(rows, 0);
    AUTO_BUF text = BUF(512);
    buf_printf(&text, "version %s, epoch %" PRIu64 ", up ", out_text(s, "version"),
               out_field(s, "epoch"));
    out_duration(&text, out_field(s, "uptime_ms"));
    finding(d, VERDICT_OK, "broker", "", STR_FMT, STR_ARG(buf_str(&text)));
    if (strcmp(out_text(s, "version"), QUERN_VERSION) != 0)
        finding(d, VERDICT_WARN, "version", "restart the broker after an upgrade",
                "the broker is %s, this is %s", out_text(s, "version"), QUERN_VERSION);
    if (out_flag(s, "read_only"))
        finding(d, VERDICT_BAD, "journal", "see to the disk, then restart the broker",
                "it cannot be written: nothing new is accepted%s%s",
                out_text(s, "text")[0] ? ": " : "", out_text(s, "text"));
    else if (out_text(s, "text")[0])
        finding(d, VERDICT_WARN, "journal", "", "%s", out_text(s, "text"));
    else
        finding(d, VERDICT_OK, "journal", "", "%" PRIu64 " commits, %" PRIu64 " bytes",
                out_field(s, "commits"), out_field(s, "journal_bytes"));
    if (out_field(s, "connections_refused"))
        finding(d, VERDICT_WARN, "connections", "find who opens so many, or raise LimitNOFILE=",
                "%" PRIu64 " were turned away since the start; %" PRIu64 " fit",
                out_field(s, "connections_refused"), out_field(s, "connections_max"));
    if (out_field(s, "kept_dead"))
        finding(d, VERDICT_WARN, "jobs", "quern jobs --state dead, then quern retry",
                "%" PRIu64 " dead jobs are kept", out_field(s, "kept_dead"));
    return true;
}

/* ---- pools and workers ---------------------------------------------------------------------- */
static void look_at_pools(struct doctor *d, const json_t *rows) {
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *p = json_array_get(rows, i);
        uint64_t alive = out_field(p, "alive"), wanted = out_field(p, "processes");
        const char *trouble = out_text(p, "text");
        enum verdict v = alive >= wanted ? VERDICT_OK : alive ? VERDICT_WARN : VERDICT_BAD;
        finding(d, v, "pool", v == VERDICT_OK ? "" : "its command and its log say why",
                "%s: %" PRIu64 " of %" PRIu64 " processes%s%s", out_text(p, "name"), alive, wanted,
                trouble[0] ? "; " : "", trouble);
    }
}

static void look_at_workers(struct doctor *d, const json_t *rows) {
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *w = json_array_get(rows, i);
        bool stuck = strcmp(out_text(w, "state"), "stuck") == 0;
        if (stuck || out_field(w, "silent_ms") > SILENT_MS)
            finding(d, VERDICT_WARN, "worker", "it is replaced in a moment", "%.12s of pool %s %s",
                    out_text(w, "instance"), out_text(w, "pool"),
                    stuck ? "did not stop a job it was told to stop" : "is silent");
    }
    if (!json_array_size(rows))
        finding(d, VERDICT_BAD, "workers",
                "quern up starts them; quern pools shows why there are none",
                "there are none: nothing runs");
}

void doctor_broker(struct doctor *d) {
    struct err e = {0};
    if (cli_connect(d->c, &e) < 0) {
        AUTO_BUF advice = BUF(8192);
        if (e.code == ERR_UNREACHABLE_BROKER && !d->c->broker)
            buf_printf(&advice, "start it with: quern up --data %s", d->c->data);
        buf_put(&advice, "", 1);
        finding(d, VERDICT_BAD, "broker", advice.at, "%s", e.text);
        return;
    }
    if (!look_at_status(d) || d->c->role != ROLE_OPERATOR)
        return;
    json_auto_t *pools = NULL, *workers = NULL;
    if (!doctor_ask(d, VERB_list_pools, &pools) || !doctor_ask(d, VERB_list_workers, &workers))
        return;
    look_at_pools(d, pools);
    look_at_workers(d, workers);
    doctor_probe(d, pools, workers);
}
