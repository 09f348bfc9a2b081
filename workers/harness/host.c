#include "workers/harness/host.h"

#include "common/base/check.h"
#include "common/os/clock.h"
#include "common/os/files.h"
#include "workers/harness/job_int.h"
#include "workers/harness/notes.h"
#include "workers/harness/outbox.h"
#include "workers/harness/rss.h"
#include "workers/harness/slots.h"
#include "workers/harness/span.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define MESSAGES_MAX 64    /* read before what has ended is looked at */
#define LOOK_MS      100   /* between two looks at our own size */
#define PROGRESS_MS  1000  /* between two reports of a job's progress */
#define UNHEARD_MS   10000 /* a draining worker waits so long for a broker that is gone */
#define PARENT_MS    500   /* for a parent that is being killed to be gone */
#define STREAMS_MS   20    /* between two looks at how far streams are */
#define ARENA_BYTES  (1U << 20)
#define OWN_FILES    32 /* half of them ZeroMQ's, some for what kinds open */

struct host {
    const struct host_config *config;
    struct link *link;
    const char *handshake; /* why it fails, as it was told */
    struct agent *agent;
    struct slots *slots;
    struct outbox outbox;
    struct frame_out spawn;
    struct job_notes *notes;
    uint64_t declared; /* the sequence of our last DECLARE_KIND */
    struct stream_socket *streams;
    char stream_endpoint[LINK_ENDPOINT_MAX]; /* empty: none */
    struct arena *arena;
    struct job inline_job;
    struct rng rng; /* of the ids of spans */
    int signals;
    bool signalled;
    pid_t parent;         /* of our beginning */
    struct mono judge_at; /* whether the parent spoke again because it died; MONO_NEVER: no need */
    struct mono born, looked, progressed, streamed;
    struct mono heard; /* the last time that the link was up */
    enum worker_exit status;
    bool over; /* leave now */
    struct err err;
    struct str names[WORKER_KINDS_MAX];
};

/* ---- bounds --------------------------------------------------------------------------------- */
static uint64_t stream_max(const struct host *h) {
    const struct msg_welcome *terms = link_terms(h->link);
    return MSG_HAS(terms, welcome, stream_max) ? terms->stream_max : STREAM_BYTES_DEFAULT;
}

/* ---- what the agent wants ------------------------------------------------------------------- */
/* A broker that was started anew may have smaller bounds than a result was made for. */
static void say_too_large(struct host *h, const struct msg_result *of) {
    struct msg_result m = {0};
    MSG_SET(&m, result, job, of->job);
    MSG_SET(&m, result, fence, of->fence);
    MSG_SET(&m, result, outcome, OUTCOME_REJECTED);
    MSG_SET(&m, result, error, ERR_RESULT_TOO_LARGE);
    MSG_SET(&m, result, text, STR("the broker's bounds have become too small for this result"));
    if (MSG_HAS(of, result, epoch)) {
        MSG_SET(&m, result, epoch, of->epoch);
        MSG_SET(&m, result, seq, of->seq);
    }
    outbox_put(&h->outbox, VERB_result, &m, STR(""), NULL);
}

static void fx_say(void *ctx, enum verb verb, const void *message, struct str payload,
                   const struct children *children) {
    struct host *h = ctx;
    if (outbox_put(&h->outbox, verb, message, payload, children) < 0 && verb == VERB_result)
        say_too_large(h, message);
}

static uint64_t fx_spawn(void *ctx, const struct children *child) {
    struct host *h = ctx;
    struct frame_children parts = children_parts(child);
    if (!link_is_up(h->link))
        return 0;
    uint64_t sequence = link_sequence(h->link);
    frame_begin(&h->spawn, VERB_spawn, sequence);
    if (frame_add_encoded(&h->spawn, &parts) < 0 || link_send(h->link, &h->spawn, NULL) < 0)
        return 0;
    return sequence;
}

static void fx_spawned(void *ctx, struct attempt *a, const struct err *e) {
    (void)ctx;
    slots_answer(a, e);
}

static uint64_t fx_note(void *ctx, const struct msg_set_note *m) {
    struct host *h = ctx;
    if (!link_is_up(h->link))
        return 0;
    uint64_t sequence = link_sequence(h->link);
    frame_begin(&h->spawn, VERB_set_note, sequence);
    int rc = frame_add(&h->spawn, m);
    ASSERT(rc == 0);
    return link_send(h->link, &h->spawn, NULL) < 0 ? 0 : sequence;
}

/* Its own jobs see at once what they have set. */
static void fx_noted(void *ctx, struct attempt *a, const struct msg_set_note *m, uint64_t version,
                     const struct err *e) {
    struct host *h = ctx;
    if (!e->code)
        job_notes_set(h->notes, clock_mono(), m, version);
    slots_answer(a, e);
}

static void fx_hello(void *ctx) {
    struct host *h = ctx;
    outbox_flush(&h->outbox);
    link_hello_again(h->link);
}

static enum agent_route fx_admit(void *ctx, struct attempt *a, struct err *e) {
    const struct host *h = ctx;
    const struct worker_kind *kind = worker_kind_named(&h->config->kinds, a->kind);
    if (!kind) {
        err_set(e, ERR_UNKNOWN_KIND, "this worker does not run kind " STR_FMT, STR_ARG(a->kind));
        return AGENT_REJECT;
    }
    if (job_payload_check(a->payload, e) < 0) {
        e->code = ERR_MALFORMED;
        return AGENT_REJECT;
    }
    return kind->is_inline ? AGENT_INLINE : AGENT_SLOT;
}

static void fx_start(void *ctx, struct attempt *a) {
    struct host *h = ctx;
    const struct worker_kind *kind = worker_kind_named(&h->config->kinds, a->kind);
    const struct job_limits most = job_limits_of(link_terms(h->link));
    ASSERT(kind);
    a->kind_data = kind->data;
    if (kind->streams)
        a->stream = stream_out_new(h->streams, &(struct stream_config){.job = a->job,
                                                                       .fence = a->fence,
                                                                       .token = a->token,
                                                                       .bytes_max = stream_max(h),
                                                                       .mute = !a->streams});
    span_begin(a, &h->rng);
    span_tell_running(a);
    if (!a->is_inline) {
        slots_start(h->slots, a, kind->run, a->started, &most);
        return;
    }
    struct ending end;
    job_execute(&h->inline_job, a, kind->run, a->started, &most, &end);
    span_tell_over(a, a->started, &end);
    agent_ended(h->agent, a->started, a, &end);
}

static void fx_stop(void *ctx, struct attempt *a) {
    (void)ctx;
    if (a->stream && a->stop == ERR_STALE_FENCE)
        stream_out_mute(a->stream);
    span_tell_stop(a);
    slots_stop(a, a->stop);
}

static void fx_again(void *ctx, struct attempt *a, struct stream_position have) {
    (void)ctx;
    stream_out_again(a->stream, a->token, have);
}

static void fx_release(void *ctx, struct attempt *a) {
    (void)ctx;
    stream_out_destroy(&a->stream);
}

static void fill_hello(void *ctx, struct msg_hello *m) {
    struct host *h = ctx;
    agent_fill_hello(h->agent, m);
    size_t n = h->config->kinds.n;
    for (size_t i = 0; i < n; i++)
        h->names[i] = str_of(h->config->kinds.at[i]->name);
    MSG_SET(m, hello, kinds, ((struct str_list){h->names, n}));
    if (h->config->pool.len)
        MSG_SET(m, hello, pool, h->config->pool);
    MSG_SET(m, hello, notes, job_notes_version(h->notes));
}

static void fill_heartbeat(void *ctx, struct msg_heartbeat *m) {
    struct host *h = ctx;
    outbox_flush(&h->outbox); /* `held` counts what is on its way */
    agent_fill_heartbeat(h->agent, m);
    MSG_SET(m, heartbeat, rss_bytes, rss_bytes());
    MSG_SET(m, heartbeat, notes, job_notes_version(h->notes));
}

/* ---- leaving -------------------------------------------------------------------------------- */
static void leave(struct host *h, bool own, enum worker_exit status, const char *why) {
    if (agent_is_draining(h->agent))
        return;
    h->status = status;
    log_event(LOG_worker_draining, log_text("reason", why),
              log_u64("running", agent_running(h->agent)));
    agent_drain(h->agent, own);
}

static void stop_now(struct host *h) {
    h->status = WORKER_EXIT_STOPPED;
    h->over = true;
    agent_stop_all(h->agent);
}

/* The kernel tells us of a parent's death once for each of its threads, one after the other: only a
 * parent that is still there a moment later meant what it said. */
static void on_signal(struct host *h) {
    struct signalfd_siginfo info;
    while (read(h->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (!h->signalled)
            leave(h, true, WORKER_EXIT_DRAINED, "a signal");
        else if ((pid_t)info.ssi_pid != h->parent)
            stop_now(h);
        else if (h->judge_at.ms == MONO_NEVER.ms)
            h->judge_at = mono_add(clock_mono(), PARENT_MS);
        h->signalled = true;
    }
}

static void judge_parent(struct host *h, struct mono now) {
    if (!mono_reached(now, h->judge_at))
        return;
    h->judge_at = MONO_NEVER;
    if (getppid() == h->parent)
        stop_now(h);
}

static void look_at_ourselves(struct host *h, struct mono now) {
    const struct host_config *config = h->config;
    if (!mono_reached(now, mono_add(h->looked, LOOK_MS)) || agent_is_draining(h->agent))
        return;
    h->looked = now;
    if (config->memory_max && rss_bytes() > config->memory_max)
        leave(h, true, WORKER_EXIT_RECYCLE, "its memory is over the ceiling");
    else if (config->recycle_jobs && agent_done(h->agent) >= config->recycle_jobs)
        leave(h, true, WORKER_EXIT_RECYCLE, "it has done its number of jobs");
    else if (config->recycle_age_ms && mono_reached(now, mono_add(h->born, config->recycle_age_ms)))
        leave(h, true, WORKER_EXIT_RECYCLE, "it has reached its age");
}

static void look_whether_over(struct host *h, struct mono now) {
    if (link_is_up(h->link))
        h->heard = now;
    if (h->over || !agent_is_draining(h->agent) || agent_running(h->agent))
        return;
    if (agent_is_drained(h->agent)) {
        h->over = true;
    } else if (mono_reached(now, mono_add(h->heard, UNHEARD_MS))) {
        h->status = WORKER_EXIT_UNHEARD;
        h->over = true;
    }
}

/* ---- what the broker says ------------------------------------------------------------------- */
static void on_outcome(struct host *h, uint64_t sequence, const struct msg_outcome *m) {
    bool of_note = agent_outcome(h->agent, sequence, m) || sequence > h->declared;
    if (!of_note && m->code)
        log_event(LOG_worker_kind_refused, log_str("error", m->text),
                  log_text("code", err_code_known(m->code) ? err_code_name((enum err_code)m->code)
                                                           : "unknown"));
}

static void on_item(struct host *h, struct mono now, const struct frame_in *in,
                    const union msg_any *m, struct str payload) {
    switch ((int)in->verb->verb) {
    case VERB_dispatch:
        agent_dispatch(h->agent, now, &m->dispatch, payload);
        break;
    case VERB_result_ack:
        agent_result_ack(h->agent, now, &m->attempt_ref);
        break;
    case VERB_cancel_attempt:
        agent_cancel(h->agent, now, &m->attempt_ref);
        break;
    case VERB_lost:
        agent_lost(h->agent, now, &m->attempt_ref);
        break;
    case VERB_spawned:
        agent_spawned(h->agent, in->sequence, &m->spawned);
        break;
    case VERB_error: /* the others are the link's business */
        agent_refused(h->agent, in->sequence, &m->error);
        break;
    case VERB_stream_need:
        agent_stream_need(h->agent, &m->stream_need);
        break;
    case VERB_note_info:
        job_notes_take(h->notes, now, &m->note_info);
        break;
    case VERB_recall:
        agent_recall(h->agent, now, &m->attempt_ref);
        break;
    case VERB_drain_worker:
        leave(h, false, WORKER_EXIT_DRAINED, "the broker says so");
        break;
    case VERB_outcome:
        on_outcome(h, in->sequence, &m->outcome);
        break;
    default: /* heartbeats are the link's business */
        break;
    }
}

static void on_message(struct host *h, struct frame_in *in) {
    struct mono now = clock_mono();
    union msg_any m;
    struct frame_item item;
    struct err e = {0};
    for (int got; (got = frame_next(in, &m, h->arena, &item, &e)) != 0;) {
        if (got > 0)
            on_item(h, now, in, &m, item.payload);
        else
            log_event(LOG_worker_unreadable, LOG_WHY(&e));
    }
    arena_reset(h->arena);
}

/* ZeroMQ connects a lost socket again by itself; for another life of the broker ours is made anew,
 * since that waits for nothing. */
static void open_stream(struct host *h, bool new_epoch) {
    char endpoint[LINK_ENDPOINT_MAX];
    struct err e = {0};
    int named = link_stream_endpoint(h->link, endpoint, &e);
    if (named <= 0) {
        stream_socket_close(h->streams);
        endpoint[0] = 0;
    } else if (new_epoch || strcmp(endpoint, h->stream_endpoint) != 0) {
        named = stream_socket_open(h->streams, link_context(h->link), endpoint, h->config->key, &e);
    }
    if (named < 0)
        log_event(LOG_worker_stream_failed, LOG_WHY(&e));
    memcpy(h->stream_endpoint, endpoint, sizeof endpoint);
}

static void on_up(struct host *h, bool new_epoch) {
    log_event(LOG_worker_connected, log_u64("epoch", link_epoch(h->link)));
    if (new_epoch) {
        job_notes_forget(h->notes);
        h->declared = worker_kinds_declare(&h->config->kinds, h->link);
    }
    open_stream(h, new_epoch);
    agent_welcome(h->agent, clock_mono(), link_terms(h->link));
}

static void on_news(struct host *h, struct link_news *news) {
    switch (news->what) {
    case LINK_MESSAGE:
        on_message(h, &news->message);
        break;
    case LINK_UP:
        on_up(h, news->new_epoch);
        break;
    case LINK_DOWN:
        log_event(LOG_worker_disconnected, LOG_WHY(&news->err));
        agent_down(h->agent);
        break;
    case LINK_REFUSED:
        h->err = news->err;
        h->status = WORKER_EXIT_REFUSED;
        h->over = true;
        agent_stop_all(h->agent);
        break;
    case LINK_UNREADABLE:
        log_event(LOG_worker_unreadable, LOG_WHY(&news->err));
        break;
    case LINK_NOTHING:
        break;
    }
}

/* ---- the loop ------------------------------------------------------------------------------- */
static void on_ended(void *ctx, struct attempt *a, const struct ending *end) {
    struct host *h = ctx;
    struct mono now = clock_mono();
    span_tell_over(a, now, end);
    agent_ended(h->agent, now, a, end);
}

static void on_asks(void *ctx, struct attempt *a, struct children *child, uint32_t index) {
    struct host *h = ctx;
    agent_spawn(h->agent, clock_mono(), a, child, index);
}

static void on_wishes(void *ctx, struct attempt *a, struct note_wish *wish) {
    struct host *h = ctx;
    agent_note(h->agent, clock_mono(), a, wish);
}

static void tell_progress(void *ctx, struct attempt *a) {
    struct host *h = ctx;
    uint64_t done, total;
    if (slots_progress(a, &done, &total))
        agent_progress(h->agent, a, done, total);
}

static void turn_stream(void *ctx, struct attempt *a) {
    const struct host *h = ctx;
    if (a->stream)
        stream_out_turn(a->stream, clock_mono_ns(), link_terms(h->link)->heartbeat_ms);
}

static void turn_streams(struct host *h, struct mono now) {
    if (!stream_socket_begin(h->streams) && !mono_reached(now, mono_add(h->streamed, STREAMS_MS)))
        return;
    h->streamed = now;
    agent_each_running(h->agent, turn_stream, h);
}

/* True: there may be more to read. */
static bool read_messages(struct host *h) {
    for (int n = 0; n < MESSAGES_MAX; n++) {
        struct link_news news;
        link_poll(h->link, MONO_PAST, &news);
        if (news.what == LINK_NOTHING)
            return false;
        on_news(h, &news);
    }
    return true;
}

static void wait_for_work(struct host *h, struct mono now) {
    struct mono until = agent_next(h->agent, now);
    struct mono look = mono_add(now, h->config->memory_max || agent_is_draining(h->agent) ||
                                             h->config->recycle_age_ms
                                         ? LOOK_MS
                                         : PROGRESS_MS);
    if (stream_socket_wants(h->streams))
        look = mono_add(now, 1);
    int fds[3] = {slots_fd(h->slots), h->signals, stream_socket_fd(h->streams)};
    bool ready[3] = {false, false, false};
    link_wait(h->link, look.ms < until.ms ? look : until, fds, ready, 3);
    if (ready[1])
        on_signal(h);
    if (ready[2])
        stream_socket_heard(h->streams);
}

/* Nobody else sees why it does not get there. */
static void tell_handshake(struct host *h) {
    const char *why = link_handshake(h->link);
    if (why && why != h->handshake)
        log_event(LOG_worker_handshake, log_text("broker", h->config->endpoint),
                  log_text("what", why));
    h->handshake = why;
}

static void serve(struct host *h) {
    const struct slots_news news = {
        .ctx = h, .ended = on_ended, .asks = on_asks, .notes = on_wishes};
    while (!h->over) {
        bool more = read_messages(h);
        tell_handshake(h);
        slots_collect(h->slots, &news);
        struct mono now = clock_mono();
        agent_tick(h->agent, now);
        if (mono_reached(now, mono_add(h->progressed, PROGRESS_MS))) {
            h->progressed = now;
            agent_each_running(h->agent, tell_progress, h);
        }
        turn_streams(h, now);
        look_at_ourselves(h, now);
        judge_parent(h, now);
        outbox_flush(&h->outbox);
        look_whether_over(h, now);
        if (!more && !h->over)
            wait_for_work(h, now);
    }
}

/* ---- coming and going ----------------------------------------------------------------------- */
static void signal_set(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
}

void host_block_signals(void) {
    sigset_t set;
    signal_set(&set);
    int rc = pthread_sigmask(SIG_BLOCK, &set, NULL);
    ASSERT(rc == 0);
}

static int open_all(struct host *h, struct err *e) {
    const struct host_config *config = h->config;
    static const struct agent_effects none = {.say = fx_say,
                                              .spawn = fx_spawn,
                                              .spawned = fx_spawned,
                                              .note = fx_note,
                                              .noted = fx_noted,
                                              .hello = fx_hello,
                                              .admit = fx_admit,
                                              .start = fx_start,
                                              .stop = fx_stop,
                                              .again = fx_again,
                                              .release = fx_release};
    struct agent_effects effects = none;
    effects.ctx = h;
    h->agent = agent_new(
        &(struct agent_config){.slots = config->slots, .prefetch = config->prefetch}, &effects);
    h->arena = arena_new(ARENA_BYTES);
    h->spawn = FRAME_OUT;
    job_setup(&h->inline_job);
    h->streams = stream_socket_new();
    h->slots = slots_new(config->slots);
    h->inline_job.notes = h->notes = job_notes_new();
    slots_share_notes(h->slots, h->notes);
    sigset_t set;
    signal_set(&set);
    h->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    ASSERT(h->signals >= 0);
    struct link_config link = {.role = ROLE_WORKER,
                               .endpoint = config->endpoint,
                               .key = config->key,
                               .name = config->name,
                               .clock = clock_mono,
                               .ctx = h,
                               .fill_hello = fill_hello,
                               .fill_heartbeat = fill_heartbeat};
    memcpy(link.instance, config->instance, sizeof link.instance);
    if (link_new(&h->link, &link, e) < 0)
        return -1;
    outbox_setup(&h->outbox, h->link);
    return 0;
}

static void close_all(struct host *h, bool *clean) {
    *clean = slots_busy(h->slots) == 0;
    if (h->link) {
        link_bye(h->link, h->status == WORKER_EXIT_STOPPED ? "stopped" : "drained");
        outbox_teardown(&h->outbox);
    }
    stream_socket_close(h->streams); /* of the link's context */
    link_destroy(&h->link);
    if (!*clean)
        return; /* what still runs uses the rest */
    slots_destroy(&h->slots);
    job_notes_destroy(&h->notes);
    agent_destroy(&h->agent);
    frame_destroy(&h->spawn);
    stream_socket_destroy(&h->streams);
    job_teardown(&h->inline_job);
    arena_destroy(&h->arena);
    close(h->signals);
}

/* A ceiling below what we need at rest would have us leave, and be started again, for ever. */
static int check_rest(struct host *h, struct err *e) {
    uint64_t rss = rss_bytes(), max = h->config->memory_max;
    if (!max || rss <= max)
        return 0;
    h->status = WORKER_EXIT_TOO_LARGE;
    return err_set(e, ERR_TOO_LARGE,
                   "at rest it has %llu KiB, over its memory ceiling (pools.memory_max) of %llu",
                   (unsigned long long)rss >> 10, (unsigned long long)max >> 10);
}

enum worker_exit host_run(const struct host_config *config, bool *clean, struct err *e) {
    ASSERT(config->kinds.n > 0 && config->kinds.n <= WORKER_KINDS_MAX);
    struct mono now = clock_mono();
    struct host h = {.config = config,
                     .parent = getppid(),
                     .judge_at = MONO_NEVER,
                     .born = now,
                     .looked = now,
                     .progressed = now,
                     .heard = now};
    if (files_need(OWN_FILES + config->slots, e) < 0)
        return WORKER_EXIT_USAGE;
    uint64_t seed;
    random_bytes(&seed, sizeof seed);
    h.rng = rng_seed(seed);
    if (open_all(&h, e) < 0) {
        h.status = WORKER_EXIT_USAGE;
    } else if (check_rest(&h, e) == 0) {
        serve(&h);
        if (h.status == WORKER_EXIT_REFUSED && e)
            *e = h.err;
    }
    close_all(&h, clean);
    return h.status;
}
