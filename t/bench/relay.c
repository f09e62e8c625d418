/*
 * The limit of what proxying can cost: an epoll loop that passes bytes between a client and an origin and looks at
 * none of them.
 *
 *     relay [-s] PORT ORIGIN
 *
 * Each client has a connection to the origin of its own, opened when it comes. Bytes are received and sent; with -s
 * they are spliced through a pipe and never copied to user space. Only the benchmarks run it, on loopback.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ENDS = 65536,           /* descriptors that are looked after; a client above that is closed */
    EVENTS = 512,
    BACKLOG = 4096,
    PIECE = 64 << 10,       /* of bytes that are on their way in one direction */
    PIPE = 1 << 20,         /* what a pipe is made to hold, and is asked for at once */
};

/* One end: what it has sent waits in `held` (or in the pipe) until the other takes it. */
struct end {
    int fd, other;
    int pipe[2];
    size_t held, at;
    char *bytes;
    bool readable, writable, ended;
};

static struct end ends[ENDS];
static struct sockaddr_in origin;
static bool splices;
static int epoll;

static struct sockaddr_in
local(const char *port)
{
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void
watch(int fd, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) < 0)
        err(1, "epoll_ctl");
}

static void
begin(int fd, int other)
{
    int on = 1;
    struct end *e = &ends[fd];
    *e = (struct end){.fd = fd, .other = other, .bytes = e->bytes, .pipe = {-1, -1}};
    if (splices && pipe2(e->pipe, O_NONBLOCK | O_CLOEXEC) < 0)
        err(1, "pipe2");
    if (splices)
        fcntl(e->pipe[1], F_SETPIPE_SZ, PIPE);
    if (!splices && !e->bytes && !(e->bytes = malloc(PIECE)))
        err(1, "memory");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    watch(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

static void
finish(struct end *e)
{
    if (splices) {
        close(e->pipe[0]);
        close(e->pipe[1]);
    }
    close(e->fd);
    e->fd = -1;
}

static void
take(int listener)
{
    int client;
    while ((client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        int server = client < ENDS ? socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) : -1;
        if (server >= ENDS || server < 0 ||
            (connect(server, (struct sockaddr *)&origin, sizeof(origin)) < 0 && errno != EINPROGRESS)) {
            close(client);
            if (server >= 0)
                close(server);
            continue;
        }
        begin(client, server);
        begin(server, client);
    }
}

static ssize_t
hear(struct end *e)
{
    if (splices)
        return splice(e->fd, NULL, e->pipe[1], NULL, PIPE, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    e->at = 0;
    return recv(e->fd, e->bytes, PIECE, 0);
}

static ssize_t
tell(struct end *from, struct end *to)
{
    if (splices)
        return splice(from->pipe[0], NULL, to->fd, NULL, from->held, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    return send(to->fd, from->bytes + from->at, from->held, MSG_NOSIGNAL);
}

/* What `from` sends, to `to`, until one of them waits. false: both have ended. */
static bool
pass(struct end *from, struct end *to)
{
    for (;;) {
        while (from->held > 0 && to->writable) {
            ssize_t n = tell(from, to);
            if (n < 0 && errno != EAGAIN)
                return false;
            if (n < 0) {
                to->writable = false;
                break;
            }
            from->held -= (size_t)n;
            from->at += (size_t)n;
        }
        if (from->held > 0 || !from->readable)
            return true;
        ssize_t n = hear(from);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            return false;
        if (n < 0) {
            from->readable = false;
            return true;
        }
        from->held = (size_t)n;
        /* less than there was room for: it was all, and more will be told of, but for the end */
        if (n < PIECE && !from->ended && !splices)
            from->readable = false;
    }
}

int
main(int argc, char **argv)
{
    splices = argc == 4 && strcmp(argv[1], "-s") == 0;
    if (argc != 3 + splices)
        errx(2, "usage: relay [-s] PORT ORIGIN");
    struct rlimit files = {ENDS, ENDS};
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);   /* splice to who has left */
    struct sockaddr_in here = local(argv[1 + splices]);
    origin = local(argv[2 + splices]);
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(listener, (struct sockaddr *)&here, sizeof(here)) < 0 || listen(listener, BACKLOG) < 0)
        err(1, "port %s", argv[1 + splices]);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        err(1, "epoll_create1");
    watch(listener, EPOLLIN);
    for (;;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                take(listener);
                continue;
            }
            struct end *e = &ends[fd], *o = &ends[e->other];
            if (e->fd != fd)
                continue;
            e->readable |= (events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
            e->writable |= (events[i].events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0;
            e->ended |= (events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
            if (!pass(e, o) || !pass(o, e)) {
                finish(o);
                finish(e);
            }
        }
    }
}
