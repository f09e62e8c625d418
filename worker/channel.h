/*
 * A channel: the bytes of one connection both ways, over a socket in the clear or through TLS; whoever reads and writes
 * HTTP does not see which. Runs in the worker.
 *
 * io.readable and io.writable say whether it is worth trying, and are cleared by these functions; with TLS, readable
 * stays set while anything decrypted or undecrypted stands unread.
 */
#ifndef WEIR_CHANNEL_H
#define WEIR_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "worker/base/loop.h"

struct tls;

struct channel {
    struct io io;
    struct tls *tls;            /* NULL: in the clear */
    uint64_t sent;              /* bytes that went to the socket, TLS's own among them: a slow peer is measured by it */
    bool ending;                /* a FIN follows what stands here */
};

/*
 * One read: bytes; 0 at the end (over TLS only after a close_notify, else it is an error); -1 nothing now; -2 an
 * error.
 */
ssize_t channel_read(struct channel *ch, char *to, size_t n);

/* The same into n pieces of memory, one at least; over TLS the first alone is filled: a record fits into it. */
ssize_t channel_readv(struct channel *ch, const struct iovec *iov, int n);

/*
 * One write, as writev(2): bytes taken, short where the channel is full or that was enough for one round (io.writable
 * tells: call again where it is set); -1 with errno, EAGAIN where it is full. What was taken is copied: the caller's
 * bytes are free. `more`: more follows at once.
 */
ssize_t channel_write(struct channel *ch, const struct iovec *iov, int n, bool more);

/* Whether all that was taken is with the kernel: 1; 0 the socket is full, -1 lost. In the clear always 1. */
int channel_flush(struct channel *ch);

/* All was said, a close follows: close_notify, which tells a whole response from one that was cut. */
void channel_finish(struct channel *ch);

/* No more will be written: that, and a FIN. Where the socket is full they go out in channel_flush. */
void channel_shutdown(struct channel *ch);

/* Takes it from the loop and closes it. The channel's TLS is freed. */
void channel_close(struct channel *ch);

#endif
