/* Messages in: who may say what, and the handler of each verb. */
#include "broker/core/core_int.h"

#define VERBS 128

static const struct handler handlers[VERBS] = {
    [VERB_hello] = {.item = on_hello, .bound = true},
    [VERB_heartbeat] = {.item = on_heartbeat, .bound = true},
    [VERB_bye] = {.item = on_bye, .bound = true},
    [VERB_submit] = {.item = on_submit, .kept = true, .changes = true, .bound = true},
    [VERB_get_job] = {.item = on_get_job, .bound = true},
    [VERB_list_jobs] = {.item = on_list_jobs, .bound = true},
    [VERB_list_dead] = {.item = on_list_dead},
    [VERB_get_why] = {.item = on_get_why, .bound = true},
    [VERB_cancel_job] = {.item = on_cancel_job, .kept = true, .changes = true, .bound = true},
    [VERB_retry_job] = {.item = on_retry_job, .kept = true, .changes = true, .bound = true},
    [VERB_watch_job] = {.item = on_watch_job, .bound = true},
    [VERB_attach] = {.item = on_attach, .bound = true},
    [VERB_detach] = {.item = on_detach, .bound = true},
    [VERB_watch_flow] = {.item = on_watch_flow, .bound = true},
    [VERB_get_status] = {.item = on_get_status},
    [VERB_list_queues] = {.item = on_list_queues},
    [VERB_list_workers] = {.item = on_list_workers},
    [VERB_list_pools] = {.item = on_list_pools},
    [VERB_pause_queue] = {.item = on_pause_queue, .kept = true, .changes = true},
    [VERB_resume_queue] = {.item = on_resume_queue, .kept = true, .changes = true},
    [VERB_purge_queue] = {.item = on_purge_queue, .kept = true, .changes = true},
    [VERB_set_limit] = {.item = on_set_limit, .kept = true, .changes = true},
    [VERB_scale_pool] = {.item = on_scale_pool, .kept = true, .changes = true},
    [VERB_drain] = {.item = on_drain, .kept = true},
    [VERB_declare_kind] = {.item = on_declare_kind, .kept = true, .changes = true},
    [VERB_set_schedule] = {.item = on_set_schedule, .kept = true, .changes = true},
    [VERB_remove_schedule] = {.item = on_remove_schedule, .kept = true, .changes = true},
    [VERB_run_schedule] = {.item = on_run_schedule, .kept = true, .changes = true},
    [VERB_pause_schedule] = {.item = on_pause_schedule, .kept = true, .changes = true},
    [VERB_list_schedules] = {.item = on_list_schedules},
    [VERB_set_note] = {.item = on_set_note, .kept = true},
    [VERB_list_notes] = {.item = on_list_notes},
    [VERB_started] = {.item = on_started, .worker = true},
    [VERB_result] = {.item = on_result, .worker = true},
    [VERB_spawn] = {.item = on_spawn, .worker = true},
    [VERB_returned] = {.item = on_returned, .worker = true},
    [VERB_progress] = {.item = on_progress, .worker = true},
    [VERB_pool_report] = {.item = on_pool_report},
    [VERB_worker_died] = {.item = on_worker_died, .kept = true},
};

static int check_request(struct core *c, const struct request *r, struct err *e) {
    if (!r->handler)
        return err_set(e, ERR_UNKNOWN_VERB, "verb %d: not one for a peer to send", (int)r->verb);
    if (!c->open) {
        e->retry_after_ms = 0;
        return err_set(e, ERR_STARTING, "the broker is starting; try again");
    }
    if (rights_check_verb(c, r, e) < 0)
        return -1;
    if (r->verb == VERB_hello)
        return 0;
    if (!r->session || (r->handler->worker && !r->session->worker))
        return err_set(e, ERR_NO_HELLO, "say hello first");
    if (r->session->role != r->role)
        return err_set(e, ERR_BAD_ROLE, "this peer said hello in another role");
    if (rights_check_owner(c, r->session, e) < 0)
        return -1;
    if (c->read_only && r->handler->changes)
        return err_set(e, ERR_READ_ONLY, "%s", err_code_text(ERR_READ_ONLY));
    return 0;
}

bool core_request(struct core *c, uint64_t link, enum role role, enum verb verb,
                  uint64_t sequence) {
    struct request *r = &c->request;
    ASSERT(!r->open);
    *r = (struct request){.link = link, .role = role, .verb = verb, .sequence = sequence};
    if (verb > 0 && verb < VERBS && handlers[verb].item)
        r->handler = &handlers[verb];
    r->session_index = session_by_link(c, link);
    if (r->session_index) {
        r->session = session_at(c, r->session_index);
        r->session->heard_ms = c->awake_ms;
        if (r->session->worker)
            worker_at(c, r->session->worker)->heard_ms = c->awake_ms;
    }
    struct err e = {0};
    if (check_request(c, r, &e) < 0) {
        c->stats.refused++;
        reply_error(c, link, sequence, &e);
        return false;
    }
    if (r->handler->kept && !reply_open(c, r->session, sequence, verb))
        return false;
    r->open = true;
    return true;
}

/* An item that could not be read gets its own answer where items have one; else the error is all.
 */
static void bad_item(struct core *c, const struct err *bad) {
    c->stats.malformed++;
    if (c->request.verb == VERB_attach)
        refuse_attach(c, bad);
    else if (c->request.handler->kept)
        answer(c, &(struct reply_item){.code = (uint32_t)bad->code}, bad, 0);
    else
        reply_error(c, c->request.link, c->request.sequence, bad);
}

void core_children(struct core *c, const struct core_child *at, uint32_t n) {
    c->request.children = (struct core_children){at, n};
}

void core_item(struct core *c, const void *message, struct str payload, const struct err *bad) {
    ASSERT(c->request.open);
    if (bad)
        bad_item(c, bad);
    else if (c->request.session || c->request.verb == VERB_hello)
        c->request.handler->item(c, message, payload);
    c->request.children = (struct core_children){NULL, 0};
}

void core_request_end(struct core *c) {
    c->request.open = false;
}

void core_count_malformed(struct core *c) {
    c->stats.malformed++;
}
