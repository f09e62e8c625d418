/*
 * It alone knows what UTF-8 is (RFC 3629 4) and what JSON escapes.
 */
#include "modules/json.h"

#include <stdint.h>

#include "worker/base/hex.h"

/* How long a character that begins with the byte is, and what its second byte may be; 0: it begins none. */
static size_t
length(uint8_t first, uint8_t *low, uint8_t *high)
{
    *low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;      /* no longer than need be */
    *high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;     /* no surrogates, nothing behind U+10FFFF */
    if (first < 0x80)
        return 1;
    return first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
}

/* The bytes of the character at the start of s, which isn't empty; 0: it is none. */
static size_t
character(struct str s)
{
    const uint8_t *p = (const uint8_t *)s.p;
    uint8_t low, high;
    size_t n = length(p[0], &low, &high);

    if (n > s.n || (n > 1 && (p[1] < low || p[1] > high)))
        return 0;
    for (size_t i = 2; i < n; i++)
        if (p[i] < 0x80 || p[i] > 0xBF)
            return 0;
    return n;
}

static size_t
put_code(char *to, uint8_t code)
{
    memcpy(to, "\\u00", 4);
    hex_put(to + 4, code);
    return 6;
}

/* The character of n bytes at p, or the byte that is none (n 0), into at least six bytes. */
static size_t
put(char *to, const char *p, size_t n)
{
    uint8_t c = (uint8_t)p[0];

    if (n == 0 || (n == 1 && (c < 0x20 || c == 0x7F)))
        return put_code(to, c);
    if (n == 2 && c == 0xC2 && (uint8_t)p[1] < 0xA0)
        return put_code(to, (uint8_t)p[1]);
    if (c == '"' || c == '\\') {
        to[0] = '\\';
        to[1] = p[0];
        return 2;
    }
    memcpy(to, p, n);
    return n;
}

size_t
json_escape(char *to, struct str s, size_t most)
{
    size_t done = 0;
    char text[6];

    while (s.n > 0) {
        size_t n = character(s), used = n > 0 ? n : 1, m = put(text, s.p, n);

        if (m > most - done)
            break;
        if (to != NULL)
            memcpy(to + done, text, m);
        done += m;
        s.p += used;
        s.n -= used;
    }
    return done;
}
