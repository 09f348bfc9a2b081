#include "common/config/config_int.h"

#include "common/base/check.h"
#include "common/base/hex.h"
#include "common/base/units.h"
#include "common/config/nearest.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

struct reading {
    const struct settings_row *row;
    struct str text;
    struct arena *arena;
    void *field;
    struct err *e;
};

/* A number's notation. */
struct notation {
    int (*read)(struct str s, uint64_t *v, struct err *e);
    struct units_text (*show)(uint64_t v);
    bool none; /* "none" is 0 and within any bounds */
};

struct type {
    const char *words;
    int (*read)(const struct reading *r);
    void (*show)(const struct settings_row *row, const void *field, struct buf *out);
    size_t size;
    const struct notation *number;
    bool quoted;
};

static const struct type *type_of(const struct settings_row *row);

/* How many bytes of `s` to show, at least one: a whole character, or one that cannot be shown. */
static size_t character(struct str s, bool *shown) {
    unsigned char c = (unsigned char)s.at[0];
    *shown = c >= 0x20 && c != 0x7F;
    if (c < 0x80)
        return 1;
    for (size_t n = 2; n <= 4 && n <= s.len; n++)
        if (str_is_utf8(str_make(s.at, n)))
            return n;
    *shown = false;
    return 1;
}

struct clip config_clip(struct str s) {
    struct clip clip;
    size_t used = 0;
    while (s.len) {
        bool shown;
        size_t n = character(s, &shown);
        if (used + n > sizeof clip.at - 4) {
            memcpy(clip.at + used, "...", 3);
            used += 3;
            break;
        }
        if (shown)
            memcpy(clip.at + used, s.at, n);
        else
            clip.at[used] = '?';
        used += shown ? n : 1;
        s.at += n;
        s.len -= n;
    }
    clip.at[used] = '\0';
    return clip;
}

/* ---- true or false ---- */

static const struct word {
    const char *text;
    bool value;
} words[] = {
    {"true", true}, {"false", false}, {"yes", true}, {"no", false}, {"on", true}, {"off", false},
};

static int read_bool(const struct reading *r) {
    for (size_t i = 0; i < COUNT(words); i++) {
        if (str_eq(r->text, str_of(words[i].text))) {
            *(bool *)r->field = words[i].value;
            return 0;
        }
    }
    return err_set(r->e, ERR_BAD_CONFIG, "'%s' is not true or false", config_clip(r->text).at);
}

static void show_bool(const struct settings_row *row, const void *field, struct buf *out) {
    (void)row;
    buf_put_str(out, *(const bool *)field ? STR("true") : STR("false"));
}

/* ---- numbers ---- */

static int count_read(struct str s, uint64_t *v, struct err *e) {
    if (str_to_u64(s, UINT64_MAX, v))
        return 0;
    return err_set(e, ERR_BAD_CONFIG, "'" STR_FMT "' is not a whole number", STR_ARG(s));
}

static struct units_text count_show(uint64_t v) {
    struct units_text t;
    snprintf(t.at, sizeof t.at, "%" PRIu64, v);
    return t;
}

static const struct notation counts = {count_read, count_show, false};
static const struct notation durations = {units_duration, units_show_duration, false};
static const struct notation durations_none = {units_duration, units_show_duration, true};
static const struct notation sizes = {units_size, units_show_size, false};
static const struct notation sizes_none = {units_size, units_show_size, true};

static bool has_none(const struct settings_row *row) {
    const struct notation *number = type_of(row)->number;
    return row->type == SETTINGS_RATE || (number && number->none);
}

static int out_of_bounds(const struct reading *r) {
    return err_set(r->e, ERR_BAD_CONFIG, "%s is out of bounds: %s to %s%s", config_clip(r->text).at,
                   r->row->min, r->row->max, has_none(r->row) ? ", or none" : "");
}

static bool is_none(struct str s) {
    return str_eq(s, STR("none")) || str_eq(s, STR("0"));
}

static int read_number(const struct reading *r) {
    const struct notation *number = type_of(r->row)->number;
    uint64_t *field = r->field;
    if (number->none && is_none(r->text)) {
        *field = 0;
        return 0;
    }
    uint64_t v, min, max;
    if (number->read(r->text, &v, r->e) < 0)
        return -1;
    int rc = number->read(str_of(r->row->min), &min, NULL);
    rc |= number->read(str_of(r->row->max), &max, NULL);
    ASSERT(rc == 0);
    if (v < min || v > max)
        return out_of_bounds(r);
    *field = v;
    return 0;
}

static void show_number(const struct settings_row *row, const void *field, struct buf *out) {
    const struct notation *number = type_of(row)->number;
    uint64_t v = *(const uint64_t *)field;
    if (number->none && v == 0)
        buf_put_str(out, STR("none"));
    else
        buf_put_str(out, str_of(number->show(v).at));
}

/* ---- rates ---- */

static const struct span {
    const char *name;
    uint64_t ms;
} spans[] = {{"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};

static int rate_read(struct str s, struct settings_rate *rate, struct err *e) {
    const char *slash = s.len ? memchr(s.at, '/', s.len) : NULL;
    uint64_t count;
    size_t before = slash ? (size_t)(slash - s.at) : 0;
    if (slash && str_to_u64(str_make(s.at, before), UINT32_MAX, &count)) {
        struct str name = {slash + 1, s.len - before - 1};
        for (size_t i = 0; i < COUNT(spans); i++) {
            if (str_eq(name, str_of(spans[i].name))) {
                *rate = (struct settings_rate){count, spans[i].ms};
                return 0;
            }
        }
    }
    return err_set(e, ERR_BAD_CONFIG,
                   "'" STR_FMT "' is not a rate: a whole number and /s, /m, /h or /d, or none",
                   STR_ARG(s));
}

static uint64_t per_day(struct settings_rate rate) {
    ASSERT(rate.per_ms);
    return rate.count * (86400000 / rate.per_ms);
}

static int read_rate(const struct reading *r) {
    struct settings_rate rate = {0}, min = {0}, max = {0};
    if (is_none(r->text)) {
        *(struct settings_rate *)r->field = (struct settings_rate){0};
        return 0;
    }
    if (rate_read(r->text, &rate, r->e) < 0)
        return -1;
    int rc = rate_read(str_of(r->row->min), &min, NULL);
    rc |= rate_read(str_of(r->row->max), &max, NULL);
    ASSERT(rc == 0);
    if (per_day(rate) < per_day(min) || per_day(rate) > per_day(max))
        return out_of_bounds(r);
    *(struct settings_rate *)r->field = rate;
    return 0;
}

static void show_rate(const struct settings_row *row, const void *field, struct buf *out) {
    (void)row;
    const struct settings_rate *rate = field;
    if (rate->count == 0) {
        buf_put_str(out, STR("none"));
        return;
    }
    size_t i = 0;
    while (spans[i].ms != rate->per_ms)
        i++;
    buf_printf(out, "%" PRIu64 "/%s", rate->count, spans[i].name);
}

/* ---- words of a closed list ---- */

static const struct choice {
    enum settings_type type;
    unsigned value;
    const char *text;
} choices[] = {
#define CHOICE(type, constant, text) {SETTINGS_##type, SETTINGS_##constant, text},
#include "schemas/settings.def"
};

#define CHOICES(type, name)                                                                        \
    _Static_assert(sizeof(enum settings_##name) == sizeof(unsigned), "a choice is an unsigned");
#include "schemas/settings.def"

static void show_choices(enum settings_type type, struct buf *out) {
    const char *between = "";
    for (size_t i = 0; i < COUNT(choices); i++) {
        if (choices[i].type == type) {
            buf_printf(out, "%s%s", between, choices[i].text);
            between = ", ";
        }
    }
}

static int read_choice(const struct reading *r) {
    struct nearest nearest = nearest_start(r->text);
    for (size_t i = 0; i < COUNT(choices); i++) {
        if (choices[i].type != r->row->type)
            continue;
        if (str_eq(r->text, str_of(choices[i].text))) {
            memcpy(r->field, &choices[i].value, sizeof choices[i].value);
            return 0;
        }
        nearest_offer(&nearest, str_of(choices[i].text));
    }
    AUTO_BUF list = BUF(ERR_TEXT_MAX);
    show_choices(r->row->type, &list);
    return err_set(r->e, ERR_BAD_CONFIG, "'%s' is none of " STR_FMT "%s" STR_FMT,
                   config_clip(r->text).at, STR_ARG(buf_str(&list)),
                   nearest.best.len ? "; did you mean " : "", STR_ARG(nearest.best));
}

static void show_choice(const struct settings_row *row, const void *field, struct buf *out) {
    unsigned value;
    memcpy(&value, field, sizeof value);
    for (size_t i = 0; i < COUNT(choices); i++)
        if (choices[i].type == row->type && choices[i].value == value)
            buf_put_str(out, str_of(choices[i].text));
}

/* ---- texts ---- */

static int read_text(const struct reading *r) {
    uint64_t min = 0, max = 0;
    count_read(str_of(r->row->min), &min, NULL);
    count_read(str_of(r->row->max), &max, NULL);
    if (r->text.len < min || r->text.len > max)
        return err_set(r->e, ERR_BAD_CONFIG, "is %zu bytes long: %s to %s are allowed", r->text.len,
                       r->row->min, r->row->max);
    for (size_t i = 0; i < r->text.len; i++)
        if ((unsigned char)r->text.at[i] < 0x20 || r->text.at[i] == 0x7F)
            return err_set(r->e, ERR_BAD_CONFIG,
                           "'%s' has a line break or another control character",
                           config_clip(r->text).at);
    if (!str_is_utf8(r->text))
        return err_set(r->e, ERR_BAD_CONFIG, "'%s' is not UTF-8", config_clip(r->text).at);
    struct str copy = arena_try_copy(r->arena, r->text);
    if (!copy.at)
        return err_set(r->e, ERR_NO_MEMORY, "no memory for it");
    *(struct str *)r->field = copy;
    return 0;
}

static void show_text(const struct settings_row *row, const void *field, struct buf *out) {
    (void)row;
    buf_put_str(out, *(const struct str *)field);
}

#define NAME_RULE "1 to 64 of A-Z a-z 0-9 . _ : -, not beginning with . or -"

static int read_name(const struct reading *r) {
    if (r->text.len && !str_is_name(r->text, SETTINGS_NAME_MAX))
        return err_set(r->e, ERR_BAD_CONFIG, "'%s' is not a name: " NAME_RULE,
                       config_clip(r->text).at);
    return read_text(r);
}

static int read_tenant(const struct reading *r) {
    return str_eq(r->text, STR("*")) ? read_text(r) : read_name(r);
}

/* A secret that was written here by mistake must not be shown. */
static int read_key(const struct reading *r) {
    uint8_t bytes[32];
    char text[2 * sizeof bytes + 1];
    if (!r->text.len)
        return read_text(r);
    if (!hex_read(r->text, bytes, sizeof bytes))
        return err_set(r->e, ERR_BAD_CONFIG,
                       "%zu characters that are not a key, which is %zu digits of 0-9 a-f",
                       r->text.len, 2 * sizeof bytes);
    hex_show(bytes, sizeof bytes, text);
    return read_text(&(struct reading){r->row, str_of(text), r->arena, r->field, r->e});
}

/* ---- lists of names, written a, b, c ---- */

static struct str next_item(struct str *rest) {
    const char *comma = rest->len ? memchr(rest->at, ',', rest->len) : NULL;
    struct str item = *rest;
    if (comma)
        item.len = (size_t)(comma - rest->at);
    size_t used = comma ? item.len + 1 : item.len;
    rest->at += used;
    rest->len -= used;
    return str_trim(item);
}

static size_t count_items(struct str s) {
    size_t n = str_trim(s).len ? 1 : 0;
    for (size_t i = 0; i < s.len; i++)
        n += s.at[i] == ',';
    return n;
}

static int add_name(const struct reading *r, struct str *names, size_t count, struct str item) {
    if (!str_is_name(item, SETTINGS_NAME_MAX))
        return err_set(r->e, ERR_BAD_CONFIG, "'%s' is not a name: " NAME_RULE,
                       config_clip(item).at);
    for (size_t i = 0; i < count; i++)
        if (str_eq(names[i], item))
            return err_set(r->e, ERR_BAD_CONFIG, "'%s' is listed twice", config_clip(item).at);
    names[count] = arena_try_copy(r->arena, item);
    if (!names[count].at)
        return err_set(r->e, ERR_NO_MEMORY, "no memory for it");
    return 0;
}

static int read_names(const struct reading *r) {
    uint64_t max = 0;
    count_read(str_of(r->row->max), &max, NULL);
    size_t n = count_items(r->text);
    if (n > max)
        return err_set(r->e, ERR_BAD_CONFIG, "lists %zu names: at most %s are allowed", n,
                       r->row->max);
    struct str *names = arena_try_array(r->arena, n, sizeof *names);
    if (!names)
        return err_set(r->e, ERR_NO_MEMORY, "no memory for it");
    struct str rest = r->text;
    for (size_t i = 0; i < n; i++)
        if (add_name(r, names, i, next_item(&rest)) < 0)
            return -1;
    *(struct settings_names *)r->field = (struct settings_names){names, n};
    return 0;
}

static void show_names(const struct settings_row *row, const void *field, struct buf *out) {
    (void)row;
    const struct settings_names *names = field;
    for (size_t i = 0; i < names->count; i++)
        buf_printf(out, "%s" STR_FMT, i ? ", " : "", STR_ARG(names->at[i]));
}

/* ---- addresses ---- */

static bool split_port(struct str s, struct str *host, struct str *port) {
    size_t i = s.len;
    while (i > 0 && s.at[i - 1] != ':')
        i--;
    if (i == 0)
        return false;
    *host = str_make(s.at, i - 1);
    *port = str_make(s.at + i, s.len - i);
    return true;
}

/* A dotted IPv4 address, or an IPv6 address in brackets. */
static bool is_address(struct str host, unsigned char raw[16], int *family) {
    char text[INET6_ADDRSTRLEN];
    bool bracketed = host.len > 2 && host.at[0] == '[' && host.at[host.len - 1] == ']';
    if (bracketed)
        host = str_make(host.at + 1, host.len - 2);
    if (host.len >= sizeof text)
        return false;
    snprintf(text, sizeof text, STR_FMT, STR_ARG(host));
    *family = bracketed ? AF_INET6 : AF_INET;
    return inet_pton(*family, text, raw) == 1;
}

static bool is_loopback(const unsigned char raw[16], int family) {
    static const unsigned char one[16] = {[15] = 1};
    return family == AF_INET ? raw[0] == 127 : memcmp(raw, one, sizeof one) == 0;
}

static int read_endpoint(const struct reading *r) {
    struct str host, port;
    unsigned char raw[16];
    uint64_t number;
    int family;
    if (r->text.len == 0)
        return read_text(r);
    struct str rest = r->text;
    bool tcp = str_starts(rest, STR("tcp://"));
    if (tcp)
        rest = str_make(rest.at + 6, rest.len - 6);
    if (!tcp || !split_port(rest, &host, &port) || !is_address(host, raw, &family) ||
        !(str_eq(port, STR("*")) || (str_to_u64(port, 65535, &number) && number > 0)))
        return err_set(r->e, ERR_BAD_CONFIG,
                       "'%s' is not tcp://ADDRESS:PORT with an IPv4 address or an IPv6 address in "
                       "brackets, and a port of 1 to 65535 or * for any free one",
                       config_clip(r->text).at);
    return read_text(r);
}

bool config_is_loopback(struct str endpoint) {
    struct str host, port;
    unsigned char raw[16];
    int family;
    struct str rest = endpoint.len > 6 ? str_make(endpoint.at + 6, endpoint.len - 6) : STR("");
    return split_port(rest, &host, &port) && is_address(host, raw, &family) &&
           is_loopback(raw, family);
}

static bool is_host(struct str host) {
    unsigned char raw[16];
    int family;
    return is_address(host, raw, &family) ||
           (str_is_name(host, 253) && !memchr(host.at, ':', host.len) &&
            !memchr(host.at, '_', host.len));
}

static int read_listen(const struct reading *r) {
    struct str host, port;
    uint64_t number;
    if (str_eq(r->text, STR("off")))
        return read_text(&(struct reading){r->row, STR(""), r->arena, r->field, r->e});
    if (r->text.len &&
        (!split_port(r->text, &host, &port) || !is_host(host) || !str_to_u64(port, 65535, &number)))
        return err_set(
            r->e, ERR_BAD_CONFIG,
            "'%s' is neither off nor HOST:PORT (an IPv6 address in brackets, a port of 0 to 65535)",
            config_clip(r->text).at);
    return read_text(r);
}

/* ---- the types ---- */

#define TEXT_TYPE(words, read)                                                                     \
    { words, read, show_text, sizeof(struct str), NULL, true }
#define NUMBER_TYPE(words, number)                                                                 \
    { words, read_number, show_number, sizeof(uint64_t), &(number), false }
#define CHOICE_TYPE(words)                                                                         \
    { words, read_choice, show_choice, sizeof(unsigned), NULL, false }

static const struct type types[] = {
    [SETTINGS_BOOL] = {"true or false", read_bool, show_bool, sizeof(bool), NULL, false},
    [SETTINGS_COUNT] = NUMBER_TYPE("number", counts),
    [SETTINGS_DURATION] = NUMBER_TYPE("duration", durations),
    [SETTINGS_DURATION_NONE] = NUMBER_TYPE("duration or none", durations_none),
    [SETTINGS_SIZE] = NUMBER_TYPE("size", sizes),
    [SETTINGS_SIZE_NONE] = NUMBER_TYPE("size or none", sizes_none),
    [SETTINGS_RATE] = {"rate or none", read_rate, show_rate, sizeof(struct settings_rate), NULL,
                       false},
    [SETTINGS_TEXT] = TEXT_TYPE("text", read_text),
    [SETTINGS_NAME] = TEXT_TYPE("name", read_name),
    [SETTINGS_NAMES] = {"list of names", read_names, show_names, sizeof(struct settings_names),
                        NULL, false},
    [SETTINGS_PATH] = TEXT_TYPE("path", read_text),
    [SETTINGS_KEY] = TEXT_TYPE("key", read_key),
    [SETTINGS_TENANT] = TEXT_TYPE("name or *", read_tenant),
    [SETTINGS_ENDPOINT] = TEXT_TYPE("tcp://ADDRESS:PORT", read_endpoint),
    [SETTINGS_LISTEN] = TEXT_TYPE("HOST:PORT", read_listen),
    [SETTINGS_DURABILITY] = CHOICE_TYPE("word"),
    [SETTINGS_KEY_ROLE] = CHOICE_TYPE("word"),
    [SETTINGS_LOG_LEVEL] = CHOICE_TYPE("word"),
    [SETTINGS_LOG_FORMAT] = CHOICE_TYPE("word"),
};
_Static_assert(COUNT(types) == SETTINGS_TYPES, "a row for every type");

static const struct type *type_of(const struct settings_row *row) {
    return &types[row->type];
}

int config_value_read(const struct settings_row *row, struct str text, struct arena *arena,
                      void *instance, struct err *e) {
    const struct type *type = type_of(row);
    void *field = (char *)instance + row->offset;
    /* What cannot be shown cannot be a number or a word either: one form serves both. */
    struct clip clip = config_clip(text);
    if (!type->quoted && row->type != SETTINGS_NAMES)
        text = str_of(clip.at);
    return type->read(&(struct reading){row, text, arena, field, e});
}

void config_value_show(const struct settings_row *row, const void *instance, struct buf *out) {
    type_of(row)->show(row, (const char *)instance + row->offset, out);
}

void config_value_copy(const struct settings_row *row, void *instance,
                       const struct settings_row *from_row, const void *from) {
    ASSERT(row->type == from_row->type);
    memcpy((char *)instance + row->offset, (const char *)from + from_row->offset,
           type_of(row)->size);
}

uint64_t config_value_number(const struct settings_row *row, const void *instance) {
    const void *field = (const char *)instance + row->offset;
    if (row->type == SETTINGS_RATE)
        return ((const struct settings_rate *)field)->count;
    ASSERT(type_of(row)->number);
    return *(const uint64_t *)field;
}

void config_bounds_show(const struct settings_row *row, struct buf *out) {
    const struct type *type = type_of(row);
    if (type->number || row->type == SETTINGS_RATE)
        buf_printf(out, "%s to %s%s", row->min, row->max, has_none(row) ? ", or none" : "");
    else if (type->read == read_choice)
        show_choices(row->type, out);
    else if (row->type == SETTINGS_NAMES)
        buf_printf(out, "at most %s", row->max);
    else if (type->quoted)
        buf_printf(out, "at most %s bytes", row->max);
}

bool config_type_quoted(enum settings_type type) {
    return types[type].quoted;
}

const char *settings_type_words(enum settings_type type) {
    return types[type].words;
}
