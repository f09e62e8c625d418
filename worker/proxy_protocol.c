/*
 * The PROXY protocol. Knows both layouts of the header byte by byte; section numbers are those of
 * HAProxy's proxy-protocol.txt. A byte that cannot be part of a header is told at once, so that a
 * client that doesn't speak it is not waited for.
 */
#include "worker/proxy_protocol.h"

#include <assert.h>
#include <stdint.h>

#define V1_MOST 107             /* 2.1: the longest line, CRLF included */
#define V2_FIXED 16
#define UNIX_SIZE 108           /* a path's room in version 2 */

#define TLV_CRC32C 0x03         /* 2.2.4 */

static const char signature[12] = "\r\n\r\n\0\r\nQUIT\n";

/* Whether [buf, n) begins as `with` does, as far as both go. */
static bool
agrees(const char *buf, size_t n, const char *with, size_t with_n)
{
    return memcmp(buf, with, n < with_n ? n : with_n) == 0;
}

/* The next word of a version 1 line: words are parted by exactly one space. */
static struct str
word(struct str *line)
{
    const char *space = line->n > 0 ? memchr(line->p, ' ', line->n) : NULL;
    struct str w = {line->p, space != NULL ? (size_t)(space - line->p) : line->n};
    size_t past = w.n + (space != NULL);

    line->p += past;
    line->n -= past;
    return w;
}

static bool
v1_address(struct addr *a, struct str text, bool six)
{
    *a = (struct addr){0};
    return text.n > 0 && (memchr(text.p, ':', text.n) != NULL) == six && ip_parse(&a->ip, text);
}

/* 2.1: 0 to 65535, without leading zeros. */
static bool
v1_port(struct addr *a, struct str text)
{
    long long value = text.n <= 5 ? str_decimal(text) : -1;

    if (value < 0 || value > 65535 || (text.p[0] == '0' && text.n > 1))
        return false;
    a->port = (uint16_t)value;
    return true;
}

/* The line behind "PROXY ", without its CRLF. What follows UNKNOWN is not to be looked at. */
static int
v1_line(struct proxy_header *h, struct str line)
{
    struct str protocol = word(&line);
    bool six = str_eq(protocol, STR("TCP6"));

    if (str_eq(protocol, STR("UNKNOWN")))
        return 1;
    if (!six && !str_eq(protocol, STR("TCP4")))
        return -1;
    h->carries = true;
    if (!v1_address(&h->source, word(&line), six) ||
        !v1_address(&h->destination, word(&line), six) || !v1_port(&h->source, word(&line)) ||
        line.n == 0 || memchr(line.p, ' ', line.n) != NULL || !v1_port(&h->destination, line))
        return -1;
    return 1;
}

static int
v1(struct proxy_header *h, const char *buf, size_t n)
{
    static const struct str prefix = {"PROXY ", 6};
    const char *lf;

    if (n > V1_MOST)
        n = V1_MOST;
    lf = memchr(buf, '\n', n);
    if (lf == NULL)
        return n < V1_MOST ? 0 : -1;
    h->size = (size_t)(lf - buf) + 1;
    if (h->size < prefix.n + 2 || lf[-1] != '\r')
        return -1;
    return v1_line(h, (struct str){buf + prefix.n, h->size - prefix.n - 2});
}

static unsigned
number(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

/* RFC 3720 B.4, bit by bit: it is once a connection, and only where a checksum was sent. */
static uint32_t
crc32c(uint32_t crc, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (UINT32_C(0x82f63b78) & -(crc & 1));
    }
    return crc;
}

/* 2.2.4: over the whole header, the checksum itself taken as zeros. */
static bool
checksum_good(const uint8_t *header, size_t n, const uint8_t *sum)
{
    static const uint8_t zeros[4];
    const uint8_t *past = sum + sizeof(zeros);
    uint32_t crc = UINT32_MAX;

    crc = crc32c(crc, header, (size_t)(sum - header));
    crc = crc32c(crc, zeros, sizeof(zeros));
    crc = ~crc32c(crc, past, (size_t)(header + n - past));
    return ((uint32_t)number(sum) << 16 | number(sum + 2)) == crc;
}

/* 2.2.1: TLVs from `at` to the header's end. */
static bool
tlvs_good(const uint8_t *header, size_t n, size_t at)
{
    while (at < n) {
        const uint8_t *tlv = header + at;
        size_t size;

        if (n - at < 3)
            return false;
        size = number(tlv + 1);
        if (size > n - at - 3)
            return false;
        if (tlv[0] == TLV_CRC32C && (size != 4 || !checksum_good(header, n, tlv + 3)))
            return false;
        at += 3 + size;
    }
    return true;
}

static void
v2_ip(struct addr *a, int family, const uint8_t *ip, const uint8_t *port)
{
    struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6};
    struct sockaddr_in sin = {.sin_family = AF_INET};

    if (family == AF_INET) {
        memcpy(&sin.sin_addr, ip, 4);
        addr_from_sockaddr(a, (const struct sockaddr *)&sin, sizeof(sin));
    } else {
        memcpy(&sin6.sin6_addr, ip, 16);
        addr_from_sockaddr(a, (const struct sockaddr *)&sin6, sizeof(sin6));
    }
    a->port = (uint16_t)number(port);
}

static void
v2_unix(struct addr *a, const uint8_t *path)
{
    *a = (struct addr){.ip.family = AF_UNIX};
    a->path = (struct str){(const char *)path, strnlen((const char *)path, UNIX_SIZE)};
}

/* Fills in what a connection of that family and protocol carries; returns its size, 0: nothing known. */
static size_t
v2_addresses(struct proxy_header *h, unsigned kind, const uint8_t *p, size_t n)
{
    static const size_t sizes[] = {[1] = 12, [2] = 36, [3] = 2 * UNIX_SIZE};
    size_t size = sizes[kind >> 4];

    /* a stream: what a datagram's addresses would mean on this connection nobody has said */
    if ((kind & 15) != 1 || size == 0 || n < size)
        return 0;
    h->carries = true;
    if (kind >> 4 == 1) {
        v2_ip(&h->source, AF_INET, p, p + 8);
        v2_ip(&h->destination, AF_INET, p + 4, p + 10);
    } else if (kind >> 4 == 2) {
        v2_ip(&h->source, AF_INET6, p, p + 32);
        v2_ip(&h->destination, AF_INET6, p + 16, p + 34);
    } else {
        v2_unix(&h->source, p);
        v2_unix(&h->destination, p + UNIX_SIZE);
    }
    return size;
}

/* 2.2: the header is whole. */
static int
v2_whole(struct proxy_header *h, const uint8_t *p)
{
    unsigned command = p[12] & 15, kind = p[13];
    size_t size;

    if (command == 0)
        return 1;
    size = v2_addresses(h, kind, p + V2_FIXED, h->size - V2_FIXED);
    if (size == 0)
        return kind >> 4 == 0 || (kind & 15) != 1 ? 1 : -1;
    return tlvs_good(p, h->size, V2_FIXED + size) ? 1 : -1;
}

static int
v2(struct proxy_header *h, const char *buf, size_t n)
{
    const uint8_t *p = (const uint8_t *)buf;

    /* version 2, LOCAL or PROXY; a family and a protocol that are assigned */
    if (n > 12 && p[12] != 0x20 && p[12] != 0x21)
        return -1;
    if (n > 13 && (p[13] >> 4 > 3 || (p[13] & 15) > 2))
        return -1;
    if (n < V2_FIXED)
        return 0;
    h->size = V2_FIXED + number(p + 14);
    if (h->size > PROXY_HEADER_MOST)
        return -1;
    return n < h->size ? 0 : v2_whole(h, p);
}

int
proxy_header_parse(struct proxy_header *h, const char *buf, size_t n)
{
    *h = (struct proxy_header){.carries = false};
    if (n == 0)
        return 0;
    if (agrees(buf, n, "PROXY ", 6))
        return v1(h, buf, n);
    if (agrees(buf, n, signature, sizeof(signature)))
        return v2(h, buf, n);
    return -1;
}
