/*
 * Host names and their ports. Knows which characters a name may hold, and that a name has been
 * looked at whole before anything else in weir compares it.
 */
#include "worker/host.h"

#include <arpa/inet.h>
#include <stdint.h>

#define NAME_MOST 255           /* RFC 1035 2.3.4 */

enum { NONE, LOWER = 1, UPPER = 2, DOT = 4 };

static const uint8_t class[256] = {
    ['a' ... 'z'] = LOWER, ['A' ... 'Z'] = UPPER, ['0' ... '9'] = LOWER, ['-'] = LOWER,
    ['_'] = LOWER, ['~'] = LOWER, ['.'] = DOT,
};

static struct str
lower(struct str s, struct arena *a)
{
    char *p = arena_alloc(a, s.n);

    for (size_t i = 0; i < s.n; i++)
        p[i] = (char)(s.p[i] >= 'A' && s.p[i] <= 'Z' ? s.p[i] | 0x20 : s.p[i]);
    return (struct str){p, s.n};
}

/* How much of s is a name: 0 where a label is empty. */
static size_t
name_end(struct str s, bool *upper)
{
    unsigned before = DOT, seen = NONE, twice = NONE, c;
    size_t i;

    for (i = 0; i < s.n; i++) {
        c = class[(uint8_t)s.p[i]];
        if (c == NONE)
            break;
        twice |= c & before;
        seen |= c;
        before = c;
    }
    *upper = (seen & UPPER) != 0;
    return (twice & DOT) == 0 ? i : 0;
}

/* RFC 3986 3.2.2. A zone (RFC 6874) means nothing to anyone but the client, and inet_pton refuses it. */
static size_t
literal_end(struct str s, bool *upper)
{
    const char *close = memchr(s.p, ']', s.n);
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    size_t n;

    if (close == NULL)
        return 0;
    n = (size_t)(close - s.p) - 1;
    if (n >= sizeof(text) || memchr(s.p, '\0', n + 1) != NULL)
        return 0;
    memcpy(text, s.p + 1, n);
    text[n] = '\0';
    if (inet_pton(AF_INET6, text, &address) != 1)
        return 0;
    *upper = false;
    for (size_t i = 0; i < n; i++)
        *upper |= class[(uint8_t)text[i]] == UPPER;
    return n + 2;
}

/* What follows the name: nothing, or a colon and a port. */
static bool
parse_port(int *port, struct str s)
{
    long long value;

    *port = -1;
    if (s.n <= 1)
        return s.n == 0 || s.p[0] == ':';
    value = s.n <= 6 ? str_decimal((struct str){s.p + 1, s.n - 1}) : -1;
    if (s.p[0] != ':' || value < 0 || value > 65535)
        return false;
    *port = (int)value;
    return true;
}

int
host_parse(struct host *h, struct str value, struct arena *a)
{
    bool upper = false;
    size_t n;

    if (value.n == 0)
        return 400;
    n = value.p[0] == '[' ? literal_end(value, &upper) : name_end(value, &upper);
    if (n == 0 || n > NAME_MOST ||
        !parse_port(&h->port, (struct str){value.p + n, value.n - n}))
        return 400;
    if (value.p[n - 1] == '.')
        n--;
    h->name = (struct str){value.p, n};
    if (upper)
        h->name = lower(h->name, a);
    return 0;
}

static int
port_of(const struct host *h, bool https)
{
    return h->port >= 0 ? h->port : https ? 443 : 80;
}

bool
host_equal(const struct host *a, const struct host *b, bool https)
{
    return str_eq(a->name, b->name) && port_of(a, https) == port_of(b, https);
}
