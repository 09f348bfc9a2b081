#include "common/base/id.h"

static const char alphabet[33] = "0123456789abcdefghjkmnpqrstvwxyz";

struct id_text id_show(uint64_t id) {
    struct id_text t;
    for (int i = ID_CHARS - 1; i >= 0; i--) {
        t.at[i] = alphabet[id & 31];
        id >>= 5;
    }
    t.at[ID_CHARS] = '\0';
    return t;
}

static int digit_of(char c) {
    if (c >= 'A' && c <= 'Z')
        c = (char)(c - 'A' + 'a');
    if (c == 'o')
        return 0;
    if (c == 'i' || c == 'l')
        return 1;
    for (int d = 0; d < 32; d++)
        if (alphabet[d] == c)
            return d;
    return -1;
}

bool id_parse(struct str s, uint64_t *out) {
    if (s.len != ID_CHARS)
        return false;
    uint64_t id = 0;
    for (size_t i = 0; i < s.len; i++) {
        int d = digit_of(s.at[i]);
        /* 13 x 5 = 65 bits: the first character carries only 4. */
        if (d < 0 || (i == 0 && d > 15))
            return false;
        id = (id << 5) | (uint64_t)d;
    }
    if (id == 0)
        return false;
    *out = id;
    return true;
}
