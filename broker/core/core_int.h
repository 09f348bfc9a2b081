/* What the files of broker/core call of each other, in the order of core_types.h. Nobody else
 * includes this. Functions take indices; what a name like job_at gives stays where it is until the
 * item is given back. */
#pragma once

#include "broker/core/core_types.h"

static inline struct schedule *schedule_at(const struct core *c, uint32_t i) {
    return slab_at(&c->schedules.rows, i);
}
static inline struct job *job_at(const struct core *c, uint32_t i) {
    return slab_at(&c->jobs, i);
}
static inline struct extra *extra_at(const struct core *c, uint32_t i) {
    return slab_at(&c->extras, i);
}
static inline struct line *line_at(const struct core *c, uint32_t i) {
    return slab_at(&c->lines, i);
}
static inline struct lane *lane_at(const struct core *c, uint32_t i) {
    return slab_at(&c->lanes, i);
}
static inline struct quota *quota_at(const struct core *c, uint32_t i) {
    return slab_at(&c->quotas, i);
}
static inline struct key *key_at(const struct core *c, uint32_t i) {
    return slab_at(&c->keys, i);
}
static inline struct unique *unique_at(const struct core *c, uint32_t i) {
    return slab_at(&c->uniques, i);
}
static inline struct flow *flow_at(const struct core *c, uint32_t i) {
    return slab_at(&c->flows, i);
}
static inline struct dead_letter *dead_letter_at(const struct core *c, uint32_t i) {
    return slab_at(&c->dead_letters, i);
}
static inline struct dead_group *dead_group_at(const struct core *c, uint32_t i) {
    return slab_at(&c->dead_groups, i);
}
static inline struct note *note_at(const struct core *c, uint32_t i) {
    return slab_at(&c->notes.items, i);
}
static inline struct session *session_at(const struct core *c, uint32_t i) {
    return slab_at(&c->sessions, i);
}
static inline struct worker *worker_at(const struct core *c, uint32_t i) {
    return slab_at(&c->workers, i);
}
static inline struct queue *queue_at(const struct core *c, uint32_t i) {
    return slab_at(&c->queues.rows, i);
}
static inline struct tenant *tenant_at(const struct core *c, uint32_t i) {
    return slab_at(&c->tenants.rows, i);
}
static inline struct kind *kind_at(const struct core *c, uint32_t i) {
    return slab_at(&c->kinds.rows, i);
}
static inline struct pool *pool_at(const struct core *c, uint32_t i) {
    return slab_at(&c->pools.rows, i);
}
static inline struct queue *job_queue(const struct core *c, const struct job *j) {
    return queue_at(c, line_at(c, j->line)->queue);
}
static inline struct kind *job_kind(const struct core *c, const struct job *j) {
    return kind_at(c, line_at(c, j->line)->kind);
}
static inline struct tenant *job_tenant(const struct core *c, const struct job *j) {
    return tenant_at(c, j->tenant);
}
static inline bool job_streams(const struct core *c, const struct job *j) {
    return job_kind(c, j)->info.streams;
}
static inline bool job_is(const struct job *j, unsigned flag) {
    return (j->flags & flag) != 0;
}
static inline struct extra *job_extra(const struct core *c, const struct job *j) {
    return j->extra && !job_is(j, JOB_IS_KEPT) ? extra_at(c, j->extra) : NULL;
}
static inline struct body *job_body(const struct core *c, const struct job *j) {
    const struct extra *x = job_extra(c, j);
    return x ? x->body : NULL;
}
static inline bool job_has_stream(const struct core *c, const struct job *j) {
    const struct extra *x = job_extra(c, j);
    return x && x->stream;
}
static inline void job_mark(struct job *j, unsigned flag) {
    j->flags |= flag & ((1U << JOB_FLAG_BITS) - 1);
}
static inline void job_unmark(struct job *j, unsigned flag) {
    j->flags &= ~flag & ((1U << JOB_FLAG_BITS) - 1);
}

/* names.c: what has a name, found or made */
uint32_t names_find(struct names *n, struct str name);
/* What is held is not forgotten; what is not may be, to make room for another name. */
void names_hold(struct names *n, uint32_t i);
void names_let_go(struct names *n, uint32_t i);
void names_setup(struct core *c);
void names_bound(struct core *c); /* from now on there is a limit to new ones */
void names_turn(struct core *c);  /* one begins */
void names_teardown(struct core *c);
/* Found or made; 0 when there are too many and all are needed. */
uint32_t queue_take(struct core *c, struct str name);
uint32_t tenant_take(struct core *c, struct str name);
uint32_t kind_take(struct core *c, struct str name);
uint32_t pool_take(struct core *c, struct str name);
uint32_t schedule_take(struct core *c, struct str name);
void names_drop(struct core *c, struct names *n, uint32_t i);

/* kind.c */
void kind_drop(struct kind *k);                                                   /* what it owns */
void kind_state(struct core *c, uint32_t kind, const struct msg_kind_info *info); /* by the file */
void kind_record(struct core *c, uint32_t kind);
void kind_replay(struct core *c, uint32_t kind, const struct msg_rec_kind *m);
void kind_hello(struct core *c, uint32_t kind); /* a worker runs it: that declares it */
void kind_set_may_spawn(struct kind *k, const struct str_list *names);
bool kind_may_spawn(const struct kind *k, struct str child);

/* timer.c */
void timer_set(struct core *c, enum timer_what what, uint32_t item, uint64_t when);
void timer_clear(struct core *c, enum timer_what what, uint32_t item);
void timers_fire(struct core *c);
void timers_done(struct core *c);

/* line.c: the lines of jobs */
void lines_setup(struct core *c);
void lines_teardown(struct core *c);
uint32_t line_join(struct core *c, uint32_t queue, uint32_t kind); /* one more job is in it */
void line_leave(struct core *c, uint32_t i);
bool queue_has_ended(const struct core *c, uint32_t queue); /* only ended jobs hold it */
void queue_unname(struct core *c, uint32_t queue);          /* they do so no longer */
void job_rejoin(struct core *c, uint32_t i, uint32_t queue);

/* job.c: slots, states, records */
void jobs_setup(struct core *c);
void jobs_teardown(struct core *c);
uint32_t job_new(struct core *c, uint64_t id);
void job_free(struct core *c, uint32_t i);
uint32_t job_find(const struct core *c, uint64_t id);
/* Once for each job; it counts in its line and tenant from then on. */
void job_belongs(struct core *c, uint32_t i, uint32_t queue, uint32_t kind, uint32_t tenant);
struct extra *job_need_extra(struct core *c, uint32_t i);
void job_drop_extra(struct core *c, uint32_t i);  /* if nothing in it is needed */
void job_clear_extra(struct core *c, uint32_t i); /* nothing in it is, whatever there is */
void job_set_state(struct core *c, uint32_t i, enum job_state to);
void list_push(struct core *c, struct list *l, uint32_t i);
void list_remove(struct core *c, struct list *l, uint32_t i);
struct failure *failure_new(enum err_code code, struct str text); /* with a copy of the text */
void job_fail_text(struct core *c, uint32_t i, enum err_code code, struct str text);
/* At most `max` bytes of it: where it is longer, its beginning and its end. Returns how many. */
size_t text_clip(struct str text, char *out, size_t max);
/* Appends the job's whole mutable state; nothing for a volatile one. Returns its position or 0. */
uint64_t job_record(struct core *c, uint32_t i, struct str result);
void job_record_whole(struct core *c, uint32_t i, const struct record *old);
void job_state_message(const struct core *c, uint32_t i, struct msg_rec_state *m);

/* tell.c: its trace, and what the log is told */
struct trace spec_trace(const struct core *c, uint64_t id, const struct msg_rec_spec *s);
/* False: it came with one, which is on disk. One that runs has it here. */
bool job_trace(const struct core *c, uint32_t i, struct trace *out);
void core_tell(struct core *c, enum core_event what, struct str text); /* of no job */
void job_tell(struct core *c, enum core_event what, uint32_t i, struct str text);
void job_tell_traced(struct core *c, enum core_event what, uint32_t i, const struct trace *t,
                     struct str text);
/* Of a job that may not be known; `fence` 0: the one that it has. */
void job_tell_id(struct core *c, enum core_event what, uint64_t id, uint64_t fence,
                 struct str text);

/* body.c: the window of payloads */
void body_put(struct core *c, uint32_t i, const struct msg_rec_spec *spec, struct str payload);
void body_drop(struct core *c, uint32_t i);
bool body_may_stay(const struct core *c, const struct job *j);
/* It takes a place of its line's window from now on, or no longer does. */
void body_waits(struct core *c, uint32_t i);
void body_runs(struct core *c, uint32_t i);
void body_fetch(struct core *c, uint32_t i); /* asks for it unless it is there or coming */
void body_refill(struct core *c, uint32_t lane);
struct body *body_new(const struct msg_rec_spec *spec, struct str payload);
void body_free(struct body **b);
uint64_t load_start(struct core *c, const struct load *what, uint64_t pos, uint32_t bytes);

/* lane.c: order and fairness */
void lanes_setup(struct core *c);
void lanes_teardown(struct core *c);
void lane_push(struct core *c, uint32_t i, bool front);
void lane_remove(struct core *c, uint32_t i);
uint32_t lane_choose(struct core *c); /* the job whose turn it is, or 0; it stays in its lane */
void lane_served(struct core *c, uint32_t i);        /* it was taken: the ring moves on */
void lane_unserved(struct core *c);                  /* nobody could take it */
void lanes_unpark(struct core *c, uint32_t *parked); /* all of a list of parked lanes */
void tenant_unpark(struct core *c, uint32_t tenant);
/* Whether its tenant lets it: of its queue that is asked once for the line. */
bool lane_may_start(const struct core *c, const struct lane *a);
uint32_t lane_of(const struct core *c, const struct job *j);

/* turns.c: whose turn it is among lines */
void turns_teardown(struct core *c);
void turns_check(const struct core *c);
void line_place(struct core *c, uint32_t i);       /* what it has is of other priorities now */
uint32_t line_first(struct core *c, int priority); /* 0: none whose kind is open */
void line_served(struct core *c, uint32_t i);
void line_shut(struct core *c, uint32_t i);         /* its queue may not start */
void queue_changed(struct core *c, uint32_t queue); /* it may perhaps start now */
void kind_close(struct core *c, uint32_t kind);     /* no worker of it is free */
void kind_open(struct core *c, uint32_t kind);

/* limit.c */
bool limit_has_room(const struct limit *l);
uint64_t limit_wait_us(const struct limit *l, uint64_t now_us); /* 0: may start */
void limit_take(struct limit *l, uint64_t now_us);
void limit_give(struct limit *l);
void limit_configure(struct limit *l, const struct limit_config *file);
void limit_forgive(const struct core *c, struct limit *l, const struct limit_config *before);
void limit_set(struct core *c, struct limit *l, const struct limit_config *set);
/* What a bucket held is not known after a restart: each begins with one token. */
void limits_after_restart(struct core *c);
bool queue_may_start(const struct core *c, const struct queue *q);
bool tenant_may_start(const struct core *c, const struct tenant *t);
uint64_t core_now_us(const struct core *c);

/* quota.c: what one tenant runs of one queue */
void quotas_setup(struct core *c);
void quotas_teardown(struct core *c);
uint32_t quota_find(const struct core *c, uint32_t queue, uint32_t tenant);
uint32_t quota_running(const struct core *c, uint32_t queue, uint32_t tenant);
bool quota_has_room(const struct core *c, uint32_t queue, uint32_t tenant);
bool job_quota_has_room(const struct core *c, const struct job *j);
void quota_take(struct core *c, const struct job *j);
void quota_give(struct core *c, const struct job *j);
void quotas_unpark(struct core *c, uint32_t queue); /* its bound is another one now */

/* key.c */
void keys_setup(struct core *c);
void keys_teardown(struct core *c);
/* Whether an entry of its heap is still waiting. */
bool key_waits(const struct core *c, uint32_t i, const struct waiter *w);
bool key_is_new(const struct core *c, uint32_t queue, uint32_t tenant, struct str text,
                uint64_t interval_ms);
int key_room(const struct core *c, uint32_t queue, uint32_t tenant, struct str text,
             uint64_t interval_ms, uint32_t more, struct err *e);
void key_attach(struct core *c, uint32_t i, struct str text, uint64_t interval_ms);
void key_drop_if_idle(struct core *c, uint32_t i);
void key_enter(struct core *c, uint32_t i); /* a due job comes: becomes holder or waits */
/* It ended, having been in state `was`; the next may come once `after` is durable. */
void key_leave(struct core *c, uint32_t i, enum job_state was, uint64_t after);
void key_started(struct core *c, uint32_t i);
void key_timer(struct core *c, uint32_t i);
void keys_durable(struct core *c);
/* Takes the key for an attempt that is known to run; false if another job's attempt has it. */
bool key_grab(struct core *c, uint32_t i);
void key_hold(struct core *c, uint32_t i); /* at replay: a running or tried job holds it */

/* unique.c */
void uniques_setup(struct core *c);
void uniques_teardown(struct core *c);
void unique_let_go(struct core *c, uint32_t i);
int unique_room(const struct core *c, struct err *e);
uint32_t unique_find(const struct core *c, uint32_t queue, uint32_t tenant, struct str text);
void unique_take(struct core *c, uint32_t i, struct str text, uint64_t window_ms, uint64_t rest_ms);
void unique_job_ended(struct core *c, uint32_t i);
void unique_timer(struct core *c, uint32_t n);
void unique_replay(struct core *c, uint64_t pos, uint32_t bytes, const struct msg_rec_window *w);
void unique_clean(struct core *c, uint64_t pos, const struct msg_rec_window *w);

/* submit.c */
/* Whether one more job may wait, and be written down: BUSY, DISK_FULL. */
int jobs_room(const struct core *c, struct err *e);
int journal_room_for_jobs(const struct core *c, struct err *e);
void job_place(struct core *c, uint32_t i); /* durable, or speculative: where it waits now */
void job_due(struct core *c, uint32_t i);
void job_ready(struct core *c, uint32_t i, bool front);
void submits_durable(struct core *c);

/* Whether an offered job may come in, and in. The parent of a child is in memory. */
int offer_resolve(struct core *c, struct offer *o, struct err *e);
int offer_take_names(struct core *c, struct offer *o, struct err *e);
int offer_check_room(const struct core *c, const struct offer *o, struct err *e);
/* Whether it may be one; only then it is asked for. */
static inline bool offer_is_unique(const struct offer *o) {
    return MSG_HAS(o->m, submit, unique) && !MUTANT(unique_ignored);
}
bool offer_duplicate(struct core *c, const struct offer *o, struct reply_item *item,
                     uint64_t *after, struct err *e);
uint32_t offer_accept(struct core *c, const struct offer *o, struct reply_item *item,
                      uint64_t *after);

/* flow.c: what is counted of children, and what follows from it */
void flows_setup(struct core *c);
void flows_teardown(struct core *c);
/* Records between these become durable together; they may nest. `more_bytes` beside what the end of
 * one job writes. */
bool group_fits(const struct core *c, size_t more_bytes);
void group_open(struct core *c, size_t more_bytes);
void group_close(struct core *c);
uint32_t flow_find(const struct core *c, uint64_t id);
uint32_t flow_need(struct core *c, uint64_t id);
uint32_t job_flow(const struct core *c, const struct job *j); /* that it is the top of; 0: none */
uint32_t job_need_flow(struct core *c, uint32_t i);
uint32_t flow_root(const struct core *c, uint32_t n);
void flow_count_add(struct flow_count *to, const struct flow_count *n, int sign);
void flow_let_go(struct core *c, uint32_t n);
void flow_leave(struct core *c, uint32_t i);
void flow_forget_job(struct core *c, uint32_t i);
void flow_unneeded(struct core *c, uint32_t n); /* nobody watches it any more, perhaps */
void flow_record(struct core *c, uint32_t n);
/* The job `i`, made a moment ago, is a child of another. The flow's record is to be written. */
void flow_add_child(struct core *c, uint32_t parent, uint32_t i);
/* Within the group of its record. Returns the position of the last record, 0 if there was none. */
uint64_t flow_job_ended(struct core *c, uint32_t i, enum job_state state);
bool flow_is_ready(const struct flow *f);
void flow_release(struct core *c, uint32_t n);
void flows_durable(struct core *c);
/* Why what is in that flow must not go on; OK: it may. */
enum err_code flow_doom_of(const struct core *c, uint32_t n);
uint32_t flow_doomed(const struct core *c, uint32_t n); /* the flow that says so; 0: none */
/* What a worker is told of the flow that its job is in. */
void flow_tell_child(const struct core *c, uint32_t i, struct msg_dispatch *m);
/* True: the job was cancelled, for its flow ends. */
bool flow_stops(struct core *c, uint32_t i);
/* Soon, at the slots from `at` to before `end`, for jobs that must not go on. */
void flows_look(struct core *c, uint32_t at, uint32_t end);
void flows_step(struct core *c);
/* All in the flow is cancelled; returns the position to wait for, 0: there is nothing. */
uint64_t flow_cancel(struct core *c, uint32_t n);
uint32_t flow_open_jobs(const struct core *c, uint32_t n); /* that have not ended */
int flow_may_revive(const struct core *c, uint32_t i, struct err *e);
void flow_revive(struct core *c, uint32_t i);
void flows_check(const struct core *c);

/* flow_replay.c */
void flow_learn_parent(struct core *c, uint32_t i, const struct msg_rec_spec *s);
void flow_replay(struct core *c, uint32_t n, const struct msg_rec_flow *m);
void flows_replayed(struct core *c);
void flows_resume(struct core *c);

/* schedule.c */
void schedule_record(struct core *c, uint32_t i);
void schedule_replay(struct core *c, struct schedule *s, const struct record *r);
void schedule_drop(struct core *c, struct schedule *s); /* what it owns */
void schedule_timer(struct core *c, uint32_t n);
bool schedules_had_their_turn(const struct core *c); /* the others wait for the next one */
void schedules_resume(struct core *c);

/* flow_watch.c */
void flow_news(struct core *c, uint32_t n);
void flow_timer(struct core *c, uint32_t n);
void flow_unlink_watch(struct core *c, uint32_t wi);
void flow_tell(struct core *c, uint32_t n); /* those who watch it, how it goes */

/* rights.c: what the key of the request's peer allows; all of it, outside of a request */
bool rights_bound(const struct core *c); /* to one tenant */
bool rights_see(const struct core *c, const struct job *j);
uint32_t job_find_seen(const struct core *c, uint64_t id); /* 0 for a job of another tenant, too */
int rights_check_verb(const struct core *c, const struct request *r, struct err *e);
int rights_check_tenant(const struct core *c, struct str tenant, struct err *e);
bool rights_limit_kinds(const struct core *c);
int rights_check_kind(const struct core *c, const char *where, struct str kind, struct err *e);
int rights_check_kinds(const struct core *c, struct str_list kinds, struct err *e);
void rights_note(const struct core *c, struct session *s);
int rights_check_owner(const struct core *c, const struct session *s, struct err *e);

/* spawn.c: children as they come in */
size_t children_bytes(const struct core_children *k);
/* `parent` stays while the offers are used. */
int children_check(struct core *c, const struct parent *parent, const struct core_children *k,
                   struct offer *out, struct err *e);
struct parent parent_of(const struct core *c, uint32_t i); /* of an attempt that runs */
/* Within a group; the record of the parent's flow is to be written after it. */
void children_accept(struct core *c, const struct core_children *k, const struct offer *offers);
/* A copy in one piece of memory, with all texts; mem_free takes it back. */
struct core_child *children_copy(const struct core_children *k);

/* dispatch.c */
void dispatch(struct core *c);
uint32_t least_loaded(const struct core *c, const struct kind *k); /* 0: none has credit */
void dispatch_send(struct core *c, uint32_t i);

/* attempt.c: the life of one attempt */
void attempt_begin(struct core *c, uint32_t i, uint32_t worker, uint64_t fence);
void attempt_attach(struct core *c, uint32_t i, uint32_t worker);
void attempt_detach(struct core *c, uint32_t i);
void attempt_started(struct core *c, uint32_t i);
void attempt_learn(struct core *c, uint32_t i);
bool attempt_learned(const struct core *c, uint32_t i);
void attempt_adopt(struct core *c, uint32_t i, uint32_t worker);
uint64_t attempt_held(struct core *c, uint32_t i, uint64_t wait_ms, struct str text);
/* Back to the front of its line at no cost; the old fence is worth nothing from now on. */
uint64_t attempt_requeue(struct core *c, uint32_t i);
uint64_t attempt_failed(struct core *c, uint32_t i, enum err_code code, struct str text);
void attempt_stop(struct core *c, uint32_t i, enum err_code why, uint64_t after);
void attempt_timer(struct core *c, uint32_t i);
/* Its worker has done with it: nothing is asked of that any more, and no time is counted. */
void attempt_reported(struct core *c, uint32_t i);
/* Whether a report is of the attempt that runs now, on the worker that reports; if not, LOST. */
bool attempt_is_current(const struct core *c, uint32_t i, uint64_t fence);
void attempt_refuse_stale(struct core *c, uint64_t job, uint64_t fence);
/* The next fence; the `width - 1` behind it are never given: epochs of its stream. */
uint64_t fence_next(struct core *c, uint32_t width);

/* measure.c: what attempts take, and how they end */
void measure_begin(struct core *c, uint32_t i); /* before since_ms is anything else's */
void measure_end(struct core *c, uint32_t i, enum attempt_end how);

/* status.c: the longest wait of each queue's heads; a place each of the queues' slab, zeroed */
void oldest_by_queue(const struct core *c, uint64_t *oldest_ms);

/* stream.c: jobs that write streams */
#define STREAM_FENCES 256U
void streams_setup(struct core *c);
void streams_teardown(struct core *c);
void stream_set_grace(struct core *c, uint32_t i, uint64_t grace_ms);
/* The session, which watches the job if that has not ended, gets what comes behind (epoch, seq). */
void stream_attach(struct core *c, uint32_t i, uint32_t session, uint64_t epoch, uint64_t seq);
void stream_detach(struct core *c, struct watch *w);
/* Its end is told to all who watch; the relay goes on for those who are attached. */
void stream_forget_attached(struct core *c, uint32_t i);
void streams_durable(struct core *c);
/* Returns the token of the attempt. */
uint64_t stream_open(struct core *c, uint32_t i, bool heard);
/* Of a result that says where its stream ended. True: it waits until all of that has arrived. */
bool stream_hold_result(struct core *c, uint32_t i, const struct msg_result *m, struct str result,
                        const struct core_children *children);
bool stream_holds_result(const struct core *c, uint32_t i);
void stream_drop_result(struct core *c, uint32_t i);
/* Where the last attempt that reported its end left its stream; epoch 0: nowhere. */
void stream_set_position(struct core *c, uint32_t i, uint64_t epoch, uint64_t seq);
void stream_position(const struct core *c, uint32_t i, uint64_t *epoch, uint64_t *seq);
void stream_free(struct core *c, uint32_t i);
void stream_timer(struct core *c, uint32_t stream);
uint32_t *stream_timer_place(struct core *c, uint32_t stream);
void streams_check(const struct core *c);

/* finish.c: results, cancel, and every end of a job */
uint64_t job_end(struct core *c, uint32_t i, enum job_state state, struct str result);
uint64_t job_cancel(struct core *c, uint32_t i, struct str text);
uint64_t job_cancel_because(struct core *c, uint32_t i, enum err_code why, struct str text);
void job_leave_line(struct core *c, uint32_t i); /* of a job that does not run */
/* Takes what the worker of its current attempt reported, and acknowledges it. */
void result_take(struct core *c, uint32_t i, const struct msg_result *m, struct str result,
                 const struct core_children *children);

/* worker.c */
enum loss { LOSS_SILENT, LOSS_CRASH, LOSS_KILLED, LOSS_LEFT };
void worker_hello(struct core *c, uint32_t session, const struct msg_hello *m);
void worker_lost(struct core *c, uint32_t w, enum loss how, struct str text);
void workers_check(struct core *c);
uint32_t worker_credit(const struct worker *w);
void worker_recall(struct core *c, uint32_t w, uint32_t queue); /* 0: of all queues */
void worker_drain(struct core *c, uint32_t w);
void worker_nag(struct core *c, uint32_t w);
void orphans_check(struct core *c);
struct worker *request_worker(struct core *c);

/* session.c */
void sessions_setup(struct core *c);
void sessions_teardown(struct core *c);
uint32_t session_by_link(const struct core *c, uint64_t link);
uint32_t session_by_instance(const struct core *c, struct str instance);
void sessions_check(struct core *c);
void session_end(struct core *c, uint32_t s);
void send_to(struct core *c, uint64_t link, enum verb verb, uint64_t sequence, const void *message,
             struct str payload, uint64_t after);
/* False: there are too many. */
bool watch_add(struct core *c, uint32_t i, uint32_t session);
uint32_t watch_find(const struct core *c, uint32_t i, uint32_t session); /* 0: it does not watch */
void watch_link_session(struct core *c, uint32_t wi, uint32_t session);
void watch_drop(struct core *c, uint32_t w);
void watch_tell(struct core *c, uint32_t i, struct str result, uint64_t after);
bool reply_open(struct core *c, struct session *s, uint64_t sequence, enum verb verb);
void tell_supervisors(struct core *c, enum verb verb, const void *message);
void answer_session(struct core *c, uint32_t si, uint64_t sequence, enum verb verb,
                    const struct reply_item *item, const struct err *e, uint64_t after);
void reply_error(struct core *c, uint64_t link, uint64_t sequence, const struct err *e);
void answer(struct core *c, const struct reply_item *item, const struct err *e, uint64_t after);

/* retain.c */
/* Before retain_add, of what ended without a result: where space is short it is not kept. */
void retain_unwanted(struct core *c, uint32_t i);
void retain_add(struct core *c, uint32_t i);
static inline uint32_t retain_count(const struct core *c) {
    return c->kept[KEPT_DONE].n + c->kept[KEPT_DEAD].n + c->kept[KEPT_UNWANTED].n;
}
void retain_resized(struct core *c, uint32_t i, uint64_t old_bytes);
uint64_t retain_bytes(const struct job *j);
void retain_remove(struct core *c, uint32_t i);
void retain_trim(struct core *c);
/* At replay: the journal has a record of this time, those before it were of earlier ones. */
void retain_saw(struct core *c, uint64_t wall_ms);

/* history.c: attempts that went wrong */
#define HISTORY_MAX 8 /* attempts that are kept of a job, the last ones */
/* What the attempt that ends now, on the worker that has it, says; before it leaves that. */
void history_add(struct core *c, uint32_t i, enum err_code code, struct str text);
void history_set(struct core *c, uint32_t i, struct str text); /* at replay */

/* dead.c: dead letters, in groups */
void dead_setup(struct core *c);
void dead_teardown(struct core *c);
/* The fingerprint of what killed it, for its record. */
void dead_learn(struct core *c, uint32_t i);
/* Of a job that is dead and not kept yet: returns its letter, in the list of its group. */
uint32_t dead_join(struct core *c, uint32_t i);
void dead_leave(struct core *c, uint32_t letter);
uint64_t dead_print(const struct core *c, const struct job *j); /* its group's; 0: it is not dead */
/* How many there are in a group; 0: there is no such group. */
uint32_t dead_count(const struct core *c, uint64_t print);
void dead_check(const struct core *c);

/* notes.c: a small table that workers share */
void notes_setup(struct core *c);
void notes_teardown(struct core *c);
void notes_start(struct core *c); /* the epoch is known */
void notes_expire(struct core *c);
void note_timer(struct core *c, uint32_t i);
/* Tells a session what has changed since version `have`, if it is time for that. */
void notes_tell(struct core *c, uint32_t session, uint64_t have);
void notes_check(const struct core *c);

/* sweep.c: requests that touch many jobs */
void sweeps_step(struct core *c);
void sweep_loaded(struct core *c, const struct load *l, const struct record *r);
void sweeps_done(struct core *c);

/* control.c, pools.c */
void queue_record(struct core *c, uint32_t queue);
void tenant_record(struct core *c, uint32_t tenant);
void queue_recall(struct core *c, uint32_t queue); /* what no slot has taken, from all workers */
void pool_record(struct core *c, uint32_t pool);
/* Tells the supervisors how many processes it shall have, and lets surplus ones go. */
void pool_plan(struct core *c, uint32_t pool);
void pool_trim(struct core *c, uint32_t pool);

/* query.c, status.c, why.c */
void send_end(struct core *c, enum verb verb);
void info_loaded(struct core *c, const struct load *l, const struct record *r);
/* For who asks now; told at once if it has ended. */
int watch_job(struct core *c, uint32_t i, struct err *e);

/* core.c, replay.c */
void epoch_record(struct core *c);
void replay_finish(struct core *c);

/* requests: a handler a verb, see request.c */
struct handler {
    enum verb verb;
    bool kept;    /* its answer is kept for a repeated sequence */
    bool changes; /* refused while the journal cannot be written */
    bool worker;  /* only from a worker that is known */
    bool bound;   /* also with a key for one tenant: it shows nothing of others */
    void (*item)(struct core *c, const void *message, struct str payload);
};

void on_hello(struct core *c, const void *message, struct str payload);
void on_heartbeat(struct core *c, const void *message, struct str payload);
void on_bye(struct core *c, const void *message, struct str payload);
void on_submit(struct core *c, const void *message, struct str payload);
void on_get_job(struct core *c, const void *message, struct str payload);
void on_list_jobs(struct core *c, const void *message, struct str payload);
void on_list_dead(struct core *c, const void *message, struct str payload);
void on_get_why(struct core *c, const void *message, struct str payload);
void on_cancel_job(struct core *c, const void *message, struct str payload);
void on_retry_job(struct core *c, const void *message, struct str payload);
void on_watch_job(struct core *c, const void *message, struct str payload);
void on_attach(struct core *c, const void *message, struct str payload);
void on_detach(struct core *c, const void *message, struct str payload);
void refuse_attach(struct core *c, const struct err *bad); /* an item that could not be read */
void on_get_status(struct core *c, const void *message, struct str payload);
void on_list_queues(struct core *c, const void *message, struct str payload);
void on_list_workers(struct core *c, const void *message, struct str payload);
void on_list_pools(struct core *c, const void *message, struct str payload);
void on_pause_queue(struct core *c, const void *message, struct str payload);
void on_resume_queue(struct core *c, const void *message, struct str payload);
void on_purge_queue(struct core *c, const void *message, struct str payload);
void on_set_limit(struct core *c, const void *message, struct str payload);
void on_scale_pool(struct core *c, const void *message, struct str payload);
void on_drain(struct core *c, const void *message, struct str payload);
void on_declare_kind(struct core *c, const void *message, struct str payload);
void on_started(struct core *c, const void *message, struct str payload);
void on_spawn(struct core *c, const void *message, struct str payload);
void on_watch_flow(struct core *c, const void *message, struct str payload);
void on_set_schedule(struct core *c, const void *message, struct str payload);
void on_remove_schedule(struct core *c, const void *message, struct str payload);
void on_run_schedule(struct core *c, const void *message, struct str payload);
void on_pause_schedule(struct core *c, const void *message, struct str payload);
void on_list_schedules(struct core *c, const void *message, struct str payload);
void on_set_note(struct core *c, const void *message, struct str payload);
void on_list_notes(struct core *c, const void *message, struct str payload);
void on_result(struct core *c, const void *message, struct str payload);
void on_returned(struct core *c, const void *message, struct str payload);
void on_progress(struct core *c, const void *message, struct str payload);
void on_pool_report(struct core *c, const void *message, struct str payload);
void on_worker_died(struct core *c, const void *message, struct str payload);
