/*
 * The error log of this process: one line a call, written at once. "2026-11-21T09:51:00.123Z
 * [notice] worker 1/3: message". Lines are cut at 4 KiB; bytes that are no visible ASCII come as \xXX.
 * Nothing here waits: what a full pipe or disk does not take is lost. errno stays as it was.
 */
#ifndef WEIR_LOG_H
#define WEIR_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The levels of enum log_level (worker/conf.h): 0 debug to 4 error. */
enum { LOG_DEBUG_, LOG_INFO_, LOG_NOTICE_, LOG_WARNING_, LOG_ERROR_ };

/* fd stays the caller's; syslog: fd is a connected datagram socket and lines carry a priority. */
void log_to(int fd, bool syslog, int level);
void log_as(const char *fmt, ...) __attribute__((format(printf, 1, 2)));   /* who writes: "master" */
bool log_on(int level);

void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_notice(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * write(2) that fails with EAGAIN where it would wait. To a pipe or a terminal at most PIPE_BUF bytes
 * may be written at once.
 */
ssize_t log_write(int fd, const void *p, size_t n);

/* One datagram to syslog (RFC 3164 without the time, which syslogd adds). False: it was not taken. */
bool log_syslog(int fd, int level, const char *p, size_t n);

/* Logs and aborts: our own bugs. */
_Noreturn void log_bug(const char *file, int line, const char *what);

/* An assertion that is always on: the worker dies, nothing shared is lost. */
#define check(condition) \
    do { \
        if (__builtin_expect(!(condition), 0)) \
            log_bug(__FILE__, __LINE__, #condition); \
    } while (0)

/*
 * For what others can make happen as often as they like: told once, and then at most once in every_ms, with how many
 * more there were. False: not now. Each kind of trouble has a struct of its own, zero at first.
 */
struct log_pace {
    int64_t next_ms;
    unsigned long untold;       /* since it was told last */
};

bool log_due(struct log_pace *pace, int64_t now_ms, int64_t every_ms, unsigned long *untold);

#endif
