/*
 * Channels. It alone reads from and writes to the sockets of clients and servers, splices apart.
 */
#include "worker/channel.h"

#include <errno.h>
#include <sys/socket.h>

#include "worker/base/iov.h"
#include "worker/tls/session.h"

static ssize_t
read_socket(struct channel *ch, const struct iovec *iov, int count)
{
    struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)count};
    ssize_t got;

    do
        got = count == 1 ? recv(ch->io.fd, iov->iov_base, iov->iov_len, MSG_DONTWAIT)
                         : recvmsg(ch->io.fd, &msg, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got < 0) {
        if (errno != EAGAIN)
            return -2;
        ch->io.readable = false;
        return -1;
    }
    /* a short read emptied the socket: only a FIN could be behind it, and that was told */
    if ((size_t)got < iov_length(iov, count) && !ch->io.hangup)
        ch->io.readable = false;
    return got;
}

ssize_t
channel_readv(struct channel *ch, const struct iovec *iov, int n)
{
    if (!ch->io.readable)
        return -1;
    return ch->tls != NULL ? tls_read(ch, iov->iov_base, iov->iov_len) : read_socket(ch, iov, n);
}

ssize_t
channel_read(struct channel *ch, char *to, size_t n)
{
    return channel_readv(ch, &(struct iovec){to, n}, 1);
}

ssize_t
channel_write(struct channel *ch, const struct iovec *iov, int n, bool more)
{
    struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n};
    int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (more ? MSG_MORE : 0);
    ssize_t sent;

    if (ch->tls != NULL)
        return tls_write(ch, iov, n, more);
    do
        sent = n == 1 ? send(ch->io.fd, iov->iov_base, iov->iov_len, flags) : sendmsg(ch->io.fd, &msg, flags);
    while (sent < 0 && errno == EINTR);
    if (sent > 0)
        ch->sent += (uint64_t)sent;
    return sent;
}

int
channel_flush(struct channel *ch)
{
    int result = ch->tls != NULL ? tls_flush(ch) : 1;

    if (ch->ending && result != 0) {
        ch->ending = false;
        shutdown(ch->io.fd, SHUT_WR);
    }
    return result;
}

void
channel_finish(struct channel *ch)
{
    if (ch->tls != NULL)
        tls_shutdown(ch);
}

void
channel_shutdown(struct channel *ch)
{
    channel_finish(ch);
    ch->ending = true;
    channel_flush(ch);
}

void
channel_close(struct channel *ch)
{
    if (ch->tls != NULL)
        tls_free(ch);
    loop_close(&ch->io);
}
