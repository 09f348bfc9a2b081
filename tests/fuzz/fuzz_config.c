/* Any bytes as a configuration file: either errors, or settings that print and load to the same. */
#include "common/base/check.h"
#include "common/config/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_errors(const struct err_list *errors) {
    ASSERT(errors->count > 0);
    for (size_t i = 0; i < errors->count; i++)
        ASSERT(errors->at[i].code != ERR_OK && errors->at[i].text[0] != '\0');
}

static void check_round_trip(const struct settings *s, bool docs, char *const *envp) {
    AUTO_BUF text = BUF(8U << 20);
    int rc = settings_show_yaml(s, docs, &text);
    ASSERT(rc == 0);
    struct settings *again;
    struct err_list errors = {0};
    rc = settings_parse(buf_str(&text), "again.yaml", envp, &again, &errors);
    /* All values written out may be more than a file can hold. */
    ASSERT(rc == 0 || text.len > SETTINGS_FILE_MAX);
    if (rc == 0)
        ASSERT(settings_diff(s, again, NULL, NULL) == 0);
    settings_destroy(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char *const env[] = {"A=1s", "EMPTY=", "QUERN_LOG_LEVEL=warn", NULL};
    static char *const none[] = {NULL};
    struct settings *s;
    struct err_list errors = {0};
    if (settings_parse(str_make(data, size), "fuzz.yaml", env, &s, &errors) < 0) {
        ASSERT(s == NULL);
        check_errors(&errors);
        return 0;
    }
    ASSERT(settings_diff(s, s, NULL, NULL) == 0);
    check_round_trip(s, false, none);
    check_round_trip(s, true, none);
    settings_destroy(&s);
    return 0;
}
