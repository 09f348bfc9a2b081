/* What the implementations of the journal share: the table of calls behind journal.h. */
#pragma once

#include "broker/journal/journal.h"

struct journal_ops {
    int (*replay)(struct journal *j,
                  int (*each)(void *ctx, const struct journal_record *r, struct err *e), void *ctx,
                  struct journal_replayed *stats, struct err *e);
    uint64_t (*put)(struct journal *j, uint8_t type, const struct str *parts, size_t n,
                    uint32_t *bytes);
    uint32_t (*body_max)(const struct journal *j);
    void (*keep_together)(struct journal *j, uint32_t bytes);
    uint32_t (*together_max)(const struct journal *j);
    enum journal_room (*room)(const struct journal *j);
    bool (*may_purge)(const struct journal *j);
    bool (*commit)(struct journal *j);
    bool (*commit_inline)(struct journal *j);
    int (*flush)(struct journal *j, struct err *e);
    int (*fd)(const struct journal *j);
    bool (*poll)(struct journal *j, uint64_t *durable);
    const struct err *(*error)(const struct journal *j);
    uint64_t (*doubt_end)(const struct journal *j);
    int (*load)(struct journal *j, uint64_t pos, uint32_t bytes, uint64_t token);
    bool (*loaded)(struct journal *j, struct journal_load_done *out);
    void (*release)(struct journal *j, uint64_t pos, uint32_t bytes);
    bool (*clean_want)(const struct journal *j);
    enum journal_clean (*clean_next)(struct journal *j,
                                     void (*each)(void *ctx, const struct journal_record *r),
                                     void *ctx);
    void (*set_disk_min_free)(struct journal *j, uint64_t bytes);
    void (*stats)(const struct journal *j, struct journal_stats *out);
    int (*close)(struct journal *j, struct err *e);
    void (*abandon)(struct journal *j);
};

struct journal {
    const struct journal_ops *ops;
};
