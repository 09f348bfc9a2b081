#include "workers/harness/children.h"

#include "common/wire/codec.h"

/* What the broker counts for a child beside its payload and its texts. */
#define HEAD_BYTES (320 + 3 * NAME_MAX_LEN)

static size_t weight_of(const struct msg_submit *m, struct str payload) {
    return HEAD_BYTES + m->key.len + m->unique.len + m->trace.len + payload.len;
}

static int check(const struct children *k, const struct msg_submit *m, struct str payload,
                 struct err *e) {
    if (k->n >= CHILDREN_MAX)
        return err_set(e, ERR_TOO_LARGE, "children: %u, at most %u in one result", k->n + 1,
                       CHILDREN_MAX);
    if (payload.len > BODY_MAX_LEN)
        return err_set(e, ERR_TOO_LARGE, "payload: %zu bytes, at most %u", payload.len,
                       BODY_MAX_LEN);
    if (codec_check(msg_def(MSG_submit), m, e) < 0)
        return -1;
    if (m->then && (MSG_HAS(m, submit, delay_ms) || MSG_HAS(m, submit, run_at_ms)))
        return err_set(e, ERR_BAD_VALUE, "submit.then: waits for its parent, not for a time");
    if (m->then && k->has_then)
        return err_set(e, ERR_BAD_VALUE, "submit.then: there is one already, a job has one");
    size_t weight = k->weight + weight_of(m, payload);
    if (weight > CHILDREN_BYTES_MAX)
        return err_set(e, ERR_TOO_LARGE, "children: %zu bytes with their heads, at most %u", weight,
                       CHILDREN_BYTES_MAX);
    return frame_check_payload(payload, e);
}

int children_add(struct children *k, const struct msg_submit *m, struct str payload,
                 struct err *e) {
    struct msg_submit sized = *m;
    if (payload.len)
        MSG_SET(&sized, submit, size, payload.len);
    if (check(k, &sized, payload, e) < 0)
        return err_add(e, "child %u", k->n);
    k->envelopes.bytes_max = k->payloads.bytes_max = FRAME_BYTES_MAX;
    size_t before = k->envelopes.len;
    if (codec_put(&k->envelopes, MSG_submit, &sized) < 0 ||
        buf_put_str(&k->payloads, payload) < 0) {
        k->envelopes.len = before;
        k->envelopes.failed = k->payloads.failed = false;
        return err_set(e, ERR_NO_MEMORY, "child %u: no memory for it", k->n);
    }
    k->n++;
    k->has_then |= m->then;
    k->weight += weight_of(m, payload);
    return 0;
}

void children_destroy(struct children *k) {
    buf_destroy(&k->envelopes);
    buf_destroy(&k->payloads);
    *k = (struct children){0};
}

struct frame_children children_parts(const struct children *k) {
    return (struct frame_children){k->n, buf_str(&k->envelopes), buf_str(&k->payloads)};
}

size_t children_memory(const struct children *k) {
    return k->envelopes.size + k->payloads.size;
}
