/* Why a job does not run, from schemas/reasons.def. */
#pragma once

enum reason {
#define REASON(name, text) WHY_##name,
#include "schemas/reasons.def"
#undef REASON
    WHY_COUNT
};

static inline const char *reason_name(enum reason r) {
    static const char *const names[] = {
#define REASON(name, text) #name,
#include "schemas/reasons.def"
#undef REASON
    };
    return names[r];
}

static inline const char *reason_text(enum reason r) {
    static const char *const texts[] = {
#define REASON(name, text) text,
#include "schemas/reasons.def"
#undef REASON
    };
    return texts[r];
}
