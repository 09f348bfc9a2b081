#include "cli/doctor.h"
#include "cli/out.h"
#include "common/os/clock.h"

#include <inttypes.h>

#define PROBE_MS  5000
#define SILENT_MS 5000

static bool ask(struct doctor *d, enum verb verb, json_t **rows) {
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
    if (!ask(d, VERB_get_status, &rows))
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
    if (out_field(s, "kept_dead"))
        finding(d, VERDICT_WARN, "jobs", "quern jobs --state dead, then quern retry",
                "%" PRIu64 " dead jobs are kept", out_field(s, "kept_dead"));
    return true;
}

/* ---- pools and workers ---------------------------------------------------------------------- */
static void look_at_pools(struct doctor *d) {
    json_auto_t *rows = NULL;
    if (!ask(d, VERB_list_pools, &rows))
        return;
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

static bool look_at_workers(struct doctor *d) {
    json_auto_t *rows = NULL;
    bool echo = false;
    if (!ask(d, VERB_list_workers, &rows))
        return false;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *w = json_array_get(rows, i), *kinds = json_object_get(w, "kinds");
        for (size_t k = 0; k < json_array_size(kinds); k++)
            echo = echo || strcmp(json_string_value(json_array_get(kinds, k)), "echo") == 0;
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
    return echo;
}

/* ---- a job ---------------------------------------------------------------------------------- */
struct probe {
    bool ended;
    struct err err;
};

static void on_finished(void *watching, const struct client_finished *f) {
    struct probe *p = watching;
    p->ended = true;
    p->err = f->err;
}

static void run_probe(struct doctor *d) {
    struct probe probe = {0};
    struct msg_submit m = {0};
    struct client_item item = {.message = &m};
    struct client_submitted out;
    MSG_SET(&m, submit, kind, STR("echo"));
    MSG_SET(&m, submit, durability, DURABLE_NONE);
    MSG_SET(&m, submit, ttl_ms, PROBE_MS);
    MSG_SET(&m, submit, priority, 9);
    MSG_SET(&m, submit, watch, true);
    d->c->watching = &probe;
    d->c->on_finished = on_finished;
    uint64_t began = clock_mono_ns();
    struct mono until = cli_deadline(PROBE_MS);
    if (client_submit(d->c->client, &item, 1, &out, until, &probe.err) == 0)
        while (!probe.ended && !mono_reached(clock_mono(), until))
            client_poll(d->c->client, until);
    d->c->on_finished = NULL;
    if (probe.err.code)
        finding(d, VERDICT_BAD, "probe", "", "an echo job failed: %s", probe.err.text);
    else if (!probe.ended)
        finding(d, VERDICT_WARN, "probe", "all workers may be busy: quern status",
                "an echo job did not come back within %d s", PROBE_MS / 1000);
    else
        finding(d, VERDICT_OK, "probe", "", "an echo job took %.1f ms",
                (double)(clock_mono_ns() - began) / 1e6);
}

void doctor_broker(struct doctor *d) {
    struct err e = {0};
    if (cli_connect(d->c, &e) < 0) {
        AUTO_BUF advice = BUF(8192);
        buf_printf(&advice, "start it with: quern up --data %s%c", d->c->data, 0);
        finding(d, VERDICT_BAD, "broker", d->c->broker ? "" : advice.at, "%s", e.text);
        return;
    }
    if (!look_at_status(d) || d->c->role != ROLE_OPERATOR)
        return;
    look_at_pools(d);
    if (look_at_workers(d))
        run_probe(d);
}
