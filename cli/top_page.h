/* A view of `quern top` as lines of text, for a screen of any size.
 *
 * A *page* has a head (the broker, totals, what is wrong), *panes* (a table of each part) and a
 * foot. Where there is little room the head gets shorter, the foot goes, and of the panes the one
 * in *focus* stays; columns go one by one, and the last one is cut. No line is wider than the
 * screen. What is wrong is said by a mark in front of the line, and by a word; its style only adds
 * to that.
 *
 * Pure: no terminal, no clock. */
#pragma once

#include "cli/out.h"
#include "cli/top_model.h"

#define TOP_PAGE_MAX (16U << 20) /* bytes of one page */
#define TOP_ROWS_ALL SIZE_MAX    /* rows of a screen that has no end */

enum top_style {
    TOP_PLAIN,
    TOP_STRONG, /* titles */
    TOP_FAINT,
    TOP_WARNS,
    TOP_FAILS,
    TOP_CHOSEN, /* the title of the pane in focus */
    TOP_CURSOR,
    TOP_STYLES
};

/* Where the operator is. */
struct top_ui {
    enum top_part focus;
    enum top_sort sort;
    size_t row[TOP_PARTS];   /* under the cursor */
    size_t first[TOP_PARTS]; /* that is shown */
    bool cursor;             /* whether there is one */
    bool paused;
    uint64_t lost_ms;     /* no answer for so long; 0: all is well */
    uint64_t interval_ms; /* 0: shown once */
    struct out_size size;
    bool utf8;
};

struct top_line {
    size_t from, len; /* in `text` */
    enum top_style style;
};

struct top_page {
    struct buf text;
    struct top_line *lines;
    size_t n, size;
};
#define TOP_PAGE ((struct top_page){.text = BUF(TOP_PAGE_MAX)})

void top_page_clear(struct top_page *p);
void top_page_done(struct top_page *p);
struct str top_page_line(const struct top_page *p, size_t i);

/* The whole; `ui` gets the first rows that are shown, and a cursor that is within its rows. */
void top_page_make(struct top_page *p, const json_t *view, struct top_ui *ui);
/* Any text, from line `*first` on, under a title; `*first` is brought within it. */
void top_page_text(struct top_page *p, const char *title, struct str text, size_t *first,
                   const struct top_ui *ui);

/* ---- between the files of the page ---------------------------------------------------------- */
/* One line is written between these two. */
void top_line_begin(struct top_page *p);
void top_line_end(struct top_page *p, enum top_style style);
/* A count as people read it: "1204", "123k", "4.5M". */
void top_put_count(struct buf *out, uint64_t n);
/* "0.5", "12", "12.3k"; "-" for what is not known. */
void top_put_rate(struct buf *out, const json_t *row, const char *key);

/* How many rows a part has in a view. */
size_t top_rows(const json_t *view, enum top_part part);
/* The table of a part in so many lines, its titles first. */
void top_pane_make(struct top_page *p, const json_t *view, enum top_part part, size_t lines,
                   struct top_ui *ui);
/* Of `room` lines those that each pane gets: `want` is what it needs for all of its rows, 0 where
 * it is not shown. */
void top_share(size_t lines[TOP_PARTS], const size_t want[TOP_PARTS], enum top_part focus,
               size_t room);
