/* The terminal that `quern top` draws on.
 *
 * From top_screen_open to top_screen_close the terminal is ours: its own screen, no cursor, keys
 * one by one. The signals that end, stop or resize a program come by `signals` meanwhile, which is
 * readable when there is one, so that nobody leaves without giving the terminal back. */
#pragma once

#include "cli/top_page.h"
#include "common/base/err.h"

#include <signal.h>

enum top_key {
    TOP_KEY_NONE,
    TOP_KEY_QUIT,
    TOP_KEY_BACK,
    TOP_KEY_HELP,
    TOP_KEY_UP,
    TOP_KEY_DOWN,
    TOP_KEY_PAGE_UP,
    TOP_KEY_PAGE_DOWN,
    TOP_KEY_HOME,
    TOP_KEY_END,
    TOP_KEY_NEXT,
    TOP_KEY_PREVIOUS,
    TOP_KEY_OPEN,
    TOP_KEY_SORT,
    TOP_KEY_PAUSE,
    TOP_KEY_REDRAW,
    TOP_KEY_OTHER,
};

struct top_screen {
    const struct curses *lib;
    void *screen, *window; /* ncurses's own */
    bool colour;
    int signals;
    sigset_t old;
};

/* USAGE where standard input or output is no terminal. */
int top_screen_check(struct err *e);
/* The same where it is one that cannot be drawn on. */
int top_screen_open(struct top_screen *s, bool colour, struct err *e);
void top_screen_close(struct top_screen *s);
struct out_size top_screen_size(void);
/* After a change of size, or when something else has written on the terminal. */
void top_screen_renew(struct top_screen *s);
void top_screen_draw(struct top_screen *s, const struct top_page *p);
/* The next key that was pressed; NONE: there is none. */
enum top_key top_screen_key(struct top_screen *s);
/* Whether the terminal is still there. */
bool top_screen_lives(void);
/* Takes a signal that has come: SIGWINCH and SIGTSTP are obeyed, and 0; else its number: this
 * program shall end. */
int top_screen_signal(struct top_screen *s);
