/* Envelopes of schemas/messages.def to msgpack and back, driven by that table alone.
 *
 * An *envelope* is one msgpack map from field numbers to values; `struct msg_x` is the same in C.
 * Writing trusts the sender: a missing required field or a value out of bounds is our own bug and
 * asserted. Reading trusts nobody: whatever comes in ends as a valid struct or as an err that names
 * message, field and bound ("submit.key: 300 bytes, at most 256"). Accepted are every form of a
 * number, and text where bytes are wanted or bytes where text is, as old writers send them.
 * Text that was read borrows from the input, lists lie in the arena. Thread-safe: tables only. */
#pragma once

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/wire/msgpack.h"
#include "schemas/messages.h"

#include <stdbool.h>
#include <stdint.h>

#define CODEC_FIELD_MAX 63 /* the highest field number */

enum field_type {
    FIELD_BOOL,
    FIELD_UINT,
    FIELD_ID,
    FIELD_TEXT,
    FIELD_NAME,
    FIELD_BYTES,
    FIELD_INSTANCE,
    FIELD_MAP,
    FIELD_NAMES,
    FIELD_UINTS,
};

struct field_def {
    uint8_t number;
    uint8_t type; /* enum field_type */
    bool required;
    uint16_t offset; /* in struct msg_x */
    uint64_t min, max;
    const char *name, *doc;
};

struct msg_def {
    enum msg_id id;
    const char *name, *doc;
    const struct field_def *fields; /* by rising number */
    uint8_t n;
    uint16_t size;                   /* of struct msg_x, which begins with `has` */
    uint64_t required;               /* bit n: field n must be there */
    uint8_t size_at, result_size_at; /* numbers of the fields that measure payloads; 0 if none */
    uint8_t children_at; /* of the field that says how many envelopes behind are children; or 0 */
    uint8_t at[CODEC_FIELD_MAX + 1]; /* by field number: its place in `fields` plus 1; 0 if none */
};

/* Bit of enum role; the broker's is that of ROLE_NONE. */
#define ROLE_BIT(role)  (1U << (role))
#define ROLE_BIT_BROKER ROLE_BIT(ROLE_NONE)

struct verb_def {
    enum verb verb;
    const char *name;
    enum msg_id message;
    unsigned roles; /* ROLE_BITs of who may send it */
    uint32_t items_max;
    const char *doc;
};

/* Room for one message of any kind. */
union msg_any {
    uint64_t has;
#define VERB(name, number, message, roles, items_max, doc)
#define MESSAGE(name, doc) struct msg_##name name;
#define FIELD(message, number, name, type, need, min, max, doc)
#define END(name)
#include "schemas/messages.def"
#undef VERB
#undef MESSAGE
#undef FIELD
#undef END
};

const struct msg_def *msg_def(enum msg_id id) __attribute__((returns_nonnull));
/* NULL if the message has no such field. */
const struct field_def *msg_field(const struct msg_def *def, uint64_t number);
const struct field_def *msg_field_named(const struct msg_def *def, struct str name);
/* NULL if there is none of that number. */
const struct verb_def *verb_def(uint64_t number);
const struct verb_def *verb_named(struct str name);

/* Appends one envelope; fields whose `has` bit is clear are left out. -1 when the buffer is full,
 * which then is as it was. Text that is not UTF-8 goes out with '?' for each byte that is wrong,
 * because words that quote a peer must not be able to end this process. */
int codec_put(struct buf *out, enum msg_id id, const void *msg);
/* Reads one envelope at the cursor, which moves on success only. A field number that the table does
 * not have is refused; unless `skipped` is given (the sender knows a higher minor version): then it
 * is passed over and counted there. The arena may be NULL for messages without lists. */
int codec_get(struct cursor *in, enum msg_id id, void *msg, struct arena *arena, uint32_t *skipped,
              struct err *e);
/* The same for a table that does not stand in messages.def. */
int codec_put_def(struct buf *out, const struct msg_def *def, const void *msg);
int codec_get_def(struct cursor *in, const struct msg_def *def, void *msg, struct arena *arena,
                  uint32_t *skipped, struct err *e);
/* Checks a struct that came by another way than codec_get against the table, as that would. */
int codec_check(const struct msg_def *def, const void *msg, struct err *e);
/* The longest beginning of `text` that has at most `max` bytes and cuts no character. */
struct str codec_clip(struct str text, size_t max);
