/*
 * What OpenSSL is told of an upstream's `tls`: whom to trust, what to offer, whose name the certificate has to be made
 * out to, and which session may be resumed. A session is kept with its endpoint alone, so it never meets another server
 * or other rules; of TLS 1.3 each ticket is used once (RFC 8446 C.4), so what is resumed is taken out of the memory and
 * the server's next ticket takes its place.
 */
#include "worker/tls/client.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "worker/tls/pem.h"
#include "worker/tls/system_store.h"

/* Forward-secret AEAD ciphers. Finite fields are left out: the server chooses how large they are, and we'd compute. */
#define CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!PSK"
#define SECURITY_LEVEL 2        /* RSA of 2048 bits at least, no SHA-1 */
#define TICKETS_MOST 64         /* on one connection: each is work for us, and none for the server */
#define WHY_SIZE 160

struct tls_client {
    SSL_CTX *ctx;
};

struct making {
    const struct upstream *u;
    const struct tls_client_files *files;
    SSL_CTX *ctx;
    void (*tell)(void *with, const struct tls_trouble *t);
    void *with;
};

static int memory_index = -1;   /* of an SSL's struct tls_memory */
static int ticket_index = -1;   /* of how many tickets came */

/* --- in the master --- */

static bool
tell(const struct making *m, const char *what, const char *text, bool fatal)
{
    struct tls_trouble t = {.certificate = -1, .what = what, .fatal = fatal};

    snprintf(t.text, sizeof(t.text), "%s", text);
    m->tell(m->with, &t);
    ERR_clear_error();
    return !fatal;
}

static bool
fail(const struct making *m, const char *what, const char *text)
{
    return tell(m, what, text, true);
}

/* "text: what OpenSSL says of it" */
static bool
fail_why(const struct making *m, const char *what, const char *text)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    char whole[WHY_SIZE];

    snprintf(whole, sizeof(whole), "%s%s%s", text, reason != NULL ? ": " : "", reason != NULL ? reason : "");
    return fail(m, what, whole);
}

static bool
trust_file(const struct making *m)
{
    X509_STORE *store = SSL_CTX_get_cert_store(m->ctx);
    BIO *bio = pem_open(&m->files->ca);
    X509 *x;
    size_t n = 0;

    while ((x = PEM_read_bio_X509_AUX(bio, NULL, pem_no_passphrase, NULL)) != NULL) {
        n += X509_STORE_add_cert(store, x) == 1;
        X509_free(x);
    }
    BIO_free(bio);
    if (n == 0)
        return fail(m, "ca", "there is no certificate in it, as PEM");
    if (!pem_is_end())
        return fail_why(m, "ca", "a certificate in it cannot be read");
    ERR_clear_error();
    /* who is named here is trusted, whether he signed himself or not */
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(m->ctx), X509_V_FLAG_PARTIAL_CHAIN);
    return true;
}

static bool
trust(const struct making *m, struct arena *a)
{
    X509_STORE *store;

    if (!m->u->tls.verify)
        return true;
    SSL_CTX_set_verify(m->ctx, SSL_VERIFY_PEER, NULL);
    if (m->files->ca.n > 0)
        return trust_file(m);
    store = system_store(a);
    if (store == NULL)
        return fail(m, "tls",
                    "the system has no certificate authorities to verify servers with: `ca` has to name some");
    SSL_CTX_set_cert_store(m->ctx, store);
    return true;
}

/* The certificate, then those that issued it. */
static bool
take_certificate(const struct making *m)
{
    BIO *bio = pem_open(&m->files->cert);
    X509 *x = PEM_read_bio_X509_AUX(bio, NULL, pem_no_passphrase, NULL);
    bool ok = x != NULL && SSL_CTX_use_certificate(m->ctx, x) == 1;

    if (ok && X509_cmp_current_time(X509_get0_notAfter(x)) < 0)
        tell(m, "cert", "the certificate has expired", false);
    X509_free(x);
    while (ok && (x = PEM_read_bio_X509(bio, NULL, pem_no_passphrase, NULL)) != NULL) {
        ok = SSL_CTX_add1_chain_cert(m->ctx, x) == 1;
        X509_free(x);
    }
    BIO_free(bio);
    if (!ok || !pem_is_end())
        return fail_why(m, "cert", "the certificate cannot be used");
    ERR_clear_error();
    return true;
}

static bool
take_key(const struct making *m)
{
    BIO *bio = pem_open(&m->files->key);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, pem_no_passphrase, NULL);
    bool ok;

    BIO_free(bio);
    if (key == NULL)
        return fail_why(m, "key", "it is no private key without a passphrase, as PEM");
    ok = X509_check_private_key(SSL_CTX_get0_certificate(m->ctx), key) == 1;
    if (!ok)
        fail(m, "key", "it is not the key of the certificate");
    else if (SSL_CTX_use_PrivateKey(m->ctx, key) != 1)
        ok = fail_why(m, "key", "the key cannot be used");
    EVP_PKEY_free(key);
    return ok;
}

static bool
offer(const struct making *m)
{
    static const unsigned char h2[] = "\x02h2", http1[] = "\x08http/1.1";
    bool two = m->u->protocol == UPSTREAM_H2;
    const unsigned char *list = two ? h2 : http1;

    return SSL_CTX_set_alpn_protos(m->ctx, list, (unsigned)(two ? sizeof(h2) : sizeof(http1)) - 1) == 0;
}

/*
 * The latest ticket takes the place of the one before. A copy: OpenSSL would take a connection that ends without
 * close_notify for a reason not to resume its session, which was TLS 1.0's (RFC 5246 7.2.1).
 */
static int
remember(SSL *ssl, SSL_SESSION *session)
{
    uintptr_t tickets = (uintptr_t)SSL_get_ex_data(ssl, ticket_index) + 1;
    struct tls_memory *m = SSL_get_ex_data(ssl, memory_index);
    SSL_SESSION *copy = m != NULL && SSL_SESSION_is_resumable(session) == 1 ? SSL_SESSION_dup(session) : NULL;

    if (copy != NULL) {
        tls_client_forget(m);
        m->session = copy;
    }
    SSL_set_ex_data(ssl, ticket_index, (void *)tickets);
    if (tickets > TICKETS_MOST)
        SSL_set_shutdown(ssl, SSL_RECEIVED_SHUTDOWN);   /* nothing more is read: the connection ends */
    return 0;
}

static bool
set_rules(const struct making *m)
{
    SSL_CTX *ctx = m->ctx;

    SSL_CTX_set_security_level(ctx, SECURITY_LEVEL);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, remember);
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 && SSL_CTX_set_max_proto_version(ctx, 0) == 1 &&
        SSL_CTX_set_cipher_list(ctx, CIPHERS) == 1 && offer(m))
        return true;
    return fail_why(m, "tls", "OpenSSL does not take its own rules");
}

static void
release(void *client)
{
    SSL_CTX_free(((struct tls_client *)client)->ctx);
}

struct tls_client *
tls_client_new(const struct upstream *u, const struct tls_client_files *files, struct arena *a,
               void (*tell_trouble)(void *with, const struct tls_trouble *t), void *with)
{
    struct making m = {u, files, SSL_CTX_new(TLS_client_method()), tell_trouble, with};
    struct tls_client *client;

    if (memory_index < 0)
        memory_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    if (ticket_index < 0)
        ticket_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    if (m.ctx == NULL || memory_index < 0 || ticket_index < 0) {
        fail_why(&m, "tls", "OpenSSL cannot be used");
        SSL_CTX_free(m.ctx);
        return NULL;
    }
    if (!set_rules(&m) || !trust(&m, a) || (files->cert.n > 0 && !(take_certificate(&m) && take_key(&m)))) {
        SSL_CTX_free(m.ctx);
        return NULL;
    }
    client = arena_alloc(a, sizeof(*client));
    client->ctx = m.ctx;
    arena_cleanup(a, release, client);
    return client;
}

/* --- in workers --- */

void
tls_client_forget(struct tls_memory *m)
{
    SSL_SESSION_free(m->session);
    m->session = NULL;
}

/* The server's name as it is asked for; without the root's point, which is none of a host name in TLS (RFC 6066 3). */
static bool
name_of(const struct server *s, char *to, size_t size, struct ip *ip)
{
    struct str name = s->upstream->tls.server_name;

    ip->family = 0;
    if (name.n == 0 && s->name.n == 0) {
        *ip = s->address.ip;
        return false;
    }
    if (name.n == 0)
        name = s->name;
    if (ip_parse(ip, name))
        return false;
    if (name.p[name.n - 1] == '.')
        name.n--;
    snprintf(to, size, "%.*s", STR_ARG(name));
    return true;
}

/* SNI, and what the certificate has to say: a name among its alternatives (RFC 9110 4.3.4), or the address. */
static bool
expect(SSL *ssl, const struct server *s)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    char name[256];
    struct ip ip;

    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    if (name_of(s, name, sizeof(name), &ip))
        return X509_VERIFY_PARAM_set1_host(param, name, 0) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
    if (ip.family == AF_INET || ip.family == AF_INET6)
        return X509_VERIFY_PARAM_set1_ip(param, ip.b, ip.family == AF_INET ? 4 : 16) == 1;
    return !s->upstream->tls.verify;    /* a unix socket has neither */
}

/* What was verified once is good while its certificate is. */
static bool
is_fresh(const SSL_SESSION *session)
{
    const X509 *x = SSL_SESSION_get0_peer((SSL_SESSION *)session);

    return SSL_SESSION_is_resumable(session) == 1 && x != NULL && X509_cmp_current_time(X509_get0_notAfter(x)) > 0;
}

/* A copy, again: what becomes of the connection is not to be held against the session. */
static void
resume(SSL *ssl, struct tls_memory *m)
{
    SSL_SESSION *copy = m->session != NULL && is_fresh(m->session) ? SSL_SESSION_dup(m->session) : NULL;

    if (copy != NULL)
        SSL_set_session(ssl, copy);
    if (copy == NULL || SSL_SESSION_get_protocol_version(copy) >= TLS1_3_VERSION)
        tls_client_forget(m);
    SSL_SESSION_free(copy);
}

struct ssl_st *
tls_client_open(const struct server *s, struct tls_memory *m)
{
    SSL *ssl = SSL_new(s->upstream->tls.client->ctx);

    if (ssl == NULL)
        return NULL;
    if (!expect(ssl, s) || SSL_set_ex_data(ssl, memory_index, m) != 1) {
        SSL_free(ssl);
        return NULL;
    }
    resume(ssl, m);
    return ssl;
}

/* The server's own words, but for the version of TLS that OpenSSL puts before them. */
static const char *
why_alert(const char *text)
{
    static char why[WHY_SIZE];
    const char *alert = strstr(text, "alert ");

    snprintf(why, sizeof(why), "alert from the server: %s", alert != NULL ? alert + 6 : text);
    return why;
}

/* Of a certificate that is somebody else's it is told for whom it had to be. */
static const char *
why_unverified(SSL *ssl, long result)
{
    static char why[WHY_SIZE];
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    char *ip = X509_VERIFY_PARAM_get1_ip_asc(param);
    const char *name = result == X509_V_ERR_HOSTNAME_MISMATCH     ? X509_VERIFY_PARAM_get0_host(param, 0)
                       : result == X509_V_ERR_IP_ADDRESS_MISMATCH ? ip
                                                                  : NULL;

    snprintf(why, sizeof(why), "certificate verify failed: %s%s%s", X509_verify_cert_error_string(result),
             name != NULL ? ": it is not for " : "", name != NULL ? name : "");
    OPENSSL_free(ip);
    return why;
}

/* An empty queue: it was the socket. */
static const char *
why_error(unsigned long error, const char *lost, const char *closed)
{
    static char why[WHY_SIZE];
    int reason = ERR_GET_REASON(error);
    const char *text = ERR_reason_error_string(error);

    if (error == 0)
        return lost;
    if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        return closed;
    if (ERR_GET_LIB(error) == ERR_LIB_SSL && reason >= SSL_AD_REASON_OFFSET && text != NULL)
        return why_alert(text);
    if (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST || reason == SSL_R_PACKET_LENGTH_TOO_LONG)
        return "TLS handshake failed: the server does not speak TLS";
    snprintf(why, sizeof(why), "TLS failed: %s", text != NULL ? text : "unknown");
    return why;
}

const char *
tls_client_why(struct ssl_st *ssl)
{
    unsigned long error = ERR_peek_error();
    long result = SSL_get_verify_result(ssl);

    ERR_clear_error();
    if (ERR_GET_LIB(error) == ERR_LIB_SSL && ERR_GET_REASON(error) == SSL_R_CERTIFICATE_VERIFY_FAILED)
        return why_unverified(ssl, result);
    return why_error(error, "connection lost in the TLS handshake", "closed in the TLS handshake");
}

const char *
tls_client_lost(void)
{
    unsigned long error = ERR_peek_error();

    ERR_clear_error();
    return why_error(error, "connection lost", "closed without TLS's close_notify");
}
