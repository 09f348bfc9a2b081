/* What peers say, from several connections, mixed with time, commits, trouble and kills.
 *
 * An input is a list of steps, each a letter and its operands (a byte unless said otherwise; what
 * is missing is 0): m   a message: link, verb, seed (0: only what is required), n; then n % 16
 * pairs (field, value) that decide fields of its first item. It has 1 + n / 16 items. q   the next
 * message's sequence: below 128 one so far back, else an extreme one e   damage to the next
 * message: n, then n % 8 times (frame, place, value) p   how many frames the next message has f   a
 * message as it is: link, lengths of head (1), body (2) and payloads (1), the three r   the last
 * message once more, from: link t   time passes to the next turn: (value & 15) << (value >> 4) ms w
 * likewise, and the wall clock jumps: by a signed number of minutes n   the next turn c   the
 * journal commits, and the next turn o   room in the journal x   the disk is gone k   the broker is
 * killed and starts again Four links have said HELLO before the first step. */
#include "common/base/check.h"
#include "common/base/id.h"
#include "common/log/log.h"
#include "tests/fuzz/protocol_world.h"
#include "tests/support/message_maker.h"

#define INPUT_MAX   4096U
#define STEPS_MAX   256U
#define KILLS_MAX   4U /* a start costs as much as many steps */
#define ARENA_BYTES (1U << 20)
#define LINKS       8U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct damage {
    uint8_t frame, place, value;
};

/* What the next message shall be. */
struct plan {
    uint8_t sequence_choice;
    bool sequence_chosen, count_chosen;
    size_t payload_bytes; /* 0: a short one, as it comes */
    unsigned count, damages;
    struct damage damage[8];
};

struct fuzz {
    struct world world;
    struct str in;
    struct plan plan;
    unsigned kills;
    struct arena *arena;
    struct frame_out frame; /* the last message */
};

static uint8_t take(struct fuzz *f) {
    if (!f->in.len)
        return 0;
    uint8_t b = (uint8_t)f->in.at[0];
    f->in = str_make(f->in.at + 1, f->in.len - 1);
    return b;
}

static struct str take_bytes(struct fuzz *f, size_t n) {
    if (n > f->in.len)
        n = f->in.len;
    struct str s = str_make(f->in.at, n);
    f->in = str_make(f->in.at + n, f->in.len - n);
    return s;
}

/* ---- links ------------------------------------------------------------------------------------
 */
/* Two of each role; 255 is one with a routing id of its own choice. */
static uint64_t link_of(uint8_t b) {
    uint64_t role = 1 + (b & 3), number = 1 + (b >> 2 & 1);
    return b == 255 ? 0 : role << 32 | number;
}

static struct str instance_of(struct fuzz *f, uint8_t b) {
    char *at = arena_alloc(f->arena, 16);
    memset(at, 'A' + b % LINKS, 16);
    return str_make(at, 16);
}

/* ---- fields: what the world knows, chosen by a byte -------------------------------------------
 */
static bool is(const struct field_def *d, const char *name) {
    return strcmp(d->name, name) == 0;
}

static struct str name_of(uint8_t v) {
    static const char *const names[] = {"a", "b", "default", "c", "d"};
    return str_of(names[v % 5]);
}

static uint64_t within(const struct field_def *d, uint64_t n) {
    return n < d->min ? d->min : n > d->max ? d->max : n;
}

static uint64_t number_of(const struct field_def *d, uint8_t v) {
    static const uint64_t numbers[] = {0,   1,    2,    3,    5,     10,    20,     50,
                                       100, 1000, 2000, 5000, 10000, 60000, 600000, 86400000};
    if (v >= 254)
        return v == 255 ? d->max : d->min;
    return numbers[v % 16];
}

static struct attempt attempt_of(const struct world *w, uint8_t v) {
    uint32_t n = w->n_given < WORLD_SEEN ? w->n_given : WORLD_SEEN;
    return n ? w->given[v % n] : (struct attempt){1, 1};
}

static uint64_t id_of(const struct world *w, const struct field_def *d, uint8_t v) {
    uint32_t n = w->n_ids < WORLD_SEEN ? w->n_ids : WORLD_SEEN;
    if (v < 240 && is(d, "fence"))
        return attempt_of(w, v).fence;
    if (v < 240 && is(d, "job"))
        return attempt_of(w, v).job;
    return n && v < 240 ? w->ids[v % n] : v;
}

static uint64_t uint_of(const struct fuzz *f, uint64_t link, const struct field_def *d, uint8_t v) {
    if (is(d, "epoch"))
        return core_epoch(f->world.core) + (v >= 250);
    if (is(d, "if_version") || is(d, "notes")) /* of a note */
        return v < 32 ? 0 : id_make(core_epoch(f->world.core), v % 32) + (v >= 250);
    if (is(d, "role"))
        return v < 240 ? peers_role(link) : 1 + v % 4;
    if (is(d, "version_min"))
        return 1 + (v >= 250);
    if (is(d, "version_max"))
        return v < 240 ? 1 : v - 239;
    if (is(d, "run_at_ms"))
        return v < 250 ? f->world.wall + number_of(d, v) : number_of(d, v);
    return number_of(d, v);
}

static struct uint_list attempts_of(struct fuzz *f, uint8_t v) {
    size_t n = v % 8;
    uint64_t *at = arena_alloc(f->arena, 16 * sizeof *at);
    for (size_t i = 0; i < n; i++) {
        struct attempt a = attempt_of(&f->world, (uint8_t)(v / 8 + i));
        at[2 * i] = a.job;
        at[2 * i + 1] = a.fence;
    }
    return (struct uint_list){at, 2 * n - (n && v > 247)};
}

static struct str_list names_of(struct fuzz *f, uint8_t v) {
    struct str *at = arena_alloc(f->arena, 4 * sizeof *at);
    for (uint8_t i = 0; i < 4; i++)
        at[i] = name_of((uint8_t)(v / 4 + i));
    return (struct str_list){at, 1 + v % 4};
}

/* Bytes and maps stay as they were made. */
static void set_field(struct fuzz *f, uint64_t link, const struct field_def *d, void *msg,
                      uint8_t v) {
    void *slot = (char *)msg + d->offset;
    switch ((enum field_type)d->type) {
    case FIELD_BOOL:
        *(bool *)slot = v & 1;
        break;
    case FIELD_UINT:
        *(uint64_t *)slot = within(d, uint_of(f, link, d, v));
        break;
    case FIELD_ID:
        *(uint64_t *)slot = within(d, id_of(&f->world, d, v));
        break;
    case FIELD_NAME:
    case FIELD_TEXT:
        *(struct str *)slot = name_of(v);
        break;
    case FIELD_INSTANCE:
        *(struct str *)slot =
            instance_of(f, v < 128 ? (uint8_t)((link >> 32) + (link & 1) * 4) : v);
        break;
    case FIELD_NAMES:
        *(struct str_list *)slot = names_of(f, v);
        break;
    case FIELD_UINTS:
        *(struct uint_list *)slot = attempts_of(f, v);
        break;
    default:
        break;
    }
    *(uint64_t *)msg |= 1ULL << d->number;
}

/* ---- messages ---------------------------------------------------------------------------------
 */
/* The verb of that number or the next one; the broker's too, for a peer may try. */
static const struct verb_def *verb_of(uint8_t b) {
    uint64_t number = b % 128;
    while (!verb_def(number))
        number = (number + 1) % 128;
    return verb_def(number);
}

static uint64_t sequence_of(struct fuzz *f) {
    static const uint64_t extremes[] = {0, 1, UINT32_MAX, UINT64_MAX, UINT64_MAX - 15, 1ULL << 63};
    struct world *w = &f->world;
    uint8_t choice = f->plan.sequence_choice;
    if (!f->plan.sequence_chosen)
        return ++w->sequence;
    if (choice < 128)
        return w->sequence > choice ? w->sequence - choice : 1;
    return extremes[choice % 6];
}

static void make_item(struct fuzz *f, uint64_t link, const struct msg_def *def, struct rng *r,
                      bool plain, void *msg) {
    message_make(def, r, plain ? 0 : 250000, f->arena, msg);
    if (!plain && rng_below(r, 8) == 0) /* as it is, bounds and all */
        return;
    uint8_t v = (uint8_t)rng_below(r, 128);
    for (unsigned i = 0; i < def->n; i++)
        if (*(const uint64_t *)msg >> def->fields[i].number & 1)
            set_field(f, link, &def->fields[i], msg,
                      def->fields[i].type == FIELD_ID ? v : (uint8_t)rng_below(r, 128));
    if (def->id == MSG_hello && peers_role(link) == ROLE_WORKER) {
        MSG_SET((struct msg_hello *)msg, hello, kinds, names_of(f, 3));
        MSG_SET((struct msg_hello *)msg, hello, slots, 2);
    }
}

static struct str make_payload(struct fuzz *f, const struct msg_def *def, struct rng *r, void *msg,
                               size_t bytes) {
    struct str payload = message_make_payload(def, r, msg, f->arena);
    if (!bytes || !def->size_at)
        return payload;
    char *at = arena_alloc(f->arena, bytes);
    memset(at, 'p', bytes);
    *(uint64_t *)(void *)((char *)msg + msg_field(def, def->size_at)->offset) = bytes;
    return str_make(at, bytes);
}

/* Random text of an item lives until the message is made. */
static void make_message(struct fuzz *f, uint64_t link, const struct verb_def *verb, uint8_t seed,
                         uint8_t n) {
    const struct msg_def *def = msg_def(verb->message);
    struct rng r = rng_seed(seed);
    arena_reset(f->arena);
    frame_begin(&f->frame, verb->verb, sequence_of(f));
    for (unsigned i = 0; i < 1U + n / 16; i++) {
        union msg_any m;
        make_item(f, link, def, &r, !seed, &m);
        for (unsigned k = 0; i == 0 && k < n % 16; k++) {
            const struct field_def *d = &def->fields[take(f) % def->n];
            set_field(f, link, d, &m, take(f));
        }
        struct str payload = make_payload(f, def, &r, &m, i ? 0 : f->plan.payload_bytes);
        bool parent = def->children_at && (def->required >> def->children_at & 1);
        if (parent)
            message_set_children(def, 1, &m);
        if (frame_add_payload(&f->frame, &m, payload, STR("")) < 0)
            return;
        struct msg_submit child = {0};
        MSG_SET(&child, submit, kind, STR("plain"));
        if (parent && frame_add_child(&f->frame, &child, STR("")) < 0)
            return;
    }
}

static void part_of(zmq_msg_t *part, struct str bytes) {
    int rc = zmq_msg_init_size(part, bytes.len);
    ASSERT(rc == 0);
    if (bytes.len)
        memcpy(zmq_msg_data(part), bytes.at, bytes.len);
}

static void damage(const struct plan *plan, struct buf *const frames[PEERS_PARTS]) {
    for (unsigned i = 0; i < plan->damages; i++) {
        const struct damage *d = &plan->damage[i];
        struct buf *b = frames[d->frame % PEERS_PARTS];
        if (b->len)
            b->at[d->place % b->len] = (char)d->value;
    }
}

static void give(struct fuzz *f, uint64_t link, enum role role) {
    struct buf *const frames[] = {&f->frame.head, &f->frame.body, &f->frame.payloads};
    struct parcel in = {.link = link, .role = role};
    damage(&f->plan, frames);
    in.count = f->plan.count_chosen ? f->plan.count : f->frame.payloads.len ? 3 : 2;
    zmq_msg_init(&in.routing);
    for (unsigned n = 0; n < in.count && n < PEERS_PARTS; n++)
        part_of(&in.parts[n], buf_str(frames[n]));
    world_message(&f->world, &in);
    parcel_done(&in);
    f->plan = (struct plan){0};
}

/* ---- steps ------------------------------------------------------------------------------------
 */
static void step_message(struct fuzz *f) {
    uint8_t from = take(f), verb = take(f), seed = take(f), n = take(f);
    make_message(f, link_of(from), verb_of(verb), seed, n);
    give(f, link_of(from), (enum role)(1 + (from & 3)));
}

static void step_frames(struct fuzz *f) {
    uint8_t from = take(f);
    size_t head = take(f), body = take(f);
    body = body << 8 | take(f);
    size_t payloads = take(f);
    struct buf *const frames[] = {&f->frame.head, &f->frame.body, &f->frame.payloads};
    const size_t lengths[] = {head, body, payloads};
    for (unsigned n = 0; n < PEERS_PARTS; n++) {
        buf_clear(frames[n]);
        buf_put_str(frames[n], take_bytes(f, lengths[n]));
    }
    give(f, link_of(from), (enum role)(1 + (from & 3)));
}

static void step_again(struct fuzz *f) {
    uint8_t from = take(f);
    give(f, link_of(from), (enum role)(1 + (from & 3)));
}

static void step_sequence(struct fuzz *f) {
    f->plan.sequence_chosen = true;
    f->plan.sequence_choice = take(f);
}

static void step_payload(struct fuzz *f) {
    f->plan.payload_bytes = take(f) * (size_t)256;
}

static void step_damage(struct fuzz *f) {
    f->plan.damages = take(f) % 8;
    for (unsigned i = 0; i < f->plan.damages; i++) {
        f->plan.damage[i].frame = take(f);
        f->plan.damage[i].place = take(f);
        f->plan.damage[i].value = take(f);
    }
}

static void step_count(struct fuzz *f) {
    f->plan.count_chosen = true;
    f->plan.count = take(f) % 6;
}

static void step_time(struct fuzz *f) {
    uint8_t v = take(f);
    world_turn(&f->world, (uint64_t)(v & 15) << (v >> 4), 0);
}

static void step_wall(struct fuzz *f) {
    world_turn(&f->world, 1, (int64_t)(int8_t)take(f) * 60000);
}

static void step(struct fuzz *f) {
    switch (take(f)) {
    case 'm':
        step_message(f);
        break;
    case 'q':
        step_sequence(f);
        break;
    case 'e':
        step_damage(f);
        break;
    case 'b':
        step_payload(f);
        break;
    case 'p':
        step_count(f);
        break;
    case 'f':
        step_frames(f);
        break;
    case 'r':
        step_again(f);
        break;
    case 't':
        step_time(f);
        break;
    case 'w':
        step_wall(f);
        break;
    case 'c':
        world_commit(&f->world);
        world_turn(&f->world, 0, 0);
        break;
    case 'n':
        world_turn(&f->world, 0, 0);
        break;
    case 'o':
        world_room(&f->world, (enum core_room)(take(f) % (CORE_FULL + 1)));
        break;
    case 'x':
        world_fail(&f->world);
        break;
    case 'k':
        if (f->kills++ < KILLS_MAX)
            world_kill(&f->world);
        break;
    default:
        break;
    }
    core_check(f->world.core);
}

/* One link of each role. */
static void say_hello(struct fuzz *f) {
    for (uint8_t from = 0; from < 4; from++) {
        make_message(f, link_of(from), verb_def(VERB_hello), 0, 0);
        give(f, link_of(from), (enum role)(1 + from));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > INPUT_MAX)
        return 0;
    log_open("fuzz_protocol", -1); /* nobody reads what it logs */
    log_set(LOG_LEVEL_error, LOG_FORMAT_json);
    struct fuzz f = {
        .in = str_make(data, size), .arena = arena_new(ARENA_BYTES), .frame = FRAME_OUT};
    world_open(&f.world);
    say_hello(&f);
    for (unsigned n = 0; f.in.len && n < STEPS_MAX; n++)
        step(&f);
    for (unsigned n = 0; n < 3; n++) { /* what waits is heard of, and checked */
        world_commit(&f.world);
        world_turn(&f.world, 1000, 0);
    }
    world_close(&f.world);
    frame_destroy(&f.frame);
    arena_destroy(&f.arena);
    return 0;
}
