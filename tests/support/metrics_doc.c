#include "tests/support/metrics_doc.h"

#include "broker/metrics.h"

static const char before[] =
    "# Metrics\n"
    "\n"
    "What `http://HOST:PORT/metrics` of a broker shows, in the text format of Prometheus, version\n"
    "0.0.4. `broker.ops_listen` of the settings says where; [operations.md](operations.md) how it "
    "is\n"
    "meant to be used. Generated from `schemas/metrics.def` by `metrics_doc`.\n"
    "\n"
    "- Counters begin with 0 at each start of the broker and never fall while it runs.\n"
    "- `kind` has at most %u values of its own, those that ran first, and `queue` %u; the rest is\n"
    "  added up as `other`.\n"
    "- What the relay and the sockets know is of some moment within the last second.\n"
    "- Buckets of histograms, in seconds: ";

static void put_buckets(struct buf *out) {
    for (unsigned n = 0; n < HISTOGRAM_BOUNDS; n++)
        buf_printf(out, "%s%g", n ? (n == 9 ? ",\n  " : ", ") : "",
                   (double)histogram_bounds_us[n] / 1e6);
    buf_printf(out, ".\n\n");
}

void metrics_doc_write(struct buf *out) {
    buf_printf(out, before, CORE_KINDS_SHOWN, CORE_QUEUES_SHOWN);
    put_buckets(out);
    buf_printf(out, "| name | type | labels | what it is | what to do |\n"
                    "| --- | --- | --- | --- | --- |\n");
    for (const struct metric_row *r = metric_rows(); r->name; r++)
        buf_printf(out, "| `" METRICS_PREFIX "%s` | %s | %s | %s | %s |\n", r->name, r->type,
                   r->labels, r->doc, r->advice);
}
