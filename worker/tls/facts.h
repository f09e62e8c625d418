/*
 * What a client's TLS connection says of itself: for variables, the log, and the one rule that Host has to agree with
 * SNI where client certificates are asked for. Made once, when the handshake is over; lives as long as the connection.
 */
#ifndef WEIR_TLS_FACTS_H
#define WEIR_TLS_FACTS_H

#include <stdbool.h>

#include "worker/base/str.h"

struct tls_facts {
    struct str version;         /* "TLSv1.3" */
    struct str cipher;          /* OpenSSL's name, "TLS_AES_256_GCM_SHA384" */
    struct str sni;             /* lower case; empty: none was sent */
    struct str subject;         /* of the client's certificate, RFC 2253; empty: none was sent */
    struct str verify;          /* "SUCCESS" or "NONE"; a certificate that does not verify ends the handshake */
    bool strict;                /* client certificates are asked for here: Host must agree with sni, else 421 */
};

#endif
