/* What is known of a job, as the caller may keep it. */
#include "common/base/mem.h"
#include "common/os/clock.h"
#include "workers/sdk/sdk_int.h"

static struct quern_report *report_new(uint64_t id) {
    struct quern_report *r = MEM_NEW(struct quern_report);
    r->id = id;
    r->payload = r->result = BUF(FRAME_BYTES_MAX);
    r->result_json = r->json = BUF(SDK_JSON_MAX);
    sdk_tell(&r->error, &(struct err){0});
    return r;
}

void quern_report_free(struct quern_report *r) {
    if (!r)
        return;
    json_decref(r->envelope);
    buf_destroy(&r->payload);
    buf_destroy(&r->result);
    buf_destroy(&r->result_json);
    buf_destroy(&r->json);
    mem_free(r);
}

/* ---- of an end ------------------------------------------------------------------------------ */
static json_t *envelope_of_end(const struct client_finished *f) {
    struct msg_finished m;
    struct err e;
    client_finished_message(f, &m);
    return json_bridge_of_message(msg_def(MSG_finished), &m, &e);
}

struct quern_report *sdk_report_of_end(const struct client_finished *f) {
    struct quern_report *r = report_new(f->id);
    r->state = (int)f->state;
    r->attempts = f->attempts;
    sdk_tell(&r->error, &f->err);
    if (f->result.len)
        buf_put_str(&r->result, buf_str(&f->result));
    r->envelope = envelope_of_end(f);
    return r;
}

/* ---- of now --------------------------------------------------------------------------------- */
struct getting {
    struct quern_report *report; /* NULL: there is none */
    struct err err;
};

static void error_of(uint64_t number, struct str text, struct err *e) {
    enum err_code code = err_code_known(number) ? (enum err_code)number : ERR_JOB_REJECTED;
    err_set(e, code, STR_FMT, STR_ARG(text));
}

static void on_info(void *ctx, const struct client_reply *reply) {
    struct getting *g = ctx;
    const struct msg_job_info *m = reply->message;
    struct err e = {0};
    if (!m || g->report)
        return;
    if (m->code) {
        error_of(m->code, m->text, &g->err);
        return;
    }
    struct quern_report *r = g->report = report_new(m->id);
    r->state = (int)m->state;
    r->attempts = (uint32_t)m->attempts;
    if (m->error)
        error_of(m->error, m->text, &e);
    sdk_tell(&r->error, &e);
    r->has_progress = MSG_HAS(m, job_info, progress);
    r->done = m->progress;
    r->total = m->progress_total;
    r->has_payload = true;
    buf_put_str(&r->payload, reply->payload);
    buf_put_str(&r->result, reply->result);
    r->envelope = json_bridge_of_message(msg_def(MSG_job_info), m, &e);
    json_object_del(r->envelope, "size");
    json_object_del(r->envelope, "result_size");
}

struct quern_report *quern_get(struct quern_client *q, uint64_t id, struct quern_error *error) {
    struct msg_get_job m = {0};
    struct client_item item = {.message = &m};
    struct getting g = {0};
    MSG_SET(&m, get_job, id, id);
    MSG_SET(&m, get_job, payload, true);
    int rc = client_call(q->client, VERB_get_job, &item, 1, on_info, &g,
                         mono_add(clock_mono(), q->timeout_ms), &g.err);
    if (rc == 0 && !g.report && !g.err.code)
        err_set(&g.err, ERR_NOT_FOUND, "%s", err_code_text(ERR_NOT_FOUND));
    sdk_tell(error, &g.err);
    if (!g.err.code)
        return g.report;
    quern_report_free(g.report);
    return NULL;
}

/* ---- looking at it -------------------------------------------------------------------------- */
uint64_t quern_report_id(const struct quern_report *r) {
    return r->id;
}

int quern_report_state(const struct quern_report *r) {
    return r->state;
}

uint32_t quern_report_attempts(const struct quern_report *r) {
    return r->attempts;
}

const struct quern_error *quern_report_error(const struct quern_report *r) {
    return &r->error;
}

const void *quern_report_result(const struct quern_report *r, size_t *size) {
    *size = r->result.len;
    return r->result.len ? r->result.at : NULL;
}

const char *quern_report_result_json(struct quern_report *r) {
    struct err e;
    if (!r->result.len)
        return "{}";
    if (!r->result_json.len && sdk_json_of_value(buf_str(&r->result), &r->result_json, &e) < 0)
        return NULL;
    return r->result_json.at;
}

bool quern_report_progress(const struct quern_report *r, uint64_t *done, uint64_t *total) {
    *done = r->done;
    *total = r->total;
    return r->has_progress;
}

static int add(json_t *to, const char *name, const struct buf *value) {
    struct err e;
    json_t *json = value->len ? json_bridge_of_value(buf_str(value), &e) : json_object();
    return json && json_object_set_new(to, name, json) == 0 ? 0 : -1;
}

const char *quern_report_json(struct quern_report *r) {
    struct err e;
    if (r->json.len)
        return r->json.at;
    json_auto_t *all = json_copy(r->envelope);
    if (!all || (r->has_payload && add(all, "payload", &r->payload) < 0) ||
        (r->result.len && add(all, "result", &r->result) < 0) || sdk_print(all, &r->json, &e) < 0)
        return NULL;
    return r->json.at;
}
