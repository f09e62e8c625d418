/*
 * Knows the conversation of two masters. Letters from the new one: r it accepts, e (and text) why it
 * failed, l reopen the logs, t end at once. From the old one: d done, it is yours; h there was a SIGHUP too.
 *
 * The old master stays in charge until it has said d: two never write the pid file or the statistics.
 */
#include "master/upgrade.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master/handover.h"
#include "master/master.h"
#include "master/signals.h"
#include "master/title.h"
#include "worker/base/clock.h"
#include "worker/base/log.h"

enum {
    READY = 'r',
    FAILED = 'e',
    REOPEN = 'l',
    STOP = 't',
    DONE = 'd',
    RELOAD = 'h',
};

enum {
    PATIENCE = 60 * 1000,       /* ms; a generation gives up earlier by itself */
    GRACE = 5 * 1000,
};

static struct {
    char **arguments;
    char *directory;
    char *binary;
} self;

/* As the shell found it. */
static char *
search(const char *name)
{
    const char *path = getenv("PATH"), *end;
    char *found;

    for (; path != NULL && *path != '\0'; path = *end != '\0' ? end + 1 : end) {
        end = strchrnul(path, ':');
        if (asprintf(&found, "%.*s/%s", (int)(end - path), path, name) < 0)
            return NULL;
        if (found[0] == '/' && access(found, X_OK) == 0)
            return found;
        free(found);
    }
    return NULL;
}

void
upgrade_init(char **arguments)
{
    const char *name = arguments[0];

    self.arguments = arguments;
    self.directory = getcwd(NULL, 0);
    if (name[0] == '/')
        self.binary = strdup(name);
    else if (strchr(name, '/') == NULL)
        self.binary = search(name);
    else if (asprintf(&self.binary, "%s/%s", self.directory, name) < 0)
        self.binary = NULL;
}

static void
say(struct upgrade *u, char letter, const char *text)
{
    char message[512];

    snprintf(message, sizeof(message), "%c%s", letter, text);
    if (u->socket >= 0)
        send(u->socket, message, strlen(message), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void
hang_up(struct upgrade *u)
{
    if (u->socket >= 0)
        close(u->socket);
    u->socket = -1;
}

/* Old */

static _Noreturn void
become_master(const struct master *m, int text, int socket)
{
    struct upgrade u = {.socket = socket};
    char why[512];

    if (self.directory != NULL && chdir(self.directory) != 0)
        log_warning("upgrade: the directory %s is gone", self.directory);
    handover_expose(text, &m->listen, &m->pidfile, &m->shared, socket);
    signals_reset();
    execv(self.binary, self.arguments);
    snprintf(why, sizeof(why), "cannot run %s: %s", self.binary, strerror(errno));
    say(&u, FAILED, why);
    _exit(1);
}

void
upgrade_start(struct master *m)
{
    struct upgrade *u = &m->upgrade;
    int pair[2], text;

    u->role = UPGRADE_OLD;
    hang_up(u);                         /* to an old master that still drains: its end means nothing more */
    if (self.binary == NULL) {
        log_error("upgrade: the path that weir was started with is not known");
        return;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0) {
        log_error("upgrade: %s", strerror(errno));
        return;
    }
    text = handover_write(&m->listen, &m->pidfile, &m->shared, pair[1]);
    u->pid = text < 0 ? -1 : fork();
    if (u->pid == 0)
        become_master(m, text, pair[1]);
    if (u->pid < 0)
        log_error("upgrade: %s", strerror(errno));
    close(pair[1]);
    if (text >= 0)
        close(text);
    u->socket = pair[0];
    u->give_up_at = clock_ms() + PATIENCE;
    if (u->pid > 0) {
        log_notice("upgrade: started %s, pid %d", self.binary, (int)u->pid);
        return;
    }
    u->pid = 0;
    hang_up(u);
}

/* The new master has the service; what is left is to let the requests under way end. */
static void
retire(struct master *m)
{
    struct generation *g;

    log_notice("upgrade: pid %d serves now, this master drains its workers", (int)m->upgrade.pid);
    m->upgrade.pid = 0;
    m->in_charge = false;
    m->state = MASTER_RETIRED;
    title_set("weir", "weir: master, draining");
    say(&m->upgrade, DONE, "");
    if (m->reload_wanted)
        say(&m->upgrade, RELOAD, "");
    pidfile_leave(&m->pidfile);
    listen_close(&m->listen, false);
    for (g = master_next(m, NULL); g != NULL; g = master_next(m, g))
        generation_drain(g);
}

bool
upgrade_reaped(struct master *m, pid_t pid, int status)
{
    struct upgrade *u = &m->upgrade;

    if (pid != u->pid)
        return false;
    upgrade_read(m);                    /* its reason, or that it was ready in time */
    if (u->pid != pid)
        return true;
    if (m->state != MASTER_SERVING)
        log_notice("upgrade: the new master has ended too");
    else if (WIFSIGNALED(status))
        log_error("upgrade failed: the new master was killed by signal %d; this master goes on", WTERMSIG(status));
    else
        log_error("upgrade failed: the new master ended with status %d; this master goes on", WEXITSTATUS(status));
    u->pid = 0;
    hang_up(u);
    return true;
}

void
upgrade_check(struct master *m)
{
    struct upgrade *u = &m->upgrade;

    if (u->pid == 0 || clock_ms() < u->give_up_at)
        return;
    log_error("upgrade: the new master takes too long: killing it");
    u->give_up_at = clock_ms() + PATIENCE;
    kill(u->pid, SIGKILL);
}

void
upgrade_cancel(struct master *m)
{
    if (m->upgrade.pid == 0)
        return;
    kill(m->upgrade.pid, SIGTERM);
    m->upgrade.give_up_at = clock_ms() + GRACE;
}

/* New */

bool
upgrade_inherit(struct master *m)
{
    struct handover h;
    struct reason why;
    bool good = handover_read(&h, &why);

    m->upgrade.role = UPGRADE_NEW;
    m->upgrade.socket = h.socket;
    m->listen = h.listen;
    m->pidfile = h.pidfile;
    m->shared = h.shared;
    m->in_charge = false;
    if (!good)
        master_complain(m, "%s", why.text);
    return good;
}

void
upgrade_tell_ready(struct master *m)
{
    say(&m->upgrade, READY, "");
}

void
upgrade_tell_failure(struct master *m, const char *text)
{
    if (m->upgrade.role == UPGRADE_NEW)
        say(&m->upgrade, FAILED, text);
}

void
upgrade_tell_reopen(struct master *m)
{
    if (m->upgrade.role == UPGRADE_NEW)
        say(&m->upgrade, REOPEN, "");
}

void
upgrade_tell_stop(struct master *m)
{
    if (m->upgrade.role == UPGRADE_NEW && m->in_charge)
        say(&m->upgrade, STOP, "");
}

/* Both */

static void
hear_new(struct master *m, const char *message, size_t n)
{
    switch (message[0]) {
    case READY:
        if (m->state == MASTER_SERVING && m->upgrade.pid != 0)
            retire(m);
        break;
    case FAILED: log_error("upgrade: %.*s", (int)n - 1, message + 1); break;
    case REOPEN: master_reopen_logs(m); break;
    case STOP:
        if (m->state == MASTER_RETIRED)
            master_stop(m);
        break;
    }
}

static void
hear_old(struct master *m, char letter)
{
    if (letter == DONE && m->state == MASTER_WAITING)
        master_take_charge(m);
    else if (letter == RELOAD)
        m->reload_wanted = true;
}

void
upgrade_read(struct master *m)
{
    char message[512];
    ssize_t n;

    while (m->upgrade.socket >= 0) {
        n = recv(m->upgrade.socket, message, sizeof(message), 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            hang_up(&m->upgrade);
            if (m->state == MASTER_WAITING)
                master_take_charge(m);
            return;
        }
        if (m->upgrade.role == UPGRADE_OLD)
            hear_new(m, message, (size_t)n);
        else
            hear_old(m, message[0]);
    }
}
