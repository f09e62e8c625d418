/*
 * The authority of a request: Host (RFC 9110 7.2, RFC 3986 3.2.2), of the absolute form and of the
 * Host field alike.
 */
#ifndef WEIR_HOST_H
#define WEIR_HOST_H

#include <stdbool.h>

#include "worker/base/arena.h"
#include "worker/base/str.h"

struct host {
    struct str name;            /* lower case, no port, no trailing dot; [::1] keeps its brackets */
    int port;                   /* -1: none given */
};

/*
 * 0, or 400 for what is no host [":" port]: empty, userinfo, an IPv6 literal that inet_pton refuses,
 * an empty label, more than 255 characters, a port over 65535 or of more than five digits. One dot at
 * the end is taken off; an empty port is none, as RFC 3986 3.2.3 has it.
 *
 * RFC 3986 would let a name hold escapes and "!$&'()*+,;=", which no name on the net has and which
 * servers read in different ways: only letters, digits and "-._~" pass.
 *
 * name points into `value` where that was in lower case already, else into the arena.
 */
int host_parse(struct host *h, struct str value, struct arena *a);

/* Same name, and same port once the scheme's default (http 80, https 443) is filled in. */
bool host_equal(const struct host *a, const struct host *b, bool https);

#endif
