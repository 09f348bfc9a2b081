#include "common/config/nearest.h"

struct nearest nearest_start(struct str wrong) {
    /* A third of the letters may be wrong, two in a short word. */
    size_t allowed = wrong.len / 3 > 2 ? wrong.len / 3 : 2;
    return (struct nearest){.wrong = wrong, .distance = allowed + 1};
}

static char folded(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Row i of the distances between the first i letters of `a` and the first j of `b`, from the two
 * rows before it. */
static void fill_row(struct str a, struct str b, size_t i, size_t *row, const size_t *last,
                     const size_t *before) {
    row[0] = i;
    for (size_t j = 1; j <= b.len; j++) {
        char x = folded(a.at[i - 1]), y = folded(b.at[j - 1]);
        row[j] = least(last[j - 1] + (x != y), least(last[j], row[j - 1]) + 1);
        if (i > 1 && j > 1 && x == folded(b.at[j - 2]) && y == folded(a.at[i - 2]))
            row[j] = least(row[j], before[j - 2] + 1);
    }
}

static size_t distance(struct str a, struct str b) {
    size_t rows[3][NEAREST_MAX + 1];
    for (size_t j = 0; j <= b.len; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a.len; i++)
        fill_row(a, b, i, rows[i % 3], rows[(i + 2) % 3], rows[(i + 1) % 3]);
    return rows[a.len % 3][b.len];
}

void nearest_offer(struct nearest *n, struct str word) {
    if (n->wrong.len > NEAREST_MAX || word.len > NEAREST_MAX)
        return;
    size_t d = distance(n->wrong, word);
    if (d < n->distance && d < word.len) {
        n->distance = d;
        n->best = word;
    }
}
