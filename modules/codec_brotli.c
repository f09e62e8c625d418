/*
 * br (RFC 7932). The library has no way to use a state again: each content has one of its own, and what that takes
 * comes from the blocks that the codec has kept of the last one's.
 */
#include <brotli/decode.h>
#include <brotli/encode.h>

#include "modules/codec_parts.h"
#include "worker/base/log.h"

/*
 * So much goes in between two flushes: what the library gathers for one metablock (RFC 7932 9.2) would grow to some
 * MiB, for half a percent of size.
 */
#define BLOCK_LOG 16
#define BLOCK ((size_t)1 << BLOCK_LOG)

struct encoder {
    BrotliEncoderState *brotli;
    size_t fed;                 /* since the last flush, BLOCK at most */
    bool flushing;              /* the library wants nothing but room for output */
};

/* --- encoder --- */

/* What a state comes to have, in KiB, measured; it takes most of it with its first content. By level. */
static size_t
expected(const struct codec *c)
{
    static const uint16_t small[] = {64, 64, 384, 384, 640, 640, 640, 640};
    static const uint16_t middle[] = {160, 320, 704, 704, 1088, 1088, 1088, 1088};
    static const uint16_t large[] = {160, 768, 1408, 1408, 2176, 2752, 3776, 9984};
    const uint16_t *kib = c->window <= 12 ? small : c->window <= 15 ? middle : large;

    _Static_assert(sizeof(large) / sizeof(large[0]) == CODEC_BR_MOST + 1, "one for each level");
    return (size_t)kib[c->level] * 1024;
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
    struct encoder *e = codec_alloc(c, sizeof(*e));

    c->state = e;
    if (e == NULL)
        return false;
    codec_claim(c, expected(c));
    *e = (struct encoder){.brotli = BrotliEncoderCreateInstance(codec_alloc, codec_free, c)};
    if (e->brotli == NULL)
        return false;
    set(e->brotli, BROTLI_PARAM_QUALITY, c->level);
    set(e->brotli, BROTLI_PARAM_LGWIN, window);
    set(e->brotli, BROTLI_PARAM_LGBLOCK, BLOCK_LOG);
    return true;
}

/* Takes all input up to the next flush of ours, unless the output is full. */
static bool
step(struct encoder *e, struct codec_io *io, BrotliEncoderOperation operation)
{
    size_t part = e->flushing ? 0 : BLOCK - e->fed < io->in_n ? BLOCK - e->fed : io->in_n, left = part;

    if (part < io->in_n)
        operation = BROTLI_OPERATION_PROCESS;
    if (e->flushing || (e->fed + part == BLOCK && operation == BROTLI_OPERATION_PROCESS))
        operation = BROTLI_OPERATION_FLUSH;
    if (!BrotliEncoderCompressStream(e->brotli, operation, &left, (const uint8_t **)&io->in, &io->out_n,
                                     (uint8_t **)&io->out, NULL))
        return false;
    io->in_n -= part - left;
    e->fed += part - left;
    if (operation == BROTLI_OPERATION_FLUSH && left == 0) {
        e->flushing = BrotliEncoderHasMoreOutput(e->brotli);
        e->fed = 0;
    }
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
    struct encoder *e = c->state;

    do {
        if (!step(e, io, operation[op]))
            return CODEC_ERROR;
        if (BrotliEncoderHasMoreOutput(e->brotli))
            return CODEC_FULL;
    } while (io->in_n > 0 || (op == CODEC_END && !BrotliEncoderIsFinished(e->brotli)));
    return op == CODEC_END ? CODEC_DONE : CODEC_WANTS;
}

static void
end_encoder(struct codec *c)
{
    struct encoder *e = c->state;

    if (e == NULL)
        return;
    BrotliEncoderDestroyInstance(e->brotli);
    codec_free(c, e);
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
