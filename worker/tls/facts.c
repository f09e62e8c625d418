/*
 * What a handshake came to. Knows that a client writes its certificate's subject, so that it is bounded, and holds
 * nothing that a log or a field could not: RFC 2253 text with escapes for control characters and for all beyond ASCII.
 */
#include <stdlib.h>
#include <string.h>

#include <openssl/ssl.h>

#include "worker/base/arena.h"
#include "worker/tls/facts.h"
#include "worker/tls/hello.h"
#include "worker/tls/server.h"

#define SUBJECT_MOST 2048       /* bytes; one that is longer ends in "..." */

/* OpenSSL gives the name as it was sent; the hello's callback has seen that it is one. */
static size_t
name_of(SSL *ssl, char to[HELLO_NAME_MOST])
{
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    size_t n = name != NULL ? strnlen(name, HELLO_NAME_MOST) : 0;

    if (n > 1 && name[n - 1] == '.')
        n--;
    for (size_t i = 0; i < n; i++)
        to[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] | 0x20) : name[i];
    return n;
}

static size_t
subject_of(X509 *x, char to[SUBJECT_MOST])
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    size_t n = 0;
    long have;

    if (bio == NULL)
        return 0;
    if (X509_NAME_print_ex(bio, X509_get_subject_name(x), 0, XN_FLAG_RFC2253) >= 0 &&
        (have = BIO_get_mem_data(bio, &text)) > 0) {
        n = (size_t)have < SUBJECT_MOST ? (size_t)have : SUBJECT_MOST;
        memcpy(to, text, n);
        if ((size_t)have > SUBJECT_MOST)
            memcpy(to + n - 3, "...", 3);
    }
    BIO_free(bio);
    return n;
}

void
tls_server_facts(const struct listener_tls *conf, SSL *ssl, struct tls_facts *f)
{
    char both[HELLO_NAME_MOST + SUBJECT_MOST], *copy;
    X509 *x = SSL_get0_peer_certificate(ssl);
    size_t name = name_of(ssl, both), subject = x != NULL ? subject_of(x, both + name) : 0;

    copy = xmalloc(name + subject + 1);
    memcpy(copy, both, name + subject);
    *f = (struct tls_facts){
        .version = str_of(SSL_get_version(ssl)),
        .cipher = str_of(SSL_get_cipher_name(ssl)),
        .sni = {copy, name},
        .subject = {copy + name, subject},
        .verify = x != NULL && SSL_get_verify_result(ssl) == X509_V_OK ? STR("SUCCESS") : STR("NONE"),
        .strict = conf->client_verify != CLIENT_VERIFY_NONE,
    };
}

void
tls_facts_free(struct tls_facts *f)
{
    free((char *)f->sni.p);
    *f = (struct tls_facts){0};
}

const struct tls_facts *
tls_facts_copy(const struct tls_facts *f, struct arena *a)
{
    struct tls_facts *copy;

    if (f == NULL)
        return NULL;
    copy = arena_alloc(a, sizeof(*copy));
    *copy = *f;
    copy->sni = arena_copy(a, f->sni);
    copy->subject = arena_copy(a, f->subject);
    return copy;
}
