#include "broker/journal/keeper.h"

#include "broker/journal/recover.h"
#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/os/clock.h"

/* How long to wait before a spare is tried again that could not be made. */
#define SPARE_RETRY_MS 1000
/* Between two steps of filling a spare that is not needed yet: each makes the commits beside it
 * slower. */
#define SPARE_PAUSE_MS 5

static void trouble(struct keeper *k, const struct err *e) {
    pthread_mutex_lock(&k->upkeep_lock);
    k->upkeep = *e;
    k->upkeep_count++;
    pthread_mutex_unlock(&k->upkeep_lock);
}

/* There is space again: a full disk is no trouble any more. Other trouble stays until it is seen.
 */
static void space_again(struct keeper *k) {
    pthread_mutex_lock(&k->upkeep_lock);
    if (k->upkeep.code == ERR_DISK_FULL)
        k->upkeep = (struct err){0};
    pthread_mutex_unlock(&k->upkeep_lock);
}

/* ---- loads ----------------------------------------------------------------------------------- */

static int cached_file(struct keeper *k, uint32_t segment, bool closed, struct file **out,
                       struct err *e) {
    struct keeper_file *slot = &k->files[segment % KEEPER_FILES];
    enum file_how how = closed ? FILE_READ_AHEAD : FILE_READ_EXACT;
    if (slot->segment != segment || slot->closed != closed)
        file_close(&slot->file);
    slot->segment = segment;
    slot->closed = closed;
    if (!slot->file && file_open(k->dir, segment_name(segment).at, how, &slot->file, e) != 0)
        return -1;
    *out = slot->file;
    return 0;
}

static void forget_file(struct keeper *k, uint32_t segment) {
    struct keeper_file *slot = &k->files[segment % KEEPER_FILES];
    if (slot->segment == segment)
        file_close(&slot->file);
}

static int load_record(struct keeper *k, const struct load_request *request,
                       struct load_answer *answer, struct err *e) {
    struct file *file;
    uint32_t segment = format_segment_of(request->pos), offset = format_offset_of(request->pos);
    if (cached_file(k, segment, request->closed, &file, e) != 0)
        return -1;
    char *at = answer->memory = mem_try(request->bytes);
    if (!at)
        return err_set(e, ERR_NO_MEMORY, "no memory for a record of %u bytes", request->bytes);
    if (file_read(file, at, request->bytes, offset, e) != 0)
        return -1;
    uint32_t word = format_load32(at + 4), body = format_word_body(word);
    if (body + FORMAT_RECORD_HEAD != request->bytes ||
        format_load32(at) != format_record_crc(format_seed(k->log_id, segment), offset, at))
        return recover_corrupt(e, k->dir, segment, offset, "a record that was asked for");
    answer->done.record = (struct journal_record){.pos = request->pos,
                                                  .bytes = request->bytes,
                                                  .type = format_word_type(word),
                                                  .body = {at + FORMAT_RECORD_HEAD, body}};
    return 0;
}

static void load_next(struct keeper *k) {
    struct load_request request;
    if (!loads_next(&k->loads, &request))
        return;
    struct load_answer answer = {.done.token = request.token};
    if (load_record(k, &request, &answer, &answer.done.err) != 0)
        MEM_FREE(answer.memory);
    loads_answer(&k->loads, &answer);
    flag_raise(k->flag);
}

/* ---- spares ---------------------------------------------------------------------------------- */

/* Cleaning gives files back, and filling new ones beside it would starve it: none is made then that
 * can wait. Others are, for cleaning itself may wait for the answer whether there is space. */
static bool spare_wanted(const struct keeper *k) {
    return spares_wanted(&k->spares) &&
           (spares_needed(&k->spares) || !atomic_load(&k->clean.active));
}

static struct mono spare_time(const struct keeper *k) {
    if (atomic_load(&k->look_again))
        return (struct mono){0};
    bool paused = k->spare_pause_end.ms > k->spare_retry_at.ms && !spares_needed(&k->spares);
    return paused ? k->spare_pause_end : k->spare_retry_at;
}

static bool spare_due(const struct keeper *k) {
    return spare_wanted(k) && mono_reached(clock_mono(), spare_time(k));
}

/* Tells the dispatcher of what journal_room depends on. */
static void make_spare(struct keeper *k) {
    struct err e = {0};
    atomic_store(&k->look_again, false);
    bool fill = !atomic_load(&k->pressed) || spares_ready(&k->spares);
    switch (spares_step(&k->spares, fill ? SPARE_FILLED : SPARE_UNFILLED, &e)) {
    case SPARE_MORE:
        if (k->threads)
            k->spare_pause_end = mono_add(clock_mono(), SPARE_PAUSE_MS);
        return;
    case SPARE_READY:
        atomic_store(&k->pressed, false);
        space_again(k);
        break;
    case SPARE_NO_SPACE:
    case SPARE_FAILED:
        k->spare_retry_at = mono_add(clock_mono(), SPARE_RETRY_MS);
        trouble(k, &e);
        break;
    }
    flag_raise(k->flag);
}

void keeper_press(struct keeper *k) {
    atomic_store(&k->pressed, true);
    bell_ring(&k->bell);
}

void keeper_set_disk_min_free(struct keeper *k, uint64_t bytes) {
    spares_set_disk_min_free(&k->spares, bytes);
    atomic_store(&k->look_again, true);
    bell_ring(&k->bell);
}

static void retry_spare_now(struct keeper *k) {
    k->spare_retry_at = k->spare_pause_end = (struct mono){0};
}

static bool make_spare_now(struct keeper *k, struct err *e) {
    enum spares_step step = SPARE_MORE;
    while (step == SPARE_MORE)
        step = spares_step(&k->spares, SPARE_AT_ANY_PRICE, e);
    return step == SPARE_READY;
}

static void hurry(struct keeper *k) {
    struct err e = {0};
    bool made = spares_ready(&k->spares) || make_spare_now(k, &e);
    k->hurry_err = e;
    atomic_store(&k->hurry, made ? HURRY_NONE : HURRY_FAILED);
    bell_ring(&k->writer_bell);
}

static bool hurry_over(void *ctx) {
    struct keeper *k = ctx;
    return spares_ready(&k->spares) || atomic_load(&k->hurry) == HURRY_FAILED;
}

static int wait_for_spare(struct keeper *k, struct err *e) {
    if (!k->threads)
        return make_spare_now(k, e) ? 0 : -1;
    atomic_store(&k->hurry, HURRY_ASKED);
    bell_ring(&k->bell);
    while (!hurry_over(k))
        bell_wait(&k->writer_bell, -1, hurry_over, k);
    if (spares_ready(&k->spares))
        return 0;
    *e = k->hurry_err;
    return -1;
}

int keeper_take_spare(struct keeper *k, uint32_t segment, struct file **out, struct err *e) {
    struct spare spare;
    if (!spares_ready(&k->spares) && wait_for_spare(k, e) != 0)
        return err_add(e, "no file for segment %u", segment);
    bool taken = spares_take(&k->spares, &spare);
    ASSERT(taken && spare.segment == segment);
    *out = spare.file;
    keeper_ring(k);
    return 0;
}

/* ---- removals -------------------------------------------------------------------------------- */

static bool drops_waiting(const struct keeper *k) {
    return atomic_load(&k->drops_head) != atomic_load(&k->drops_tail);
}

bool keeper_drop(struct keeper *k, uint32_t segment, uint32_t bytes) {
    unsigned head = atomic_load(&k->drops_head);
    if (head - atomic_load(&k->drops_tail) == KEEPER_DROPS)
        return false;
    k->drops[head % KEEPER_DROPS] = (struct keeper_drop){segment, bytes};
    atomic_store(&k->drops_head, head + 1);
    keeper_ring(k);
    return true;
}

static void drop_next(struct keeper *k) {
    struct err e = {0};
    unsigned tail = atomic_load(&k->drops_tail);
    struct keeper_drop drop = k->drops[tail % KEEPER_DROPS];
    forget_file(k, drop.segment);
    if (spares_drop(&k->spares, drop.segment, drop.bytes, &e) != 0)
        trouble(k, &e);
    else if (!atomic_load(&k->spares.no_space))
        space_again(k);
    retry_spare_now(k);
    flag_raise(k->flag);
    atomic_store(&k->drops_tail, tail + 1);
}

/* ---- the loop -------------------------------------------------------------------------------- */

static bool work_waiting(void *ctx) {
    struct keeper *k = ctx;
    return atomic_load(&k->hurry) == HURRY_ASKED || loads_waiting(&k->loads) ||
           clean_waiting(&k->clean) || drops_waiting(k) || atomic_load(&k->stop) || spare_due(k);
}

/* One step; false when there was nothing to do. */
static bool step(struct keeper *k) {
    /* Looked at before the loads: whatever was asked for before a removal is then seen. */
    bool drop = drops_waiting(k);
    if (atomic_load(&k->hurry) == HURRY_ASKED) {
        hurry(k);
    } else if (loads_waiting(&k->loads)) {
        load_next(k);
    } else if (clean_waiting(&k->clean)) {
        clean_fill(&k->clean, k->dir, k->log_id, k->clean_bytes);
        flag_raise(k->flag);
    } else if (drop) {
        drop_next(k);
    } else if (spare_due(k)) {
        make_spare(k);
    } else {
        return false;
    }
    return true;
}

static void *run(void *ctx) {
    struct keeper *k = ctx;
    while (!atomic_load(&k->stop)) {
        if (step(k))
            continue;
        int timeout_ms = -1;
        if (spare_wanted(k))
            timeout_ms = (int)mono_until(clock_mono(), spare_time(k));
        bell_wait(&k->bell, timeout_ms, work_waiting, k);
    }
    return NULL;
}

void keeper_work(struct keeper *k) {
    if (k->threads)
        return;
    retry_spare_now(k);
    while (step(k))
        continue;
}

void keeper_ring(struct keeper *k) {
    bell_ring(&k->bell);
}

/* ---- life ------------------------------------------------------------------------------------ */

static int start(struct keeper *k, bool empty, struct err *e) {
    enum spares_step made = empty ? SPARE_MORE : SPARE_READY;
    if (spares_ready(&k->spares))
        made = SPARE_READY;
    while (made == SPARE_MORE) {
        made = spares_step(&k->spares, k->spares.file ? SPARE_FILLED : SPARE_AT_ANY_PRICE, e);
    }
    if (made == SPARE_NO_SPACE || made == SPARE_FAILED)
        return -1;
    spares_look(&k->spares);
    if (!k->threads)
        return 0;
    int status = pthread_create(&k->thread, NULL, run, k);
    if (status != 0)
        return err_set(e, ERR_NO_MEMORY, "cannot start a thread: %d", status);
    k->running = true;
    return 0;
}

int keeper_init(struct keeper *k, const struct keeper_options *options, struct err *e) {
    *k = (struct keeper){.dir = options->dir,
                         .log_id = options->log_id,
                         .flag = options->flag,
                         .threads = options->threads,
                         .clean_bytes = options->clean_bytes,
                         .bell.fd = -1,
                         .writer_bell.fd = -1};
    pthread_mutex_init(&k->upkeep_lock, NULL);
    loads_init(&k->loads, options->loads_max);
    if (bell_open(&k->bell) != 0 || bell_open(&k->writer_bell) != 0)
        return err_errno(e, "%s: no descriptor left", k->dir->path);
    if (spares_init(&k->spares, k->dir, &options->spares, options->spares_next,
                    options->spares_ready, options->disk_bytes, e) != 0)
        return -1;
    return start(k, options->empty, e);
}

void keeper_clear(struct keeper *k) {
    if (k->running) {
        atomic_store(&k->stop, true);
        bell_ring(&k->bell);
        pthread_join(k->thread, NULL);
        k->running = false;
    }
    for (size_t i = 0; i < KEEPER_FILES; i++)
        file_close(&k->files[i].file);
    spares_clear(&k->spares);
    loads_clear(&k->loads);
    clean_clear(&k->clean);
    bell_close(&k->bell);
    bell_close(&k->writer_bell);
    pthread_mutex_destroy(&k->upkeep_lock);
}

void keeper_stats(struct keeper *k, struct journal_stats *out) {
    out->spares = atomic_load(&k->spares.head) - atomic_load(&k->spares.tail);
    out->disk_bytes = atomic_load(&k->spares.disk_bytes);
    out->segments_made = atomic_load(&k->spares.made);
    out->segments_recycled = atomic_load(&k->spares.recycled);
    out->segments_dropped = atomic_load(&k->spares.dropped);
    out->loads = k->loads.count;
    out->files_max = KEEPER_FILES + spares_files_max(&k->spares) + 1; /* one is cleaned */
    pthread_mutex_lock(&k->upkeep_lock);
    out->upkeep = k->upkeep;
    out->upkeep_count = k->upkeep_count;
    pthread_mutex_unlock(&k->upkeep_lock);
}
