/* What an earlier supervisor of this host left behind.
 *
 * A supervisor that was killed leaves workers that finish what they run and go: the kernel told
 * them to. The broker does not know that they are on their way: it would count them, and send new
 * ones away instead. So they are found by their environment, and the broker is asked to let them
 * finish. Those that are gone but not missed yet are reported dead. */
#include "common/base/mem.h"
#include "common/base/worker_env.h"
#include "common/log/log.h"
#include "common/os/clock.h"
#include "common/os/proc_env.h"
#include "workers/pools/supervisor.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#define HEX_LEN   (2 * PROCESS_INSTANCE_LEN)
#define ANSWER_MS 10000

struct orphan {
    struct orphan *next;
    int pid, pidfd;
    char hex[HEX_LEN + 1];
};

/* ---- finding them --------------------------------------------------------------------------- */
static void consider(struct supervisor *s, int pid, struct buf *room) {
    int pidfd = pidfd_open(pid, 0);
    struct str hex = STR(""), data = STR("");
    if (pidfd >= 0 && proc_env_read(pid, room) == 0) {
        hex = proc_env_value(buf_str(room), WORKER_ENV_INSTANCE);
        data = proc_env_value(buf_str(room), "QUERN_DATA");
    }
    if (hex.len != HEX_LEN || !str_eq(data, str_of(s->options->data))) {
        if (pidfd >= 0)
            close(pidfd);
        return;
    }
    struct orphan *o = MEM_NEW(struct orphan);
    *o = (struct orphan){.next = s->orphans, .pid = pid, .pidfd = pidfd};
    memcpy(o->hex, hex.at, HEX_LEN);
    s->orphans = o;
    log_event(LOG_process_orphan, log_u64("process", (uint64_t)pid), log_text("instance", o->hex));
}

void orphans_find(struct supervisor *s) {
    DIR *proc = s->options->data ? opendir("/proc") : NULL;
    AUTO_BUF room = BUF(PROC_ENV_MAX);
    const struct dirent *entry;
    while (proc && (entry = readdir(proc))) {
        uint64_t pid;
        if (str_to_u64(str_of(entry->d_name), INT32_MAX, &pid))
            consider(s, (int)pid, &room);
    }
    if (proc)
        closedir(proc);
}

/* ---- while they are there ------------------------------------------------------------------- */
static bool has_ended(const struct orphan *o) {
    struct pollfd p = {.fd = o->pidfd, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static void on_answer(void *ctx, const struct client_reply *r) {
    (void)ctx; /* it is asked again as long as there is somebody to ask about */
    (void)r;
}

void orphans_drain(struct supervisor *s) {
    for (struct orphan **at = &s->orphans; *at;) {
        struct orphan *o = *at;
        if (has_ended(o)) {
            *at = o->next;
            close(o->pidfd);
            mem_free(o);
            continue;
        }
        struct msg_drain m = {0};
        MSG_SET(&m, drain, name, str_of(o->hex));
        struct client_item item = {.message = &m};
        if (client_is_up(s->client))
            client_request(s->client, VERB_drain, &item, 1, on_answer, NULL,
                           mono_add(clock_mono(), ANSWER_MS), NULL);
        at = &o->next;
    }
}

bool orphans_kill(struct supervisor *s, const char *hex) {
    for (const struct orphan *o = s->orphans; o; o = o->next) {
        if (strcmp(o->hex, hex) != 0)
            continue;
        pidfd_send_signal(o->pidfd, SIGKILL, NULL, 0);
        return true;
    }
    return false;
}

void orphans_done(struct supervisor *s) {
    while (s->orphans) {
        struct orphan *o = s->orphans;
        s->orphans = o->next;
        close(o->pidfd);
        mem_free(o);
    }
}

/* ---- those that are gone -------------------------------------------------------------------- */
static bool is_gone(uint64_t pid) {
    return pid && kill((pid_t)pid, 0) < 0;
}

static void on_worker(void *ctx, const struct client_reply *r) {
    struct supervisor *s = ctx;
    const struct msg_worker_info *m = r->message;
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    if (!m || !str_eq(m->host, str_of(host)) || !is_gone(m->pid) || !pools_find(s, m->pool) ||
        pools_process(s, m->instance.at))
        return;
    struct msg_worker_died died = {0};
    MSG_SET(&died, worker_died, instance, m->instance);
    MSG_SET(&died, worker_died, crashed, false); /* nobody saw how it ended */
    MSG_SET(&died, worker_died, text, STR("its process is gone, like its supervisor"));
    struct client_item item = {.message = &died};
    client_request(s->client, VERB_worker_died, &item, 1, on_answer, NULL,
                   mono_add(clock_mono(), ANSWER_MS), NULL);
}

void orphans_report_gone(struct supervisor *s) {
    struct msg_get_status m = {0};
    struct client_item item = {.message = &m};
    if (s->options->data)
        client_request(s->client, VERB_list_workers, &item, 1, on_worker, s,
                       mono_add(clock_mono(), ANSWER_MS), NULL);
}
