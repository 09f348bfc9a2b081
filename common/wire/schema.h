/* What schemas/messages.def says, for readers outside: a JSON Schema for each message, and the
 * reference page docs/messages.md. The schemas describe the JSON of json_bridge.h. */
#pragma once

#include "common/wire/json_bridge.h"

/* JSON Schema, draft 2020-12. */
json_t *schema_of_message(const struct msg_def *def);
/* The page, in Markdown. */
int schema_put_page(struct buf *out);
