/*
 * Slices: what is too long to stand in the header. Knows ASCII and nothing else: no locale, no NUL.
 */
#include "worker/base/str.h"

#include <stdint.h>

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Eight bytes with A to Z in lower case and every other byte as it was. */
static inline uint64_t
lower(uint64_t x)
{
    uint64_t low = x & EACH(0x7f);
    uint64_t from_a = low + EACH(0x80 - 'A');
    uint64_t over_z = low + EACH(0x7f - 'Z');

    return x | ((from_a ^ over_z) & ~x & EACH(0x80)) >> 2;
}

static inline uint64_t
load8(const char *p)
{
    uint64_t x;

    memcpy(&x, p, 8);
    return x;
}

/* One to seven bytes, each of them at least once, at places that depend on n alone. */
static inline uint64_t
load_short(const char *p, size_t n)
{
    uint32_t first, last;

    if (n < 4)
        return (uint64_t)(unsigned char)p[0] | (uint64_t)(unsigned char)p[n / 2] << 8 |
               (uint64_t)(unsigned char)p[n - 1] << 16;
    memcpy(&first, p, 4);
    memcpy(&last, p + n - 4, 4);
    return first | (uint64_t)last << 32;
}

/* Mostly both are spelt alike. */
static inline bool
same(uint64_t x, uint64_t y)
{
    return x == y || lower(x) == lower(y);
}

bool
str_ieq(struct str a, struct str b)
{
    if (a.n != b.n)
        return false;
    if (a.n == 0)
        return true;
    if (a.n < 8)
        return same(load_short(a.p, a.n), load_short(b.p, b.n));

    for (size_t i = 0; i + 8 < a.n; i += 8)
        if (!same(load8(a.p + i), load8(b.p + i)))
            return false;
    return same(load8(a.p + a.n - 8), load8(b.p + b.n - 8));
}

/* Where the list's first member ends: at a comma outside of quotes, or with the list. */
static size_t
member_end(struct str list)
{
    bool quoted = false;

    for (size_t i = 0; i < list.n; i++) {
        char c = list.p[i];

        if (c == '"')
            quoted = !quoted;
        else if (c == '\\' && quoted)
            i++;
        else if (c == ',' && !quoted)
            return i;
    }
    return list.n;
}

bool
str_list_next(struct str *list, struct str *member)
{
    while (list->n > 0) {
        size_t end = member_end(*list);
        size_t past = end < list->n ? end + 1 : end;

        *member = str_trim((struct str){list->p, end});
        list->p += past;
        list->n -= past;
        if (member->n > 0)
            return true;
    }
    return false;
}

long long
str_decimal(struct str s)
{
    int64_t value = 0;

    if (s.n == 0)
        return -1;
    for (size_t i = 0; i < s.n; i++) {
        unsigned digit = (unsigned char)s.p[i] - (unsigned)'0';

        if (digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (int64_t)digit, &value))
            return -1;
    }
    return value;
}
