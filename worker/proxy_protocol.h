/*
 * The PROXY protocol, versions 1 and 2, at the start of a connection, as HAProxy's specification has
 * it. Only read; the caller has checked that the peer is a trusted proxy.
 */
#ifndef WEIR_PROXY_PROTOCOL_H
#define WEIR_PROXY_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>

#include "worker/base/addr.h"

struct proxy_header {
    bool carries;               /* false: LOCAL, UNKNOWN or not a stream; the socket's addresses
                                   stay */
    struct addr source;         /* the client */
    struct addr destination;
    size_t size;                /* bytes of the header, to skip */
};

/* Longest header taken: version 2's 16 bytes and 4 KiB of addresses and TLVs. */
#define PROXY_HEADER_MOST (16 + 4096)

/*
 * 0: more bytes are needed; 1: done; -1: this is no PROXY header, or a malformed one (the
 * connection is to be closed without an answer), told as soon as it is sure. TLVs are skipped; a
 * checksum TLV (CRC-32c) that is there is verified. Holds no state: buf is the header from its first
 * byte, each time. The path of a unix address points into buf.
 */
int proxy_header_parse(struct proxy_header *h, const char *buf, size_t n);

#endif
