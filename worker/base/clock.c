/*
 * The loop's clock. It alone reads the system's clocks for the loop. Each text is kept with the second
 * it was made for; asking again within that second copies nothing and formats nothing, but for the
 * milliseconds of RFC 3339, which are three digits.
 */
#include "worker/base/clock.h"

#include <stdbool.h>
#include <stdio.h>

static int64_t mono_us, mono_ms;
static int64_t wall_ms;

static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

struct text {
    int64_t second;
    struct str s;
    char buf[64];
};

void
clock_update(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    mono_us = (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
    mono_ms = mono_us / 1000;
    clock_gettime(CLOCK_REALTIME, &ts);
    wall_ms = (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t
clock_exact_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t
clock_us(void)
{
    return mono_us;
}

int64_t
clock_ms(void)
{
    return mono_ms;
}

int64_t
clock_wall_ms(void)
{
    return wall_ms;
}

/* False where the text of this second is there already. */
static bool
stale(struct text *t)
{
    int64_t second = wall_ms / 1000;

    if (t->s.n != 0 && t->second == second)
        return false;
    t->second = second;
    return true;
}

struct str
clock_http_date(void)
{
    static struct text t;

    if (stale(&t)) {
        time_t second = (time_t)t.second;
        struct tm tm;
        int n;

        gmtime_r(&second, &tm);
        n = snprintf(t.buf, sizeof(t.buf), "%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday], tm.tm_mday,
                     months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
        t.s = (struct str){t.buf, (size_t)n};
    }
    return t.s;
}

struct str
clock_log_time(void)
{
    static struct text t;

    if (stale(&t)) {
        time_t second = (time_t)t.second;
        struct tm tm;
        long off;
        int n;

        localtime_r(&second, &tm);
        off = tm.tm_gmtoff < 0 ? -tm.tm_gmtoff : tm.tm_gmtoff;
        n = snprintf(t.buf, sizeof(t.buf), "%02d/%s/%04d:%02d:%02d:%02d %c%02ld%02ld", tm.tm_mday,
                     months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec,
                     tm.tm_gmtoff < 0 ? '-' : '+', off / 3600, off / 60 % 60);
        t.s = (struct str){t.buf, (size_t)n};
    }
    return t.s;
}

size_t
clock_format(char *buf, size_t size, int64_t ms)
{
    time_t second = (time_t)(ms / 1000);
    struct tm tm;
    int n;

    gmtime_r(&second, &tm);
    n = snprintf(buf, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
                 tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(ms % 1000));
    return n > 0 && (size_t)n < size ? (size_t)n : 0;
}

struct str
clock_rfc3339(void)
{
    static struct text t;
    int ms = (int)(wall_ms % 1000);

    if (stale(&t))
        t.s = (struct str){t.buf, clock_format(t.buf, sizeof(t.buf), wall_ms)};
    t.buf[t.s.n - 4] = (char)('0' + ms / 100);
    t.buf[t.s.n - 3] = (char)('0' + ms / 10 % 10);
    t.buf[t.s.n - 2] = (char)('0' + ms % 10);
    return t.s;
}
