#include "broker/journal/journal_int.h"

int journal_replay(struct journal *j,
                   int (*each)(void *ctx, const struct journal_record *r, struct err *e), void *ctx,
                   struct journal_replayed *stats, struct err *e) {
    return j->ops->replay(j, each, ctx, stats, e);
}

uint64_t journal_put(struct journal *j, uint8_t type, const struct str *parts, size_t n,
                     uint32_t *bytes) {
    return j->ops->put(j, type, parts, n, bytes);
}

uint32_t journal_body_max(const struct journal *j) {
    return j->ops->body_max(j);
}

void journal_keep_together(struct journal *j, uint32_t bytes) {
    j->ops->keep_together(j, bytes);
}

uint32_t journal_together_max(const struct journal *j) {
    return j->ops->together_max(j);
}

enum journal_room journal_room(const struct journal *j) {
    return j->ops->room(j);
}

bool journal_may_purge(const struct journal *j) {
    return j->ops->may_purge(j);
}

bool journal_commit(struct journal *j) {
    return j->ops->commit(j);
}

bool journal_commit_inline(struct journal *j) {
    return j->ops->commit_inline(j);
}

int journal_flush(struct journal *j, struct err *e) {
    return j->ops->flush(j, e);
}

int journal_fd(const struct journal *j) {
    return j->ops->fd(j);
}

bool journal_poll(struct journal *j, uint64_t *durable) {
    return j->ops->poll(j, durable);
}

const struct err *journal_error(const struct journal *j) {
    return j->ops->error(j);
}

uint64_t journal_doubt_end(const struct journal *j) {
    return j->ops->doubt_end(j);
}

int journal_load(struct journal *j, uint64_t pos, uint32_t bytes, uint64_t token) {
    return j->ops->load(j, pos, bytes, token);
}

bool journal_loaded(struct journal *j, struct journal_load_done *out) {
    return j->ops->loaded(j, out);
}

void journal_release(struct journal *j, uint64_t pos, uint32_t bytes) {
    j->ops->release(j, pos, bytes);
}

bool journal_clean_want(const struct journal *j) {
    return j->ops->clean_want(j);
}

enum journal_clean journal_clean_next(struct journal *j,
                                      void (*each)(void *ctx, const struct journal_record *r),
                                      void *ctx) {
    return j->ops->clean_next(j, each, ctx);
}

void journal_set_disk_min_free(struct journal *j, uint64_t bytes) {
    j->ops->set_disk_min_free(j, bytes);
}

void journal_stats(const struct journal *j, struct journal_stats *out) {
    j->ops->stats(j, out);
}

int journal_close(struct journal **j, struct err *e) {
    if (!*j)
        return 0;
    int status = (*j)->ops->close(*j, e);
    *j = NULL;
    return status;
}

void journal_abandon(struct journal **j) {
    if (*j)
        (*j)->ops->abandon(*j);
    *j = NULL;
}
