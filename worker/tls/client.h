/*
 * TLS towards servers: what OpenSSL makes of an upstream's `tls`. Made in the master before the fork, from bytes of
 * files; inherited by workers, freed with the configuration's arena. Verified by default: chain, time, and the name
 * (server_name, else the server's name or address as written). Sessions are kept a worker and endpoint.
 */
#ifndef WEIR_TLS_CLIENT_H
#define WEIR_TLS_CLIENT_H

#include "worker/conf.h"
#include "worker/tls/server.h"

struct ssl_session_st;

struct tls_client_files {
    struct tls_pem ca, cert, key;       /* n 0: not given */
};

/* The last session with an endpoint; NULL: none. Its owner calls tls_client_forget at the end. */
struct tls_memory {
    struct ssl_session_st *session;
};

/* Master: as tls_server_new; `certificate` of a trouble is -1. The upstream's protocol says what ALPN offers. */
struct tls_client *tls_client_new(const struct upstream *u, const struct tls_client_files *files, struct arena *a,
                                  void (*tell)(void *with, const struct tls_trouble *t), void *with);

/* Worker: a new session with that server, resumed where `m` has one. `m` outlives it. NULL: out of memory. */
struct ssl_st *tls_client_open(const struct server *s, struct tls_memory *m);
void tls_client_forget(struct tls_memory *m);

/* After a handshake that failed: why, in a few words ("certificate verify failed: certificate has expired"). */
const char *tls_client_why(struct ssl_st *ssl);
/* After a read or write that failed: as well ("alert from the server: certificate required"). */
const char *tls_client_lost(void);

#endif
