/* For unit tests of TLS: keys, certificates and handshakes, all in memory. */
#ifndef WEIR_CERTIFICATES_H
#define WEIR_CERTIFICATES_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "worker/tls/server.h"

#define DAY 86400L

/* A certificate, its key, and both as PEM. */
struct made {
    X509 *x;
    EVP_PKEY *key;
    char *cert_pem, *key_pem;
    const struct made *issuer;  /* NULL: itself */
};

struct wish {
    const char *kind;           /* "rsa", "rsa1024", "ec", "ed25519" */
    const char *name;           /* CN */
    const char *names;          /* "DNS:a,DNS:*.b"; NULL: none */
    const struct made *issuer;
    bool ca;
    long from, until;           /* seconds from now; both 0: good */
    unsigned char *subject;     /* of an O of its own; NULL: none */
    int subject_n;
};

static inline char *
pem_text(BIO *bio)
{
    char *p, *copy;
    long n = BIO_get_mem_data(bio, &p);

    copy = calloc(1, (size_t)n + 1);
    memcpy(copy, p, (size_t)n);
    BIO_free(bio);
    return copy;
}

static inline EVP_PKEY *
make_key(const char *kind)
{
    EVP_PKEY *key = strcmp(kind, "rsa") == 0       ? EVP_RSA_gen(2048)
                    : strcmp(kind, "rsa1024") == 0 ? EVP_RSA_gen(1024)
                    : strcmp(kind, "ec") == 0      ? EVP_EC_gen("P-256")
                                                   : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");

    ck_assert_ptr_nonnull(key);
    return key;
}

static inline void
extend(X509 *x, const struct made *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *e;

    X509V3_set_ctx(&ctx, issuer != NULL ? issuer->x : x, x, NULL, NULL, 0);
    e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    ck_assert_msg(e != NULL, "%s", value);
    X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
}

static inline struct made
make(struct wish w)
{
    static long serial;
    struct made m = {.x = X509_new(), .key = make_key(w.kind), .issuer = w.issuer};
    X509_NAME *name = X509_get_subject_name(m.x);
    EVP_PKEY *signer = w.issuer != NULL ? w.issuer->key : m.key;
    BIO *bio;

    X509_set_version(m.x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(m.x), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(m.x), w.from != 0 ? w.from : -DAY);
    X509_gmtime_adj(X509_getm_notAfter(m.x), w.until != 0 ? w.until : 30 * DAY);
    if (w.subject != NULL)
        X509_NAME_add_entry_by_txt(name, "O", V_ASN1_UTF8STRING, w.subject, w.subject_n, -1, 0);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)w.name, -1, -1, 0);
    X509_set_issuer_name(m.x, w.issuer != NULL ? X509_get_subject_name(w.issuer->x) : name);
    X509_set_pubkey(m.x, m.key);
    extend(m.x, w.issuer, NID_basic_constraints, w.ca ? "critical,CA:TRUE" : "CA:FALSE");
    if (w.names != NULL)
        extend(m.x, w.issuer, NID_subject_alt_name, w.names);
    ck_assert_int_gt(X509_sign(m.x, signer, EVP_PKEY_is_a(signer, "ED25519") ? NULL : EVP_sha256()), 0);
    bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, m.x);
    m.cert_pem = pem_text(bio);
    bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(bio, m.key, NULL, NULL, 0, NULL, NULL);
    m.key_pem = pem_text(bio);
    return m;
}

static inline void
unmake(struct made *m)
{
    X509_free(m->x);
    EVP_PKEY_free(m->key);
    free(m->cert_pem);
    free(m->key_pem);
}

/* A listener, and what was told of it while it was made. */
struct site_of_test {
    struct arena *arena;
    struct listener_tls conf;
    struct tls_server_files files;
    char told[4096];            /* a line each: "fatal 0 key: text" or "warning ..." */
};

static inline void
note(void *with, const struct tls_trouble *t)
{
    struct site_of_test *s = with;
    size_t n = strlen(s->told);

    snprintf(s->told + n, sizeof(s->told) - n, "%s %d %s: %s\n", t->fatal ? "fatal" : "warning", t->certificate,
             t->what, t->text);
}

static inline struct tls_pem
pem(const char *text)
{
    return (struct tls_pem){text, text != NULL ? strlen(text) : 0};
}

/* Ends with a NULL; what is not given in conf is as by default. */
static inline struct site_of_test *
site_new(void)
{
    static struct str alpn[] = {STR("h2"), STR("http/1.1")};
    struct site_of_test *s = calloc(1, sizeof(*s));

    s->arena = arena_new();
    s->conf.on = true;
    s->conf.alpn = (struct str_list){alpn, 2};
    s->conf.certificates = arena_zalloc(s->arena, 16 * sizeof(*s->conf.certificates));
    s->files.v = arena_zalloc(s->arena, 16 * sizeof(*s->files.v));
    return s;
}

static inline void
site_add(struct site_of_test *s, const char *cert, const char *key)
{
    size_t i = s->conf.certificate_count++;

    s->files.v[i].cert = pem(cert);
    s->files.v[i].key = pem(key);
}

static inline bool
site_open(struct site_of_test *s)
{
    s->conf.server = tls_server_new(&s->conf, &s->files, s->arena, note, s);
    return s->conf.server != NULL;
}

static inline void
site_free(struct site_of_test *s)
{
    arena_free(s->arena);
    free(s);
}

/* Both ends of a connection that never leaves this process. */
struct pair_of_test {
    SSL *client, *server;
    bool done;
};

/* What each has for the other is handed over, at most so many times. */
static inline bool
shake(SSL *client, SSL *server)
{
    int c = 0, s = 0;

    for (int i = 0; i < 20 && (c != 1 || s != 1); i++) {
        c = SSL_do_handshake(client);
        if (c != 1 && SSL_get_error(client, c) != SSL_ERROR_WANT_READ)
            return false;
        s = SSL_do_handshake(server);
        if (s != 1 && SSL_get_error(server, s) != SSL_ERROR_WANT_READ)
            return false;
    }
    return c == 1 && s == 1;
}

static inline void
join(SSL *client, SSL *server)
{
    BIO *up = BIO_new(BIO_s_mem()), *down = BIO_new(BIO_s_mem());

    BIO_set_mem_eof_return(up, -1);
    BIO_set_mem_eof_return(down, -1);
    BIO_up_ref(up);
    BIO_up_ref(down);
    SSL_set_bio(client, down, up);
    SSL_set_bio(server, up, down);
}

/* The client is made already, and connects; it has read what the server sent after the handshake. */
static inline struct pair_of_test
connect_to(struct site_of_test *site, SSL *client)
{
    struct pair_of_test p = {.client = client, .server = tls_server_open(&site->conf)};
    char byte;

    ck_assert_ptr_nonnull(p.server);
    SSL_set_connect_state(client);
    join(client, p.server);
    p.done = shake(client, p.server);
    if (p.done)
        ck_assert_int_le(SSL_read(client, &byte, 1), 0);
    ERR_clear_error();
    return p;
}

static inline void
disconnect(struct pair_of_test *p)
{
    SSL_shutdown(p->client);
    SSL_shutdown(p->server);
    SSL_free(p->client);
    SSL_free(p->server);
}

static inline SSL_CTX *
client_ctx(int least, int most)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    SSL_CTX_set_min_proto_version(ctx, least);
    SSL_CTX_set_max_proto_version(ctx, most);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    return ctx;
}

static inline SSL *
client_of(SSL_CTX *ctx, const char *name)
{
    SSL *ssl = SSL_new(ctx);

    if (name != NULL)
        SSL_set_tlsext_host_name(ssl, name);
    return ssl;
}

#endif
