/* Peers: who speaks on which link, what they were answered, and what they watch. */
#include "broker/core/core_int.h"
#include "common/base/mem.h"

#define REPLY_SHARE 16 /* of all kept answers, one peer may have so little of a part */
/* Operators beyond the bound of clients: whoever looks why it is reached must not be refused by it.
 * The supervisors of some hosts and a few people. */
#define OPERATORS_RESERVE 32

static uint64_t instance_hash_of(const uint8_t *instance) {
    uint64_t h;
    memcpy(&h, instance, sizeof h);
    return hash_mix(h, 0);
}

static uint64_t instance_hash(const void *ctx, uint32_t i) {
    return instance_hash_of(session_at(ctx, i)->instance);
}

static uint32_t *instance_link(const void *ctx, uint32_t i) {
    return &session_at(ctx, i)->hash_next;
}

static bool instance_equal(const void *ctx, uint32_t i, const void *key) {
    return memcmp(session_at(ctx, i)->instance, key, 16) == 0;
}

static uint64_t link_hash(const void *ctx, uint32_t i) {
    return hash_mix(session_at(ctx, i)->link, 1);
}

static uint32_t *link_link(const void *ctx, uint32_t i) {
    return &session_at(ctx, i)->link_next;
}

static bool link_equal(const void *ctx, uint32_t i, const void *key) {
    return session_at(ctx, i)->link == *(const uint64_t *)key;
}

static const struct lhash_ops instance_ops = {instance_hash, instance_link, instance_equal};
static const struct lhash_ops link_ops = {link_hash, link_link, link_equal};

void sessions_setup(struct core *c) {
    slab_init(&c->sessions, sizeof(struct session));
    slab_init(&c->watches, sizeof(struct watch));
    slab_init(&c->workers, sizeof(struct worker));
    lhash_init(&c->instance_index, &instance_ops, c);
    lhash_init(&c->link_index, &link_ops, c);
}

uint32_t session_by_link(const struct core *c, uint64_t link) {
    return lhash_find(&c->link_index, hash_mix(link, 1), &link);
}

uint32_t session_by_instance(const struct core *c, struct str instance) {
    if (instance.len != 16)
        return 0;
    uint8_t key[16];
    memcpy(key, instance.at, 16);
    return lhash_find(&c->instance_index, instance_hash_of(key), key);
}

/* ---- letters
 * ------------------------------------------------------------------------------------- */
void send_to(struct core *c, uint64_t link, enum verb verb, uint64_t sequence, const void *message,
             struct str payload, uint64_t after) {
    struct letter l = {.link = link,
                       .verb = verb,
                       .sequence = sequence,
                       .message = message,
                       .payload = payload,
                       .after = after < c->durable ? 0 : after};
    c->fx.send(c->fx.ctx, &l);
}

void reply_error(struct core *c, uint64_t link, uint64_t sequence, const struct err *e) {
    struct msg_error m = {0};
    MSG_SET(&m, error, code, (uint64_t)e->code);
    MSG_SET(&m, error, text, str_of(e->text));
    if (e->retry_after_ms)
        MSG_SET(&m, error, retry_after_ms, e->retry_after_ms);
    send_to(c, link, VERB_error, sequence, &m, STR(""), 0);
}

void tell_supervisors(struct core *c, enum verb verb, const void *message) {
    SLAB_EACH(i, &c->sessions)
    if (session_at(c, i)->supervisor)
        send_to(c, session_at(c, i)->link, verb, 0, message, STR(""), 0);
}

void core_farewell(struct core *c, struct str why) {
    struct msg_bye m = {0};
    MSG_SET(&m, bye, text, why);
    SLAB_EACH(i, &c->sessions)
    send_to(c, session_at(c, i)->link, VERB_bye, 0, &m, STR(""), 0);
}

/* ---- kept answers
 * -------------------------------------------------------------------------------- */
static void count_items(struct core *c, const struct reply *r, uint32_t n) {
    session_at(c, r->session)->reply_items += n;
    c->reply_items += n;
}

static void items_free(struct core *c, struct reply *r) {
    if (!r->items)
        return;
    *(r->older ? &r->older->newer : &c->oldest_reply) = r->newer;
    *(r->newer ? &r->newer->older : &c->newest_reply) = r->older;
    r->older = r->newer = NULL;
    session_at(c, r->session)->reply_items -= r->n;
    c->reply_items -= r->n;
    MEM_FREE(r->items);
}

static void reply_clear(struct core *c, struct reply *r) {
    items_free(c, r);
    *r = (struct reply){0};
}

/* The sequence stays known, so that a repetition is not taken for something new. */
static void reply_drop(struct core *c, struct reply *r) {
    if (!r->items)
        return;
    items_free(c, r);
    r->n = 0;
    r->dropped = true;
}

static void materialise(struct core *c, uint32_t session, struct reply *r) {
    if (r->items)
        return;
    r->items = mem_alloc((r->n + 1) * sizeof *r->items);
    for (uint32_t n = 0; n < r->n; n++)
        r->items[n] = (struct reply_item){.id = r->first_id + n};
    r->session = session;
    r->older = c->newest_reply;
    *(r->older ? &r->older->newer : &c->oldest_reply) = r;
    c->newest_reply = r;
    count_items(c, r, r->n);
}

/* All peers together: the oldest answers go first. */
static void replies_trim(struct core *c, const struct reply *last) {
    while (c->reply_items > c->config.replies_max && c->oldest_reply != last)
        reply_drop(c, c->oldest_reply);
}

static void reply_keep(struct core *c, uint32_t session, struct reply *r,
                       const struct reply_item *item) {
    bool plain = item->code == 0 && !item->duplicate && item->count == 0 && item->id &&
                 (r->n == 0 || item->id == r->first_id + r->n);
    if (!r->items && plain) {
        if (r->n++ == 0)
            r->first_id = item->id;
        return;
    }
    materialise(c, session, r);
    r->items = mem_grow(r->items, r->n + 1, sizeof *r->items);
    r->items[r->n++] = *item;
    count_items(c, r, 1);
    replies_trim(c, r);
}

static void send_item(struct core *c, uint64_t link, enum verb verb, uint64_t sequence,
                      const struct reply_item *item, struct str text, uint64_t retry_after_ms,
                      uint64_t after) {
    if (verb == VERB_submit) {
        struct msg_submitted m = {0};
        MSG_SET(&m, submitted, code, item->code);
        if (item->id)
            MSG_SET(&m, submitted, id, item->id);
        if (item->duplicate)
            MSG_SET(&m, submitted, duplicate, true);
        if (text.len)
            MSG_SET(&m, submitted, text, text);
        if (retry_after_ms)
            MSG_SET(&m, submitted, retry_after_ms, retry_after_ms);
        send_to(c, link, VERB_submitted, sequence, &m, STR(""), after);
        return;
    }
    struct msg_outcome m = {0};
    MSG_SET(&m, outcome, code, item->code);
    MSG_SET(&m, outcome, count, item->count);
    if (item->id && verb == VERB_set_note)
        MSG_SET(&m, outcome, version, item->id);
    else if (item->id)
        MSG_SET(&m, outcome, id, item->id);
    if (text.len)
        MSG_SET(&m, outcome, text, text);
    if (item->flow)
        MSG_SET(&m, outcome, flow, true);
    c->fx.send(c->fx.ctx,
               &(struct letter){.link = link,
                                .verb = VERB_outcome,
                                .sequence = sequence,
                                .message = &m,
                                .after = after < c->durable ? 0 : after,
                                .in_parts = verb == VERB_purge_queue || verb == VERB_retry_job});
}

void answer_session(struct core *c, uint32_t si, uint64_t sequence, enum verb verb,
                    const struct reply_item *item, const struct err *e, uint64_t after) {
    struct session *s = session_at(c, si);
    struct reply *r = s->replies ? &s->replies[sequence % c->config.outstanding_max] : NULL;
    if (r && r->sequence == sequence && !r->dropped) {
        reply_keep(c, si, r, item);
        if (after > r->after)
            r->after = after;
    }
    send_item(c, s->link, verb, sequence, item, e ? str_of(e->text) : STR(""),
              e ? e->retry_after_ms : 0, after);
}

void answer(struct core *c, const struct reply_item *item, const struct err *e, uint64_t after) {
    answer_session(c, c->request.session_index, c->request.sequence, c->request.verb, item, e,
                   after);
}

static void answer_again(struct core *c, const struct session *s, const struct reply *r) {
    for (uint32_t n = 0; n < r->n; n++) {
        struct reply_item item =
            r->items ? r->items[n] : (struct reply_item){.id = r->first_id + n};
        struct str text = item.code ? str_of(err_code_text((enum err_code)item.code)) : STR("");
        send_item(c, s->link, r->verb, r->sequence, &item, text, 0, r->after);
    }
}

/* True: it is a new sequence, work on it. */
bool reply_open(struct core *c, struct session *s, uint64_t sequence, enum verb verb) {
    uint32_t most = c->config.outstanding_max;
    if (!s->replies)
        s->replies = mem_zalloc(most * sizeof *s->replies);
    struct reply *r = &s->replies[sequence % most];
    struct err e = {0};
    if (sequence == 0) {
        err_set(&e, ERR_BAD_VALUE, "sequence: 0, at least 1 for a request");
    } else if (r->sequence == sequence && !r->dropped && !MUTANT(repeat_not_known)) {
        answer_again(c, s, r);
        return false;
    } else if (r->sequence > sequence || (r->dropped && r->sequence == sequence) ||
               sequence + most <= s->highest || sequence < s->first) {
        err_set(&e, ERR_OLD_SEQUENCE, "sequence: %llu, but %llu was seen and %u answers are kept",
                (unsigned long long)sequence, (unsigned long long)s->highest, most);
    }
    if (e.code) {
        reply_error(c, s->link, sequence, &e);
        return false;
    }
    reply_clear(c, r);
    uint32_t share = c->config.replies_max / REPLY_SHARE;
    for (uint32_t n = 0; s->reply_items > share && n < most; n++)
        reply_drop(c, &s->replies[(sequence + 1 + n) % most]);
    r->sequence = sequence;
    r->verb = verb;
    if (sequence > s->highest)
        s->highest = sequence;
    return true;
}

/* ---- watches
 * ------------------------------------------------------------------------------------- */
uint32_t watch_find(const struct core *c, uint32_t i, uint32_t session) {
    const struct extra *x = job_extra(c, job_at(c, i));
    uint32_t w = x ? x->watchers : 0;
    while (w && ((const struct watch *)slab_at(&c->watches, w))->session != session)
        w = ((const struct watch *)slab_at(&c->watches, w))->job_next;
    return w;
}

void watch_link_session(struct core *c, uint32_t wi, uint32_t session) {
    struct watch *w = slab_at(&c->watches, wi);
    struct session *s = session_at(c, session);
    w->session = session;
    w->session_next = s->watches;
    if (s->watches)
        ((struct watch *)slab_at(&c->watches, s->watches))->session_prev = wi;
    s->watches = wi;
}

bool watch_add(struct core *c, uint32_t i, uint32_t session) {
    if (watch_find(c, i, session))
        return true;
    if (c->watches.used >= c->config.watches_max)
        return false;
    struct extra *x = job_need_extra(c, i);
    uint32_t wi = slab_take(&c->watches);
    struct watch *w = slab_at(&c->watches, wi);
    *w = (struct watch){.job = i, .job_next = x->watchers};
    watch_link_session(c, wi, session);
    x->watchers = wi;
    return true;
}

static void watch_unlink_session(struct core *c, uint32_t wi) {
    struct watch *w = slab_at(&c->watches, wi);
    if (w->session_prev)
        ((struct watch *)slab_at(&c->watches, w->session_prev))->session_next = w->session_next;
    else
        session_at(c, w->session)->watches = w->session_next;
    if (w->session_next)
        ((struct watch *)slab_at(&c->watches, w->session_next))->session_prev = w->session_prev;
}

static void watch_unlink_job(struct core *c, uint32_t wi) {
    struct watch *w = slab_at(&c->watches, wi);
    uint32_t *at = &job_extra(c, job_at(c, w->job))->watchers;
    while (*at != wi)
        at = &((struct watch *)slab_at(&c->watches, *at))->job_next;
    *at = w->job_next;
}

void watch_drop(struct core *c, uint32_t wi) {
    const struct watch *w = slab_at(&c->watches, wi);
    if (w->job) {
        stream_detach(c, slab_at(&c->watches, wi));
        watch_unlink_job(c, wi);
    } else {
        flow_unlink_watch(c, wi);
    }
    watch_unlink_session(c, wi);
    slab_give(&c->watches, wi);
}

void watch_tell(struct core *c, uint32_t i, struct str result, uint64_t after) {
    const struct job *j = job_at(c, i);
    struct extra *x = job_extra(c, j);
    if (!x || !x->watchers)
        return;
    struct msg_finished m = {0};
    MSG_SET(&m, finished, id, j->id);
    MSG_SET(&m, finished, state, j->state);
    MSG_SET(&m, finished, attempts, j->attempts);
    if (result.len)
        MSG_SET(&m, finished, size, result.len);
    if (x->failure && j->state != JOB_done) {
        MSG_SET(&m, finished, error, (uint64_t)x->failure->code);
        MSG_SET(&m, finished, text, str_make(x->failure->text, x->failure->len));
    }
    uint32_t own = job_flow(c, j);
    if (own && flow_at(c, own)->all.total)
        MSG_SET(&m, finished, flow, true);
    uint64_t epoch, seq;
    stream_position(c, i, &epoch, &seq);
    if (epoch) {
        MSG_SET(&m, finished, epoch, epoch);
        MSG_SET(&m, finished, seq, seq);
    }
    stream_forget_attached(c, i);
    while (x->watchers) {
        uint32_t wi = x->watchers;
        const struct watch *w = slab_at(&c->watches, wi);
        send_to(c, session_at(c, w->session)->link, VERB_finished, 0, &m, result,
                MUTANT(finished_before_commit) ? 0 : after);
        watch_unlink_session(c, wi);
        x->watchers = w->job_next;
        slab_give(&c->watches, wi);
    }
}

/* ---- coming and going
 * ---------------------------------------------------------------------------- */
void session_end(struct core *c, uint32_t si) {
    struct session *s = session_at(c, si);
    ASSERT(!s->worker);
    while (s->watches) {
        uint32_t flow = ((const struct watch *)slab_at(&c->watches, s->watches))->flow;
        bool stays = flow && flow_at(c, flow)->job;
        watch_drop(c, s->watches);
        if (stays)
            flow_unneeded(c, flow);
    }
    for (uint32_t n = 0; s->replies && n < c->config.outstanding_max; n++)
        items_free(c, &s->replies[n]);
    mem_free(s->replies);
    mem_free((void *)(uintptr_t)s->name.at);
    mem_free((void *)(uintptr_t)s->host.at);
    lhash_remove(&c->instance_index, si);
    lhash_remove(&c->link_index, si);
    slab_give(&c->sessions, si);
}

/* Whoever is silent listens to nothing; he is told to say HELLO when he speaks again. */
static void session_quiet(struct core *c, struct session *s) {
    s->quiet_ms = s->heard_ms + 1;
    for (uint32_t wi = s->watches; wi && !MUTANT(stream_silent_stay);) {
        struct watch *w = slab_at(&c->watches, wi);
        s->quiet |= w->streams;
        if (w->job)
            stream_detach(c, w);
        wi = w->session_next;
    }
}

void sessions_check(struct core *c) {
    uint64_t lease_ms = c->config.heartbeat_ms * c->config.missed_max;
    SLAB_EACH(i, &c->sessions) {
        struct session *s = session_at(c, i);
        bool silent = c->awake_ms - s->heard_ms > lease_ms;
        if (silent && s->watches && s->quiet_ms != s->heard_ms + 1)
            session_quiet(c, s);
        if (!s->worker && c->awake_ms - s->heard_ms > c->config.reply_keep_ms)
            session_end(c, i);
    }
}

void sessions_teardown(struct core *c) {
    SLAB_EACH(i, &c->workers)
    mem_free(worker_at(c, i)->kinds);
    SLAB_EACH(i, &c->sessions) {
        struct session *s = session_at(c, i);
        for (uint32_t n = 0; s->replies && n < c->config.outstanding_max; n++)
            mem_free(s->replies[n].items);
        mem_free(s->replies);
        mem_free((void *)(uintptr_t)s->name.at);
        mem_free((void *)(uintptr_t)s->host.at);
    }
    lhash_done(&c->instance_index);
    lhash_done(&c->link_index);
    slab_done(&c->sessions);
    slab_done(&c->watches);
    slab_done(&c->workers);
}

static uint32_t peers_max(const struct core *c, enum role role) {
    if (role == ROLE_WORKER)
        return c->config.workers_max;
    return c->config.sessions_max + (role == ROLE_OPERATOR ? OPERATORS_RESERVE : 0);
}

static int refuse_peer(const struct core *c, enum role role, struct err *e) {
    if (role == ROLE_WORKER)
        return err_set(e, ERR_BUSY, "%u workers are connected, the bound (broker.workers_max)",
                       c->config.workers_max);
    if (role == ROLE_OPERATOR)
        return err_set(
            e, ERR_BUSY,
            "%u clients (broker.clients_max) are connected, and %u operators beside them",
            c->config.sessions_max, OPERATORS_RESERVE);
    return err_set(e, ERR_BUSY,
                   "%u clients are connected, gateways and operators too: the bound "
                   "(broker.clients_max)",
                   c->config.sessions_max);
}

/* The peer that has been silent longest makes room for one of its sort: workers have one bound, all
 * others another. What is left of a worker that is gone makes room at once. */
static bool make_room(struct core *c, enum role role) {
    bool is_worker = role == ROLE_WORKER;
    uint32_t most = peers_max(c, role), used = 0, oldest = 0;
    if (c->sessions.used < most)
        return true;
    SLAB_EACH(i, &c->sessions) {
        const struct session *s = session_at(c, i);
        if ((s->role == ROLE_WORKER) != is_worker)
            continue;
        used++;
        uint64_t silent_ms = c->awake_ms - s->heard_ms;
        bool may_go =
            !s->worker && (is_worker || silent_ms > c->config.heartbeat_ms * c->config.missed_max);
        if (may_go && (!oldest || s->heard_ms < session_at(c, oldest)->heard_ms))
            oldest = i;
    }
    if (used < most)
        return true;
    if (!oldest)
        return false;
    session_end(c, oldest);
    return true;
}

static struct str own(struct str s) {
    if (!s.len)
        return (struct str){NULL, 0};
    return (struct str){memcpy(mem_alloc(s.len), s.at, s.len), s.len};
}

static uint32_t session_new(struct core *c, const struct msg_hello *m) {
    uint32_t si = slab_take(&c->sessions);
    struct session *s = session_at(c, si);
    memcpy(s->instance, m->instance.at, sizeof s->instance);
    s->link = c->request.link;
    s->role = c->request.role;
    rights_note(c, s);
    s->first = c->request.sequence; /* what was said before was said to another life of ours */
    s->name = own(m->name);
    s->host = own(m->host);
    s->pid = (uint32_t)m->pid;
    lhash_add(&c->instance_index, si);
    lhash_add(&c->link_index, si);
    return si;
}

/* A peer that came back on another link; its old one may still say things for a moment. */
static int rebind(struct core *c, uint32_t si, struct err *e) {
    struct session *s = session_at(c, si);
    if (s->link == c->request.link)
        return 0;
    if (s->old_link == c->request.link)
        return err_set(e, ERR_DUPLICATE_INSTANCE,
                       "another live peer uses this instance since it came after this one");
    lhash_remove(&c->link_index, si);
    s->old_link = s->link;
    s->link = c->request.link;
    s->notes = (struct note_telling){0}; /* what was under way on the other link is lost */
    lhash_add(&c->link_index, si);
    return 0;
}

static int check_hello(const struct core *c, const struct msg_hello *m, struct err *e) {
    if (m->version_min > 1 || m->version_max < 1)
        return err_set(e, ERR_BAD_VERSION, "hello: versions %llu to %llu, the broker speaks 1",
                       (unsigned long long)m->version_min, (unsigned long long)m->version_max);
    if (m->role != (uint64_t)c->request.role)
        return err_set(e, ERR_BAD_ROLE, "hello.role: %llu, this endpoint is for role %d",
                       (unsigned long long)m->role, (int)c->request.role);
    if (m->role == ROLE_WORKER && (m->kinds.n == 0 || !m->slots))
        return err_set(e, ERR_MISSING_FIELD, "hello: a worker names its kinds and slots");
    if (m->running.n % 2 || m->unacked.n % 2)
        return err_set(e, ERR_BAD_VALUE, "hello.running and hello.unacked hold pairs");
    return rights_check_kinds(c, m->kinds, e);
}

static void welcome_streams(const struct core *c, struct msg_welcome *m) {
    const struct core_config *k = &c->config;
    bool worker = c->request.role == ROLE_WORKER;
    const struct core_stream_socket *at = worker ? &k->stream_worker : &k->stream_reader;
    if (c->request.role == ROLE_CLIENT || !at->file)
        return;
    MSG_SET(m, welcome, stream, str_of(at->file));
    if (at->port)
        MSG_SET(m, welcome, stream_port, at->port);
    if (worker)
        MSG_SET(m, welcome, stream_max, k->stream_max);
}

static void welcome(struct core *c, uint64_t link) {
    const struct core_config *k = &c->config;
    struct msg_welcome m = {0};
    MSG_SET(&m, welcome, version, 1);
    MSG_SET(&m, welcome, epoch, c->epoch);
    MSG_SET(&m, welcome, heartbeat_ms, k->heartbeat_ms);
    MSG_SET(&m, welcome, missed_max, k->missed_max);
    MSG_SET(&m, welcome, items_max, k->items_max);
    MSG_SET(&m, welcome, bytes_max, k->bytes_max);
    MSG_SET(&m, welcome, body_max, k->body_max);
    MSG_SET(&m, welcome, result_max, k->result_max);
    MSG_SET(&m, welcome, outstanding_max, k->outstanding_max);
    welcome_streams(c, &m);
    send_to(c, link, VERB_welcome, c->request.sequence, &m, STR(""), 0);
}

static int hello(struct core *c, const struct msg_hello *m, struct err *e) {
    if (check_hello(c, m, e) < 0)
        return -1;
    uint32_t bound = session_by_link(c, c->request.link);
    uint32_t si = session_by_instance(c, m->instance);
    if (bound && bound != si)
        return err_set(e, ERR_DUPLICATE_INSTANCE, "this connection said hello as another instance");
    if (si && c->request.sequence < session_at(c, si)->hello_sequence)
        return 0; /* it came late: a newer one was answered */
    if (si && session_at(c, si)->role != c->request.role)
        return err_set(e, ERR_BAD_ROLE, "hello: this instance has another role");
    if (si && (rights_check_owner(c, session_at(c, si), e) < 0 || rebind(c, si, e) < 0))
        return -1;
    bool is_worker = m->role == ROLE_WORKER;
    bool is_new = is_worker && !(si && session_at(c, si)->worker);
    if ((!si && !make_room(c, c->request.role)) ||
        (is_new && c->workers.used >= c->config.workers_max))
        return refuse_peer(c, c->request.role, e);
    if (!si)
        si = session_new(c, m);
    bool repeated = session_at(c, si)->hello_sequence == c->request.sequence;
    session_at(c, si)->hello_sequence = c->request.sequence;
    session_at(c, si)->heard_ms = c->awake_ms;
    session_at(c, si)->quiet = false;
    welcome(c, c->request.link);
    if (MSG_HAS(m, hello, notes))
        notes_tell(c, si, m->notes);
    if (is_worker && !(repeated && session_at(c, si)->worker))
        worker_hello(c, si, m);
    return 0;
}

void on_hello(struct core *c, const void *message, struct str payload) {
    struct err e = {0};
    (void)payload;
    if (hello(c, message, &e) < 0)
        reply_error(c, c->request.link, c->request.sequence, &e);
}
