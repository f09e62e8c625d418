/*
 * gzip (RFC 1952), by zlib. Its header has neither name nor time, so that the same content gives the same bytes.
 *
 * zlib flushes anew in each call that finds the output full to its last byte, for ever where there is room for no
 * more than its mark of five bytes. So what is flushed into little room goes through `spill`, which has room for
 * several.
 */
#define ZLIB_CONST
#include <limits.h>
#include <zlib.h>

#include "modules/codec_parts.h"
#include "worker/base/log.h"

#define GZIP 16                 /* added to windowBits: gzip's header and trailer */
#define SPILL 64

struct encoder {
    z_stream z;
    size_t spilled, spill_at;
    bool flushed;               /* all that the last flush had to say was said, or is in `spill` */
    char spill[SPILL];
};

struct decoder {
    z_stream z;
    bool within;                /* a member */
    bool ended;                 /* a member has ended: another may begin, or padding */
    bool padded;                /* zeros have followed the last member: nothing else may */
    bool more;                  /* the output was full: there may be more without more input */
};

static void *
alloc(void *opaque, unsigned items, unsigned size)
{
    return codec_alloc(opaque, (size_t)items * size);
}

static unsigned
at_most(size_t n)
{
    return n < UINT_MAX ? (unsigned)n : UINT_MAX;
}

static void
point(z_stream *z, const struct codec_io *io)
{
    z->next_in = (const unsigned char *)io->in;
    z->avail_in = at_most(io->in_n);
    z->next_out = (unsigned char *)io->out;
    z->avail_out = at_most(io->out_n);
}

static void
advance(const z_stream *z, struct codec_io *io)
{
    io->in_n -= (size_t)((const char *)z->next_in - io->in);
    io->in = (const char *)z->next_in;
    io->out_n -= (size_t)((char *)z->next_out - io->out);
    io->out = (char *)z->next_out;
}

/* --- encoder --- */

/* zlib's window of 256 bytes is one of 512, and 32 KiB is the largest. */
static bool
begin_encoder(struct codec *c)
{
    struct encoder *e = c->state;
    int bits = c->window < 15 ? c->window : 15, mem = bits < 15 ? bits - 7 : 8;

    if (e != NULL) {
        e->spilled = e->spill_at = 0;
        e->flushed = false;
        return deflateReset(&e->z) == Z_OK;
    }
    c->state = e = codec_alloc(c, sizeof(*e));
    if (e == NULL)
        return false;
    *e = (struct encoder){.z = {.zalloc = alloc, .zfree = codec_free, .opaque = c}};
    return deflateInit2(&e->z, c->level, Z_DEFLATED, bits + GZIP, mem, Z_DEFAULT_STRATEGY) == Z_OK;
}

static void
give_spilled(struct encoder *e, struct codec_io *io)
{
    size_t n = e->spilled - e->spill_at;

    if (n > io->out_n)
        n = io->out_n;
    if (n > 0)
        memcpy(io->out, e->spill + e->spill_at, n);
    e->spill_at += n;
    io->out += n;
    io->out_n -= n;
}

static int
step(struct encoder *e, struct codec_io *io, int flush)
{
    char *out = io->out;
    size_t out_n = io->out_n;
    bool spill = flush == Z_SYNC_FLUSH && out_n < SPILL;
    int status;

    if (spill) {
        io->out = e->spill;
        io->out_n = SPILL;
    }
    point(&e->z, io);
    status = deflate(&e->z, flush);
    advance(&e->z, io);
    if (flush == Z_SYNC_FLUSH)
        e->flushed = io->in_n == 0 && io->out_n > 0;
    if (spill) {
        e->spilled = SPILL - io->out_n;
        e->spill_at = 0;
        io->out = out;
        io->out_n = out_n;
        give_spilled(e, io);
    }
    return status;
}

/* A flush is over in the call that finds it so; the next one begins anew, and zlib says nothing twice. */
static enum codec_result
flush_all(struct encoder *e, struct codec_io *io)
{
    while (e->spill_at == e->spilled && !e->flushed && io->out_n > 0) {
        int status = step(e, io, Z_SYNC_FLUSH);

        if (status != Z_OK && status != Z_BUF_ERROR)
            return CODEC_ERROR;
    }
    if (e->spill_at < e->spilled || !e->flushed)
        return CODEC_FULL;
    e->flushed = false;
    return CODEC_WANTS;
}

static enum codec_result
encode(struct codec *c, struct codec_io *io, enum codec_op op)
{
    struct encoder *e = c->state;
    int status = Z_OK;

    give_spilled(e, io);
    if (op != CODEC_FLUSH || io->in_n > 0)
        e->flushed = false;
    if (op == CODEC_FLUSH)
        return flush_all(e, io);
    while (io->out_n > 0 && status != Z_STREAM_END && (io->in_n > 0 || op == CODEC_END)) {
        status = step(e, io, op == CODEC_END && io->in_n <= UINT_MAX ? Z_FINISH : Z_NO_FLUSH);
        if (status != Z_OK && status != Z_STREAM_END)
            return CODEC_ERROR;
    }
    if (op == CODEC_END)
        return status == Z_STREAM_END ? CODEC_DONE : CODEC_FULL;
    return io->in_n > 0 || io->out_n == 0 ? CODEC_FULL : CODEC_WANTS;
}

static void
end_encoder(struct codec *c)
{
    struct encoder *e = c->state;

    if (e == NULL)
        return;
    deflateEnd(&e->z);
    codec_free(c, e);
}

const struct codec_kind codec_gzip_encoder = {
    .coding = CODING_GZIP,
    .begin = begin_encoder,
    .run = encode,
    .end = end_encoder,
};

/* --- decoder --- */

static bool
begin_decoder(struct codec *c)
{
    struct decoder *d = c->state;

    if (d == NULL) {
        c->state = d = codec_alloc(c, sizeof(*d));
        if (d == NULL)
            return false;
        *d = (struct decoder){.z = {.zalloc = alloc, .zfree = codec_free, .opaque = c}};
        return inflateInit2(&d->z, 15 + GZIP) == Z_OK;
    }
    d->within = d->ended = d->padded = d->more = false;
    return inflateReset(&d->z) == Z_OK;
}

/*
 * Between members. Zeros behind the last one are padding to some tape's block, which gzip and browsers pass over.
 * False: what is there is neither that nor a member, whose first byte is never zero.
 */
static bool
between(struct decoder *d, struct codec_io *io)
{
    while (d->ended && io->in_n > 0 && *io->in == 0) {
        d->padded = true;
        io->in++;
        io->in_n--;
    }
    if (io->in_n == 0)
        return true;
    if (d->padded || inflateReset(&d->z) != Z_OK)
        return false;
    d->within = true;
    return true;
}

static enum codec_result
decode(struct codec *c, struct codec_io *io, enum codec_op op)
{
    struct decoder *d = c->state;
    int status;

    for (;;) {
        if (!d->within && !between(d, io))
            return CODEC_ERROR;
        if (io->out_n == 0 || (io->in_n == 0 && !d->more))
            break;
        point(&d->z, io);
        status = inflate(&d->z, Z_SYNC_FLUSH);
        advance(&d->z, io);
        if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
            return CODEC_ERROR;
        if (status == Z_STREAM_END) {
            d->within = false;
            d->ended = true;
        }
        d->more = d->within && io->out_n == 0;
    }
    if (io->in_n > 0 || d->more)
        return CODEC_FULL;
    if (op != CODEC_END)
        return CODEC_WANTS;
    return d->within ? CODEC_ERROR : CODEC_DONE;
}

static void
end_decoder(struct codec *c)
{
    struct decoder *d = c->state;

    if (d == NULL)
        return;
    inflateEnd(&d->z);
    codec_free(c, d);
}

const struct codec_kind codec_gzip_decoder = {
    .coding = CODING_GZIP,
    .decodes = true,
    .begin = begin_decoder,
    .run = decode,
    .end = end_decoder,
};
