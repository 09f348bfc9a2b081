/* Batches in memory: an image of what will stand in the segment files, built by the dispatcher,
 * finished (heads, checksums) and written by the writer.
 *
 * A batch is a list of *pieces*, one for each segment it touches: nearly always one. A piece is one
 * batch on disk, with the head of its segment before it when it is the segment's first. The image
 * never moves, so a record can be read from it until the batch is cleared. */
#pragma once

#include "broker/journal/blocks.h"
#include "broker/journal/format.h"
#include "broker/journal/journal.h"

struct piece {
    uint32_t segment;
    uint32_t offset;    /* in the segment, of the image's first byte */
    uint32_t at, bytes; /* of the image, padding with it */
    uint32_t head;      /* where in the image the batch's head is: at, or a block behind it */
    uint32_t used;      /* from the head to the last record's end */
    uint32_t records;
    uint32_t segment_bytes; /* when it begins a segment: the size of that, */
    uint32_t before;        /* and where the log left the one before */
};

struct batch {
    char *image;
    size_t len, size;
    struct blocks memory; /* of the image */
    struct piece *pieces;
    size_t n, pieces_max;
    /* First segment of the log. Segments go when a batch says so durably; what was moved out of
     * them may stand in any piece, so the last piece alone says the new one, the others what was
     * said before. */
    uint32_t oldest, oldest_before;
    uint32_t flags;
    uint64_t sealed_ns;
    bool open; /* the last piece takes records */
};

/* Where the next record goes. */
struct cursor {
    uint32_t segment;
    uint32_t offset;     /* of the next byte; 0: the segment has no head yet */
    uint32_t bytes;      /* size of the segment */
    uint32_t before;     /* where the log left the segment before */
    uint32_t next_bytes; /* size of the segments to come */
};

struct batch *batch_new(size_t bytes_max, uint32_t segment_bytes);
void batch_destroy(struct batch **b);
void batch_clear(struct batch *b);

/* Where `n` bytes of a record go; `pos` is their position. Opens a piece, and goes on to the next
 * segment, as needed. */
/* The next `n` bytes of records go into one piece. */
void batch_keep_together(struct batch *b, struct cursor *c, uint32_t n);
char *batch_room(struct batch *b, struct cursor *c, uint32_t n, uint64_t *pos);
/* Pads the last piece, so that it takes no more records; makes an empty one when there is none. */
void batch_seal(struct batch *b, struct cursor *c);
/* The record at `pos`, or false when it is not here. */
bool batch_find(const struct batch *b, uint64_t pos, struct journal_record *out);

/* Checksums and heads: the piece can be written as it stands. */
void batch_finish_piece(struct batch *b, const struct piece *p, uint64_t log_id, uint64_t sequence);
