/* ncursesw, loaded when `quern top` draws and not before: linking it would make every other command
 * start later (half a millisecond of three).
 *
 * curses->wmove(...) is wmove(...) of <curses.h>. Loaded once, never unloaded. */
#pragma once

#include "common/base/err.h"

#define NCURSES_NOMACROS 1
#include <curses.h>
#include <term.h>
#undef columns /* of term.h, which has words of everyday use for macros */
#undef lines

#define CURSES_CALLS(X)                                                                            \
    X(newterm)                                                                                     \
    X(delscreen)                                                                                   \
    X(endwin)                                                                                      \
    X(newwin)                                                                                      \
    X(delwin)                                                                                      \
    X(wresize)                                                                                     \
    X(resizeterm)                                                                                  \
    X(cbreak)                                                                                      \
    X(noecho)                                                                                      \
    X(keypad)                                                                                      \
    X(nodelay)                                                                                     \
    X(set_escdelay)                                                                                \
    X(curs_set)                                                                                    \
    X(has_colors)                                                                                  \
    X(start_color)                                                                                 \
    X(use_default_colors)                                                                          \
    X(init_pair)                                                                                   \
    X(COLOR_PAIR)                                                                                  \
    X(wgetch)                                                                                      \
    X(werase)                                                                                      \
    X(clearok)                                                                                     \
    X(wmove)                                                                                       \
    X(wattrset)                                                                                    \
    X(waddnstr)                                                                                    \
    X(wclrtoeol)                                                                                   \
    X(wrefresh)                                                                                    \
    X(setupterm)                                                                                   \
    X(del_curterm)                                                                                 \
    X(set_curterm)                                                                                 \
    X(tigetstr)

struct curses {
#define CURSES_CALL(name) __typeof__ (&name)(name);
    CURSES_CALLS(CURSES_CALL)
#undef CURSES_CALL
};

/* NULL when the library is not there. */
const struct curses *curses_load(struct err *e);
