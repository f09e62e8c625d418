/*
 * What a client's TLS connection says of itself: for variables, the log, and the one rule that Host has to agree with
 * SNI where client certificates are asked for. Made once, when the handshake is over; lives as long as the connection.
 */
#ifndef WEIR_TLS_FACTS_H
#define WEIR_TLS_FACTS_H

#include <stdbool.h>

#include "worker/base/arena.h"
#include "worker/base/str.h"

struct tls_facts {
    struct str version;         /* "TLSv1.3" */
    struct str cipher;          /* OpenSSL's name, "TLS_AES_256_GCM_SHA384" */
    struct str sni;             /* lower case; empty: none was sent */
    struct str subject;         /* of the client's certificate, RFC 2253; empty: none was sent */
    struct str verify;          /* "SUCCESS" or "NONE"; a certificate that does not verify ends the handshake */
    bool strict;                /* client certificates are asked for here: Host must agree with sni, else 421 */
};

/* For a request that may outlive its connection: of NULL, NULL. */
const struct tls_facts *tls_facts_copy(const struct tls_facts *f, struct arena *a);

/* Frees what tls_server_facts has filled in; nothing was, nothing happens. */
void tls_facts_free(struct tls_facts *f);

#endif
