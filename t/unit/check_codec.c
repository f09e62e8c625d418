#include <check.h>
#include <stdlib.h>
#include <time.h>

#include "modules/codec.h"
#include "t/unit/unit.h"
#include "worker/base/arena.h"

/* The clock's own source, with a time that is told. */
static int64_t now_ms = 1000;

static int
get_time(clockid_t id, struct timespec *ts)
{
    (void)id;
    *ts = (struct timespec){now_ms / 1000, now_ms % 1000 * 1000000};
    return 0;
}

#define clock_gettime get_time
#include "worker/base/clock.c"
#undef clock_gettime

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)

static const struct levels {
    int lowest, common, most;
} levels[CODINGS] = {
    [CODING_ZSTD] = {1, 3, CODEC_ZSTD_MOST},
    [CODING_BR] = {0, 4, CODEC_BR_MOST},
    [CODING_GZIP] = {1, 4, CODEC_GZIP_MOST},
};

struct bytes {
    char *p;
    size_t n, cap;
};

static void
add(struct bytes *b, const char *p, size_t n)
{
    if (b->n + n > b->cap) {
        b->cap = (b->n + n) * 2;
        b->p = xrealloc(b->p, b->cap);
    }
    if (n > 0)
        memcpy(b->p + b->n, p, n);
    b->n += n;
}

static bool
same(const struct bytes *b, const char *p, size_t n)
{
    return b->n == n && (n == 0 || memcmp(b->p, p, n) == 0);
}

/* --- content --- */

static uint32_t seed;

static uint32_t
any(void)
{
    seed = seed * 1664525 + 1013904223;
    return seed >> 8;
}

static char *
text(size_t n)
{
    static const char *const words[] = {"the ", "water ", "of ", "a ", "weir ", "runs ", "over ", "<p>", "</p>\n", "1",
                                        "2", "river", "\"", " = ", "stone ", "e"};
    char *p = xmalloc(n + 16);

    seed = 1;
    for (size_t at = 0; at < n;) {
        const char *word = words[any() % 16];

        memcpy(p + at, word, strlen(word));
        at += strlen(word);
    }
    return p;
}

static char *
noise(size_t n)
{
    char *p = xmalloc(n + 1);

    seed = 2;
    for (size_t at = 0; at < n; at++)
        p[at] = (char)any();
    return p;
}

/* --- steps --- */

/* One piece, whatever it takes of output in pieces of that size. */
static enum codec_result
give(struct codec *c, const char *p, size_t n, enum codec_op op, size_t out_piece, struct bytes *out)
{
    struct codec_io io = {.in = p, .in_n = n};
    enum codec_result result;
    char buf[64 * KIB];

    do {
        io.out = buf;
        io.out_n = out_piece;
        result = codec_run(c, &io, op);
        add(out, buf, out_piece - io.out_n);
        ck_assert(io.out == buf + (out_piece - io.out_n) && (p == NULL || io.in == p + (n - io.in_n)));
        ck_assert(result != CODEC_FULL || io.out_n == 0);
    } while (result == CODEC_FULL);
    ck_assert(result == CODEC_ERROR || io.in_n == 0);
    ck_assert(result != CODEC_WANTS || op != CODEC_END);
    ck_assert(result != CODEC_DONE || op == CODEC_END);
    return result;
}

static enum codec_result
give_all(struct codec *c, const char *p, size_t n, size_t in_piece, size_t out_piece, struct bytes *out)
{
    enum codec_result result = CODEC_WANTS;

    for (; n > in_piece && result == CODEC_WANTS; p += in_piece, n -= in_piece)
        result = give(c, p, in_piece, CODEC_GO, out_piece, out);
    return result == CODEC_WANTS ? give(c, p, n, CODEC_END, out_piece, out) : result;
}

static struct bytes
encoded(enum coding coding, int level, int64_t length, const char *p, size_t n, size_t in_piece, size_t out_piece)
{
    struct codec *c = codec_encoder(coding, level, length);
    struct bytes b = {0};

    ck_assert_ptr_nonnull(c);
    ck_assert_int_eq(give_all(c, p, n, in_piece, out_piece, &b), CODEC_DONE);
    codec_put(c);
    return b;
}

static enum codec_result
decoded(enum coding coding, const char *p, size_t n, size_t in_piece, size_t out_piece, struct bytes *out)
{
    struct codec *c = codec_decoder(coding);
    enum codec_result result;

    ck_assert_ptr_nonnull(c);
    result = give_all(c, p, n, in_piece, out_piece, out);
    if (result == CODEC_ERROR)
        ck_assert_int_eq(give(c, "", 0, CODEC_END, 1, out), CODEC_ERROR);
    codec_put(c);
    return result;
}

static void
decodes_to(enum coding coding, const struct bytes *b, size_t in_piece, size_t out_piece, const char *p, size_t n)
{
    struct bytes back = {0};

    ck_assert_int_eq(decoded(coding, b->p, b->n, in_piece, out_piece, &back), CODEC_DONE);
    ck_assert(same(&back, p, n));
    free(back.p);
}

static enum codec_result
result_of(enum coding coding, const char *p, size_t n)
{
    struct bytes back = {0};
    enum codec_result result = decoded(coding, p, n, 64 * KIB, 64 * KIB, &back);

    free(back.p);
    return result;
}

static void
round_trip(enum coding coding, int level, const char *p, size_t n, size_t in_piece, size_t out_piece)
{
    /* known, unknown, and told wrong: nothing is lost by that */
    const int64_t lengths[] = {(int64_t)n, -1, 10};
    struct bytes b = encoded(coding, level, lengths[(n + in_piece) % 3], p, n, in_piece, out_piece);

    decodes_to(coding, &b, out_piece, in_piece, p, n);
    free(b.p);
}

static void
teardown(void)
{
    codec_flush();
    ck_assert_uint_eq(codec_memory(), 0);
}

/* --- what goes in comes out --- */

START_TEST(small_content_in_pieces_of_any_size)
{
    static const size_t sizes[] = {0, 1, 2, 100, 1023, 1024};
    static const size_t pieces[][2] = {{1, 1}, {7, 3}, {1024, 2}, {5, 4096}, {64 * KIB, 64 * KIB}};
    enum coding coding = (enum coding)_i;
    char *words = text(1024), *bytes = noise(1024);

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (size_t j = 0; j < sizeof(pieces) / sizeof(pieces[0]); j++) {
            round_trip(coding, levels[coding].lowest, words, sizes[i], pieces[j][0], pieces[j][1]);
            round_trip(coding, levels[coding].common, words, sizes[i], pieces[j][0], pieces[j][1]);
            round_trip(coding, levels[coding].most, bytes, sizes[i], pieces[j][0], pieces[j][1]);
        }
    free(words);
    free(bytes);
}
END_TEST

START_TEST(large_content)
{
    static const size_t sizes[] = {64 * KIB - 1, 64 * KIB, 64 * KIB + 1, MIB};
    enum coding coding = (enum coding)_i;
    char *words = text(5 * MIB), *bytes = noise(5 * MIB);

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        round_trip(coding, levels[coding].lowest, words, sizes[i], 4099, 1021);
        round_trip(coding, levels[coding].lowest, bytes, sizes[i], 64 * KIB, 64 * KIB);
        round_trip(coding, levels[coding].common, words, sizes[i], 64 * KIB, 64 * KIB);
        round_trip(coding, levels[coding].most, words, sizes[i], 64 * KIB, 4096);
        round_trip(coding, levels[coding].most, bytes, sizes[i], 4096, 64 * KIB);
    }
    round_trip(coding, levels[coding].common, words, 5 * MIB, 64 * KIB, 64 * KIB);
    round_trip(coding, levels[coding].common, bytes, 5 * MIB, 64 * KIB, 64 * KIB);
    free(words);
    free(bytes);
}
END_TEST

START_TEST(text_shrinks_and_noise_hardly_grows)
{
    enum coding coding = (enum coding)_i;
    char *words = text(MIB), *bytes = noise(MIB);
    struct bytes b;

    for (int level = levels[coding].lowest; level <= levels[coding].most; level++) {
        b = encoded(coding, level, -1, words, 200 * KIB, 64 * KIB, 64 * KIB);
        ck_assert_uint_lt(b.n, 100 * KIB);
        free(b.p);
    }
    b = encoded(coding, levels[coding].common, -1, bytes, MIB, 64 * KIB, 64 * KIB);
    ck_assert_uint_lt(b.n, MIB + 1 * KIB);
    free(b.p);
    free(words);
    free(bytes);
}
END_TEST

/* As a client that knows nothing of what is to come. */
START_TEST(what_is_flushed_can_be_decoded_at_once)
{
    static const size_t pieces[] = {1, 4, 5, 6, 7, 63, 64, 4096};
    enum coding coding = (enum coding)_i;
    char *words = text(200 * KIB);

    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        struct codec *c = codec_encoder(coding, levels[coding].common, -1), *d = codec_decoder(coding);
        struct bytes out = {0}, back = {0};
        size_t at = 0, seen = 0, n;

        for (n = 1; at + n < 200 * KIB; at += n, n = n * 5 + 3) {
            ck_assert_int_eq(give(c, words + at, n / 2, CODEC_GO, pieces[i], &out), CODEC_WANTS);
            ck_assert_int_eq(give(c, words + at + n / 2, n - n / 2, CODEC_FLUSH, pieces[i], &out), CODEC_WANTS);
            ck_assert_int_eq(give(d, out.p + seen, out.n - seen, CODEC_GO, 4096, &back), CODEC_WANTS);
            ck_assert(same(&back, words, at + n));
            seen = out.n;
            /* and there is no more to flush */
            ck_assert_int_eq(give(c, NULL, 0, CODEC_FLUSH, 64, &out), CODEC_WANTS);
            ck_assert_uint_le(out.n - seen, 10);
        }
        ck_assert_int_eq(give(c, words + at, 100, CODEC_END, pieces[i], &out), CODEC_DONE);
        ck_assert_int_eq(give(d, out.p + seen, out.n - seen, CODEC_END, 4096, &back), CODEC_DONE);
        ck_assert(same(&back, words, at + 100));
        codec_put(c);
        codec_put(d);
        free(out.p);
        free(back.p);
    }
    free(words);
}
END_TEST

START_TEST(nothing_is_flushed_before_anything_came)
{
    enum coding coding = (enum coding)_i;
    struct codec *c = codec_encoder(coding, levels[coding].common, -1);
    struct bytes out = {0};

    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(give(c, NULL, 0, CODEC_FLUSH, 1, &out), CODEC_WANTS);
    ck_assert_uint_lt(out.n, 64);
    ck_assert_int_eq(give(c, "abc", 3, CODEC_END, 1, &out), CODEC_DONE);
    decodes_to(coding, &out, 1, 1, "abc", 3);
    codec_put(c);
    free(out.p);
}
END_TEST

START_TEST(no_room_is_no_error)
{
    enum coding coding = (enum coding)_i;
    struct codec *c = codec_encoder(coding, levels[coding].common, 3), *d = codec_decoder(coding);
    struct bytes out = {0}, back = {0};
    struct codec_io io = {"abc", 3, NULL, 0};

    for (int i = 0; i < 40; i++)
        ck_assert_int_eq(codec_run(c, &io, CODEC_END), CODEC_FULL);
    ck_assert_int_eq(give(c, io.in, io.in_n, CODEC_END, 64, &out), CODEC_DONE);
    io = (struct codec_io){out.p, out.n, NULL, 0};
    for (int i = 0; i < 40; i++)
        ck_assert_int_eq(codec_run(d, &io, CODEC_END), CODEC_FULL);
    ck_assert_int_eq(give(d, io.in, io.in_n, CODEC_END, 64, &back), CODEC_DONE);
    ck_assert(same(&back, "abc", 3));
    codec_put(c);
    codec_put(d);
    free(out.p);
    free(back.p);
}
END_TEST

/* --- the pool --- */

START_TEST(a_state_used_again_is_as_a_new_one)
{
    enum coding coding = (enum coding)_i;
    char *words = text(300 * KIB), *bytes = noise(300 * KIB);

    for (int level = levels[coding].lowest; level <= levels[coding].most; level++) {
        struct bytes first, again, halfway = {0};
        struct codec *c;
        size_t memory;

        codec_flush();
        first = encoded(coding, level, -1, words, 300 * KIB, 10000, 64 * KIB);
        memory = codec_memory();
        ck_assert_uint_gt(memory, 0);
        c = codec_encoder(coding, level, -1);
        give(c, bytes, 100000, CODEC_GO, 64 * KIB, &halfway);
        give(c, bytes, 10, CODEC_FLUSH, 64 * KIB, &halfway);
        codec_put(c);
        again = encoded(coding, level, -1, words, 300 * KIB, 10000, 64 * KIB);
        ck_assert(same(&again, first.p, first.n));
        ck_assert_uint_le(codec_memory(), memory + memory / 4);
        free(first.p);
        free(again.p);
        free(halfway.p);
    }
    free(words);
    free(bytes);
}
END_TEST

/* Left in the middle, in error, or behind its end. */
START_TEST(a_decoder_used_again_is_as_a_new_one)
{
    enum coding coding = (enum coding)_i;
    char *words = text(100 * KIB);
    struct bytes b = encoded(coding, levels[coding].common, -1, words, 100 * KIB, 64 * KIB, 64 * KIB);
    size_t memory = 0;

    for (int i = 0; i < 12; i++) {
        struct codec *d = codec_decoder(coding);
        struct bytes back = {0};

        if (i % 3 == 0)
            ck_assert_int_eq(give(d, b.p, b.n / 2, CODEC_GO, 100, &back), CODEC_WANTS);
        if (i % 3 == 1)
            ck_assert_int_eq(give(d, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, CODEC_END, 100, &back), CODEC_ERROR);
        codec_put(d);
        free(back.p);
        decodes_to(coding, &b, 1000, 1000, words, 100 * KIB);
        if (i == 3)
            memory = codec_memory();
        ck_assert(i < 3 || codec_memory() <= memory);
    }
    free(b.p);
    free(words);
}
END_TEST

START_TEST(small_content_takes_a_small_state)
{
    enum coding coding = (enum coding)_i;
    size_t of[3];

    for (int i = 0; i < 3; i++) {
        struct codec *c = codec_encoder(coding, levels[coding].common, i == 0 ? 2000 : i == 1 ? 20000 : -1);

        of[i] = codec_memory();
        codec_put(c);
        codec_flush();
    }
    ck_assert_uint_lt(of[0], 700 * KIB);
    ck_assert_uint_le(of[0], of[1]);
    ck_assert_uint_le(of[1], of[2]);
    ck_assert_uint_lt(of[2], 3 * MIB);
}
END_TEST

static void
let_pass(int64_t ms)
{
    now_ms += ms;
    clock_update();
    codec_tick();
}

START_TEST(what_rests_long_is_freed)
{
    struct codec *c = codec_encoder(CODING_GZIP, 4, -1), *d = codec_decoder(CODING_ZSTD);
    size_t both = codec_memory();

    codec_put(c);
    let_pass(50000);
    codec_put(d);
    let_pass(9000);
    ck_assert_uint_eq(codec_memory(), both);
    let_pass(2000);
    ck_assert_uint_lt(codec_memory(), both);
    ck_assert_uint_gt(codec_memory(), 0);
    let_pass(60000);
    ck_assert_uint_eq(codec_memory(), 0);
    codec_put(NULL);
}
END_TEST

START_TEST(what_is_used_is_not_freed)
{
    struct codec *c = codec_encoder(CODING_BR, 4, -1);
    struct bytes out = {0};

    ck_assert_int_eq(give(c, "ab", 2, CODEC_FLUSH, 64, &out), CODEC_WANTS);
    let_pass(1000000);
    codec_flush();
    ck_assert_int_eq(give(c, "c", 1, CODEC_END, 64, &out), CODEC_DONE);
    decodes_to(CODING_BR, &out, 64, 64, "abc", 3);
    codec_put(c);
    free(out.p);
}
END_TEST

START_TEST(few_rest)
{
    struct codec *c[300];

    for (int i = 0; i < 300; i++)
        ck_assert_ptr_nonnull(c[i] = codec_encoder(CODING_GZIP, 4, 100));
    for (int i = 0; i < 300; i++)
        codec_put(c[i]);
    ck_assert_uint_lt(codec_memory(), 128 * 50 * KIB);
    for (int i = 0; i < 100; i++)
        ck_assert_ptr_nonnull(c[i] = codec_encoder(CODING_ZSTD, 3, -1));
    for (int i = 0; i < 100; i++)
        codec_put(c[i]);
    ck_assert_uint_le(codec_memory(), CODEC_MEMORY_MOST / 4);
}
END_TEST

/* --- the bound --- */

/* A frame with a window of 8 MiB, and one byte in it that isn't the last block. */
#define LARGE_FRAME "\x28\xb5\x2f\xfd\x00\x68\x08\x00\x00x"

/* Clients that keep all encoders don't keep decoders from others. */
static void
decode_all_the_same(void)
{
    struct codec *d[6];
    struct bytes out = {0};

    for (int i = 0; i < 6; i++) {
        ck_assert_ptr_nonnull(d[i] = codec_decoder(CODING_ZSTD));
        ck_assert_int_eq(give(d[i], LARGE_FRAME, 10, CODEC_GO, 64, &out), CODEC_WANTS);
    }
    ck_assert_uint_le(codec_memory(), CODEC_MEMORY_MOST);
    for (int i = 0; i < 6; i++)
        codec_put(d[i]);
    free(out.p);
}

START_TEST(encoders_end_where_memory_does)
{
    enum coding coding = (enum coding)_i;
    struct codec *c[1100];
    size_t n = 0, resting;

    codec_put(codec_decoder(CODING_ZSTD));
    while (n < 1100 && (c[n] = codec_encoder(coding, levels[coding].most, -1)) != NULL) {
        ck_assert_uint_le(codec_memory(), CODEC_MEMORY_MOST);
        n++;
    }
    ck_assert_uint_gt(n, 10);
    ck_assert_uint_lt(n, 1100);
    ck_assert_uint_le(codec_memory(), CODEC_MEMORY_MOST);
    ck_assert_ptr_null(codec_encoder(coding, levels[coding].most, -1));
    decode_all_the_same();
    codec_put(c[--n]);
    ck_assert_ptr_nonnull(c[n] = codec_encoder(coding, levels[coding].most, -1));
    /* what rests makes room for others */
    codec_put(c[n]);
    codec_put(c[--n]);
    resting = codec_memory();
    ck_assert_ptr_nonnull(c[n] = codec_encoder(coding, levels[coding].common, -1));
    ck_assert_uint_le(codec_memory(), resting + 12 * MIB);
    for (n++; n > 0; n--)
        codec_put(c[n - 1]);
}
END_TEST

START_TEST(decoders_leave_half_of_it)
{
    struct codec *d[40], *c;
    struct bytes out = {0};
    size_t n = 0, most = 0;

    for (; n < 40; n++) {
        ck_assert_ptr_nonnull(d[n] = codec_decoder(CODING_ZSTD));
        if (give(d[n], LARGE_FRAME, 10, CODEC_GO, 64, &out) != CODEC_WANTS)
            break;
        if (codec_memory() > most)
            most = codec_memory();
    }
    ck_assert_uint_gt(n, 12);
    ck_assert_uint_lt(n, 17);
    ck_assert_uint_le(codec_memory(), CODEC_MEMORY_MOST / 2);
    ck_assert_uint_gt(most, CODEC_MEMORY_MOST / 4);
    /* the one too many is in error, the others are not */
    ck_assert_int_eq(give(d[n], "", 0, CODEC_GO, 64, &out), CODEC_ERROR);
    codec_put(d[n]);
    ck_assert_int_eq(give(d[0], "\x09\x00\x00y", 4, CODEC_END, 64, &out), CODEC_DONE);
    ck_assert_ptr_nonnull(c = codec_encoder(CODING_ZSTD, CODEC_ZSTD_MOST, -1));
    codec_put(c);
    codec_put(d[0]);
    ck_assert_ptr_nonnull(d[0] = codec_decoder(CODING_ZSTD));
    ck_assert_int_eq(give(d[0], LARGE_FRAME, 10, CODEC_GO, 64, &out), CODEC_WANTS);
    while (n > 0)
        codec_put(d[--n]);
    free(out.p);
}
END_TEST

/* --- what comes from elsewhere --- */

#define SAID "weir weir weir: a low dam.\nweir weir weir: a low dam.\nweir weir weir: a low dam.\n"
#define BY_GZIP \
    "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x2b\x4f\xcd\x2c\x52\x28\x87\x11\x56\x0a\x89\x0a\x39\xf9\xe5\x0a\x29\x89" \
    "\xb9\x7a\x5c\xe5\x64\x49\x01\x00\xfb\x7e\x9b\x8d\x51\x00\x00\x00"
#define BY_GZIP_NAMED "\x1f\x8b\x08\x08\x46\x20\x02\x6b\x02\x03v"
#define BY_ZSTD \
    "\x28\xb5\x2f\xfd\x24\x51\xdd\x00\x00\x90\x77\x65\x69\x72\x20\x3a\x20\x61\x20\x6c\x6f\x77\x20\x64\x61\x6d\x2e\x0a" \
    "\x02\x00\xf3\x79\x3e\xb4\xa2\x05\x4b\xf9\x21\x1b"
#define BY_ZSTD_PIPED \
    "\x28\xb5\x2f\xfd\x00\x58\xfd\x00\x00\x90\x77\x65\x69\x72\x20\x3a\x20\x61\x20\x6c\x6f\x77\x20\x64\x61\x6d\x2e\x0a" \
    "\x04\x00\x7d\x16\x00\x02\xc8\x59\x3e\x8a\xa2\x05"
#define BY_NODE \
    "\x1b\x50\x00\xf8\x9d\x07\xb6\x6d\x39\xeb\xe3\x35\x37\x1a\x10\x1b\x5a\xa7\xb5\xc9\xdd\xc9\xb0\xb2\xb7\x54\x20\x63" \
    "\x4b\x10\x17\x9d\x7c\xc5\x98\x8a\x12\x80\x02\x54\x70\xa4\x31\x7e\x31\x47\x44\x03"
#define SKIPPABLE "\x5a\x2a\x4d\x18\x03\x00\x00\x00xyz"

static const struct {
    enum coding coding;
    const char *p;
    size_t n;
} samples[] = {
    {CODING_GZIP, BY_GZIP, sizeof(BY_GZIP) - 1},
    {CODING_ZSTD, BY_ZSTD, sizeof(BY_ZSTD) - 1},
    {CODING_ZSTD, BY_ZSTD_PIPED, sizeof(BY_ZSTD_PIPED) - 1},
    {CODING_BR, BY_NODE, sizeof(BY_NODE) - 1},
};
enum { SAMPLES = sizeof(samples) / sizeof(samples[0]) };

static void
says(enum coding coding, const char *p, size_t n, const char *said)
{
    static const size_t pieces[] = {1, 3, 64 * KIB};
    struct bytes b = {(char *)p, n, 0};

    for (int i = 0; i < 9; i++)
        decodes_to(coding, &b, pieces[i % 3], pieces[i / 3], said, strlen(said));
}

START_TEST(what_other_tools_made_is_understood)
{
    static const char named[] = BY_GZIP_NAMED;
    char b[sizeof(named) + sizeof(BY_GZIP)];

    for (int i = 0; i < SAMPLES; i++)
        says(samples[i].coding, samples[i].p, samples[i].n, SAID);
    memcpy(b, named, sizeof(named));
    memcpy(b + sizeof(named), &BY_GZIP[10], sizeof(BY_GZIP) - 11);
    says(CODING_GZIP, b, sizeof(named) + sizeof(BY_GZIP) - 11, SAID);
}
END_TEST

START_TEST(nothing_at_all_is_whole)
{
    for (int c = CODING_ZSTD; c < CODINGS; c++) {
        ck_assert_int_eq(result_of((enum coding)c, "", 0), CODEC_DONE);
        ck_assert_int_eq(result_of((enum coding)c, NULL, 0), CODEC_DONE);
    }
}
END_TEST

START_TEST(what_ends_in_the_middle_is_an_error)
{
    for (int i = 0; i < SAMPLES; i++)
        for (size_t n = 1; n < samples[i].n; n++) {
            struct bytes back = {0};

            ck_assert_int_eq(result_of(samples[i].coding, samples[i].p, n), CODEC_ERROR);
            ck_assert_int_eq(decoded(samples[i].coding, samples[i].p, n, 1, 1, &back), CODEC_ERROR);
            ck_assert(back.n <= strlen(SAID) && memcmp(back.p != NULL ? back.p : "", SAID, back.n) == 0);
            free(back.p);
        }
}
END_TEST

/* gzip and a zstd frame with its sum show it; the others may decode to anything that they could say. */
START_TEST(bits_may_fall)
{
    for (int i = 0; i < SAMPLES; i++)
        for (size_t bit = 0; bit < samples[i].n * 8; bit++) {
            struct bytes back = {0};
            char copy[64];

            memcpy(copy, samples[i].p, samples[i].n);
            copy[bit / 8] ^= (char)(1 << bit % 8);
            if (decoded(samples[i].coding, copy, samples[i].n, 5, 64 * KIB, &back) == CODEC_DONE && i == 0)
                ck_assert(same(&back, SAID, strlen(SAID)));
            free(back.p);
        }
}
END_TEST

static enum codec_result
result_of_two(enum coding coding, const char *p, size_t n, const char *q, size_t q_n, size_t piece, struct bytes *out)
{
    struct bytes both = {0};
    enum codec_result result;

    add(&both, p, n);
    add(&both, q, q_n);
    result = decoded(coding, both.p, both.n, piece, 64 * KIB, out);
    free(both.p);
    return result;
}

START_TEST(nothing_else_may_follow)
{
    static const size_t pieces[] = {1, 64 * KIB};

    for (int i = 0; i < SAMPLES * 2; i++) {
        enum coding coding = samples[i / 2].coding;
        const char *p = samples[i / 2].p;
        size_t n = samples[i / 2].n;
        struct bytes back = {0};

        ck_assert_int_eq(result_of_two(coding, p, n, "x", 1, pieces[i % 2], &back), CODEC_ERROR);
        ck_assert_int_eq(result_of_two(coding, p, n, "<!-- served -->", 15, pieces[i % 2], &back), CODEC_ERROR);
        if (coding == CODING_BR)
            ck_assert_int_eq(result_of_two(coding, p, n, p, n, pieces[i % 2], &back), CODEC_ERROR);
        if (coding != CODING_GZIP)
            ck_assert_int_eq(result_of_two(coding, p, n, "\0", 1, pieces[i % 2], &back), CODEC_ERROR);
        free(back.p);
    }
}
END_TEST

START_TEST(members_and_frames_follow_each_other)
{
    for (int i = 0; i < SAMPLES; i++) {
        struct bytes back = {0}, none;
        enum coding coding = samples[i].coding;
        const char *p = samples[i].p;
        size_t n = samples[i].n;

        if (coding == CODING_BR)
            continue;
        ck_assert_int_eq(result_of_two(coding, p, n, p, n, 3, &back), CODEC_DONE);
        ck_assert(same(&back, SAID SAID, 2 * strlen(SAID)));
        back.n = 0;
        none = encoded(coding, 1, 0, NULL, 0, 1, 1);
        ck_assert_uint_gt(none.n, 0);
        ck_assert_int_eq(result_of_two(coding, none.p, none.n, p, n, 64, &back), CODEC_DONE);
        ck_assert(same(&back, SAID, strlen(SAID)));
        free(back.p);
        free(none.p);
    }
    says(CODING_ZSTD, SKIPPABLE BY_ZSTD SKIPPABLE SKIPPABLE BY_ZSTD_PIPED, sizeof(SKIPPABLE) * 3 - 3 +
         sizeof(BY_ZSTD) - 1 + sizeof(BY_ZSTD_PIPED) - 1, SAID SAID);
    ck_assert_int_eq(result_of(CODING_ZSTD, SKIPPABLE, sizeof(SKIPPABLE) - 2), CODEC_ERROR);
}
END_TEST

START_TEST(zeros_pad_gzip_and_nothing_else_does)
{
    says(CODING_GZIP, BY_GZIP "\0\0\0\0", sizeof(BY_GZIP) - 1 + 4, SAID);
    ck_assert_int_eq(result_of(CODING_GZIP, BY_GZIP "\0\0x", sizeof(BY_GZIP) - 1 + 3), CODEC_ERROR);
    ck_assert_int_eq(result_of(CODING_GZIP, BY_GZIP "\0" BY_GZIP, 2 * sizeof(BY_GZIP) - 1), CODEC_ERROR);
    ck_assert_int_eq(result_of(CODING_GZIP, "\0" BY_GZIP, sizeof(BY_GZIP)), CODEC_ERROR);
    ck_assert_int_eq(result_of(CODING_GZIP, "\0\0\0\0", 4), CODEC_ERROR);
    ck_assert_int_eq(result_of(CODING_ZSTD, BY_ZSTD "\0\0\0\0\0\0", sizeof(BY_ZSTD) - 1 + 6), CODEC_ERROR);
}
END_TEST

/* The library reads its own formats of before RFC 8878 too: other magic numbers, and decoders that nobody looks at. */
START_TEST(old_zstd_is_none)
{
    /* v0.5: a frame of one raw block with an "x"; and v0.7 */
    ck_assert_int_eq(result_of(CODING_ZSTD, "\x25\xb5\x2f\xfd\x08\x40\x00\x01x\xc0\x00\x00", 12), CODEC_ERROR);
    ck_assert_int_eq(result_of(CODING_ZSTD, "\x27\xb5\x2f\xfd\x00\x00\x40\x00\x01x\xc0\x00\x00", 13), CODEC_ERROR);
    ck_assert_int_eq(result_of(CODING_ZSTD, BY_ZSTD "\x27\xb5\x2f\xfd\x00\x00\x40\x00\x01x\xc0\x00\x00",
                               sizeof(BY_ZSTD) - 1 + 13), CODEC_ERROR);
}
END_TEST

/* A raw deflate stream, or zlib's, is no gzip, though browsers take them for "deflate". */
START_TEST(other_formats_are_errors)
{
    ck_assert_int_eq(result_of(CODING_GZIP, "\x78\x9c\x4b\x04\x00\x00\x62\x00\x62", 9), CODEC_ERROR);
    ck_assert_int_eq(result_of(CODING_GZIP, "\x4b\x04\x00", 3), CODEC_ERROR);
    ck_assert_int_eq(result_of(CODING_GZIP, SAID, strlen(SAID)), CODEC_ERROR);
    ck_assert_int_eq(result_of(CODING_ZSTD, SAID, strlen(SAID)), CODEC_ERROR);
    ck_assert_int_eq(result_of(CODING_BR, SAID, strlen(SAID)), CODEC_ERROR);
    ck_assert_int_eq(result_of(CODING_ZSTD, BY_GZIP, sizeof(BY_GZIP) - 1), CODEC_ERROR);
    ck_assert_int_eq(result_of(CODING_GZIP, BY_ZSTD, sizeof(BY_ZSTD) - 1), CODEC_ERROR);
}
END_TEST

START_TEST(windows_have_a_bound)
{
    struct bytes back = {0};

    /* 8 MiB, 8 MiB and an eighth, 16 MiB; and br's large windows, which are no part of RFC 7932 */
    ck_assert_int_eq(decoded(CODING_ZSTD, "\x28\xb5\x2f\xfd\x00\x68\x09\x00\x00x", 10, 10, 64, &back), CODEC_DONE);
    ck_assert(same(&back, "x", 1));
    ck_assert_int_eq(result_of(CODING_ZSTD, "\x28\xb5\x2f\xfd\x00\x69\x09\x00\x00x", 10), CODEC_ERROR);
    ck_assert_int_eq(result_of(CODING_ZSTD, "\x28\xb5\x2f\xfd\x00\x70\x09\x00\x00x", 10), CODEC_ERROR);
    ck_assert_int_eq(result_of(CODING_ZSTD, "\x28\xb5\x2f\xfd\x00\xf8\x09\x00\x00x", 10), CODEC_ERROR);
    ck_assert_int_eq(result_of(CODING_BR, "\x11\x18\x06", 3), CODEC_ERROR);
    free(back.p);
}
END_TEST

/* The same content is the same bytes, whenever and wherever it is made (RFC 1952 2.3.1). */
START_TEST(gzip_has_no_name_and_no_time)
{
    struct bytes b = encoded(CODING_GZIP, 6, -1, SAID, strlen(SAID), 64, 64);

    ck_assert_int_eq(memcmp(b.p, "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", 10), 0);
    free(b.p);
}
END_TEST

/* What clients have to have room for (RFC 9659): the window's descriptor (RFC 8878 3.1.1.1.2). */
START_TEST(windows_of_ours_are_small)
{
    char *words = text(2 * MIB);

    for (int level = 1; level <= CODEC_ZSTD_MOST; level++) {
        struct bytes b = encoded(CODING_ZSTD, level, -1, words, 2 * MIB / (size_t)level, 64 * KIB, 64 * KIB);

        ck_assert_int_eq(b.p[4] & 0xff, 0);
        ck_assert_int_le(b.p[5] & 0xff, (CODEC_WINDOW_LOG - 10) << 3);
        free(b.p);
    }
    free(words);
}
END_TEST

static TCase *
tests(Suite *s, const char *name)
{
    TCase *t = tcase_create(name);

    suite_add_tcase(s, t);
    tcase_add_checked_fixture(t, clock_update, teardown);
    return t;
}

int
main(void)
{
    Suite *s = suite_create("codec");
    TCase *t = tests(s, "content");

    tcase_add_loop_test(t, small_content_in_pieces_of_any_size, CODING_ZSTD, CODINGS);
    tcase_add_loop_test(t, large_content, CODING_ZSTD, CODINGS);
    tcase_add_loop_test(t, text_shrinks_and_noise_hardly_grows, CODING_ZSTD, CODINGS);
    tcase_add_loop_test(t, what_is_flushed_can_be_decoded_at_once, CODING_ZSTD, CODINGS);
    tcase_add_loop_test(t, nothing_is_flushed_before_anything_came, CODING_ZSTD, CODINGS);
    tcase_add_loop_test(t, no_room_is_no_error, CODING_ZSTD, CODINGS);
    t = tests(s, "pool");
    tcase_add_loop_test(t, a_state_used_again_is_as_a_new_one, CODING_ZSTD, CODINGS);
    tcase_add_loop_test(t, a_decoder_used_again_is_as_a_new_one, CODING_ZSTD, CODINGS);
    tcase_add_loop_test(t, small_content_takes_a_small_state, CODING_ZSTD, CODINGS);
    tcase_add_test(t, what_rests_long_is_freed);
    tcase_add_test(t, what_is_used_is_not_freed);
    tcase_add_test(t, few_rest);
    t = tests(s, "bound");
    tcase_add_loop_test(t, encoders_end_where_memory_does, CODING_ZSTD, CODINGS);
    tcase_add_test(t, decoders_leave_half_of_it);
    t = tests(s, "decoders");
    tcase_add_test(t, what_other_tools_made_is_understood);
    tcase_add_test(t, nothing_at_all_is_whole);
    tcase_add_test(t, what_ends_in_the_middle_is_an_error);
    tcase_add_test(t, bits_may_fall);
    tcase_add_test(t, nothing_else_may_follow);
    tcase_add_test(t, members_and_frames_follow_each_other);
    tcase_add_test(t, zeros_pad_gzip_and_nothing_else_does);
    tcase_add_test(t, old_zstd_is_none);
    tcase_add_test(t, other_formats_are_errors);
    tcase_add_test(t, windows_have_a_bound);
    t = tests(s, "encoders");
    tcase_add_test(t, gzip_has_no_name_and_no_time);
    tcase_add_test(t, windows_of_ours_are_small);
    return unit_run(s);
}
