/* What the key of whoever speaks allows, beside his role. */
#include "broker/core/core_int.h"

void core_set_rights(struct core *c, const struct core_rights *rights) {
    ASSERT(!c->request.open);
    c->rights = rights;
}

/* What happens between requests is nobody's. */
static const struct core_rights *rights(const struct core *c) {
    return c->request.open ? c->rights : NULL;
}

static bool is_bound(const struct core_rights *r) {
    return r && r->tenant.len;
}

bool rights_bound(const struct core *c) {
    return is_bound(rights(c));
}

bool rights_see(const struct core *c, const struct job *j) {
    return !rights_bound(c) || str_eq(c->rights->tenant, job_tenant(c, j)->row.name);
}

uint32_t job_find_seen(const struct core *c, uint64_t id) {
    uint32_t i = job_find(c, id);
    return i && rights_see(c, job_at(c, i)) ? i : 0;
}

int rights_check_verb(const struct core *c, const struct request *r, struct err *e) {
    if (!is_bound(c->rights) || r->handler->bound)
        return 0;
    return err_set(e, ERR_BAD_ROLE,
                   "this is about all tenants, and key '" STR_FMT "' is for tenant '" STR_FMT "'",
                   STR_ARG(c->rights->name), STR_ARG(c->rights->tenant));
}

int rights_check_tenant(const struct core *c, struct str tenant, struct err *e) {
    if (!rights_bound(c) || str_eq(tenant, c->rights->tenant))
        return 0;
    return err_set(e, ERR_BAD_ROLE,
                   "submit.tenant: '" STR_FMT "', but key '" STR_FMT "' is for tenant '" STR_FMT
                   "'",
                   STR_ARG(tenant), STR_ARG(c->rights->name), STR_ARG(c->rights->tenant));
}

bool rights_limit_kinds(const struct core *c) {
    return rights(c) && rights(c)->kinds.n;
}

int rights_check_kind(const struct core *c, const char *where, struct str kind, struct err *e) {
    if (!rights_limit_kinds(c))
        return 0;
    for (size_t n = 0; n < c->rights->kinds.n; n++)
        if (str_eq(c->rights->kinds.at[n], kind))
            return 0;
    return err_set(e, ERR_BAD_ROLE, "%s: kind '" STR_FMT "' is none that key '" STR_FMT "' may run",
                   where, STR_ARG(kind), STR_ARG(c->rights->name));
}

int rights_check_kinds(const struct core *c, struct str_list kinds, struct err *e) {
    for (size_t n = 0; n < kinds.n; n++)
        if (rights_check_kind(c, "hello.kinds", kinds.at[n], e) < 0)
            return -1;
    return 0;
}

void rights_note(const struct core *c, struct session *s) {
    s->has_key = c->rights != NULL;
    if (s->has_key)
        memcpy(s->key, c->rights->id, sizeof s->key);
}

int rights_check_owner(const struct core *c, const struct session *s, struct err *e) {
    bool same = s->has_key == (c->rights != NULL) &&
                (!s->has_key || memcmp(s->key, c->rights->id, sizeof s->key) == 0);
    if (same)
        return 0;
    return err_set(e, ERR_DUPLICATE_INSTANCE, "this instance is that of a peer with another key");
}

/* A worker's jobs go back when the turn looks at leases, where there is room for their records. */
void core_end_key(struct core *c, const uint8_t *id) {
    SLAB_EACH(i, &c->sessions) {
        struct session *s = session_at(c, i);
        if (!s->has_key || memcmp(s->key, id, sizeof s->key) != 0)
            continue;
        if (s->worker)
            worker_at(c, s->worker)->heard_ms = 0;
        else
            session_end(c, i);
    }
}
