/* The tables that come from schemas/messages.def. */
#include "common/wire/codec.h"

#include "common/base/check.h"

#include <stddef.h>

/* Who may send a verb, as messages.def writes it. */
enum sender {
    B = ROLE_BIT_BROKER,
    C = ROLE_BIT(ROLE_CLIENT),
    W = ROLE_BIT(ROLE_WORKER),
    G = ROLE_BIT(ROLE_GATEWAY),
    O = ROLE_BIT(ROLE_OPERATOR),
};

#define NEED_REQ 1ULL
#define NEED_OPT 0ULL

/* PICK(PROBE_size, 0) is 1 for the one name that has a probe, and 0 for all others. */
#define PROBE_size                  0, 1
#define RESULT_PROBE_result_size    0, 1
#define CHILDREN_PROBE_children     0, 1
#define PICK_(ignored, picked, ...) picked
#define PICK(...)                   PICK_(__VA_ARGS__)
#define IS_SIZE(name)               PICK(PROBE_##name, 0, 0)
#define IS_RESULT_SIZE(name)        PICK(RESULT_PROBE_##name, 0, 0)

#define IS_CHILDREN(name) PICK(CHILDREN_PROBE_##name, 0, 0)

/* Places of the fields: AT_submit_kind, ..., COUNT_submit. */
#define VERB(name, number, message, roles, items_max, doc)
#define MESSAGE(name, doc)                                      enum {
#define FIELD(message, number, name, type, need, min, max, doc) AT_##message##_##name,
#define END(name)                                                                                  \
    COUNT_##name                                                                                   \
    }                                                                                              \
    ;
#include "schemas/messages.def"
#undef MESSAGE
#undef FIELD
#undef END

#define MESSAGE(name, doc)                                      enum { REQUIRED_##name = 0ULL
#define FIELD(message, number, name, type, need, min, max, doc) | (NEED_##need << (number))
#define END(name)                                                                                  \
    }                                                                                              \
    ;
#include "schemas/messages.def"
#undef MESSAGE
#undef FIELD
#undef END

#define MESSAGE(name, doc)                                      enum { SIZE_##name = 0
#define FIELD(message, number, name, type, need, min, max, doc) +IS_SIZE(name) * (number)
#define END(name)                                                                                  \
    }                                                                                              \
    ;
#include "schemas/messages.def"
#undef MESSAGE
#undef FIELD
#undef END

#define MESSAGE(name, doc)                                      enum { RESULT_SIZE_##name = 0
#define FIELD(message, number, name, type, need, min, max, doc) +IS_RESULT_SIZE(name) * (number)
#define END(name)                                                                                  \
    }                                                                                              \
    ;
#include "schemas/messages.def"
#undef MESSAGE
#undef FIELD
#undef END

#define MESSAGE(name, doc)                                      enum { CHILDREN_##name = 0
#define FIELD(message, number, name, type, need, min, max, doc) +IS_CHILDREN(name) * (number)
#define END(name)                                                                                  \
    }                                                                                              \
    ;
#include "schemas/messages.def"
#undef MESSAGE
#undef FIELD
#undef END

#define MESSAGE(name, doc)                                                                         \
    _Static_assert(offsetof(struct msg_##name, has) == 0, "`has` is where the codec looks");
#define FIELD(message, number, name, type, need, min, max, doc)                                    \
    _Static_assert((number) >= 1 && (number) <= CODEC_FIELD_MAX, "a field has one bit of 64");
#define END(name)
#include "schemas/messages.def"
#undef MESSAGE
#undef FIELD
#undef END

#define MESSAGE(name, doc) static const struct field_def fields_##name[] = {
#define FIELD(message, number, name, type, need, min, max, doc)                                    \
    {number, FIELD_##type, NEED_##need != 0, offsetof(struct msg_##message, name), min, max,       \
     #name,  doc},
#define END(name)                                                                                  \
    }                                                                                              \
    ;
#include "schemas/messages.def"
#undef MESSAGE
#undef FIELD
#undef END

/* A field number that is given twice initialises its `at` twice, which the compiler refuses. */
static const struct msg_def msgs[MSG_COUNT] = {
#define MESSAGE(name, doc)                                                                         \
    {                                                                                              \
        MSG_##name, #name, doc, fields_##name, COUNT_##name, sizeof(struct msg_##name),            \
            REQUIRED_##name, SIZE_##name, RESULT_SIZE_##name, CHILDREN_##name,
#define FIELD(message, number, name, type, need, min, max, doc)                                    \
    .at[number] = AT_##message##_##name + 1,
#define END(name)                                                                                  \
    }                                                                                              \
    ,
#include "schemas/messages.def"
#undef MESSAGE
#undef FIELD
#undef END
#undef VERB
};

#define VERB_NUMBER_MAX 127

static const struct verb_def verbs[VERB_NUMBER_MAX + 1] = {
#define VERB(name, number, message, roles, items_max, doc)                                         \
    [number] = {VERB_##name, #name, MSG_##message, roles, items_max, doc},
#define MESSAGE(name, doc)
#define FIELD(message, number, name, type, need, min, max, doc)
#define END(name)
#include "schemas/messages.def"
#undef VERB
#undef MESSAGE
#undef FIELD
#undef END
};

const struct msg_def *msg_def(enum msg_id id) {
    ASSERT((unsigned)id < MSG_COUNT);
    return &msgs[id];
}

const struct field_def *msg_field(const struct msg_def *def, uint64_t number) {
    if (number > CODEC_FIELD_MAX || !def->at[number])
        return NULL;
    return &def->fields[def->at[number] - 1];
}

const struct field_def *msg_field_named(const struct msg_def *def, struct str name) {
    for (unsigned i = 0; i < def->n; i++)
        if (str_eq(name, str_of(def->fields[i].name)))
            return &def->fields[i];
    return NULL;
}

const struct verb_def *verb_def(uint64_t number) {
    return number <= VERB_NUMBER_MAX && verbs[number].name ? &verbs[number] : NULL;
}

const struct verb_def *verb_named(struct str name) {
    for (unsigned i = 0; i <= VERB_NUMBER_MAX; i++)
        if (verbs[i].name && str_eq(name, str_of(verbs[i].name)))
            return &verbs[i];
    return NULL;
}
