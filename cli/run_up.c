/* quern up: starts the tree, keeps it, stops it. */
#include "cli/out.h"
#include "cli/tree.h"
#include "cli/up.h"
#include "common/log/log.h"
#include "common/os/clock.h"
#include "common/os/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_MS       5000  /* after that we are ready with what there is */
#define ASK_MS         20    /* between two looks at the pools while they start */
#define OLD_BROKER_MS  10000 /* for a broker of an earlier tree to end */
#define BROKER_STOP_MS 30000
#define AT_ONCE_MS     3000
#define POOLS_EXTRA_MS 5000 /* for the supervisor, beyond what its workers get */

/* ---- what was there before ------------------------------------------------------------------ */
/* The broker of a tree whose root was killed may be about to end: it holds the journal. */
static pid_t journal_holder(const struct up *u) {
    char path[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/journal/lock", u->data);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    bool held = fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    char text[24] = "";
    uint64_t pid = 0;
    ssize_t n = held ? read(fd, text, sizeof text - 1) : 0;
    close(fd);
    if (n > 0)
        str_to_u64(str_trim(str_make(text, (size_t)n)), INT_MAX, &pid);
    return (pid_t)pid;
}

static int wait_for_old_broker(const struct up *u, struct err *e) {
    struct mono until = cli_deadline(OLD_BROKER_MS);
    pid_t pid;
    while ((pid = journal_holder(u))) {
        struct pollfd p[] = {{.fd = pidfd_open(pid, 0), .events = POLLIN},
                             {.fd = u->signals, .events = POLLIN}};
        int left = (int)mono_until(clock_mono(), until);
        poll(p, 2, p[0].fd >= 0 ? left : ASK_MS);
        if (p[0].fd >= 0)
            close(p[0].fd);
        if (p[1].revents)
            return err_set(e, ERR_CANCELLED, "stopped while a broker of before was ending");
        if (left == 0)
            return err_set(e, ERR_LOCKED, "another quern-broker (process %d) serves %s", (int)pid,
                           u->data);
    }
    return 0;
}

/* ---- becoming ready ------------------------------------------------------------------------- */
static void on_pool(void *ctx, const struct client_reply *r) {
    struct up *u = ctx;
    if (r->end) {
        u->asking = false;
        u->ask_at = cli_deadline(ASK_MS);
        if (r->err->code)
            u->pools_ready = false;
        return;
    }
    const struct msg_pool_info *m = r->message;
    if (!m)
        return;
    /* Who is in trouble is not waited for: the line says so. */
    u->pools_ready = u->pools_ready && (m->alive >= m->processes || m->text.len);
    buf_printf(&u->pools_text, "%s" STR_FMT " %" PRIu64 "/%" PRIu64, u->pools_text.len ? ", " : "",
               STR_ARG(m->name), m->alive, m->processes);
    if (m->text.len)
        buf_printf(&u->pools_text, " (" STR_FMT ")", STR_ARG(m->text));
}

static void ask_pools(struct up *u, struct mono now) {
    struct msg_get_status m = {0};
    struct client_item item = {.message = &m};
    struct err e;
    if (u->asking || !mono_reached(now, u->ask_at))
        return;
    u->pools_ready = true;
    buf_clear(&u->pools_text);
    u->asking = client_request(u->c->client, VERB_list_pools, &item, 1, on_pool, u,
                               mono_add(now, READY_MS), &e) == 0;
}

static void tell_ready(struct up *u) {
    AUTO_BUF line = BUF(8192);
    u->was_ready = true;
    buf_printf(&line, "quern is ready: broker ipc://%s/run/client.sock", u->data);
    const struct str tcp[] = {u->boot->broker.tcp_client, u->boot->broker.tcp_worker,
                              u->boot->broker.tcp_gateway, u->boot->broker.tcp_operator};
    for (size_t i = 0; i < sizeof tcp / sizeof tcp[0]; i++)
        if (tcp[i].len)
            buf_printf(&line, " " STR_FMT, STR_ARG(tcp[i]));
    buf_printf(&line, "; pools ");
    out_clean(&line, buf_str(&u->pools_text));
    log_event(LOG_tree_ready, log_text("data", u->data), log_str("pools", buf_str(&u->pools_text)),
              log_u64("ms", mono_until(u->began, clock_mono())));
    if (u->answer_fd >= 0)
        detach_answer(u, 0, buf_str(&line));
    else
        printf(STR_FMT "\n", STR_ARG(buf_str(&line)));
    fflush(stdout);
    client_destroy(&u->c->client);
}

static void become_ready(struct up *u, struct mono now) {
    struct err e;
    if (!u->parts[PART_POOLS].child.pid)
        return;
    bool late = mono_until(u->parts[PART_POOLS].restart.started, now) >= READY_MS;
    if (!u->c->client) {
        char endpoint[LINK_ENDPOINT_MAX];
        struct client_config config = {
            .role = ROLE_OPERATOR, .endpoint = endpoint, .name = "quern up", .clock = clock_mono};
        random_bytes(config.instance, sizeof config.instance);
        if (link_endpoint(endpoint, u->data, NULL, ROLE_OPERATOR, &e) < 0 ||
            client_new(&u->c->client, &config, &e) < 0) {
            u->failed = e;
            return;
        }
    }
    while (client_poll(u->c->client, MONO_PAST))
        continue;
    if (!u->asking && u->pools_text.len && (u->pools_ready || late))
        tell_ready(u);
    else
        ask_pools(u, now);
}

/* ---- stopping ------------------------------------------------------------------------------- */
/* What is no longer listed has the usual settings. */
static uint64_t longest_grace(const struct settings *s) {
    uint64_t longest = s->pools.usual.stop_grace_ms;
    for (size_t i = 0; i < s->pools.count; i++)
        if (s->pools.at[i].stop_grace_ms > longest)
            longest = s->pools.at[i].stop_grace_ms;
    return longest;
}

static void stop(struct up *u) {
    u->stops++;
    struct part *pools = &u->parts[PART_POOLS], *broker = &u->parts[PART_BROKER];
    if (u->stops == 1)
        log_event(LOG_tree_stopping);
    client_destroy(&u->c->client);
    if (u->stops == 1) {
        part_stop(pools, longest_grace(u->now) + POOLS_EXTRA_MS);
        return;
    }
    part_stop(pools, AT_ONCE_MS);
    part_stop(broker, AT_ONCE_MS);
    if (u->stops > 2) {
        child_kill(&pools->child);
        child_kill(&broker->child);
    }
}

static void kill_late(struct up *u, struct mono now) {
    for (size_t i = 0; i < PARTS; i++) {
        struct part *p = &u->parts[i];
        if (!p->child.pid || !mono_reached(now, p->kill_at))
            continue;
        log_event(LOG_process_killed, log_text("name", p->name));
        child_kill(&p->child);
        p->kill_at = MONO_NEVER;
    }
}

/* True when nothing is left. */
static bool go_on_stopping(struct up *u, struct mono now) {
    struct part *pools = &u->parts[PART_POOLS], *broker = &u->parts[PART_BROKER];
    kill_late(u, now);
    if (!pools->child.pid && broker->child.pid && broker->kill_at.ms == UINT64_MAX)
        part_stop(broker, BROKER_STOP_MS);
    return !pools->child.pid && !broker->child.pid;
}

/* ---- going on ------------------------------------------------------------------------------- */
static void start_missing(struct up *u, struct mono now) {
    for (size_t i = 0; i < PARTS; i++) {
        struct part *p = &u->parts[i];
        struct err e;
        bool after = i == PART_BROKER || u->parts[PART_BROKER].ready || u->was_ready;
        if (p->child.pid || !after || !mono_reached(now, p->not_before))
            continue;
        if (part_start(p, u, &e) == 0)
            continue;
        log_event(LOG_process_failed, log_text("name", p->name), LOG_WHY(&e));
        if (!u->was_ready)
            u->failed = e;
        p->not_before = cli_deadline(1000);
    }
}

/* The terminal is gone: the kernel says so. A reload is asked for by a process. */
static bool is_hangup(const struct signalfd_siginfo *info) {
    return info->ssi_signo == SIGHUP && info->ssi_code == SI_KERNEL;
}

static void take_signals(struct up *u) {
    struct signalfd_siginfo info;
    while (read(u->signals, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo != SIGHUP || is_hangup(&info))
            stop(u);
        else if (!u->stops)
            up_reload(u);
    }
}

static struct mono next_time(const struct up *u) {
    struct mono next = MONO_NEVER;
    for (size_t i = 0; i < PARTS; i++) {
        const struct part *p = &u->parts[i];
        struct mono t = p->child.pid ? p->kill_at : u->stops ? MONO_NEVER : p->not_before;
        bool waits = i == PART_POOLS && !u->was_ready && !u->parts[PART_BROKER].ready;
        if (!waits && t.ms < next.ms)
            next = t;
    }
    if (u->log[0] && u->log_look_at.ms < next.ms)
        next = u->log_look_at;
    if (u->c->client && !u->asking && u->ask_at.ms < next.ms)
        next = u->ask_at;
    if (u->c->client && client_next(u->c->client).ms < next.ms)
        next = client_next(u->c->client);
    return next;
}

static void wait_for_news(struct up *u) {
    struct pollfd fds[2 + 2 * PARTS] = {{.fd = u->signals, .events = POLLIN},
                                        {.fd = -1, .events = POLLIN}};
    if (u->c->client)
        fds[1].fd = client_fd(u->c->client);
    for (size_t i = 0; i < PARTS; i++) {
        const struct part *p = &u->parts[i];
        fds[2 + 2 * i] =
            (struct pollfd){.fd = p->child.pid ? p->child.pidfd : -1, .events = POLLIN};
        fds[3 + 2 * i] = (struct pollfd){.fd = p->ready_fd, .events = POLLIN};
    }
    struct mono next = next_time(u);
    uint64_t ms = mono_until(clock_mono(), next);
    poll(fds, sizeof fds / sizeof fds[0],
         next.ms == UINT64_MAX ? -1
         : ms < 60000          ? (int)ms
                               : 60000);
}

/* As the first process of a container we inherit what nobody else waits for. */
static void reap_strangers(const struct up *u) {
    siginfo_t info = {0};
    while (getpid() == 1 && waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid) {
        for (size_t i = 0; i < PARTS; i++)
            if (info.si_pid == u->parts[i].child.pid)
                return;
        waitpid(info.si_pid, NULL, 0);
        info.si_pid = 0;
    }
}

static void run_tree(struct up *u) {
    for (;;) {
        take_signals(u);
        reap_strangers(u);
        for (size_t i = 0; i < PARTS; i++) {
            part_look(&u->parts[i]);
            part_reap(&u->parts[i], u);
        }
        if (u->failed.code && !u->stops)
            stop(u);
        struct mono now = clock_mono();
        up_turn_log(u, now);
        if (u->stops) {
            if (go_on_stopping(u, now))
                return;
        } else {
            start_missing(u, now);
            if (!u->was_ready)
                become_ready(u, now);
        }
        wait_for_news(u);
    }
}

/* ---- the whole ------------------------------------------------------------------------------ */
static int load(struct up *u, struct err *e) {
    struct err_list errors = {0};
    if (up_load(u, &u->boot, &errors) == 0) {
        u->now = u->boot;
        return 0;
    }
    for (size_t i = 0; i + 1 < errors.count; i++)
        cli_say("%s", errors.at[i].text);
    *e = errors.at[errors.count - 1];
    return -1;
}

static int find_folder(struct up *u, struct err *e) {
    if (mkdir(u->c->data, 0700) < 0 && errno != EEXIST)
        return err_errno(e, "cannot make the folder %s", u->c->data);
    if (!realpath(u->c->data, u->data))
        return err_errno(e, "cannot use the folder %s", u->c->data);
    if (u->config && !realpath(u->config, u->config_path))
        return err_errno(e, "%s", u->config);
    u->config = u->config ? u->config_path : NULL; /* parts may go to another folder */
    return 0;
}

static int prepare(struct up *u, const struct args_up *args, struct err *e) {
    umask(077);
    for (enum part_id i = 0; i < PARTS; i++)
        if (part_init(&u->parts[i], i, e) < 0)
            return -1;
    if (load(u, e) < 0 || find_folder(u, e) < 0)
        return -1;
    if (tree_pid(u->data)) /* said here, where a terminal may listen */
        return tree_take(u->data, e);
    if (args->detach && detach(u, e) < 0)
        return -1;
    log_open("quern", STDERR_FILENO);
    log_set((enum log_level)u->boot->log.level, (enum log_format)u->boot->log.format);
    if (signals_open(&u->signals, e) < 0 || tree_take(u->data, e) < 0 || up_hand_down(u, e) < 0)
        return -1;
    return wait_for_old_broker(u, e);
}

int run_up(struct cli *c, const struct args_up *args) {
    struct up u = {.c = c,
                   .config = c->config,
                   .signals = -1,
                   .answer_fd = -1,
                   .pools_text = BUF(4096),
                   .began = clock_mono()};
    uint64_t seed;
    random_bytes(&seed, sizeof seed);
    u.rng = rng_seed(seed);
    struct err e = {0};
    if (prepare(&u, args, &e) == 0) {
        log_event(LOG_tree_starting, log_text("data", u.data));
        run_tree(&u);
        log_event(LOG_tree_stopped);
        e = u.failed;
    }
    int status = e.code ? cli_fail(c, &e) : 0;
    detach_answer(&u, status ? status : 1, str_of(e.code ? e.text : "it was stopped"));
    if (u.now != u.boot)
        settings_destroy(&u.now);
    settings_destroy(&u.boot);
    handed_done(&u.handed);
    buf_destroy(&u.pools_text);
    if (u.signals >= 0)
        close(u.signals);
    return status;
}
