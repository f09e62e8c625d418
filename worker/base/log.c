/*
 * The error log. It alone knows what a line of it looks like. A line is one write(2) of at most 4 KiB,
 * which is what a pipe takes whole, so that lines of several processes never mix. Whatever a peer sent
 * is in the message: bytes that could end a line or move a terminal's cursor are written as \xXX.
 */
#include "worker/base/log.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "worker/base/clock.h"
#include "worker/base/hex.h"

#define LINE_MOST 4096
#define SYSLOG_PATH "/dev/log"
#define SYSLOG_DAEMON (3 << 3)

_Static_assert(LINE_MOST <= PIPE_BUF, "a pipe takes a line whole");

static const struct {
    const char *name;
    int severity;               /* RFC 3164 4.1.1 */
} levels[] = {
    [LOG_DEBUG_] = {"debug", 7},   [LOG_INFO_] = {"info", 6},   [LOG_NOTICE_] = {"notice", 5},
    [LOG_WARNING_] = {"warning", 4}, [LOG_ERROR_] = {"error", 3},
};

static int to = STDERR_FILENO;
static bool to_syslog;
static int least = LOG_NOTICE_;
static char who[64] = "weir";
static bool torn;               /* the last line was not written whole */

void
log_to(int fd, bool syslog, int level)
{
    to = fd;
    to_syslog = syslog;
    least = level;
    torn = false;
}

void
log_as(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(who, sizeof(who), fmt, ap);
    va_end(ap);
}

bool
log_on(int level)
{
    return level >= least && to >= 0;
}

ssize_t
log_write(int fd, const void *p, size_t n)
{
    ssize_t done = send(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (done < 0 && errno == ENOTSOCK) {
        struct pollfd room = {.fd = fd, .events = POLLOUT};

        if (poll(&room, 1, 0) == 0) {
            errno = EAGAIN;
            return -1;
        }
        done = write(fd, p, n);
    }
    return done;
}

/* A syslogd that was started anew has another socket at the same path. */
static bool
reconnect(int fd)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX, .sun_path = SYSLOG_PATH};

    return (errno == ECONNREFUSED || errno == ENOTCONN || errno == ECONNRESET) &&
           connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0;
}

bool
log_syslog(int fd, int level, const char *p, size_t n)
{
    char head[48];
    int head_n = snprintf(head, sizeof(head), "<%d>weir[%d]: ", SYSLOG_DAEMON | levels[level].severity, (int)getpid());
    struct iovec iov[2] = {{head, (size_t)head_n}, {(void *)(uintptr_t)p, n}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};

    if (sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
        return true;
    return reconnect(fd) && sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

/* Appends what a line may hold; what does not fit is cut off. */
static size_t
put(char *line, size_t at, size_t most, const char *s)
{
    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;

        if (c >= 0x20 && c < 0x7F) {
            if (at + 1 > most)
                break;
            line[at++] = (char)c;
        } else {
            if (at + 4 > most)
                break;
            hex_escape_log(line + at, c);
            at += 4;
        }
    }
    return at;
}

static size_t
stamp(char *line)
{
    struct timespec ts;
    size_t n;

    /* not the loop's clock: the master has none, and a turn may be long */
    clock_gettime(CLOCK_REALTIME, &ts);
    n = clock_format(line, CLOCK_FORMAT_SIZE, (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000);
    line[n++] = ' ';
    return n;
}

static void
say(int level, const char *fmt, va_list ap)
{
    char message[LINE_MOST], line[LINE_MOST];
    size_t n = 0;

    if (!log_on(level))
        return;
    vsnprintf(message, sizeof(message), fmt, ap);
    if (!to_syslog) {
        if (torn)
            line[n++] = '\n';
        n += stamp(line + n);
    }
    n += (size_t)snprintf(line + n, sizeof(line) - n, "[%s] ", levels[level].name);
    n = put(line, n, LINE_MOST - 1, who);
    n = put(line, n, LINE_MOST - 1, ": ");
    n = put(line, n, LINE_MOST - 1, message);
    if (to_syslog) {
        log_syslog(to, level, line, n);
    } else {
        ssize_t done;

        line[n++] = '\n';
        done = log_write(to, line, n);
        if (done > 0)
            torn = (size_t)done < n;
    }
}

#define SAY(name, level) \
    void name(const char *fmt, ...) \
    { \
        va_list ap; \
        int saved = errno; \
\
        va_start(ap, fmt); \
        say(level, fmt, ap); \
        va_end(ap); \
        errno = saved; \
    }

SAY(log_debug, LOG_DEBUG_)
SAY(log_info, LOG_INFO_)
SAY(log_notice, LOG_NOTICE_)
SAY(log_warning, LOG_WARNING_)
SAY(log_error, LOG_ERROR_)

_Noreturn void
log_bug(const char *file, int line, const char *what)
{
    log_error("bug at %s:%d: %s", file, line, what);
    abort();
}

bool
log_due(struct log_pace *pace, int64_t now_ms, int64_t every_ms, unsigned long *untold)
{
    if (now_ms < pace->next_ms) {
        pace->untold++;
        return false;
    }
    *untold = pace->untold;
    *pace = (struct log_pace){.next_ms = now_ms + every_ms};
    return true;
}
