/* Errors, structs with a size, ids, JSON: what workers and clients have in common. */
#include "common/base/id.h"
#include "common/base/mem.h"
#include "workers/sdk/sdk_int.h"

#include <errno.h>
#include <stdio.h>

int sdk_tell(struct quern_error *to, const struct err *e) {
    if (!to)
        return -1;
    *to = (struct quern_error){.code = (int)e->code,
                               .error_class = (int)e->class,
                               .retry_after_ms = e->retry_after_ms,
                               .name = quern_code_name((int)e->code)};
    if (e->code)
        snprintf(to->text, sizeof to->text, "%s", e->text);
    return -1;
}

int sdk_struct(void *to, size_t to_size, const void *from, size_t least, const char *what,
               struct err *e) {
    size_t size;
    memcpy(&size, from, sizeof size);
    if (size < least)
        return err_set(e, ERR_USAGE, "%s: its size is %zu: make it by %s_make", what, size, what);
    const char *bytes = from;
    for (size_t i = to_size; i < size; i++)
        if (bytes[i])
            return err_set(e, ERR_USAGE,
                           "%s: a member is set that this library (%s) does not have yet", what,
                           QUERN_VERSION_STRING);
    memset(to, 0, to_size);
    memcpy(to, from, size < to_size ? size : to_size);
    return 0;
}

const char *sdk_program(const char *name) {
    return name ? name : program_invocation_short_name;
}

/* ---- JSON ----------------------------------------------------------------------------------- */
int sdk_map_of_json(const char *json, const char *what, struct buf *out, struct err *e) {
    json_auto_t *value = json_bridge_parse(str_of(json), e);
    if (!value)
        return err_add(e, "%s", what);
    if (!json_is_object(value))
        return err_set(e, ERR_BAD_VALUE, "%s: must be a JSON object", what);
    if (json_bridge_to_value(value, out, e) < 0)
        return err_add(e, "%s", what);
    return out->failed
               ? err_set(e, ERR_TOO_LARGE, "%s: at most %zu bytes as msgpack", what, out->bytes_max)
               : 0;
}

int sdk_print(const json_t *json, struct buf *out, struct err *e) {
    if (!json)
        return -1;
    if (json_bridge_print(json, out) < 0 || buf_putc(out, 0) < 0)
        return err_set(e, ERR_TOO_LARGE, "as JSON it has more than %zu bytes", out->bytes_max);
    out->len--;
    return 0;
}

int sdk_json_of_value(struct str value, struct buf *out, struct err *e) {
    json_auto_t *json = json_bridge_of_value(value, e);
    return sdk_print(json, out, e);
}

char *quern_to_json(const void *msgpack, size_t size, struct quern_error *error) {
    struct buf out = BUF(SDK_JSON_MAX);
    struct err e = {0};
    int rc = sdk_json_of_value(str_make(msgpack, size), &out, &e);
    sdk_tell(error, &e);
    if (rc == 0)
        return out.at;
    buf_destroy(&out);
    return NULL;
}

void *quern_to_msgpack(const char *json, size_t *size, struct quern_error *error) {
    struct buf out = BUF(SDK_JSON_MAX);
    struct err e = {0};
    json_auto_t *value = json_bridge_parse(str_of(json), &e);
    int rc = value ? json_bridge_to_value(value, &out, &e) : -1;
    if (rc == 0 && out.failed)
        rc = err_set(&e, ERR_TOO_LARGE, "as msgpack it has more than %zu bytes", out.bytes_max);
    sdk_tell(error, &e);
    *size = rc < 0 ? 0 : out.len;
    if (rc == 0)
        return out.at;
    buf_destroy(&out);
    return NULL;
}

void quern_free(void *what) {
    mem_free(what);
}

/* ---- ids ------------------------------------------------------------------------------------ */
void quern_id_show(uint64_t id, char text[QUERN_ID_SIZE]) {
    struct id_text shown = id_show(id);
    memcpy(text, shown.at, QUERN_ID_SIZE);
}

uint64_t quern_id_parse(const char *text) {
    uint64_t id;
    return id_parse(str_of(text), &id) ? id : 0;
}
