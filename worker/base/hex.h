/*
 * Hexadecimal digits, and the escapes that are made of them: %XX of URIs (RFC 3986 2.1) and \xXX of logs. What
 * writes returns the end of what it wrote.
 */
#ifndef WEIR_HEX_H
#define WEIR_HEX_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* 0 to 15, or -1: no digit. */
static inline int
hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that %XX at the front of these n bytes stands for, or -1: it is no escape, or not whole. */
static inline int
hex_escaped(const char *p, size_t n)
{
    int high, low;

    if (n < 3 || p[0] != '%')
        return -1;
    high = hex_value(p[1]);
    low = hex_value(p[2]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* Two digits: "0a". */
static inline char *
hex_put(char *to, unsigned char byte)
{
    to[0] = "0123456789abcdef"[byte >> 4];
    to[1] = "0123456789abcdef"[byte & 15];
    return to + 2;
}

/* Eight digits: those of all bytes side by side. */
static inline char *
hex_put_word(char *to, uint32_t word)
{
    const uint64_t each = UINT64_C(0x0101010101010101);
    uint64_t x = __builtin_bswap32(word);

    x = (x | x << 16) & UINT64_C(0x0000ffff0000ffff);
    x = (x | x << 8) & UINT64_C(0x00ff00ff00ff00ff);
    x = (x >> 4 | x << 8) & each * 15;
    x += each * '0' + (((x + each * 6) >> 4) & each) * ('a' - '0' - 10);
    x = htole64(x);
    memcpy(to, &x, 8);
    return to + 8;
}

/* "0A". */
static inline char *
hex_put_upper(char *to, unsigned char byte)
{
    to[0] = "0123456789ABCDEF"[byte >> 4];
    to[1] = "0123456789ABCDEF"[byte & 15];
    return to + 2;
}

/* "%0A". */
static inline char *
hex_escape_uri(char *to, unsigned char byte)
{
    to[0] = '%';
    return hex_put_upper(to + 1, byte);
}

/* "\x0A". */
static inline char *
hex_escape_log(char *to, unsigned char byte)
{
    to[0] = '\\';
    to[1] = 'x';
    return hex_put_upper(to + 2, byte);
}

#endif
