/*
 * A load whose requests come when they come, whether or not those before them are answered: an open loop, over
 * HTTP/1.1 with keep-alive.
 *
 *     pace [-n PATHS HOSTS] PORT HOST PATH CONNECTIONS RATE SECONDS
 *
 * It connects, asks once on each connection, says "ready" and waits for a line. Then a request is due every 1/RATE
 * seconds; it is sent at once where a connection is free, or as soon as one is. Its time counts from when it was due,
 * so that no request that had to wait is left out. RATE 0: a closed loop, 64 requests are under way all the time (or
 * one on each connection, if these are fewer), the connections taking turns, and time counts from when each is sent.
 * With -n, a % in PATH stands for a number less than PATHS, one in HOST for one less than HOSTS: all pairs have
 * their turn, and neighbours aren't asked for one after the other.
 *
 * Once all is answered it prints: requests, answers other than 200, seconds, the bytes of all answers, and
 * milliseconds: p50, p99, p99.9; it keeps its connections until its input ends. What isn't HTTP, or closes a
 * connection, ends it with an error. Only the benchmarks run it, on loopback.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS = 256,
    HEAD = 4096,            /* bytes of an answer's head, at most */
    PIECE = 64 << 10,
    BURST = 64,             /* requests that are sent before answers are looked at, or are under way in a closed loop */
    STRIDE = 7919,          /* between one pair and the next: prime to the number of them, so that none is left out */
};

#define SECOND 1000000000L

struct client {
    int fd;
    int64_t due;            /* of the request that is under way */
    size_t held;            /* of the head */
    size_t left;            /* of the content */
    char head[HEAD];
};

static struct client *clients, **idle;      /* `idle` is a ring: who was free first is the next */
static size_t count, idle_first, idle_count;
static int epoll;
static const char *host, *path;
static uint64_t paths = 1, hosts = 1, asked;

static uint32_t *times;     /* of answers, in units of 100 ns */
static size_t times_count, times_room, failed;
static uint64_t bytes;
static bool counts;

static int64_t
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

/* The pattern, with the number where it says so. */
static void
name(char to[256], const char *pattern, uint64_t number)
{
    const char *place = strchr(pattern, '%');
    if (place)
        snprintf(to, 256, "%.*s%llu%s", (int)(place - pattern), pattern, (unsigned long long)number, place + 1);
    else
        snprintf(to, 256, "%s", pattern);
}

static void
ask(struct client *c, int64_t due)
{
    char text[1024], target[256], authority[256];
    uint64_t which = asked++ * STRIDE % (paths * hosts);
    name(target, path, which % paths);
    name(authority, host, which / paths);
    int n = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, authority);
    c->due = due;
    if (send(c->fd, text, (size_t)n, MSG_NOSIGNAL) != n)
        err(1, "send");
}

static void
note(int64_t took)
{
    if (times_count == times_room) {
        times_room = times_room > 0 ? 2 * times_room : 1 << 16;
        if (!(times = reallocarray(times, times_room, sizeof(*times))))
            err(1, "memory");
    }
    times[times_count++] = took / 100 > UINT32_MAX ? UINT32_MAX : (uint32_t)(took / 100);
}

static void
answered(struct client *c)
{
    if (counts) {
        note(now() - c->due);
        failed += strncmp(c->head, "HTTP/1.1 200", 12) != 0;
    }
    c->held = 0;
    idle[(idle_first + idle_count++) % count] = c;
}

/* Its head is whole: how much content follows. */
static size_t
content(struct client *c)
{
    const char *field = strcasestr(c->head, "\r\nContent-Length:");
    if (!field)
        errx(1, "an answer without a length: %.200s", c->head);
    return strtoull(field + 17, NULL, 10);
}

/* All that there is to read now, which is no more than one answer. */
static void
hear(struct client *c)
{
    static char rest[PIECE];
    bool in_head = c->left == 0;
    char *to = in_head ? c->head + c->held : rest;
    ssize_t n = recv(c->fd, to, in_head ? HEAD - 1 - c->held : PIECE, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0)
        err(1, "a connection ended");
    bytes += counts ? (size_t)n : 0;
    if (in_head) {
        c->held += (size_t)n;
        c->head[c->held] = '\0';
        const char *end = strstr(c->head, "\r\n\r\n");
        if (!end && c->held == HEAD - 1)
            errx(1, "a head without an end");
        if (!end)
            return;
        size_t have = c->held - (size_t)(end + 4 - c->head);
        c->left = content(c);
        n = (ssize_t)have;
    }
    if ((size_t)n > c->left)
        errx(1, "more than was asked for");
    c->left -= (size_t)n;
    if (c->left == 0)
        answered(c);
}

static void
wait_until(int64_t t)
{
    struct epoll_event events[EVENTS];
    int64_t left = t - now();
    struct timespec most = {left > 0 ? left / SECOND : 0, left > 0 ? left % SECOND : 0};
    int n = epoll_pwait2(epoll, events, EVENTS, &most, NULL);
    for (int i = 0; i < n; i++)
        hear(events[i].data.ptr);
}

static struct client *
take(void)
{
    struct client *c = idle[idle_first];
    idle_first = (idle_first + 1) % count;
    idle_count--;
    return c;
}

/* Until all are free, or for 30 s. */
static void
finish(void)
{
    for (int64_t end = now() + 30 * SECOND; idle_count < count; wait_until(end))
        if (now() > end)
            errx(1, "%zu requests are not answered", count - idle_count);
}

static void
open_all(uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    for (size_t i = 0; i < count; i++) {
        struct client *c = &clients[i];
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        if ((c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0 ||
            connect(c->fd, (struct sockaddr *)&to, sizeof(to)) < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e) < 0)
            err(1, "connection %zu", i);
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        ask(c, now());
        while (i + 1 - idle_count >= BURST)
            wait_until(now() + SECOND);
    }
    finish();
}

/* As many requests as are due before `end`, each at its time. */
static void
keep_pace(int64_t begin, double rate, uint64_t total)
{
    for (uint64_t i = 0; i < total;) {
        int64_t due = begin + (int64_t)((double)i * (double)SECOND / rate);
        for (int burst = 0; burst < BURST && i < total && idle_count > 0 && due <= now(); burst++) {
            ask(take(), due);
            due = begin + (int64_t)((double)++i * (double)SECOND / rate);
        }
        wait_until(idle_count > 0 ? due : now() + SECOND);
    }
}

static void
keep_asking(int64_t end)
{
    while (now() < end) {
        while (idle_count > 0 && count - idle_count < BURST)
            ask(take(), now());
        wait_until(end);
    }
}

static int
by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double
part(double p)
{
    return times_count > 0 ? times[(size_t)((double)(times_count - 1) * p)] / 1e4 : 0;
}

int
main(int argc, char **argv)
{
    if (argc == 10 && strcmp(argv[1], "-n") == 0) {
        paths = strtoull(argv[2], NULL, 10);
        hosts = strtoull(argv[3], NULL, 10);
        argv += 3;
        argc -= 3;
    }
    if (argc != 7)
        errx(2, "usage: pace [-n PATHS HOSTS] PORT HOST PATH CONNECTIONS RATE SECONDS");
    host = argv[2];
    path = argv[3];
    count = strtoull(argv[4], NULL, 10);
    double rate = strtod(argv[5], NULL), seconds = strtod(argv[6], NULL);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    prctl(PR_SET_TIMERSLACK, 1);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    clients = calloc(count, sizeof(*clients));
    idle = calloc(count, sizeof(struct client *));
    if (epoll < 0 || !clients || !idle)
        err(1, "%zu connections", count);
    open_all((uint16_t)strtoul(argv[1], NULL, 10));
    puts("ready");
    fflush(stdout);
    if (getchar() == EOF)
        return 0;

    counts = true;
    int64_t begin = now();
    if (rate > 0)
        keep_pace(begin, rate, (uint64_t)(rate * seconds + 0.5));
    else
        keep_asking(begin + (int64_t)(seconds * (double)SECOND));
    finish();
    double took = (double)(now() - begin) / (double)SECOND;
    qsort(times, times_count, sizeof(*times), by_size);
    printf("%zu %zu %.6f %llu %.4f %.4f %.4f\n", times_count, failed, took, (unsigned long long)bytes, part(0.5),
           part(0.99), part(0.999));
    fflush(stdout);
    while (getchar() != EOF)
        ;
    return 0;
}
