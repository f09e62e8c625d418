/*
 * The scan functions, three times over. What may stop a scan is told by comparisons for values and
 * visible characters, and by two look-ups of a nibble each for tokens: a byte is a token character
 * where the bit of its upper nibble is set in the row of its lower one.
 *
 * Every vector path reads whole vectors only while they fit before `end` and leaves the rest to the
 * portable path, so nothing beyond `end` is ever touched. Names are short: AVX2 has nothing to add
 * for tokens.
 */
#include "worker/base/scan.h"

#include <stdint.h>

#if defined(__x86_64__) || defined(__i386__)
#define VECTORS 1
#include <immintrin.h>
#endif

#define T 1                     /* token (RFC 9110 5.6.2) */
#define V 2                     /* visible: 0x21 to 0x7E */
#define F 4                     /* may stand in a field value (RFC 9110 5.5) */

static const uint8_t class[256] = {
    ['\t'] = F,
    [' '] = F,
    ['!'] = T | V | F,
    ['"'] = V | F,
    ['#' ... '\''] = T | V | F,
    ['(' ... ')'] = V | F,
    ['*' ... '+'] = T | V | F,
    [','] = V | F,
    ['-' ... '.'] = T | V | F,
    ['/'] = V | F,
    ['0' ... '9'] = T | V | F,
    [':' ... '@'] = V | F,
    ['A' ... 'Z'] = T | V | F,
    ['[' ... ']'] = V | F,
    ['^' ... 'z'] = T | V | F,
    ['{'] = V | F,
    ['|'] = T | V | F,
    ['}'] = V | F,
    ['~'] = T | V | F,
    [0x80 ... 0xff] = F,
};

static inline const char *
skip(const char *p, const char *end, uint8_t wanted)
{
    while (p < end && (class[(uint8_t)*p] & wanted) != 0)
        p++;
    return p;
}

static const char *
value_portable(const char *p, const char *end)
{
    return skip(p, end, F);
}

static const char *
visible_portable(const char *p, const char *end)
{
    return skip(p, end, V);
}

static const char *
token_portable(const char *p, const char *end)
{
    return skip(p, end, T);
}

const char *(*scan_value)(const char *p, const char *end) = value_portable;
const char *(*scan_visible)(const char *p, const char *end) = visible_portable;
const char *(*scan_token)(const char *p, const char *end) = token_portable;

#ifdef VECTORS

#define SSE42 __attribute__((target("sse4.2")))
#define AVX2 __attribute__((target("avx2")))
#define ALWAYS inline __attribute__((always_inline))

/* A bit for each of the bytes that end the scan. */
static ALWAYS SSE42 unsigned
value_ends16(__m128i v)
{
    __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v);
    __m128i tab = _mm_cmpeq_epi8(v, _mm_set1_epi8('\t'));
    __m128i del = _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f));

    return (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_andnot_si128(tab, control), del));
}

/* The comparison is a signed one: bytes from 0x80 on fail it too. */
static ALWAYS SSE42 unsigned
visible_ends16(__m128i v)
{
    __m128i above = _mm_cmpgt_epi8(v, _mm_set1_epi8(' '));
    __m128i del = _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f));

    return (unsigned)_mm_movemask_epi8(_mm_andnot_si128(del, above)) ^ 0xffff;
}

/*
 * rows[low nibble] holds bit (high nibble - 2) for each token character of that column; a byte from
 * 0x80 on looks nothing up (pshufb gives zero), and one under 0x20 has no bit.
 */
static ALWAYS SSE42 unsigned
token_ends16(__m128i v)
{
    const __m128i rows = _mm_setr_epi8(0x3a, 0x3f, 0x3e, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3e, 0x3e,
                                       0x3d, 0x15, 0x34, 0x15, 0x3d, 0x1c);
    const __m128i bits = _mm_setr_epi8(0, 0, 1, 2, 4, 8, 16, 32, 0, 0, 0, 0, 0, 0, 0, 0);
    __m128i high = _mm_and_si128(_mm_srli_epi16(v, 4), _mm_set1_epi8(0x0f));
    __m128i good = _mm_and_si128(_mm_shuffle_epi8(rows, v), _mm_shuffle_epi8(bits, high));

    return (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(good, _mm_setzero_si128()));
}

static ALWAYS AVX2 unsigned
value_ends32(__m256i v)
{
    __m256i control = _mm256_cmpeq_epi8(_mm256_min_epu8(v, _mm256_set1_epi8(0x1f)), v);
    __m256i tab = _mm256_cmpeq_epi8(v, _mm256_set1_epi8('\t'));
    __m256i del = _mm256_cmpeq_epi8(v, _mm256_set1_epi8(0x7f));

    return (unsigned)_mm256_movemask_epi8(_mm256_or_si256(_mm256_andnot_si256(tab, control), del));
}

static ALWAYS AVX2 unsigned
visible_ends32(__m256i v)
{
    __m256i above = _mm256_cmpgt_epi8(v, _mm256_set1_epi8(' '));
    __m256i del = _mm256_cmpeq_epi8(v, _mm256_set1_epi8(0x7f));

    return ~(unsigned)_mm256_movemask_epi8(_mm256_andnot_si256(del, above));
}

#define BY16(ends16) \
    for (; end - p >= 16; p += 16) { \
        unsigned ends = ends16(_mm_loadu_si128((const __m128i *)p)); \
\
        if (ends != 0) \
            return p + __builtin_ctz(ends); \
    }

#define BY32(ends32) \
    for (; end - p >= 32; p += 32) { \
        unsigned ends = ends32(_mm256_loadu_si256((const __m256i *)p)); \
\
        if (ends != 0) \
            return p + __builtin_ctz(ends); \
    }

static SSE42 const char *
value_sse42(const char *p, const char *end)
{
    BY16(value_ends16)
    return skip(p, end, F);
}

static SSE42 const char *
visible_sse42(const char *p, const char *end)
{
    BY16(visible_ends16)
    return skip(p, end, V);
}

static SSE42 const char *
token_sse42(const char *p, const char *end)
{
    BY16(token_ends16)
    return skip(p, end, T);
}

static AVX2 const char *
value_avx2(const char *p, const char *end)
{
    BY32(value_ends32)
    BY16(value_ends16)
    return skip(p, end, F);
}

static AVX2 const char *
visible_avx2(const char *p, const char *end)
{
    BY32(visible_ends32)
    BY16(visible_ends16)
    return skip(p, end, V);
}

static void
use_sse42(void)
{
    scan_value = value_sse42;
    scan_visible = visible_sse42;
    scan_token = token_sse42;
}

static void
use_avx2(void)
{
    scan_value = value_avx2;
    scan_visible = visible_avx2;
    scan_token = token_sse42;
}

#endif

enum scan_level
scan_init(enum scan_level most)
{
#ifdef VECTORS
    __builtin_cpu_init();
    if (most >= SCAN_AVX2 && __builtin_cpu_supports("avx2")) {
        use_avx2();
        return SCAN_AVX2;
    }
    if (most >= SCAN_SSE42 && __builtin_cpu_supports("sse4.2")) {
        use_sse42();
        return SCAN_SSE42;
    }
#else
    (void)most;
#endif
    scan_value = value_portable;
    scan_visible = visible_portable;
    scan_token = token_portable;
    return SCAN_PORTABLE;
}
