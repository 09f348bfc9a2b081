/* Time zones, from the system's files (TZif, RFC 8536; versions 1 to 4).
 *
 * A zone says by how many seconds its local time is ahead of UTC, for any time: from the file's
 * transitions, and behind the last of them from the rule at the file's end (a POSIX TZ string). A
 * *span* is a stretch of time in which that number stays the same; the next span may have the same
 * one again.
 *
 * A zone is read once and never changes: a newer tzdata counts from the next start on. Zones that
 * count leap seconds ("right/...") are refused, since Quern's times do not. A file is not trusted:
 * it has at most ZONE_FILE_MAX bytes, and one that is not well-formed is an error that says why.
 *
 * Whoever loads a zone destroys it; reading one is safe from any thread. `struct zones` owns all
 * that it has given out, and belongs to one thread. */
#pragma once

#include "common/base/err.h"

#include <stdint.h>

#define ZONE_FOLDER   "/usr/share/zoneinfo"
#define ZONE_NAME_MAX 64
#define ZONE_FILE_MAX (64U << 10)
#define ZONES_MAX     1024 /* names in one `struct zones`; there are about 600 */

/* How far a local time may be from UTC, in seconds (RFC 8536, 3.2). */
#define ZONE_OFFSET_MIN (-25 * 3600 + 1)
#define ZONE_OFFSET_MAX (26 * 3600 - 1)

struct zone;

struct zone_span {
    int64_t until_s; /* UTC; the first second that is no more of it. INT64_MAX: it does not end */
    int32_t offset_s;
};

/* A name as IANA writes them: 1 to ZONE_NAME_MAX bytes of [A-Za-z0-9_+-] in parts with '/' between,
 * none beginning with '-'. So no name leads out of the folder. */
int zone_check_name(struct str name, struct err *e);
/* `UTC` and `Etc/UTC` need no file. Errors: BAD_VALUE the name or no such zone, CORRUPT its file,
 * IO reading it. */
int zone_load(const char *folder, struct str name, struct zone **out, struct err *e);
/* The same from a file's bytes. */
int zone_parse(struct str bytes, struct zone **out, struct err *e);
void zone_destroy(struct zone **z);
/* The span that `utc_s` is in. */
struct zone_span zone_span(const struct zone *z, int64_t utc_s);

/* Each zone once, however many rules are in it. */
struct zones;

struct zones *zones_new(const char *folder);
void zones_destroy(struct zones **z);
/* As zone_load, but for who owns it; the zone lives as long as `z` does. */
int zones_get(struct zones *z, struct str name, const struct zone **out, struct err *e);
