#include "workers/harness/slots.h"

#include "common/base/check.h"
#include "common/base/mem.h"
#include "workers/harness/job_int.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct slot {
    struct slots *all;
    pthread_t thread;
    sem_t go;
    struct slot *next; /* of the free ones or the ended ones */
    struct job job;
    /* what it was handed */
    struct attempt *attempt; /* NULL: end the thread */
    job_run_fn *run;
    struct mono now;
    struct job_limits limits;
    /* what it hands back */
    struct ending ending;
    /* what it asks for; under the lock while it is listed */
    bool asks;
    struct children child;
    uint32_t index;
    struct note_wish *wish; /* NULL: it asks for the child */
    struct slot *next_asking;
};

struct slots {
    struct slot *at;
    uint32_t n, busy;
    struct slot *free; /* the host's */
    int fd;
    pthread_mutex_t lock; /* of the following */
    struct slot *ended;   /* the last one first */
    struct slot *asking;  /* likewise */
};

/* ---- in the slot's thread ------------------------------------------------------------------- */
static void wake_host(const struct slots *s) {
    uint64_t one = 1;
    if (write(s->fd, &one, sizeof one) < 0)
        ASSERT(errno == EAGAIN); /* it is readable already */
}

static void hand_back(struct slot *slot) {
    struct slots *s = slot->all;
    pthread_mutex_lock(&s->lock);
    bool first = !s->ended && !s->asking;
    slot->next = s->ended;
    s->ended = slot;
    pthread_mutex_unlock(&s->lock);
    if (first)
        wake_host(s);
}

static struct slot *slot_of(struct job *job) {
    return (struct slot *)(void *)((char *)job - offsetof(struct slot, job));
}

/* What it asks for stands in the slot. */
static void ask(struct slot *slot) {
    struct slots *s = slot->all;
    pthread_mutex_lock(&s->lock);
    bool first = !s->ended && !s->asking;
    ASSERT(!slot->asks);
    slot->asks = true;
    slot->next_asking = s->asking;
    s->asking = slot;
    pthread_mutex_unlock(&s->lock);
    if (first)
        wake_host(s);
}

/* A slot that was answered has been taken from the list; one that was told to stop asks no more. */
static void hand_over(struct job *job, struct children *child, uint32_t index) {
    struct slot *slot = slot_of(job);
    slot->child = *child;
    slot->index = index;
    *child = (struct children){0};
    ask(slot);
}

static void hand_over_note(struct job *job, struct note_wish *wish) {
    struct slot *slot = slot_of(job);
    slot->wish = wish;
    ask(slot);
}

static void *run_slot(void *p) {
    struct slot *slot = p;
    for (;;) {
        while (sem_wait(&slot->go) < 0)
            ASSERT(errno == EINTR);
        if (!slot->attempt)
            return NULL;
        job_execute(&slot->job, slot->attempt, slot->run, slot->now, &slot->limits, &slot->ending);
        hand_back(slot);
    }
}

/* ---- in the host's thread ------------------------------------------------------------------- */
void slots_start(struct slots *s, struct attempt *a, job_run_fn *run, struct mono now,
                 const struct job_limits *limits) {
    struct slot *slot = s->free;
    ASSERT(slot);
    s->free = slot->next;
    s->busy++;
    slot->attempt = a;
    slot->run = run;
    slot->now = now;
    slot->limits = *limits;
    a->user = slot;
    job_forget_stop(&slot->job);
    sem_post(&slot->go);
}

void slots_stop(struct attempt *a, enum err_code why) {
    struct slot *slot = a->user;
    if (slot)
        job_ask_stop(&slot->job, why);
}

void slots_answer(struct attempt *a, const struct err *answer) {
    struct slot *slot = a->user;
    if (slot)
        job_answer(&slot->job, answer);
}

/* In the order in which they ended. */
static struct slot *turn_round(struct slot *taken) {
    struct slot *turned = NULL;
    while (taken) {
        struct slot *next = taken->next;
        taken->next = turned;
        turned = taken;
        taken = next;
    }
    return turned;
}

/* What the slots ask for, and then those that have ended: a slot that asked may have ended since,
 * without waiting for an answer. */
static struct slot *take(struct slots *s, const struct slots_news *news) {
    uint64_t n;
    if (read(s->fd, &n, sizeof n) < 0)
        ASSERT(errno == EAGAIN || errno == EINTR);
    pthread_mutex_lock(&s->lock);
    struct slot *ended = s->ended, *asking = s->asking;
    s->ended = s->asking = NULL;
    for (struct slot *slot = asking; slot; slot = slot->next_asking)
        slot->asks = false;
    pthread_mutex_unlock(&s->lock);
    for (struct slot *slot = asking, *next; slot; slot = next) {
        next = slot->next_asking;
        struct children child = slot->child;
        struct note_wish *wish = slot->wish;
        slot->child = (struct children){0};
        slot->wish = NULL;
        if (wish)
            news->notes(news->ctx, slot->attempt, wish);
        else
            news->asks(news->ctx, slot->attempt, &child, slot->index);
    }
    return turn_round(ended);
}

void slots_collect(struct slots *s, const struct slots_news *news) {
    for (struct slot *slot = take(s, news), *next; slot; slot = next) {
        next = slot->next;
        struct attempt *a = slot->attempt;
        struct ending end = slot->ending;
        a->user = NULL;
        /* Free before the host hears of it, since that may start the next one. The texts of `end`
         * lie in the slot's job: the host must copy them before it starts anything. */
        slot->next = s->free;
        s->free = slot;
        s->busy--;
        news->ended(news->ctx, a, &end);
    }
}

int slots_fd(const struct slots *s) {
    return s->fd;
}

uint32_t slots_busy(const struct slots *s) {
    return s->busy;
}

bool slots_progress(struct attempt *a, uint64_t *done, uint64_t *total) {
    struct slot *slot = a->user;
    if (!slot || !atomic_exchange(&slot->job.has_progress, false))
        return false;
    *done = atomic_load(&slot->job.progress_done);
    *total = atomic_load(&slot->job.progress_total);
    return true;
}

struct slots *slots_new(uint32_t n) {
    struct slots *s = MEM_NEW(struct slots);
    s->n = n;
    s->at = mem_zalloc(n * sizeof *s->at);
    s->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    ASSERT(s->fd >= 0);
    pthread_mutex_init(&s->lock, NULL);
    for (uint32_t i = 0; i < n; i++) {
        struct slot *slot = &s->at[i];
        slot->all = s;
        job_setup(&slot->job);
        slot->job.hand_over = hand_over;
        slot->job.hand_over_note = hand_over_note;
        sem_init(&slot->go, 0, 0);
        slot->next = s->free;
        s->free = slot;
        int rc = pthread_create(&slot->thread, NULL, run_slot, slot);
        ASSERT(rc == 0);
    }
    return s;
}

void slots_share_notes(struct slots *s, struct job_notes *notes) {
    for (uint32_t i = 0; i < s->n; i++)
        s->at[i].job.notes = notes;
}

void slots_destroy(struct slots **sp) {
    struct slots *s = *sp;
    if (!s)
        return;
    *sp = NULL;
    ASSERT(s->busy == 0);
    for (uint32_t i = 0; i < s->n; i++) {
        s->at[i].attempt = NULL;
        sem_post(&s->at[i].go);
    }
    for (uint32_t i = 0; i < s->n; i++) {
        pthread_join(s->at[i].thread, NULL);
        sem_destroy(&s->at[i].go);
        job_teardown(&s->at[i].job);
    }
    pthread_mutex_destroy(&s->lock);
    close(s->fd);
    mem_free(s->at);
    mem_free(s);
}
