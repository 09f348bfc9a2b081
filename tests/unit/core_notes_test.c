/* Notes: who may set what, when it is told to whom, and when it ends. A peer of these tests has a
 * copy of the notes as a worker has. */
#include "common/base/id.h"
#include "common/wire/codec.h"
#include "common/wire/note_table.h"
#include "tests/unit/core_world.h"

#include <stdio.h>

#define BEAT_MS  1000
#define LEASE_MS 3000

struct peer {
    uint64_t link;
    enum role role;
    struct note_table *copy;
    uint32_t read; /* letters that it has had */
    uint32_t heard;
};

static struct peer peer_new(struct world *w, uint64_t link, enum role role) {
    struct peer p = {.link = link, .role = role, .copy = note_table_new()};
    world_begin(w, 1);
    world_hello(w, link, role, 4);
    world_end(w);
    p.read = w->n;
    return p;
}

static void peer_done(struct peer *p) {
    note_table_destroy(&p->copy);
}

/* It reads what came since it last did; how many changes that were. */
static uint32_t peer_reads(struct world *w, struct peer *p) {
    p->heard = 0;
    for (; p->read < w->n; p->read++) {
        const struct seen *s = &w->letters[p->read];
        struct msg_note_info m = {.name = str_of(s->text),
                                  .value = str_of(s->reason),
                                  .version = s->id,
                                  .behind = s->holder,
                                  .left_ms = s->state};
        if (s->verb != VERB_note_info || s->link != p->link || s->sequence)
            continue;
        note_table_take(p->copy, (struct mono){w->now}, &m);
        p->heard++;
    }
    return p->heard;
}

static void peer_loses(struct world *w, struct peer *p) {
    p->read = w->n;
}

static void peer_beats(struct world *w, const struct peer *p, uint64_t later_ms) {
    struct msg_heartbeat m = {0};
    MSG_SET(&m, heartbeat, epoch, core_epoch(w->core));
    MSG_SET(&m, heartbeat, notes, note_table_version(p->copy));
    world_begin(w, later_ms);
    world_say(w, p->link, p->role, VERB_heartbeat, &m);
    world_end(w);
}

/* A heartbeat and its answer. */
static uint32_t peer_hears(struct world *w, struct peer *p) {
    peer_beats(w, p, BEAT_MS);
    return peer_reads(w, p);
}

static const char *value_of(const struct world *w, const struct peer *p, const char *name) {
    static char value[32];
    const struct note_entry *n = note_table_find(p->copy, (struct mono){w->now}, str_of(name));
    snprintf(value, sizeof value, STR_FMT, n ? (int)n->value.len : 1, n ? n->value.at : "-");
    return value;
}

static struct msg_set_note note(const char *name, const char *value, uint64_t for_ms) {
    struct msg_set_note m = {0};
    MSG_SET(&m, set_note, name, str_of(name));
    MSG_SET(&m, set_note, value, str_of(value));
    MSG_SET(&m, set_note, for_ms, for_ms);
    return m;
}

static struct seen set_by(struct world *w, const struct peer *p, struct msg_set_note m) {
    world_ask(w, p->link, p->role, VERB_set_note, &m);
    return world_last(w, VERB_outcome);
}

static uint64_t set(struct world *w, const struct peer *p, const char *name, const char *value,
                    uint64_t for_ms) {
    return set_by(w, p, note(name, value, for_ms)).code;
}

static uint32_t listed(struct world *w, uint64_t link, enum role role, const char *name) {
    struct msg_get_status m = {0};
    uint32_t before = world_count(w, VERB_note_info);
    if (name)
        MSG_SET(&m, get_status, name, str_of(name));
    world_ask(w, link, role, VERB_list_notes, &m);
    return world_count(w, VERB_note_info) - before - 1;
}

/* ---- telling -------------------------------------------------------------------------------- */
static void a_change_is_told_with_the_next_heartbeat(void **state) { /* P-99, P-101 */
    struct world *w = *state;
    struct peer a = peer_new(w, 9, ROLE_WORKER), b = peer_new(w, 10, ROLE_GATEWAY);
    struct seen s = set_by(w, &a, note("p", "open", 60000));
    assert_int_equal(s.code, ERR_OK);
    assert_int_equal(peer_hears(w, &b), 1);
    assert_string_equal(value_of(w, &b, "p"), "open");
    assert_int_equal(note_table_version(b.copy), s.id);
    assert_int_equal(peer_hears(w, &b), 0); /* up to date: nothing more */
    set(w, &b, "p", "shut", 60000);
    set(w, &b, "q", "x", 60000);
    set(w, &b, "p", "half", 60000);
    assert_int_equal(peer_hears(w, &a), 2); /* only what it is now */
    assert_string_equal(value_of(w, &a, "p"), "half");
    assert_int_equal(set(w, &a, "q", "", 0), ERR_OK);
    assert_int_equal(peer_hears(w, &b), 2);
    assert_string_equal(value_of(w, &b, "q"), "-");
    peer_done(&a);
    peer_done(&b);
}

static void who_says_hello_is_told_all(void **state) { /* P-101 */
    struct world *w = *state;
    struct peer a = peer_new(w, 9, ROLE_WORKER), b = {.link = 10, .role = ROLE_OPERATOR};
    set(w, &a, "p", "1", 60000);
    set(w, &a, "q", "2", 60000);
    uint64_t instance[2] = {10, 10};
    struct msg_hello m = {0};
    MSG_SET(&m, hello, version_min, 1);
    MSG_SET(&m, hello, version_max, 1);
    MSG_SET(&m, hello, role, ROLE_OPERATOR);
    MSG_SET(&m, hello, instance, str_make(instance, 16));
    MSG_SET(&m, hello, notes, 0);
    b.copy = note_table_new();
    b.read = w->n;
    world_ask(w, 10, ROLE_OPERATOR, VERB_hello, &m);
    assert_int_equal(w->letters[b.read].verb, VERB_welcome); /* and then the notes */
    assert_int_equal(peer_reads(w, &b), 2);
    assert_string_equal(value_of(w, &b, "q"), "2");
    /* On another connection what was under way is told again at once, and no more. */
    set(w, &a, "p", "3", 60000);
    peer_beats(w, &b, BEAT_MS);
    peer_loses(w, &b);
    MSG_SET(&m, hello, notes, note_table_version(b.copy));
    b.link = 11;
    world_ask(w, 11, ROLE_OPERATOR, VERB_hello, &m);
    assert_int_equal(peer_reads(w, &b), 1);
    assert_string_equal(value_of(w, &b, "p"), "3");
    peer_done(&a);
    peer_done(&b);
}

static void what_was_lost_is_told_again(void **state) { /* P-101 */
    struct world *w = *state;
    struct peer a = peer_new(w, 9, ROLE_WORKER);
    set(w, &a, "p", "1", 600000);
    peer_beats(w, &a, BEAT_MS);
    peer_loses(w, &a);
    set(w, &a, "q", "2", 600000);
    assert_int_equal(peer_hears(w, &a), 0); /* one telling at a time is under way */
    peer_beats(w, &a, LEASE_MS);
    assert_int_equal(peer_reads(w, &a), 2);
    assert_string_equal(value_of(w, &a, "p"), "1");
    assert_string_equal(value_of(w, &a, "q"), "2");
    peer_done(&a);
}

/* What a peer costs that takes nothing of what it is told: it is told less and less often. */
static void who_does_not_listen_costs_little(void **state) { /* P-101 */
    struct world *w = *state;
    struct peer a = peer_new(w, 9, ROLE_WORKER);
    set(w, &a, "p", "1", 86400000);
    uint32_t before = world_count(w, VERB_note_info);
    for (int n = 0; n < 3600; n++) {
        peer_beats(w, &a, BEAT_MS);
        peer_loses(w, &a);
    }
    assert_in_range(world_count(w, VERB_note_info) - before, 5, 12);
    peer_done(&a);
}

static void clients_get_none(void **state) { /* P-100 */
    struct world *w = *state;
    struct peer a = peer_new(w, 9, ROLE_WORKER), c = peer_new(w, 10, ROLE_CLIENT);
    set(w, &a, "p", "1", 60000);
    assert_int_equal(peer_hears(w, &c), 0);
    assert_int_equal(verb_def(VERB_set_note)->roles & ROLE_BIT(ROLE_CLIENT), 0);
    assert_int_equal(verb_def(VERB_list_notes)->roles & ROLE_BIT(ROLE_CLIENT), 0);
    peer_done(&a);
    peer_done(&c);
}

/* Nor does one whose key is for one tenant: they belong to none. */
static void keys_of_a_tenant_get_none(void **state) { /* P-100 */
    struct world *w = *state;
    struct peer a = peer_new(w, 9, ROLE_WORKER);
    const uint8_t id[32] = {7};
    const struct core_rights rights = {.id = id, .tenant = STR("acme"), .name = STR("acme-web")};
    struct msg_set_note m = note("p", "2", 60000);
    set(w, &a, "p", "1", 60000);
    core_set_rights(w->core, &rights);
    struct peer g = peer_new(w, 10, ROLE_GATEWAY);
    assert_int_equal(peer_hears(w, &g), 0);
    world_begin(w, 1);
    assert_false(core_request(w->core, 10, ROLE_GATEWAY, VERB_set_note, ++w->sequence));
    world_end(w);
    assert_int_equal(world_last(w, VERB_error).code, ERR_BAD_ROLE);
    core_set_rights(w->core, NULL);
    assert_int_equal(set_by(w, &a, m).code, ERR_OK);
    peer_done(&a);
    peer_done(&g);
}

static void a_restart_forgets_them(void **state) { /* P-102 */
    struct world *w = *state;
    struct peer a = peer_new(w, 9, ROLE_WORKER);
    uint64_t version = set_by(w, &a, note("p", "1", 60000)).id;
    assert_int_equal(id_epoch(version), core_epoch(w->core));
    w->journaled = true;
    world_restart(w);
    assert_int_equal(world_stats(w).notes, 0);
    /* A version of another life is none of this one: who has it is told all there is. */
    struct peer b = peer_new(w, 10, ROLE_WORKER);
    set(w, &b, "q", "2", 60000);
    struct msg_set_note again = note("q", "3", 60000);
    MSG_SET(&again, set_note, if_version, version);
    assert_int_equal(set_by(w, &b, again).code, ERR_CONFLICT);
    a.read = w->n;
    world_begin(w, 1);
    world_hello(w, 9, ROLE_WORKER, 4);
    world_end(w);
    note_table_set(a.copy, (struct mono){w->now}, &again, version);
    peer_beats(w, &a, 1);
    assert_int_equal(peer_reads(w, &a), 1);
    assert_string_equal(value_of(w, &a, "q"), "2");
    peer_done(&a);
    peer_done(&b);
}

/* ---- ends ----------------------------------------------------------------------------------- */
static void a_note_ends(void **state) { /* P-99 */
    struct world *w = *state;
    struct peer a = peer_new(w, 9, ROLE_WORKER);
    set(w, &a, "p", "1", 5000);
    uint64_t before = world_stats(w).note_changes;
    world_turn(w, 4998);
    assert_int_equal(listed(w, 9, ROLE_WORKER, NULL), 1);
    assert_int_equal(core_next(w->core).ms, w->now + 1); /* at the very millisecond */
    world_turn(w, 1);
    assert_int_equal(listed(w, 9, ROLE_WORKER, NULL), 0);
    assert_int_equal(peer_hears(w, &a), 0); /* whoever is told of it knows when it ends */
    assert_int_equal(world_stats(w).note_changes, before);
    peer_done(&a);
}

/* Nobody goes on showing what it was before, and was to be for longer. */
static void one_that_ends_early_is_told(void **state) { /* P-101 */
    struct world *w = *state;
    struct peer a = peer_new(w, 9, ROLE_WORKER), b = peer_new(w, 10, ROLE_WORKER);
    set(w, &a, "p", "1", 600000);
    peer_hears(w, &b);
    set(w, &a, "p", "2", 500);
    world_turn(w, 500);
    assert_int_equal(world_stats(w).notes, 0);
    assert_string_equal(value_of(w, &b, "p"), "1");
    assert_int_equal(peer_hears(w, &b), 1);
    assert_string_equal(value_of(w, &b, "p"), "-");
    peer_done(&a);
    peer_done(&b);
}

static void a_full_disk_does_not_stop_them(void **state) {
    struct world *w = *state;
    struct peer a = peer_new(w, 9, ROLE_WORKER);
    core_set_room(w->core, CORE_FULL);
    assert_int_equal(set(w, &a, "p", "1", 100), ERR_OK);
    assert_int_equal(core_next(w->core).ms, w->now + 100);
    world_turn(w, 100);
    assert_int_equal(world_stats(w).notes, 0);
    peer_done(&a);
}

/* ---- conditions ----------------------------------------------------------------------------- */
static void one_of_many_gets_it(void **state) { /* P-100 */
    struct world *w = *state;
    struct peer a = peer_new(w, 9, ROLE_WORKER), b = peer_new(w, 10, ROLE_WORKER);
    struct msg_set_note m = note("probe", "a", 10000);
    MSG_SET(&m, set_note, if_version, 0);
    struct seen first = set_by(w, &a, m);
    assert_int_equal(first.code, ERR_OK);
    m.value = STR("b");
    struct seen second = set_by(w, &b, m);
    assert_int_equal(second.code, ERR_CONFLICT);
    assert_int_equal(second.id, first.id); /* told with the refusal */
    MSG_SET(&m, set_note, if_version, first.id);
    assert_int_equal(set_by(w, &b, m).code, ERR_OK);
    assert_int_equal(set_by(w, &b, m).code, ERR_CONFLICT);
    world_turn(w, 10000);
    MSG_SET(&m, set_note, if_version, 0);
    assert_int_equal(set_by(w, &a, m).code, ERR_OK); /* it has ended: anybody's again */
    peer_done(&a);
    peer_done(&b);
}

static void a_longer_one_is_not_shortened(void **state) { /* P-100 */
    struct world *w = *state;
    struct peer a = peer_new(w, 9, ROLE_WORKER);
    struct msg_set_note m = note("p", "30 s", 30000);
    MSG_SET(&m, set_note, longer, true);
    assert_int_equal(set_by(w, &a, m).code, ERR_OK);
    m.for_ms = 20000;
    assert_int_equal(set_by(w, &a, m).code, ERR_CONFLICT);
    world_turn(w, 15000);
    assert_int_equal(set_by(w, &a, m).code, ERR_OK);
    m.for_ms = 0;
    assert_int_equal(set_by(w, &a, m).code, ERR_CONFLICT);
    assert_int_equal(set(w, &a, "p", "", 0), ERR_OK);
    assert_int_equal(set(w, &a, "p", "", 0), ERR_NOT_FOUND);
    assert_int_equal(set(w, &a, "p", "x", 0), ERR_NOT_FOUND);
    peer_done(&a);
}

static void a_repetition_is_answered_alike(void **state) { /* P-28 */
    struct world *w = *state;
    struct peer a = peer_new(w, 9, ROLE_WORKER);
    struct msg_set_note m = note("p", "1", 30000);
    MSG_SET(&m, set_note, if_version, 0);
    struct seen first = set_by(w, &a, m);
    world_begin(w, 1);
    assert_false(core_request(w->core, 9, ROLE_WORKER, VERB_set_note, w->sequence));
    world_end(w);
    struct seen again = world_last(w, VERB_outcome);
    assert_int_equal(again.code, ERR_OK);
    assert_int_equal(again.id, first.id);
    assert_int_equal(world_stats(w).note_changes, 1);
    peer_done(&a);
}

/* ---- bounds --------------------------------------------------------------------------------- */
static void fill(struct world *w, const struct peer *p, uint32_t n, uint64_t for_ms) {
    for (uint32_t k = 0; k < n; k++) {
        char name[16];
        snprintf(name, sizeof name, "n%u", k);
        assert_int_equal(set(w, p, name, "x", for_ms), ERR_OK);
    }
}

static void the_table_is_bounded(void **state) { /* P-102 */
    struct world *w = *state;
    struct peer a = peer_new(w, 9, ROLE_WORKER);
    fill(w, &a, NOTES_MAX, 3600000);
    assert_int_equal(set(w, &a, "more", "x", 1000), ERR_BUSY);
    assert_string_equal(w->text, "there are 1000 notes, the bound");
    assert_int_equal(world_stats(w).notes_refused, 1);
    assert_int_equal(set(w, &a, "n7", "y", 1000), ERR_OK); /* one that is there needs no room */
    assert_int_equal(listed(w, 9, ROLE_WORKER, NULL), NOTES_MAX);
    assert_int_equal(listed(w, 9, ROLE_WORKER, "n8"), 1);
    set(w, &a, "n8", "", 0);
    assert_int_equal(set(w, &a, "more", "x", 1000), ERR_OK);
    peer_done(&a);
}

/* So many that were removed are remembered; who has not heard of an earlier one begins anew. */
static void what_was_removed_is_not_kept_for_ever(void **state) { /* P-101, P-102 */
    struct world *w = *state;
    struct peer a = peer_new(w, 9, ROLE_WORKER), b = peer_new(w, 10, ROLE_GATEWAY);
    set(w, &a, "old", "x", 86400000);
    set(w, &a, "stays", "x", 86400000);
    peer_hears(w, &b);
    set(w, &a, "old", "", 0);
    for (uint32_t k = 0; k < 2 * NOTES_MAX; k++) {
        char name[16];
        snprintf(name, sizeof name, "m%u", k);
        set(w, &a, name, "x", 3600000);
        set(w, &a, name, "", 0);
    }
    assert_string_equal(value_of(w, &b, "old"), "x");
    peer_hears(w, &b);
    assert_string_equal(value_of(w, &b, "old"), "-");
    assert_string_equal(value_of(w, &b, "stays"), "x");
    assert_int_equal(note_table_count(b.copy), 1);
    assert_in_range(b.heard, 2, NOTES_MAX + 1);
    assert_int_equal(peer_hears(w, &b), 0);
    peer_done(&a);
    peer_done(&b);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(a_change_is_told_with_the_next_heartbeat),
        CASE(who_says_hello_is_told_all),
        CASE(what_was_lost_is_told_again),
        CASE(who_does_not_listen_costs_little),
        CASE(clients_get_none),
        CASE(keys_of_a_tenant_get_none),
        CASE(a_restart_forgets_them),
        CASE(a_note_ends),
        CASE(one_that_ends_early_is_told),
        CASE(a_full_disk_does_not_stop_them),
        CASE(one_of_many_gets_it),
        CASE(a_longer_one_is_not_shortened),
        CASE(a_repetition_is_answered_alike),
        CASE(the_table_is_bounded),
        CASE(what_was_removed_is_not_kept_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
