/*
 * Session tickets (RFC 5077, RFC 8446 4.6.1) under keys that all workers share. Knows what a ticket is sealed with:
 * AES-256-CBC, then HMAC-SHA256 over it, which OpenSSL verifies before it decrypts; and that OpenSSL verifies no
 * certificate again where a session is resumed, though each connection of TLS 1.3 makes the session new.
 */
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <openssl/x509.h>

#include "shm/tickets.h"
#include "worker/tls/server_parts.h"

#define IV 16                   /* bytes, of AES-CBC */

static bool
begin(struct ticket_key *key, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int sealing)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->hmac, sizeof(key->hmac)),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };

    return EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->aes, iv, sealing) == 1 &&
           EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* What it returns is OpenSSL's language: -1 an error, 0 no key, 1 good, 2 good, but seal it anew. */
static int
seal(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int sealing)
{
    struct ticket_key key;
    bool old = false;
    int result = 1;

    (void)ssl;
    if (tls_shared.tickets == NULL || !(sealing ? tickets_newest(tls_shared.tickets, &key)
                                                : tickets_find(tls_shared.tickets, name, &key, &old)))
        return 0;
    if (sealing) {
        memcpy(name, key.name, sizeof(key.name));
        if (RAND_bytes(iv, IV) != 1)
            result = -1;
    }
    if (result == 1 && !begin(&key, iv, cipher, mac, sealing))
        result = -1;
    OPENSSL_cleanse(&key, sizeof(key));
    return result == 1 && old ? 2 : result;
}

/* A client with a certificate is known by it for as long as that is good. */
static bool
is_outlived(const SSL_SESSION *session)
{
    const X509 *x = SSL_SESSION_get0_peer((SSL_SESSION *)session);

    return x != NULL && X509_cmp_current_time(X509_get0_notAfter(x)) <= 0;
}

static SSL_TICKET_RETURN
judge(SSL *ssl, SSL_SESSION *session, const unsigned char *name, size_t n, SSL_TICKET_STATUS status, void *with)
{
    bool opened = status == SSL_TICKET_SUCCESS || status == SSL_TICKET_SUCCESS_RENEW;

    (void)ssl;
    (void)name;
    (void)n;
    (void)with;
    if (!opened || is_outlived(session))
        return SSL_TICKET_RETURN_IGNORE_RENEW;
    return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

void
tls_server_ticket_use(SSL_CTX *ctx)
{
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, seal);
    SSL_CTX_set_session_ticket_cb(ctx, NULL, judge, NULL);
}
