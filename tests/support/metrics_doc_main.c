/* metrics_doc: prints docs/metrics.md. */
#include "tests/support/metrics_doc.h"

#include <stdio.h>

int main(void) {
    AUTO_BUF text = BUF(METRICS_DOC_MAX);
    metrics_doc_write(&text);
    return fwrite(text.at, 1, text.len, stdout) == text.len && fflush(stdout) == 0 ? 0 : 1;
}
