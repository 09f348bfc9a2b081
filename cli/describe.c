#include "cli/describe.h"

#include "cli/input.h"
#include "common/base/buf.h"
#include "common/wire/json_bridge.h"

static int no_room(struct err *e) {
    return err_set(e, ERR_NO_MEMORY, "too large a description");
}

/* One message and its payload; `rest` is the description without what belongs to neither. */
static int describe(json_t *rest, struct arena *arena, struct client_item *out, struct err *e) {
    AUTO_BUF payload = BUF(INPUT_JSON_MAX);
    const json_t *value = json_object_get(rest, "payload");
    struct msg_submit *m = arena_try(arena, sizeof *m);
    if (!m)
        return no_room(e);
    if (value && input_object(value, &payload, e) < 0)
        return err_add(e, "payload");
    json_object_del(rest, "payload");
    if (json_bridge_to_message(msg_def(MSG_submit), rest, m, arena, e) < 0)
        return -1;
    struct str bytes = arena_try_copy(arena, buf_str(&payload));
    if (payload.len && !bytes.at)
        return no_room(e);
    *out = CLIENT_ITEM(m, bytes);
    return 0;
}

/* ---- children ------------------------------------------------------------------------------- */
static int describe_child(const json_t *json, const struct msg_submit *parent, bool then,
                          struct arena *arena, struct client_item *out, struct err *e) {
    if (!json_is_object(json))
        return err_set(e, ERR_BAD_VALUE, "must be a JSON object with the keys of submit");
    if (json_object_get(json, "children") || json_is_object(json_object_get(json, "then")))
        return err_set(e, ERR_BAD_VALUE,
                       "a child has no children of its own here; it may spawn them when it runs");
    json_t *rest = json_copy((json_t *)(uintptr_t)json); /* jansson takes no const */
    if (then)
        json_object_set_new(rest, "then", json_true());
    int rc = describe(rest, arena, out, e);
    json_decref(rest);
    if (rc < 0)
        return -1;
    struct msg_submit *m = (struct msg_submit *)(uintptr_t)out->message; /* made by describe */
    if (parent->trace.len && !m->trace.len)
        MSG_SET(m, submit, trace, parent->trace);
    return 0;
}

int describe_children(const json_t *list, const json_t *then, struct arena *arena,
                      struct client_item *parent, struct err *e) {
    if (list && !json_is_array(list))
        return err_set(e, ERR_BAD_VALUE, "children: must be a list of JSON objects");
    size_t n = json_array_size(list), all = n + (then != NULL);
    if (all > DESCRIBE_CHILDREN_MAX)
        return err_set(e, ERR_TOO_LARGE, "children: %zu, at most %d", all, DESCRIBE_CHILDREN_MAX);
    if (!all)
        return 0;
    struct client_item *at = arena_try_array(arena, all, sizeof *at);
    if (!at)
        return no_room(e);
    for (size_t i = 0; i < n; i++)
        if (describe_child(json_array_get(list, i), parent->message, false, arena, &at[i], e) < 0)
            return err_add(e, "child %zu", i);
    if (then && describe_child(then, parent->message, true, arena, &at[n], e) < 0)
        return err_add(e, "then");
    parent->children = at;
    parent->n_children = (uint32_t)all;
    return 0;
}

/* ---- a job ---------------------------------------------------------------------------------- */
int describe_job(const json_t *json, const json_t *defaults, struct arena *arena,
                 struct client_item *out, struct err *e) {
    if (!json_is_object(json))
        return err_set(e, ERR_BAD_VALUE, "must be a JSON object with the keys of submit");
    json_auto_t *rest = json_copy((json_t *)(uintptr_t)defaults); /* jansson takes no const */
    json_object_update(rest, (json_t *)(uintptr_t)json);
    json_object_del(rest, "children");
    json_object_del(rest, "then");
    if (describe(rest, arena, out, e) < 0)
        return -1;
    return describe_children(json_object_get(json, "children"), json_object_get(json, "then"),
                             arena, out, e);
}
