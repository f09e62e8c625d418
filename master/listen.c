/*
 * Knows how addresses are bound so that only one weir has them: the first socket of an address is
 * bound without SO_REUSEPORT, which fails where anybody listens there, and gets the option only then,
 * for its siblings. Nothing listens before all of an address is bound; and further sockets of an address that serves
 * only once a configuration is in force that has workers for them: the kernel would send them clients at once.
 *
 * Sockets of one address are in the order of their binding; the first `committed` of them serve.
 */
#include "master/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "worker/base/arena.h"
#include "worker/base/log.h"

enum { BACKLOG = 4096 };

static bool
is_unix(const struct listen_address *a)
{
    return a->addr.ip.family == AF_UNIX;
}

static struct listen_address *
find(const struct listen *l, const struct addr *addr)
{
    size_t i;

    for (i = 0; i < l->n; i++) {
        if (addr_equal(&l->v[i].addr, addr))
            return &l->v[i];
    }
    return NULL;
}

static struct listen_address *
add_address(struct listen *l, const struct addr *addr)
{
    struct listen_address *a;

    l->v = xrealloc(l->v, (l->n + 1) * sizeof(*l->v));
    a = &l->v[l->n++];
    *a = (struct listen_address){.addr = *addr};
    if (addr->path.n > 0)
        a->addr.path.p = strndup(addr->path.p, addr->path.n);
    return a;
}

static void
add_socket(struct listen_address *a, int fd)
{
    a->fds = xrealloc(a->fds, (a->n + 1) * sizeof(*a->fds));
    a->fds[a->n++] = fd;
}

static void
remove_address(struct listen *l, struct listen_address *a)
{
    free((char *)a->addr.path.p);
    free(a->fds);
    *a = l->v[--l->n];
}

/* Unix sockets */

static const char *
path_of(const struct sockaddr_storage *at)
{
    return ((const struct sockaddr_un *)at)->sun_path;
}

static void
remember_file(struct listen_address *a)
{
    struct stat st;

    if (lstat(a->addr.path.p, &st) == 0) {
        a->dev = st.st_dev;
        a->ino = st.st_ino;
    }
}

static void
remove_file(const struct listen_address *a)
{
    struct stat st;

    if (lstat(a->addr.path.p, &st) == 0 && st.st_dev == a->dev && st.st_ino == a->ino)
        unlink(a->addr.path.p);
}

/* A socket file that nobody listens at any more. */
static bool
is_stale(const struct sockaddr_storage *at, socklen_t n)
{
    struct stat st;
    int fd;
    bool refused;

    if (lstat(path_of(at), &st) != 0 || !S_ISSOCK(st.st_mode))
        return false;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    refused = fd >= 0 && connect(fd, (const struct sockaddr *)at, n) != 0 && errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return refused;
}

/* Everybody may connect, as to a port: the directory is where access is kept. */
static int
bind_unix(int fd, const struct sockaddr_storage *at, socklen_t n)
{
    mode_t mask = umask(0111);
    int failed = bind(fd, (const struct sockaddr *)at, n), error = errno;

    if (failed && error == EADDRINUSE && is_stale(at, n)) {
        unlink(path_of(at));
        failed = bind(fd, (const struct sockaddr *)at, n);
        error = errno;
    }
    umask(mask);
    errno = error;
    return failed;
}

/* TCP sockets */

static void
set(int fd, int level, int option)
{
    setsockopt(fd, level, option, &(int){1}, sizeof(int));
}

static bool
is_any(const struct ip *ip)
{
    static const uint8_t zero[16];

    return memcmp(ip->b, zero, sizeof(zero)) == 0;
}

/*
 * Whether a socket of our own would be in the way: a sibling, or the wildcard address of the same
 * port (or one that it covers), as after a change from 127.0.0.1:80 to 0.0.0.0:80.
 */
static bool
shares_port(const struct listen *l, const struct listen_address *new)
{
    size_t i;

    for (i = 0; i < l->n; i++) {
        const struct listen_address *a = &l->v[i];

        if (a->n > 0 && a->addr.ip.family == new->addr.ip.family && a->addr.port == new->addr.port &&
            (a == new || is_any(&a->addr.ip) || is_any(&new->addr.ip)))
            return true;
    }
    return false;
}

static int
bind_tcp(int fd, int family, const struct sockaddr_storage *at, socklen_t n, bool shared)
{
    set(fd, SOL_SOCKET, SO_REUSEADDR);
    set(fd, IPPROTO_TCP, TCP_NODELAY);          /* accepted sockets inherit it */
    if (family == AF_INET6)
        set(fd, IPPROTO_IPV6, IPV6_V6ONLY);
    if (shared)
        set(fd, SOL_SOCKET, SO_REUSEPORT);
    if (bind(fd, (const struct sockaddr *)at, n) != 0)
        return -1;
    set(fd, SOL_SOCKET, SO_REUSEPORT);
    return 0;
}

/* One more socket of the address, bound. -1 with errno. */
static int
open_socket(const struct listen *l, const struct listen_address *a)
{
    struct sockaddr_storage at;
    socklen_t n = addr_to_sockaddr(&a->addr, &at);
    int fd, error, failed;

    if (n == 0) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = socket(at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    failed = is_unix(a) ? bind_unix(fd, &at, n) : bind_tcp(fd, at.ss_family, &at, n, shares_port(l, a));
    if (failed) {
        error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static bool
start_listening(const struct listen_address *a)
{
    size_t i;

    for (i = a->committed; i < a->n; i++) {
        if (listen(a->fds[i], BACKLOG) != 0)
            return false;
    }
    return true;
}

/* Binds what the address has less than it should. False with errno. */
static bool
fill(const struct listen *l, struct listen_address *a, size_t want)
{
    int fd;

    while (a->n < want) {
        fd = open_socket(l, a);
        if (fd < 0)
            return false;
        add_socket(a, fd);
        if (is_unix(a))
            remember_file(a);
    }
    return a->committed > 0 || start_listening(a);
}

bool
listen_prepare(struct listen *l, const struct conf *conf, unsigned workers, struct reason *why)
{
    size_t i;

    for (i = 0; i < l->n; i++)
        l->v[i].wanted = false;
    for (i = 0; i < conf->listener_count; i++) {
        const struct listener *c = &conf->listeners[i];
        struct listen_address *a = find(l, &c->address);

        if (a == NULL)
            a = add_address(l, &c->address);
        a->wanted = true;
        if (!fill(l, a, is_unix(a) ? 1 : workers)) {
            reason_set(why, "cannot listen on %.*s: %m", STR_ARG(c->text));
            listen_rollback(l);
            return false;
        }
    }
    return true;
}

static void
close_from(struct listen_address *a, size_t first)
{
    while (a->n > first)
        close(a->fds[--a->n]);
}

static void
close_address(struct listen *l, struct listen_address *a, bool remove)
{
    if (remove && is_unix(a) && a->n > 0)
        remove_file(a);
    close_from(a, 0);
    remove_address(l, a);
}

void
listen_commit(struct listen *l)
{
    size_t i = l->n;

    while (i-- > 0) {
        struct listen_address *a = &l->v[i];

        if (!a->wanted) {
            close_address(l, a, true);
            continue;
        }
        if (a->committed > 0 && !start_listening(a))
            log_error("cannot listen on a further socket of port %u: %m", a->addr.port);
        a->committed = a->n;
    }
}

void
listen_rollback(struct listen *l)
{
    size_t i = l->n;

    while (i-- > 0) {
        if (l->v[i].committed == 0)
            close_address(l, &l->v[i], true);
        else
            close_from(&l->v[i], l->v[i].committed);
    }
}

void
listen_close(struct listen *l, bool remove)
{
    while (l->n > 0)
        close_address(l, &l->v[l->n - 1], remove);
    free(l->v);
    *l = (struct listen){NULL, 0};
}

static bool
is_listening(int fd)
{
    int type = 0, accepts = 0;
    socklen_t n = sizeof(int);

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_STREAM &&
           getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &n) == 0 && accepts;
}

bool
listen_inherit(struct listen *l, int fd)
{
    struct sockaddr_storage at;
    socklen_t n = sizeof(at);
    struct listen_address *a;
    struct addr addr;

    if (!is_listening(fd) || getsockname(fd, (struct sockaddr *)&at, &n) != 0)
        return false;
    addr_from_sockaddr(&addr, (struct sockaddr *)&at, n);
    if (addr.ip.family != AF_INET && addr.ip.family != AF_INET6 && (addr.ip.family != AF_UNIX || addr.path.n == 0))
        return false;
    a = find(l, &addr);
    if (a == NULL)
        a = add_address(l, &addr);
    add_socket(a, fd);
    a->committed = a->n;
    if (is_unix(a))
        remember_file(a);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    return true;
}

size_t
listen_count(const struct listen *l)
{
    size_t i, n = 0;

    for (i = 0; i < l->n; i++)
        n += l->v[i].n;
    return n;
}

size_t
listen_share(const struct listen *l, const struct conf *conf, unsigned number, unsigned workers,
             struct worker_listener *to)
{
    size_t i, j, n = 0;

    for (i = 0; i < conf->listener_count; i++) {
        const struct listen_address *a = find(l, &conf->listeners[i].address);

        if (a == NULL)
            continue;                   /* a retired configuration's address that is closed by now */
        for (j = 0; j < a->n; j++) {
            if (is_unix(a) || j % workers == number)
                to[n++] = (struct worker_listener){&conf->listeners[i], a->fds[j]};
        }
    }
    return n;
}
