#include "cli/top_screen.h"

#include "cli/curses_lib.h"
#include "cli/width.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#define ESCAPE     27
#define CONTROL(c) ((c)&0x1f)
#define ESCAPE_MS  25 /* keys of several bytes come at once */
#define PAIR_FAILS 1
#define PAIR_WARNS 2

/* ---- opening -------------------------------------------------------------------------------- */
int top_screen_check(struct err *e) {
    if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
        return 0;
    return err_set(e, ERR_USAGE,
                   "top: standard %s is no terminal; quern top --once prints one screen and ends",
                   isatty(STDOUT_FILENO) ? "input" : "output");
}

static const int signals_taken[] = {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGWINCH, SIGTSTP};

static void take_signals(struct top_screen *s) {
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof signals_taken / sizeof signals_taken[0]; i++)
        sigaddset(&set, signals_taken[i]);
    sigprocmask(SIG_BLOCK, &set, &s->old);
    s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void colours(struct top_screen *s) {
    s->colour = s->colour && s->lib->has_colors();
    if (!s->colour)
        return;
    s->lib->start_color();
    s->lib->use_default_colors();
    s->lib->init_pair(PAIR_FAILS, COLOR_RED, -1);
    s->lib->init_pair(PAIR_WARNS, COLOR_YELLOW, -1);
}

/* Asked before the screen is made: ncurses does not give all of one back that it cannot make. */
static int check_type(const struct curses *lib, struct err *e) {
    const char *type = getenv("TERM");
    int known = 0;
    if (type && *type && lib->setupterm(type, STDOUT_FILENO, &known) != ERR) {
        char *moves = lib->tigetstr("cup");
        bool can = moves && moves != (char *)-1;
        lib->del_curterm(lib->set_curterm(NULL));
        if (can)
            return 0;
    }
    return err_set(
        e, ERR_USAGE,
        "top: TERM '%s' is no terminal that can be drawn on; quern top --once prints one "
        "screen and ends",
        type ? type : "");
}

int top_screen_open(struct top_screen *s, bool colour, struct err *e) {
    *s = (struct top_screen){.colour = colour, .signals = -1};
    s->lib = curses_load(e);
    if (!s->lib || check_type(s->lib, e) < 0)
        return -1;
    take_signals(s);
    s->screen = s->lib->newterm(NULL, stdout, stdin);
    if (!s->screen) {
        top_screen_close(s);
        return err_set(e, ERR_IO, "top: the terminal cannot be drawn on");
    }
    s->lib->cbreak();
    s->lib->noecho();
    s->lib->curs_set(0);
    s->lib->set_escdelay(ESCAPE_MS);
    s->window = s->lib->newwin(0, 0, 0, 0);
    s->lib->keypad(s->window, TRUE);
    s->lib->nodelay(s->window, TRUE);
    colours(s);
    top_screen_renew(s);
    return 0;
}

void top_screen_close(struct top_screen *s) {
    if (s->screen) {
        s->lib->endwin();
        s->lib->delscreen(s->screen);
    }
    s->screen = s->window = NULL;
    if (s->signals < 0)
        return;
    close(s->signals);
    sigprocmask(SIG_SETMASK, &s->old, NULL);
    s->signals = -1;
}

/* ---- drawing -------------------------------------------------------------------------------- */
struct out_size top_screen_size(void) {
    return out_terminal(STDOUT_FILENO);
}

void top_screen_renew(struct top_screen *s) {
    struct out_size size = top_screen_size();
    s->lib->resizeterm((int)size.rows, (int)size.columns);
    s->lib->wresize(s->window, (int)size.rows, (int)size.columns);
    s->lib->clearok(s->window, TRUE);
}

static int look_of(const struct top_screen *s, enum top_style style) {
    static const int plain[TOP_STYLES] = {
        [TOP_STRONG] = (int)A_BOLD,    [TOP_FAINT] = (int)A_DIM,
        [TOP_FAILS] = (int)A_BOLD,     [TOP_CHOSEN] = (int)(A_BOLD | A_UNDERLINE),
        [TOP_CURSOR] = (int)A_REVERSE,
    };
    int pair = !s->colour           ? 0
               : style == TOP_FAILS ? PAIR_FAILS
               : style == TOP_WARNS ? PAIR_WARNS
                                    : 0;
    return plain[style] | s->lib->COLOR_PAIR(pair);
}

void top_screen_draw(struct top_screen *s, const struct top_page *p) {
    s->lib->werase(s->window);
    for (size_t i = 0; i < p->n; i++) {
        struct str line = top_page_line(p, i);
        s->lib->wattrset(s->window, look_of(s, p->lines[i].style));
        if (s->lib->wmove(s->window, (int)i, 0) != ERR)
            s->lib->waddnstr(s->window, line.at, (int)line.len);
    }
    s->lib->wattrset(s->window, 0);
    s->lib->wrefresh(s->window);
}

/* ---- keys ----------------------------------------------------------------------------------- */
static const struct {
    int code;
    enum top_key key;
} keys[] = {
    {'q', TOP_KEY_QUIT},
    {'Q', TOP_KEY_QUIT},
    {ESCAPE, TOP_KEY_BACK},
    {KEY_LEFT, TOP_KEY_BACK},
    {KEY_BACKSPACE, TOP_KEY_BACK},
    {'?', TOP_KEY_HELP},
    {'h', TOP_KEY_HELP},
    {KEY_F(1), TOP_KEY_HELP},
    {KEY_UP, TOP_KEY_UP},
    {'k', TOP_KEY_UP},
    {KEY_DOWN, TOP_KEY_DOWN},
    {'j', TOP_KEY_DOWN},
    {KEY_PPAGE, TOP_KEY_PAGE_UP},
    {KEY_NPAGE, TOP_KEY_PAGE_DOWN},
    {' ', TOP_KEY_PAGE_DOWN},
    {KEY_HOME, TOP_KEY_HOME},
    {'g', TOP_KEY_HOME},
    {KEY_END, TOP_KEY_END},
    {'G', TOP_KEY_END},
    {'\t', TOP_KEY_NEXT},
    {KEY_BTAB, TOP_KEY_PREVIOUS},
    {'\n', TOP_KEY_OPEN},
    {'\r', TOP_KEY_OPEN},
    {KEY_ENTER, TOP_KEY_OPEN},
    {KEY_RIGHT, TOP_KEY_OPEN},
    {'s', TOP_KEY_SORT},
    {'p', TOP_KEY_PAUSE},
    {CONTROL('L'), TOP_KEY_REDRAW},
};

enum top_key top_screen_key(struct top_screen *s) {
    int code = s->lib->wgetch(s->window);
    if (code == ERR)
        return TOP_KEY_NONE;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (keys[i].code == code)
            return keys[i].key;
    return TOP_KEY_OTHER;
}

bool top_screen_lives(void) {
    struct termios t;
    return tcgetattr(STDIN_FILENO, &t) == 0;
}

/* ---- signals -------------------------------------------------------------------------------- */
/* The shell has its terminal until it lets us go on. */
static void stop(struct top_screen *s) {
    s->lib->endwin();
    raise(SIGSTOP);
    top_screen_renew(s);
}

int top_screen_signal(struct top_screen *s) {
    struct signalfd_siginfo info;
    if (read(s->signals, &info, sizeof info) != sizeof info)
        return 0;
    if (info.ssi_signo == SIGTSTP)
        stop(s);
    else if (info.ssi_signo == SIGWINCH)
        top_screen_renew(s);
    else
        return (int)info.ssi_signo;
    return 0;
}
