/*
 * Reading HTTP/1. It alone decides whether bytes are read into
 * the common buffer, into a flow, or spliced.
 *
 * A buffer that slices of a head point into is never written over: what is new is appended, or goes
 * into another buffer.
 */
#include "worker/h1/reader.h"

#include <errno.h>

#define SHORT_REST (BUFFER_SIZE / 2)    /* is no dearer copied than spliced */
#define HEAD_MOST 2048          /* that a head alone hardly exceeds */

ssize_t
h1_receive(struct h1_reader *rd, char *to, size_t n)
{
    ssize_t got = channel_read(rd->ch, to, n);

    if (got > 0)
        rd->received += (uint64_t)got;
    return got;
}

void
h1_reader_drop(struct h1_reader *rd)
{
    if (rd->in != NULL)
        buffer_drop(rd->in);
    rd->in = NULL;
    rd->at = 0;
}

void
h1_reader_rest(struct h1_reader *rd)
{
    if (!h1_reader_has(rd))
        h1_reader_drop(rd);
}

/* Takes what is unread to another buffer, with at least as much space after it. */
static void
move_unread(struct h1_reader *rd, struct h1_head *head)
{
    size_t n = rd->in->fill - rd->at;
    struct buffer *to = 2 * n > BUFFER_SIZE ? buffer_get_large(2 * n) : buffer_get();

    memcpy(to->data, rd->in->data + rd->at, n);
    to->fill = n;
    if (head != NULL)
        h1_head_moved(head, rd->in->data + rd->at, n, to->data);
    buffer_drop(rd->in);
    rd->in = to;
    rd->at = 0;
}

/* Makes `in` ready for a read that goes behind what is unread. */
static void
make_space(struct h1_reader *rd, struct h1_head *head)
{
    if (rd->in == NULL) {
        rd->in = buffer_get();
        rd->at = 0;
    } else if (rd->in->holds == 1 && rd->at == rd->in->fill) {
        rd->in->fill = rd->at = 0;
    } else if (rd->in->fill == rd->in->size) {
        move_unread(rd, head);
    }
}

ssize_t
h1_read_more(struct h1_reader *rd, struct h1_head *head)
{
    size_t room;
    ssize_t n;

    make_space(rd, head);
    room = rd->in->size - rd->in->fill;
    if (head != NULL && rd->spliced && room > HEAD_MOST && !h1_reader_has(rd))
        room = HEAD_MOST;
    n = h1_receive(rd, rd->in->data + rd->in->fill, room);
    if (n > 0)
        rd->in->fill += (size_t)n;
    if (n > 0 && head != NULL)
        rd->spliced = false;
    return n;
}

static void
spend(size_t *budget, size_t n)
{
    *budget = n < *budget ? *budget - n : 0;
}

/* What stands in `in` and belongs to the content goes into the flow. */
static void
take_unread(struct h1_reader *rd, struct flow *body, uint64_t most)
{
    size_t n = rd->in->fill - rd->at, room = flow_room(body);

    if (n > most)
        n = (size_t)most;
    if (n > room)
        n = room;
    if (n == 0)
        return;
    flow_put_held(body, rd->in, (struct str){rd->in->data + rd->at, n});
    rd->at += n;
    if (rd->framing == H1_LENGTH)
        rd->left -= n;
}

/* One read straight into the flow: as much as it has room for, which of TLS is a record. */
static ssize_t
read_some(struct h1_reader *rd, struct flow *body, size_t most)
{
    struct iovec iov[FLOW_SPACES];
    int n = 1;
    ssize_t got;

    if (rd->ch->tls != NULL)
        iov->iov_base = flow_space(body, most, &iov->iov_len);
    else
        n = flow_spaces(body, most, iov);
    got = channel_readv(rd->ch, iov, n);
    if (got > 0)
        rd->received += (uint64_t)got;
    flow_added(body, got > 0 ? (size_t)got : 0);
    return got;
}

/*
 * One splice from the socket into the flow's pipe, or a read where there is no pipe. A full pipe is no reason to think
 * the socket empty.
 */
static ssize_t
splice_some(struct h1_reader *rd, struct flow *body, size_t most)
{
    ssize_t n;

    if (!rd->ch->io.readable)
        return -1;
    n = flow_splice_in(body, rd->ch->io.fd, most);
    if (n > 0) {
        rd->received += (uint64_t)n;
        rd->spliced = true;
    }
    if (n >= 0)
        return n;
    if (errno == ENFILE)
        return read_some(rd, body, most);
    if (errno == EAGAIN)
        rd->ch->io.readable = false;
    return errno == EAGAIN || errno == ENOBUFS ? -1 : -2;
}

/* Where slices point into `in`, it is kept as long as a decent read fits behind them. */
static void
renew(struct h1_reader *rd)
{
    if (rd->in != NULL && rd->in->holds > 1 && rd->in->size - rd->in->fill < BUFFER_SIZE / 2)
        h1_reader_drop(rd);
}

/*
 * A short rest is read into `in`, with room behind it: a short read then says that the socket is empty,
 * and what should not be there is seen. Not while the pipe holds something: pieces would come before it.
 */
static ssize_t
read_rest(struct h1_reader *rd, struct flow *body)
{
    ssize_t n;

    renew(rd);
    n = h1_read_more(rd, NULL);
    if (n > 0)
        take_unread(rd, body, rd->left);
    return n;
}

/* What it means that nothing was read. */
static enum h1_read
not_read(ssize_t n, bool by_length)
{
    if (n == -1)
        return H1_READ_WAIT;
    if (n == 0)
        return by_length ? H1_READ_EOF : H1_READ_END;
    return H1_READ_ERROR;
}

static enum h1_read
read_plain(struct h1_reader *rd, struct flow *body, bool splice, size_t *budget)
{
    bool by_length = rd->framing == H1_LENGTH;

    if (h1_reader_has(rd))
        take_unread(rd, body, by_length ? rd->left : UINT64_MAX);
    while (!by_length || rd->left > 0) {
        size_t room = flow_room(body);
        ssize_t n;

        if (room == 0 || *budget == 0 || h1_reader_has(rd))
            return H1_READ_WAIT;
        if (by_length && rd->left < SHORT_REST && body->pipe == NULL) {
            n = read_rest(rd, body);
            if (n <= 0)
                return not_read(n, by_length);
            spend(budget, (size_t)n);
            continue;
        }
        if (by_length && room > rd->left)
            room = (size_t)rd->left;
        n = splice && by_length ? splice_some(rd, body, room) : read_some(rd, body, room);
        if (n <= 0)
            return not_read(n, by_length);
        if (by_length)
            rd->left -= (uint64_t)n;
        spend(budget, (size_t)n);
        /* the socket is empty or the pipe full: once this is written and the pipe empty, it is plain which */
        if (body->pipe != NULL && (size_t)n < room)
            return H1_READ_WAIT;
    }
    return H1_READ_END;
}

/* Decodes what stands in `in`, as far as the flow has room: H1_CHUNK_DATA says that it has none. */
static enum h1_chunk
decode(struct h1_reader *rd, struct flow *body)
{
    while (h1_reader_has(rd)) {
        size_t room = flow_room(body), given;
        struct str in = {rd->in->data + rd->at, rd->in->fill - rd->at}, data;
        enum h1_chunk result;

        if (room == 0)
            return H1_CHUNK_DATA;
        if (in.n > room)
            in.n = room;
        given = in.n;
        result = h1_chunked_next(rd->chunked, &in, &data);
        rd->at += given - in.n;
        if (result == H1_CHUNK_DATA)
            flow_put(body, rd->in, data);
        else if (result != H1_CHUNK_MORE)
            return result;
    }
    return H1_CHUNK_MORE;
}

static enum h1_read
read_chunked(struct h1_reader *rd, struct flow *body, size_t *budget)
{
    for (;;) {
        ssize_t n;

        switch (decode(rd, body)) {
        case H1_CHUNK_DATA:
            return H1_READ_WAIT;
        case H1_CHUNK_END:
            return H1_READ_END;
        case H1_CHUNK_BAD:
            return H1_READ_MALFORMED;
        case H1_CHUNK_LARGE:
            return H1_READ_LARGE;
        case H1_CHUNK_MORE:
            break;
        }
        if (*budget == 0 || flow_room(body) == 0)
            return H1_READ_WAIT;
        renew(rd);
        n = h1_read_more(rd, NULL);
        if (n <= 0)
            return not_read(n, true);
        spend(budget, (size_t)n);
    }
}

enum h1_read
h1_read_body(struct h1_reader *rd, struct flow *body, bool splice, size_t *budget)
{
    switch (rd->framing) {
    case H1_NO_BODY:
        return H1_READ_END;
    case H1_CHUNKED:
        return read_chunked(rd, body, budget);
    case H1_LENGTH:
    case H1_UNTIL_CLOSE:
        break;
    }
    return read_plain(rd, body, splice, budget);
}
