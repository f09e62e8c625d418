/*
 * Access logs. It alone holds the logs' descriptors.
 *
 * Each target has a buffer of whole lines, written when there are many and each second. What the kernel does
 * not take stays in the buffer and goes first the next time, so a line that was torn by a short write is
 * finished before another begins; lines that find the buffer full are dropped and counted. A target that
 * refused is left alone until the next second: a full disk costs no call a request.
 *
 * Workers append to one file, each with a lock on it that is tried and never waited for. Who tore a line keeps
 * the lock until it is finished, and says so by a second one. A worker that dies takes its locks along. One that
 * hangs, or a stranger, may hold it for long: where trying again and again was in vain nobody tries for a while,
 * so what is lost then costs no call a line. Where files have no locks lines may mix on a full disk.
 *
 * Pipes and terminals are written in steps of whole lines that a pipe takes at once, so that lines
 * of several workers do not mix. Syslog has a datagram a line and no buffer.
 */
#include "worker/logs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "worker/base/arena.h"
#include "worker/base/clock.h"
#include "worker/base/log.h"

#define ROOM (256 * 1024)
#define WRITTEN_AT (64 * 1024)  /* the rest is for the time in which another worker writes */
#define STEP (16 * 1024)        /* so many bytes more, and it is tried again */
#define YIELDS 50               /* to another worker that is writing */
#define VAIN_MS 100             /* after those it is left alone */
#define END_MS 100              /* for it at exit */
#define WRITING 0               /* bytes of a file that are locked: by who writes, */
#define TORN 1                  /* and, after a short write, until the line is finished */

struct target {
    bool syslog;
    bool regular;               /* a file: any length at once, and no other worker's bytes in between */
    bool complained;            /* of it, in the error log */
    uint64_t lost;              /* lines that it was not told of */
    bool refused;               /* since the last flush */
    bool torn;                  /* the buffer begins within a line */
    bool locked;                /* a file, by us */
    bool busy;                  /* another had the lock */
    int64_t vain_until_ms;      /* another had it each time; 0: no */
    int fd;                     /* -1: discard */
    char *buf;
    size_t fill;
    size_t due;                 /* bytes in it, and it is to be written */
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
    t->refused = t->locked = false;
    t->vain_until_ms = 0;
    t->due = WRITTEN_AT;
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

static bool
lock(const struct target *t, int command, struct flock *l, short type, off_t first, off_t n)
{
    *l = (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = first, .l_len = n};
    return fcntl(t->fd, command, l) == 0;
}

/* False: another worker writes. A lock that merely reads is nobody's who writes, and hinders nobody. */
static bool
take_lock(struct target *t)
{
    struct flock l;

    if (!t->regular || t->locked)
        return true;
    for (int i = 0; i < 3; i++) {
        t->locked = lock(t, F_SETLK, &l, F_WRLCK, WRITING, 1);
        if (t->locked || (errno != EAGAIN && errno != EACCES))
            return true;
        if (!lock(t, F_GETLK, &l, F_WRLCK, WRITING, 1) || l.l_type == F_RDLCK)
            return true;
        if (l.l_type == F_WRLCK)
            return false;
    }
    return false;
}

/* The one who writes waits for room to finish a line. */
static bool
another_tore(const struct target *t)
{
    struct flock l;

    return lock(t, F_GETLK, &l, F_WRLCK, TORN, 1) && l.l_type == F_WRLCK;
}

static void
release_lock(struct target *t)
{
    struct flock l;

    if (t->locked && t->torn)
        lock(t, F_SETLK, &l, F_WRLCK, TORN, 1);
    else if (t->locked)
        t->locked = !lock(t, F_SETLK, &l, F_UNLCK, WRITING, 2);
}

static void
taken(struct target *t, size_t n)
{
    t->torn = t->buf[n - 1] != '\n';
    t->fill -= n;
    memmove(t->buf, t->buf + n, t->fill);
}

/*
 * Says once that a log takes no lines, and once that it takes them again; who lost some because another worker held
 * the file, with a line that it could not finish, says that too. A pipe that is slow is no news.
 */
static void
complain(struct target *t, bool written)
{
    struct str path = conf->logs[t - targets].path;

    if (!written && !t->complained && errno != EAGAIN) {
        log_error("%.*s cannot be written, its lines will be lost: %s", STR_ARG(path), strerror(errno));
    } else if (written && (t->complained || (t->regular && t->lost > 0))) {
        log_notice("%.*s is written again, %llu lines of this worker were lost", STR_ARG(path),
                   (unsigned long long)t->lost);
        t->lost = 0;
    }
    t->complained = !written && (t->complained || errno != EAGAIN);
}

static void
write_out(struct target *t)
{
    while (t->fill > 0 && !t->refused) {
        ssize_t n = log_write(t->fd, t->buf, portion(t));

        if (n > 0)
            taken(t, (size_t)n);
        else
            t->refused = true;
        complain(t, n > 0);
    }
    release_lock(t);
}

static void
flush(struct target *t)
{
    if (t->fill == 0 || t->refused || clock_ms() < t->vain_until_ms)
        return;
    t->busy = !take_lock(t);
    if (t->busy)
        t->refused = another_tore(t);
    else
        write_out(t);
    t->due = t->fill + STEP > WRITTEN_AT ? t->fill + STEP : WRITTEN_AT;
}

/* Another worker is soon done, once it has a processor. */
static void
insist(struct target *t)
{
    t->busy = false;
    for (int i = 0; i < YIELDS; i++) {
        flush(t);
        if (!t->busy || t->refused)
            return;
        sched_yield();
    }
    t->vain_until_ms = clock_ms() + VAIN_MS;
}

/* After a second, or for the last time in a file. */
static void
insist_anew(struct target *t)
{
    t->refused = false;
    t->vain_until_ms = 0;
    insist(t);
}

void
logs_flush(void)
{
    for (size_t i = 0; i < target_count; i++)
        insist_anew(&targets[i]);
}

void
logs_end(void)
{
    const struct timespec pause = {.tv_nsec = 1000000};

    for (size_t i = 0; i < target_count; i++) {
        struct target *t = &targets[i];

        insist_anew(t);
        for (int tries = 0; t->busy && tries < END_MS; tries++) {
            nanosleep(&pause, NULL);
            insist_anew(t);
        }
        for (size_t at = 0; at < t->fill; at++)
            *dropped += t->buf[at] == '\n';
        t->fill = 0;
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

        insist_anew(t);
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
    if (t->fill > t->due)
        flush(t);
    if (line.n + 1 > ROOM - t->fill)
        insist(t);
    if (line.n + 1 > ROOM - t->fill) {
        t->lost++;
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
    if (line.n > LOGS_LINE_MOST)
        line.n = LOGS_LINE_MOST;
    if (!t->syslog)
        append(t, line);
    else if (!log_syslog(t->fd, LOG_INFO_, line.p, line.n))
        ++*dropped;
}
