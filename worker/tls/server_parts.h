/*
 * The inside of worker/tls/server*.c: what a listener's certificates become. All of it is made in the master and is
 * constant afterwards, so that workers share its memory.
 */
#ifndef WEIR_TLS_SERVER_PARTS_H
#define WEIR_TLS_SERVER_PARTS_H

#include <openssl/ssl.h>

#include "worker/tls/server.h"

#define TLS_DIGEST 32           /* bytes of SHA-256 */
#define TLS_SECURITY_LEVEL 2    /* 112 bits of everything */

/* Of keys: OpenSSL holds one certificate of each in a context, and takes what the client can do. */
enum { KIND_RSA, KIND_RSA_PSS, KIND_ECDSA, KIND_ED25519, KIND_ED448, KINDS };

/* A certificate with its key. `shown` comes first: whoever has that has this. */
struct tls_held {
    struct tls_certificate shown;
    EVP_PKEY *key;
    STACK_OF(X509) *chain;      /* what stands behind the leaf in its file */
    int kind;
    struct str_list names;      /* its dNSNames, lower case; "*.example.com" is one */
    unsigned char *response;    /* of `ocsp`; NULL: none that is good */
    size_t response_size;
    int64_t response_until;     /* CLOCK_REALTIME in seconds */
    struct tls_set *sets;       /* those whose first certificate, as written, this one is */
};

/* Certificates that go together, one a kind at most, and OpenSSL's context with them. */
struct tls_set {
    struct tls_held *held[KINDS];
    SSL_CTX *ctx;
    unsigned char digest[TLS_DIGEST];   /* of these certificates and the listener's rules */
    struct tls_set *next;       /* of the same first certificate */
};

struct tls_name {
    struct str name;
    struct tls_set *set;
};

struct tls_server {
    const struct listener_tls *conf;
    struct arena *arena;
    struct tls_held *held;      /* as written; held_count of conf's */
    size_t held_count;
    struct tls_name *names;     /* sorted */
    size_t name_count;
    struct tls_set *first;      /* for no name, or one that is not among them */
    unsigned char rules[TLS_DIGEST];
    X509_STORE *clients;        /* whose signatures on clients' certificates count; NULL: none are asked for */
    STACK_OF(X509_NAME) *client_names;
    char *ciphers;              /* for TLS 1.2 */
    char *suites;               /* for TLS 1.3; empty, as ciphers may be: the default */
    unsigned char alpn[32];     /* as ALPN has lists */
    unsigned alpn_size;

    void (*tell)(void *with, const struct tls_trouble *t);      /* while it is made */
    void *with;
    SSL_CTX *trial;             /* on which certificates are tried out */
    bool failed;                /* something fatal was told */
};

/* While it is made. `certificate` and `what` as in struct tls_trouble. */
void tls_server_fail(struct tls_server *s, int certificate, const char *what, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void tls_server_warn(struct tls_server *s, int certificate, const char *what, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* What OpenSSL says was wrong last; its queue is empty afterwards. */
const char *tls_server_reason(void);

/* server_certificate.c: reads certificate i of the listener; where it cannot be used, that is told. */
void tls_server_certificate_read(struct tls_server *s, size_t i, const struct tls_pem *cert, const struct tls_pem *key,
                                 const struct tls_pem *ocsp);

/* server_clients.c: who signs clients' certificates. */
void tls_server_clients_read(struct tls_server *s, const struct tls_pem *file);
void tls_server_clients_ask(const struct tls_server *s, SSL_CTX *ctx);

/* server_ciphers.c: `ciphers`, for both versions; then into a context. */
void tls_server_ciphers_read(struct tls_server *s);
bool tls_server_ciphers_use(const struct tls_server *s, SSL_CTX *ctx);

/* server_names.c: the table, once all certificates are read; sets come from tls_server_set. */
void tls_server_names_make(struct tls_server *s);
/* Never NULL. */
struct tls_set *tls_server_names_find(const struct tls_server *s, struct str name);

/* server.c: the set of these certificates, made if there is none yet; NULL: told. */
struct tls_set *tls_server_set(struct tls_server *s, struct tls_held *const held[KINDS]);

/* server_ticket.c, server_staple.c: callbacks of a context. */
void tls_server_ticket_use(SSL_CTX *ctx);
void tls_server_staple_use(SSL_CTX *ctx);

/* Worker: what it was told by tls_server_share. */
struct tls_shared {
    const struct tickets *tickets;
    struct staples *staples;
};
extern struct tls_shared tls_shared;

#endif
