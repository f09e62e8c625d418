/*
 * Addresses, as text and as the kernel has them. Knows that a mapped IPv4 address (RFC 4291 2.5.5.2)
 * is IPv4 to everyone in here, so that one rule for 10.0.0.0/8 holds on a dual-stack socket too, and
 * that struct ip keeps its unused bytes zero, so that comparing is comparing memory.
 */
#include "worker/base/addr.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stddef.h>
#include <sys/un.h>

#include "worker/base/log.h"
#include "worker/base/radix.h"

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

static void
from_v4(struct ip *ip, const void *bytes)
{
    *ip = (struct ip){.family = AF_INET};
    memcpy(ip->b, bytes, 4);
}

static void
from_v6(struct ip *ip, const uint8_t *bytes)
{
    if (memcmp(bytes, mapped, sizeof(mapped)) == 0) {
        from_v4(ip, bytes + sizeof(mapped));
        return;
    }
    *ip = (struct ip){.family = AF_INET6};
    memcpy(ip->b, bytes, 16);
}

bool
ip_parse(struct ip *ip, struct str text)
{
    char literal[INET6_ADDRSTRLEN];
    uint8_t bytes[16];

    if (text.n == 0 || text.n >= sizeof(literal) || memchr(text.p, '\0', text.n) != NULL)
        return false;
    memcpy(literal, text.p, text.n);
    literal[text.n] = '\0';
    if (inet_pton(AF_INET, literal, bytes) == 1) {
        from_v4(ip, bytes);
        return true;
    }
    if (inet_pton(AF_INET6, literal, bytes) != 1)
        return false;
    from_v6(ip, bytes);
    return true;
}

/* A decimal of at most five digits. */
static size_t
put_decimal(char *to, unsigned value)
{
    char digits[5];
    size_t n = 0;

    do {
        digits[n++] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    for (size_t i = 0; i < n; i++)
        to[i] = digits[n - 1 - i];
    return n;
}

static size_t
put_byte(char *to, unsigned value)
{
    char *at = to;

    if (value > 99)
        *at++ = (char)('0' + value / 100);
    if (value > 9)
        *at++ = (char)('0' + value / 10 % 10);
    *at++ = (char)('0' + value % 10);
    return (size_t)(at - to);
}

static size_t
put_hex(char *to, unsigned group)
{
    size_t n = 0;

    for (int shift = 12; shift >= 0; shift -= 4)
        if (group >> shift != 0 || shift == 0)
            to[n++] = "0123456789abcdef"[group >> shift & 15];
    return n;
}

static size_t
format_v4(const uint8_t *b, char *to)
{
    size_t n = 0;

    for (int i = 0; i < 4; i++) {
        if (i > 0)
            to[n++] = '.';
        n += put_byte(to + n, b[i]);
    }
    return n;
}

/* The first of the longest runs of zero groups, where that is two or more (RFC 5952 4.2). */
static int
zero_run(const unsigned *group, int *length)
{
    int best = -1;

    *length = 1;
    for (int i = 0; i < 8; i++) {
        int n = 0;

        while (i + n < 8 && group[i + n] == 0)
            n++;
        if (n > *length) {
            best = i;
            *length = n;
        }
        i += n;
    }
    return best;
}

static size_t
format_v6(const uint8_t *b, char *to)
{
    unsigned group[8];
    int length, run;
    size_t n = 0;

    for (int i = 0; i < 8; i++)
        group[i] = (unsigned)b[2 * i] << 8 | b[2 * i + 1];
    run = zero_run(group, &length);
    for (int i = 0; i < 8; i++) {
        if (i == run) {
            to[n++] = ':';
            to[n++] = ':';
            i += length - 1;
            continue;
        }
        if (n > 0 && to[n - 1] != ':')
            to[n++] = ':';
        n += put_hex(to + n, group[i]);
    }
    return n;
}

size_t
ip_format(const struct ip *ip, char *buf)
{
    if (ip->family == AF_INET)
        return format_v4(ip->b, buf);
    if (ip->family == AF_INET6)
        return format_v6(ip->b, buf);
    if (ip->family == IP_UNKNOWN) {
        memcpy(buf, "unknown", 7);
        return 7;
    }
    memcpy(buf, "unix", 4);
    return 4;
}

bool
ip_equal(const struct ip *a, const struct ip *b)
{
    return a->family == b->family && memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

static int
bad(const char **why, const char *what)
{
    *why = what;
    return -1;
}

static bool
parse_port(uint16_t *port, struct str text)
{
    long long value = text.n <= 5 ? str_decimal(text) : -1;

    if (value < 1 || value > 65535)
        return false;
    *port = (uint16_t)value;
    return true;
}

static int
parse_unix(struct addr *a, struct str path, const char **why)
{
    if (path.n == 0 || path.p[0] != '/')
        return bad(why, "the path of a unix socket must begin with /");
    if (path.n >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
        return bad(why, "the path of a unix socket is longer than the system allows");
    if (memchr(path.p, '\0', path.n) != NULL)
        return bad(why, "a NUL in the path of a unix socket");
    *a = (struct addr){.ip.family = AF_UNIX, .path = path};
    return 0;
}

/* HOST:PORT at the last colon; false where there is none. */
static bool
split_port(struct str text, struct str *host, struct str *port)
{
    const char *colon = text.n > 0 ? memrchr(text.p, ':', text.n) : NULL;

    if (colon == NULL)
        return false;
    *host = (struct str){text.p, (size_t)(colon - text.p)};
    *port = (struct str){colon + 1, text.n - host->n - 1};
    return true;
}

int
addr_parse(struct addr *a, struct str text, const char **why)
{
    struct str host, port;
    bool brackets;

    if (str_starts(text, STR("unix:")))
        return parse_unix(a, (struct str){text.p + 5, text.n - 5}, why);
    if (!split_port(text, &host, &port))
        return bad(why, "a port is missing");
    brackets = host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']';
    if (brackets)
        host = (struct str){host.p + 1, host.n - 2};
    *a = (struct addr){0};
    if (!ip_parse(&a->ip, host))
        return bad(why, "not an IP address");
    if (brackets != (memchr(host.p, ':', host.n) != NULL))
        return bad(why, brackets ? "only an IPv6 address stands in brackets"
                                 : "an IPv6 address with a port must stand in brackets");
    if (!parse_port(&a->port, port))
        return bad(why, "the port is not a number from 1 to 65535");
    return 0;
}

static bool
is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* RFC 1035 2.3.1 as RFC 1123 2.1 widened it, and the "_" that container networks use. */
static bool
is_label(struct str s)
{
    if (s.n == 0 || s.n > 63 || s.p[0] == '-' || s.p[s.n - 1] == '-')
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_alnum(s.p[i]) && s.p[i] != '-' && s.p[i] != '_')
            return false;
    return true;
}

/* A last label of digits alone is an address that somebody mistyped (RFC 1123 2.1). */
static bool
is_name(struct str name)
{
    struct str label = STR_NONE;

    if (name.n > 0 && name.p[name.n - 1] == '.')
        name.n--;
    if (name.n == 0 || name.n > 253)
        return false;
    for (size_t from = 0; from <= name.n; from += label.n + 1) {
        const char *dot = memchr(name.p + from, '.', name.n - from);

        label.p = name.p + from;
        label.n = dot != NULL ? (size_t)(dot - label.p) : name.n - from;
        if (!is_label(label))
            return false;
    }
    for (size_t i = 0; i < label.n; i++)
        if (label.p[i] < '0' || label.p[i] > '9')
            return true;
    return false;
}

bool
addr_is_name(struct str text)
{
    struct str host, port;
    uint16_t number;

    return split_port(text, &host, &port) && parse_port(&number, port) && is_name(host);
}

struct str
addr_text(const struct addr *a, struct arena *arena)
{
    char text[INET6_ADDRSTRLEN + sizeof("[]:65535")];
    size_t n = 0;

    if (a->ip.family != AF_INET && a->ip.family != AF_INET6) {
        char *p = arena_alloc(arena, 5 + a->path.n + 1);

        memcpy(p, "unix:", 5);
        if (a->path.n > 0)
            memcpy(p + 5, a->path.p, a->path.n);
        p[5 + a->path.n] = '\0';
        return (struct str){p, 5 + a->path.n};
    }
    if (a->ip.family == AF_INET6)
        text[n++] = '[';
    n += ip_format(&a->ip, text + n);
    if (a->ip.family == AF_INET6)
        text[n++] = ']';
    text[n++] = ':';
    n += put_decimal(text + n, a->port);
    return arena_copy(arena, (struct str){text, n});
}

bool
addr_equal(const struct addr *a, const struct addr *b)
{
    return ip_equal(&a->ip, &b->ip) && a->port == b->port && str_eq(a->path, b->path);
}

static socklen_t
to_unix(const struct addr *a, struct sockaddr_un *sun)
{
    if (a->path.n >= sizeof(sun->sun_path))
        return 0;
    sun->sun_family = AF_UNIX;
    if (a->path.n > 0)
        memcpy(sun->sun_path, a->path.p, a->path.n);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + a->path.n + 1);
}

socklen_t
addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *ss)
{
    memset(ss, 0, sizeof(*ss));
    if (a->ip.family == AF_INET) {
        struct sockaddr_in *sin = (struct sockaddr_in *)ss;

        sin->sin_family = AF_INET;
        sin->sin_port = htons(a->port);
        memcpy(&sin->sin_addr, a->ip.b, 4);
        return sizeof(*sin);
    }
    if (a->ip.family == AF_INET6) {
        struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)ss;

        sin6->sin6_family = AF_INET6;
        sin6->sin6_port = htons(a->port);
        memcpy(&sin6->sin6_addr, a->ip.b, 16);
        return sizeof(*sin6);
    }
    return to_unix(a, (struct sockaddr_un *)ss);
}

/* The path ends at a NUL or where the kernel says; an unnamed or abstract socket has none. */
static struct str
unix_path(const struct sockaddr_un *sun, socklen_t n)
{
    size_t most = n > offsetof(struct sockaddr_un, sun_path)
                      ? n - offsetof(struct sockaddr_un, sun_path)
                      : 0;

    if (most > sizeof(sun->sun_path))
        most = sizeof(sun->sun_path);
    return (struct str){sun->sun_path, strnlen(sun->sun_path, most)};
}

void
addr_from_sockaddr(struct addr *a, const struct sockaddr *sa, socklen_t n)
{
    *a = (struct addr){.ip.family = 0};
    if (n < sizeof(sa->sa_family))
        return;
    if (sa->sa_family == AF_INET && n >= sizeof(struct sockaddr_in)) {
        const struct sockaddr_in *sin = (const struct sockaddr_in *)sa;

        from_v4(&a->ip, &sin->sin_addr);
        a->port = ntohs(sin->sin_port);
    } else if (sa->sa_family == AF_INET6 && n >= sizeof(struct sockaddr_in6)) {
        const struct sockaddr_in6 *sin6 = (const struct sockaddr_in6 *)sa;

        from_v6(&a->ip, sin6->sin6_addr.s6_addr);
        a->port = ntohs(sin6->sin6_port);
    } else if (sa->sa_family == AF_UNIX) {
        a->ip.family = AF_UNIX;
        a->path = unix_path((const struct sockaddr_un *)sa, n);
    }
}

/* The first `bits` bits of both are the same. */
static bool
same_prefix(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;

    return memcmp(a, b, whole) == 0 &&
           (rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0);
}

static bool
host_bits_zero(const struct cidr *c, unsigned width)
{
    for (unsigned i = c->bits; i < width; i++)
        if ((c->ip.b[i / 8] >> (7 - i % 8) & 1) != 0)
            return false;
    return true;
}

int
cidr_parse(struct cidr *c, struct str text, const char **why)
{
    const char *slash = text.n > 0 ? memchr(text.p, '/', text.n) : NULL;
    struct str literal = {text.p, slash != NULL ? (size_t)(slash - text.p) : text.n};
    unsigned width, most;
    long long bits;

    *c = (struct cidr){.bits = 0};
    if (!ip_parse(&c->ip, literal))
        return bad(why, "not an IP address or a network");
    width = c->ip.family == AF_INET ? 32 : 128;
    most = memchr(literal.p, ':', literal.n) != NULL ? 128 : 32;
    bits = most;
    if (slash != NULL)
        bits = text.n - literal.n - 1 <= 3
                   ? str_decimal((struct str){slash + 1, text.n - literal.n - 1})
                   : -1;
    /* a mapped network is written with the bits of IPv6 */
    bits -= most - width;
    if (bits < 0 || bits > width)
        return bad(why, "the prefix length is out of range");
    c->bits = (uint8_t)bits;
    if (!host_bits_zero(c, width))
        return bad(why, "bits are set behind the prefix");
    return 0;
}

bool
cidr_has(const struct cidr *c, const struct ip *ip)
{
    return c->ip.family == ip->family && same_prefix(c->ip.b, ip->b, c->bits);
}

size_t
cidr_format(const struct cidr *c, char *buf)
{
    size_t n;

    if (c->ip.family != AF_INET && c->ip.family != AF_INET6) {
        memcpy(buf, "unix:", 5);
        return 5;
    }
    n = ip_format(&c->ip, buf);
    buf[n++] = '/';
    return n + put_decimal(buf + n, c->bits);
}

void
cidr_list_seal(struct cidr_list *l, struct arena *a)
{
    l->radix = radix_new(a);
    for (size_t i = 0; i < l->n; i++)
        radix_add(l->radix, &l->v[i], a);
}

/* In this list alone. */
static bool
find_own(const struct cidr_list *l, const struct ip *ip, struct cidr *found)
{
    const struct cidr *c;

    if (ip->family == IP_UNKNOWN)
        return false;
    if (ip->family != AF_INET && ip->family != AF_INET6) {
        *found = (struct cidr){.line = l->unix_line};
        return l->unix_peers;
    }
    if (l->n == 0)
        return false;
    check(l->radix != NULL);
    c = radix_find(l->radix, ip, NULL);
    if (c != NULL)
        *found = *c;
    return c != NULL;
}

bool
cidr_list_find(const struct cidr_list *l, const struct ip *ip, struct cidr *found)
{
    for (; l != NULL; l = l->outer)
        if (find_own(l, ip, found))
            return true;
    return false;
}

int
cidr_list_line(const struct cidr_list *l, const struct ip *ip)
{
    struct cidr found;

    return cidr_list_find(l, ip, &found) ? found.line : -1;
}

bool
cidr_list_has(const struct cidr_list *l, const struct ip *ip)
{
    struct cidr found;

    return cidr_list_find(l, ip, &found);
}
