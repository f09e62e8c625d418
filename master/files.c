/*
 * Knows how logs are opened, and how their descriptors travel to a worker that lives already.
 */
#include "master/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "worker/base/arena.h"
#include "worker/worker.h"

void
files_make_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *parent;

    if (slash == NULL || slash == path || geteuid() != 0)
        return;
    parent = strndup(path, (size_t)(slash - path));
    if (parent != NULL)
        mkdir(parent, 0755);            /* there already, or the open after this tells what is wrong */
    free(parent);
}

/* A FIFO without a reader is an error at once instead of a wait. */
static int
open_file(const char *path)
{
    files_make_parent(path);
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0640);
}

static int
open_syslog(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error;

    if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0)
        return fd;
    error = errno;
    close(fd);
    errno = error;
    return -1;
}

static int
open_log(const struct log_target *t, struct reason *why)
{
    char *path;
    int fd = -1;

    switch (t->kind) {
    case LOG_TO_STDERR:
        fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
            reason_set(why, "cannot log to stderr: %m");
        break;
    case LOG_TO_SYSLOG:
        fd = open_syslog();
        if (fd < 0)
            reason_set(why, "cannot log to syslog at /dev/log: %m");
        break;
    case LOG_TO_FILE:
        path = strndup(t->path.p, t->path.n);
        fd = open_file(path);
        if (fd < 0)
            reason_set(why, "cannot open the log %s: %s", path,
                       errno == ELOOP ? "it is a symbolic link" : strerror(errno));
        free(path);
        break;
    }
    return fd;
}

int *
files_open_logs(const struct conf *conf, struct reason *why)
{
    int *fds = xcalloc(conf->log_count + 1, sizeof(*fds));
    size_t i;

    for (i = 0; i < conf->log_count; i++)
        fds[i] = -1;
    for (i = 0; i < conf->log_count; i++) {
        fds[i] = open_log(&conf->logs[i], why);
        if (fds[i] < 0) {
            files_close_logs(conf, fds);
            return NULL;
        }
    }
    return fds;
}

size_t
files_reopen_logs(const struct conf *conf, int *fds, struct reason *why)
{
    size_t i, failed = 0;

    for (i = 0; i < conf->log_count; i++) {
        int fd = open_log(&conf->logs[i], why);

        if (fd < 0) {
            failed++;
            continue;
        }
        dup3(fd, fds[i], O_CLOEXEC);    /* the number stays: the master's own log is among them */
        close(fd);
    }
    return failed;
}

void
files_close_logs(const struct conf *conf, int *fds)
{
    size_t i;

    for (i = 0; i < conf->log_count; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
    free(fds);
}

static bool
send_some(int control, const int *fds, size_t n, size_t first)
{
    unsigned char text[2] = {CONTROL_LOGS, (unsigned char)first};       /* the loader takes 256 logs at most */
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(CONTROL_FDS * sizeof(int))];
    } extra = {0};
    struct iovec iov = {text, sizeof(text)};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &extra,
                       .msg_controllen = CMSG_SPACE(n * sizeof(int))};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(c), fds, n * sizeof(int));
    return sendmsg(control, &m, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

bool
files_send_logs(int control, const int *fds, size_t n)
{
    size_t first, most;

    for (first = 0; first < n; first += most) {
        most = n - first < CONTROL_FDS ? n - first : CONTROL_FDS;
        if (!send_some(control, fds + first, most, first))
            return false;
    }
    return true;
}
