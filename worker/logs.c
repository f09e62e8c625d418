/*
 * Access logs. It alone holds the logs' descriptors.
 *
 * Each target has a buffer of whole lines, written when the next line has no room and each second. What
 * the kernel does not take stays in the buffer and goes first the next time, so a line that was torn by
 * a short write is finished before another begins; lines that find the buffer full are dropped and
 * counted. A target that refused is left alone until the next second: a full disk costs no call a request.
 *
 * Workers append to one file. One whose line was torn there locks the file until the line is finished, and
 * the others, which look for a lock before they write, let it go first. A worker that dies takes its lock along.
 *
 * Pipes and terminals are written in steps of whole lines that a pipe takes at once, so that lines
 * of several workers do not mix. Syslog has a datagram a line and no buffer.
 */
#include "worker/logs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/base/arena.h"
#include "worker/base/log.h"

#define ROOM (64 * 1024)
#define LINE_MOST (32 * 1024)   /* longer lines are cut: a client may not keep its request out of the log */

struct target {
    bool syslog;
    bool regular;               /* a file: any length at once, and no other worker's bytes in between */
    bool complained;            /* of it, in the error log */
    bool refused;               /* since the last flush */
    bool torn;                  /* the buffer begins within a line */
    bool locked;                /* a file, by us: until that line is finished */
    int fd;                     /* -1: discard */
    char *buf;
    size_t fill;
};

static const struct conf *conf;
static struct target *targets;
static size_t target_count;
static uint64_t *dropped;

/* The error log is one of the targets too, and may share its file with an access log. */
static void
open_target(struct target *t, int fd)
{
    struct stat st;

    if (t == &targets[conf->error_log])
        log_to(fd, t->syslog, conf->log_level);
    t->fd = fd;
    t->regular = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    t->refused = false;
}

void
logs_init(const struct conf *c, const int *fds, uint64_t *lost)
{
    conf = c;
    dropped = lost;
    target_count = conf->log_count;
    targets = xcalloc(target_count + 1, sizeof(*targets));
    for (size_t i = 0; i < target_count; i++) {
        targets[i].syslog = conf->logs[i].kind == LOG_TO_SYSLOG;
        open_target(&targets[i], fds[i]);
    }
}

/* How much of the buffer to write at once. */
static size_t
portion(const struct target *t)
{
    const char *end;

    if (t->regular || t->fill <= PIPE_BUF)
        return t->fill;
    end = memrchr(t->buf, '\n', PIPE_BUF);
    return end != NULL ? (size_t)(end + 1 - t->buf) : PIPE_BUF;
}

/* Of the whole file, at once or not at all. It is no harm where there are no locks: lines may mix then. */
static bool
lock(const struct target *t, int command, short type)
{
    struct flock l = {.l_type = type, .l_whence = SEEK_SET};

    return fcntl(t->fd, command, &l) == 0 && (command != F_GETLK || l.l_type != F_UNLCK);
}

/* Another worker has half a line in the file. */
static bool
must_yield(const struct target *t)
{
    return t->regular && !t->locked && lock(t, F_GETLK, F_WRLCK);
}

static void
taken(struct target *t, size_t n)
{
    t->torn = t->buf[n - 1] != '\n';
    t->fill -= n;
    memmove(t->buf, t->buf + n, t->fill);
    if (t->regular && t->torn != t->locked) {
        lock(t, F_SETLK, t->torn ? F_WRLCK : F_UNLCK);
        t->locked = t->torn;
    }
}

/* Says once that a log takes no lines, and once that it takes them again. A pipe that is slow is no news. */
static void
complain(struct target *t, bool written)
{
    struct str path = conf->logs[t - targets].path;

    if (!written && !t->complained && errno != EAGAIN)
        log_error("%.*s cannot be written, its lines will be lost: %s", STR_ARG(path), strerror(errno));
    else if (written && t->complained)
        log_notice("%.*s is written again", STR_ARG(path));
    t->complained = !written && (t->complained || errno != EAGAIN);
}

static void
flush(struct target *t)
{
    if (t->fill > 0 && !t->refused && must_yield(t))
        t->refused = true;
    while (t->fill > 0 && !t->refused) {
        ssize_t n = log_write(t->fd, t->buf, portion(t));

        if (n > 0)
            taken(t, (size_t)n);
        else
            t->refused = true;
        complain(t, n > 0);
    }
}

void
logs_flush(void)
{
    for (size_t i = 0; i < target_count; i++) {
        targets[i].refused = false;
        flush(&targets[i]);
    }
}

/* The rest of a line that began elsewhere means nothing in a new file. */
static void
drop_torn(struct target *t)
{
    char *end;

    if (!t->torn)
        return;
    end = memchr(t->buf, '\n', t->fill);
    taken(t, (size_t)(end + 1 - t->buf));
    ++*dropped;
}

void
logs_reopen(const int *fds, size_t n, size_t first)
{
    for (size_t i = 0; i < n && first + i < target_count; i++) {
        struct target *t = &targets[first + i];

        t->refused = false;
        flush(t);
        drop_torn(t);
        if (t->fd >= 0)
            close(t->fd);
        open_target(t, fds[i]);
    }
}

static void
append(struct target *t, struct str line)
{
    if (t->buf == NULL)
        t->buf = xmalloc(ROOM);
    if (line.n + 1 > ROOM - t->fill)
        flush(t);
    if (line.n + 1 > ROOM - t->fill) {
        ++*dropped;
        return;
    }
    if (line.n > 0)
        memcpy(t->buf + t->fill, line.p, line.n);
    t->fill += line.n;
    t->buf[t->fill++] = '\n';
}

void
logs_line(unsigned log, struct str line)
{
    struct target *t = &targets[log];

    check(log < target_count);
    if (t->fd < 0)
        return;
    if (line.n > LINE_MOST)
        line.n = LINE_MOST;
    if (!t->syslog)
        append(t, line);
    else if (!log_syslog(t->fd, LOG_INFO_, line.p, line.n))
        ++*dropped;
}
