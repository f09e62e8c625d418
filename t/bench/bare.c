/*
 * The limit of what a hit can cost: an epoll loop that answers every request with the same bytes from memory.
 *
 *     bare PORT FILE [CODING]
 *
 * It looks for the empty line that ends a head and for nothing else, so it speaks HTTP only with a load
 * generator that sends requests without content, one after the other. Only the benchmarks run it, on loopback.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CLIENTS = 20000,        /* descriptors that are looked after; a connection above that is closed */
    EVENTS = 512,
    BACKLOG = 4096,
};

struct client {
    size_t left;            /* of the answer, to be sent */
    unsigned matched;       /* bytes of the empty line seen last */
    int waits;              /* is told when it may write */
};

static struct client clients[CLIENTS];
static char *answer;
static size_t length;
static int epoll;

static void
load(const char *path, const char *coding)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        err(1, "%s", path);
    size_t size = (size_t)st.st_size, at = 0;
    answer = malloc(size + 512);
    if (!answer)
        err(1, "memory");
    int head = snprintf(answer, 512,
                        "HTTP/1.1 200 OK\r\nServer: bare\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
                        "Content-Type: application/octet-stream\r\nContent-Length: %zu\r\n"
                        "Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\nETag: \"00000000-0000\"\r\n"
                        "Cache-Control: max-age=3600\r\nAge: 0\r\n%s%s%s\r\n", size,
                        coding ? "Content-Encoding: " : "", coding ? coding : "", coding ? "\r\n" : "");
    length = (size_t)head + size;
    while (at < size) {
        ssize_t n = read(fd, answer + head + at, size - at);
        if (n <= 0)
            err(1, "%s", path);
        at += (size_t)n;
    }
    close(fd);
}

static int
bound(const char *port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, BACKLOG) < 0)
        err(1, "port %s", port);
    return fd;
}

static void
watch(int op, int fd, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.fd = fd};
    if (epoll_ctl(epoll, op, fd, &e) < 0)
        err(1, "epoll_ctl");
}

static void
take(int listener)
{
    int on = 1, fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (fd >= CLIENTS) {
            close(fd);
            continue;
        }
        clients[fd] = (struct client){0};
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        watch(EPOLL_CTL_ADD, fd, EPOLLIN);
    }
}

/* 0, or -1: the connection has ended. */
static int
give(int fd)
{
    struct client *c = &clients[fd];
    while (c->left > 0) {
        ssize_t n = send(fd, answer + length - c->left, c->left, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return -1;
        if (n < 0)
            break;
        c->left -= (size_t)n;
    }
    if (c->waits != (c->left > 0)) {
        c->waits = c->left > 0;
        watch(EPOLL_CTL_MOD, fd, c->waits ? EPOLLOUT : EPOLLIN);
    }
    return 0;
}

static int
hear(int fd)
{
    static const char empty[] = "\r\n\r\n";
    struct client *c = &clients[fd];
    char buf[4096];
    ssize_t n = recv(fd, buf, sizeof(buf), 0);
    if (n <= 0)
        return n < 0 && errno == EAGAIN ? 0 : -1;
    /* nearly always the whole head at once: its end is the end */
    if (c->matched == 0 && n >= 4 && memcmp(buf + n - 4, empty, 4) == 0) {
        c->left += length;
        return give(fd);
    }
    for (ssize_t i = 0; i < n; i++) {
        c->matched = buf[i] == empty[c->matched] ? c->matched + 1 : buf[i] == '\r';
        if (c->matched == 4) {
            c->matched = 0;
            c->left += length;
        }
    }
    return give(fd);
}

int
main(int argc, char **argv)
{
    if (argc != 3 && argc != 4)
        errx(2, "usage: bare PORT FILE [CODING]");
    load(argv[2], argv[3]);
    int listener = bound(argv[1]);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        err(1, "epoll_create1");
    watch(EPOLL_CTL_ADD, listener, EPOLLIN);
    for (;;) {
        struct epoll_event events[EVENTS];
        int n = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                take(listener);
            else if ((clients[fd].left > 0 ? give(fd) : hear(fd)) < 0)
                close(fd);
        }
    }
}
