/*
 * Flows: the bounded buffer in which a body moves from one writer to one reader. Over the high mark
 * the writer stops; once the reader has brought it to the low mark (half of it) the writer is asked
 * to go on. A flow calls nobody: whoever puts tells the reader, and whoever eats looks at
 * flow_resumes and tells the writer.
 *
 * A flow ends once: whole (ended) or cut short (broken). Content is a list of pieces of counted
 * buffers; small pieces are copied together, so that a peer that drips bytes cannot make them pin
 * a buffer each. A flow may carry a pipe: bytes that were spliced into it come after all pieces.
 */
#ifndef WEIR_FLOW_H
#define WEIR_FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "worker/base/buffer.h"
#include "worker/base/str.h"

#define FLOW_SPACES 4           /* of whole buffers: a flow's 64 KiB */

struct flow_piece;

struct flow {
    struct flow_piece *first, *last;
    size_t bytes;               /* in pieces and pipe */
    size_t high;
    bool stopped;               /* the writer met the high mark */
    bool ended;
    bool broken;
    bool weightless;            /* its pieces lie in a mapping and cost no memory, however many there are */
    struct buffer *tail;        /* what is copied goes here; NULL: none yet */
    struct pipe *pipe;          /* see worker/base/pipe.h: it holds something; NULL: none does */
    uint64_t passed;            /* bytes ever put */
};

void flow_init(struct flow *f, size_t high);

/* Drops what is in it, and the pipe. The marks of its end stay. */
void flow_clear(struct flow *f);

/* How many bytes may be put; 0 marks the writer as stopped. */
size_t flow_room(struct flow *f);

/* Reader, after eating: true once, when a stopped writer may go on. */
bool flow_resumes(struct flow *f);

/*
 * Writer: space at the end to write into, at most `most` bytes, at least 1; flow_added says how many
 * were written, and is called with 0 too: an empty flow then lets go of its buffer. `most` is what
 * flow_room gave, or less: a flow does not refuse what is put into it.
 */
char *flow_space(struct flow *f, size_t most, size_t *n);
void flow_added(struct flow *f, size_t n);

/*
 * The same, for a read into several buffers: how many iovecs, at most FLOW_SPACES. flow_added comes next, with what
 * was written in their order, and gives back those that nothing was written to.
 */
int flow_spaces(struct flow *f, size_t most, struct iovec iov[FLOW_SPACES]);

/* Writer: appends a slice of b, which is held if the slice is long and copied if it is short. */
void flow_put(struct flow *f, struct buffer *b, struct str s);
/* The same, always held: for bytes whose buffer is pinned anyway. */
void flow_put_held(struct flow *f, struct buffer *b, struct str s);
/* Bytes that outlive the flow: neither held nor copied. */
void flow_put_static(struct flow *f, struct str s);
void flow_copy(struct flow *f, struct str s);

/* Reader: the pieces at the front, at most `most` bytes of them; returns how many iovecs. */
int flow_iov(const struct flow *f, struct iovec *iov, int max, size_t most);
/* Bytes in pieces, the pipe's apart. */
size_t flow_in_pieces(const struct flow *f);
void flow_eat(struct flow *f, size_t n);
/* Eats the first n bytes, all in pieces, and leaves a copy of them at `to`. */
void flow_take(struct flow *f, char *to, size_t n);

/* Reader: the first n bytes (all in pieces) go to the end of another flow, without copying. */
void flow_move(struct flow *to, struct flow *from, size_t n);

/*
 * All pieces of `from` stand in `to` as well, their buffers held twice; counts as passed in neither.
 * Not for a flow with a pipe.
 */
void flow_share(struct flow *to, const struct flow *from);

/* The same of the first n bytes, which are there. */
void flow_share_first(struct flow *to, const struct flow *from, size_t n);

/*
 * Writer: from the socket into the flow's pipe, at most `most` bytes; nothing more may be put into
 * pieces while the pipe holds something. As read(2), a short count saying nothing of what the socket
 * still holds; -1 with EAGAIN: the socket is empty; -1 with ENOBUFS: flow or pipe is full, the writer
 * counts as stopped, the socket was not looked at; -1 with ENFILE: no pipe is to be had, copy instead.
 */
ssize_t flow_splice_in(struct flow *f, int fd, size_t most);

/*
 * Reads all of the pipe into memory, where it stands behind the pieces: the writer may go on. For a
 * reader that is stuck while the pipe, which holds less than the high mark, is full.
 */
void flow_spill(struct flow *f);

/*
 * Reader, once all pieces were eaten: from the pipe, which holds something, to the socket. As write(2); what
 * was taken is eaten.
 */
ssize_t flow_splice_out(struct flow *f, int fd);

/* Frees what the free list of pieces holds: for the end of a process under a leak checker. */
void flow_flush(void);

#endif
