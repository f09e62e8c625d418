/*
 * Codecs. The first byte chooses the coding and what the rest is, the second a level and a size, the next two are seeds
 * for the sizes of pieces:
 *
 *     coded content    it is decoded from one piece and in many. Whatever it is, steps come to an end and take no
 *                      more memory than they may; both ways say the same, and garbage behind it is an error
 *     plain content    it is encoded in pieces, of which some are flushed, and decoded as it comes: what was flushed is
 *                      there at once, and all of it in the end
 */
#include <string.h>

#include "modules/codec.h"
#include "t/fuzz/must.h"

enum { CHOICES = 4, OUT_MOST = 512 * 1024, MEMORY_MOST = 96 * 1024 * 1024 };

static char first[OUT_MOST], second[OUT_MOST], coded[OUT_MOST];

struct pieces {
    uint32_t seed;              /* 0: all in one */
};

static uint32_t
any(struct pieces *p)
{
    p->seed = p->seed * 1664525 + 1013904223;
    return p->seed >> 8;
}

/* One to 16 bytes, now and then many. */
static size_t
piece(struct pieces *p, size_t left)
{
    size_t n;

    if (p->seed == 0)
        return left;
    n = any(p) % 16 + 1;
    if (any(p) % 8 == 0)
        n *= 128;
    return n < left ? n : left;
}

/* From one end of `in` to the other of it; the result is of its last step. */
static enum codec_result
give(struct codec *c, struct codec_io *in, enum codec_op op, struct pieces *p, char *to, size_t *n)
{
    enum codec_result result;

    do {
        size_t room = piece(p, OUT_MOST - *n), was = in->in_n;

        in->out = to + *n;
        in->out_n = room;
        result = codec_run(c, in, op);
        MUST(in->out_n <= room && in->in_n <= was && in->out == to + *n + (room - in->out_n));
        MUST(result != CODEC_FULL || in->out_n == 0);
        *n += room - in->out_n;
    } while (result == CODEC_FULL && *n < OUT_MOST);
    MUST(codec_memory() <= MEMORY_MOST);
    MUST(result == CODEC_ERROR || result == CODEC_FULL || in->in_n == 0);
    MUST(result != CODEC_DONE || op == CODEC_END);
    return result;
}

static enum codec_result
decode(enum coding coding, const char *data, size_t n, struct pieces p, char *to, size_t *to_n)
{
    struct codec *d = codec_decoder(coding);
    enum codec_result result = CODEC_WANTS;

    MUST(d != NULL);
    *to_n = 0;
    for (bool last = false; !last && result == CODEC_WANTS;) {
        size_t k = piece(&p, n);
        struct codec_io io = {.in = data, .in_n = k};

        last = k == n;
        result = give(d, &io, last ? CODEC_END : CODEC_GO, &p, to, to_n);
        data += k;
        n -= k;
    }
    MUST(result != CODEC_WANTS);
    codec_put(d);
    return result;
}

/* zstd has no look at the window of a frame that lies there whole and has the room that it says it needs. */
static void
decode_both_ways(enum coding coding, const char *data, size_t n, struct pieces p)
{
    size_t first_n, second_n;
    enum codec_result whole = decode(coding, data, n, (struct pieces){0}, first, &first_n);
    enum codec_result split = decode(coding, data, n, p, second, &second_n);

    MUST(whole == split || coding == CODING_ZSTD);
    if (whole == CODEC_DONE && split == CODEC_DONE)
        MUST(first_n == second_n && memcmp(first, second, first_n) == 0);
    if (whole == CODEC_DONE && n > 0 && n < sizeof(coded)) {
        memcpy(coded, data, n);
        coded[n] = '#';
        MUST(decode(coding, coded, n + 1, p, second, &second_n) == CODEC_ERROR);
    }
}

static int64_t
length_of(size_t n, uint8_t choice)
{
    return choice < 64 ? -1 : choice < 128 ? (int64_t)n : choice < 192 ? 1000 : 10000;
}

static void
round_trip(enum coding coding, int level, int64_t length, const char *data, size_t n, struct pieces p)
{
    struct codec *c = codec_encoder(coding, level, length), *d = codec_decoder(coding);
    size_t coded_n = 0, seen = 0, back_n = 0, at = 0;
    enum codec_op op;

    MUST(c != NULL && d != NULL);
    do {
        size_t k = piece(&p, n - at);
        struct codec_io io = {.in = data + at, .in_n = k}, back;

        at += k;
        op = at == n ? CODEC_END : any(&p) % 8 == 0 ? CODEC_FLUSH : CODEC_GO;
        MUST(give(c, &io, op, &p, coded, &coded_n) == (op == CODEC_END ? CODEC_DONE : CODEC_WANTS));
        back = (struct codec_io){.in = coded + seen, .in_n = coded_n - seen};
        seen = coded_n;
        MUST(give(d, &back, op == CODEC_END ? CODEC_END : CODEC_GO, &p, first, &back_n) ==
             (op == CODEC_END ? CODEC_DONE : CODEC_WANTS));
        MUST(back_n <= at && memcmp(first, data, back_n) == 0);
        MUST(op == CODEC_GO || back_n == at);
    } while (op != CODEC_END);
    codec_put(c);
    codec_put(d);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const int most[CODINGS] = {[CODING_ZSTD] = CODEC_ZSTD_MOST, [CODING_BR] = CODEC_BR_MOST,
                                      [CODING_GZIP] = CODEC_GZIP_MOST};
    const char *content = (const char *)data + CHOICES;
    enum coding coding;
    struct pieces p;

    if (n < CHOICES || n > 64 * 1024)
        return 0;
    coding = (enum coding)(CODING_ZSTD + data[0] % 3);
    p.seed = (uint32_t)data[2] << 8 | data[3] | 1;
    if (data[0] / 3 % 2 == 0)
        decode_both_ways(coding, content, n - CHOICES, p);
    else
        round_trip(coding, data[1] % most[coding] + 1, length_of(n - CHOICES, data[1]), content, n - CHOICES, p);
    return 0;
}
