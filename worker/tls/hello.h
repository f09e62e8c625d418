/*
 * The server_name extension of a ClientHello (RFC 6066 3), read before anything else is decided. Bytes in, a name out:
 * nothing else is touched.
 */
#ifndef WEIR_TLS_HELLO_H
#define WEIR_TLS_HELLO_H

#include <stdbool.h>
#include <stddef.h>

#define HELLO_NAME_MOST 255     /* bytes of a name */

/*
 * The extension's content: one host_name, and nothing else. It is written in lower case, without a NUL, *length bytes,
 * at least one. One dot at its end is taken off, as it is of a Host: RFC 6066 has none there, and some clients send
 * it. False: malformed. A name that could not stand in a Host field (worker/host.h) is, too: no NUL, no empty label,
 * letters, digits, "-", "_" and "." alone.
 */
bool hello_name(const unsigned char *p, size_t n, char name[HELLO_NAME_MOST], size_t *length);

#endif
