/*
 * br (RFC 7932). The library has no way to use a state again: each content has one of its own, and what that takes comes from
 * the blocks that the codec has kept of the last one's.
 */
#include <brotli/decode.h>
#include <brotli/encode.h>

#include "modules/codec_parts.h"
#include "worker/base/log.h"

#define BLOCK_LOG 16            /* 64 KiB of input at a time */
/* From this level on the tables for a window over 64 KiB would be 8 to 32 MiB. */
#define SMALL_WINDOW_FROM 7
#define SMALL_WINDOW_LOG 16

/* --- encoder --- */

static size_t
expected(const struct codec *c)
{
    (void)c;
    return (size_t)1024 * 1024;
}

static void
set(BrotliEncoderState *state, BrotliEncoderParameter parameter, int value)
{
    check(BrotliEncoderSetParameter(state, parameter, (uint32_t)value));
}

/* br's window is 16 bytes less than a power of two. */
static bool
begin_encoder(struct codec *c)
{
    int window = c->window < CODEC_WINDOW_LOG ? c->window + 1 : c->window;

    codec_claim(c, expected(c));
    c->state = BrotliEncoderCreateInstance(codec_alloc, codec_free, c);
    if (c->state == NULL)
        return false;
    if (c->level >= SMALL_WINDOW_FROM && window > SMALL_WINDOW_LOG)
        window = SMALL_WINDOW_LOG;
    set(c->state, BROTLI_PARAM_QUALITY, c->level);
    set(c->state, BROTLI_PARAM_LGWIN, window);
    set(c->state, BROTLI_PARAM_LGBLOCK, BLOCK_LOG);
    return true;
}

static enum codec_result
encode(struct codec *c, struct codec_io *io, enum codec_op op)
{
    static const BrotliEncoderOperation operation[] = {
        [CODEC_GO] = BROTLI_OPERATION_PROCESS,
        [CODEC_FLUSH] = BROTLI_OPERATION_FLUSH,
        [CODEC_END] = BROTLI_OPERATION_FINISH,
    };

    if (!BrotliEncoderCompressStream(c->state, operation[op], &io->in_n, (const uint8_t **)&io->in, &io->out_n,
                                     (uint8_t **)&io->out, NULL))
        return CODEC_ERROR;
    if (io->in_n > 0 || BrotliEncoderHasMoreOutput(c->state))
        return CODEC_FULL;
    if (op != CODEC_END)
        return CODEC_WANTS;
    return BrotliEncoderIsFinished(c->state) ? CODEC_DONE : CODEC_FULL;
}

static void
end_encoder(struct codec *c)
{
    BrotliEncoderDestroyInstance(c->state);
    c->state = NULL;
}

const struct codec_kind codec_brotli_encoder = {
    .coding = CODING_BR,
    .begin = begin_encoder,
    .run = encode,
    .rest = end_encoder,
    .end = end_encoder,
};

/* --- decoder --- */

struct decoder {
    BrotliDecoderState *brotli;
    bool begun, ended;
    bool more;                  /* the output was full: there may be more without more input */
};

static bool
begin_decoder(struct codec *c)
{
    struct decoder *d = codec_alloc(c, sizeof(*d));

    c->state = d;
    if (d == NULL)
        return false;
    *d = (struct decoder){.brotli = BrotliDecoderCreateInstance(codec_alloc, codec_free, c)};
    return d->brotli != NULL;
}

static enum codec_result
decode(struct codec *c, struct codec_io *io, enum codec_op op)
{
    struct decoder *d = c->state;
    BrotliDecoderResult result;

    if (!d->ended && (io->in_n > 0 || d->more)) {
        d->begun = true;
        result = BrotliDecoderDecompressStream(d->brotli, &io->in_n, (const uint8_t **)&io->in, &io->out_n,
                                               (uint8_t **)&io->out, NULL);
        if (result == BROTLI_DECODER_RESULT_ERROR)
            return CODEC_ERROR;
        d->ended = result == BROTLI_DECODER_RESULT_SUCCESS;
        d->more = result == BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT || BrotliDecoderHasMoreOutput(d->brotli);
    }
    if (d->ended && io->in_n > 0)
        return CODEC_ERROR;
    if (d->more || io->in_n > 0)
        return CODEC_FULL;
    if (op != CODEC_END)
        return CODEC_WANTS;
    return d->begun && !d->ended ? CODEC_ERROR : CODEC_DONE;
}

static void
end_decoder(struct codec *c)
{
    struct decoder *d = c->state;

    if (d == NULL)
        return;
    BrotliDecoderDestroyInstance(d->brotli);
    codec_free(c, d);
    c->state = NULL;
}

const struct codec_kind codec_brotli_decoder = {
    .coding = CODING_BR,
    .decodes = true,
    .begin = begin_decoder,
    .run = decode,
    .rest = end_decoder,
    .end = end_decoder,
};
