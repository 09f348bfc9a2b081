/* Streams while processes are killed: readers that submit, listen, and hold each event against what
 * the kind `stream` must have written.
 *
 * Vocabulary
 *   script    the parameters of one job, and with them every event that it may ever write; the
 *             pieces have another length or channels than those of any other script
 *   follow    one reader's listening to one job: what it has heard so far
 *   story     what happened to a follow, with times; printed with the first thing that is wrong
 *   whim      a reader goes deaf for a while, or leaves and comes back as somebody else */
#pragma once

#include "common/wire/stream_client.h"
#include "tests/e2e/crash_scene.h"

#include <xxhash.h>

#define READERS        4U
#define STORY_MAX      8192U
#define SCRIPT_PAYLOAD 160U
#define PIECE_MAX      80U

/* ---- stream_crash_script.c: what must be heard ----------------------------------------------- */
struct script {
    uint32_t number;
    uint32_t pieces, bytes, channels, rate, resets;
    uint32_t fail_after; /* pieces of the first attempt; 0: it does not fail */
    bool unique;         /* submitted with a key of its own, by two readers at once */
};
struct script script_make(uint32_t number, struct rng *rng);
size_t script_payload(const struct script *s, char out[SCRIPT_PAYLOAD]);
/* Piece `n` of its text, of s->bytes bytes; it and its channel are also event n of each epoch. */
void script_piece(const struct script *s, uint64_t n, char out[PIECE_MAX]);
uint32_t script_channel(const struct script *s, uint64_t n);
/* "" if the job's result has the counts, the hash and the text; else what is wrong with it. */
const char *script_check_result(const struct script *s, struct str result, uint64_t *sum);

/* ---- stream_crash_follow.c: what was heard ----------------------------------------------------
 */
struct stream_load;

struct follow {
    struct follow *next;
    struct stream_load *load;
    unsigned reader;
    struct script script;
    uint64_t id;               /* 0: not accepted yet */
    struct stream_position at; /* heard up to here */
    XXH3_state_t *sum;         /* of what was heard since the last RESET */
    uint32_t broker_kills;     /* when it began */
    enum stream_news end;      /* WHOLE, BROKEN; NOTHING: not yet */
    bool wrong;
    struct buf story;
};

struct stream_counts {
    uint64_t follows, events, resets;
    uint64_t whole, broken,
        dead;              /* dead: they were alone each time when their process was killed */
    uint64_t broken_there; /* of these by the reader who was always there */
    uint64_t lost, doubled, unannounced, other; /* what is wrong */
    uint64_t refused, unknown;                  /* submissions */
    uint64_t deaf, left, attaches;
};

struct follow *follow_new(struct stream_load *l, unsigned reader, const struct script *script);
void follow_free(struct follow *f);
void follow_note(struct follow *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Something else than an event is wrong: counted and told. */
void follow_wrong(struct follow *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
void follow_told(struct follow *f, const struct stream_told *told);
void follow_finished(struct follow *f, const struct client_finished *end);

/* ---- stream_crash_readers.c: who hears it -----------------------------------------------------
 */
struct reader {
    struct stream_load *load;
    unsigned number;
    struct client *client;
    struct stream_client *streams; /* NULL: it has left */
    struct follow *follows;
    uint32_t n_follows;
    struct mono whim_at; /* the next change of its mood */
    bool deaf;           /* until then */
};

struct stream_load {
    const struct crash_scene *scene;
    struct reader readers[READERS];
    struct rng rng;
    uint32_t n_scripts;
    struct stream_counts counts;
    uint64_t news; /* whatever was called back */
};

void stream_load_open(struct stream_load *l, const struct crash_scene *scene);
void stream_load_close(struct stream_load *l);
/* Serves all readers for at most `ms`, offering more if `offering`; back as soon as anything was
 * heard. */
void stream_load_serve(struct stream_load *l, bool offering, uint64_t ms);
uint32_t stream_load_live(const struct stream_load *l);
/* Into the story of all that live. */
void stream_load_note(struct stream_load *l, const char *what);
uint32_t stream_load_wrong(const struct stream_load *l);
