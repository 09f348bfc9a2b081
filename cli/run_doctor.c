/* quern doctor: one finding a line, and what to do about it. */
#include "cli/doctor.h"
#include "cli/out.h"

#include <stdarg.h>

static const char *const verdicts[] = {"ok", "warn", "bad"};
static const char *const colours[] = {"\033[32m", "\033[33m", "\033[31m"};

static void print_finding(const struct cli *c, enum verdict v, const char *about, const char *text,
                          const char *advice) {
    AUTO_BUF line = BUF(16384);
    out_clean(&line, str_of(text));
    if (advice[0]) {
        buf_put_str(&line, STR("; "));
        out_clean(&line, str_of(advice));
    }
    printf("%s%-4s%s  %-8s  " STR_FMT "\n", c->colour ? colours[v] : "", verdicts[v],
           c->colour ? "\033[0m" : "", about, STR_ARG(buf_str(&line)));
    fflush(stdout);
}

void finding(struct doctor *d, enum verdict v, const char *about, const char *advice,
             const char *fmt, ...) {
    char text[4096];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    d->bad = d->bad || v == VERDICT_BAD;
    if (!d->c->json)
        print_finding(d->c, v, about, text, advice);
    json_array_append_new(d->findings, json_pack("{s:s, s:s, s:s, s:s}", "verdict", verdicts[v],
                                                 "about", about, "text", text, "advice", advice));
}

int run_doctor(struct cli *c, const struct args_doctor *args) {
    (void)args;
    static void (*const looks[])(struct doctor *) = {doctor_config,    doctor_keys,   doctor_folder,
                                                     doctor_processes, doctor_limits, doctor_clock,
                                                     doctor_broker};
    struct doctor d = {.c = c, .findings = json_array()};
    for (size_t i = 0; i < sizeof looks / sizeof looks[0]; i++)
        looks[i](&d);
    if (c->json)
        cli_json(c, d.findings);
    json_decref(d.findings);
    settings_destroy(&d.settings);
    return d.bad ? 1 : 0;
}
