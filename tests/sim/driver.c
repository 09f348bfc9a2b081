/* The broker process: inbox, turns, letters that wait for the disk, crash and restart. */
#include "tests/sim/sim.h"

#include "common/base/id.h"
#include "common/base/mem.h"

/* ---- effects
 * ------------------------------------------------------------------------------------- */
static void on_group(void *ctx, uint32_t bytes) {
    disk_group(ctx, bytes);
}

static uint64_t on_append(void *ctx, const struct record *r, uint32_t *bytes) {
    struct sim *s = ctx;
    uint64_t pos = disk_append(s, r, bytes);
    if (r->state)
        sim_say(s, "  job %s: %s version %llu fence %llx", id_show(r->state->id).at,
                job_state_name(r->state->state), (unsigned long long)r->state->version,
                (unsigned long long)r->state->fence);
    observe_append(s, r, pos);
    return pos;
}

static void on_release(void *ctx, uint64_t pos, uint32_t bytes) {
    disk_release(ctx, pos, bytes);
}

static void on_load(void *ctx, uint64_t pos, uint32_t bytes, uint64_t token) {
    struct sim *s = ctx;
    struct broker_sim *b = &s->broker;
    const struct log_row *row = disk_find(&s->disk, pos);
    if (!row || row->gone || row->bytes != bytes)
        sim_fail(s, "a record that is not there is to be read (position %llu)",
                 (unsigned long long)pos);
    if (b->loads_n == b->loads_size) {
        b->loads_size = b->loads_size ? b->loads_size * 2 : 64;
        b->loads = mem_grow(b->loads, b->loads_size * 2, sizeof *b->loads);
    }
    b->loads[b->loads_n * 2] = token;
    b->loads[b->loads_n * 2 + 1] = (uint64_t)(row - s->disk.rows);
    b->loads_n++;
    sim_at(s, s->now + rng_below(&s->rng, 4), SIM_LOADED, (b->life << 32) | token, NULL);
}

static void out_close(struct sim *s) {
    struct broker_sim *b = &s->broker;
    if (!b->out_open)
        return;
    b->out_open = false;
    struct packet *p = packet_new(b->out_link, false, ROLE_NONE, &b->out);
    if (b->held_n == b->held_size) {
        b->held_size = b->held_size ? b->held_size * 2 : 64;
        b->held = mem_grow(b->held, b->held_size, sizeof *b->held);
    }
    b->held[b->held_n++] = (struct held){p, b->out_after};
}

static void on_send(void *ctx, const struct letter *l) {
    struct sim *s = ctx;
    struct broker_sim *b = &s->broker;
    sim_say(s, "  -> link %llu %s", (unsigned long long)l->link, verb_def(l->verb)->name);
    observe_letter(s, l);
    if (l->verb == VERB_note_info && l->message)
        notes_told(s, l->message);
    bool joins = l->sequence || l->verb == VERB_note_info;
    bool same = b->out_open && b->out_link == l->link && joins && b->out.verb->verb == l->verb &&
                b->same_sequence == l->sequence;
    if (!same) {
        out_close(s);
        frame_begin(&b->out, l->verb, l->sequence);
        b->out_open = true;
        b->out_link = l->link;
        b->out_after = 0;
        b->same_sequence = l->sequence;
    }
    if (l->message && frame_add_payload(&b->out, l->message, l->payload, l->payload2) < 0)
        sim_fail(s, "a letter does not fit its frame");
    if (l->after > b->out_after)
        b->out_after = l->after;
}

static void on_event(void *ctx, const struct event *e) {
    struct sim *s = ctx;
    sim_say(s, "event %d job %llx: " STR_FMT, (int)e->what, (unsigned long long)e->job,
            STR_ARG(e->text));
    if (e->what == EVENT_worker_lost)
        observe_lost_worker(s, e->text);
}

static uint64_t on_token(void *ctx, uint64_t fence) {
    return model_token(ctx, fence);
}

static void on_stream(void *ctx, const struct stream_order *o) {
    model_order(ctx, o);
}

/* "N": whenever the wall clock's milliseconds are a multiple of N. */
static int on_due(void *ctx, const struct due_rule *rule, uint64_t after_ms, uint64_t *due_ms,
                  struct err *e) {
    uint64_t every = 0;
    (void)ctx;
    bool number = rule->cron.len < 10;
    for (size_t k = 0; k < rule->cron.len && number; k++) {
        number = rule->cron.at[k] >= '0' && rule->cron.at[k] <= '9';
        every = every * 10 + (uint64_t)(rule->cron.at[k] - '0');
    }
    if (!number || !every)
        return err_set(e, ERR_BAD_VALUE, "cron: not one of this test");
    *due_ms = (after_ms / every + 1) * every;
    return 0;
}

/* ---- life
 * ---------------------------------------------------------------------------------------- */
static struct core_config config_of(const struct sim *s) {
    struct core_config k = core_config_default();
    k.heartbeat_ms = 200;
    k.aging_wait_ms = 1500;
    k.aging_share = 4;
    k.cancel_grace_ms = 400;
    k.kill_grace_ms = 800;
    k.attempts_max = 4;
    k.backoff_ms = 50;
    k.backoff_max_ms = 1000;
    k.timeout_ms = 4000;
    k.window_jobs = 2 + (uint32_t)(s->seed % 5);
    k.outstanding_max = 64;
    if (sim_few_names(s))
        k.queues_max = 7;
    /* By number alone: the wall clock here jumps over days. */
    k.done_age_ms = k.dead_age_ms = UINT64_MAX;
    k.done_jobs = k.dead_jobs = s->seed % 4 == 0 ? 20 : 1000;
    k.dead_groups_max = s->seed % 5 == 0 ? 2 : 1000;
    k.seed = s->seed;
    return k;
}

static void set_wide(const struct sim *s, struct core *c) {
    struct limit_config wide = {.tenant_concurrency = s->broker.wide_share};
    core_set_queue(c, STR("wide"), &wide, false);
}

static void declare(const struct sim *s, struct core *c) {
    static const struct {
        const char *name;
        bool speculative, streams;
    } kinds[] = {{"plain", false, false}, {"quick", true, false}, {"talk", true, true}};
    for (size_t k = 0; k < 3; k++) {
        struct msg_kind_info m = {0};
        MSG_SET(&m, kind_info, kind, str_of(kinds[k].name));
        MSG_SET(&m, kind_info, speculative, kinds[k].speculative);
        MSG_SET(&m, kind_info, streams, kinds[k].streams);
        struct str may_spawn[] = {STR("plain"), STR("quick")};
        core_set_kind(c, &m);
        core_set_may_spawn(c, m.kind, &(struct str_list){may_spawn, 2});
    }
    struct limit_config tight = {.concurrency = 2};
    core_set_queue(c, STR("tight"), &tight, false);
    struct limit_config slow = {.rate_count = 10, .rate_per_ms = 1000, .burst = 3};
    core_set_queue(c, STR("slow"), &slow, false);
    set_wide(s, c);
    struct limit_config poor = {.concurrency = 1, .weight = 1};
    core_set_tenant(c, STR("poor"), &poor);
    struct limit_config rich = {.weight = 2};
    core_set_tenant(c, STR("rich"), &rich);
    core_set_pool(c, STR("pool"), SIM_WORKERS, SIM_WORKERS * 4);
}

void broker_start(struct sim *s) {
    struct broker_sim *b = &s->broker;
    struct core_config k = config_of(s);
    struct effects fx = {.ctx = s,
                         .append = on_append,
                         .due = on_due,
                         .group = on_group,
                         .release = on_release,
                         .load = on_load,
                         .send = on_send,
                         .event = on_event,
                         .token = on_token,
                         .stream = on_stream};
    s->disk.group_bytes = s->disk.group_used = 0;
    b->core = core_new(&k, &fx);
    b->life++;
    b->started_at = s->now;
    b->down_until = 0;
    sim_say(s, "broker starts, life %llu", (unsigned long long)b->life);
    core_begin(b->core, (struct mono){s->now + 1}, sim_wall(s));
    declare(s, b->core);
    disk_replay(s);
    core_start(b->core, (struct mono){s->now + 1}, sim_wall(s));
    observe_restart(s);
    broker_wake(s);
}

void broker_reload(struct sim *s) {
    struct broker_sim *b = &s->broker;
    b->wide_share = rng_below(&s->rng, 4);
    sim_say(s, "the file says that queue wide runs %u jobs of a tenant", b->wide_share);
    if (!b->core || b->frozen)
        return; /* it reads the file when it starts, or not at all */
    set_wide(s, b->core);
    broker_wake(s);
}

static void forget_all(struct sim *s) {
    struct broker_sim *b = &s->broker;
    for (uint32_t k = 0; k < b->inbox_n; k++)
        packet_free(b->inbox[k]);
    for (uint32_t k = 0; k < b->held_n; k++)
        packet_free(b->held[k].packet);
    b->inbox_n = b->held_n = b->loads_n = 0;
    b->out_open = false;
    core_destroy(&b->core);
}

void broker_crash(struct sim *s) {
    struct broker_sim *b = &s->broker;
    if (!b->core)
        return;
    sim_say(s, "broker crashes");
    forget_all(s);
    model_done(s);
    b->frozen = false;
    b->turn_due = false;
    b->life++;
    disk_crash(s);
}

void broker_done(struct sim *s) {
    forget_all(s);
    mem_free(s->broker.inbox);
    mem_free(s->broker.held);
    mem_free(s->broker.loads);
    frame_destroy(&s->broker.out);
}

/* ---- turns
 * --------------------------------------------------------------------------------------- */
static void turn_at(struct sim *s, uint64_t when) {
    struct broker_sim *b = &s->broker;
    if (b->turn_due && b->turn_at <= when)
        return;
    b->turn_due = true;
    b->turn_at = when;
    sim_at(s, when, SIM_TURN, b->life, NULL);
}

void broker_wake(struct sim *s) {
    if (s->broker.core && !s->broker.frozen)
        turn_at(s, s->now);
}

void broker_receive(struct sim *s, struct packet *p) {
    struct broker_sim *b = &s->broker;
    if (!b->core) {
        packet_free(p);
        return;
    }
    /* What comes before the hello of a new connection is nobody's sign of life. */
    for (uint32_t i = 0; i < SIM_WORKERS && session_by_link(b->core, p->link); i++)
        if (s->workers[i].link == p->link)
            s->workers[i].delivered_at = s->now;
    if (b->inbox_n == b->inbox_size) {
        b->inbox_size = b->inbox_size ? b->inbox_size * 2 : 64;
        b->inbox = mem_grow(b->inbox, b->inbox_size, sizeof(struct packet *));
    }
    b->inbox[b->inbox_n++] = p;
    broker_wake(s);
}

static void open_packet(struct sim *s, const struct packet *p, struct arena *arena) {
    struct core *c = s->broker.core;
    struct frame_in in;
    struct err e = {0};
    if (frame_open(&in, str_make(p->bytes, p->head), str_make(p->bytes + p->head, p->body),
                   str_make(p->bytes + p->head + p->body, p->payloads), &e) < 0)
        sim_fail(s, "a frame of ours cannot be opened: %s", e.text);
    out_close(s); /* a repeated request must get a frame of its own */
    if (!core_request(c, p->link, p->role, in.verb->verb, in.sequence)) {
        out_close(s);
        return;
    }
    union msg_any m;
    struct frame_item item;
    int rc;
    while ((rc = frame_next(&in, &m, arena, &item, &e)) != 0) {
        if (rc < 0)
            sim_fail(s, "an item of ours cannot be read: %s", e.text);
        struct core_child children[BROOD_MAX];
        uint32_t n = item.children;
        for (uint32_t k = 0; k < n; k++) {
            struct frame_item child;
            frame_next(&in, &children[k].m, arena, &child, &e);
            children[k].payload = child.payload;
        }
        if (n)
            core_children(c, children, n);
        if (in.verb->verb == VERB_result)
            observe_result(s, &m.result);
        if (in.verb->verb == VERB_set_note)
            notes_heard(s, &m.set_note);
        core_item(c, &m, item.payload, NULL);
        observe_result(s, NULL);
    }
    core_request_end(c);
}

static void take_inbox(struct sim *s) {
    struct broker_sim *b = &s->broker;
    AUTO_ARENA arena = arena_new(1U << 20);
    for (uint32_t k = 0; k < b->inbox_n; k++) {
        open_packet(s, b->inbox[k], arena);
        packet_free(b->inbox[k]);
        b->inbox[k] = NULL; /* a broken rule may end the run in the middle */
        arena_reset(arena);
    }
    b->inbox_n = 0;
}

static void let_go(struct sim *s) {
    struct broker_sim *b = &s->broker;
    uint64_t durable = disk_durable_pos(&s->disk);
    uint32_t kept = 0;
    for (uint32_t k = 0; k < b->held_n; k++) {
        if (b->held[k].after && b->held[k].after >= durable)
            b->held[kept++] = b->held[k];
        else
            net_send(s, b->held[k].packet);
    }
    b->held_n = kept;
}

void broker_turn(struct sim *s) {
    struct broker_sim *b = &s->broker;
    b->turn_due = false;
    core_begin(b->core, (struct mono){s->now + 1}, sim_wall(s));
    core_durable(b->core, disk_durable_pos(&s->disk));
    take_inbox(s);
    disk_clean(s);
    core_end(b->core, true);
    out_close(s);
    disk_commit(s);
    let_go(s);
    if (rng_below(&s->rng, 8) == 0)
        core_check(b->core);
    observe_turn(s);
    uint64_t next = core_next(b->core).ms - 1;
    turn_at(s, next > s->now ? next : s->now + 1);
}

void broker_loaded(struct sim *s, uint64_t who) {
    struct broker_sim *b = &s->broker;
    if (!b->core || who >> 32 != b->life || b->frozen) {
        if (b->core && who >> 32 == b->life) /* it waits for us to wake */
            sim_at(s, s->now + 5, SIM_LOADED, who, NULL);
        return;
    }
    uint64_t token = who & UINT32_MAX;
    uint32_t k = 0;
    while (k < b->loads_n && b->loads[k * 2] != token)
        k++;
    if (k == b->loads_n)
        sim_fail(s, "a load came back that nobody asked for");
    struct log_row row = s->disk.rows[b->loads[k * 2 + 1]];
    b->loads_n--;
    b->loads[k * 2] = b->loads[b->loads_n * 2];
    b->loads[k * 2 + 1] = b->loads[b->loads_n * 2 + 1];
    struct record_room room;
    struct record r;
    struct err e = {0};
    if (record_open((uint8_t)row.type, str_make(row.body, row.len), &room, &r, &e) < 0)
        sim_fail(s, "a record cannot be loaded: %s", e.text);
    core_begin(b->core, (struct mono){s->now + 1}, sim_wall(s));
    core_loaded(b->core, token, &r);
    broker_said(s);
}

void broker_said(struct sim *s) {
    out_close(s);
    broker_wake(s);
}
