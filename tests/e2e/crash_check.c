/* What was told on the way, held against what the broker knows in the end. */
#include "common/base/mem.h"
#include "common/os/clock.h"
#include "schemas/states.h"
#include "tests/e2e/crash.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define WRONG_SHOWN 50U
#define ANSWER_MS   30000
#define PAGE        1000U

void crash_wrong(struct load *l, const char *format, ...) {
    va_list list;
    if (l->wrong++ >= WRONG_SHOWN)
        return;
    va_start(list, format);
    fputs("wrong: ", stdout);
    vprintf(format, list);
    putchar('\n');
    va_end(list);
}

/* A job as the broker knows it in the end. */
struct known {
    uint64_t id, state, error, fence, started_ms, ended_ms;
    uint64_t attempts, crashes;
    uint8_t payload_len, result_len;
    char payload[CRASH_PAYLOAD], result[CRASH_RESULT];
    const struct offer *offer; /* the first one that it was acknowledged for */
};

struct all {
    struct load *load;
    struct known *at;
    uint32_t n, size;
    uint64_t next; /* page; 0: that was the last one */
};

/* ---- asking --------------------------------------------------------------------------------- */
static void take_listed(void *ctx, const struct client_reply *r) {
    struct all *all = ctx;
    const struct msg_job_info *m = r->message;
    if (!MSG_HAS(m, job_info, id)) {
        all->next = MSG_HAS(m, job_info, next) ? m->next : 0;
        return;
    }
    if (all->n == all->size) {
        all->size = all->size ? 2 * all->size : 1024;
        all->at = mem_grow(all->at, all->size, sizeof *all->at);
    }
    all->at[all->n++] = (struct known){.id = m->id};
}

static void list_all(struct all *all) {
    struct msg_list_jobs m = {0};
    struct err e = {0};
    MSG_SET(&m, list_jobs, limit, PAGE);
    do {
        if (client_call(all->load->operator, VERB_list_jobs, &CLIENT_ITEM(&m, STR("")), 1,
                        take_listed, all, mono_add(clock_mono(), ANSWER_MS), &e) < 0) {
            crash_wrong(all->load, "the jobs cannot be listed: %s", e.text);
            return;
        }
        MSG_SET(&m, list_jobs, before, all->next);
    } while (all->next);
}

static uint8_t keep(char *to, size_t size, struct str from) {
    size_t n = from.len < size ? from.len : size;
    if (n)
        memcpy(to, from.at, n);
    return (uint8_t)n;
}

struct asked {
    struct known *known;
    uint64_t code;
};

static void take_job(void *ctx, const struct client_reply *r) {
    struct asked *asked = ctx;
    struct known *k = asked->known;
    const struct msg_job_info *m = r->message;
    asked->code = m->code;
    k->state = m->state;
    k->error = m->error;
    k->fence = m->fence;
    k->started_ms = m->started_ms;
    k->ended_ms = m->ended_ms;
    k->attempts = m->attempts;
    k->crashes = m->crashes;
    k->payload_len = keep(k->payload, sizeof k->payload, r->payload);
    k->result_len = keep(k->result, sizeof k->result, r->result);
}

static void ask_job(struct load *l, struct known *k) {
    struct msg_get_job m = {0};
    struct asked asked = {k, 0};
    struct err e = {0};
    MSG_SET(&m, get_job, id, k->id);
    MSG_SET(&m, get_job, payload, true);
    if (client_call(l->operator, VERB_get_job, &CLIENT_ITEM(&m, STR("")), 1, take_job, &asked,
                    mono_add(clock_mono(), ANSWER_MS), &e) < 0)
        crash_wrong(l, "job %llx: %s", (unsigned long long)k->id, e.text);
    else if (asked.code)
        crash_wrong(l, "job %llx: not told: %s", (unsigned long long)k->id,
                    err_code_name((enum err_code)asked.code));
}

static int by_id(const void *a, const void *b) {
    uint64_t x = ((const struct known *)a)->id, y = ((const struct known *)b)->id;
    return (x > y) - (x < y);
}

static struct known *find_known(const struct all *all, uint64_t id) {
    struct known wanted = {.id = id};
    return all->n ? bsearch(&wanted, all->at, all->n, sizeof *all->at, by_id) : NULL;
}

/* ---- one job -------------------------------------------------------------------------------- */
static bool result_is_right(const struct offer *o, const struct known *k) {
    struct str result = str_make(k->result, k->result_len);
    switch (o->work) {
    case WORK_ECHO:
        return str_eq(result, str_make(k->payload, k->payload_len));
    case WORK_SLEEP:
        return str_starts(result, STR("\x81\xa8slept_ms"));
    default: /* {"attempt": n}: it succeeds behind as many failures as it was asked for */
        return str_starts(result, STR("\x81\xa7"
                                      "attempt")) &&
               result.len > 9 && (uint8_t)result.at[9] > o->detail;
    }
}

/* It ended, once, as its sender was told, and with the right result. A job may be dead because it
 * was there, alone, each time when its process was killed: that is what it then looks like. */
static void check_job(struct load *l, const struct known *k) {
    const struct offer *o = k->offer;
    struct end *end = load_end(l, k->id);
    char payload[CRASH_PAYLOAD];
    unsigned long long id = (unsigned long long)k->id;
    bool done = k->state == JOB_done;
    if (!done && !(k->state == JOB_dead && k->error == ERR_CRASHED && k->crashes >= 3))
        crash_wrong(l, "job %llx: state %d, error %d", id, (int)k->state, (int)k->error);
    if (end->state != k->state)
        crash_wrong(l, "job %llx: told that it ended as %d, but it is %d", id, (int)end->state,
                    (int)k->state);
    size_t len = load_payload(o, payload);
    if (!str_eq(str_make(payload, len), str_make(k->payload, k->payload_len)))
        crash_wrong(l, "job %llx: its payload is not that of offer %u", id, o->number);
    if (done && !result_is_right(o, k))
        crash_wrong(l, "job %llx: a wrong result", id);
    if (done && !str_eq(str_make(k->result, k->result_len), str_make(end->result, end->result_len)))
        crash_wrong(l, "job %llx: told another result than the one that is kept", id);
}

/* ---- all of them ---------------------------------------------------------------------------- */
static void match_offers(struct all *all) {
    struct load *l = all->load;
    for (uint32_t i = 0; i < l->n_offers; i++) {
        struct offer *o = &l->offers[i];
        if (o->fate != FATE_ACKED)
            continue;
        struct known *k = find_known(all, o->id);
        if (!k)
            crash_wrong(l, "job %llx: acknowledged, but not known", (unsigned long long)o->id);
        else if (!k->offer)
            k->offer = o;
        else if (k->offer->number != o->number)
            crash_wrong(l, "job %llx: acknowledged for two different offers",
                        (unsigned long long)o->id);
    }
}

/* P-35: one unique key, one id. */
static void check_uniques(struct load *l) {
    uint64_t *ids = mem_zalloc((l->n_uniques + 1) * sizeof *ids);
    for (uint32_t i = 0; i < l->n_offers; i++) {
        const struct offer *o = &l->offers[i];
        if (!o->unique || o->fate != FATE_ACKED)
            continue;
        if (ids[o->unique] && ids[o->unique] != o->id)
            crash_wrong(l, "unique key %u: jobs %llx and %llx", o->unique,
                        (unsigned long long)ids[o->unique], (unsigned long long)o->id);
        ids[o->unique] = o->id;
    }
    mem_free(ids);
}

/* P-36: the last attempt of one job of a key was given, and ended, before that of the next one. */
static void check_order(struct all *all) {
    for (uint32_t key = 1; key <= CRASH_KEYS; key++) {
        const struct known *before = NULL;
        for (uint32_t i = 0; i < all->n; i++) {
            const struct known *k = &all->at[i];
            if (!k->offer || k->offer->key != key)
                continue;
            if (before && (before->fence >= k->fence || before->ended_ms > k->started_ms))
                crash_wrong(all->load, "key %u: job %llx ran before job %llx had ended", key,
                            (unsigned long long)k->id, (unsigned long long)before->id);
            before = k;
        }
    }
}

/* What nobody was told of must be an offer whose fate is not known, and only once. */
static uint32_t check_strangers(struct all *all) {
    struct load *l = all->load;
    uint32_t n = 0;
    for (uint32_t i = 0; i < all->n; i++) {
        const struct known *k = &all->at[i];
        if (k->offer)
            continue;
        uint32_t at = 0;
        for (; at < l->n_offers; at++) {
            char payload[CRASH_PAYLOAD];
            size_t len = load_payload(&l->offers[at], payload);
            if (l->offers[at].fate == FATE_UNKNOWN &&
                str_eq(str_make(payload, len), str_make(k->payload, k->payload_len)))
                break;
        }
        if (at == l->n_offers)
            crash_wrong(l, "job %llx: nobody can have submitted it", (unsigned long long)k->id);
        else
            l->offers[at].fate = FATE_OPEN; /* found */
        n++;
    }
    return n;
}

static void show(const struct all *all, uint32_t strangers) {
    const struct load *l = all->load;
    uint32_t fates[4] = {0}, states[10] = {0}, again = 0, crashed = 0, notices = 0;
    for (uint32_t i = 0; i < l->n_offers; i++)
        fates[l->offers[i].fate]++;
    for (uint32_t i = 0; i < all->n; i++) {
        states[all->at[i].state < 10 ? all->at[i].state : 0]++;
        again += all->at[i].attempts > 1;
        crashed += all->at[i].crashes > 0;
    }
    for (uint32_t i = 0; i < l->size_ends; i++)
        notices += l->ends[i].notices;
    printf("%u offers: %u acknowledged, %u refused, %u unknown (%u of these were accepted)\n",
           l->n_offers, fates[FATE_ACKED], fates[FATE_REFUSED],
           fates[FATE_UNKNOWN] + fates[FATE_OPEN], strangers);
    printf("%u jobs: %u done, %u dead, %u cancelled, %u expired; %u finished notices\n", all->n,
           states[JOB_done], states[JOB_dead], states[JOB_cancelled], states[JOB_expired], notices);
    printf("%u with more than one attempt, %u with crashes, %llu stale reports refused\n", again,
           crashed, (unsigned long long)l->stale + l->stale_before);
    printf("the broker was lost %llu times by %d clients\n", (unsigned long long)l->downs,
           CRASH_CLIENTS + 1);
}

void crash_check(struct load *l) {
    struct all all = {.load = l};
    list_all(&all);
    if (all.n)
        qsort(all.at, all.n, sizeof *all.at, by_id);
    match_offers(&all);
    for (uint32_t i = 0; i < all.n; i++) {
        ask_job(l, &all.at[i]);
        if (all.at[i].offer)
            check_job(l, &all.at[i]);
    }
    check_uniques(l);
    check_order(&all);
    uint32_t strangers = check_strangers(&all);
    show(&all, strangers);
    mem_free(all.at);
}
