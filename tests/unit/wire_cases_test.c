/* Messages as data: tests/wire/ has one block for each, with its bytes and what is read in them.
 *
 *   case: NAME                   starts a block; a line that starts with # is a comment
 *   head: HEX, body: HEX, payloads: HEX
 *                                the frames; lines that start with a blank go on with the last one
 *   lenient:                     unknown fields are passed over
 *   written:                     these are the very bytes that we write
 *   refused: CODE TEXT           the whole message is, with that error
 *   item: JSON                   the next item, as JSON
 *   item: CODE TEXT              the next item is bad, with that error
 *   payload: HEX, result: HEX    what belongs to the item above
 *
 * Every verb must be read in at least one case. */
#include "common/base/mem.h"
#include "common/wire/frame.h"
#include "common/wire/json_bridge.h"
#include "tests/support/hex.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define FOLDER QUERN_SOURCE_DIR "/tests/wire"
#define ITEMS  16

struct expected {
    struct str text, payload, result; /* payloads as hex */
};

struct wire_case {
    struct str name, head, body, payloads, refused;
    bool lenient, written;
    struct expected items[ITEMS];
    uint32_t n;
};

static bool seen[128];
static unsigned cases_run;

/* ---- running one ---------------------------------------------------------------------------- */
static void mismatch(const struct wire_case *x, const char *what, struct str wanted,
                     struct str got) {
    fail_msg("case " STR_FMT ": %s\n  wanted " STR_FMT "\n  got    " STR_FMT, STR_ARG(x->name),
             what, STR_ARG(wanted), STR_ARG(got));
}

static void put_hex(struct str hex, struct buf *out) {
    AUTO_BUF text = BUF(1U << 20);
    buf_put_str(&text, hex);
    buf_putc(&text, '\0');
    hex_read(text.at, out);
}

static void expect_bytes(const struct wire_case *x, const char *what, struct str hex,
                         struct str got) {
    AUTO_BUF wanted = BUF(1U << 20);
    put_hex(hex, &wanted);
    if (!str_eq(buf_str(&wanted), got))
        mismatch(x, what, hex, got);
}

/* "CODE TEXT", which is how a case writes an error. */
static void expect_error(const struct wire_case *x, struct str wanted, const struct err *e) {
    AUTO_BUF got = BUF(1024);
    buf_printf(&got, "%s %s", err_code_name(e->code), e->text);
    if (!str_eq(buf_str(&got), wanted))
        mismatch(x, "another error", wanted, buf_str(&got));
}

static void expect_item(const struct wire_case *x, const struct expected *it, int rc,
                        const struct msg_def *def, const void *msg, const struct err *e) {
    if (rc < 0) {
        expect_error(x, it->text, e);
        return;
    }
    AUTO_BUF got = BUF(1U << 20);
    struct err why = {0};
    json_auto_t *json = json_bridge_of_message(def, msg, &why);
    if (!json)
        fail_msg("case " STR_FMT ": %s", STR_ARG(x->name), why.text);
    json_bridge_print(json, &got);
    if (!str_eq(buf_str(&got), it->text))
        mismatch(x, "another item", it->text, buf_str(&got));
}

static void run_items(const struct wire_case *x, struct frame_in *in, struct frame_out *again) {
    AUTO_ARENA arena = arena_new(1U << 20);
    frame_begin(again, in->verb->verb, in->sequence);
    for (uint32_t i = 0;; i++) {
        union msg_any m;
        struct frame_item item;
        struct err e = {0};
        int rc = frame_next(in, &m, arena, &item, &e);
        if (rc == 0 && i == x->n)
            return;
        if (rc == 0 || i == x->n)
            fail_msg("case " STR_FMT ": %u items, not %u", STR_ARG(x->name), in->items, x->n);
        const struct msg_def *def = msg_def(item.child ? MSG_submit : in->verb->message);
        expect_item(x, &x->items[i], rc, def, &m, &e);
        expect_bytes(x, "another payload", x->items[i].payload, item.payload);
        expect_bytes(x, "another result", x->items[i].result, item.result);
        if (rc > 0 && item.child)
            assert_int_equal(frame_add_child(again, &m.submit, item.payload), 0);
        else if (rc > 0)
            assert_int_equal(frame_add_payload(again, &m, item.payload, item.result), 0);
        seen[in->verb->verb] |= rc > 0;
    }
}

static void expect_written(const struct wire_case *x, const struct frame_out *f) {
    expect_bytes(x, "we write another head", x->head, buf_str(&f->head));
    expect_bytes(x, "we write another body", x->body, buf_str(&f->body));
    expect_bytes(x, "we write other payloads", x->payloads, buf_str(&f->payloads));
}

static void run_case(const struct wire_case *x) {
    AUTO_BUF head = BUF(1U << 20);
    AUTO_BUF body = BUF(1U << 20);
    AUTO_BUF payloads = BUF(1U << 20);
    put_hex(x->head, &head);
    put_hex(x->body, &body);
    put_hex(x->payloads, &payloads);
    struct frame_in in;
    struct err e = {0};
    cases_run++;
    if (frame_open(&in, buf_str(&head), buf_str(&body), buf_str(&payloads), &e) < 0) {
        expect_error(x, x->refused, &e);
        return;
    }
    if (x->refused.len)
        mismatch(x, "it was not refused", x->refused, STR(""));
    in.lenient = x->lenient;
    AUTO_FRAME_OUT again = FRAME_OUT;
    run_items(x, &in, &again);
    if (x->written)
        expect_written(x, &again);
}

/* ---- reading the files ---------------------------------------------------------------------- */
/* The rest of a line behind "word:", and the lines that go on with it. */
static struct str take_value(struct str *rest) {
    const char *at = rest->at, *end = at + rest->len, *stop = at;
    do {
        const char *newline = memchr(stop, '\n', (size_t)(end - stop));
        stop = newline ? newline + 1 : end;
    } while (stop < end && *stop == ' ');
    rest->len -= (size_t)(stop - at);
    rest->at = stop;
    return str_trim(str_make(at, (size_t)(stop - at)));
}

static struct str take_word(struct str *rest) {
    const char *colon = memchr(rest->at, ':', rest->len);
    assert_non_null(colon);
    struct str word = str_make(rest->at, (size_t)(colon - rest->at));
    rest->len -= word.len + 1;
    rest->at = colon + 1;
    return word;
}

static void set_line(struct wire_case *x, struct str word, struct str value) {
    struct expected *last = x->n ? &x->items[x->n - 1] : NULL;
    if (str_eq(word, STR("head"))) {
        x->head = value;
    } else if (str_eq(word, STR("body"))) {
        x->body = value;
    } else if (str_eq(word, STR("payloads"))) {
        x->payloads = value;
    } else if (str_eq(word, STR("refused"))) {
        x->refused = value;
    } else if (str_eq(word, STR("lenient"))) {
        x->lenient = true;
    } else if (str_eq(word, STR("written"))) {
        x->written = true;
    } else if (str_eq(word, STR("item"))) {
        assert_true(x->n < ITEMS);
        x->items[x->n++].text = value;
    } else if (str_eq(word, STR("payload")) && last) {
        last->payload = value;
    } else if (str_eq(word, STR("result")) && last) {
        last->result = value;
    } else {
        fail_msg("case " STR_FMT ": what is '" STR_FMT "'?", STR_ARG(x->name), STR_ARG(word));
    }
}

static void run_text(struct str rest) {
    struct wire_case x = {0};
    while (rest.len) {
        if (rest.at[0] == '#' || rest.at[0] == '\n') {
            take_value(&rest);
            continue;
        }
        struct str word = take_word(&rest), value = take_value(&rest);
        if (!str_eq(word, STR("case"))) {
            set_line(&x, word, value);
            continue;
        }
        if (x.name.len)
            run_case(&x);
        x = (struct wire_case){.name = value};
    }
    assert_true(x.name.len > 0);
    run_case(&x);
}

static int is_case(const struct dirent *entry) {
    struct str name = str_of(entry->d_name), ending = STR(".case");
    return name.len > ending.len &&
           str_eq(str_make(name.at + name.len - ending.len, ending.len), ending);
}

static void
all_cases(void **state) { /* P-5, P-6, P-7, P-9, P-10, P-11, P-12, P-13, P-14, P-15, P-21 */
    (void)state;
    struct dirent **entries;
    int n = scandir(FOLDER, &entries, is_case, alphasort);
    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        char path[4096];
        snprintf(path, sizeof path, FOLDER "/%s", entries[i]->d_name);
        AUTO_BUF text = BUF(1U << 20);
        file_read(path, &text);
        run_text(buf_str(&text));
        free(entries[i]);
    }
    free(entries);
    printf("%u cases\n", cases_run);
}

static void every_verb_has_a_case(void **state) {
    (void)state;
    for (uint64_t number = 0; number < sizeof seen; number++)
        if (verb_def(number) && !seen[number])
            fail_msg("no case has a good item of verb %s", verb_def(number)->name);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_cases),
        cmocka_unit_test(every_verb_has_a_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
