/*
 * zstd (RFC 8878). The encoder's memory is set by its window and its tables, not by its level alone: both are bounded
 * here, and all of it is taken when the state is made. The length of content is never promised to the library: a
 * promise that doesn't hold would be an error at the very end.
 *
 * A decoder that has come to the end of a frame takes what follows for another. The library also reads the formats
 * that there were before RFC 8878, with decoders that nobody has any use for: such a frame is refused by the first
 * byte of its magic number, which no frame of today has.
 */
#include <zstd.h>

#include "modules/codec_parts.h"
#include "worker/base/log.h"

struct decoder {
    ZSTD_DCtx *ctx;
    bool within;                /* a frame, of which there is more to come, out or in */
    bool more;                  /* the output was full: there may be more without more input */
};

/* --- encoder --- */

static void
set(ZSTD_CCtx *ctx, ZSTD_cParameter parameter, int value)
{
    check(!ZSTD_isError(ZSTD_CCtx_setParameter(ctx, parameter, value)));
}

/*
 * Of the two tables, each 4 bytes times two to the power of it. A level's own are made for windows of 2 MiB and more,
 * and take up to 64 MiB; for ours these find nearly as much. 0: the level's own are smaller.
 */
static int
table_log(const struct codec *c)
{
    int most = c->level > 3 ? 17 : c->level == 3 ? 16 : 0;

    if (c->window >= CODEC_WINDOW_LOG)
        return most;
    return most == 0 || most > c->window ? c->window : most;
}

/* Nothing is put in, but it makes the library take its memory. */
static bool
prime(struct codec *c)
{
    ZSTD_inBuffer in = {"", 0, 0};
    char byte;
    ZSTD_outBuffer out = {&byte, 0, 0};

    if (ZSTD_isError(ZSTD_compressStream2(c->state, &out, &in, ZSTD_e_continue)))
        return false;
    check(!ZSTD_isError(ZSTD_CCtx_reset(c->state, ZSTD_reset_session_only)));
    codec_outside(c, ZSTD_sizeof_CCtx(c->state));
    return true;
}

static bool
begin_encoder(struct codec *c)
{
    if (c->state != NULL)
        return !ZSTD_isError(ZSTD_CCtx_reset(c->state, ZSTD_reset_session_only));
    c->state = ZSTD_createCCtx();
    if (c->state == NULL)
        return false;
    set(c->state, ZSTD_c_compressionLevel, c->level);
    set(c->state, ZSTD_c_windowLog, c->window);
    set(c->state, ZSTD_c_checksumFlag, 0);
    set(c->state, ZSTD_c_dictIDFlag, 0);
    set(c->state, ZSTD_c_hashLog, table_log(c));
    set(c->state, ZSTD_c_chainLog, table_log(c));
    return prime(c);
}

static enum codec_result
encode(struct codec *c, struct codec_io *io, enum codec_op op)
{
    static const ZSTD_EndDirective directive[] = {
        [CODEC_GO] = ZSTD_e_continue, [CODEC_FLUSH] = ZSTD_e_flush, [CODEC_END] = ZSTD_e_end,
    };
    ZSTD_inBuffer in = {io->in, io->in_n, 0};
    ZSTD_outBuffer out = {io->out, io->out_n, 0};
    size_t left;

    do
        left = ZSTD_compressStream2(c->state, &out, &in, directive[op]);
    while (!ZSTD_isError(left) && out.pos < out.size && (in.pos < in.size || (op != CODEC_GO && left > 0)));
    io->in += in.pos;
    io->in_n -= in.pos;
    io->out += out.pos;
    io->out_n -= out.pos;
    if (ZSTD_isError(left))
        return CODEC_ERROR;
    codec_outside(c, ZSTD_sizeof_CCtx(c->state));
    if (io->in_n > 0 || (op == CODEC_GO ? io->out_n == 0 : left > 0))
        return CODEC_FULL;
    return op == CODEC_END ? CODEC_DONE : CODEC_WANTS;
}

static void
end_encoder(struct codec *c)
{
    ZSTD_freeCCtx(c->state);
}

const struct codec_kind codec_zstd_encoder = {
    .coding = CODING_ZSTD,
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
        d->ctx = ZSTD_createDCtx();
        if (d->ctx == NULL)
            return false;
        check(!ZSTD_isError(ZSTD_DCtx_setParameter(d->ctx, ZSTD_d_windowLogMax, CODEC_WINDOW_LOG_MOST)));
    }
    d->within = d->more = false;
    codec_outside(c, ZSTD_sizeof_DCtx(d->ctx));
    return !ZSTD_isError(ZSTD_DCtx_reset(d->ctx, ZSTD_reset_session_only));
}

/* The first byte of a frame, or of a skippable one (RFC 8878 3.1.1, 3.1.2). */
static bool
begins_frame(unsigned char c)
{
    return c == 0x28 || c >> 4 == 5;
}

/* One call without input and without room is one that the library may take for a loop: it is spared. */
static enum codec_result
decode(struct codec *c, struct codec_io *io, enum codec_op op)
{
    struct decoder *d = c->state;
    ZSTD_inBuffer in = {io->in, io->in_n, 0};
    ZSTD_outBuffer out = {io->out, io->out_n, 0};
    size_t left = 0;

    while (out.pos < out.size && (in.pos < in.size || d->more)) {
        if (!d->within && !begins_frame(((const unsigned char *)in.src)[in.pos]))
            return CODEC_ERROR;
        left = ZSTD_decompressStream(d->ctx, &out, &in);
        if (ZSTD_isError(left))
            return CODEC_ERROR;
        d->within = left > 0;
        d->more = d->within && out.pos == out.size;
    }
    io->in += in.pos;
    io->in_n -= in.pos;
    io->out += out.pos;
    io->out_n -= out.pos;
    codec_outside(c, ZSTD_sizeof_DCtx(d->ctx));
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
    ZSTD_freeDCtx(d->ctx);
    codec_free(c, d);
}

const struct codec_kind codec_zstd_decoder = {
    .coding = CODING_ZSTD,
    .decodes = true,
    .begin = begin_decoder,
    .run = decode,
    .end = end_decoder,
};
