/* log_doc: prints docs/log_events.md. */
#include "tests/support/log_doc.h"

#include <stdio.h>

int main(void) {
    AUTO_BUF text = BUF(LOG_DOC_MAX);
    log_doc_write(&text);
    return fwrite(text.at, 1, text.len, stdout) == text.len && fflush(stdout) == 0 ? 0 : 1;
}
