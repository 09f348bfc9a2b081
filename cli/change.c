#include "cli/change.h"

#include "cli/out.h"

/* One of the errors has been told of as that of the command. */
static void complain_about_more(const struct cli *c, const json_t *told, const struct err *first) {
    bool seen = false;
    for (size_t i = 0; i < json_array_size(told); i++) {
        struct err found = {0};
        cli_item_error(json_array_get(told, i), &found);
        bool same = found.code == first->code && strcmp(found.text, first->text) == 0;
        if (found.code && (seen || !same))
            cli_complain(c, &found);
        seen = seen || same;
    }
}

int change_finish(struct cli *c, json_t *told, bool many, const struct err *e, const char *said) {
    json_auto_t *owned = told;
    if (c->json && json_array_size(told) && (many || !e->code))
        cli_json(c, many ? owned : json_array_get(owned, 0));
    else if (!e->code && said)
        printf("%s\n", said);
    if (!e->code)
        return 0;
    int status = cli_fail(c, e);
    complain_about_more(c, owned, e);
    return status;
}

uint64_t change_count(const json_t *told) {
    return told ? out_field(json_array_get(told, 0), "count") : 0;
}

int change_one(struct cli *c, enum verb verb, const void *message, json_t **told, struct err *e) {
    struct client_item item = {.message = message};
    if (cli_connect(c, e) < 0)
        return -1;
    return cli_change(c, verb, &item, 1, told, e);
}
