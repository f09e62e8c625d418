/*
 * TLS towards clients: what OpenSSL makes of a listener's `tls`. Made in the master before the fork, from the bytes of
 * files that it has read; inherited by workers, freed with the configuration's arena, where keys are wiped. Which
 * certificate a connection gets is decided here, in the client hello's callback, before a session is looked for: an
 * exact name, then a wildcard of one label, then the first one; for each kind of key (RSA, ECDSA) the first that
 * covers the name, and OpenSSL takes what the client can do.
 *
 * Sessions and tickets are good only where the certificates and the rules for clients' certificates are the same.
 */
#ifndef WEIR_TLS_SERVER_H
#define WEIR_TLS_SERVER_H

#include <stddef.h>

#include "worker/conf.h"

struct ssl_ctx_st;
struct ssl_st;
struct x509_st;
struct staples;
struct tickets;
struct tls_facts;

struct tls_pem {                /* a file's bytes, as they were read */
    const char *p;
    size_t n;
};

/*
 * What was read for a listener; certificates in the order of conf. p NULL: no file is written there, or it could not be
 * read, which has been told: then the result is NULL (but without a response of `ocsp` it goes on).
 */
struct tls_server_files {
    struct {
        struct tls_pem cert, key, ocsp;
    } *v;
    struct tls_pem client_ca;
};

/* What is wrong: certificate -1: not one of the certificates; what names the key (`cert`, `key`, `ciphers`, ...). */
struct tls_trouble {
    int certificate;
    const char *what;
    char text[256];
    bool fatal;                 /* false: a warning (it has expired, say), and there may be more */
};

/*
 * Master. NULL where something is wrong. `tell` is called for each thing that is, warnings too; with what was given.
 */
struct tls_server *tls_server_new(const struct listener_tls *conf, const struct tls_server_files *files,
                                  struct arena *a, void (*tell)(void *with, const struct tls_trouble *t), void *with);

/*
 * Worker, at its start: where ticket keys and staples are; either may be NULL. At a handshake whose client asks for a
 * status, what staples_get has at the place of the certificate's digest is stapled, unless there is a file: whoever
 * put it there has looked at it with worker/tls/response.h.
 */
void tls_server_share(const struct tickets *tickets, struct staples *staples);

/* A certificate of a listener's, once for each that is written there; for who fetches what is stapled. */
struct tls_certificate {
    struct x509_st *leaf;
    struct x509_st *issuer;     /* the next of its chain; NULL: the file has none, or it signed itself */
    unsigned char digest[32];   /* SHA-256 of the certificate: by it staples_place knows it */
    bool file;                  /* `ocsp` names a file, or is off: nothing is asked for */
    int line;                   /* in the configuration */
};

size_t tls_server_count(const struct tls_server *s);
const struct tls_certificate *tls_server_certificate(const struct tls_server *s, size_t i);

/* Worker: a new session of the listener's; NULL: out of memory. */
struct ssl_st *tls_server_open(const struct listener_tls *conf);

/* Worker, after the handshake: fills in what it was; free it with tls_facts_free (worker/tls/facts.h). */
void tls_server_facts(const struct listener_tls *conf, struct ssl_st *ssl, struct tls_facts *f);

#endif
