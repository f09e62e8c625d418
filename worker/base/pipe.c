/*
 * The pool of pipes. It alone knows their sizes: the kernel's default serves most, larger ones are
 * asked for and may be refused (a user's pages are counted), and one of a page or two, which is what
 * the kernel gives to a user who has used up his share, is not worth having: none is made for a while then.
 */
#include "worker/base/pipe.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "worker/base/arena.h"
#include "worker/base/clock.h"

#define POOL_MOST 64
#define WANT_MOST (1024 * 1024)         /* pipe-max-size, as kernels come */
#define WORTH_LEAST (32 * 1024)
#define SLACK 2                         /* first and last pages of a packet are seldom full */
#define TRY_AGAIN_MS 1000

static struct pipe *pool;
static unsigned pool_count;
static unsigned count, count_most = 1024;       /* in the pool and out of it */
static int64_t again_ms;        /* none is made before */

void
pipe_limit(unsigned most)
{
    count_most = most;
}

static void
destroy(struct pipe *p)
{
    close(p->fd[0]);
    close(p->fd[1]);
    free(p);
    count--;
}

static void
grow(struct pipe *p, size_t want)
{
    int size;

    want = want < WANT_MOST / SLACK ? want * SLACK : WANT_MOST;
    if (p->size >= want)
        return;
    size = fcntl(p->fd[1], F_SETPIPE_SZ, (int)want);
    if (size > 0)
        p->size = (size_t)size;
}

static struct pipe *
make(void)
{
    int fd[2], size;
    struct pipe *p;

    if (count >= count_most || clock_ms() < again_ms)
        return NULL;
    if (pipe2(fd, O_NONBLOCK | O_CLOEXEC) < 0) {
        again_ms = clock_ms() + TRY_AGAIN_MS;
        return NULL;
    }
    count++;
    size = fcntl(fd[1], F_GETPIPE_SZ);
    p = xmalloc(sizeof(*p));
    *p = (struct pipe){.fd = {fd[0], fd[1]}, .size = size > 0 ? (size_t)size : 0};
    return p;
}

struct pipe *
pipe_get(size_t want)
{
    struct pipe *p = pool;

    if (p != NULL) {
        pool = p->next;
        pool_count--;
        p->next = NULL;
    } else {
        p = make();
        if (p == NULL)
            return NULL;
    }
    grow(p, want);
    if (p->size < WORTH_LEAST) {
        again_ms = clock_ms() + TRY_AGAIN_MS;
        destroy(p);
        return NULL;
    }
    return p;
}

void
pipe_put(struct pipe *p)
{
    if (p->bytes > 0 || pool_count >= POOL_MOST) {
        destroy(p);
        return;
    }
    p->next = pool;
    pool = p;
    pool_count++;
}

bool
pipe_full(const struct pipe *p)
{
    struct pollfd room = {.fd = p->fd[1], .events = POLLOUT};

    return poll(&room, 1, 0) == 0;
}

void
pipe_flush(void)
{
    while (pool != NULL) {
        struct pipe *p = pool;

        pool = p->next;
        destroy(p);
    }
    pool_count = 0;
}
