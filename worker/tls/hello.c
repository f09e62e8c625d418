/*
 * A name of a ClientHello. Knows that the list which the extension holds has room for one name alone: a second of the
 * same type is forbidden, and no other type was ever given a meaning, so none can be told from rubbish.
 */
#include "worker/tls/hello.h"

#define HOST_NAME 0             /* the one name_type there is */
#define HEAD 5                  /* the list's length, the type, the name's length */

static size_t
two_bytes(const unsigned char *p)
{
    return (size_t)p[0] << 8 | p[1];
}

/* In lower case; 0: no name holds it. */
static char
letter(unsigned char c)
{
    if (c >= 'A' && c <= 'Z')
        return (char)(c | 0x20);
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.')
        return (char)c;
    return 0;
}

bool
hello_name(const unsigned char *p, size_t n, char name[HELLO_NAME_MOST], size_t *length)
{
    size_t at = 0;

    if (n <= HEAD || two_bytes(p) != n - 2 || p[2] != HOST_NAME || two_bytes(p + 3) != n - HEAD)
        return false;
    p += HEAD;
    n -= HEAD;
    if (n > HELLO_NAME_MOST)
        return false;
    if (n > 1 && p[n - 1] == '.')
        n--;
    for (; at < n; at++) {
        name[at] = letter(p[at]);
        if (name[at] == 0 || (name[at] == '.' && (at == 0 || at == n - 1 || name[at - 1] == '.')))
            return false;
    }
    *length = n;
    return true;
}
