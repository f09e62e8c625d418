/*
 * Flows. It alone knows pieces.
 *
 * A piece is a slice of a counted buffer that it holds, or of bytes that nobody has to hold. What has to
 * be copied goes into the flow's own buffer, `tail`, which nobody else writes to; the flow holds it
 * apart from its pieces, so that short slices between long ones share one, and lets go of it whenever
 * it is empty: an idle flow pins nothing. Between flow_spaces and flow_added the tail is followed by more buffers.
 *
 * Invariants: the pieces' lengths and the pipe's bytes add up to f->bytes; no piece is empty; there is a
 * pipe only while it holds something, and no piece is added then.
 */
#include "worker/base/flow.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "worker/base/arena.h"
#include "worker/base/log.h"
#include "worker/base/pipe.h"
#include "worker/base/keep.h"

#define HOLD_LEAST 4096         /* a shorter slice is copied: it would pin a buffer four times its length */
#define SPACE_LEAST 4096        /* less at a buffer's end isn't worth a read of its own */
#define FREE_MOST (KEEPS * 1024)

struct flow_piece {
    struct flow_piece *next;
    struct buffer *buffer;      /* held; NULL: static */
    const char *p;
    size_t n;
};

static struct flow_piece *unused;
static unsigned unused_count;

static struct flow_piece *
take_piece(void)
{
    struct flow_piece *piece = unused;

    if (piece == NULL)
        return xmalloc(sizeof(*piece));
    unused = piece->next;
    unused_count--;
    return piece;
}

static void
free_piece(struct flow_piece *piece)
{
    if (piece->buffer != NULL)
        buffer_drop(piece->buffer);
    if (unused_count + 1 > FREE_MOST) {
        free(piece);
        return;
    }
    piece->next = unused;
    unused = piece;
    unused_count++;
}

void
flow_flush(void)
{
    while (unused != NULL) {
        struct flow_piece *piece = unused;

        unused = piece->next;
        free(piece);
    }
    unused_count = 0;
}

void
flow_init(struct flow *f, size_t high)
{
    *f = (struct flow){.high = high};
}

/* The pipe serves others while it is empty. */
static void
rest_pipe(struct flow *f)
{
    if (f->pipe == NULL || f->pipe->bytes > 0)
        return;
    pipe_put(f->pipe);
    f->pipe = NULL;
}

static void
drop_tail(struct flow *f)
{
    if (f->tail != NULL)
        buffer_drop(f->tail);
    f->tail = NULL;
}

/* Takes the first piece out of the list. */
static struct flow_piece *
shift(struct flow *f)
{
    struct flow_piece *piece = f->first;

    f->first = piece->next;
    if (f->first == NULL)
        f->last = NULL;
    return piece;
}

void
flow_clear(struct flow *f)
{
    if (f->first == NULL && f->tail == NULL && f->pipe == NULL)
        return;
    while (f->first != NULL)
        free_piece(shift(f));
    drop_tail(f);
    if (f->pipe != NULL)
        pipe_put(f->pipe);
    f->pipe = NULL;
    f->bytes = 0;
}

size_t
flow_room(struct flow *f)
{
    if (f->bytes < f->high)
        return f->high - f->bytes;
    f->stopped = true;
    return 0;
}

bool
flow_resumes(struct flow *f)
{
    if (!f->stopped || f->bytes > f->high / 2)
        return false;
    f->stopped = false;
    return true;
}

/* Whether the slice goes on where the last piece ends. */
static bool
joins(const struct flow *f, const struct buffer *b, const char *p)
{
    return f->last != NULL && b != NULL && f->last->buffer == b && f->last->p + f->last->n == p;
}

static void
append(struct flow *f, struct buffer *b, const char *p, size_t n)
{
    check(f->pipe == NULL);
    if (joins(f, b, p)) {
        f->last->n += n;
    } else {
        struct flow_piece *piece = take_piece();

        *piece = (struct flow_piece){.buffer = b != NULL ? buffer_hold(b) : NULL, .p = p, .n = n};
        if (f->last != NULL)
            f->last->next = piece;
        else
            f->first = piece;
        f->last = piece;
    }
    f->bytes += n;
    f->passed += n;
}

char *
flow_space(struct flow *f, size_t most, size_t *n)
{
    size_t room = f->tail != NULL ? f->tail->size - f->tail->fill : 0;

    check(most > 0);
    if (room == 0 || (room < most && room < SPACE_LEAST)) {
        drop_tail(f);
        f->tail = buffer_get();
        room = f->tail->size;
    }
    *n = room < most ? room : most;
    return f->tail->data + f->tail->fill;
}

int
flow_spaces(struct flow *f, size_t most, struct iovec iov[FLOW_SPACES])
{
    int count = 1;

    iov->iov_base = flow_space(f, most, &iov->iov_len);
    most -= iov->iov_len;
    for (struct buffer *b = f->tail; most > 0 && count < FLOW_SPACES; b = b->next) {
        size_t n = most < BUFFER_SIZE ? most : BUFFER_SIZE;

        b->next = buffer_get();
        iov[count++] = (struct iovec){b->next->data, n};
        most -= n;
    }
    return count;
}

/* What was written to the tail; how much it was. */
static size_t
add_to_tail(struct flow *f, size_t n)
{
    struct buffer *b = f->tail;
    size_t room = b->size - b->fill;

    if (n > room)
        n = room;
    b->fill += n;
    if (n > 0)
        append(f, b, b->data + b->fill - n, n);
    return n;
}

void
flow_added(struct flow *f, size_t n)
{
    struct buffer *spare = f->tail->next;

    f->tail->next = NULL;
    n -= add_to_tail(f, n);
    while (spare != NULL) {
        struct buffer *b = spare;

        spare = b->next;
        b->next = NULL;
        if (n == 0) {
            buffer_drop(b);
            continue;
        }
        drop_tail(f);
        f->tail = b;
        n -= add_to_tail(f, n);
    }
    check(n == 0);
    if (f->first == NULL)
        drop_tail(f);
}

void
flow_copy(struct flow *f, struct str s)
{
    while (s.n > 0) {
        size_t n;
        char *to = flow_space(f, s.n, &n);

        memcpy(to, s.p, n);
        flow_added(f, n);
        s.p += n;
        s.n -= n;
    }
}

void
flow_put(struct flow *f, struct buffer *b, struct str s)
{
    if (s.n >= HOLD_LEAST || joins(f, b, s.p))
        flow_put_held(f, b, s);
    else
        flow_copy(f, s);
}

void
flow_put_held(struct flow *f, struct buffer *b, struct str s)
{
    if (s.n > 0)
        append(f, b, s.p, s.n);
}

void
flow_put_static(struct flow *f, struct str s)
{
    if (s.n > 0)
        append(f, NULL, s.p, s.n);
}

int
flow_iov(const struct flow *f, struct iovec *iov, int max, size_t most)
{
    int count = 0;

    for (const struct flow_piece *piece = f->first; piece != NULL && count < max && most > 0; piece = piece->next) {
        size_t n = piece->n < most ? piece->n : most;

        iov[count].iov_base = (void *)(uintptr_t)piece->p;
        iov[count].iov_len = n;
        count++;
        most -= n;
    }
    return count;
}

size_t
flow_in_pieces(const struct flow *f)
{
    return f->pipe != NULL ? f->bytes - f->pipe->bytes : f->bytes;
}

void
flow_eat(struct flow *f, size_t n)
{
    check(n <= flow_in_pieces(f));
    f->bytes -= n;
    while (n > 0) {
        if (n < f->first->n) {
            f->first->p += n;
            f->first->n -= n;
            return;
        }
        n -= f->first->n;
        free_piece(shift(f));
    }
    if (f->first == NULL)
        drop_tail(f);
}

void
flow_take(struct flow *f, char *to, size_t n)
{
    check(n <= flow_in_pieces(f));
    while (n > 0) {
        size_t part = f->first->n < n ? f->first->n : n;

        memcpy(to, f->first->p, part);
        flow_eat(f, part);
        to += part;
        n -= part;
    }
}

void
flow_move(struct flow *dest, struct flow *from, size_t n)
{
    check(n <= flow_in_pieces(from));
    while (n > 0) {
        const struct flow_piece *piece = from->first;
        size_t part = piece->n < n ? piece->n : n;

        append(dest, piece->buffer, piece->p, part);
        flow_eat(from, part);
        n -= part;
    }
}

void
flow_share_first(struct flow *dest, const struct flow *from, size_t n)
{
    check(n <= flow_in_pieces(from));
    for (const struct flow_piece *piece = from->first; n > 0; piece = piece->next) {
        size_t part = piece->n < n ? piece->n : n;

        append(dest, piece->buffer, piece->p, part);
        dest->passed -= part;
        n -= part;
    }
}

void
flow_share(struct flow *dest, const struct flow *from)
{
    check(from->pipe == NULL);
    flow_share_first(dest, from, from->bytes);
}

/* How much may be spliced in; 0 with errno. */
static size_t
splice_room(struct flow *f, size_t most)
{
    size_t room = flow_room(f);

    if (room > 0 && f->pipe == NULL)
        f->pipe = pipe_get(f->high);
    if (room > 0 && f->pipe == NULL) {
        errno = ENFILE;
        return 0;
    }
    if (room > 0 && room > f->pipe->size - f->pipe->bytes)
        room = f->pipe->size - f->pipe->bytes;
    if (room == 0) {
        f->stopped = true;
        errno = ENOBUFS;
    }
    return room < most ? room : most;
}

ssize_t
flow_splice_in(struct flow *f, int fd, size_t most)
{
    size_t room = splice_room(f, most);
    ssize_t n;

    if (room == 0)
        return -1;
    n = splice(fd, NULL, f->pipe->fd[1], NULL, room, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n > 0) {
        f->pipe->bytes += (size_t)n;
        f->bytes += (size_t)n;
        f->passed += (uint64_t)n;
    } else if (n < 0 && errno == EAGAIN && f->pipe->bytes > 0) {
        bool full = pipe_full(f->pipe);

        f->stopped = f->stopped || full;
        errno = full ? ENOBUFS : EAGAIN;
    }
    rest_pipe(f);
    return n;
}

ssize_t
flow_splice_out(struct flow *f, int fd)
{
    struct pipe *p = f->pipe;
    ssize_t n;

    check(f->first == NULL && p->bytes > 0);
    n = splice(p->fd[0], NULL, fd, NULL, p->bytes, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n > 0) {
        check((size_t)n <= p->bytes);
        p->bytes -= (size_t)n;
        f->bytes -= (size_t)n;
        rest_pipe(f);
    }
    return n;
}

void
flow_spill(struct flow *f)
{
    struct pipe *p = f->pipe;

    f->bytes -= p->bytes;
    f->passed -= p->bytes;
    f->pipe = NULL;
    while (p->bytes > 0) {
        size_t n;
        char *to = flow_space(f, p->bytes, &n);
        ssize_t got = read(p->fd[0], to, n);

        check(got > 0 || (got < 0 && errno == EINTR));
        flow_added(f, got > 0 ? (size_t)got : 0);
        p->bytes -= got > 0 ? (size_t)got : 0;
    }
    pipe_put(p);
    f->stopped = false;
}
