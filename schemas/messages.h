/* The structs, verbs and limits that come from schemas/messages.def.
 *
 * `struct msg_x` holds one envelope of message x. `has` has bit n set when field n is present; an
 * absent field is zero. Text, bytes and lists borrow: from the frame or the arena they were decoded
 * from, or from whatever the sender filled in. `MSG_HAS(&m, submit, key)` tests a field. */
#pragma once

#include "common/base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct str_list {
    const struct str *at;
    size_t n;
};

struct uint_list {
    const uint64_t *at;
    size_t n;
};

#define MSG_CTYPE_BOOL     bool
#define MSG_CTYPE_UINT     uint64_t
#define MSG_CTYPE_ID       uint64_t
#define MSG_CTYPE_TEXT     struct str
#define MSG_CTYPE_NAME     struct str
#define MSG_CTYPE_BYTES    struct str
#define MSG_CTYPE_INSTANCE struct str
#define MSG_CTYPE_MAP      struct str
#define MSG_CTYPE_NAMES    struct str_list
#define MSG_CTYPE_UINTS    struct uint_list

#define VERB(name, number, message, roles, items_max, doc)
#define MESSAGE(name, doc)                                                                         \
    struct msg_##name {                                                                            \
        uint64_t has;
#define FIELD(message, number, name, type, need, min, max, doc) MSG_CTYPE_##type name;
#define END(name)                                                                                  \
    }                                                                                              \
    ;
#include "schemas/messages.def"
#undef VERB
#undef MESSAGE
#undef FIELD
#undef END

/* MSGBIT_submit_key == 1 << 6 */
#define VERB(name, number, message, roles, items_max, doc)
#define MESSAGE(name, doc)
#define FIELD(message, number, name, type, need, min, max, doc)                                    \
    static const uint64_t MSGBIT_##message##_##name __attribute__((unused)) = 1ULL << (number);
#define END(name)
#include "schemas/messages.def"
#undef VERB
#undef MESSAGE
#undef FIELD
#undef END

#define MSG_HAS(m, message, field) (((m)->has & MSGBIT_##message##_##field) != 0)
/* Sets a field and marks it present. */
#define MSG_SET(m, message, field, value)                                                          \
    ((m)->field = (value), (void)((m)->has |= MSGBIT_##message##_##field))

enum verb {
    VERB_NONE = 0,
#define VERB(name, number, message, roles, items_max, doc) VERB_##name = (number),
#define MESSAGE(name, doc)
#define FIELD(message, number, name, type, need, min, max, doc)
#define END(name)
#include "schemas/messages.def"
#undef VERB
#undef MESSAGE
#undef FIELD
#undef END
};

enum msg_id {
#define VERB(name, number, message, roles, items_max, doc)
#define MESSAGE(name, doc) MSG_##name,
#define FIELD(message, number, name, type, need, min, max, doc)
#define END(name)
#include "schemas/messages.def"
#undef VERB
#undef MESSAGE
#undef FIELD
#undef END
    MSG_COUNT
};

enum role { ROLE_NONE = 0, ROLE_CLIENT = 1, ROLE_WORKER = 2, ROLE_GATEWAY = 3, ROLE_OPERATOR = 4 };
enum durability { DURABLE_SYNC = 0, DURABLE_ASYNC = 1, DURABLE_NONE = 2 };
enum result_outcome {
    OUTCOME_DONE = 1,
    OUTCOME_FAILED = 2,
    OUTCOME_REJECTED = 3,
    OUTCOME_HOLD = 4,
    OUTCOME_CANCELLED = 5,
};
