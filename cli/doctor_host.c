#include "cli/doctor.h"
#include "cli/out.h"
#include "cli/tree.h"
#include "common/base/journal_need.h"
#include "common/os/clock.h"
#include "common/os/disk.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <unistd.h>

#define FILES_SPARE  160 /* the broker's own, of which it sets aside about 90 */
#define YEAR_2024_MS 1704067200000ULL

/* ---- the data folder ------------------------------------------------------------------------ */
/* However much room is made on it. */
static void look_at_size(struct doctor *d, const struct disk *disk) {
    const struct settings_journal *j = &d->settings->journal;
    uint64_t least = journal_disk_least(j->spare_segments, j->segment_size, j->disk_min_free);
    if (disk->bytes >= least)
        return;
    AUTO_BUF has = BUF(64), needs = BUF(64);
    out_size(&has, disk->bytes);
    out_size(&needs, least);
    finding(d, VERDICT_BAD, "disk",
            "a larger disk, or lower journal.segment_size, journal.spare_segments or "
            "journal.disk_min_free",
            "it has " STR_FMT ", but with these settings no job is accepted on less than " STR_FMT,
            STR_ARG(buf_str(&has)), STR_ARG(buf_str(&needs)));
}

static void look_at_space(struct doctor *d) {
    struct disk disk;
    struct err e = {0};
    if (disk_look(d->c->data, &disk, &e) < 0) {
        finding(d, VERDICT_BAD, "disk", "", "%s", e.text);
        return;
    }
    if (d->settings)
        look_at_size(d, &disk);
    uint64_t free_bytes = disk.free_bytes;
    uint64_t least = d->settings ? d->settings->journal.disk_min_free : 256U << 20;
    AUTO_BUF free_text = BUF(64), least_text = BUF(64);
    out_size(&free_text, free_bytes);
    out_size(&least_text, least);
    enum verdict v = free_bytes < least       ? VERDICT_BAD
                     : free_bytes < 2 * least ? VERDICT_WARN
                                              : VERDICT_OK;
    finding(d, v, "disk", v == VERDICT_OK ? "" : "make room: at the bound new jobs are refused",
            STR_FMT " are free, the bound is " STR_FMT " (journal.disk_min_free)",
            STR_ARG(buf_str(&free_text)), STR_ARG(buf_str(&least_text)));
}

static void look_at_run(struct doctor *d) {
    char path[TREE_PATH_MAX];
    struct stat s;
    tree_path(path, d->c->data, ".");
    if (stat(path, &s) < 0)
        return;
    if (s.st_mode & (S_IRWXG | S_IRWXO))
        finding(d, VERDICT_BAD, "folder", "chmod 0700 it: who may enter may do everything",
                "%s/run has mode %04o", d->c->data, (unsigned)s.st_mode & 07777);
    if (s.st_uid != geteuid())
        finding(d, VERDICT_BAD, "folder", "run as that user, or chown the whole folder",
                "%s/run belongs to user %u, this is %u", d->c->data, (unsigned)s.st_uid,
                (unsigned)geteuid());
}

void doctor_folder(struct doctor *d) {
    if (d->c->broker)
        return;
    struct stat s;
    const char *data = d->c->data;
    if (stat(data, &s) < 0 && errno == ENOENT) {
        finding(d, VERDICT_WARN, "folder", "quern up makes it", "%s is not there", data);
        return;
    }
    if (!S_ISDIR(s.st_mode) || access(data, R_OK | W_OK | X_OK) < 0) {
        finding(d, VERDICT_BAD, "folder", "it must be a folder that this user may write to",
                "%s: %s", data, strerrordesc_np(errno));
        return;
    }
    if (s.st_mode & S_IWOTH)
        finding(d, VERDICT_BAD, "folder", "chmod 0700 it", "%s may be written by everybody", data);
    else
        finding(d, VERDICT_OK, "folder", "", "%s can be written", data);
    look_at_run(d);
    look_at_space(d);
}

/* ---- processes ------------------------------------------------------------------------------ */
static void look_for_programs(struct doctor *d) {
    static const char *const names[] = {"quern-broker", "quern-pools", "quern-worker"};
    char self[PATH_MAX], path[PATH_MAX + 32];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0)
        return;
    self[n] = 0;
    *strrchr(self, '/') = 0;
    bool all = true;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", self, names[i]);
        if (access(path, X_OK) == 0)
            continue;
        all = false;
        finding(d, VERDICT_BAD, "programs", "build or install all of them",
                "%s is not beside quern", names[i]);
    }
    if (all)
        finding(d, VERDICT_OK, "programs", "", "all are beside quern, version %s", QUERN_VERSION);
}

void doctor_processes(struct doctor *d) {
    look_for_programs(d);
    if (d->c->broker)
        return;
    pid_t pid = tree_pid(d->c->data);
    if (pid)
        finding(d, VERDICT_OK, "tree", "", "quern up runs as process %d", (int)pid);
    else
        finding(d, VERDICT_WARN, "tree", "if nothing else starts its programs: quern up",
                "no quern up runs in %s", d->c->data);
}

/* ---- limits --------------------------------------------------------------------------------- */
void doctor_limits(struct doctor *d) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return;
    uint64_t peers =
        d->settings ? d->settings->broker.workers_max + d->settings->broker.clients_max : 0;
    if (files.rlim_max < peers + FILES_SPARE)
        finding(d, VERDICT_WARN, "limits",
                "raise it (ulimit -Hn, LimitNOFILE=), or lower broker.clients_max",
                "%llu open files at most, but %llu peers may connect",
                (unsigned long long)files.rlim_max, (unsigned long long)peers);
    else
        finding(d, VERDICT_OK, "limits", "", "%llu open files, at most %llu",
                (unsigned long long)files.rlim_cur, (unsigned long long)files.rlim_max);
}

/* ---- the clock ------------------------------------------------------------------------------ */
void doctor_clock(struct doctor *d) {
    struct timex t = {0};
    bool told = adjtimex(&t) >= 0;
    if (clock_wall().ms < YEAR_2024_MS)
        finding(d, VERDICT_BAD, "clock", "set it", "it shows a time before 2024");
    else if (told && (t.status & STA_UNSYNC))
        finding(d, VERDICT_WARN, "clock",
                "run a time service; only run_at and times that are shown follow it",
                "the kernel does not know it to be synchronised");
    else
        finding(d, VERDICT_OK, "clock", "", "it is set");
}
