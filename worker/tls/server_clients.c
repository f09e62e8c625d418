/*
 * Certificates of clients. Knows whose signatures count, and that a client which shows a certificate that nobody of
 * them signed is sent away, whether one is required or not: it would be taken for one without.
 */
#include <openssl/err.h>
#include <openssl/pem.h>

#include "worker/tls/pem.h"
#include "worker/tls/server_parts.h"

#define DEPTH_MOST 10           /* certificates between a client's and the one that counts */
#define CHAIN_MOST (64 * 1024)  /* bytes of all that a client shows */

static bool
add(struct tls_server *s, X509 *x)
{
    X509_NAME *name = X509_NAME_dup(X509_get_subject_name(x));

    return X509_STORE_add_cert(s->clients, x) == 1 && name != NULL && sk_X509_NAME_push(s->client_names, name) > 0;
}

static int
read_all(struct tls_server *s, const struct tls_pem *file)
{
    BIO *bio = pem_open(file);
    int n = 0;
    X509 *x;

    while ((x = PEM_read_bio_X509(bio, NULL, pem_no_passphrase, NULL)) != NULL) {
        n += add(s, x);
        X509_free(x);
    }
    BIO_free(bio);
    return n;
}

void
tls_server_clients_read(struct tls_server *s, const struct tls_pem *file)
{
    int verify = s->conf->client_verify, n;

    if (s->conf->client_ca.n == 0) {
        if (verify != CLIENT_VERIFY_NONE)
            tls_server_fail(s, -1, "client_verify", "needs `client_ca`: nobody else says whose certificates are good");
        return;
    }
    if (verify == CLIENT_VERIFY_NONE)
        tls_server_warn(s, -1, "client_ca", "without `client_verify` no client is asked for a certificate");
    if (file->p == NULL) {
        s->failed = true;
        return;
    }
    s->clients = X509_STORE_new();
    s->client_names = sk_X509_NAME_new_null();
    /* one in the middle of a chain is trusted as well where it stands in the file */
    X509_STORE_set_flags(s->clients, X509_V_FLAG_PARTIAL_CHAIN);
    n = read_all(s, file);
    if (!pem_is_end())
        tls_server_fail(s, -1, "client_ca", "certificate %d cannot be read: %s", n + 1, tls_server_reason());
    else if (n == 0)
        tls_server_fail(s, -1, "client_ca", "there is no certificate in PEM");
    ERR_clear_error();
}

void
tls_server_clients_ask(const struct tls_server *s, SSL_CTX *ctx)
{
    int mode = SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE;

    if (s->conf->client_verify == CLIENT_VERIFY_NONE)
        return;
    if (s->conf->client_verify == CLIENT_VERIFY_REQUIRE)
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(ctx, mode, NULL);
    SSL_CTX_set_verify_depth(ctx, DEPTH_MOST);
    SSL_CTX_set_max_cert_list(ctx, CHAIN_MOST);
    SSL_CTX_set1_cert_store(ctx, s->clients);
    SSL_CTX_set_client_CA_list(ctx, SSL_dup_CA_list(s->client_names));
}
