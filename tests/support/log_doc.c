#include "tests/support/log_doc.h"

#include "common/log/log.h"

static const char before[] =
    "# Log events\n"
    "\n"
    "Every line that a program writes is one of these. Generated from `schemas/log_events.def` by\n"
    "`log_doc`; [operations.md](operations.md#the-log) says where the lines go, and how to follow "
    "one\n"
    "question through them.\n"
    "\n"
    "```\n"
    "{\"time\":\"2026-11-21T22:25:50.300Z\",\"level\":\"info\",\"event\":\"attempt.failed\","
    "\"program\":"
    "\"quern-broker\",\n"
    " \"pid\":6691,\"text\":\"an attempt has "
    "failed\",\"job\":\"0000400000001\",\"tenant\":\"default\","
    "\"trace\":\"0af7...\", ...}\n"
    "```\n"
    "\n"
    "- A line is one JSON object of at most %d bytes, in UTF-8, whatever was put into it: bytes "
    "that "
    "are\n"
    "  no UTF-8 come out as `?`, and a value that does not fit ends with `...`, behind which no "
    "field\n"
    "  follows.\n"
    "- `event` is the stable id: its meaning never changes, and a name that goes is not used "
    "again.\n"
    "  `text` is the same for all lines of an event, and may be worded better one day.\n"
    "- `time` is UTC, to the millisecond.\n"
    "- `level`: *error*, it stops or cannot do its work; *warn*, somebody should look; *info*, "
    "what "
    "is\n"
    "  worth knowing of a day; *debug*, every step of every job.\n"
    "- A line about a job has `job`, `tenant` and `trace`; one about an attempt also its `fence`.\n"
    "- No line has a payload, a result, a token or a key in it. The words of an error that a job's "
    "own\n"
    "  code has chosen are there (`what`, `error`).\n"
    "- *a second* is how many lines of it one process writes in a second at most, where others "
    "could "
    "cause\n"
    "  more: the next one then has `suppressed`, how many were left out.\n"
    "- A line that cannot be written at once is lost; the next one that can be is followed by "
    "`log.lost`.\n"
    "\n"
    "| event | level | a second | what it says | what to do |\n"
    "| --- | --- | --- | --- | --- |\n";

void log_doc_write(struct buf *out) {
    buf_printf(out, before, LOG_LINE_MAX);
    for (int id = 0; id < LOG_EVENTS; id++) {
        const struct log_row *r = log_row((enum log_id)id);
        buf_printf(out, "| `%s` | %s | ", r->name, log_level_name(r->level));
        if (r->per_second)
            buf_printf(out, "%u", r->per_second);
        buf_printf(out, " | %s | %s |\n", r->text, r->advice);
    }
}
